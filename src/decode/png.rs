//! Chunks of a PNG that its decoder does not tell of: EXIF, before the pixels or after them, as a chunk of its own or as
//! text; and the colour space of HDR pictures.
//!
//! The PNG decoder stops at the pixels, and knows no other chunk than `eXIf`. ImageMagick wrote EXIF as a "raw profile" for
//! twenty years before that chunk came: hexadecimal digits in a text chunk, below its name and its length.

use std::io::Read;

use flate2::read::ZlibDecoder;

use super::colour::Colour;
use super::info::Exif;

const SIGNATURE: usize = 8;

/// Bytes of unpacked text at the most. EXIF has 64 KB where it comes from a JPEG; each byte is two digits.
const MOST_TEXT: u64 = 1 << 18;

/// The names of the profile; a JPEG has it in its segment APP1.
const KEYWORDS: [&[u8]; 2] = [b"Raw profile type exif", b"Raw profile type APP1"];

/// Reads the EXIF of a PNG: its chunk, or the first raw profile that holds any.
pub(super) fn exif(bytes: &[u8]) -> Option<Exif> {
    let own = Chunks::of(bytes).find(|(kind, _)| *kind == b"eXIf").map(|(_, data)| data.to_vec());
    let block = own.or_else(|| Chunks::of(bytes).find_map(|(kind, data)| profile(kind, data)))?;
    Some(Exif::read(&block))
}

/// Returns the colour space that code points name, which goes before any profile (PNG, third edition, 11.3.2.6).
pub(super) fn colour(bytes: &[u8]) -> Option<Colour> {
    let (_, data) =
        Chunks::of(bytes).take_while(|(kind, _)| *kind != b"IDAT").find(|(kind, _)| *kind == b"cICP")?;
    // The pixels are RGB of the full range, whatever the last two say.
    let &[primaries, transfer, _, _] = data else { return None };
    Some(Colour::CodePoints { primaries: primaries.into(), transfer: transfer.into() })
}

/// The chunks of a file: kind and data. Ends where a chunk does not fit into the file.
struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Chunks<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes.get(SIGNATURE..).unwrap_or_default() }
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = (&'a [u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (len, rest) = self.rest.split_first_chunk::<4>()?;
        let (kind, rest) = rest.split_first_chunk::<4>()?;
        let (data, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        // A checksum follows; broken metadata is found out by reading it.
        self.rest = rest.get(4..).unwrap_or_default();
        Some((kind, data))
    }
}

/// Returns what a raw profile of EXIF in a text chunk holds.
fn profile(kind: &[u8; 4], data: &[u8]) -> Option<Vec<u8>> {
    let keyword = KEYWORDS.into_iter().find(|keyword| data.starts_with(keyword))?;
    let rest = data[keyword.len()..].strip_prefix(b"\0")?;
    let text = match kind {
        b"tEXt" => rest.to_vec(),
        b"zTXt" => unpacked(rest.strip_prefix(b"\0")?)?,
        // Whether it is packed and how; then the language and the keyword in it, each up to a NUL.
        b"iTXt" => {
            let (&[is_packed, _], rest) = rest.split_first_chunk::<2>()?;
            let mut parts = rest.splitn(3, |&byte| byte == 0);
            let text = parts.nth(2)?;
            if is_packed == 0 { text.to_vec() } else { unpacked(text)? }
        }
        _ => return None,
    };
    from_hexadecimal(&text)
}

fn unpacked(packed: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    ZlibDecoder::new(packed).take(MOST_TEXT).read_to_end(&mut text).ok()?;
    Some(text)
}

/// Reads name, length and digits, each after a line break.
fn from_hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let (_name, rest) = text.trim_start().split_once('\n')?;
    let (len, digits) = rest.trim_start().split_once('\n')?;
    let len: usize = len.trim().parse().ok()?;
    let digits: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    data_encoding::HEXLOWER_PERMISSIVE.decode(digits.get(..len.checked_mul(2)?)?).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::super::orientation::Orientation;
    use super::super::tags::tag;
    use super::super::tags::tests::little_endian;
    use super::*;

    fn png(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        for (kind, data) in chunks {
            bytes.extend((data.len() as u32).to_be_bytes());
            bytes.extend(*kind);
            bytes.extend(data);
            bytes.extend([0; 4]);
        }
        bytes
    }

    /// EXIF that says that the picture is stored turned.
    fn turned() -> Vec<u8> {
        little_endian(&[(tag::ORIENTATION, 3, 1, [6, 0, 0, 0])], &[])
    }

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn exif_is_found_wherever_it_stands() {
        let block = [b"Exif\0\0".as_slice(), &turned()].concat();
        let digits = data_encoding::HEXLOWER.encode(&block);
        let lines: Vec<&str> =
            digits.as_bytes().chunks(72).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let text = format!("\nexif\n{:8}\n{}\n", block.len(), lines.join("\n")).into_bytes();
        let with = |keyword: &[u8], between: &[u8], text: &[u8]| [keyword, b"\0", between, text].concat();
        let [exif_key, app1_key] = KEYWORDS;
        let data = (b"IDAT", vec![1, 2, 3]);
        for (place, chunk) in [
            ("a chunk", (b"eXIf", turned())),
            ("packed text", (b"zTXt", with(exif_key, b"\0", &packed(&text)))),
            ("plain text", (b"tEXt", with(app1_key, b"", &text))),
            ("international text", (b"iTXt", with(app1_key, b"\0\0\0\0", &text))),
            ("packed international text", (b"iTXt", with(exif_key, b"\x01\0en\0\0", &packed(&text)))),
        ] {
            for chunks in [[chunk.clone(), data.clone()], [data.clone(), chunk.clone()]] {
                let found = exif(&png(&chunks)).map(|exif| exif.orientation);
                assert_eq!(found, Some(Orientation::Rotate90), "{place}");
            }
        }
        assert_eq!(exif(&png(&[data])), None);
    }

    #[test]
    fn broken_profiles_are_none() {
        for text in [
            &b"\nexif\n  9\nffff\n"[..],
            b"\nexif\n  99999999999999999999\nff",
            b"",
            b"\n\n\n",
            b"\nexif\n 1\nxy\n",
        ] {
            let chunk = [KEYWORDS[0], b"\0", text].concat();
            assert_eq!(exif(&png(&[(b"tEXt", chunk)])), None, "{:?}", String::from_utf8_lossy(text));
        }
        assert_eq!(exif(&png(&[(b"zTXt", [KEYWORDS[0], b"\0\0nonsense"].concat())])), None);
        let mut cut = png(&[(b"eXIf", turned())]);
        cut.truncate(20);
        assert_eq!(exif(&cut), None);
        assert_eq!(exif(b""), None);
    }
}
