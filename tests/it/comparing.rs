//! Two pictures compared by the daemon, and what `resemble compare` says of them.

use std::fs;
use std::path::Path;
use std::process::Output;

use image::{Rgb, RgbImage, imageops};
use resembled::photo::ContentHash;
use resembled::proto;
use resembled::proto::{Verdict, example::Query};
use tonic::Code;

use crate::world::{Daemon, World};

/// A picture with corners of many kinds, another one for each seed.
pub fn street(seed: u64) -> RgbImage {
    let mut state = seed;
    let mut below = move |end: u32| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32 % end
    };
    let mut picture = RgbImage::from_pixel(480, 360, Rgb([120, 130, 140]));
    for _ in 0..260 {
        let (left, top, width, height) = (below(480), below(360), 6 + below(60), 6 + below(50));
        let colour = Rgb([below(256) as u8, below(256) as u8, below(256) as u8]);
        for y in top..(top + height).min(360) {
            for x in left..(left + width).min(480) {
                picture.put_pixel(x, y, colour);
            }
        }
    }
    picture
}

fn picture(query: Query) -> Option<proto::Example> {
    Some(proto::Example { query: Some(query), weight: None })
}

async fn compare(
    daemon: &Daemon,
    first: Query,
    second: Query,
) -> Result<proto::ComparePicturesResponse, tonic::Status> {
    let request = proto::ComparePicturesRequest { first: picture(first), second: picture(second) };
    daemon.search().compare_pictures(request).await.map(tonic::Response::into_inner)
}

fn line(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stdout.clone()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_are_told_what_they_are_to_each_other() {
    let world = World::new();
    let original = street(1);
    let save = |name: &str, picture: &RgbImage| picture.save(world.photo(name)).unwrap();
    save("original.png", &original);
    let outside = |name: &str, picture: &RgbImage| picture.save(world.path(name)).unwrap();
    outside("small.png", &imageops::thumbnail(&original, 240, 180));
    outside("crop.png", &imageops::crop_imm(&original, 60, 40, 380, 290).to_image());
    outside("turned.png", &imageops::rotate90(&original));
    outside("mirrored.png", &imageops::flip_horizontal(&original));
    outside("other.png", &street(2));
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;

    let said = |second: &str| line(&world.resemble(["compare", "photos/original.png", second]));
    for (second, word) in [
        ("photos/original.png", "copy: 100 %"),
        ("small.png", "copy: "),
        ("crop.png", "edit: "),
        ("turned.png", "turned: "),
        ("mirrored.png", "mirrored: "),
    ] {
        let (code, said) = said(second);
        assert!(said.starts_with(word) && code == Some(0), "{second}: {code:?} {said}");
    }
    assert!(said("turned.png").1.contains("90 degrees clockwise"));
    let (code, different) = said("other.png");
    assert!(different.starts_with("different: ") && code == Some(1), "{code:?} {different}");

    let json = world.resemble(["compare", "photos/original.png", "crop.png", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["verdict"], "edit");
    let share = json["share_of_first"].as_f64().unwrap();
    let expected = 380.0 * 290.0 / (480.0 * 360.0);
    assert!((share - expected).abs() < 0.05, "{share}, not {expected}");

    // A photo of the index by its name, also once its file is away: its thumbnail was kept.
    let bytes = fs::read(world.photo("original.png")).unwrap();
    let name = Query::Photo(format!("photos/{}", ContentHash::of(&bytes)));
    let image = Query::Image(bytes.into());
    let answer = compare(&daemon, name.clone(), image.clone()).await.unwrap();
    assert_eq!(answer.verdict(), Verdict::Copy, "{answer:?}");
    assert!(answer.probability > 0.9 && answer.inliers > 50, "{answer:?}");

    let refused = |answer: Result<proto::ComparePicturesResponse, tonic::Status>| answer.unwrap_err().code();
    let embedding = Query::Embedding(proto::Embedding { values: vec![1.0], ..Default::default() });
    assert_eq!(refused(compare(&daemon, embedding, image.clone()).await), Code::InvalidArgument);
    let text = Query::Image(b"no picture"[..].into());
    assert_eq!(refused(compare(&daemon, image.clone(), text).await), Code::InvalidArgument);
    let unknown = Query::Photo(format!("photos/{}", ContentHash::of(b"unknown")));
    assert_eq!(refused(compare(&daemon, unknown, image).await), Code::NotFound);
    let missing = line(&world.resemble(["compare", "photos/original.png", "none.png"]));
    assert_eq!(missing.0, Some(2));
    assert!(!Path::new("none.png").exists());
}
