//! Sketches: 248 bytes that stand for a vector until the best candidates are known.
//!
//! A sketch holds a vector's position along the 384 principal components of a [`Basis`](super::Basis), in steps of one
//! size for the first and one for the others, so that sums of squares are sums of integers; and the length of what lies
//! outside of them. It is kept in two parts: every row is judged by its [`Lead`], the better ones by the [`Rest`].
//!
//! The first 64 components have 8 bits each, the others 4. Among 100,000 photos, 92 full vectors are read for the ten nearest;
//! with 256 components, in 184 bytes, it was 128.

/// Components that every row is judged by first.
pub(super) const LEAD: usize = 64;
/// Components that only the better rows are judged by.
pub(super) const REST: usize = 320;
/// All components of a sketch.
pub(super) const COMPONENTS: usize = LEAD + REST;
/// The greatest code of a leading component.
pub(super) const LEAD_REACH: f32 = 127.0;
/// The greatest code of another component.
pub(super) const REST_REACH: f32 = 7.0;

/// The first part of a sketch: what is read of every photo.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lead {
    pub codes: [i8; LEAD],
    /// Squared distance from the mean, with the position in steps.
    pub bias: f32,
    /// Length outside of the leading components.
    pub outside: f32,
    /// Factor that brings the vector to length 1, or 0 where it has no direction.
    pub to_unit: f32,
    /// Distance between the position and its steps, over the leading components.
    pub slack: f32,
}

/// The second part: what is read of promising photos.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rest {
    /// Two a byte: in the lower half those of the first half of the components, in the upper half the others.
    pub codes: [u8; REST / 2],
    /// Length outside of all components.
    pub outside: f32,
    /// Distance between the position and its steps, over all components.
    pub slack: f32,
}

/// Bytes that processors fetch from memory at once.
const CACHE_LINE: usize = 64;

impl Lead {
    /// Returns the sum of a byte from each part that is fetched from memory at once: whoever asks for it has it all.
    #[inline(always)]
    pub fn first_bytes(&self) -> u32 {
        u32::from(self.codes[0].unsigned_abs()) + self.slack.to_bits() % 2
    }
}

impl Rest {
    /// Like [`Lead::first_bytes`].
    #[inline(always)]
    pub fn first_bytes(&self) -> u32 {
        self.codes.iter().step_by(CACHE_LINE).map(|&code| u32::from(code)).sum::<u32>()
            + self.slack.to_bits() % 2
    }

    /// Puts codes into halves of bytes; they must be from -8 to 7.
    pub fn packed(codes: &[i8; REST]) -> [u8; REST / 2] {
        std::array::from_fn(|place| {
            codes[place].cast_unsigned() & 0xf | codes[REST / 2 + place].cast_unsigned() << 4
        })
    }

    /// Returns the codes.
    pub fn unpacked(&self) -> [i8; REST] {
        std::array::from_fn(|place| match place.checked_sub(REST / 2) {
            None => lower(self.codes[place]),
            Some(place) => upper(self.codes[place]),
        })
    }
}

/// Returns the code in the lower half of a byte.
#[inline(always)]
pub(super) fn lower(byte: u8) -> i8 {
    (byte << 4).cast_signed() >> 4
}

/// Returns the code in the upper half of a byte.
#[inline(always)]
pub(super) fn upper(byte: u8) -> i8 {
    byte.cast_signed() >> 4
}

/// A vector's sketch in one basis. Of no use in another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sketch {
    pub(super) lead: Lead,
    pub(super) rest: Rest,
}

/// Bytes of all codes of a sketch.
const CODES: usize = LEAD + REST / 2;

impl Sketch {
    /// Length of [`Self::to_bytes`].
    pub const BYTES: usize = CODES + 6 * size_of::<f32>();

    /// Returns the sketch as bytes: 64 signed codes of a byte, 320 of half a byte, then six numbers as little-endian
    /// `f32`.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (codes, numbers) = bytes.split_at_mut(CODES);
        let lead = self.lead.codes.iter().map(|code| code.cast_unsigned());
        for (byte, code) in codes.iter_mut().zip(lead.chain(self.rest.codes)) {
            *byte = code;
        }
        let Lead { bias, outside, to_unit, slack, .. } = self.lead;
        let all = [bias, outside, to_unit, slack, self.rest.outside, self.rest.slack];
        for (bytes, number) in numbers.chunks_exact_mut(4).zip(all) {
            bytes.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote. `None` where the length is another or a number is not finite.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let (codes, numbers) = bytes.split_at(CODES);
        let (numbers, _) = numbers.as_chunks::<4>();
        let number = |place: usize| f32::from_le_bytes(numbers[place]);
        if !(0..numbers.len()).all(|place| number(place).is_finite()) {
            return None;
        }
        Some(Self {
            lead: Lead {
                codes: std::array::from_fn(|place| codes[place].cast_signed()),
                bias: number(0),
                outside: number(1),
                to_unit: number(2),
                slack: number(3),
            },
            rest: Rest {
                codes: std::array::from_fn(|place| codes[LEAD + place]),
                outside: number(4),
                slack: number(5),
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
        fn a_sketch_is_read_back_from_its_bytes(codes in prop::collection::vec(any::<i8>(), CODES), numbers in any::<[i32; 6]>()) {
            let [bias, outside, to_unit, slack, outside_all, slack_all] = numbers.map(|n| n as f32);
            let sketch = Sketch {
                lead: Lead { codes: std::array::from_fn(|i| codes[i]), bias, outside, to_unit, slack },
                rest: Rest {
                    codes: std::array::from_fn(|i| codes[LEAD + i].cast_unsigned()),
                    outside: outside_all,
                    slack: slack_all,
                },
            };
            prop_assert_eq!(Sketch::from_bytes(&sketch.to_bytes()), Some(sketch));
        }

        #[test]
        fn codes_are_read_back_from_halves_of_bytes(codes in prop::collection::vec(-8i8..=7, REST)) {
            let codes: [i8; REST] = std::array::from_fn(|place| codes[place]);
            let rest = Rest { codes: Rest::packed(&codes), outside: 0.0, slack: 0.0 };
            prop_assert_eq!(rest.unpacked(), codes);
        }
    }

    #[test]
    fn bytes_that_are_no_sketch_are_refused() {
        assert_eq!(Sketch::from_bytes(&[0; Sketch::BYTES - 1]), None);
        assert_eq!(Sketch::from_bytes(&[0; Sketch::BYTES + 1]), None);
        assert_eq!(Sketch::from_bytes(&[]), None);
        // 0xffffffff is a NaN.
        assert_eq!(Sketch::from_bytes(&[255; Sketch::BYTES]), None);
    }
}
