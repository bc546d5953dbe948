//! The segments of a JPEG between its markers, as far as they are ours to read. What is wrong with them is left to
//! libjpeg to say.

pub(super) const END_OF_IMAGE: u8 = 0xd9;
pub(super) const START_OF_SCAN: u8 = 0xda;

/// What a walk over the segments found.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Segments<'a> {
    /// The EXIF block, from its byte-order mark on.
    pub exif: Option<&'a [u8]>,
    /// The parts of the ICC profile, each with its number, as they came.
    profile: Vec<(u8, &'a [u8])>,
    /// The first frame header.
    pub frame: Option<Frame>,
    /// Scans of the picture, as far as they were counted.
    pub scans: usize,
    /// Components in the first scan.
    first_scan_components: u8,
    /// For each component by its place in the frame: the coefficients, a bit each, of which a whole scan has come.
    coefficients: [u64; MOST_COMPONENTS],
}

/// As many as libjpeg takes.
const MOST_COMPONENTS: usize = 4;

/// The direct current and the five lowest frequencies: with them a picture of half the size is sharp.
const LOW_FREQUENCIES: u64 = 0b11_1111;

const DIRECT_CURRENT: u64 = 1;

pub(super) const PROGRESSIVE: u8 = 0xc2;

/// How the picture is coded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Frame {
    marker: u8,
    bits: u8,
    components: u8,
    /// The numbers of the components, by which scans name them.
    names: [u8; MOST_COMPONENTS],
    pub width: u16,
    pub height: u16,
}

impl Frame {
    fn read(marker: u8, body: &[u8]) -> Option<Self> {
        let [bits, height_high, height_low, width_high, width_low, components, ref rest @ ..] = *body else {
            return None;
        };
        let mut names = [0; MOST_COMPONENTS];
        for (name, component) in names.iter_mut().zip(rest.as_chunks::<3>().0) {
            *name = component[0];
        }
        let width = u16::from_be_bytes([width_high, width_low]);
        let height = u16::from_be_bytes([height_high, height_low]);
        Some(Self { marker, bits, components, names, width, height })
    }

    /// Names the kind of coding if it is one that libjpeg does not decode.
    pub(super) fn unsupported(self) -> Option<&'static str> {
        match (self.marker, self.bits) {
            (0xc3, _) => Some("lossless coding"),
            (0xc5..=0xc7, _) => Some("hierarchical coding"),
            (0xc9..=0xcf, _) => Some("arithmetic coding"),
            (_, 8) => None,
            (_, 12) => Some("12 bits a sample"),
            _ => Some("an unknown number of bits a sample"),
        }
    }
}

impl<'a> Segments<'a> {
    /// Walks to the end of the picture, or until `max_scans` were counted, or to where the file makes no sense.
    pub(super) fn read(bytes: &'a [u8], max_scans: usize) -> Self {
        let mut found = Self::default();
        let mut at = 2;
        // The scan whose coded bytes are being passed.
        let mut scan: Option<&[u8]> = None;
        while found.scans < max_scans
            && let Some((marker, start)) = next_marker(bytes, at)
        {
            at = start;
            if matches!(marker, 0x01 | 0xd0..=0xd8) {
                continue; // no length follows
            }
            // What follows a scan ends it.
            scan.take().into_iter().for_each(|header| found.count_coefficients(header));
            if marker == END_OF_IMAGE {
                break;
            }
            let Some((body, end)) = body(bytes, start) else { break };
            at = end;
            match marker {
                0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) && found.frame.is_none() => {
                    found.frame = Frame::read(marker, body);
                }
                0xe1 if found.exif.is_none() => found.exif = body.strip_prefix(b"Exif\0\0"),
                0xe2 => {
                    if let Some([number, _, part @ ..]) = body.strip_prefix(b"ICC_PROFILE\0") {
                        found.profile.push((*number, part));
                    }
                }
                START_OF_SCAN => {
                    if found.scans == 0 {
                        found.first_scan_components = body.first().copied().unwrap_or(0);
                    }
                    found.scans += 1;
                    scan = Some(body);
                }
                _ => {}
            }
        }
        found
    }

    /// Counts what a scan, by its header, has brought.
    fn count_coefficients(&mut self, header: &[u8]) {
        let Some(frame) = self.frame else { return };
        let Some((&count, rest)) = header.split_first() else { return };
        let Some((components, &[first, last, _])) = rest
            .split_at_checked(2 * usize::from(count))
            .and_then(|(components, rest)| Some((components, rest.first_chunk::<3>()?)))
        else {
            return;
        };
        if first > last || last > 63 {
            return;
        }
        let band = (u64::MAX >> (63 - last)) & (u64::MAX << first);
        for component in components.as_chunks::<2>().0 {
            if let Some(place) = frame.names.iter().position(|name| *name == component[0]) {
                self.coefficients[place] |= band;
            }
        }
    }

    /// Says whether the scans of a progressive picture that have come whole show all of it, if not in every detail.
    pub(super) fn shows_all(&self) -> bool {
        let Some(frame) = self.frame.filter(|frame| frame.marker == PROGRESSIVE) else { return false };
        let components = &self.coefficients[..MOST_COMPONENTS.min(frame.components.into())];
        let has = |coefficients: u64, wanted: u64| coefficients & wanted == wanted;
        components.iter().all(|&component| has(component, DIRECT_CURRENT))
            && components.first().is_some_and(|&luminance| has(luminance, LOW_FREQUENCIES))
    }

    /// Returns the ICC profile, put together from its parts in their order.
    pub(super) fn icc_profile(&self) -> Option<Vec<u8>> {
        let mut parts = self.profile.clone();
        parts.sort_by_key(|(number, _)| *number);
        (!parts.is_empty()).then(|| parts.iter().flat_map(|(_, part)| *part).copied().collect())
    }

    /// Says whether the picture is spread over several scans, so that all its coefficients are kept until the last.
    pub(super) fn has_several_scans(&self) -> bool {
        self.scans > 1
            || self.frame.is_some_and(|frame| {
                frame.marker == PROGRESSIVE || self.first_scan_components < frame.components
            })
    }
}

/// Hashes all that makes the pixels: the coded picture, its tables, its profile and Adobe's mark. What programs write about a
/// picture, and what stands behind its end, is left out.
pub(super) fn hash_picture(bytes: &[u8], hasher: &mut blake3::Hasher) {
    let (mut at, mut hashed, mut end_of_picture) = (2, 2, bytes.len());
    while let Some((marker, start)) = next_marker(bytes, at) {
        at = start;
        if matches!(marker, 0x01 | 0xd0..=0xd8) {
            continue;
        }
        if marker == END_OF_IMAGE {
            end_of_picture = start;
            break;
        }
        let Some((body, end)) = body(bytes, start) else { break };
        at = end;
        let is_told = match marker {
            0xe2 => !body.starts_with(b"ICC_PROFILE\0"),
            0xee => !body.starts_with(b"Adobe"),
            0xe0..=0xef | 0xfe => true,
            _ => false,
        };
        if is_told {
            // Bytes 0xff may fill the way to a marker, and nothing that is coded ends in one.
            let coded = &bytes[hashed..start - 1];
            let fill = coded.iter().rev().take_while(|&&byte| byte == 0xff).count();
            hasher.update(&coded[..coded.len() - fill]);
            hashed = end;
        }
    }
    hasher.update(&bytes[hashed..end_of_picture]);
}

/// Finds the next marker and where its segment begins. On the way lie fill bytes, the coded bytes of a scan, and in
/// files of careless writers anything.
pub(super) fn next_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += memchr::memchr(0xff, bytes.get(at..)?)?;
        at += bytes[at..].iter().position(|&byte| byte != 0xff)?;
        if bytes[at] != 0 {
            return Some((bytes[at], at + 1));
        }
    }
}

/// Returns a segment without marker and length, and where it ends.
pub(super) fn body(bytes: &[u8], start: usize) -> Option<(&[u8], usize)> {
    let len = u16::from_be_bytes(*bytes.get(start..)?.first_chunk()?);
    let end = start + usize::from(len);
    Some((bytes.get(start + 2..end)?, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCAN: &[u8] = b"\xff\xda\0\x08\x01\x01\0\0\x3f\0coded\xff\0bytes\xff\xd0";

    fn frame(marker: u8, bits: u8) -> Vec<u8> {
        [0xff, marker, 0, 11, bits, 0, 16, 0, 32, 1, 1, 0x11, 0].to_vec()
    }

    #[test]
    fn the_segments_of_a_picture_are_read_to_its_end() {
        let exif = b"\xff\xe1\0\x0aExif\0\0II\xff\xff";
        let file = [b"\xff\xd8".as_slice(), exif, &frame(0xc2, 8), SCAN, SCAN, b"\xff\xd9", SCAN].concat();
        let found = Segments::read(&file, 9);
        assert_eq!((found.exif, found.scans), (Some(b"II".as_slice()), 2));
        let frame = found.frame.unwrap();
        assert_eq!((frame.unsupported(), frame.width, frame.height), (None, 32, 16));
        assert!(found.has_several_scans());
        assert_eq!(Segments::read(&file, 1).scans, 1);
    }

    #[test]
    fn one_scan_with_all_components_is_not_several() {
        let file = [b"\xff\xd8".as_slice(), &frame(0xc0, 8), SCAN, b"\xff\xd9"].concat();
        assert!(!Segments::read(&file, 9).has_several_scans());
    }

    #[test]
    fn the_parts_of_a_profile_are_put_into_their_order() {
        let part = |number: u8, text: &[u8]| {
            let head = [b"\xff\xe2\0".as_slice(), &[16 + text.len() as u8], b"ICC_PROFILE\0", &[number, 2]];
            [&head.concat(), text].concat()
        };
        let file = [b"\xff\xd8".as_slice(), &part(2, b"file"), &part(1, b"pro"), SCAN].concat();
        assert_eq!(Segments::read(&file, 9).icc_profile().as_deref(), Some(b"profile".as_slice()));
        assert_eq!(Segments::read(b"\xff\xd8", 9).icc_profile(), None);
    }

    #[test]
    fn what_is_told_of_a_picture_is_no_part_of_it() {
        let hash = |parts: &[&[u8]]| {
            let mut hasher = blake3::Hasher::new();
            hash_picture(&parts.concat(), &mut hasher);
            hasher.finalize()
        };
        let (start, end, frame) = (b"\xff\xd8".as_slice(), b"\xff\xd9".as_slice(), frame(0xc0, 8));
        let (exif, comment) = (b"\xff\xe1\0\x0aExif\0\0II".as_slice(), b"\xff\xfe\0\x04hi".as_slice());
        let adobe = b"\xff\xee\0\x09Adobe\0\x01".as_slice();
        let bare = hash(&[start, &frame, SCAN, end]);
        assert_eq!(hash(&[start, exif, &frame, comment, SCAN, end, b"a film"]), bare);
        assert_eq!(hash(&[start, exif, b"\xff\xff", comment, &frame, SCAN, end]), bare);
        assert_ne!(hash(&[start, adobe, &frame, SCAN, end]), bare);
        assert_ne!(hash(&[start, &frame, SCAN, SCAN, end]), bare);
        assert_ne!(hash(&[start, &frame, b"\xff\xda\0\x08\x01\x01\0\0\x3f\0other", end]), bare);
        let cut = |rest: &[u8]| hash(&[start, &frame, &SCAN[..12], rest]);
        assert_ne!(cut(b"one"), cut(b"other"), "without an end, all that follows is the picture");
    }

    #[test]
    fn nonsense_ends_the_walk() {
        for file in
            [b"\xff\xd8".as_slice(), b"\xff\xd8\xff", b"\xff\xd8\xff\xe1\0\x01", b"\xff\xd8\xff\xe1\xff\xff"]
        {
            assert_eq!(Segments::read(file, 9), Segments::default());
        }
    }

    #[test]
    fn kinds_of_coding_that_are_not_decoded_have_a_name() {
        let check = |marker: u8, bits: u8, expected| {
            let file = [b"\xff\xd8".as_slice(), &frame(marker, bits)].concat();
            assert_eq!(Segments::read(&file, 9).frame.unwrap().unsupported(), expected);
        };
        check(0xc0, 8, None);
        check(0xc1, 12, Some("12 bits a sample"));
        check(0xc3, 16, Some("lossless coding"));
        check(0xc5, 8, Some("hierarchical coding"));
        check(0xca, 8, Some("arithmetic coding"));
    }
}
