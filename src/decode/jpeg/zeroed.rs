//! Parts of a JPEG that a disk or a card has replaced by zeros.
//!
//! libjpeg does not mind: zeros are code words like others, and with most tables they mean noise that comes to grey. Where a
//! table has the shortest word for "nothing changes", many zeros are a large even part of a picture, and stay one.

use super::segments::{END_OF_IMAGE, PROGRESSIVE, START_OF_SCAN, body, next_marker};

/// Zeros that no coded picture has in a row, where zeros mean something. A block of a disk has 4,096 bytes, of which an aligned
/// quarter is found wherever the file's scans begin.
const LOST_BYTES: usize = 1024;

const HUFFMAN_TABLES: u8 = 0xc4;

/// Which of the four tables of each class have "nothing changes" as the word of zeros only.
#[derive(Clone, Copy, Default)]
struct Tables {
    direct: [bool; 4],
    alternating: [bool; 4],
}

impl Tables {
    /// Reads the tables of one segment. The first word of each is that of zeros only.
    fn read(&mut self, mut body: &[u8]) {
        while let Some((&[which, ref counts @ ..], rest)) = body.split_first_chunk::<17>() {
            let words = counts.iter().map(|&count| usize::from(count)).sum();
            let Some((words, rest)) = rest.split_at_checked(words) else { return };
            let place = usize::from(which & 3);
            let Some(&first) = words.first() else { return };
            match which >> 4 {
                0 => self.direct[place] = first == 0,
                // The end of a block, or of many.
                _ => self.alternating[place] = first & 0x0f == 0 && first != 0xf0,
            }
            body = rest;
        }
    }

    /// Says whether zeros in a scan of this header may be a part of a picture.
    fn may_be_zeros(&self, header: &[u8], is_progressive: bool) -> bool {
        let Some((&count, rest)) = header.split_first() else { return true };
        let Some((components, &[first, _, bits])) = rest
            .split_at_checked(2 * usize::from(count))
            .and_then(|(components, rest)| Some((components, rest.first_chunk::<3>()?)))
        else {
            return true;
        };
        // What refines is bits of their own; most of them are zeros.
        if is_progressive && (first == 0 || bits >> 4 != 0) {
            return true;
        }
        components.as_chunks::<2>().0.iter().all(|&[_, tables]| {
            let (direct, alternating) = (usize::from(tables >> 4 & 3), usize::from(tables & 3));
            self.alternating[alternating] && (is_progressive || self.direct[direct])
        })
    }
}

/// Says whether zeros stand where a coded picture has none.
pub(super) fn has_lost_a_part(bytes: &[u8]) -> bool {
    let (mut at, mut tables, mut is_progressive) = (2, Tables::default(), false);
    while let Some((marker, start)) = next_marker(bytes, at) {
        at = start;
        if matches!(marker, 0x01 | 0xd0..=0xd8) {
            continue; // no length follows
        }
        if marker == END_OF_IMAGE {
            break;
        }
        let Some((body, end)) = body(bytes, start) else { break };
        at = end;
        match marker {
            PROGRESSIVE => is_progressive = true,
            HUFFMAN_TABLES => tables.read(body),
            START_OF_SCAN => {
                let mut end_of_scan = end;
                // Marks between the parts of a scan do not end it.
                let next = loop {
                    match next_marker(bytes, end_of_scan) {
                        Some((0xd0..=0xd7, start)) => end_of_scan = start,
                        Some((_, start)) => break start,
                        None => break bytes.len(),
                    }
                };
                if !tables.may_be_zeros(body, is_progressive) && has_zeros(&bytes[end..next]) {
                    return true;
                }
                at = end_of_scan;
            }
            _ => {}
        }
    }
    false
}

fn has_zeros(coded: &[u8]) -> bool {
    coded.chunks_exact(LOST_BYTES).any(|part| part.iter().all(|&byte| byte == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of one scan whose tables have these words first, and that has so many zeros in the middle.
    fn file(direct: u8, alternating: u8, zeros: usize) -> Vec<u8> {
        let mut tables = vec![0xff, 0xc4, 0, 2 + 2 * 19];
        for (class, first) in [(0x00, direct), (0x10, alternating)] {
            tables.extend([class, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, first, 5]);
        }
        let scan = b"\xff\xda\0\x08\x01\x01\0\0\x3f\0";
        [b"\xff\xd8", &tables[..], scan, &[7; 300], &vec![0; zeros], &[7; 300], b"\xff\xd9"].concat()
    }

    #[test]
    fn zeros_are_a_loss_where_they_mean_something() {
        assert!(has_lost_a_part(&file(0, 1, 2 * LOST_BYTES)));
        assert!(!has_lost_a_part(&file(0, 1, LOST_BYTES / 2)));
        assert!(!has_lost_a_part(&file(0, 0, 9 * LOST_BYTES)), "an even part of a picture");
        assert!(has_lost_a_part(&file(3, 0, 2 * LOST_BYTES)));
    }

    #[test]
    fn nonsense_has_lost_nothing() {
        for bytes in [
            b"".as_slice(),
            b"\xff\xd8",
            b"\xff\xd8\xff\xda",
            b"\xff\xd8\xff\xda\0\x02",
            b"\xff\xd8\xff\xc4\0\x04\0\0",
        ] {
            assert!(!has_lost_a_part(bytes));
        }
    }
}
