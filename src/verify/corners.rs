//! Corners of one level of the pyramid: FAST-9, thinned out, ranked by Harris.
//!
//! FAST (Rosten and Drummond, *Machine learning for high-speed corner detection*, ECCV 2006, section 2): a pixel is a corner
//! where nine neighboring ones of the sixteen on a circle of radius 3 are all brighter than it by more than a threshold, or
//! all darker. Of touching corners the one with the greatest sum of differences beyond the threshold stays (equation 8 there).
//! As ORB does (section 3.1), the rest is ranked by the response of Harris and Stephens (*A combined corner and edge
//! detector*, 1988), since FAST answers to edges too.

use multiversion::multiversion;

use super::plane::Plane;

/// The circle of radius 3, clockwise from the top.
const CIRCLE: [(i32, i32); 16] = [
    (0, -3),
    (1, -3),
    (2, -2),
    (3, -1),
    (3, 0),
    (3, 1),
    (2, 2),
    (1, 3),
    (0, 3),
    (-1, 3),
    (-2, 2),
    (-3, 1),
    (-3, 0),
    (-3, -1),
    (-2, -2),
    (-1, -3),
];

/// Side of the square over which Harris' matrix is summed, in pixels.
const BLOCK: i32 = 7;

/// Weight of the trace in Harris' response: the usual one.
const HARRIS_K: f32 = 0.04;

/// One corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Corner {
    /// Column in its level.
    pub x: u32,
    /// Row in its level.
    pub y: u32,
    /// By how much the circle exceeds the threshold, summed over its pixels.
    pub strength: u16,
}

/// Finds the corners that lie at least `margin` pixels (4 and more) from the edges, row by row. `threshold` is in levels of
/// brightness.
pub fn corners(plane: &Plane, threshold: u8, margin: u32) -> Vec<Corner> {
    let (width, height) = (plane.width as usize, plane.height as usize);
    let margin = margin.max(4) as usize;
    if width <= 2 * margin || height <= 2 * margin {
        return Vec::new();
    }
    let mut strengths = vec![0u16; width * height];
    // One pixel beyond the margin, so that the thinning sees all neighbors.
    let mut circles = Circles::default();
    let (left, len) = (margin - 1, width - 2 * (margin - 1));
    for y in margin - 1..height - margin + 1 {
        let row = |dx: i32, dy: i32| {
            let start = y.wrapping_add_signed(dy as isize) * width + left.wrapping_add_signed(dx as isize);
            &plane.pixels[start..][..len]
        };
        let circle = CIRCLE.map(|(dx, dy)| row(dx, dy));
        circles.strengths(row(0, 0), circle, threshold, &mut strengths[y * width + left..][..len]);
    }
    let mut corners = Vec::new();
    for y in margin..height - margin {
        for x in margin..width - margin {
            let at = y * width + x;
            if strengths[at] > 0 && is_peak(&strengths, at, width) {
                corners.push(Corner { x: x as u32, y: y as u32, strength: strengths[at] });
            }
        }
    }
    corners
}

/// What is known of the circles around the pixels of a row, one number for each pixel: which of the sixteen are brighter and
/// darker by more than the threshold, and by how much more in all.
#[derive(Default)]
struct Circles {
    brighter: Vec<u16>,
    darker: Vec<u16>,
    beyond_brighter: Vec<u16>,
    beyond_darker: Vec<u16>,
}

impl Circles {
    /// Writes for each pixel of a row by how much its circle exceeds the threshold, or 0 where there is no arc.
    fn strengths(&mut self, row: &[u8], circle: [&[u8]; 16], threshold: u8, out: &mut [u16]) {
        for numbers in
            [&mut self.brighter, &mut self.darker, &mut self.beyond_brighter, &mut self.beyond_darker]
        {
            numbers.clear();
            numbers.resize(row.len(), 0);
        }
        for (bit, pixels) in circle.iter().enumerate() {
            let (bits, beyond) = (&mut self.brighter, &mut self.beyond_brighter);
            add_brighter(row, pixels, threshold, bit, bits, beyond);
            let (bits, beyond) = (&mut self.darker, &mut self.beyond_darker);
            add_darker(row, pixels, threshold, bit, bits, beyond);
        }
        greatest(&self.brighter, &self.beyond_brighter, &self.darker, &self.beyond_darker, out);
    }
}

/// Takes one pixel of each circle in.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn add_brighter(row: &[u8], pixels: &[u8], threshold: u8, bit: usize, bits: &mut [u16], beyond: &mut [u16]) {
    for (((&centre, &pixel), bits), beyond) in row.iter().zip(pixels).zip(bits).zip(beyond) {
        let over = u16::from(pixel.saturating_sub(centre.saturating_add(threshold)));
        *bits |= u16::from(over > 0) << bit;
        *beyond += over;
    }
}

/// Like [`add_brighter`].
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn add_darker(row: &[u8], pixels: &[u8], threshold: u8, bit: usize, bits: &mut [u16], beyond: &mut [u16]) {
    for (((&centre, &pixel), bits), beyond) in row.iter().zip(pixels).zip(bits).zip(beyond) {
        let under = u16::from(centre.saturating_sub(threshold).saturating_sub(pixel));
        *bits |= u16::from(under > 0) << bit;
        *beyond += under;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn greatest(brighter: &[u16], over: &[u16], darker: &[u16], under: &[u16], out: &mut [u16]) {
    for ((((&brighter, &over), &darker), &under), out) in
        brighter.iter().zip(over).zip(darker).zip(under).zip(out)
    {
        *out = (arc(brighter) & over).max(arc(darker) & under);
    }
}

/// Returns all ones where nine neighboring bits of the ring of sixteen are set, else 0.
#[inline(always)]
fn arc(ring: u16) -> u16 {
    let two = ring & ring.rotate_right(1);
    let four = two & two.rotate_right(2);
    let eight = four & four.rotate_right(4);
    let nine = eight & ring.rotate_right(8);
    if nine == 0 { 0 } else { u16::MAX }
}

/// Says whether no neighbor is stronger; of equal ones the first in reading order is the peak.
fn is_peak(strengths: &[u16], at: usize, width: usize) -> bool {
    let own = strengths[at];
    let before = [at - width - 1, at - width, at - width + 1, at - 1];
    let after = [at + 1, at + width - 1, at + width, at + width + 1];
    before.iter().all(|&other| strengths[other] < own) && after.iter().all(|&other| strengths[other] <= own)
}

/// Returns Harris' response, greater for more of a corner, by Sobel's gradients over a square of [`BLOCK`] pixels around a
/// pixel that is 4 or more from the edges.
pub fn harris(plane: &Plane, x: u32, y: u32) -> f32 {
    let (pixels, width) = (&plane.pixels, plane.width as usize);
    let (x, y) = (x as usize, y as usize);
    let reach = (BLOCK / 2) as usize;
    let (mut xx, mut yy, mut xy) = (0i32, 0i32, 0i32);
    for y in y - reach..=y + reach {
        let above = &pixels[(y - 1) * width + x - reach - 1..][..BLOCK as usize + 2];
        let here = &pixels[y * width + x - reach - 1..][..BLOCK as usize + 2];
        let below = &pixels[(y + 1) * width + x - reach - 1..][..BLOCK as usize + 2];
        for column in 0..BLOCK as usize {
            let pixel = |row: &[u8], by: usize| i32::from(row[column + by]);
            let dx =
                pixel(above, 2) - pixel(above, 0) + 2 * (pixel(here, 2) - pixel(here, 0)) + pixel(below, 2)
                    - pixel(below, 0);
            let dy =
                pixel(below, 0) - pixel(above, 0) + 2 * (pixel(below, 1) - pixel(above, 1)) + pixel(below, 2)
                    - pixel(above, 2);
            xx += dx * dx;
            yy += dy * dy;
            xy += dx * dy;
        }
    }
    // Only the order matters; the factor keeps the numbers small.
    let scale = 1.0 / (BLOCK * BLOCK * 4 * 255) as f32;
    let (xx, yy, xy) = (xx as f32 * scale, yy as f32 * scale, xy as f32 * scale);
    xx * yy - xy * xy - HARRIS_K * (xx + yy) * (xx + yy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(draw: impl Fn(i32, i32) -> u8) -> Plane {
        let pixels = (0..40).flat_map(|y| (0..40).map(move |x| (x, y))).map(|(x, y)| draw(x, y)).collect();
        Plane::new(40, 40, pixels).unwrap()
    }

    #[test]
    fn the_corners_of_a_square_are_found_and_nothing_else() {
        let inside = |x: i32, y: i32| (12..28).contains(&x) && (12..28).contains(&y);
        for (square, ground) in [(200, 50), (50, 200)] {
            let found = corners(&drawn(|x, y| if inside(x, y) { square } else { ground }), 20, 4);
            let at: Vec<_> = found.iter().map(|corner| (corner.x, corner.y)).collect();
            assert_eq!(at.len(), 4, "{at:?}");
            for (x, y) in [(12, 12), (27, 12), (12, 27), (27, 27)] {
                assert!(
                    at.iter().any(|&(a, b): &(u32, u32)| a.abs_diff(x) <= 1 && b.abs_diff(y) <= 1),
                    "{at:?}"
                );
            }
            let plane = drawn(|x, y| if inside(x, y) { square } else { ground });
            assert!(found.iter().all(|corner| harris(&plane, corner.x, corner.y) > 0.0), "{found:?}");
            assert!(harris(&plane, 20, 12) < 0.0, "an edge is no corner");
        }
    }

    #[test]
    fn edges_flats_faint_dots_and_margins_have_no_corners() {
        assert_eq!(corners(&drawn(|x, _| if x < 20 { 50 } else { 200 }), 20, 4), []);
        assert_eq!(corners(&drawn(|_, _| 128), 20, 4), []);
        let dot = |x, y| drawn(move |a, b| if (a, b) == (x, y) { 148 } else { 128 });
        assert_eq!(corners(&dot(20, 20), 20, 4), []);
        assert_eq!(corners(&dot(20, 20), 19, 4).len(), 1);
        assert_eq!(corners(&dot(10, 20), 19, 16), []);
        assert_eq!(corners(&Plane::new(8, 8, vec![0; 64]).unwrap(), 19, 4), []);
    }

    #[test]
    fn an_arc_goes_around_the_end_of_the_ring() {
        assert_eq!(arc(0b0000_0001_1111_1111), u16::MAX);
        assert_eq!(arc(0b1111_0000_0001_1111), u16::MAX);
        assert_eq!(arc(0b1110_0000_0001_1111), 0);
        assert_eq!(arc(0b0111_1111_0111_1111), 0);
    }
}
