//! The index moves: backed up while the daemon works, restored elsewhere, and nothing is encoded anew.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use resembled::proto;
use resembled::proto::duplicate_service_client::DuplicateServiceClient;

use crate::pictures;
use crate::private_disk::PrivateDisk;
use crate::stores::store_of;
use crate::world::{Daemon, World};

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn back_up(world: &World, file: &Path, more: &[&str]) -> Output {
    world.resemble(["backup".as_ref(), file.as_os_str()].into_iter().chain(more.iter().map(OsStr::new)))
}

fn restore(mut command: Command, file: &Path, more: &[&str]) -> Output {
    command.arg("restore").arg(file).args(more).output().unwrap()
}

/// What a search for picture number `seed` finds: names and distances.
async fn found(daemon: &Daemon, seed: u32) -> Vec<(String, f32)> {
    let matches = daemon.nearest(pictures::png(seed), 20).await;
    matches.into_iter().map(|found| (found.photo.unwrap().name, found.distance)).collect()
}

async fn tell_apart(daemon: &Daemon, pair: [String; 2]) {
    let request = proto::TellApartRequest { photos: pair.to_vec(), undo: false };
    DuplicateServiceClient::new(daemon.channel.clone()).tell_apart(request).await.unwrap();
}

/// Copies a folder of files with their times, as a backup of photos does.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    assert!(Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_index_moves_to_another_home_and_nothing_is_encoded_anew() {
    let world = World::new();
    for seed in 0..30 {
        pictures::write(&world.photo(format!("{}/{seed}.png", seed % 3)), seed);
        pictures::write(&world.path(format!("added/{seed}.png")), 100 + seed);
    }
    fs::write(world.photo("broken.jpg"), b"\xff\xd8\xff\xe0 no more than a beginning").unwrap();
    let daemon = world.start().await;
    daemon.wait_for_files(30).await;
    let added = world.path("added");
    assert!(world.resemble(["roots".as_ref(), "add".as_ref(), added.as_os_str()]).status.success());
    daemon.wait_for_files(60).await;
    let files = daemon.files().await;
    tell_apart(&daemon, [0, 1].map(|file: usize| format!("photos/{}", files[file].1))).await;
    let before = found(&daemon, 7).await;

    let file = world.path("index.backup");
    let done = back_up(&world, &file, &[]);
    assert!(done.status.success(), "{done:?}");
    assert!(text(&done).contains("60 photos in 61 files, 2 folders, 1 mark of"), "{done:?}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = back_up(&world, &file, &[]);
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    assert!(text(&again).contains("there already: --force replaces it"), "{again:?}");
    let forced = back_up(&world, &file, &["--force", "--json"]);
    assert!(forced.status.success() && text(&forced).contains("\"photos\":60"), "{forced:?}");
    let in_use = restore(world.resembled(), &file, &["--force"]);
    assert!(!in_use.status.success() && text(&in_use).contains("in use"), "{in_use:?}");
    let names = fs::read_dir(world.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!names.into_iter().any(|name| name.to_string_lossy().ends_with(".part")));
    daemon.stop(&world).await;

    // Another home, whose photos are copies at another path; the added folder is where it was.
    let other = World::new();
    copy(&world.photos(), &other.photos());
    let restored = restore(other.resembled(), &file, &[]);
    assert!(restored.status.success(), "{restored:?}");
    assert!(text(&restored).contains("60 photos in 61 files, 2 folders, 1 mark of"), "{restored:?}");
    let daemon = other.start().await;
    let status = daemon.wait_for_files(60).await;
    assert_eq!((status.photos_encoded, status.roots.len(), status.failed), (0, 2, 1), "{status:#?}");
    let moved: Vec<(PathBuf, String)> = files
        .iter()
        .map(|(path, content)| match path.strip_prefix(world.photos()) {
            Ok(below) => (other.photo(below), content.clone()),
            Err(_) => (path.clone(), content.clone()),
        })
        .collect();
    let mut there = daemon.files().await;
    there.sort_by_key(|(path, _)| moved.iter().position(|(moved, _)| moved == path));
    assert_eq!(there, moved);
    assert_eq!(found(&daemon, 7).await, before);
    daemon.stop(&other).await;

    // The index that is there stays, and gives way only to a word.
    let in_the_way = restore(other.resembled(), &file, &[]);
    assert_eq!(in_the_way.status.code(), Some(1), "{in_the_way:?}");
    assert!(text(&in_the_way).contains("with --force"), "{in_the_way:?}");
    let forced = restore(other.resembled(), &file, &["--force"]);
    assert!(forced.status.success() && text(&forced).contains("resembled.redb.former"), "{forced:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_in_the_middle_of_an_import_has_what_was_committed_and_the_rest_is_encoded_later() {
    const PHOTOS: u32 = 300;
    let world = World::new();
    for seed in 0..PHOTOS {
        pictures::write(&world.photo(format!("{}/{seed}.png", seed % 7)), seed);
    }
    let daemon = world.start().await;
    daemon.wait_for("some are there", |status| status.photos >= 30).await;
    let file = world.path("index.backup");
    let done = back_up(&world, &file, &["--json"]);
    assert!(done.status.success(), "{done:?}");
    let summary: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let kept = summary["photos"].as_u64().unwrap();
    let status = daemon.wait_for_files(u64::from(PHOTOS)).await;
    assert_eq!(status.photos_encoded, u64::from(PHOTOS), "the import went on");
    let before = found(&daemon, 3).await;
    daemon.stop(&world).await;
    assert!((30..=u64::from(PHOTOS)).contains(&kept), "{kept}");
    println!("the backup has {kept} of {PHOTOS} photos");

    let forced = restore(world.resembled(), &file, &["--force"]);
    assert!(forced.status.success(), "{forced:?}");
    let daemon = world.start().await;
    let status = daemon.wait_for_files(u64::from(PHOTOS)).await;
    assert_eq!(status.photos_encoded, u64::from(PHOTOS) - kept);
    let sorted = |mut found: Vec<(String, f32)>| {
        found.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
        found
    };
    assert_eq!(sorted(found(&daemon, 3).await), sorted(before));
    daemon.stop(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_backup_is_refused_with_a_clear_word_and_changes_nothing() {
    let world = World::new();
    pictures::write(&world.photo("a.png"), 1);
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    let file = world.path("index.backup");
    assert!(back_up(&world, &file, &[]).status.success());
    daemon.stop(&world).await;
    let (whole, store) = (fs::read(&file).unwrap(), fs::read(store_of(&world)).unwrap());
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let damaged = "is damaged or was cut off: nothing was changed";
    for (bytes, why) in [
        (&whole[..whole.len() - 1], damaged),
        (&whole[..whole.len() / 2], damaged),
        (&flipped, damaged),
        (b"a letter", "is no backup of resembled"),
        (b"", "is no backup of resembled"),
    ] {
        fs::write(&file, bytes).unwrap();
        let refused = restore(world.resembled(), &file, &["--force"]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(text(&refused).contains(why), "{refused:?}");
        assert!(fs::read(store_of(&world)).unwrap() == store);
    }
    // Nor is it believed where nothing is in the way.
    let other = World::new();
    fs::write(&file, &flipped).unwrap();
    assert!(!restore(other.resembled(), &file, &[]).status.success());
    assert!(!store_of(&other).exists());
}

/// The photos were copied to another disk, which has the same path on another computer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_at_the_same_path_of_another_computer_is_taken_for_the_same_if_it_holds_the_photos() {
    let world = World::new();
    for seed in 0..10 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    let daemon = world.start().await;
    daemon.wait_for_files(10).await;
    let file = world.path("index.backup");
    assert!(back_up(&world, &file, &[]).status.success());
    daemon.stop(&world).await;
    let photos = world.path("copied");
    copy(&world.photos(), &photos);
    for is_copied in [true, false] {
        let Some(disk) = PrivateDisk::mount(&world.photos(), 4 << 10) else { return };
        match is_copied {
            true => copy(&photos, &disk.path("")),
            false => pictures::write(&disk.path("other.png"), 77),
        }
        let restored = restore(disk.seen_by(&world.resembled()), &file, &["--force"]);
        // `--force` and the file are those of the command that is run.
        assert!(restored.status.success(), "{restored:?}");
        let mut command = world.resembled();
        command.arg(world.photos());
        let daemon = world.start_command(disk.seen_by(&command)).await;
        let status = daemon.wait_for_rest().await;
        assert_eq!((status.photos, status.photos_encoded), (10, 0));
        let expected = if is_copied { proto::RootState::Online } else { proto::RootState::Offline };
        assert_eq!(status.roots[0].state(), expected, "{status:#?}");
        daemon.stop(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_the_copy_there_is_no_backup_and_no_harm() {
    let world = World::new();
    let Some(disk) = PrivateDisk::mount(&world.path("data/resembled"), 12 << 10) else { return };
    for seed in 0..5 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    let mut command = world.resembled();
    command.arg(world.photos());
    let daemon = world.start_command(disk.seen_by(&command)).await;
    daemon.wait_for_files(5).await;
    disk.fill();
    let file = world.path("index.backup");
    let refused = back_up(&world, &file, &[]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(text(&refused).contains("make room on that disk"), "{refused:?}");
    assert!(!file.exists());
    assert!(daemon.status().await.write_problem.is_none());
    disk.free();
    assert!(back_up(&world, &file, &[]).status.success());
    // Nor is there room for the backup itself.
    let small = PrivateDisk::mount(&world.path("stick"), 64).unwrap();
    let mut client = world.client();
    client.arg("backup").arg(world.path("stick/index.backup"));
    let refused = small.seen_by(&client).output().unwrap();
    assert!(text(&refused).contains("name a file on another disk"), "{refused:?}");
    assert_eq!(fs::read_dir(small.path("")).unwrap().count(), 0);
    daemon.stop(&world).await;
}
