//! Thumbnails: a photo's bytes in, a small JPEG out: the whole picture, upright, in sRGB. And its local features, by which it is
//! compared with others. Both are kept on the disk.
//!
//! The photo is decoded and scaled in a confined process ([`Decoders`]); what came back is pixels, of which the JPEG or the
//! features are made here. They are kept by the photo's content ([`Cache`]), so that they are made once for all copies, and
//! are there while the drive of the photo is away. Blocks: called on threads that may.
//!
//! Invariant: a thumbnail is of the content that it was asked for. Whoever hands bytes over has compared their hash.

mod cache;

use std::io;

pub use cache::Cache;
use cache::Kind;

use crate::decode::{Cancel, Decoders, IsolatedError};
use crate::photo::{ContentHash, Rgb};
use crate::verify::{LONG_SIDE, LocalFeatures, Plane};

/// Quality of the JPEG, of 100.
const QUALITY: f32 = 82.0;

/// Longer sides in pixels that thumbnails are kept in, so that each photo has few.
const SIDES: [u32; 4] = [128, 256, 512, 1024];

/// The longer side of a thumbnail, one of a few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side(u32);

impl Side {
    /// The greatest there is.
    pub const MOST: u32 = SIDES[SIDES.len() - 1];

    /// Returns the least that is as long as asked for; `None` beyond [`Self::MOST`].
    pub fn at_least(pixels: u32) -> Option<Self> {
        SIDES.into_iter().find(|&side| side >= pixels).map(Self)
    }

    /// Returns it in pixels.
    pub fn pixels(self) -> u32 {
        self.0
    }
}

/// Why there is no thumbnail.
#[derive(Debug, thiserror::Error)]
pub enum ThumbnailError {
    /// The photo could not be decoded.
    #[error(transparent)]
    Decode(#[from] IsolatedError),
    /// The picture could not be written as JPEG.
    #[error("the thumbnail cannot be encoded")]
    Encode(#[source] io::Error),
    /// A decoded picture has no pixels: a fault of ours.
    #[error("the decoded picture has no pixels")]
    NoPixels,
}

/// Makes thumbnails and features, and keeps them.
#[derive(Debug)]
pub struct Thumbnails {
    cache: Cache,
}

impl Thumbnails {
    /// Keeps them in `cache`.
    pub fn new(cache: Cache) -> Self {
        Self { cache }
    }

    /// Returns the thumbnail of a content as a JPEG file, if it is kept.
    pub fn kept(&self, content: ContentHash, side: Side) -> Option<Vec<u8>> {
        self.cache.get(content, Kind::Thumbnail(side))
    }

    /// Returns the features of a content, if they are kept.
    pub fn kept_features(&self, content: ContentHash) -> Option<LocalFeatures> {
        // Those of another version are made again.
        LocalFeatures::from_bytes(&self.cache.get(content, Kind::Features)?)
    }

    /// Finds the features of a photo in its bytes, whose hash is `content`, and keeps them. Where the cache is full, as with
    /// [`make`](Self::make).
    ///
    /// # Errors
    /// [`ThumbnailError`]. That they cannot be kept is none: it goes to the log.
    pub fn make_features(
        &self,
        decoders: &Decoders,
        content: ContentHash,
        bytes: &[u8],
        cancel: &Cancel,
        is_away: &dyn Fn(ContentHash) -> bool,
    ) -> Result<LocalFeatures, ThumbnailError> {
        let features = features(decoders, bytes, cancel)?;
        self.cache.put(content, Kind::Features, &features.to_bytes(), is_away);
        Ok(features)
    }

    /// Finds the features of a content in a thumbnail that is kept and large enough, where its photo is out of reach. They are
    /// not kept: those of the photo are better.
    ///
    /// # Errors
    /// [`ThumbnailError`].
    pub fn features_of_thumbnail(
        &self,
        decoders: &Decoders,
        content: ContentHash,
        cancel: &Cancel,
    ) -> Result<Option<LocalFeatures>, ThumbnailError> {
        let large = SIDES.into_iter().filter(|&side| side >= LONG_SIDE).map(Side);
        match large.filter_map(|side| self.kept(content, side)).next() {
            Some(jpeg) => features(decoders, &jpeg, cancel).map(Some),
            None => Ok(None),
        }
    }

    /// Makes the thumbnail of a photo from its bytes, whose hash is `content`; keeps it and returns it as a JPEG file. A photo
    /// that is smaller is not enlarged. Where the cache is full, contents that `is_away` accepts are dropped last.
    ///
    /// # Errors
    /// [`ThumbnailError`]. That it cannot be kept is none: it goes to the log.
    pub fn make(
        &self,
        decoders: &Decoders,
        content: ContentHash,
        side: Side,
        bytes: &[u8],
        cancel: &Cancel,
        is_away: &dyn Fn(ContentHash) -> bool,
    ) -> Result<Vec<u8>, ThumbnailError> {
        let picture = decoders.decode_fitted(bytes, side.pixels(), cancel)?;
        let jpeg = to_jpeg(&picture).map_err(ThumbnailError::Encode)?;
        self.cache.put(content, Kind::Thumbnail(side), &jpeg, is_away);
        Ok(jpeg)
    }

    /// Drops what is kept of contents that `is_known` does not accept.
    ///
    /// # Errors
    /// Those of `is_known`. That something cannot be dropped goes to the log.
    pub fn forget_all_but<E>(
        &self,
        is_known: &mut dyn FnMut(ContentHash) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.cache.retain(is_known)
    }
}

/// Finds the features of a picture of any format in its bytes.
///
/// # Errors
/// [`ThumbnailError::Decode`] and [`ThumbnailError::NoPixels`].
pub fn features(decoders: &Decoders, bytes: &[u8], cancel: &Cancel) -> Result<LocalFeatures, ThumbnailError> {
    let picture = decoders.decode_fitted(bytes, LONG_SIDE, cancel)?;
    let plane = Plane::of_rgb(picture.width, picture.height, &picture.pixels);
    Ok(LocalFeatures::of(&plane.ok_or(ThumbnailError::NoPixels)?))
}

fn to_jpeg(picture: &Rgb) -> io::Result<Vec<u8>> {
    let mut compress = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
    // Somebody waits for it, and what the slow ways save is little at this size.
    compress.set_fastest_defaults();
    compress.set_optimize_coding(true);
    compress.set_size(picture.width as usize, picture.height as usize);
    compress.set_quality(QUALITY);
    let mut started = compress.start_compress(Vec::new())?;
    started.write_scanlines(&picture.pixels)?;
    started.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Limits, Need, decode};

    #[test]
    fn a_side_is_the_least_that_is_long_enough() {
        let side = |pixels| Side::at_least(pixels).map(Side::pixels);
        assert_eq!(
            [1, 128, 129, 512, 1024].map(side),
            [Some(128), Some(128), Some(256), Some(512), Some(1024)]
        );
        assert_eq!(side(1025), None);
    }

    #[test]
    fn the_jpeg_shows_the_picture() {
        let pixel = |at: u32| [(at % 64 * 4) as u8, (at / 64 * 5) as u8, 128];
        let picture = Rgb { width: 64, height: 48, pixels: (0..64 * 48).flat_map(pixel).collect() };
        let jpeg = to_jpeg(&picture).unwrap();
        let shown = decode(&jpeg, Need::full(), &Limits::default()).unwrap().image;
        assert_eq!((shown.width, shown.height), (64, 48));
        let off: u64 = shown.pixels.iter().zip(&picture.pixels).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        assert!(off < 3 * picture.pixels.len() as u64, "{off}");
    }
}
