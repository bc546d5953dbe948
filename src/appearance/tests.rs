use super::*;

/// Numbers from 0 to 1, the same for each seed.
fn numbers(seed: u32) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 24) as f32
    }
}

/// A picture of boxes before one another, the same for each seed.
fn scene(width: u32, height: u32, seed: u32) -> Rgb {
    let mut next = numbers(seed);
    let boxes: Vec<[f32; 5]> = (0..40)
        .map(|_| {
            let (left, top) = (next() * 1.2 - 0.2, next() * 1.2 - 0.2);
            [left, top, left + 0.1 + 0.4 * next(), top + 0.1 + 0.4 * next(), 20.0 + 190.0 * next()]
        })
        .collect();
    picture(width, height, |x, y| {
        let covers = |of: &&[f32; 5]| of[0] <= x && x < of[2] && of[1] <= y && y < of[3];
        let level = boxes.iter().rev().find(covers).map_or(120.0, |of| of[4]) + 8.0 * x;
        [level, level * 0.8, level * 1.1].map(|level| level.clamp(0.0, 255.0) as u8)
    })
}

fn picture(width: u32, height: u32, pixel: impl Fn(f32, f32) -> [u8; 3]) -> Rgb {
    let place = |at: u32, side: u32| (at as f32 + 0.5) / side as f32;
    let all = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let pixels = all.flat_map(|(x, y)| pixel(place(x, width), place(y, height))).collect();
    Rgb { width, height, pixels }
}

/// A page of rows of words: dark runs of random lengths, the same rows on every page.
fn page(seed: u32) -> Rgb {
    let mut next = numbers(seed);
    let words: Vec<Vec<bool>> = (0..50).map(|_| (0..90).map(|_| next() < 0.75).collect()).collect();
    picture(496, 702, |x, y| {
        let is_margin = !(0.08..0.92).contains(&x) || !(0.06..0.94).contains(&y);
        let is_ink = words[(y * 50.0) as usize][(x * 90.0) as usize] && (y * 50.0).fract() < 0.6;
        if is_ink && !is_margin { [40; 3] } else { [255; 3] }
    })
}

fn look(image: &Rgb) -> Appearance {
    Appearance::of(image, (image.width, image.height), false, None).unwrap()
}

fn turned(image: &Rgb, turn: Turn) -> Rgb {
    let (width, height) =
        if turn.swaps_sides() { (image.height, image.width) } else { (image.width, image.height) };
    let (across, down) = turn.mirrors();
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let (x, y) = (if across { width - 1 - x } else { x }, if down { height - 1 - y } else { y });
            let (x, y) = if turn.swaps_sides() { (y, x) } else { (x, y) };
            pixels.extend_from_slice(&image.pixels[(y * image.width + x) as usize * 3..][..3]);
        }
    }
    Rgb { width, height, pixels }
}

#[test]
fn the_hash_of_a_turned_picture_follows_from_that_of_the_upright_one() {
    let image = scene(300, 200, 1);
    let upright = look(&image);
    for turn in Turn::ALL {
        let seen = look(&turned(&image, turn));
        let followed = upright.hash.turned(turn);
        // Sums in another order round otherwise.
        assert!(followed.coarse_distance(&seen.hash) <= 2, "{turn:?}");
        assert_eq!(upright.turn_to(&seen), Some(turn));
    }
}

#[test]
fn copies_are_the_same_and_other_pictures_are_not() {
    let image = scene(600, 400, 2);
    let of = |change: fn(u8) -> u8| {
        let pixels = image.pixels.iter().map(|&value| change(value)).collect();
        look(&Rgb { pixels, ..image.clone() })
    };
    let original = look(&image);
    for copy in [
        look(&scene(300, 200, 2)),
        look(&scene(150, 100, 2)),
        of(|value| value / 2),
        of(|value| (f32::from(value) * 1.2).min(255.0) as u8),
    ] {
        assert!(original.is_same_as(&copy));
    }
    for seed in 3..40 {
        let other = look(&scene(600, 400, seed));
        assert_eq!(original.turn_to(&other), None, "{seed}");
    }
    let squeezed = look(&scene(500, 400, 2));
    assert!(!original.is_same_as(&squeezed), "another shape");
    let damaged = Appearance { is_damaged: true, ..original.clone() };
    assert!(
        !original.is_same_as(&damaged) && !damaged.is_same_as(&original) && !damaged.is_same_as(&damaged)
    );
    let transparent = Appearance { is_transparent: true, ..original.clone() };
    assert!(!original.is_same_as(&transparent));
}

/// All pages of one layout had one embedding, and 240 of 4,950 pairs the same coarse hash.
#[test]
fn pages_of_one_layout_are_not_the_same_page() {
    let pages: Vec<_> = (0..12).map(|seed| look(&page(seed))).collect();
    for (number, one) in pages.iter().enumerate() {
        assert!(one.is_same_as(one));
        for other in &pages[number + 1..] {
            assert!(!one.is_same_as(other));
        }
    }
}

#[test]
fn what_has_no_contrast_is_never_the_same() {
    for level in [0, 128, 255] {
        let flat = look(&picture(60, 40, |_, _| [level; 3]));
        assert!(!flat.has_contrast());
        assert_eq!(flat.turn_to(&flat), None, "{level}");
    }
    let shaded = look(&picture(60, 40, |x, y| [(120.0 + 9.0 * x + 9.0 * y) as u8; 3]));
    assert_eq!(shaded.turn_to(&shaded), None);
    let lines = look(&picture(496, 702, |x, y| {
        if y < 0.3 && (y * 80.0).fract() < 0.5 && x < 0.6 { [30; 3] } else { [255; 3] }
    }));
    assert!(lines.has_contrast(), "a page with a few lines");
}

#[test]
fn changed_colours_are_known_as_such() {
    let image = scene(60, 40, 5);
    let grey = image.pixels.as_chunks::<3>().0.iter().flat_map(|&[red, ..]| [red / 2; 3]).collect();
    let grey = look(&Rgb { pixels: grey, ..image.clone() });
    let original = look(&image);
    assert!(original.is_same_as(&grey) && original.has_other_colours_than(&grey));
    assert!(!original.has_other_colours_than(&original));
}
