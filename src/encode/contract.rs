//! What every [`Encoder`] keeps.

use super::{EncodeError, Encoder, Input};

/// Returns a photo of noise; each `seed` gives another.
pub fn noise(side: u32, seed: u32) -> Input {
    let mut state = 0x9e37_79b9_u32.wrapping_mul(seed + 1) | 1;
    let values = (0..3 * side * side)
        .map(|_| {
            // Marsaglia's xorshift32.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state as f32 / u32::MAX as f32 - 0.5) * 4.0
        })
        .collect();
    Input { side, values }
}

pub fn check(encoder: &mut dyn Encoder) {
    let side = encoder.side();
    let photos = [noise(side, 1), noise(side, 2), noise(side, 1)];

    assert!(encoder.embed(&[]).unwrap().is_empty());

    let together = encoder.embed(&photos).unwrap();
    assert_eq!(together.len(), photos.len());
    for embedding in &together {
        assert_eq!(embedding.0.len(), encoder.dim());
        assert!(embedding.0.iter().all(|value| value.is_finite()));
    }
    assert_ne!(together[0], together[1], "two photos have one embedding");
    assert_eq!(together[0], together[2], "one photo has two embeddings");

    let alone = encoder.embed(&photos[1..2]).unwrap();
    assert_eq!(alone[0], together[1], "an embedding depends on its company");

    let wrong = [noise(side + 1, 1), Input { side, values: vec![0.0; 3] }];
    for photo in wrong {
        let error = encoder.embed(&[photo]).unwrap_err();
        assert!(matches!(error, EncodeError::WrongInput { .. }), "{error}");
    }

    let mut overflowing = noise(side, 1);
    overflowing.values.fill(f32::INFINITY);
    if let Ok(embeddings) = encoder.embed(&[overflowing]) {
        // A network may bound its activations, and then it is right.
        assert!(embeddings[0].0.iter().all(|value| value.is_finite()));
    }

    let after = encoder.embed(&photos[..1]).unwrap();
    assert_eq!(after[0], together[0], "an error changed later embeddings");
}
