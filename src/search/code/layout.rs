//! Codes: 248 bytes that stand for a vector until the best candidates are known.
//!
//! A code holds a vector's position along the 384 principal components of a [`Quantizer`](super::Quantizer), in steps of
//! one size for the first and one for the others, so that dot products are sums of integers; and the norm of the residual,
//! which is what lies outside of the components. It is kept in two parts: every row is judged by its [`CoarseCode`], the
//! better ones by the [`FineCode`] too.
//!
//! The first 64 components have 8 bits each, the others 4. Among 100,000 photos, 92 full vectors are read for the ten
//! nearest; with 256 components, in 184 bytes, it was 128.

/// Components that every row is judged by first.
pub const COARSE_COMPONENTS: usize = 64;
/// Components that only the better rows are judged by.
pub const FINE_COMPONENTS: usize = 320;
/// All components of a code.
pub const COMPONENTS: usize = COARSE_COMPONENTS + FINE_COMPONENTS;
/// The greatest level of a coarse component: 8 bits, symmetric.
pub const COARSE_MAX: f32 = 127.0;
/// The greatest level of a fine component: 4 bits, symmetric.
pub const FINE_MAX: f32 = 7.0;

/// The first part of a code: what is read of every photo. The norms are in the unit of the embeddings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CoarseCode {
    /// The position along the first components, in coarse steps.
    pub levels: [i8; COARSE_COMPONENTS],
    /// Squared norm of the vector less the mean, as both parts of the code have it: of the quantized position, and of the
    /// residual.
    pub squared_norm: f32,
    /// Norm of what lies outside of the coarse components, by the code: fine components and residual.
    pub residual_norm: f32,
    /// 1 / norm of the vector itself, or 0 where it has no direction.
    pub inverse_norm: f32,
    /// Quantization error: distance between the position and its levels, over the coarse components.
    pub quantization_error: f32,
}

/// The second part: what is read of promising photos.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FineCode {
    /// Levels in fine steps, two a byte: in the lower half those of the first half of the components, in the upper half the
    /// others.
    pub nibbles: [u8; FINE_COMPONENTS / 2],
    /// Norm of what lies outside of all components.
    pub residual_norm: f32,
    /// Quantization error over all components, coarse ones included.
    pub quantization_error: f32,
}

/// Bytes that processors fetch from memory at once.
const CACHE_LINE: usize = 64;

impl CoarseCode {
    /// Returns the dot product of the levels.
    #[inline(always)]
    pub fn dot(&self, other: &Self) -> i32 {
        self.levels.iter().zip(&other.levels).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
    }

    /// Returns the sum of a byte from each cache line: whoever asks for it has all of it fetched.
    #[inline(always)]
    pub fn touch(&self) -> u32 {
        u32::from(self.levels[0].unsigned_abs()) + self.quantization_error.to_bits() % 2
    }
}

impl FineCode {
    /// Returns the dot product of the levels with unpacked ones.
    #[inline(always)]
    pub fn dot(&self, unpacked: &[i8; FINE_COMPONENTS]) -> i32 {
        let (first, second) = unpacked.split_at(FINE_COMPONENTS / 2);
        let halves = first.iter().zip(second).zip(&self.nibbles);
        halves
            .map(|((&a, &c), &b)| i32::from(a) * i32::from(lower(b)) + i32::from(c) * i32::from(upper(b)))
            .sum()
    }

    /// Like [`CoarseCode::touch`].
    #[inline(always)]
    pub fn touch(&self) -> u32 {
        self.nibbles.iter().step_by(CACHE_LINE).map(|&code| u32::from(code)).sum::<u32>()
            + self.quantization_error.to_bits() % 2
    }

    /// Puts levels into halves of bytes; they must be from -8 to 7.
    pub fn packed(levels: &[i8; FINE_COMPONENTS]) -> [u8; FINE_COMPONENTS / 2] {
        std::array::from_fn(|place| {
            levels[place].cast_unsigned() & 0xf | levels[FINE_COMPONENTS / 2 + place].cast_unsigned() << 4
        })
    }

    /// Returns the levels.
    pub fn unpacked(&self) -> [i8; FINE_COMPONENTS] {
        std::array::from_fn(|place| match place.checked_sub(FINE_COMPONENTS / 2) {
            None => lower(self.nibbles[place]),
            Some(place) => upper(self.nibbles[place]),
        })
    }
}

/// Returns the level in the lower half of a byte.
#[inline(always)]
fn lower(byte: u8) -> i8 {
    (byte << 4).cast_signed() >> 4
}

/// Returns the level in the upper half of a byte.
#[inline(always)]
fn upper(byte: u8) -> i8 {
    byte.cast_signed() >> 4
}

/// A vector as one quantizer has encoded it. Of no use with another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Code {
    pub(in crate::search) coarse: CoarseCode,
    pub(in crate::search) fine: FineCode,
}

/// Bytes of all levels of a code.
const LEVEL_BYTES: usize = COARSE_COMPONENTS + FINE_COMPONENTS / 2;

impl Code {
    /// Length of [`Self::to_bytes`].
    pub const BYTES: usize = LEVEL_BYTES + 6 * size_of::<f32>();

    /// Returns the code as bytes: 64 signed levels of a byte, 320 of half a byte, then six numbers as little-endian `f32`:
    /// squared norm, residual norm, inverse norm and quantization error of the coarse part, residual norm and quantization
    /// error of the whole.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (levels, numbers) = bytes.split_at_mut(LEVEL_BYTES);
        let coarse = self.coarse.levels.iter().map(|level| level.cast_unsigned());
        for (byte, level) in levels.iter_mut().zip(coarse.chain(self.fine.nibbles)) {
            *byte = level;
        }
        let CoarseCode { squared_norm, residual_norm, inverse_norm, quantization_error, .. } = self.coarse;
        let FineCode { residual_norm: fine_residual_norm, quantization_error: fine_error, .. } = self.fine;
        let all =
            [squared_norm, residual_norm, inverse_norm, quantization_error, fine_residual_norm, fine_error];
        for (bytes, number) in numbers.chunks_exact_mut(4).zip(all) {
            bytes.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote. `None` where the length is another or a number is not finite.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let (levels, numbers) = bytes.split_at(LEVEL_BYTES);
        let (numbers, _) = numbers.as_chunks::<4>();
        let number = |place: usize| f32::from_le_bytes(numbers[place]);
        if !(0..numbers.len()).all(|place| number(place).is_finite()) {
            return None;
        }
        Some(Self {
            coarse: CoarseCode {
                levels: std::array::from_fn(|place| levels[place].cast_signed()),
                squared_norm: number(0),
                residual_norm: number(1),
                inverse_norm: number(2),
                quantization_error: number(3),
            },
            fine: FineCode {
                nibbles: std::array::from_fn(|place| levels[COARSE_COMPONENTS + place]),
                residual_norm: number(4),
                quantization_error: number(5),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_code_is_read_back_from_its_bytes(
            levels in prop::collection::vec(any::<i8>(), LEVEL_BYTES),
            numbers in any::<[i32; 6]>(),
        ) {
            let [squared_norm, residual_norm, inverse_norm, quantization_error, fine_norm, fine_error] =
                numbers.map(|n| n as f32);
            let code = Code {
                coarse: CoarseCode {
                    levels: std::array::from_fn(|i| levels[i]),
                    squared_norm,
                    residual_norm,
                    inverse_norm,
                    quantization_error,
                },
                fine: FineCode {
                    nibbles: std::array::from_fn(|i| levels[COARSE_COMPONENTS + i].cast_unsigned()),
                    residual_norm: fine_norm,
                    quantization_error: fine_error,
                },
            };
            prop_assert_eq!(Code::from_bytes(&code.to_bytes()), Some(code));
        }

        #[test]
        fn levels_are_read_back_from_halves_of_bytes(levels in prop::collection::vec(-8i8..=7, FINE_COMPONENTS)) {
            let levels: [i8; FINE_COMPONENTS] = std::array::from_fn(|place| levels[place]);
            let fine = FineCode { nibbles: FineCode::packed(&levels), residual_norm: 0.0, quantization_error: 0.0 };
            prop_assert_eq!(fine.unpacked(), levels);
        }
    }

    #[test]
    fn bytes_that_are_no_code_are_refused() {
        assert_eq!(Code::from_bytes(&[0; Code::BYTES - 1]), None);
        assert_eq!(Code::from_bytes(&[0; Code::BYTES + 1]), None);
        assert_eq!(Code::from_bytes(&[]), None);
        // 0xffffffff is a NaN.
        assert_eq!(Code::from_bytes(&[255; Code::BYTES]), None);
    }
}
