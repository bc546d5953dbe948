//! At rest, the index equals the disk, and nothing is encoded without need.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use resembled::photo::ContentHash;
use resembled::proto;

use crate::pictures;
use crate::world::{World, with_vectors_and_with_codes};

with_vectors_and_with_codes!(a_restart_reads_no_photo_again_and_answers_the_same);

fn path_of(found: &proto::Match) -> &Path {
    Path::new(OsStr::from_bytes(&found.photo.as_ref().unwrap().files[0].path))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn photos_copied_into_a_watched_folder_become_searchable() {
    let world = World::new();
    let daemon = world.start().await;
    for seed in 0..6 {
        pictures::write(&world.photo(format!("trip/{seed}.png")), seed);
    }
    daemon.wait_for_files(6).await;
    for seed in 0..6 {
        let matches = daemon.nearest(pictures::png(seed), 3).await;
        assert_eq!(path_of(&matches[0]), world.photo(format!("trip/{seed}.png")));
        assert!(matches[0].distance < 1e-5 && matches[0].similarity > 0.9999, "{:?}", matches[0]);
        assert!(matches.is_sorted_by(|a, b| a.distance <= b.distance));
        assert_eq!(matches.len(), 3);
    }
}

async fn a_restart_reads_no_photo_again_and_answers_the_same(world: World) {
    for seed in 0..5 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    fs::write(world.photo("broken.jpg"), "no photo").unwrap();
    let daemon = world.start().await;
    daemon.wait_for_files(5).await;
    let before = (daemon.files().await, daemon.nearest(pictures::png(2), 5).await);
    daemon.stop(&world).await;

    let daemon = world.start().await;
    let status = daemon.wait_for_files(5).await;
    assert_eq!((status.files_indexed, status.photos_encoded, status.failed), (0, 0, 1));
    assert_eq!((daemon.files().await, daemon.nearest(pictures::png(2), 5).await), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_while_the_daemon_was_away_is_seen_at_the_start() {
    let world = World::new();
    for seed in 0..4 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    let daemon = world.start().await;
    daemon.wait_for_files(4).await;
    daemon.stop(&world).await;

    fs::remove_file(world.photo("0.png")).unwrap();
    fs::create_dir(world.photo("moved")).unwrap();
    fs::rename(world.photo("1.png"), world.photo("moved/one.png")).unwrap();
    pictures::write(&world.photo("2.png"), 20);
    fs::copy(world.photo("3.png"), world.photo("copy of 3.png")).unwrap();

    let daemon = world.start().await;
    let status = daemon.wait_for_files(4).await;
    assert_eq!(status.photos_encoded, 1, "only the changed one is new");
    let hash = |seed| ContentHash::of(&pictures::png(seed)).to_string();
    let mut expected = vec![
        (world.photo("moved/one.png"), hash(1)),
        (world.photo("2.png"), hash(20)),
        (world.photo("3.png"), hash(3)),
        (world.photo("copy of 3.png"), hash(3)),
    ];
    expected.sort();
    assert_eq!(daemon.files().await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_photo_that_is_replaced_moved_or_deleted_is_followed_at_once() {
    let world = World::new();
    // A folder that is suddenly empty would be taken for an unplugged one.
    pictures::write(&world.photo("stays.png"), 9);
    let daemon = world.start().await;
    pictures::write(&world.photo("a.png"), 1);
    daemon.wait_for_files(2).await;

    fs::write(world.path("new"), pictures::png(2)).unwrap();
    fs::rename(world.path("new"), world.photo("a.png")).unwrap();
    let name = format!("photos/{}", ContentHash::of(&pictures::png(2)));
    daemon
        .wait_for("replaced", |status| status.photos_encoded == 3 && status.state() == proto::State::Idle)
        .await;
    let photo = daemon.library().get_photo(proto::GetPhotoRequest { name: name.clone() }).await.unwrap();
    assert_eq!((photo.get_ref().width, photo.get_ref().height), (160, 120));
    assert_eq!(photo.get_ref().media_type, "image/png");

    fs::rename(world.photo("a.png"), world.photo("b.png")).unwrap();
    loop {
        let status = daemon.wait_for_files(2).await;
        assert_eq!(status.photos_encoded, 3, "a move encodes nothing");
        if daemon.files().await.iter().any(|(path, _)| *path == world.photo("b.png")) {
            break;
        }
    }

    fs::remove_file(world.photo("b.png")).unwrap();
    daemon.wait_for_files(1).await;
    let gone = daemon.library().get_photo(proto::GetPhotoRequest { name }).await.unwrap_err();
    assert_eq!(gone.code(), tonic::Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_are_one_photo_in_several_files() {
    let world = World::new();
    pictures::write(&world.photo("a.png"), 1);
    pictures::write(&world.photo("b/a again.png"), 1);
    let daemon = world.start().await;
    let status = daemon.wait_for_files(2).await;
    assert_eq!((status.photos, status.photos_encoded), (1, 1));
    let matches = daemon.nearest(pictures::png(1), 10).await;
    assert_eq!(matches.len(), 1);
    assert_eq!(matches[0].photo.as_ref().unwrap().files.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_photo_costs_one_photo_until_it_is_replaced() {
    let world = World::new();
    fs::write(world.photo("text.jpg"), "not a photo at all").unwrap();
    fs::write(world.photo("short.png"), &pictures::png(1)[..200]).unwrap();
    fs::write(world.photo("empty.jpeg"), "").unwrap();
    pictures::write(&world.photo("good.png"), 1);
    let daemon = world.start().await;
    let status = daemon.wait_for_files(1).await;
    assert_eq!(status.failed, 3);
    let failures = daemon.failures().await;
    assert!(failures.iter().all(|failure| !failure.reason.is_empty() && failure.kind != 0), "{failures:?}");

    pictures::write(&world.photo("short.png"), 7);
    let status = daemon.wait_for_files(2).await;
    assert_eq!(status.failed, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_photo_over_the_limit_is_tried_again_once_the_limit_is_raised() {
    let world = World::new();
    image::RgbImage::new(1250, 1000).save(world.photo("large.png")).unwrap();
    world.configure("[decode]\nmax_megapixels = 1\n");
    let daemon = world.start().await;
    let status = daemon.wait_for_files(0).await;
    assert_eq!(status.failed, 1);
    daemon.stop(&world).await;

    world.configure("[decode]\nmax_megapixels = 2\n");
    let daemon = world.start().await;
    let status = daemon.wait_for_files(1).await;
    assert_eq!(status.failed, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_photo_without_an_extension_is_a_photo_and_other_files_are_no_failures() {
    let world = World::new();
    pictures::write(&world.photo("from a chat"), 1);
    fs::write(world.photo("Makefile"), "all:\n").unwrap();
    fs::write(world.photo("notes.txt"), "text").unwrap();
    let daemon = world.start().await;
    let status = daemon.wait_for_files(1).await;
    assert_eq!(status.failed, 0);
    assert_eq!(daemon.files().await[0].0, world.photo("from a chat"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_not_utf8_is_a_name_like_any_other() {
    let world = World::new();
    let path = world.photos().join(OsStr::from_bytes(b"caf\xe9\n.png"));
    pictures::write(&path, 1);
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    assert_eq!(daemon.files().await[0].0, path);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roots_are_added_and_removed_by_calls_and_outlive_a_restart() {
    let world = World::new();
    pictures::write(&world.path("more/a.png"), 1);
    pictures::write(&world.photo("b.png"), 2);
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    let path = world.path("more").as_os_str().as_bytes().to_vec();
    let added = daemon
        .library()
        .add_root(proto::AddRootRequest { path: path.clone(), ..Default::default() })
        .await
        .unwrap()
        .into_inner();
    assert!(!added.configured);
    daemon.wait_for_files(2).await;
    let again =
        daemon.library().add_root(proto::AddRootRequest { path, ..Default::default() }).await.unwrap_err();
    assert_eq!(again.code(), tonic::Code::AlreadyExists);
    let inside = world.photos().join("inside");
    fs::create_dir(&inside).unwrap();
    let nested = proto::AddRootRequest { path: inside.as_os_str().as_bytes().to_vec(), ..Default::default() };
    assert_eq!(daemon.library().add_root(nested).await.unwrap_err().code(), tonic::Code::AlreadyExists);
    daemon.stop(&world).await;

    let daemon = world.start().await;
    daemon.wait_for_files(2).await;
    daemon.library().remove_root(proto::RemoveRootRequest { name: added.name.clone() }).await.unwrap();
    let status = daemon.wait_for_files(1).await;
    assert_eq!(status.photos, 1);
    let roots = daemon.library().list_roots(proto::ListRootsRequest {}).await.unwrap().into_inner().roots;
    assert_eq!(roots.len(), 1);
    let configured = proto::RemoveRootRequest { name: roots[0].name.clone() };
    let refused = daemon.library().remove_root(configured).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    assert!(world.path("more/a.png").exists(), "nothing on the disk is touched");
}
