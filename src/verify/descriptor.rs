//! What the patch around a corner looks like: the direction it points in, and 256 comparisons of two of its pixels each.
//!
//! The direction is that from the corner to the centre of mass of the patch's brightness (Rosin, *Measuring corner
//! properties*, 1999; ORB, section 3.2). The comparisons are those of BRIEF (Calonder, Lepetit, Strecha and Fua, ECCV 2010):
//! both pixels drawn from a normal distribution around the corner with variance `S²/25` for a patch of side `S`
//! (sampling "G II", section 3.2), and turned by the direction (ORB, section 4.1). The 256 are our own draw of a seed: half
//! of them, and their mirror images across the direction. So a descriptor of the mirrored picture has the same bits in
//! another order, and mirrored pictures are found without looking at any pixel twice.

use std::f32::consts::TAU;
use std::sync::LazyLock;

use super::plane::Plane;

/// Greatest distance of a pixel of the patch from the corner: a patch of 31 pixels.
pub const RADIUS: i32 = 15;

/// Comparisons, and bits of a descriptor.
const TESTS: usize = 256;

/// Directions for which turned comparisons are kept: 5.6 degrees each. Even, so that mirroring maps them to each other.
const DIRECTIONS: usize = 64;

/// Where the draw starts. Any number would do; another one makes descriptors that cannot be compared with these.
const SEED: u64 = 0x5eed_0f0f_b21e_f001;

/// The 256 bits of a corner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor(pub [u64; 4]);

impl Descriptor {
    /// Returns the number of bits that differ, from 0 to 256. Those of unrelated patches differ in about half.
    pub fn hamming_distance(&self, other: &Self) -> u32 {
        self.0.iter().zip(other.0).map(|(a, b)| (a ^ b).count_ones()).sum()
    }

    /// Returns the descriptor that the corner has in the mirrored picture.
    pub fn mirrored(&self) -> Self {
        let [a, b, c, d] = self.0;
        Self([c, d, a, b])
    }
}

/// A direction of a patch, in 1/256 of a turn, clockwise from the right as rows count downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction(pub u8);

impl Direction {
    /// Rounds an angle in radians.
    pub fn of_radians(angle: f32) -> Self {
        Self((angle / TAU * 256.0).round().rem_euclid(256.0) as u8)
    }

    /// Returns the angle in radians.
    pub fn radians(self) -> f32 {
        f32::from(self.0) * TAU / 256.0
    }

    /// Returns the direction in the mirrored picture.
    pub fn mirrored(self) -> Self {
        Self(128u8.wrapping_sub(self.0))
    }

    /// Returns the nearest of the [`DIRECTIONS`]; of two as near the even one, since mirrored that is the even one too.
    fn kept(self) -> usize {
        const STEP: usize = 256 / DIRECTIONS;
        let (below, rest) = (usize::from(self.0) / STEP, usize::from(self.0) % STEP);
        let up = if rest * 2 == STEP { below % 2 } else { usize::from(rest * 2 > STEP) };
        (below + up) % DIRECTIONS
    }
}

/// One comparison: where the two pixels are from the corner.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Test {
    first: [i8; 2],
    second: [i8; 2],
}

/// The comparisons turned by each direction, [`TESTS`] for each.
static TURNED: LazyLock<Vec<Test>> = LazyLock::new(|| {
    let drawn = draw();
    let mut tests = Vec::with_capacity(DIRECTIONS * TESTS);
    for direction in 0..DIRECTIONS {
        let (sin, cos) = sin_cos(direction);
        let turned =
            |[x, y]: [f32; 2]| [x * cos - y * sin, x * sin + y * cos].map(|value| value.round() as i8);
        // The second half mirrors the first across the direction.
        for flip in [1.0, -1.0] {
            tests.extend(drawn.iter().map(|[first, second]| Test {
                first: turned([first[0], first[1] * flip]),
                second: turned([second[0], second[1] * flip]),
            }));
        }
    }
    tests
});

/// Sine and cosine of a direction, exact opposites of those of the mirrored direction so that both round alike.
fn sin_cos(direction: usize) -> (f32, f32) {
    let quarter = DIRECTIONS / 4;
    let sine = |step: usize| {
        let step = step % DIRECTIONS;
        let (half, within) = (step / (2 * quarter), step % (2 * quarter));
        let rising = within.min(2 * quarter - within);
        let value = (rising as f32 * TAU / DIRECTIONS as f32).sin();
        if half == 0 { value } else { -value }
    };
    (sine(direction), sine(direction + quarter))
}

/// Draws half of the comparisons: pairs of points within the patch, not both the same.
fn draw() -> Vec<[[f32; 2]; 2]> {
    let mut random = SplitMix(SEED);
    let deviation = (2 * RADIUS + 1) as f32 / 5.0;
    // A turned point must stay within the patch after rounding.
    let inside = |point: &[f32; 2]| point[0].hypot(point[1]) <= RADIUS as f32 - 0.5;
    let mut pairs = Vec::with_capacity(TESTS / 2);
    while pairs.len() < TESTS / 2 {
        let pair = [0; 2].map(|_| random.normal_pair().map(|value| value * deviation));
        let apart = (pair[0][0] - pair[1][0]).hypot(pair[0][1] - pair[1][1]);
        if pair.iter().all(inside) && apart >= 2.0 {
            pairs.push(pair);
        }
    }
    pairs
}

/// SplitMix64 (Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, OOPSLA 2014): the same numbers on
/// every machine, for ever.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Two independent numbers of the standard normal distribution (Box and Muller, 1958).
    fn normal_pair(&mut self) -> [f32; 2] {
        let uniform = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let (radius, angle) = (uniform(self.next()), uniform(self.next()));
        let radius = (-2.0 * radius.ln()).sqrt();
        let (sin, cos) = (angle * std::f64::consts::TAU).sin_cos();
        [(radius * cos) as f32, (radius * sin) as f32]
    }
}

/// Returns the direction of the patch around a pixel that is [`RADIUS`] or more from the edges.
pub fn direction(plane: &Plane, x: u32, y: u32) -> Direction {
    /// Half the length of each row of the disc.
    static REACH: LazyLock<Vec<i32>> = LazyLock::new(|| {
        (0..=RADIUS).map(|row| ((RADIUS * RADIUS - row * row) as f32).sqrt() as i32).collect()
    });
    let width = plane.width as usize;
    let (mut right, mut down) = (0i32, 0i32);
    for row in -RADIUS..=RADIUS {
        let reach = REACH[row.unsigned_abs() as usize];
        let start = (y as i32 + row) as usize * width + (x as i32 - reach) as usize;
        let pixels = &plane.pixels[start..][..(2 * reach + 1) as usize];
        let mut sum = 0;
        for (column, &pixel) in (-reach..).zip(pixels) {
            sum += i32::from(pixel);
            right += column * i32::from(pixel);
        }
        down += row * sum;
    }
    Direction::of_radians((down as f32).atan2(right as f32))
}

/// Describes the patch around a pixel that is [`RADIUS`] or more from the edges. The picture is a smoothed one.
pub fn describe(smoothed: &Plane, x: u32, y: u32, direction: Direction) -> Descriptor {
    let width = smoothed.width as usize;
    let step = direction.kept();
    // The patch, cut out of the picture, so that its places are known to be inside.
    let side = (2 * RADIUS + 1) as usize;
    let corner = (y as usize - RADIUS as usize) * width + x as usize - RADIUS as usize;
    let patch = &smoothed.pixels[corner..][..(side - 1) * width + side];
    let at =
        |[x, y]: [i8; 2]| patch[(i32::from(y) + RADIUS) as usize * width + (i32::from(x) + RADIUS) as usize];
    let mut bits = [0u64; 4];
    for (word, tests) in bits.iter_mut().zip(TURNED[step * TESTS..][..TESTS].chunks_exact(64)) {
        *word =
            tests.iter().rev().fold(0, |word, test| word << 1 | u64::from(at(test.first) < at(test.second)));
    }
    Descriptor(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Smooth noise without any symmetry.
    fn textured(side: u32) -> Plane {
        let mut random = SplitMix(7);
        let pixels = (0..side * side).map(|_| random.next() as u8).collect();
        Plane::new(side, side, pixels).unwrap().smoothed().smoothed()
    }

    fn mirrored(plane: &Plane) -> Plane {
        let pixels =
            plane.pixels.chunks(plane.width as usize).flat_map(|row| row.iter().rev().copied()).collect();
        Plane { pixels, ..*plane }
    }

    fn turned(plane: &Plane) -> Plane {
        let (width, height) = (plane.width as usize, plane.height as usize);
        let pixel = |at: usize| plane.pixels[(height - 1 - at % height) * width + at / height];
        Plane { width: plane.height, height: plane.width, pixels: (0..width * height).map(pixel).collect() }
    }

    #[test]
    fn the_draw_is_the_same_for_ever() {
        let mut random = SplitMix(0);
        assert_eq!(random.next(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(TURNED[0], Test { first: [9, 0], second: [5, -1] });
    }

    #[test]
    fn every_turned_pixel_is_within_the_patch() {
        let within = |[x, y]: [i8; 2]| i32::from(x).abs() <= RADIUS && i32::from(y).abs() <= RADIUS;
        assert!(TURNED.iter().all(|test| within(test.first) && within(test.second)));
    }

    #[test]
    fn a_mirrored_picture_has_the_mirrored_descriptors_and_directions() {
        let plane = textured(64);
        let mirror = mirrored(&plane);
        for (x, y) in [(20, 20), (31, 40), (45, 17), (25, 33)] {
            let here = direction(&plane, x, y);
            let there = direction(&mirror, 63 - x, y);
            assert_eq!(there, here.mirrored());
            for direction in (0..=255).map(Direction) {
                let described = describe(&mirror, 63 - x, y, direction.mirrored());
                assert_eq!(described, describe(&plane, x, y, direction).mirrored());
            }
        }
    }

    #[test]
    fn a_picture_turned_by_a_quarter_has_the_same_descriptors() {
        let plane = textured(64);
        let quarter = turned(&plane);
        for (x, y) in [(20, 20), (31, 40), (45, 17), (25, 33)] {
            let here = direction(&plane, x, y);
            let there = direction(&quarter, 63 - y, x);
            assert_eq!(there.0, here.0.wrapping_add(64));
            assert_eq!(describe(&quarter, 63 - y, x, there), describe(&plane, x, y, here));
        }
    }

    #[test]
    fn unrelated_patches_differ_in_about_half_of_the_bits() {
        let plane = textured(64);
        let describe = |x, y| describe(&plane, x, y, Direction(0));
        let distance = describe(16, 16).hamming_distance(&describe(47, 47));
        assert!((90..166).contains(&distance), "{distance}");
    }
}
