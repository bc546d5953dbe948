//! What a network wants its input to look like: the part of a manifest that `encode` carries out.

use serde::{Deserialize, Serialize};

use crate::decode::Resampling;

/// What a network wants its input to look like, as its manifest says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// The short side in pixels after the resize; the aspect ratio is kept.
    pub resize_short_side: u32,
    /// Side of the square cut out of the middle, in pixels.
    pub crop: u32,
    /// Subtracted from each channel (red, green, blue) after its values were brought to 0..1.
    pub mean: [f32; 3],
    /// Each channel is divided by it at the end.
    pub std: [f32; 3],
    /// The aspect ratio is not kept: both sides become `resize_short_side`.
    #[serde(default)]
    pub squash: bool,
    /// How the photo is resized.
    #[serde(default)]
    pub resampling: Resampling,
}

impl Preprocessing {
    /// Checks that the numbers make sense together.
    ///
    /// # Errors
    /// [`ImpossiblePreprocessing`] says which one does not.
    pub fn validate(&self) -> Result<(), ImpossiblePreprocessing> {
        let impossible = |what: &str| Err(ImpossiblePreprocessing { what: what.to_owned() });
        if self.crop == 0 || self.crop > self.resize_short_side {
            return impossible("crop must be from 1 to resize_short_side");
        }
        if self.resize_short_side > 4096 {
            return impossible("resize_short_side must be 4096 at most");
        }
        if !self.mean.iter().all(|mean| mean.is_finite()) {
            return impossible("each mean must be a finite number");
        }
        if !self.std.iter().all(|std| std.is_normal() && *std > 0.0) {
            return impossible("each std must be above 0");
        }
        Ok(())
    }
}

/// The manifest asks for something that cannot be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("impossible preprocessing: {what}")]
pub struct ImpossiblePreprocessing {
    /// Which number, and what it must be.
    pub what: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_settings_are_refused() {
        let mobilenet = || Preprocessing {
            resize_short_side: 256,
            crop: 224,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            squash: false,
            resampling: Resampling::Bilinear,
        };
        let refused = |change: fn(&mut Preprocessing)| {
            let mut preprocessing = mobilenet();
            change(&mut preprocessing);
            assert!(matches!(preprocessing.validate(), Err(ImpossiblePreprocessing { .. })));
        };
        assert!(mobilenet().validate().is_ok());
        refused(|it| it.crop = 0);
        refused(|it| it.crop = 257);
        refused(|it| it.std[1] = 0.0);
        refused(|it| it.mean[2] = f32::NAN);
        refused(|it| it.resize_short_side = 1 << 20);
    }
}
