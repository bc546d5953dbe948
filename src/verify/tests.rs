//! Whole pictures: what is done to one is recognised, and what is not there is not found.

use super::*;

/// A small generator, so that no test depends on chance.
struct Random(u64);

impl Random {
    fn below(&mut self, end: i32) -> i32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % end as u64) as i32
    }
}

const WIDTH: i32 = 320;
const HEIGHT: i32 = 240;

/// A picture of rectangles of all sizes and tones: corners of many kinds, as a photo of a street has them.
fn scene(seed: u64) -> Plane {
    let mut random = Random(seed);
    let mut pixels = vec![128u8; (WIDTH * HEIGHT) as usize];
    for _ in 0..260 {
        let (left, top) = (random.below(WIDTH), random.below(HEIGHT));
        let (width, height) = (4 + random.below(44), 4 + random.below(36));
        let (tone, slope) = (random.below(256), random.below(3) - 1);
        for y in top..(top + height).min(HEIGHT) {
            for x in left..(left + width).min(WIDTH) {
                pixels[(y * WIDTH + x) as usize] = (tone + slope * (x - left)).clamp(0, 255) as u8;
            }
        }
    }
    Plane::new(WIDTH as u32, HEIGHT as u32, pixels).unwrap()
}

/// Draws a picture of another size, pixel by pixel from places in this one.
fn redrawn(plane: &Plane, width: u32, height: u32, from: impl Fn(f32, f32) -> (f32, f32)) -> Plane {
    let pixel = |x: u32, y: u32| {
        let (x, y) = from(x as f32, y as f32);
        let (left, top) = (x.floor(), y.floor());
        let (right, down) = (x - left, y - top);
        let at = |x: f32, y: f32| {
            let (x, y) = (x.clamp(0.0, plane.width as f32 - 1.0), y.clamp(0.0, plane.height as f32 - 1.0));
            f32::from(plane.pixels[y as usize * plane.width as usize + x as usize])
        };
        let above = at(left, top) * (1.0 - right) + at(left + 1.0, top) * right;
        let below = at(left, top + 1.0) * (1.0 - right) + at(left + 1.0, top + 1.0) * right;
        (above * (1.0 - down) + below * down).round() as u8
    };
    let pixels =
        (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| pixel(x, y)).collect();
    Plane::new(width, height, pixels).unwrap()
}

fn cropped(plane: &Plane, left: u32, top: u32, width: u32, height: u32) -> Plane {
    redrawn(plane, width, height, |x, y| (x + left as f32, y + top as f32))
}

fn noise(seed: u64) -> Plane {
    let mut random = Random(seed);
    Plane::new(320, 240, (0..320 * 240).map(|_| random.below(256) as u8).collect()).unwrap()
}

fn compared(first: &Plane, second: &Plane) -> (Comparison, Judgement) {
    let comparison = compare(&LocalFeatures::of(first), &LocalFeatures::of(second));
    (comparison, judge(&comparison))
}

#[test]
fn a_picture_is_a_copy_of_itself_at_any_size_and_with_a_little_noise() {
    let picture = scene(1);
    let mut random = Random(2);
    let noisy = picture.pixels.iter().map(|&pixel| pixel.saturating_add_signed((random.below(9) - 4) as i8));
    let noisy = Plane { pixels: noisy.collect(), ..picture };
    for (name, other) in [("itself", picture.clone()), ("half", picture.resized(160, 120)), ("noisy", noisy)]
    {
        let (comparison, judgement) = compared(&picture, &other);
        assert_eq!(judgement.verdict, Verdict::Copy, "{name}: {comparison:?}");
        assert!(judgement.probability > 0.95 && judgement.shared.iter().all(|&share| share > 0.96), "{name}");
        assert!(
            (comparison.scale - 1.0).abs() < 0.02 && comparison.turn.abs() < 0.5,
            "{name}: {comparison:?}"
        );
    }
}

#[test]
fn other_tones_and_a_border_make_an_edit() {
    let picture = scene(1);
    let bright = picture.pixels.iter().map(|&pixel| (f32::from(pixel) * 0.6 + 60.0) as u8);
    let bright = Plane { pixels: bright.collect(), ..picture };
    let framed = redrawn(&picture, 360, 280, |x, y| (x - 20.0, y - 20.0));
    let framed = Plane {
        pixels: (0..360 * 280)
            .map(|at| {
                let (x, y) = (at % 360, at / 360);
                let is_inside = (20..340).contains(&x) && (20..260).contains(&y);
                if is_inside { framed.pixels[at] } else { 255 }
            })
            .collect(),
        ..framed
    };
    for (name, other) in [("bright", bright), ("framed", framed)] {
        let (comparison, judgement) = compared(&picture, &other);
        assert_eq!(judgement.verdict, Verdict::Edit, "{name}: {comparison:?}");
    }
}

#[test]
fn a_crop_says_which_share_it_is() {
    let picture = scene(1);
    for (left, top, width, height) in [(0, 0, 256, 192), (60, 40, 200, 150), (120, 90, 200, 150)] {
        let (comparison, judgement) = compared(&picture, &cropped(&picture, left, top, width, height));
        assert_eq!(judgement.verdict, Verdict::Edit, "{comparison:?}");
        let share = (width * height) as f32 / (320.0 * 240.0);
        let [of_picture, of_crop] = judgement.shared;
        assert!((of_picture - share).abs() < 0.04 && of_crop > 0.96, "{share}: {comparison:?}");
        assert!((comparison.scale - 320.0 / width as f32).abs() < 0.03, "{comparison:?}");
    }
}

#[test]
fn turns_and_mirrors_are_told_apart() {
    let picture = scene(1);
    let (width, height) = (picture.width as f32 - 1.0, picture.height as f32 - 1.0);
    let check = |other: Plane, verdict, turn: f32| {
        let (comparison, judgement) = compared(&picture, &other);
        assert_eq!(judgement.verdict, verdict, "{comparison:?}");
        let off = (comparison.turn - turn + 180.0).rem_euclid(360.0) - 180.0;
        assert!(off.abs() < 1.0, "{turn}: {comparison:?}");
    };
    check(redrawn(&picture, 240, 320, |x, y| (y, height - x)), Verdict::Turned, 90.0);
    check(redrawn(&picture, 320, 240, |x, y| (width - x, height - y)), Verdict::Turned, 180.0);
    check(redrawn(&picture, 240, 320, |x, y| (width - y, x)), Verdict::Turned, -90.0);
    check(redrawn(&picture, 320, 240, |x, y| (width - x, y)), Verdict::Mirrored, 0.0);
    check(redrawn(&picture, 320, 240, |x, y| (x, height - y)), Verdict::Mirrored, 180.0);
    let (sin, cos) = 5f32.to_radians().sin_cos();
    let level = redrawn(&picture, 320, 240, |x, y| {
        let (x, y) = (x - width / 2.0, y - height / 2.0);
        (x * cos + y * sin + width / 2.0, y * cos - x * sin + height / 2.0)
    });
    check(level, Verdict::Edit, 5.0);
}

#[test]
fn other_scenes_noise_flats_and_tiny_pictures_are_different() {
    let flat = Plane::new(320, 240, vec![200; 320 * 240]).unwrap();
    let tiny = Plane::new(1, 1, vec![9]).unwrap();
    let long = Plane::new(2000, 1, vec![9; 2000]).unwrap();
    let pictures = [scene(1), scene(5), noise(7), noise(8), flat, tiny, long];
    for (number, first) in pictures.iter().enumerate() {
        for second in &pictures[number + 1..] {
            let (comparison, judgement) = compared(first, second);
            assert_eq!(judgement.verdict, Verdict::Different, "{comparison:?}");
            assert!(comparison.inliers < 12, "{comparison:?}");
            assert_eq!(judgement.shared, [0.0; 2]);
        }
    }
}

#[test]
fn a_flat_picture_is_not_even_the_same_as_itself() {
    let flat = Plane::new(320, 240, vec![200; 320 * 240]).unwrap();
    assert_eq!(compared(&flat, &flat).1.verdict, Verdict::Different);
}

#[test]
fn the_mirrored_features_are_those_of_the_mirrored_picture() {
    let picture = scene(3);
    let mirror = redrawn(&picture, 320, 240, |x, y| (319.0 - x, y));
    let (seen, computed) = (LocalFeatures::of(&mirror), LocalFeatures::of(&picture).mirrored());
    // On the lowest level nothing is rounded differently; the sizing of the others has a bias of its own.
    let lowest = |features: &LocalFeatures| {
        let all = features.keypoints.iter().zip(&features.descriptors);
        let mut lowest: Vec<_> = all
            .filter(|(keypoint, _)| keypoint.level == 0)
            .map(|(keypoint, descriptor)| (keypoint.position().map(|at| at as i32), descriptor.0))
            .collect();
        lowest.sort_unstable();
        lowest
    };
    let (seen, computed) = (lowest(&seen), lowest(&computed));
    let common = seen.iter().filter(|&keypoint| computed.contains(keypoint)).count();
    // Of corners that touch and are equally strong, the first in reading order stays, which is the other one here.
    assert!(common * 10 > seen.len() * 8, "{common} of {} and {}", seen.len(), computed.len());
}

#[test]
fn two_pages_with_one_letterhead_are_no_copies_of_each_other() {
    let (head, mut first, mut second) = (scene(1), scene(11), scene(12));
    for page in [&mut first, &mut second] {
        page.pixels[..(WIDTH * 50) as usize].copy_from_slice(&head.pixels[..(WIDTH * 50) as usize]);
    }
    let (comparison, judgement) = compared(&first, &second);
    assert!(comparison.inliers > 20, "the letterhead is found: {comparison:?}");
    assert!(!matches!(judgement.verdict, Verdict::Copy | Verdict::Edit), "{judgement:?}: {comparison:?}");
}
