//! How soon changes are seen in a real daemon.

use std::fs;

use resembled::photo::ContentHash;
use resembled::proto;

use crate::world::{DEADLINE, World};

/// A bitmap of `side` squared pixels, unlike those of other numbers.
fn bitmap(number: u32, side: u32) -> Vec<u8> {
    let mut image = image::RgbImage::new(side, side);
    let mut noise = number;
    for pixel in image.pixels_mut() {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [_, red, green, blue] = noise.to_le_bytes();
        *pixel = image::Rgb([red, green, blue]);
    }
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Bmp).unwrap();
    bytes.into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_new_photo_goes_before_the_hundreds_that_wait() {
    let world = World::new();
    for number in 0..600 {
        let path = world.photo(format!("{}/{number}.bmp", number % 100));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bitmap(number, 16)).unwrap();
    }
    let daemon = world.start().await;
    let before = daemon.wait_for("most wait", |status| status.pending > 400 && status.files > 0).await;

    let late = bitmap(u32::MAX, 36);
    fs::write(world.photo("99/late.bmp"), &late).unwrap();
    let name = format!("photos/{}", ContentHash::of(&late));
    let mut updates = daemon.daemon().watch_status(proto::WatchStatusRequest {}).await.unwrap().into_inner();
    let found = loop {
        let status = tokio::time::timeout(DEADLINE, updates.message()).await.unwrap().unwrap().unwrap();
        let request = proto::GetPhotoRequest { name: name.clone() };
        if daemon.library().get_photo(request).await.is_ok() {
            break status;
        }
    };
    let passed = found.files - before.files;
    // Encoding yields to everything else on the machine, so a time would say little. The order must hold: no more
    // go before it than are done while it settles and waits for its commit.
    assert!(found.pending > 100 && passed < 300, "after {passed} others, with {} waiting", found.pending);
}
