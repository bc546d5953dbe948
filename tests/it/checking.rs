//! What people delete photos on: a copy is another file that is there now.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;

use resembled::proto;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use serde_json::Value;

use crate::world::World;
use crate::{namespace, pictures};

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Checks some paths, and returns the exit code and the word for each file.
fn check(world: &World, args: &[&OsStr]) -> (Option<i32>, Vec<String>) {
    let args: Vec<&OsStr> =
        ["check", "--json"].map(OsStr::new).into_iter().chain(args.iter().copied()).collect();
    let output = world.resemble(args);
    let words = lines(&output).iter().map(|line| line["state"].as_str().unwrap().to_owned()).collect();
    (output.status.code(), words)
}

fn says(world: &World, args: &[&str], code: i32, words: &[&str]) {
    let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
    assert_eq!(
        check(world, &args),
        (Some(code), words.iter().map(|&word| word.to_owned()).collect()),
        "{args:?}"
    );
}

/// Asked of a watched folder by another name, `check` once called each photo there a copy of itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_link_makes_a_file_a_copy_of_itself() {
    let world = World::new();
    pictures::write(&world.photo("trip/a.png"), 1);
    symlink(world.photos(), world.path("link")).unwrap();
    symlink(world.photo("trip/a.png"), world.path("alias.png")).unwrap();
    fs::create_dir(world.path("hard")).unwrap();
    fs::hard_link(world.photo("trip/a.png"), world.path("hard/a.png")).unwrap();
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;

    for name in
        ["photos", "photos/trip/../trip", "link", "link/trip/a.png", "alias.png", "hard", "hard/a.png"]
    {
        says(&world, &[name], 1, &["only"]);
        says(&world, &["--copies", name], 1, &["only"]);
    }
    let missing = world.resemble(["check", "--missing", "link"]);
    assert_eq!(stdout(&missing), "link/trip/a.png\n", "a file without a copy is not thrown away");

    // Another file is a copy, and the watched one is none of the others.
    fs::create_dir(world.path("card")).unwrap();
    fs::copy(world.photo("trip/a.png"), world.path("card/1.png")).unwrap();
    says(&world, &["card"], 0, &["copy"]);
    says(&world, &["card", "photos"], 1, &["only", "only"]);
    says(&world, &["photos"], 1, &["only"]);
}

/// Of two files that are both given, neither is a copy: whoever deletes them deletes both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_holds_no_copy_of_what_was_given() {
    let world = World::new();
    pictures::write(&world.photo("a.png"), 1);
    pictures::write(&world.photo("again/a.png"), 1);
    let daemon = world.start().await;
    daemon.wait_for_files(2).await;
    says(&world, &["photos"], 1, &["only", "only"]);
    says(&world, &["photos/a.png", "photos/again/a.png"], 1, &["only", "only"]);
    says(&world, &["photos/again"], 0, &["copy"]);
    says(&world, &["photos/a.png"], 0, &["copy"]);
    // By a hard link outside of the library, both are given as well.
    fs::create_dir(world.path("card")).unwrap();
    fs::hard_link(world.photo("a.png"), world.path("card/1.png")).unwrap();
    fs::hard_link(world.photo("again/a.png"), world.path("card/2.png")).unwrap();
    says(&world, &["card"], 1, &["only", "only"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_mount_makes_a_file_a_copy_of_itself_or_a_file_twice() {
    if !namespace::may_mount("checking::no_mount_makes_a_file_a_copy_of_itself_or_a_file_twice") {
        return;
    }
    let world = World::new();
    fs::create_dir_all(world.photo("card")).unwrap();
    mount("none", world.photo("card"), "tmpfs", MountFlags::empty(), None).unwrap();
    pictures::write(&world.photo("trip/a.png"), 1);
    pictures::write(&world.photo("card/DCIM/b.png"), 2);
    for (from, to) in [("photos", "bound"), ("photos/trip", "part"), ("photos/card", "reader")] {
        fs::create_dir(world.path(to)).unwrap();
        mount_bind(world.path(from), world.path(to)).unwrap();
    }
    let daemon = world.start().await;
    daemon.wait_for_files(2).await;
    for (name, words) in [
        ("bound", &["only"][..]),
        ("part", &["only"]),
        ("part/a.png", &["only"]),
        ("photos/card", &["only"]),
        ("reader", &["only"]),
        ("reader/DCIM/b.png", &["only"]),
        ("photos", &["only", "only"]),
    ] {
        says(&world, &[name], 1, words);
    }

    // Watched a second time, and a third time from inside: still one file each.
    let added = world.resemble(["roots", "add", "reader"]);
    assert_eq!(added.status.code(), Some(0), "{added:?}");
    fs::create_dir(world.photo("inside")).unwrap();
    mount_bind(world.photo("trip"), world.photo("inside")).unwrap();
    assert_eq!(world.resemble(["rescan"]).status.code(), Some(0));
    daemon.wait_for_files(4).await;
    says(&world, &["photos/trip"], 1, &["only"]);
    says(&world, &["reader"], 1, &["only"]);
    let duplicates = world.resemble(["duplicates", "exact"]);
    assert_eq!((duplicates.status.code(), stdout(&duplicates).as_str()), (Some(1), ""), "{duplicates:?}");
    let found = daemon.nearest(pictures::png(1), 1).await.remove(0).photo.unwrap();
    assert_eq!((found.files.len(), found.files[0].other_paths.len()), (1, 1), "{found:?}");
    // All paths are listed.
    assert_eq!(daemon.files().await.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hard_link_is_no_duplicate_and_a_copy_is() {
    let world = World::new();
    pictures::write(&world.photo("a.png"), 1);
    fs::hard_link(world.photo("a.png"), world.photo("a hard.png")).unwrap();
    let daemon = world.start().await;
    daemon.wait_for_files(2).await;
    assert_eq!(world.resemble(["duplicates", "exact"]).status.code(), Some(1), "one file");

    pictures::write(&world.photo("b.png"), 1);
    daemon.wait_for_files(3).await;
    let listed = world.resemble(["duplicates", "exact", "--json"]);
    let group = lines(&listed).remove(0);
    let photo = &group["photos"][0];
    assert!(photo["path"].as_str().unwrap().ends_with("a hard.png"), "{photo}");
    assert!(photo["other_paths"][0]["path"].as_str().unwrap().ends_with("/a.png"), "{photo}");
    assert_eq!(photo["copies"].as_array().unwrap().len(), 1, "{photo}");
    assert_eq!(photo["copies"][0]["presence"], "verified");
    assert!(stderr(&listed).contains("1 files"), "{listed:?}");
    let table = stdout(&world.resemble(["search", "photos/b.png"]));
    assert!(table.contains("(+1 copy)"), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn films_sidecars_and_trash_keep_no_card_from_being_wiped_and_are_counted() {
    let world = World::new();
    pictures::write(&world.photo("a.png"), 1);
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    pictures::write(&world.path("card/DCIM/1.PNG"), 1);
    fs::write(world.path("card/DCIM/film.MOV"), b"\0\0\0\x14ftypqt  \0\0\0\0qt  ").unwrap();
    fs::write(world.path("card/DCIM/film.THM"), pictures::png(5)).unwrap();
    fs::write(world.path("card/DCIM/1.xmp"), "<x:xmpmeta/>").unwrap();
    pictures::write(&world.path("card/.Trashes/501/2.png"), 2);
    let checked = world.resemble(["check", "card"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    assert_eq!(stdout(&checked).lines().count(), 1, "{checked:?}");
    let summary = stderr(&checked);
    for part in ["1 photo: 1 with a copy, 0 without", "1 .mov", "1 .thm", "1 .xmp", "1 in trash"] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
    says(&world, &["card"], 0, &["no-photo", "copy", "no-photo", "no-photo", "no-photo"]);
    assert_eq!(stdout(&world.resemble(["check", "--missing", "card"])), "");
    // A photo is a photo in a hidden folder too, and under a name that claims nothing.
    pictures::write(&world.path("card/.hidden/recovered"), 3);
    assert_eq!(stdout(&world.resemble(["check", "--missing", "card"])), "card/.hidden/recovered\n");
}

/// One file that could not be read once ended it all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_said_and_the_others_are_answered() {
    let world = World::new();
    pictures::write(&world.photo("a.png"), 1);
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    pictures::write(&world.path("card/1.png"), 1);
    // A file that gives an error to whoever reads it, and one that is not there.
    let checked = world.resemble(["check", "/proc/self/mem", "card", "gone.png"]);
    assert_eq!(checked.status.code(), Some(2), "{checked:?}");
    let words: Vec<String> =
        stdout(&checked).lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect();
    assert_eq!(words, ["unreadable", "copy", "unreadable"]);
    assert!(stderr(&checked).contains("2 files could not be read"), "{checked:?}");
    let missing = world.resemble(["check", "--missing", "/proc/self/mem", "card"]);
    assert_eq!((missing.status.code(), stdout(&missing).as_str()), (Some(2), "/proc/self/mem\n"));
}

/// The index keeps what disappeared at once, and what was not looked at yet; a copy is looked at when it is spoken of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_gone_is_no_copy_whatever_the_index_still_knows() {
    let world = World::new();
    for seed in 0..12 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
        pictures::write(&world.path(format!("card/{seed:02}.png")), seed);
    }
    let daemon = world.start().await;
    daemon.wait_for_files(12).await;
    says(&world, &["card"], 0, &["copy"; 12]);

    // While indexing waits, nothing leaves the index.
    assert_eq!(world.resemble(["pause"]).status.code(), Some(0));
    fs::remove_file(world.photo("0.png")).unwrap();
    fs::write(world.photo("1.png"), pictures::png(99)).unwrap();
    says(&world, &["card/00.png", "card/01.png"], 1, &["new", "new"]);
    let name = |seed| format!("photos/{}", resembled::photo::ContentHash::of(&pictures::png(seed)));
    for seed in [0, 1] {
        let photo = daemon.library().get_photo(proto::GetPhotoRequest { name: name(seed) }).await;
        assert!(photo.is_ok(), "the index knows it still");
    }
    assert_eq!(world.resemble(["resume"]).status.code(), Some(0));

    // The whole library is deleted: for the daemon, its drive may be away.
    for entry in fs::read_dir(world.photos()).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    daemon
        .wait_for("the empty folder is seen", |status| {
            status.roots.iter().all(|root| root.state() == proto::RootState::Offline)
        })
        .await;
    let photo = daemon.library().get_photo(proto::GetPhotoRequest { name: name(5) }).await;
    assert!(photo.is_ok(), "the index keeps it");
    says(&world, &["card"], 1, &["new"; 12]);
    says(&world, &["--trust-offline", "card"], 1, &["new"; 12]);
    // And the folder with it.
    fs::remove_dir(world.photos()).unwrap();
    says(&world, &["--trust-offline", "card/05.png"], 1, &["new"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_on_a_drive_that_is_away_counts_where_it_is_trusted_only() {
    if !namespace::may_mount("checking::a_copy_on_a_drive_that_is_away_counts_where_it_is_trusted_only") {
        return;
    }
    let world = World::new();
    let drive = world.path("drive");
    fs::create_dir(&drive).unwrap();
    mount("none", &drive, "tmpfs", MountFlags::empty(), None).unwrap();
    pictures::write(&drive.join("a.png"), 1);
    pictures::write(&world.photo("b.png"), 2);
    let nested = world.photo("nested");
    fs::create_dir(&nested).unwrap();
    mount("none", &nested, "tmpfs", MountFlags::empty(), None).unwrap();
    pictures::write(&nested.join("c.png"), 3);
    let daemon = world.start_with(&[world.photos().as_os_str(), drive.as_os_str()]).await;
    daemon.wait_for_files(3).await;
    pictures::write(&world.path("card/1.png"), 1);
    pictures::write(&world.path("inner/3.png"), 3);
    says(&world, &["card"], 0, &["copy"]);
    says(&world, &["inner"], 0, &["copy"]);
    unmount(&drive, UnmountFlags::DETACH).unwrap();
    unmount(&nested, UnmountFlags::DETACH).unwrap();
    // Whether the daemon has noticed or not.
    says(&world, &["card"], 1, &["copy-offline"]);
    says(&world, &["inner"], 1, &["copy-offline"]);
    daemon
        .wait_for("the drive is away", |status| {
            status.roots.iter().any(|root| root.state() == proto::RootState::Offline)
        })
        .await;
    says(&world, &["card"], 1, &["copy-offline"]);
    says(&world, &["--trust-offline", "card"], 0, &["copy-offline"]);
    assert_eq!(stdout(&world.resemble(["check", "--missing", "card"])), "card/1.png\n");
    assert_eq!(stdout(&world.resemble(["check", "--missing", "--trust-offline", "card"])), "");
    let line = lines(&world.resemble(["check", "--json", "card"])).remove(0);
    assert_eq!((&line["photo"]["presence"], &line["photo"]["online"]), (&"offline".into(), &false.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_get_every_byte_of_a_copys_name() {
    let world = World::new();
    let odd = world.photos().join(OsStr::from_bytes(b"z caf\xe9.png"));
    pictures::write(&world.photo("a.png"), 1);
    pictures::write(&odd, 1);
    let daemon = world.start().await;
    daemon.wait_for_files(2).await;
    pictures::write(&world.path("card/1.png"), 1);
    let uri = |path: &Path| {
        let bytes = path.as_os_str().as_bytes().iter();
        bytes.fold(OsString::from("file://").into_string().unwrap(), |uri, &byte| match byte {
            b'/' | b'.' | b'-' | b'_' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {
                uri + &char::from(byte).to_string()
            }
            byte => uri + &format!("%{byte:02X}"),
        })
    };
    let line = lines(&world.resemble(["check", "--json", "card"])).remove(0);
    let photo = &line["photo"];
    assert_eq!(photo["uri"], uri(&world.photo("a.png")), "{photo}");
    let copy = &photo["copies"][0];
    assert_eq!((&copy["uri"], &copy["presence"]), (&uri(&odd).into(), &"verified".into()), "{photo}");
    assert!(copy["uri"].as_str().unwrap().ends_with("z%20caf%E9.png"), "{copy}");
    let found = lines(&world.resemble(["search", "--json", "photos/a.png"])).remove(0);
    assert_eq!(
        (&found["copies"][0]["uri"], &found["copies"][0]["online"]),
        (&uri(&odd).into(), &true.into())
    );
}

/// A caller on another machine has other numbers for devices and inodes; a network file system hands inode and times through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_are_compared_on_one_machine_only() {
    use std::os::unix::fs::MetadataExt;

    let world = World::new();
    pictures::write(&world.photo("a.png"), 1);
    pictures::write(&world.photo("b.png"), 1);
    let daemon = world.start().await;
    daemon.wait_for_files(2).await;
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let metadata = fs::metadata(world.photo("a.png")).unwrap();
    let time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos: nanos as i32 });
    let a = proto::FileIdentity {
        device: metadata.dev(),
        inode: metadata.ino(),
        size_bytes: metadata.len(),
        modify_time: time(metadata.mtime(), metadata.mtime_nsec()),
        change_time: time(metadata.ctime(), metadata.ctime_nsec()),
    };
    let find = async |files: Vec<proto::FileIdentity>, boot_id: &str| {
        let photo = format!("photos/{}", resembled::photo::ContentHash::of(&pictures::png(1)));
        let request =
            proto::FindCopiesRequest { photo, files, folders: Vec::new(), boot_id: boot_id.to_owned() };
        let found = daemon.library().find_copies(request).await.unwrap().into_inner();
        (found.photo.unwrap().files.len(), found.asked_files.len(), found.same_machine)
    };
    assert_eq!(find(vec![a], &boot_id).await, (1, 1, true));
    // Written to meanwhile: device and inode tell.
    let written = proto::FileIdentity { change_time: time(7, 0), ..a };
    assert_eq!(find(vec![written], &boot_id).await, (1, 1, true));
    assert_eq!(find(vec![written], "another").await, (2, 0, false));
    // Through a network file system: inode, size and times tell.
    assert_eq!(find(vec![proto::FileIdentity { device: 7, ..a }], "another").await, (1, 1, false));
    assert_eq!(find(Vec::new(), "").await, (2, 0, false));
}
