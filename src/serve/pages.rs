//! Pages: an answer that has more rows than a page is kept, and the token of the next page names it.
//!
//! What is kept is the whole answer as it was found, so that pages neither repeat nor skip a row whatever changes
//! meanwhile. Only some answers are kept, the latest; the token of an older one is refused.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::rand::{GetRandomFlags, getrandom};
use tonic::{Code, Status};
use tonic_types::ErrorDetails;

use super::refuse;
use super::refuse::Reason;

/// Answers that are kept at the most.
const KEPT: usize = 32;

/// Rows of all kept answers together, unless one has more: 16 MB of neighbors.
const KEPT_ROWS: usize = 1_000_000;

/// How long an answer is kept after it was last asked for.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// What says whether two requests are the same but for their page.
pub(super) type Fingerprint = [u8; 32];

/// Answers of one kind of request.
pub(super) struct Pages<A> {
    kept: Mutex<VecDeque<Kept<A>>>,
}

struct Kept<A> {
    number: u64,
    request: Fingerprint,
    rows: usize,
    answer: Arc<A>,
    asked: Instant,
}

/// One page of an answer.
pub(super) struct Page<A> {
    pub(super) answer: Arc<A>,
    pub(super) rows: std::ops::Range<usize>,
    /// Empty on the last page.
    pub(super) next_token: String,
}

impl<A> Pages<A> {
    pub(super) fn new() -> Self {
        Self { kept: Mutex::new(VecDeque::new()) }
    }

    /// Cuts the first page off an answer of so many rows, and keeps the answer if there are more.
    pub(super) fn first(
        &self,
        request: Fingerprint,
        answer: A,
        rows: usize,
        size: usize,
    ) -> Result<Page<A>, Status> {
        let answer = Arc::new(answer);
        if rows <= size {
            return Ok(Page { answer, rows: 0..rows, next_token: String::new() });
        }
        let number = random().map_err(|error| refuse::internal("no token could be made", &error))?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(Kept { number, request, rows, answer: Arc::clone(&answer), asked: Instant::now() });
        kept.retain(|kept| kept.asked.elapsed() < KEPT_FOR);
        while kept.len() > KEPT
            || (kept.len() > 1 && kept.iter().map(|kept| kept.rows).sum::<usize>() > KEPT_ROWS)
        {
            kept.pop_front();
        }
        Ok(Page { answer, rows: 0..size, next_token: token(number, size) })
    }

    /// Returns the page that a token names.
    pub(super) fn next(&self, request: Fingerprint, asked: &str, size: usize) -> Result<Page<A>, Status> {
        let (number, start) =
            parse(asked).ok_or_else(|| refuse::field("page_token", "not a token of this call"))?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = kept.iter_mut().find(|kept| kept.number == number) else {
            return Err(refuse::with(
                Code::FailedPrecondition,
                Reason::PageNotKept,
                "page_token: its answer is no longer kept; ask again for the first page",
                ErrorDetails::with_precondition_failure_violation("PAGE_TOKEN", asked, "no longer kept"),
            ));
        };
        if found.request != request || start > found.rows {
            return Err(refuse::field("page_token", "belongs to another request"));
        }
        found.asked = Instant::now();
        let end = found.rows.min(start.saturating_add(size));
        let next_token = if end < found.rows { token(number, end) } else { String::new() };
        Ok(Page { answer: Arc::clone(&found.answer), rows: start..end, next_token })
    }
}

fn token(number: u64, row: usize) -> String {
    format!("{number:016x}-{row}")
}

fn parse(token: &str) -> Option<(u64, usize)> {
    let (number, row) = token.split_once('-')?;
    Some((u64::from_str_radix(number, 16).ok()?, row.parse().ok()?))
}

/// Nobody can guess somebody else's token.
fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    match getrandom(&mut bytes, GetRandomFlags::empty())? {
        8 => Ok(u64::from_le_bytes(bytes)),
        _ => Err(io::Error::other("the system gave too little randomness")),
    }
}

/// How many rows a page of some call may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Where the request does not say.
    default: usize,
    pub(super) most: usize,
}

/// Matches of a search: all of them, where the request does not say.
pub(super) const MATCHES: Sizes = Sizes { default: 10_000, most: 10_000 };

/// Groups of photos.
pub(super) const GROUPS: Sizes = Sizes { default: 100, most: 1_000 };

/// Photos and failures.
pub(super) const ROWS: Sizes = Sizes { default: 1_000, most: 10_000 };

/// Reads the size of a page: one beyond the limit is the limit (AIP-158).
pub(super) fn size(asked: i32, Sizes { default, most }: Sizes) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(default),
        Ok(size) => Ok(size.min(most)),
        Err(_) => Err(refuse::field("page_size", format_args!("must not be negative; 0 is {default}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another_until_the_end() {
        let pages = Pages::new();
        let mut page = pages.first([1; 32], "answer", 7, 3).unwrap();
        let mut seen = vec![page.rows.clone()];
        while !page.next_token.is_empty() {
            page = pages.next([1; 32], &page.next_token, 2).unwrap();
            seen.push(page.rows.clone());
        }
        assert_eq!(seen, [0..3, 3..5, 5..7]);
        assert!(pages.first([1; 32], "answer", 3, 3).unwrap().next_token.is_empty());
    }

    #[test]
    fn a_token_of_another_request_and_one_that_is_too_old_are_refused() {
        let pages = Pages::new();
        let token = pages.first([1; 32], 0, 7, 3).unwrap().next_token;
        let refused = |request, token: &str| pages.next(request, token, 3).err().unwrap().code();
        assert_eq!(refused([2; 32], &token), Code::InvalidArgument);
        assert_eq!(refused([1; 32], "token"), Code::InvalidArgument);
        assert_eq!(pages.next([1; 32], &token, 3).unwrap().rows, 3..6);
        for answer in 0..KEPT {
            pages.first([1; 32], answer, 7, 3).unwrap();
        }
        assert_eq!(refused([1; 32], &token), Code::FailedPrecondition);
    }

    #[test]
    fn answers_of_many_rows_push_older_ones_out() {
        let pages = Pages::new();
        let token = pages.first([1; 32], 0, KEPT_ROWS / 2, 3).unwrap().next_token;
        let large = pages.first([1; 32], 0, 2 * KEPT_ROWS, 3).unwrap().next_token;
        assert!(pages.next([1; 32], &token, 3).is_err());
        assert!(pages.next([1; 32], &large, 3).is_ok());
    }
}
