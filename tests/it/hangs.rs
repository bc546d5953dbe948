//! A disk that does not answer costs its folder its answers, and nothing else: not the other folders, not the calls of
//! others, and not the end of the daemon.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use resembled::proto;
use tonic::Code;

use crate::fuse::{self, Fuse};
use crate::pictures;
use crate::world::{Daemon, World};

/// Photos for a disk that can hang.
fn files(numbers: std::ops::Range<u32>) -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    numbers
        .map(|number| {
            let path = folder.path().join("photo.png");
            pictures::write(&path, number);
            (format!("{number}.png"), fs::read(&path).unwrap())
        })
        .collect()
}

fn is_silent(root: &proto::Root) -> bool {
    root.state() == proto::RootState::NotAnswering
}

async fn wait_for_silence(daemon: &Daemon, path: &Path) {
    let bytes = path.as_os_str().as_bytes();
    daemon
        .wait_for("the disk is known not to answer", |status| {
            status.roots.iter().any(|root| root.path == bytes && is_silent(root))
        })
        .await;
}

/// Other folders are followed, and those who ask of photos are answered.
async fn all_else_goes_on(world: &World, daemon: &Daemon, number: u32) {
    let before = daemon.status().await.files;
    let path = world.photo(format!("late-{number}.png"));
    pictures::write(&path, number);
    daemon
        .wait_for("the photo elsewhere is indexed", |status| {
            status.state() == proto::State::Idle && status.files == before + 1
        })
        .await;
    let query = proto::search_photos_request::Query::Path(path.as_os_str().as_bytes().to_vec());
    assert_eq!(search(daemon, query).await.unwrap(), 1);
}

/// Returns how many photos are found.
async fn search(daemon: &Daemon, query: proto::search_photos_request::Query) -> Result<usize, tonic::Status> {
    let request = proto::SearchPhotosRequest { query: Some(query), k: 1, ..Default::default() };
    Ok(daemon.search().search_photos(request).await?.into_inner().matches.len())
}

/// Whoever names a picture on the silent disk is told so. What the index knows of it is answered all the same.
async fn reading_it_is_refused(daemon: &Daemon, path: &Path, is_indexed: bool) {
    let bytes = path.as_os_str().as_bytes().to_vec();
    let refused = search(daemon, proto::search_photos_request::Query::Path(bytes.clone())).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("does not answer"), "{refused}");
    let known = search(daemon, proto::search_photos_request::Query::IndexedPath(bytes)).await;
    match known {
        Ok(found) => assert!(is_indexed && found == 1),
        Err(refused) => assert!(!is_indexed && refused.code() == Code::NotFound, "{refused}"),
    }
}

async fn adding_it_is_refused(daemon: &Daemon, path: &Path) {
    let request = proto::AddRootRequest { path: path.as_os_str().as_bytes().to_vec(), ..Default::default() };
    let refused = daemon.library().add_root(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("does not answer"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_hangs_at_the_start_costs_nobody_else_anything() {
    if !fuse::may_be_mounted("hangs::a_folder_that_hangs_at_the_start_costs_nobody_else_anything") {
        return;
    }
    let world = World::new();
    let hung = world.path("hung");
    let _mount = Fuse::mute(&hung);
    pictures::write(&world.photo("a.png"), 1);
    let daemon = world.start_with(&[world.photos().as_os_str(), hung.as_os_str()]).await;
    wait_for_silence(&daemon, &hung).await;
    daemon.wait_for_files(1).await;
    all_else_goes_on(&world, &daemon, 2).await;
    daemon.stop(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_hangs_later_is_found_again_when_it_answers() {
    if !fuse::may_be_mounted("hangs::a_folder_that_hangs_later_is_found_again_when_it_answers") {
        return;
    }
    let world = World::new();
    let hung = world.path("hung");
    let mount = Fuse::serving(&hung, files(10..13));
    pictures::write(&world.photo("a.png"), 1);
    let daemon = world.start_with(&[world.photos().as_os_str(), hung.as_os_str()]).await;
    daemon.wait_for_files(4).await;
    mount.hang();
    wait_for_silence(&daemon, &hung).await;
    all_else_goes_on(&world, &daemon, 2).await;
    reading_it_is_refused(&daemon, &hung.join("10.png"), true).await;
    // Another folder can be added meanwhile.
    let more = world.path("more");
    fs::create_dir(&more).unwrap();
    pictures::write(&more.join("b.png"), 3);
    let path = more.as_os_str().as_bytes().to_vec();
    daemon.library().add_root(proto::AddRootRequest { path, ..Default::default() }).await.unwrap();
    daemon.wait_for_files(6).await;
    mount.resume();
    daemon
        .wait_for("all disks answer", |status| {
            status.state() == proto::State::Idle && !status.roots.iter().any(is_silent)
        })
        .await;
    assert_eq!(daemon.status().await.files, 6);
    mount.hang();
    daemon.stop(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_hangs_is_refused_each_time_it_is_added() {
    if !fuse::may_be_mounted("hangs::a_folder_that_hangs_is_refused_each_time_it_is_added") {
        return;
    }
    let world = World::new();
    let hung = world.path("hung");
    let _mount = Fuse::mute(&hung);
    let daemon = world.start().await;
    adding_it_is_refused(&daemon, &hung.join("x")).await;
    adding_it_is_refused(&daemon, &hung.join("x")).await;
    reading_it_is_refused(&daemon, &hung.join("x"), false).await;
    all_else_goes_on(&world, &daemon, 1).await;
    daemon.stop(&world).await;
}

/// It ended as idle before the first look: 0 of 3 photos.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_watch_waits_for_the_first_look_at_a_folder_without_events() {
    if !fuse::may_be_mounted("hangs::status_watch_waits_for_the_first_look_at_a_folder_without_events") {
        return;
    }
    let world = World::new();
    let polled = world.path("polled");
    let _mount = Fuse::serving(&polled, files(10..13));
    let daemon = world.start_with(&[polled.as_os_str()]).await;
    let watched = tokio::task::block_in_place(|| world.resemble(["status", "--watch"]));
    assert!(watched.status.success(), "{watched:?}");
    let status = daemon.status().await;
    assert_eq!(status.files, 3, "{status:?}");
    assert!(!status.roots[0].detail.is_empty(), "it is polled: {status:?}");
    daemon.stop(&world).await;
}
