//! Integer dot products of levels, for two photos and a tile of rows at a time: most of what comparing a library takes.
//!
//! Processors multiply pairs of whole numbers and add the two products by one instruction, which the compiler does not
//! find by itself (rustc 1.95: it takes four times as long). All ways give the same sums; the plain one is for processors
//! that have none of these instructions.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    _mm256_add_epi32, _mm256_madd_epi16, _mm256_set1_epi32, _mm256_setzero_si256, _mm512_add_epi32,
    _mm512_madd_epi16, _mm512_set1_epi32, _mm512_setzero_si512,
};

use crate::search::code::COARSE_COMPONENTS;

/// Rows judged side by side: a tile of them is 8 KB, which stays in the first cache while all photos pass by.
pub const TILE_ROWS: usize = 64;

/// Levels come two by two.
pub const LEVEL_PAIRS: usize = COARSE_COMPONENTS / 2;

/// The levels of a photo.
pub type PairedLevels = [[i16; 2]; LEVEL_PAIRS];
/// The levels of a tile: by component, then by row.
pub type TileLevels = [[[i16; 2]; TILE_ROWS]; LEVEL_PAIRS];
/// For two photos, a sum for each row. Two, since the sums of one would wait for each other.
pub type Sums = [[i32; TILE_ROWS]; 2];

#[inline(always)]
pub fn plain(photos: [&PairedLevels; 2], tile: &TileLevels) -> Sums {
    let mut sums = [[0; TILE_ROWS]; 2];
    for (place, levels) in tile.iter().enumerate() {
        for (sums, photo) in sums.iter_mut().zip(photos) {
            let [first, second] = photo[place].map(i32::from);
            for (sum, levels) in sums.iter_mut().zip(levels) {
                *sum += i32::from(levels[0]) * first + i32::from(levels[1]) * second;
            }
        }
    }
    sums
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
pub fn avx512(photos: [&PairedLevels; 2], tile: &TileLevels) -> Sums {
    let mut sums = [[_mm512_setzero_si512(); TILE_ROWS / 16]; 2];
    for (place, levels) in tile.iter().enumerate() {
        let (rows, _) = levels.as_chunks::<16>();
        for (sums, photo) in sums.iter_mut().zip(photos) {
            let pair = _mm512_set1_epi32(bytemuck::must_cast(photo[place]));
            for (sum, rows) in sums.iter_mut().zip(rows) {
                *sum = _mm512_add_epi32(*sum, _mm512_madd_epi16(bytemuck::must_cast(*rows), pair));
            }
        }
    }
    bytemuck::must_cast(sums)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
pub fn avx2(photos: [&PairedLevels; 2], tile: &TileLevels) -> Sums {
    let mut all = [[[_mm256_setzero_si256(); TILE_ROWS / 16]; 2]; 2];
    // Half of the rows at a time: there are sixteen registers.
    for (half, sums) in all.iter_mut().enumerate() {
        for (place, levels) in tile.iter().enumerate() {
            let (rows, _) = levels[half * TILE_ROWS / 2..].as_chunks::<8>();
            for (sums, photo) in sums.iter_mut().zip(photos) {
                let pair = _mm256_set1_epi32(bytemuck::must_cast(photo[place]));
                for (sum, rows) in sums.iter_mut().zip(rows) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(bytemuck::must_cast(*rows), pair));
                }
            }
        }
    }
    let [left, right]: [[[i32; TILE_ROWS / 2]; 2]; 2] = bytemuck::must_cast(all);
    std::array::from_fn(|photo| {
        std::array::from_fn(|row| match row.checked_sub(TILE_ROWS / 2) {
            None => left[photo][row],
            Some(row) => right[photo][row],
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn levels() -> impl Strategy<Value = PairedLevels> {
        prop::collection::vec(-127i16..=127, COARSE_COMPONENTS)
            .prop_map(|levels| std::array::from_fn(|two| [levels[2 * two], levels[2 * two + 1]]))
    }

    proptest! {
        #[test]
        fn all_ways_give_the_same_sums(one in levels(), other in levels(), seed in any::<u64>()) {
            let code = |place: usize| (seed.wrapping_mul(2 * place as u64 + 1) >> 32) as i16 % 128;
            let tile: TileLevels = std::array::from_fn(|two| {
                std::array::from_fn(|row| [2 * two, 2 * two + 1].map(|place| code(row * COARSE_COMPONENTS + place)))
            });
            let expected = [one, other].map(|photo| {
                std::array::from_fn::<i32, TILE_ROWS, _>(|row| {
                    let products = (0..COARSE_COMPONENTS).map(|place| i32::from(photo[place / 2][place % 2]) * i32::from(code(row * COARSE_COMPONENTS + place)));
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
