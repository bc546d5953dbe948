//! Formats: what kind of file these bytes are, told by the content, never by the name.
//!
//! The name only decides whether a file is worth opening at all ([`is_photo_name`]).

use std::ffi::OsStr;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How many bytes [`sniff`] looks at, at most.
pub const SNIFFED_BYTES: usize = 64;

/// A file format, as far as they are told apart. Stored by number: append, never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Format {
    /// JPEG, motion photos and Ultra HDR included.
    Jpeg,
    /// PNG and APNG.
    Png,
    /// WebP.
    WebP,
    /// GIF.
    Gif,
    /// Windows bitmap.
    Bmp,
    /// TIFF and BigTIFF that are not a camera's RAW.
    Tiff,
    /// HEIF with HEVC pictures, what phones name HEIC.
    Heif,
    /// AVIF.
    Avif,
    /// JPEG XL, bare codestream or container.
    Jxl,
    /// Canon RAW, version 2.
    Cr2,
    /// Canon RAW, version 3.
    Cr3,
    /// Nikon RAW.
    Nef,
    /// Sony RAW.
    Arw,
    /// Olympus RAW.
    Orf,
    /// Panasonic and Leica RAW.
    Rw2,
    /// Fujifilm RAW.
    Raf,
    /// Pentax RAW.
    Pef,
    /// Adobe's digital negative.
    Dng,
    /// Another camera RAW that is a TIFF inside.
    OtherRaw,
    /// Windows icon.
    Ico,
    /// JPEG 2000, bare codestream or container.
    Jpeg2000,
    /// Photoshop's own format, small and large; of which only the merged picture is read.
    Psd,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::Jpeg,
        Self::Png,
        Self::WebP,
        Self::Gif,
        Self::Bmp,
        Self::Tiff,
        Self::Heif,
        Self::Avif,
        Self::Jxl,
        Self::Cr2,
        Self::Cr3,
        Self::Nef,
        Self::Arw,
        Self::Orf,
        Self::Rw2,
        Self::Raf,
        Self::Pef,
        Self::Dng,
        Self::OtherRaw,
        Self::Ico,
        Self::Jpeg2000,
        Self::Psd,
    ];

    /// Returns the IANA media type, or the customary one where none is registered.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::WebP => "image/webp",
            Self::Gif => "image/gif",
            Self::Bmp => "image/bmp",
            Self::Tiff => "image/tiff",
            Self::Heif => "image/heif",
            Self::Avif => "image/avif",
            Self::Jxl => "image/jxl",
            Self::Cr2 => "image/x-canon-cr2",
            Self::Cr3 => "image/x-canon-cr3",
            Self::Nef => "image/x-nikon-nef",
            Self::Arw => "image/x-sony-arw",
            Self::Orf => "image/x-olympus-orf",
            Self::Rw2 => "image/x-panasonic-rw2",
            Self::Raf => "image/x-fuji-raf",
            Self::Pef => "image/x-pentax-pef",
            Self::Dng => "image/x-adobe-dng",
            Self::OtherRaw => "image/x-dcraw",
            Self::Ico => "image/vnd.microsoft.icon",
            Self::Jpeg2000 => "image/jp2",
            Self::Psd => "image/vnd.adobe.photoshop",
        }
    }

    /// Returns the name a photographer would use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
            Self::Heif => "HEIF",
            Self::Avif => "AVIF",
            Self::Jxl => "JPEG XL",
            Self::Cr2 => "CR2",
            Self::Cr3 => "CR3",
            Self::Nef => "NEF",
            Self::Arw => "ARW",
            Self::Orf => "ORF",
            Self::Rw2 => "RW2",
            Self::Raf => "RAF",
            Self::Pef => "PEF",
            Self::Dng => "DNG",
            Self::OtherRaw => "camera RAW",
            Self::Ico => "ICO",
            Self::Jpeg2000 => "JPEG 2000",
            Self::Psd => "Photoshop",
        }
    }

    /// All cameras' RAWs.
    pub const RAW: [Self; 10] = [
        Self::Cr2,
        Self::Cr3,
        Self::Nef,
        Self::Arw,
        Self::Orf,
        Self::Rw2,
        Self::Raf,
        Self::Pef,
        Self::Dng,
        Self::OtherRaw,
    ];

    /// Says whether this is a camera's RAW, of which only the embedded preview is read.
    pub fn is_raw(self) -> bool {
        Self::RAW.contains(&self)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Tells the format from the first [`SNIFFED_BYTES`] of a file, or `None` where they are no picture's.
///
/// Most camera RAWs are TIFFs by their first bytes and come out as [`Format::Tiff`] here; decoding looks
/// further and reports the camera's format.
pub fn sniff(bytes: &[u8]) -> Option<Format> {
    let head = &bytes[..bytes.len().min(SNIFFED_BYTES)];
    let format = match head {
        [0xff, 0xd8, 0xff, ..] => Format::Jpeg,
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Format::Png,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Format::WebP,
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Format::Gif,
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => Format::Bmp,
        [b'I', b'I', b'*', 0, _, _, _, _, b'C', b'R', 2, ..] => Format::Cr2,
        [b'I', b'I', b'*' | b'+', 0, ..] | [b'M', b'M', 0, b'*' | b'+', ..] => Format::Tiff,
        [b'I', b'I', b'U', 0, ..] => Format::Rw2,
        [b'I', b'I', b'R', b'O' | b'S', ..] | [b'M', b'M', b'O', b'R', ..] => Format::Orf,
        [0xff, 0x0a, ..] => Format::Jxl,
        [0, 0, 0, 12, b'J', b'X', b'L', b' ', b'\r', b'\n', 0x87, b'\n', ..] => Format::Jxl,
        [0, 0, 0, 12, b'j', b'P', b' ' | 0x1a, b' ' | 0x1a, b'\r', b'\n', 0x87, b'\n', ..]
        | [0xff, 0x4f, 0xff, 0x51, ..] => Format::Jpeg2000,
        [b'8', b'B', b'P', b'S', 0, 1 | 2, ..] => Format::Psd,
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => return sniff_iso_media(head),
        [0, 0, 1, 0, count, 0, ..] if *count != 0 => Format::Ico,
        _ if head.starts_with(b"FUJIFILMCCD-RAW ") => Format::Raf,
        // Old RAWs of Canon, those of Sigma and of Minolta.
        _ if head.get(6..14) == Some(b"HEAPCCDR")
            || head.starts_with(b"FOVb")
            || head.starts_with(b"\0MRM") =>
        {
            Format::OtherRaw
        }
        // Some writers fill the two reserved fields of a bitmap; the header size after them gives it away.
        [b'B', b'M', rest @ ..] if is_bitmap_header_size(rest) => Format::Bmp,
        _ => return None,
    };
    Some(format)
}

/// Takes the bytes that follow `BM`.
fn is_bitmap_header_size(rest: &[u8]) -> bool {
    rest.get(12..16).is_some_and(|size| matches!(size, [12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0]))
}

/// Reads the brands of an ISO media file: the major one first, then the compatible ones that fit in `head`.
fn sniff_iso_media(head: &[u8]) -> Option<Format> {
    let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let brands = &head[8..size.clamp(8, head.len())];
    let mut heif = false;
    for (index, brand) in brands.chunks_exact(4).enumerate() {
        match brand {
            _ if index == 1 => {} // the minor version, a number
            b"avif" | b"avis" => return Some(Format::Avif),
            b"crx " => return Some(Format::Cr3),
            b"heic" | b"heix" | b"hevc" | b"hevx" | b"heim" | b"heis" | b"hevm" | b"hevs" => {
                return Some(Format::Heif);
            }
            b"mif1" | b"mif2" | b"msf1" => heif = true,
            _ => {}
        }
    }
    heif.then_some(Format::Heif)
}

/// Extensions of the files worth looking at, in lower case.
const PHOTO_EXTENSIONS: &[&str] = &[
    "jpg",
    "jpeg",
    "jpe",
    "jfif",
    "mpo",
    "png",
    "apng",
    "webp",
    "gif",
    "bmp",
    "dib",
    "ico",
    "tif",
    "tiff",
    "heic",
    "heif",
    "heics",
    "heifs",
    "hif",
    "avif",
    "avifs",
    "jxl",
    "cr2",
    "cr3",
    "nef",
    "nrw",
    "arw",
    "srf",
    "sr2",
    "orf",
    "rw2",
    "rwl",
    "raf",
    "pef",
    "dng",
    "srw",
    "kdc",
    "dcr",
    "erf",
    "3fr",
    "fff",
    "iiq",
    "mef",
    "mos",
    "x3f",
    "jp2",
    "jpf",
    "jpx",
    "j2k",
    "j2c",
    "jpc",
    "psd",
    "psb",
    "crw",
    "mrw",
    "raw",
    "gpr",
    "insp",
    "jps",
    "jif",
    "pjpeg",
    "pjpg",
    "jpg_large",
    "jpg_orig",
];

/// Says whether a file of this name is worth opening: its extension, in any case, is that of a photo.
pub fn is_photo_name(name: &OsStr) -> bool {
    let Some(extension) = std::path::Path::new(name).extension().and_then(OsStr::to_str) else {
        return false;
    };
    PHOTO_EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_format() {
        let check = |bytes: &[u8], expected| assert_eq!(sniff(bytes), expected, "{bytes:02x?}");
        check(b"\xff\xd8\xff\xe0", Some(Format::Jpeg));
        check(b"\x89PNG\r\n\x1a\n", Some(Format::Png));
        check(b"RIFF\x04\x00\x00\x00WEBPVP8 ", Some(Format::WebP));
        check(b"GIF89a", Some(Format::Gif));
        check(b"BM\x01\x02\x03\x04\0\0\0\0", Some(Format::Bmp));
        check(b"II*\0\x10\0\0\0CR\x02\0", Some(Format::Cr2));
        check(b"II*\0\x08\0\0\0", Some(Format::Tiff));
        check(b"MM\0+\0\x08\0\0", Some(Format::Tiff));
        check(b"IIU\0\x18\0\0\0", Some(Format::Rw2));
        check(b"IIRO\x08\0\0\0", Some(Format::Orf));
        check(b"FUJIFILMCCD-RAW 0201", Some(Format::Raf));
        check(b"\xff\x0a\x00", Some(Format::Jxl));
        check(b"\0\0\0\x18ftypmif1\0\0\0\0avifmif1", Some(Format::Avif));
        check(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Some(Format::Heif));
        check(b"\0\0\0\x18ftypmif1\0\0\0\0mif1miaf", Some(Format::Heif));
        check(b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", Some(Format::Cr3));
        check(b"\0\0\0\x18ftypisom\0\0\0\0mp41avc1", None);
        check(b"\0\0\0\x0cjP  \r\n\x87\n", Some(Format::Jpeg2000));
        check(b"8BPS\0\x01", Some(Format::Psd));
        check(b"II\x1a\0\0\0HEAPCCDR\x02\0", Some(Format::OtherRaw));
        check(b"FOVb\x03\0\x02\0", Some(Format::OtherRaw));
        check(b"\0MRM\0\0\x80\0", Some(Format::OtherRaw));
        check(b"#!/bin/sh", None);
        check(b"BMW is a car maker", None);
        check(b"", None);
    }

    #[test]
    fn a_photo_is_known_by_its_extension_in_any_case() {
        let check = |name: &str, expected| assert_eq!(is_photo_name(OsStr::new(name)), expected, "{name}");
        check("IMG_0001.JPG", true);
        check("a.b.HeIc", true);
        check("_DSC1.NEF", true);
        check("CRW_1.crw", true);
        check("D8xJ.jpg_large", true);
        check(".jpg", false);
        check("jpg", false);
        check("notes.txt", false);
        check("clip.mov", false);
    }
}
