//! `same` means the same picture: pages of one form, white shapes, and panoramas that have their middle in common.

use std::fs;

use image::{Rgb, RgbImage, Rgba, RgbaImage};
use serde_json::Value;

use crate::formats::{jpeg, raw, turned_by_exif};
use crate::pictures;
use crate::pictures::Facts;
use crate::world::{Daemon, World};

fn lines(output: &std::process::Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Numbers below `limit`, the same for each seed.
fn numbers(seed: u32) -> impl FnMut(u32) -> u32 {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |limit| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as u32 % limit
    }
}

/// A page of a form: a coloured head and rows of words, each page with other words.
pub fn page(seed: u32) -> RgbImage {
    let mut next = numbers(seed);
    let words: Vec<Vec<bool>> = (0..50).map(|_| (0..60).map(|_| next(4) > 0).collect()).collect();
    RgbImage::from_fn(496, 702, |x, y| {
        let is_head = (40..456).contains(&x) && (30..70).contains(&y);
        let is_text = (40..456).contains(&x) && (100..660).contains(&y) && y % 14 < 8;
        match (is_head, is_text && words[(y / 14) as usize % 50][(x / 8) as usize % 60]) {
            (true, _) => Rgb([32, 74, 135]),
            (_, true) => Rgb([40, 40, 40]),
            _ => Rgb([255, 255, 255]),
        }
    })
}

/// A white shape on nothing.
fn shape(number: u32) -> RgbaImage {
    RgbaImage::from_fn(256, 256, |x, y| {
        let (dx, dy) = (i64::from(x) - 128, i64::from(y) - 128);
        let distance = dx * dx + dy * dy;
        let is_in = match number {
            0 => distance < 70 * 70,
            1 => (60 * 60..90 * 90).contains(&distance),
            2 => dx.abs() < 100 && dy.abs() < 20,
            _ => dx.abs() < 90 && dy.abs() < 90 && (dx / 20) % 2 == 0,
        };
        Rgba([255, 255, 255, if is_in { 255 } else { 0 }])
    })
}

/// Three pictures side by side.
fn panorama(seeds: [u32; 3]) -> RgbImage {
    let parts = seeds.map(pictures::draw);
    RgbImage::from_fn(480, 120, |x, y| *parts[(x / 160) as usize].get_pixel(x % 160, y))
}

/// People delete photos on that word, and of thirty pages that were not in the library 28 were `same`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_resembles_is_never_called_the_same() {
    let world = World::new();
    for folder in ["photos", "card"] {
        fs::create_dir_all(world.path(folder)).unwrap();
    }
    let save = |picture: RgbImage, at: &str| picture.save(world.path(at)).unwrap();
    for seed in 0..6 {
        save(page(seed), &format!("photos/page {seed}.png"));
        save(page(seed + 100), &format!("card/page {seed}.png"));
    }
    for number in 0..4 {
        let folder = if number < 2 { "photos" } else { "card" };
        shape(number).save(world.path(format!("{folder}/shape {number}.png"))).unwrap();
    }
    for (name, level) in [("white", 255), ("black", 0)] {
        save(RgbImage::from_pixel(300, 200, Rgb([level; 3])), &format!("photos/{name}.png"));
        save(RgbImage::from_pixel(320, 200, Rgb([level; 3])), &format!("card/{name}.png"));
    }
    save(panorama([1, 2, 3]), "photos/panorama.png");
    save(panorama([4, 2, 5]), "card/panorama.png");
    // These are the same, and must stay so.
    let scene = pictures::draw(9);
    save(scene.clone(), "photos/scene.png");
    fs::write(world.path("card/copy of the scene.jpg"), jpeg(&scene)).unwrap();
    fs::write(world.path("card/copy of page 0.jpg"), jpeg(&page(0))).unwrap();
    let small = image::imageops::thumbnail(&scene, 80, 60);
    save(small, "card/small copy of the scene.png");

    let daemon = world.start().await;
    daemon.wait_for_files(12).await;
    let checked = lines(&world.resemble(["check", "--json", "card"]));
    assert_eq!(checked.len(), 14);
    for line in checked {
        let path = line["path"].as_str().unwrap();
        assert_eq!(line["state"] == "same", path.contains("copy of"), "{line}");
        let is_empty = path.ends_with("white.png") || path.ends_with("black.png");
        assert!(!is_empty || line["state"] == "new", "empty frames are not even near: {line}");
        if line["state"] == "same" {
            let original = line["photo"]["path"].as_str().unwrap();
            assert_eq!(original.contains("scene"), path.contains("scene"), "{line}");
        }
    }
    for found in lines(&world.resemble(["similar", "--json", "photos/page 0.png"])) {
        assert_ne!(found["band"], "same", "{found}");
    }
    let found = lines(&world.resemble(["search", "--json", "card/copy of page 0.jpg"]));
    let same: Vec<_> = found.iter().filter(|found| found["band"] == "same").collect();
    assert_eq!(same.len(), 1);
    assert!(same[0]["path"].as_str().unwrap().ends_with("page 0.png"));
    drop(daemon);
}

/// Asks until all photos are compared.
fn duplicates(world: &World, kind: &str) -> Vec<Value> {
    let begun = std::time::Instant::now();
    loop {
        let found = world.resemble(["duplicates", kind, "--json"]);
        let said = String::from_utf8_lossy(&found.stderr).into_owned();
        if !said.contains("not compared yet") && !said.contains("side by side yet") {
            return lines(&found);
        }
        assert!(begun.elapsed() < crate::world::DEADLINE, "{found:?}");
    }
}

/// Returns the names of the files of a group, each with what it is to the first and how it is turned.
fn related(group: &Value) -> Vec<(String, Option<String>, Option<String>)> {
    let photos = group["photos"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut related: Vec<_> = photos
        .map(|photo| {
            let name = photo["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
            (name, text(&photo["relation"]), text(&photo["turn"]))
        })
        .collect();
    related[1..].sort();
    related
}

async fn start_with_first(world: &World, first: &str, bytes: &[u8], others: &[(&str, Vec<u8>)]) -> Daemon {
    fs::create_dir_all(world.photos()).unwrap();
    fs::write(world.photo(first), bytes).unwrap();
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    for (name, bytes) in others {
        fs::write(world.photo(name), bytes).unwrap();
    }
    daemon.wait_for_files(1 + others.len() as u64).await;
    daemon
}

fn png(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A photo turned by 90 degrees was near its original in 3 of 100 cases, a mirrored one in 25.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turned_and_mirrored_copies_are_found_and_named() {
    let world = World::new();
    let scene = pictures::draw(9);
    let grey = RgbImage::from_fn(160, 120, |x, y| {
        let Rgb([red, green, blue]) = *scene.get_pixel(x, y);
        Rgb([((299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue)) / 1000) as u8; 3])
    });
    let others = [
        ("mirrored.png", png(&image::imageops::flip_horizontal(&scene))),
        ("right.png", png(&image::imageops::rotate90(&scene))),
        ("upside down.jpg", jpeg(&image::imageops::rotate180(&scene))),
        ("left by exif.jpg", turned_by_exif(&jpeg(&scene), 8)),
        ("grey.png", png(&grey)),
        ("recompressed.jpg", jpeg(&scene)),
        ("another.png", png(&pictures::draw(10))),
    ];
    let daemon = start_with_first(&world, "scene.png", &png(&scene), &others).await;
    let groups = duplicates(&world, "near");
    assert_eq!(groups.len(), 1, "{groups:?}");
    let expected = [
        ("grey.png", "colours", "upright"),
        ("left by exif.jpg", "copy", "left"),
        ("mirrored.png", "copy", "mirrored"),
        ("recompressed.jpg", "copy", "upright"),
        ("right.png", "copy", "right"),
        ("upside down.jpg", "copy", "upside-down"),
    ];
    let found = related(&groups[0]);
    assert_eq!(found[0], ("scene.png".to_owned(), None, None));
    for (found, (name, relation, turn)) in found[1..].iter().zip(expected) {
        assert_eq!(*found, (name.to_owned(), Some(relation.to_owned()), Some(turn.to_owned())));
    }
    assert_eq!(found.len(), 1 + expected.len());
    let text = String::from_utf8(world.resemble(["duplicates"]).stdout).unwrap();
    assert!(text.contains("right.png  a copy, turned right"), "{text}");
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_pixels_in_other_bytes_are_found_as_such() {
    let world = World::new();
    let scene = pictures::draw(9);
    let told = |scene: u32, at: &str| {
        let facts =
            Facts { camera: "A camera", taken: "2024:07:01 18:03:59", offset: None, position: (48.0, 11.0) };
        pictures::write_with(&world.path(at), scene, &facts);
        fs::read(world.path(at)).unwrap()
    };
    let compressed = jpeg(&scene);
    let commented = [&compressed[..2], b"\xff\xfe\0\x07hello", &compressed[2..]].concat();
    let others = [
        ("told.png", told(9, "told.png")),
        ("the same.bmp", {
            let mut bytes = std::io::Cursor::new(Vec::new());
            scene.write_to(&mut bytes, image::ImageFormat::Bmp).unwrap();
            bytes.into_inner()
        }),
        ("compressed.jpg", compressed.clone()),
        ("commented.jpg", commented),
        ("turned by exif.jpg", turned_by_exif(&compressed, 8)),
        ("white.png", png(&RgbImage::from_pixel(30, 20, Rgb([255; 3])))),
        ("white told.png", {
            let white = RgbImage::from_pixel(30, 20, Rgb([255; 3]));
            let mut bytes = std::io::Cursor::new(Vec::new());
            white.write_to(&mut bytes, image::ImageFormat::Bmp).unwrap();
            bytes.into_inner()
        }),
    ];
    let daemon = start_with_first(&world, "scene.png", &png(&scene), &others).await;
    let mut groups: Vec<Vec<String>> = duplicates(&world, "pixels")
        .iter()
        .map(|group| {
            let mut names: Vec<_> = related(group).into_iter().map(|(name, ..)| name).collect();
            names.sort();
            names
        })
        .collect();
    groups.sort();
    assert_eq!(
        groups,
        [
            vec!["commented.jpg", "compressed.jpg"],
            vec!["scene.png", "the same.bmp", "told.png"],
            vec!["white told.png", "white.png"],
        ]
    );
    drop(daemon);
}

/// Cameras that write both filled the list of duplicates with their own shots.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raw_and_its_jpeg_are_one_shot() {
    let world = World::new();
    let shot = jpeg(&pictures::draw(9));
    let others = [("IMG_1.dcr", raw(&shot)), ("IMG_2.jpg", jpeg(&pictures::draw(8)))];
    let daemon = start_with_first(&world, "img_1.JPG", &shot, &others).await;
    assert!(duplicates(&world, "near").is_empty());
    let said = String::from_utf8(world.resemble(["duplicates"]).stderr).unwrap();
    assert!(said.contains("1 shot is there as RAW and as another picture"), "{said}");
    fs::rename(world.photo("IMG_1.dcr"), world.photo("IMG_7.dcr")).unwrap();
    let begun = std::time::Instant::now();
    while duplicates(&world, "near").is_empty() {
        assert!(begun.elapsed() < crate::world::DEADLINE, "of another name, it is a copy");
    }
    drop(daemon);
}
