//! A viewer that turns pictures leaves a copy in which the network sees another picture.

use image::RgbImage;
use image::imageops::{rotate90, rotate180, rotate270};
use resembled::proto;
use resembled::proto::search_photos_request::Query;
use tonic::Code;

use crate::pictures;
use crate::world::World;

const COUNT: u32 = 12;

fn png(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// What the client says of the first match, and how many there are.
struct Found {
    name: String,
    quarter_turns: u64,
    band: String,
    matches: usize,
}

fn search(world: &World, args: &[&str]) -> Found {
    let output = world.resemble(["search", "turned.png", "--json"].iter().chain(args));
    let lines = String::from_utf8(output.stdout).unwrap();
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().expect("a match")).unwrap();
    Found {
        name: first["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned(),
        quarter_turns: first["quarter_turns"].as_u64().unwrap(),
        band: first["band"].as_str().unwrap_or_default().to_owned(),
        matches: lines.lines().count(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turned_picture_finds_what_it_is_a_copy_of() {
    let world = World::new();
    for seed in 0..COUNT {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    let daemon = world.start().await;
    daemon.wait_for_files(u64::from(COUNT)).await;
    let picture = pictures::draw(5);
    // To lie as the photo does, what was turned to one side is turned back.
    for (turned, back) in
        [(rotate90(&picture), 3), (rotate180(&picture), 2), (rotate270(&picture), 1), (picture.clone(), 0)]
    {
        turned.save(world.path("turned.png")).unwrap();
        for args in [&[][..], &["--turned"]] {
            let found = search(&world, args);
            assert_eq!((found.name.as_str(), found.quarter_turns), ("5.png", back), "{args:?}");
            assert!(["same", "near"].contains(&found.band.as_str()), "{}", found.band);
            assert_eq!(found.matches, COUNT as usize, "all others follow");
        }
    }
    rotate90(&picture).save(world.path("turned.png")).unwrap();
    let table = String::from_utf8(world.resemble(["search", "turned.png"]).stdout).unwrap();
    assert!(table.contains("turned left"), "{table}");
    // What confines a search confines that too.
    let found = search(&world, &["--folder", "photos", "--type", "image/png", "-k", "1"]);
    assert_eq!((found.quarter_turns, found.matches), (3, 1));
    assert!(world.resemble(["search", "turned.png", "--type", "image/webp"]).stdout.is_empty());

    let mut client = daemon.search();
    let asked = |query, turned| proto::SearchPhotosRequest {
        query: Some(query),
        turned: Some(turned),
        ..Default::default()
    };
    let turned = Query::Image(png(&rotate90(&picture)).into());
    let plain = client.search_photos(asked(turned, false)).await.unwrap().into_inner();
    assert!(plain.matches.iter().all(|found| found.quarter_turns == 0));
    let indexed = Query::IndexedPath(world.photo("5.png").into_os_string().into_encoded_bytes());
    let refused = client.search_photos(asked(indexed, true)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
}
