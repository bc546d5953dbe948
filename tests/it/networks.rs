//! From one network to another.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use crate::pictures;
use crate::world::{World, with_vectors_and_with_codes};

with_vectors_and_with_codes!(the_former_network_answers_until_the_new_index_is_full);

const PHOTOS: u32 = 60;

/// Describes the built-in file as a network of its own: with another preprocessing, its embeddings are others.
fn describe_another(world: &World) {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/builtin");
    let manifest = fs::read_to_string(built_in.join("manifest.toml")).unwrap();
    let manifest = manifest
        .replace(r#"name = "builtin""#, r#"name = "another""#)
        .replace("resize_short_side = 146", "resize_short_side = 160");
    let folder = world.path("config/resembled/models");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("another.toml"), manifest).unwrap();
    fs::copy(built_in.join("encoder.onnx"), folder.join("encoder.onnx")).unwrap();
}

async fn the_former_network_answers_until_the_new_index_is_full(world: World) {
    for seed in 0..PHOTOS {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    let daemon = world.start().await;
    daemon.wait_for_files(PHOTOS.into()).await;
    daemon.stop(&world).await;

    describe_another(&world);
    let photos = world.photos();
    let another: [&OsStr; 3] = ["--model".as_ref(), "another".as_ref(), photos.as_os_str()];
    let daemon = world.start_with(&another).await;
    let status = daemon.status().await;
    let filling = status.filling.expect("most of it is still to be encoded");
    assert_eq!(filling.model.unwrap().name, "another");
    assert_eq!((status.model.unwrap().name.as_str(), status.photos), ("builtin", PHOTOS.into()));
    let found = daemon.nearest(pictures::png(PHOTOS - 1), PHOTOS).await;
    assert_eq!(found.len(), PHOTOS as usize, "all that was searchable is");
    assert!(found[0].distance < 1e-4, "{:?}", found[0]);

    fs::remove_file(world.photo("0.png")).unwrap();
    pictures::write(&world.photo("new.png"), PHOTOS);
    daemon.wait_for("the new network", |status| status.filling.is_none() && status.pending == 0).await;
    let status = daemon.wait_for_files(PHOTOS.into()).await;
    assert_eq!(status.model.unwrap().name, "another");
    let found = daemon.nearest(pictures::png(PHOTOS), 1).await;
    assert!(found[0].distance < 1e-4, "{:?}", found[0]);
    daemon.stop(&world).await;

    let daemon = world.start_with(&another).await;
    let status = daemon.wait_for_files(PHOTOS.into()).await;
    assert_eq!(
        (status.filling, status.photos_encoded),
        (None, 0),
        "it is full, and nothing is encoded again"
    );
}
