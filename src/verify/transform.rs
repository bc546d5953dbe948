//! Maps from the pixels of one picture to those of another, and how they are fitted to matches.
//!
//! Similarity (turn, scale, shift), affine map and homography, the last by the direct linear transform with normalised
//! points (Hartley and Zisserman, *Multiple view geometry in computer vision*, 2nd edition, 2004, section 4.1 and
//! algorithm 4.2).

/// A point: column and row.
pub type Point = [f64; 2];

/// A homography: a 3x3 matrix, rows first, that maps points of one picture to those of another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transform([[f64; 3]; 3]);

impl Transform {
    /// Turns by `angle` radians and scales by `scale`, so that `from` comes to lie on `to`.
    pub fn similarity(angle: f64, scale: f64, from: Point, to: Point) -> Self {
        let (sin, cos) = angle.sin_cos();
        let (a, b) = (scale * cos, scale * sin);
        Self([
            [a, -b, to[0] - a * from[0] + b * from[1]],
            [b, a, to[1] - b * from[0] - a * from[1]],
            [0.0, 0.0, 1.0],
        ])
    }

    /// Maps a point. One that lies beyond the horizon has no image.
    pub fn apply(&self, [x, y]: Point) -> Option<Point> {
        let [u, v, w] = self.0.map(|row| row[0] * x + row[1] * y + row[2]);
        (w > 1e-9).then(|| [u / w, v / w])
    }

    /// Returns the map back, or `None` where all points fall onto a line.
    pub fn inverse(&self) -> Option<Self> {
        let m = &self.0;
        let minor = |r: usize, c: usize| {
            let (r1, r2, c1, c2) = ((r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3);
            m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
        };
        let determinant: f64 = (0..3).map(|c| m[0][c] * minor(0, c)).sum();
        if !determinant.is_normal() || determinant.abs() < 1e-12 {
            return None;
        }
        let adjugate: [[f64; 3]; 3] = std::array::from_fn(|r| std::array::from_fn(|c| minor(c, r)));
        // So that the last number is positive, as it was.
        let scale = adjugate[2][2];
        (scale.abs() > 1e-12).then(|| Self(adjugate.map(|row| row.map(|value| value / scale))))
    }

    /// Returns the map as it is around one point: the four numbers of its derivative, rows first.
    pub fn derivative(&self, at: Point) -> Option<[[f64; 2]; 2]> {
        let [u, v] = self.apply(at)?;
        let [a, b, c] = self.0;
        let w = c[0] * at[0] + c[1] * at[1] + c[2];
        Some([[(a[0] - u * c[0]) / w, (a[1] - u * c[1]) / w], [(b[0] - v * c[0]) / w, (b[1] - v * c[1]) / w]])
    }

    /// Returns this map after `first`.
    fn after(&self, first: &Self) -> Self {
        let (m, n) = (&self.0, &first.0);
        Self(std::array::from_fn(|r| std::array::from_fn(|c| (0..3).map(|k| m[r][k] * n[k][c]).sum())))
    }

    /// Fits the affine map that is nearest in the squares; needs three points that are not on one line.
    pub fn fit_affine(from: &[Point], to: &[Point]) -> Option<Self> {
        let (normalise, denormalise) = (normaliser(from)?, normaliser(to)?.inverse()?);
        let to_normal = denormalise.inverse()?;
        let mut left = [[0.0; 3]; 3];
        let mut right = [[0.0; 3]; 2];
        for (&a, &b) in from.iter().zip(to) {
            let ([x, y], target) = (normalise.apply(a)?, to_normal.apply(b)?);
            let row = [x, y, 1.0];
            for (i, &value) in row.iter().enumerate() {
                for (j, &other) in row.iter().enumerate() {
                    left[i][j] += value * other;
                }
                right[0][i] += value * target[0];
                right[1][i] += value * target[1];
            }
        }
        let across = solve(left, right[0])?;
        let down = solve(left, right[1])?;
        Some(denormalise.after(&Self([across, down, [0.0, 0.0, 1.0]])).after(&normalise))
    }

    /// Fits the homography that is nearest in the algebraic distance; needs four points, no three on one line.
    pub fn fit_homography(from: &[Point], to: &[Point]) -> Option<Self> {
        let (normalise, denormalise) = (normaliser(from)?, normaliser(to)?.inverse()?);
        let to_normal = denormalise.inverse()?;
        let mut left = [[0.0; 8]; 8];
        let mut right = [0.0; 8];
        for (&a, &b) in from.iter().zip(to) {
            let ([x, y], [u, v]) = (normalise.apply(a)?, to_normal.apply(b)?);
            let rows = [
                ([x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y], u),
                ([0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y], v),
            ];
            for (row, target) in rows {
                for (i, &value) in row.iter().enumerate() {
                    for (j, &other) in row.iter().enumerate() {
                        left[i][j] += value * other;
                    }
                    right[i] += value * target;
                }
            }
        }
        let [a, b, c, d, e, f, g, h] = solve(left, right)?;
        let fitted = denormalise.after(&Self([[a, b, c], [d, e, f], [g, h, 1.0]])).after(&normalise);
        let scale = fitted.0[2][2];
        (scale.abs() > 1e-9).then(|| Self(fitted.0.map(|row| row.map(|value| value / scale))))
    }
}

/// Returns the map that brings the centre of the points to 0 and their mean distance from it to the square root of 2.
fn normaliser(points: &[Point]) -> Option<Transform> {
    let count = points.len() as f64;
    let centre = [0, 1].map(|axis| points.iter().map(|point| point[axis]).sum::<f64>() / count);
    let spread =
        points.iter().map(|point| (point[0] - centre[0]).hypot(point[1] - centre[1])).sum::<f64>() / count;
    (spread > 1e-6).then(|| Transform::similarity(0.0, 2f64.sqrt() / spread, centre, [0.0, 0.0]))
}

/// Solves `left * x = right` by Gauss' elimination with partial pivoting, or gives `None` where no single answer is.
fn solve<const N: usize>(mut left: [[f64; N]; N], mut right: [f64; N]) -> Option<[f64; N]> {
    for column in 0..N {
        let pivot = (column..N).max_by(|&a, &b| left[a][column].abs().total_cmp(&left[b][column].abs()))?;
        if left[pivot][column].abs() < 1e-9 {
            return None;
        }
        left.swap(column, pivot);
        right.swap(column, pivot);
        for row in column + 1..N {
            let factor = left[row][column] / left[column][column];
            let above = left[column];
            for (number, above) in left[row].iter_mut().zip(above) {
                *number -= factor * above;
            }
            right[row] -= factor * right[column];
        }
    }
    let mut answer = [0.0; N];
    for row in (0..N).rev() {
        let known: f64 = (row + 1..N).map(|column| left[row][column] * answer[column]).sum();
        answer[row] = (right[row] - known) / left[row][row];
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: [Point; 6] =
        [[10.0, 20.0], [300.0, 15.0], [280.0, 200.0], [5.0, 210.0], [150.0, 100.0], [40.0, 170.0]];

    fn close(a: Point, b: Point) -> bool {
        (a[0] - b[0]).hypot(a[1] - b[1]) < 1e-6
    }

    fn recovered(map: Transform, fit: impl Fn(&[Point], &[Point]) -> Option<Transform>) {
        let to = FROM.map(|point| map.apply(point).unwrap());
        let fitted = fit(&FROM, &to).unwrap();
        let back = fitted.inverse().unwrap();
        for (from, to) in FROM.into_iter().zip(to) {
            assert!(close(fitted.apply(from).unwrap(), to));
            assert!(close(back.apply(to).unwrap(), from));
        }
    }

    #[test]
    fn known_maps_are_recovered() {
        let similarity = Transform::similarity(0.7, 1.3, [10.0, 20.0], [100.0, 50.0]);
        assert!(close(similarity.apply([10.0, 20.0]).unwrap(), [100.0, 50.0]));
        recovered(similarity, Transform::fit_affine);
        recovered(similarity, Transform::fit_homography);
        recovered(Transform([[1.2, 0.3, 5.0], [-0.1, 0.8, 9.0], [0.0, 0.0, 1.0]]), Transform::fit_affine);
        recovered(
            Transform([[1.2, 0.3, 5.0], [-0.1, 0.8, 9.0], [4e-4, 9e-4, 1.0]]),
            Transform::fit_homography,
        );
    }

    #[test]
    fn points_on_a_line_or_too_few_fit_nothing() {
        let line: Vec<_> = (0..6).map(|at| [f64::from(at), 2.0 * f64::from(at)]).collect();
        assert_eq!(Transform::fit_affine(&line, &FROM), None);
        assert_eq!(Transform::fit_homography(&line, &FROM), None);
        assert_eq!(Transform::fit_affine(&FROM[..2], &FROM[..2]), None);
        assert_eq!(Transform::fit_homography(&FROM[..3], &FROM[..3]), None);
        assert_eq!(Transform::fit_affine(&[[1.0, 1.0]; 5], &FROM[..5]), None);
    }

    #[test]
    fn the_derivative_of_a_similarity_is_its_turn_and_scale() {
        let [[a, b], [c, d]] =
            Transform::similarity(0.5, 2.0, [1.0, 2.0], [3.0, 4.0]).derivative([7.0, 8.0]).unwrap();
        assert!(((a * d - b * c).sqrt() - 2.0).abs() < 1e-9);
        assert!((c.atan2(a) - 0.5).abs() < 1e-9);
    }
}
