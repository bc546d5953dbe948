//! Photos and embeddings for other programs.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use resembled::proto;
use resembled::proto::search_photos_request::Query;
use serde_json::Value;

use crate::pictures;
use crate::world::World;

fn lines(bytes: &[u8]) -> Vec<Value> {
    bytes
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

fn numbers(photo: &Value) -> Vec<f32> {
    photo["embedding"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_exported_has_every_photo_with_its_files_and_its_embedding() {
    // More than a message holds.
    const PHOTOS: u32 = 150;
    let world = World::new();
    for seed in 0..PHOTOS {
        pictures::write(&world.photo(format!("{}/{seed}.png", seed % 3)), seed);
    }
    let odd = world.photo(OsStr::from_bytes(b"odd \xff\n%.png"));
    fs::write(&odd, pictures::png(0)).unwrap();
    let daemon = world.start().await;
    let status = daemon.wait_for_files(u64::from(PHOTOS) + 1).await;
    let model = status.model.unwrap();

    let output = world.resemble(["export", "-"]);
    assert!(output.status.success(), "{:?}", String::from_utf8_lossy(&output.stderr));
    let photos = lines(&output.stdout);
    assert_eq!(photos.len(), PHOTOS as usize);
    let mut uris = Vec::new();
    for photo in &photos {
        assert_eq!(photo["model_digest"], Value::from(model.digest.clone()));
        assert_eq!(photo["width"], 160);
        uris.extend(
            photo["files"].as_array().unwrap().iter().map(|file| file["uri"].as_str().unwrap().to_owned()),
        );
        let values = numbers(photo);
        assert_eq!(values.len(), model.dimensions as usize);
        // Whoever reads it may ask for it.
        let content = photo["content"].as_str().unwrap();
        let query = Some(Query::Embedding(proto::Embedding { values, ..Default::default() }));
        let request = proto::SearchPhotosRequest { query, k: 1, ..Default::default() };
        let found = daemon.search().search_photos(request).await.unwrap().into_inner().matches;
        assert_eq!(found[0].photo.as_ref().unwrap().name, format!("photos/{content}"));
        assert!(found[0].distance < 1e-5, "{}", found[0].distance);
    }
    assert_eq!(uris.len(), PHOTOS as usize + 1);
    assert!(uris.iter().any(|uri| uri.ends_with("/odd%20%FF%0A%25.png")), "{uris:?}");

    let array = world.path("photos.npy");
    let npy = || world.resemble(["export".as_ref(), array.as_os_str(), "--format".as_ref(), "npy".as_ref()]);
    let output = npy();
    assert!(output.status.success(), "{output:?}");
    let beside = lines(&fs::read(world.path("photos.ndjson")).unwrap());
    let bytes = fs::read(&array).unwrap();
    assert!(bytes.starts_with(b"\x93NUMPY\x01\x00"));
    let head = String::from_utf8_lossy(&bytes[10..128]);
    let shape = format!("'shape': ({PHOTOS}, {}), ", model.dimensions);
    assert!(head.contains("'descr': '<f4'") && head.contains(&shape), "{head}");
    let values: Vec<f32> =
        bytes[128..].chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    let rows: Vec<&[f32]> = values.chunks_exact(model.dimensions as usize).collect();
    assert_eq!(rows.len(), PHOTOS as usize);
    for ((row, about), photo) in rows.into_iter().zip(&beside).zip(&photos) {
        assert_eq!(about["content"], photo["content"]);
        assert!(about.get("embedding").is_none());
        assert_eq!(row, numbers(photo));
    }
    let again = npy();
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("--force replaces it"));

    let script = "import json, numpy, sys\nphotos = [json.loads(line) for line in open('photos.ndjson')]\n\
                  assert numpy.load('photos.npy').shape[0] == len(photos) > 0";
    match Command::new("python3").args(["-c", "import numpy"]).output() {
        Ok(found) if found.status.success() => {
            let read =
                Command::new("python3").args(["-c", script]).current_dir(world.path("")).output().unwrap();
            assert!(read.status.success(), "{read:?}");
        }
        _ => eprintln!("SKIPPED: NumPy is not installed; its format was read by hand"),
    }

    let none = world.resemble(["export", "-", "--camera", "nobody's"]);
    assert_eq!((none.status.code(), none.stdout.len()), (Some(1), 0), "{none:?}");
    daemon.stop(&world).await;
}
