//! Trying a network out before it is trusted with photos: what it gives for a picture that every machine can make, and
//! how long that takes here.

use std::time::{Duration, Instant};

use super::{CutError, EncodeError, Encoder, Network, OnnxEncoder, Runtime, TextEncoder, TextError};
use crate::models::Model;
use crate::photo::Rgb;

/// Times that the picture is encoded; the fastest counts, as others may be using the processor.
const ROUNDS: usize = 9;

/// So far may an embedding be from the known one, in parts of its length. 16-bit weights and another order of additions
/// make a thousandth.
const TOLERANCE: f32 = 0.02;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// How long one photo takes, decoding left out.
    pub time: Duration,
}

/// A network that should not be used here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// No encoder can be made of it.
    #[error(transparent)]
    Cut(#[from] CutError),
    /// It does not run.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// What reads texts does not run.
    #[error(transparent)]
    Text(#[from] TextError),
    /// It runs, and gives other numbers than were measured when its manifest was written.
    #[error("it gives other numbers here than it should: {found:?} instead of {promised:?}")]
    Differs {
        /// Sums over equal parts of the embedding.
        found: Vec<f32>,
        /// By the manifest.
        promised: Vec<f32>,
    },
}

/// Encodes the made picture a few times, and compares the embedding with the known one where the manifest has it.
///
/// # Errors
/// It cannot be loaded or fails, or does not say of the known picture what it should.
pub fn try_out(runtime: &Runtime, model: &Model) -> Result<Trial, TrialError> {
    if let Some(text) = &model.text {
        TextEncoder::new(runtime, text)?;
    }
    let mut encoder = OnnxEncoder::new(runtime, Network::of(model)?)?;
    let input = model.manifest.preprocessing.input(&picture(encoder.side()));
    let photo = std::slice::from_ref(&input);
    if let Some(known) = &model.manifest.known {
        let embedding = &encoder.embed(photo)?[0].0;
        let part = embedding.len().div_ceil(known.sums.len());
        let found: Vec<f32> = embedding.chunks(part).map(|part| part.iter().sum()).collect();
        let length =
            |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>().sqrt();
        let apart = length(&mut found.iter().zip(&known.sums).map(|(found, known)| found - known));
        // Not so where a number is none.
        let agrees = apart <= TOLERANCE * length(&mut known.sums.iter().copied());
        if found.len() != known.sums.len() || !agrees {
            return Err(TrialError::Differs { found, promised: known.sums.clone() });
        }
    }
    let mut fastest = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        encoder.embed(photo)?;
        fastest = fastest.min(start.elapsed());
    }
    Ok(Trial { time: fastest })
}

/// A picture with edges and colours everywhere, by whole numbers alone.
fn picture(side: u32) -> Rgb {
    let pixels = (0..side).flat_map(|y| {
        (0..side).flat_map(move |x| {
            (0..3).map(move |colour| ((x * (3 + colour) / 2) ^ (y * (5 - colour) / 2)) as u8)
        })
    });
    Rgb { width: side, height: side, pixels: pixels.collect() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::test_networks::{Batch, Builder, features};
    use super::super::{Input, RuntimeChoice};
    use super::*;
    use crate::models::Known;

    #[test]
    fn a_network_that_gives_other_numbers_is_refused() {
        let runtime = Runtime::start(RuntimeChoice::Tract, &[]).unwrap();
        let mut model = Builder::backbone(Batch::Symbol).output("pool").model("pool");
        assert!(try_out(&runtime, &model).unwrap().time > Duration::ZERO);

        let input: Input = model.manifest.preprocessing.input(&picture(super::super::test_networks::SIDE));
        let right = features(&input);
        let mut with = |sums: Vec<f32>| {
            let mut manifest = (*model.manifest).clone();
            manifest.known = Some(Known { sums });
            model.manifest = Arc::new(manifest);
            try_out(&runtime, &model)
        };
        assert!(with(right.to_vec()).is_ok());
        assert!(with(vec![right[0] + right[1], right[2] + right[3]]).is_ok());
        let mut wrong = right.to_vec();
        wrong.swap(0, 1);
        let error = with(wrong).unwrap_err();
        assert!(matches!(error, TrialError::Differs { .. }), "{error}");
        assert!(with(vec![f32::NAN]).is_err());
        assert!(with(vec![0.0; 9]).is_err(), "more sums than numbers");
    }
}
