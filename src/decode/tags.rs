//! Reading the tags of a TIFF structure: EXIF blocks, TIFF and BigTIFF files, and the camera RAWs built on them.
//!
//! Nothing is copied and nothing is trusted: every offset and count is checked against the bytes at hand, a
//! value that does not fit is absent, and whoever follows links counts the steps (broken files link in circles).

/// Tags this room reads, by their names in the EXIF and TIFF specifications.
pub(super) mod tag {
    pub const INTEROP_INDEX: u16 = 0x0001;
    pub const PANASONIC_JPEG: u16 = 0x002e;
    pub const NEW_SUBFILE_TYPE: u16 = 0x00fe;
    pub const SUBFILE_TYPE: u16 = 0x00ff;
    pub const IMAGE_WIDTH: u16 = 0x0100;
    pub const IMAGE_LENGTH: u16 = 0x0101;
    pub const BITS_PER_SAMPLE: u16 = 0x0102;
    pub const COMPRESSION: u16 = 0x0103;
    pub const PHOTOMETRIC: u16 = 0x0106;
    pub const MAKE: u16 = 0x010f;
    pub const MODEL: u16 = 0x0110;
    pub const STRIP_OFFSETS: u16 = 0x0111;
    pub const ORIENTATION: u16 = 0x0112;
    pub const SAMPLES_PER_PIXEL: u16 = 0x0115;
    pub const ROWS_PER_STRIP: u16 = 0x0116;
    pub const STRIP_BYTE_COUNTS: u16 = 0x0117;
    pub const PLANAR_CONFIGURATION: u16 = 0x011c;
    pub const DATE_TIME: u16 = 0x0132;
    pub const PREDICTOR: u16 = 0x013d;
    pub const COLOR_MAP: u16 = 0x0140;
    pub const TILE_WIDTH: u16 = 0x0142;
    pub const TILE_LENGTH: u16 = 0x0143;
    pub const TILE_OFFSETS: u16 = 0x0144;
    pub const TILE_BYTE_COUNTS: u16 = 0x0145;
    pub const SUB_IFDS: u16 = 0x014a;
    pub const EXTRA_SAMPLES: u16 = 0x0152;
    pub const SAMPLE_FORMAT: u16 = 0x0153;
    pub const JPEG_OFFSET: u16 = 0x0201;
    pub const JPEG_LENGTH: u16 = 0x0202;
    pub const EXIF_IFD: u16 = 0x8769;
    pub const ICC_PROFILE: u16 = 0x8773;
    pub const GPS_IFD: u16 = 0x8825;
    pub const DATE_TIME_ORIGINAL: u16 = 0x9003;
    pub const DATE_TIME_DIGITIZED: u16 = 0x9004;
    pub const OFFSET_TIME: u16 = 0x9010;
    pub const OFFSET_TIME_ORIGINAL: u16 = 0x9011;
    pub const OFFSET_TIME_DIGITIZED: u16 = 0x9012;
    pub const SUB_SEC_TIME: u16 = 0x9290;
    pub const SUB_SEC_TIME_ORIGINAL: u16 = 0x9291;
    pub const SUB_SEC_TIME_DIGITIZED: u16 = 0x9292;
    pub const INTEROP_IFD: u16 = 0xa005;
    pub const LENS_MODEL: u16 = 0xa434;
    pub const DNG_VERSION: u16 = 0xc612;
}

/// A TIFF structure in memory.
#[derive(Clone, Copy)]
pub(super) struct Tiff<'a> {
    bytes: &'a [u8],
    big_endian: bool,
    /// BigTIFF: offsets and counts of 64 bits.
    big: bool,
}

impl<'a> Tiff<'a> {
    /// Reads the header. Olympus and Panasonic put magic numbers of their own where TIFF has 42.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (big_endian, magic) = match bytes.get(..4)? {
            [b'I', b'I', low, high] => (false, u16::from_le_bytes([*low, *high])),
            [b'M', b'M', high, low] => (true, u16::from_be_bytes([*high, *low])),
            _ => return None,
        };
        match magic {
            42 | 0x55 | 0x4f52 | 0x5352 => Some(Self { bytes, big_endian, big: false }),
            43 => Some(Self { bytes, big_endian, big: true }),
            _ => None,
        }
    }

    /// Returns the first directory.
    pub(super) fn first(self) -> Option<Directory<'a>> {
        let offset = if self.big { self.u64_at(8)? } else { u64::from(self.u32_at(4)?) };
        self.directory(offset)
    }

    /// Returns where the header says which directory is the first, and what it has to say for this one to be it.
    pub(super) fn set_first(self, directory: &Directory<'_>) -> (usize, Vec<u8>) {
        let start = directory.start() as u64;
        match (self.big, self.big_endian) {
            (true, false) => (8, start.to_le_bytes().to_vec()),
            (true, true) => (8, start.to_be_bytes().to_vec()),
            (false, false) => (4, (start as u32).to_le_bytes().to_vec()),
            (false, true) => (4, (start as u32).to_be_bytes().to_vec()),
        }
    }

    /// Returns the directory at an offset.
    pub(super) fn directory(self, offset: u64) -> Option<Directory<'a>> {
        let start = usize::try_from(offset).ok()?;
        if start < 8 {
            return None;
        }
        let (count, header, entry) =
            if self.big { (self.u64_at(start)?, 8, 20) } else { (u64::from(self.u16_at(start)?), 2, 12) };
        let first = start.checked_add(header)?;
        // A directory cut off by the end of the file keeps the entries that are there.
        let whole = (self.bytes.len().checked_sub(first)? / entry).min(usize::try_from(count).ok()?);
        Some(Directory { tiff: self, first, entries: whole, entry_len: entry })
    }

    fn slice(self, offset: u64, len: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(offset).ok()?;
        self.bytes.get(start..start.checked_add(usize::try_from(len).ok()?)?)
    }

    fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..)?.first_chunk().copied()
    }

    fn u16_at(self, at: usize) -> Option<u16> {
        self.array(at)
            .map(|raw| if self.big_endian { u16::from_be_bytes(raw) } else { u16::from_le_bytes(raw) })
    }

    fn u32_at(self, at: usize) -> Option<u32> {
        self.array(at)
            .map(|raw| if self.big_endian { u32::from_be_bytes(raw) } else { u32::from_le_bytes(raw) })
    }

    fn u64_at(self, at: usize) -> Option<u64> {
        self.array(at)
            .map(|raw| if self.big_endian { u64::from_be_bytes(raw) } else { u64::from_le_bytes(raw) })
    }
}

/// One image file directory: a list of tags with values.
#[derive(Clone, Copy)]
pub(super) struct Directory<'a> {
    tiff: Tiff<'a>,
    first: usize,
    entries: usize,
    entry_len: usize,
}

impl<'a> Directory<'a> {
    /// Returns the value of a tag; of the first one where it stands twice.
    pub(super) fn find(&self, tag: u16) -> Option<Value<'a>> {
        self.entry(tag).and_then(|at| self.value(at))
    }

    /// Returns where the entry of a tag begins.
    fn entry(&self, tag: u16) -> Option<usize> {
        let mut entries = (0..self.entries).map(|index| self.first + index * self.entry_len);
        entries.find(|&at| self.tiff.u16_at(at) == Some(tag))
    }

    /// Returns where the directory begins in the file.
    pub(super) fn start(&self) -> usize {
        self.first - if self.tiff.big { 8 } else { 2 }
    }

    /// Returns the place of a tag's value, and the bytes that make it `value`. `None` where it is not one short number.
    pub(super) fn set(&self, tag: u16, value: u16) -> Option<(usize, Vec<u8>)> {
        let at = self.entry(tag)?;
        let found = self.value(at)?;
        let bytes = if self.tiff.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let place = at + if self.tiff.big { 12 } else { 8 };
        (found.kind == 3 && found.len() == 1).then(|| (place, bytes.to_vec()))
    }

    fn value(&self, at: usize) -> Option<Value<'a>> {
        let tiff = self.tiff;
        let kind = tiff.u16_at(at + 2)?;
        let item_bytes = match kind {
            1 | 2 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16 | 17 | 18 => 8,
            _ => return None,
        };
        let (count, inline, inline_len) = if tiff.big {
            (tiff.u64_at(at + 4)?, at + 12, 8)
        } else {
            (u64::from(tiff.u32_at(at + 4)?), at + 8, 4)
        };
        let len = count.checked_mul(item_bytes)?;
        let offset = if len <= inline_len {
            inline as u64
        } else if tiff.big {
            tiff.u64_at(inline)?
        } else {
            u64::from(tiff.u32_at(inline)?)
        };
        Some(Value { tiff, kind, data: tiff.slice(offset, len)? })
    }

    /// Returns the first number of a tag.
    pub(super) fn unsigned(&self, tag: u16) -> Option<u64> {
        self.find(tag)?.unsigned(0)
    }

    /// Returns the text of a tag, cleaned up; `None` where nothing legible is in it.
    pub(super) fn text(&self, tag: u16) -> Option<String> {
        self.find(tag)?.text()
    }

    /// Returns the directory that a tag points to.
    pub(super) fn child(&self, tag: u16) -> Option<Directory<'a>> {
        self.tiff.directory(self.unsigned(tag)?)
    }

    /// Returns the directories that a tag points to, at most `limit`.
    pub(super) fn children(&self, tag: u16, limit: usize) -> impl Iterator<Item = Directory<'a>> {
        let value = self.find(tag);
        let tiff = self.tiff;
        (0..limit).map_while(move |index| value?.unsigned(index)).filter_map(move |at| tiff.directory(at))
    }

    /// Returns the directory that follows this one in the file's chain.
    pub(super) fn next(&self) -> Option<Directory<'a>> {
        let link = self.first + self.entries * self.entry_len;
        let offset = if self.tiff.big { self.tiff.u64_at(link)? } else { u64::from(self.tiff.u32_at(link)?) };
        self.tiff.directory(offset)
    }
}

/// The value of one tag.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    tiff: Tiff<'a>,
    kind: u16,
    data: &'a [u8],
}

impl<'a> Value<'a> {
    /// Returns the bytes as they stand in the file.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.data
    }

    /// Returns how many items there are; of numbers of up to 32 bits.
    pub(super) fn len(&self) -> usize {
        self.data.len()
            / match self.kind {
                3 | 8 => 2,
                4 | 9 | 11 | 13 => 4,
                5 | 10 | 12 | 16..=18 => 8,
                _ => 1,
            }
    }

    /// Returns the number at `index`, of whatever width it was written.
    pub(super) fn unsigned(&self, index: usize) -> Option<u64> {
        let within = Tiff { bytes: self.data, ..self.tiff };
        match self.kind {
            1 | 7 => self.data.get(index).map(|&byte| u64::from(byte)),
            3 => within.u16_at(index.checked_mul(2)?).map(u64::from),
            4 | 13 => within.u32_at(index.checked_mul(4)?).map(u64::from),
            16 | 18 => within.u64_at(index.checked_mul(8)?),
            _ => None,
        }
    }

    /// Returns the fraction at `index`, signed or not; `None` where its denominator is 0.
    pub(super) fn rational(&self, index: usize) -> Option<f64> {
        let within = Tiff { bytes: self.data, ..self.tiff };
        let at = index.checked_mul(8)?;
        let (numerator, denominator) = (within.u32_at(at)?, within.u32_at(at + 4)?);
        let (numerator, denominator) = match self.kind {
            5 => (f64::from(numerator), f64::from(denominator)),
            10 => (f64::from(numerator.cast_signed()), f64::from(denominator.cast_signed())),
            _ => return None,
        };
        (denominator != 0.0).then(|| numerator / denominator)
    }

    /// Returns the text up to its first NUL. Bytes that are not UTF-8 are replaced, control characters and
    /// surrounding spaces dropped, and it is cut at 128 characters.
    pub(super) fn text(&self) -> Option<String> {
        if !matches!(self.kind, 1 | 2 | 7) {
            return None;
        }
        let end = self.data.iter().position(|&byte| byte == 0).unwrap_or(self.data.len());
        let text: String = String::from_utf8_lossy(&self.data[..end.min(1024)])
            .chars()
            .filter(|letter| !letter.is_control())
            .take(128)
            .collect();
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Builds a TIFF structure of one directory from entries of (tag, type, count, value field).
    pub(in crate::decode) fn little_endian(entries: &[(u16, u16, u32, [u8; 4])], rest: &[u8]) -> Vec<u8> {
        let mut bytes = b"II*\0\x08\0\0\0".to_vec();
        bytes.extend((entries.len() as u16).to_le_bytes());
        for (tag, kind, count, value) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(count.to_le_bytes());
            bytes.extend(value);
        }
        bytes.extend([0; 4]);
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn numbers_of_each_width_are_read_in_both_byte_orders() {
        let bytes = little_endian(&[(tag::ORIENTATION, 3, 1, [6, 0, 0, 0])], &[]);
        let directory = Tiff::parse(&bytes).unwrap().first().unwrap();
        assert_eq!(directory.unsigned(tag::ORIENTATION), Some(6));
        assert!(directory.next().is_none());

        let big = b"MM\0*\0\0\0\x08\0\x01\x01\x00\0\x04\0\0\0\x01\0\0\x10\x01\0\0\0\0";
        assert_eq!(Tiff::parse(big).unwrap().first().unwrap().unsigned(tag::IMAGE_WIDTH), Some(0x1001));
    }

    #[test]
    fn a_value_outside_the_file_is_absent() {
        let bytes = little_endian(&[(tag::MAKE, 2, 400, [0xff, 0xff, 0, 0])], &[]);
        assert_eq!(Tiff::parse(&bytes).unwrap().first().unwrap().text(tag::MAKE), None);
        let bytes = little_endian(&[(tag::MAKE, 5, u32::MAX, [0xff; 4])], &[]);
        assert!(Tiff::parse(&bytes).unwrap().first().unwrap().find(tag::MAKE).is_none());
    }

    #[test]
    fn a_cut_off_directory_keeps_the_entries_that_are_there() {
        let mut bytes =
            little_endian(&[(tag::ORIENTATION, 3, 1, [6, 0, 0, 0]), (tag::MAKE, 2, 2, *b"A\0\0\0")], &[]);
        bytes.truncate(8 + 2 + 12 + 3);
        let directory = Tiff::parse(&bytes).unwrap().first().unwrap();
        assert_eq!(directory.unsigned(tag::ORIENTATION), Some(6));
        assert_eq!(directory.text(tag::MAKE), None);
    }
}
