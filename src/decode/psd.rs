//! Photoshop's documents, PSD and PSB: the merged picture, which other programs are meant to show, and what the resources say
//! about it. Layers are not read.
//!
//! The merged picture is kept channel by channel, plain or by rows of PackBits. Behind its colours stand channels that are no
//! colour: the transparency of the whole, where the layers say that there is any, and selections that somebody has kept.

use super::colour::{self, Colour, srgb_of_light};
use super::info::Exif;
use super::pixels::{self, Pixels, over_ground};
use super::{DecodeError, Format, Limits, Need, Opened, bytes_of_pixels};
use crate::photo::Rgb;

/// Larger documents than Photoshop's own limit make no sense.
const MAX_SIDE: u32 = 300_000;

const RESOURCE_PROFILE: u16 = 1039;
const RESOURCE_VERSION: u16 = 1057;
const RESOURCE_EXIF: u16 = 1058;

/// How the colours of a pixel are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Bitmap,
    /// Duotones too, whose inks only Photoshop knows.
    Grey,
    Palette,
    Rgb,
    Ink,
    Lab,
}

impl Mode {
    fn of(number: u16) -> Option<Self> {
        Some(match number {
            0 => Self::Bitmap,
            1 | 8 => Self::Grey,
            2 => Self::Palette,
            3 => Self::Rgb,
            4 => Self::Ink,
            9 => Self::Lab,
            _ => return None,
        })
    }

    fn channels(self) -> usize {
        match self {
            Self::Bitmap | Self::Grey | Self::Palette => 1,
            Self::Rgb | Self::Lab => 3,
            Self::Ink => 4,
        }
    }
}

/// A document, as far as it is read.
struct Document<'a> {
    is_big: bool,
    channels: u16,
    width: u32,
    height: u32,
    bits: u16,
    mode: u16,
    palette: &'a [u8],
    resources: &'a [u8],
    has_transparency: bool,
    /// How the merged picture is packed, and it.
    packing: u16,
    merged: &'a [u8],
}

/// What has not been read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(*self.take(2)?.first_chunk()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(*self.take(4)?.first_chunk()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(*self.take(8)?.first_chunk()?))
    }

    /// Takes a section with its length before it.
    fn section(&mut self, is_big: bool) -> Option<&'a [u8]> {
        let len = if is_big { self.u64()? } else { self.u32()?.into() };
        self.take(len)
    }
}

impl<'a> Document<'a> {
    /// Reads all but the picture. `None` where the file ends too early.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = Rest(bytes);
        rest.take(4)?;
        let is_big = rest.u16()? == 2;
        rest.take(6)?;
        let (channels, height, width) = (rest.u16()?, rest.u32()?, rest.u32()?);
        let (bits, mode) = (rest.u16()?, rest.u16()?);
        let palette = rest.section(false)?;
        let resources = rest.section(false)?;
        let layers = rest.section(is_big)?;
        Some(Self {
            is_big,
            channels,
            width,
            height,
            bits,
            mode,
            palette,
            resources,
            has_transparency: has_transparency(layers, is_big).unwrap_or(false),
            packing: rest.u16()?,
            merged: rest.0,
        })
    }

    fn resource(&self, wanted: u16) -> Option<&'a [u8]> {
        let mut rest = Rest(self.resources);
        loop {
            rest.take(4)?;
            let number = rest.u16()?;
            // A name, with its length before it; all of it, and the data, padded to an even length.
            let name_len = u64::from(*rest.take(1)?.first()?);
            rest.take(name_len | 1)?;
            let len = rest.u32()?;
            let data = rest.take(len.into())?;
            if number == wanted {
                return Some(data);
            }
            rest.take(u64::from(len & 1))?;
        }
    }

    /// Says whether the merged picture is one. Photoshop leaves it white where compatibility is not wanted.
    fn has_merged(&self) -> bool {
        self.resource(RESOURCE_VERSION).and_then(|version| version.get(4)).is_none_or(|&has| has != 0)
    }

    /// Unpacks the rows of one channel after another, as many channels as asked for.
    fn rows(&self, channels: usize) -> Result<Vec<Vec<u8>>, DecodeError> {
        let row_bytes = (u64::from(self.width) * u64::from(self.bits)).div_ceil(8) as usize;
        let height = self.height as usize;
        let ends_early = || malformed("the file ends too early");
        let mut planes = Vec::new();
        match self.packing {
            0 => {
                let mut rest = Rest(self.merged);
                for _ in 0..channels {
                    planes.push(rest.take((row_bytes * height) as u64).ok_or_else(ends_early)?.to_vec());
                }
            }
            1 => {
                let mut rest = Rest(self.merged);
                let count_bytes = if self.is_big { 4 } else { 2 };
                let counts = u64::from(self.channels) * u64::from(self.height) * count_bytes;
                let mut counts = Rest(rest.take(counts).ok_or_else(ends_early)?);
                for _ in 0..channels {
                    let mut plane = Vec::with_capacity(row_bytes * height);
                    for row in 0..height {
                        let len = if self.is_big { counts.u32() } else { counts.u16().map(u32::from) };
                        let packed = rest.take(len.ok_or_else(ends_early)?.into()).ok_or_else(ends_early)?;
                        unpack(packed, (row + 1) * row_bytes, &mut plane);
                    }
                    planes.push(plane);
                }
            }
            2 | 3 => return Err(unsupported("a merged picture that is deflated")),
            _ => return Err(malformed("its merged picture is packed in an unknown way")),
        }
        Ok(planes)
    }
}

/// Unpacks a row of PackBits until there are `end` bytes; what is missing is zero, what is too much is dropped.
fn unpack(mut packed: &[u8], end: usize, row: &mut Vec<u8>) {
    while row.len() < end
        && let Some((&head, rest)) = packed.split_first()
    {
        let room = end - row.len();
        packed = match head {
            0..128 => {
                let (plain, rest) = rest.split_at(rest.len().min(usize::from(head) + 1));
                row.extend_from_slice(&plain[..plain.len().min(room)]);
                rest
            }
            128 => rest,
            129.. => {
                let Some((&value, rest)) = rest.split_first() else { break };
                row.extend(std::iter::repeat_n(value, (257 - usize::from(head)).min(room)));
                rest
            }
        };
    }
    row.resize(end, 0);
}

/// A negative number of layers means that the first channel behind the colours is the transparency of all of them.
fn has_transparency(layers: &[u8], is_big: bool) -> Option<bool> {
    let mut rest = Rest(layers);
    let info = rest.section(is_big)?;
    Some(Rest(info).u16()?.cast_signed() < 0)
}

pub(super) fn decode(bytes: &[u8], need: Need, limits: &Limits) -> Result<Opened, DecodeError> {
    let document = Document::read(bytes).ok_or_else(|| malformed("the file ends too early"))?;
    let (width, height, bits) = (document.width, document.height, document.bits);
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(malformed("its sides are longer than any document's"));
    }
    let mode =
        Mode::of(document.mode).ok_or_else(|| unsupported(&format!("colours of mode {}", document.mode)))?;
    if !matches!((mode, bits), (Mode::Bitmap, 1) | (Mode::Palette, 8))
        && (matches!(mode, Mode::Bitmap | Mode::Palette) || !matches!(bits, 8 | 16 | 32))
    {
        return Err(unsupported(&format!("{bits} bits a channel")));
    }
    if !document.has_merged() {
        return Err(unsupported("no merged picture: it was saved without \"Maximize Compatibility\""));
    }
    let colours = mode.channels();
    let is_transparent = document.has_transparency
        && usize::from(document.channels) > colours
        && matches!(mode, Mode::Rgb | Mode::Grey);
    let channels = colours + usize::from(is_transparent);
    if usize::from(document.channels) < channels {
        return Err(malformed("it has fewer channels than its colours"));
    }
    // The channels as they are kept, the pixels made of them, and RGBA.
    let kept = (u64::from(bits).div_ceil(8) + 1) * channels as u64;
    limits.check_size(Format::Psd, width, height, bytes_of_pixels(width, height, kept + 4))?;

    let planes = document.rows(channels)?;
    let planes: Vec<Vec<u8>> = planes.into_iter().map(|plane| in_8_bits(plane, width, bits)).collect();
    let exif = document.resource(RESOURCE_EXIF).map(Exif::read).unwrap_or_default();
    let colour = match document.resource(RESOURCE_PROFILE) {
        // Floats are light, which has become sRGB.
        Some(profile) if bits < 32 => Colour::Icc(profile.to_vec()),
        _ => exif.colour(),
    };
    let mut is_seen_through = false;
    let pixels = match mode {
        Mode::Bitmap => Pixels::Grey(planes.concat()),
        Mode::Palette => Pixels::Rgb(coloured(&planes[0], document.palette)),
        Mode::Grey | Mode::Rgb if is_transparent => {
            let (rgb, any) = over_ground(&unmatted(&planes));
            is_seen_through = any;
            Pixels::Rgb(rgb)
        }
        Mode::Grey => Pixels::Grey(planes.concat()),
        Mode::Rgb | Mode::Lab => Pixels::Rgb(interleaved(&planes)),
        // As in JPEGs of Adobe's, 0 is full ink.
        Mode::Ink => Pixels::Cmyk(interleaved(&planes).into_iter().map(|light| 255 - light).collect()),
    };
    let picture = match pixels {
        Pixels::Rgb(lab) if mode == Mode::Lab => {
            let mut image = pixels::shrink(Rgb { width, height, pixels: lab }, need);
            colour::lab_to_srgb(&mut image.pixels);
            image
        }
        pixels => pixels.into_picture(width, height, &colour, need),
    };
    let image = exif.orientation.apply(picture);
    let (width, height) = exif.orientation.upright_size(width, height);
    let info = exif.with_size(Format::Psd, width, height);
    Ok(Opened { image, info, is_transparent: is_seen_through, pixels: None })
}

/// Makes one byte of each sample.
fn in_8_bits(plane: Vec<u8>, width: u32, bits: u16) -> Vec<u8> {
    match bits {
        // Ink is 1.
        1 => {
            let rows = plane.chunks_exact((width as usize).div_ceil(8).max(1));
            let bit = |row: &[u8], x: usize| if row[x / 8] >> (7 - x % 8) & 1 == 1 { 0 } else { 255 };
            rows.flat_map(|row| (0..width as usize).map(move |x| bit(row, x))).collect()
        }
        16 => {
            let eight = |raw: &[u8; 2]| ((u32::from(u16::from_be_bytes(*raw)) * 255 + 32_767) / 65_535) as u8;
            plane.as_chunks::<2>().0.iter().map(eight).collect()
        }
        32 => plane.as_chunks::<4>().0.iter().map(|raw| srgb_of_light(f32::from_be_bytes(*raw))).collect(),
        _ => plane,
    }
}

/// Returns pixels of samples that are kept one channel after another.
fn interleaved(planes: &[Vec<u8>]) -> Vec<u8> {
    let mut pixels = vec![0; planes.iter().map(Vec::len).sum()];
    for (channel, plane) in planes.iter().enumerate() {
        for (pixel, value) in pixels.chunks_exact_mut(planes.len()).zip(plane) {
            pixel[channel] = *value;
        }
    }
    pixels
}

/// Returns RGBA of grey or colours that lie on white, and their transparency, which is the last plane.
fn unmatted(planes: &[Vec<u8>]) -> Vec<u8> {
    let Some((alpha, colours)) = planes.split_last() else { return Vec::new() };
    let mut pixels = Vec::with_capacity(alpha.len() * 4);
    for (at, &alpha) in alpha.iter().enumerate() {
        for channel in 0..3 {
            let on_white = u32::from(colours[channel.min(colours.len() - 1)][at]);
            let opaque = u32::from(alpha);
            let value = match opaque {
                0 => 255,
                _ => ((on_white + opaque).saturating_sub(255) * 255 + opaque / 2) / opaque,
            };
            pixels.push(value.min(255) as u8);
        }
        pixels.push(alpha);
    }
    pixels
}

/// Looks the colours of a palette up, of which the reds come first, then the greens, then the blues.
fn coloured(places: &[u8], palette: &[u8]) -> Vec<u8> {
    let count = palette.len() / 3;
    let value = |place: u8, part: usize| {
        let place = usize::from(place);
        if place < count { palette[part * count + place] } else { 0 }
    };
    places.iter().flat_map(|&place| [0, 1, 2].map(|part| value(place, part))).collect()
}

fn unsupported(what: &str) -> DecodeError {
    DecodeError::Unsupported { what: format!("{} with {what}", Format::Psd) }
}

fn malformed(reason: &str) -> DecodeError {
    DecodeError::malformed(Format::Psd, reason)
}

#[cfg(test)]
#[path = "psd_tests.rs"]
mod tests;
