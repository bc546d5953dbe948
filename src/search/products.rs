//! Sums of products of codes, for two photos and a tile of rows at a time: most of what comparing a library takes.
//!
//! Processors multiply pairs of whole numbers and add the two products by one instruction, which the compiler does not
//! find by itself (rustc 1.95: it takes four times as long). All ways give the same sums; the plain one is for processors
//! that have none of these instructions.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    _mm256_add_epi32, _mm256_madd_epi16, _mm256_set1_epi32, _mm256_setzero_si256, _mm512_add_epi32,
    _mm512_madd_epi16, _mm512_set1_epi32, _mm512_setzero_si512,
};

use super::sketch::LEAD;

/// Rows judged side by side: a tile of them is 8 KB, which stays in the first cache while all photos pass by.
pub(super) const LANES: usize = 64;

/// Codes two by two.
pub(super) const TWOS: usize = LEAD / 2;

/// The codes of a photo.
pub(super) type Codes = [[i16; 2]; TWOS];
/// The codes of a tile: by component, then by row.
pub(super) type TileCodes = [[[i16; 2]; LANES]; TWOS];
/// For two photos, a sum for each row. Two, since the sums of one would wait for each other.
pub(super) type Sums = [[i32; LANES]; 2];

#[inline(always)]
pub(super) fn plain(photos: [&Codes; 2], tile: &TileCodes) -> Sums {
    let mut sums = [[0; LANES]; 2];
    for (place, codes) in tile.iter().enumerate() {
        for (sums, photo) in sums.iter_mut().zip(photos) {
            let [first, second] = photo[place].map(i32::from);
            for (sum, codes) in sums.iter_mut().zip(codes) {
                *sum += i32::from(codes[0]) * first + i32::from(codes[1]) * second;
            }
        }
    }
    sums
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn avx512(photos: [&Codes; 2], tile: &TileCodes) -> Sums {
    let mut sums = [[_mm512_setzero_si512(); LANES / 16]; 2];
    for (place, codes) in tile.iter().enumerate() {
        let (rows, _) = codes.as_chunks::<16>();
        for (sums, photo) in sums.iter_mut().zip(photos) {
            let two = _mm512_set1_epi32(bytemuck::must_cast(photo[place]));
            for (sum, rows) in sums.iter_mut().zip(rows) {
                *sum = _mm512_add_epi32(*sum, _mm512_madd_epi16(bytemuck::must_cast(*rows), two));
            }
        }
    }
    bytemuck::must_cast(sums)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
pub(super) fn avx2(photos: [&Codes; 2], tile: &TileCodes) -> Sums {
    let mut all = [[[_mm256_setzero_si256(); LANES / 16]; 2]; 2];
    // Half of the rows at a time: there are sixteen registers.
    for (half, sums) in all.iter_mut().enumerate() {
        for (place, codes) in tile.iter().enumerate() {
            let (rows, _) = codes[half * LANES / 2..].as_chunks::<8>();
            for (sums, photo) in sums.iter_mut().zip(photos) {
                let two = _mm256_set1_epi32(bytemuck::must_cast(photo[place]));
                for (sum, rows) in sums.iter_mut().zip(rows) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(bytemuck::must_cast(*rows), two));
                }
            }
        }
    }
    let [left, right]: [[[i32; LANES / 2]; 2]; 2] = bytemuck::must_cast(all);
    std::array::from_fn(|photo| {
        std::array::from_fn(|row| match row.checked_sub(LANES / 2) {
            None => left[photo][row],
            Some(row) => right[photo][row],
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn codes() -> impl Strategy<Value = Codes> {
        prop::collection::vec(-127i16..=127, LEAD)
            .prop_map(|codes| std::array::from_fn(|two| [codes[2 * two], codes[2 * two + 1]]))
    }

    proptest! {
        #[test]
        fn all_ways_give_the_same_sums(one in codes(), other in codes(), seed in any::<u64>()) {
            let code = |place: usize| (seed.wrapping_mul(2 * place as u64 + 1) >> 32) as i16 % 128;
            let tile: TileCodes = std::array::from_fn(|two| {
                std::array::from_fn(|row| [2 * two, 2 * two + 1].map(|place| code(row * LEAD + place)))
            });
            let expected = [one, other].map(|photo| {
                std::array::from_fn::<i32, LANES, _>(|row| {
                    let products = (0..LEAD).map(|place| i32::from(photo[place / 2][place % 2]) * i32::from(code(row * LEAD + place)));
                    products.sum()
                })
            });
            prop_assert_eq!(plain([&one, &other], &tile), expected);
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "it is asked first whether the processor can")]
            {
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: it can.
                    prop_assert_eq!(unsafe { avx2([&one, &other], &tile) }, expected);
                }
                if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                    // SAFETY: it can.
                    prop_assert_eq!(unsafe { avx512([&one, &other], &tile) }, expected);
                }
            }
        }
    }
}
