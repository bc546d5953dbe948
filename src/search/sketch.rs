//! Sketches: 148 bytes that stand for a vector until the best candidates are known.
//!
//! A sketch holds a vector's position along the 128 principal components of a [`Basis`](super::Basis), in steps of one
//! size for all, so that sums of squares are sums of integers; and the length of what lies outside of them. It is
//! kept in two parts: every row is judged by its [`Lead`], the better ones by the [`Rest`].

/// Components that every row is judged by first.
pub(super) const LEAD: usize = 64;
/// Components that only the better rows are judged by.
pub(super) const REST: usize = 64;
/// All components of a sketch.
pub(super) const COMPONENTS: usize = LEAD + REST;

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
    /// Distance between the position and its steps, over all components.
    pub slack: f32,
}

/// The second part: what is read of promising photos.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rest {
    pub codes: [i8; REST],
    /// Length outside of all components.
    pub outside: f32,
}

/// A vector's sketch in one basis. Of no use in another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sketch {
    pub(super) lead: Lead,
    pub(super) rest: Rest,
}

impl Sketch {
    /// Length of [`Self::to_bytes`].
    pub const BYTES: usize = COMPONENTS + 5 * size_of::<f32>();

    /// Returns the sketch as bytes: 128 signed codes, then five numbers as little-endian `f32`.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (codes, numbers) = bytes.split_at_mut(COMPONENTS);
        for (byte, code) in codes.iter_mut().zip(self.lead.codes.iter().chain(&self.rest.codes)) {
            *byte = code.cast_unsigned();
        }
        let all = [self.lead.bias, self.lead.outside, self.lead.to_unit, self.lead.slack, self.rest.outside];
        for (bytes, number) in numbers.chunks_exact_mut(4).zip(all) {
            bytes.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote. `None` where the length is another or a number is not finite.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (codes, numbers) = bytes.split_at_checked(COMPONENTS)?;
        let numbers: Vec<f32> = numbers
            .chunks(4)
            .map(|bytes| bytes.try_into().ok().map(f32::from_le_bytes).filter(|number| number.is_finite()))
            .collect::<Option<_>>()?;
        let &[bias, lead_outside, to_unit, slack, outside] = numbers.as_slice() else { return None };
        let code = |place: usize| codes[place].cast_signed();
        Some(Self {
            lead: Lead { codes: std::array::from_fn(code), bias, outside: lead_outside, to_unit, slack },
            rest: Rest { codes: std::array::from_fn(|place| code(LEAD + place)), outside },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_sketch_is_read_back_from_its_bytes(codes in prop::collection::vec(any::<i8>(), 128), numbers in any::<[i32; 5]>()) {
            let [bias, outside, to_unit, slack, outside_all] = numbers.map(|n| n as f32);
            let sketch = Sketch {
                lead: Lead { codes: std::array::from_fn(|i| codes[i]), bias, outside, to_unit, slack },
                rest: Rest { codes: std::array::from_fn(|i| codes[LEAD + i]), outside: outside_all },
            };
            prop_assert_eq!(Sketch::from_bytes(&sketch.to_bytes()), Some(sketch));
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
