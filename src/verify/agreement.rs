//! How well two pictures agree once the map between them is known.
//!
//! Each keypoint of one picture is looked for where the map puts it in the other. A share of those that should be found
//! again is; two pages with one letterhead agree in the letterhead alone. And the thumbnails are laid over each other.

use super::consensus::{DIRECTION_TOLERANCE, SCALE_TOLERANCE, angle_between};
use super::descriptor::RADIUS;
use super::keypoints::{LocalFeatures, THUMBNAIL_SIDE};
use super::plane::{LEVELS, scale_of};
use super::transform::{Point, Transform};

/// Greatest distance of a keypoint from where the map puts it, in pixels of its level.
const REACH: f64 = 4.0;

/// Greatest distance of descriptors at the same place, in bits: place, level and direction agree already.
const MAX_DISTANCE: u32 = 88;

/// Cells along each side into which a picture is divided for what is supported.
const CELLS: usize = 8;

/// Fewest pixels of a thumbnail on which correlation says anything.
const MIN_PIXELS: usize = 40;

/// What was found again.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Agreement {
    /// Keypoints of the first picture that the second one should show.
    pub visible: u32,
    /// Those of them that it shows.
    pub found: u32,
    /// Share of the cells with visible keypoints in which at least one is found, from 0 to 1.
    pub supported: f32,
}

/// Looks for each keypoint of `first` where `transform` puts it in `second`.
pub fn agreement(first: &LocalFeatures, second: &LocalFeatures, transform: &Transform) -> Agreement {
    let grid = Grid::of(second);
    let mut found_in = [[0u32; 2]; CELLS * CELLS];
    for (keypoint, descriptor) in first.keypoints.iter().zip(&first.descriptors) {
        let from = keypoint.position().map(f64::from);
        let Some((at, [[a, b], [c, d]])) = transform.apply(from).zip(transform.derivative(from)) else {
            continue;
        };
        let scale = f64::from(keypoint.scale()) * (a * d - b * c).abs().sqrt();
        let margin = (f64::from(RADIUS) + 2.0) * scale;
        let inside = |at: f64, side: u16| (margin..f64::from(side) - margin).contains(&at);
        let levels = 0.85..f64::from(scale_of(LEVELS as u8 - 1)) * 1.15;
        if !inside(at[0], second.width) || !inside(at[1], second.height) || !levels.contains(&scale) {
            continue;
        }
        let direction = f64::from(keypoint.direction.radians());
        let (sin, cos) = direction.sin_cos();
        let expected = (c * cos + d * sin).atan2(a * cos + b * sin);
        let is_found = grid.around(at, REACH * scale).any(|number| {
            let other = &second.keypoints[number];
            let [x, y] = other.position().map(f64::from);
            let ratio = f64::from(other.scale()) / scale;
            (x - at[0]).hypot(y - at[1]) <= REACH * scale
                && (1.0 / SCALE_TOLERANCE..=SCALE_TOLERANCE).contains(&ratio)
                && angle_between(f64::from(other.direction.radians()), expected) <= DIRECTION_TOLERANCE
                && second.descriptors[number].hamming_distance(descriptor) <= MAX_DISTANCE
        });
        let cell = |at: f64, side: u16| ((at * CELLS as f64 / f64::from(side)) as usize).min(CELLS - 1);
        let [visible, found] =
            &mut found_in[cell(from[1], first.height) * CELLS + cell(from[0], first.width)];
        *visible += 1;
        *found += u32::from(is_found);
    }
    let sum = |which: usize| found_in.iter().map(|cell| cell[which]).sum();
    let count = |which: usize| found_in.iter().filter(|cell| cell[which] > 0).count() as f32;
    let supported = if count(0) > 0.0 { count(1) / count(0) } else { 0.0 };
    Agreement { visible: sum(0), found: sum(1), supported }
}

/// The keypoints of a picture by place.
struct Grid {
    columns: usize,
    rows: usize,
    cells: Vec<Vec<usize>>,
}

impl Grid {
    /// Side of a cell in pixels.
    const SIDE: f64 = 16.0;

    fn of(features: &LocalFeatures) -> Self {
        let count = |side: u16| (f64::from(side) / Self::SIDE) as usize + 1;
        let (columns, rows) = (count(features.width), count(features.height));
        let mut cells = vec![Vec::new(); columns * rows];
        for (number, keypoint) in features.keypoints.iter().enumerate() {
            let [x, y] = keypoint.position().map(|at| (f64::from(at) / Self::SIDE) as usize);
            cells[y.min(rows - 1) * columns + x.min(columns - 1)].push(number);
        }
        Self { columns, rows, cells }
    }

    /// The keypoints of all cells that are within `reach` of a place, and so all keypoints that are.
    fn around(&self, [x, y]: Point, reach: f64) -> impl Iterator<Item = usize> {
        let span = |at: f64, count: usize| {
            let cell = |at: f64| ((at / Self::SIDE).max(0.0) as usize).min(count - 1);
            cell(at - reach)..=cell(at + reach)
        };
        let columns = span(x, self.columns);
        span(y, self.rows)
            .flat_map(move |row| columns.clone().map(move |column| row * self.columns + column))
            .flat_map(|cell| self.cells[cell].iter().copied())
    }
}

/// How alike the thumbnails are where they overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tones {
    /// Pearson's correlation of the brightness, from -1 to 1; 0 where too little overlaps or one is flat.
    pub correlation: f32,
    /// Greatest difference of one pixel of the thumbnails, in levels.
    pub largest_difference: f32,
}

/// Lays the thumbnail of `first` over that of `second`.
pub fn tones(first: &LocalFeatures, second: &LocalFeatures, transform: &Transform) -> Tones {
    let side = f64::from(THUMBNAIL_SIDE);
    let (mut sums, mut squares, mut product) = ([0.0; 2], [0.0; 2], 0.0);
    let mut largest = 0.0f64;
    let mut count = 0;
    for (number, &pixel) in first.thumbnail.iter().enumerate() {
        let (column, row) = (number % THUMBNAIL_SIDE as usize, number / THUMBNAIL_SIDE as usize);
        let at = [
            (column as f64 + 0.5) / side * f64::from(first.width) - 0.5,
            (row as f64 + 0.5) / side * f64::from(first.height) - 0.5,
        ];
        let Some([x, y]) = transform.apply(at) else { continue };
        let place = [
            (x + 0.5) / f64::from(second.width) * side - 0.5,
            (y + 0.5) / f64::from(second.height) * side - 0.5,
        ];
        let Some(other) = interpolated(&second.thumbnail, place) else { continue };
        let pixel = f64::from(pixel);
        count += 1;
        for (index, value) in [pixel, other].into_iter().enumerate() {
            sums[index] += value;
            squares[index] += value * value;
        }
        product += pixel * other;
        largest = largest.max((pixel - other).abs());
    }
    if count < MIN_PIXELS {
        return Tones::default();
    }
    let count = count as f64;
    let variance = |index: usize| squares[index] / count - (sums[index] / count).powi(2);
    let covariance = product / count - sums[0] / count * sums[1] / count;
    let flat = variance(0) < 1.0 || variance(1) < 1.0;
    let correlation = if flat { 0.0 } else { covariance / (variance(0) * variance(1)).sqrt() };
    Tones { correlation: correlation as f32, largest_difference: largest as f32 }
}

/// Returns the brightness between the four pixels around a place, or `None` outside of the thumbnail.
fn interpolated(thumbnail: &[u8], [x, y]: Point) -> Option<f64> {
    let last = f64::from(THUMBNAIL_SIDE - 1);
    if !(-0.5..=last + 0.5).contains(&x) || !(-0.5..=last + 0.5).contains(&y) {
        return None;
    }
    let (x, y) = (x.clamp(0.0, last), y.clamp(0.0, last));
    let (left, top) = (x.floor().min(last - 1.0), y.floor().min(last - 1.0));
    let pixel = |dx: usize, dy: usize| {
        f64::from(thumbnail[(top as usize + dy) * THUMBNAIL_SIDE as usize + left as usize + dx])
    };
    let (right, down) = (x - left, y - top);
    let above = pixel(0, 0) * (1.0 - right) + pixel(1, 0) * right;
    let below = pixel(0, 1) * (1.0 - right) + pixel(1, 1) * right;
    Some(above * (1.0 - down) + below * down)
}
