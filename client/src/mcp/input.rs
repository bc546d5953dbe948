//! The standard input, line by line. A thread of its own reads it, since a read of a pipe may last for ever.

use std::io::{self, BufRead, Read};
use std::thread;

use tokio::sync::mpsc;

/// Bytes of a line. The longest that a client has reason to send names a few files.
const MOST_BYTES: usize = 4 << 20;

/// Lines that wait to be looked at.
const WAITING: usize = 16;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Whole(Vec<u8>),
    /// What was too long is left out.
    TooLong,
}

/// Returns the lines of the standard input, as they come.
///
/// # Errors
/// No thread can be had.
#[expect(clippy::disallowed_methods, reason = "it ends with the input or the process; nothing waits for it")]
pub(super) fn lines() -> io::Result<mpsc::Receiver<io::Result<Line>>> {
    let (sender, lines) = mpsc::channel(WAITING);
    thread::Builder::new().name("input".into()).spawn(move || {
        let mut input = io::stdin().lock();
        while let Some(line) = read(&mut input, MOST_BYTES).transpose() {
            let is_error = line.is_err();
            if sender.blocking_send(line).is_err() || is_error {
                return;
            }
        }
    })?;
    Ok(lines)
}

/// Reads a line; `None` at the end.
fn read(input: &mut impl BufRead, most: usize) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    if input.by_ref().take(most as u64).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.len() < most || line.ends_with(b"\n") {
        return Ok(Some(Line::Whole(line)));
    }
    input.skip_until(b'\n')?;
    Ok(Some(Line::TooLong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_costs_that_line() {
        let mut input = io::Cursor::new(b"one\ntoo long\n\ntwo".to_vec());
        let mut next = || read(&mut input, 5).unwrap();
        assert_eq!(next(), Some(Line::Whole(b"one\n".to_vec())));
        assert_eq!(next(), Some(Line::TooLong));
        assert_eq!(next(), Some(Line::Whole(b"\n".to_vec())));
        assert_eq!(next(), Some(Line::Whole(b"two".to_vec())));
        assert_eq!(next(), None);
    }
}
