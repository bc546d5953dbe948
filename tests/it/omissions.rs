//! What is left out is said wherever somebody looks whether all is well.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use resembled::proto;

use crate::pictures;
use crate::world::{Daemon, World};

/// The user `nobody`, where we are root, who may read everything.
const NOBODY: u32 = 65_534;

fn count(status: &proto::Status, kind: proto::OmissionKind) -> u64 {
    let of_kind =
        status.roots.iter().flat_map(|root| &root.omissions).filter(|counted| counted.kind() == kind);
    of_kind.map(|counted| counted.count).sum()
}

fn text(world: &World, args: &[&str]) -> String {
    String::from_utf8_lossy(&world.resemble(args).stdout).into_owned()
}

/// Starts the daemon as a user who cannot read `locked`. None where that cannot be had.
async fn start_without_access(world: &World, locked: &Path) -> Option<Daemon> {
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(locked, fs::Permissions::from_mode(0o000)).unwrap();
        return Some(world.start().await);
    }
    fs::set_permissions(locked, fs::Permissions::from_mode(0o700)).unwrap();
    for path in [world.path(""), world.photos()] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let executable = Path::new(env!("CARGO_BIN_EXE_resembled"));
    let is_open = |path: &Path| fs::metadata(path).is_ok_and(|seen| seen.permissions().mode() & 0o001 != 0);
    if !executable.ancestors().all(is_open) || !world.path("").ancestors().skip(1).all(is_open) {
        eprintln!("SKIPPED: another user may not run {}", executable.display());
        return None;
    }
    Some(world.start_as(NOBODY).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_cannot_be_read_and_links_are_said_by_roots_status_failures_and_doctor() {
    let world = World::new();
    pictures::write(&world.photo("a.png"), 1);
    let locked = world.photo("locked");
    for folder in ["locked", ".hidden", "../elsewhere"] {
        fs::create_dir_all(world.photo(folder)).unwrap();
        pictures::write(&world.photo(folder).join("b.png"), 2);
    }
    symlink(world.path("elsewhere"), world.photo("linked")).unwrap();
    let Some(daemon) = start_without_access(&world, &locked).await else { return };
    daemon
        .wait_for("all is counted", |status| {
            status.state() == proto::State::Idle
                && status.files == 1
                && count(status, proto::OmissionKind::UnreadableFolder) == 1
                && count(status, proto::OmissionKind::Link) == 1
                && count(status, proto::OmissionKind::Ignored) == 1
        })
        .await;
    for command in ["roots", "status", "doctor"] {
        let text = text(&world, &[command]);
        for what in ["1 folder cannot be read", "1 link is not followed", "resemble failures"] {
            assert!(text.contains(what), "{command} says nothing of: {what}\n{text}");
        }
    }
    let failures = text(&world, &["failures"]);
    let lines: Vec<&str> = failures.lines().collect();
    assert_eq!(lines.len(), 2, "{failures}");
    assert!(lines[0].contains("photos/linked: a link to") && lines[0].contains("roots add"), "{failures}");
    assert!(lines[1].contains("photos/locked: the folder cannot be read: Permission denied"), "{failures}");
    assert!(text(&world, &["failures", "--ignored"]).contains("photos/.hidden: ignored: it is hidden"));
    let json = text(&world, &["failures", "--json"]);
    assert!(json.contains("\"kind\":\"unreadable_folder\"") && json.contains("\"kind\":\"link\""), "{json}");

    // What was advised works.
    assert!(
        world.resemble([Path::new("roots"), Path::new("add"), &world.path("elsewhere")]).status.success()
    );
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).unwrap();
    daemon
        .wait_for("nothing is left out that anybody misses", |status| {
            status.files == 3 && count(status, proto::OmissionKind::UnreadableFolder) == 0
        })
        .await;
    assert!(world.resemble(["rescan"]).status.success());
    daemon.wait_for("no link leads elsewhere", |status| count(status, proto::OmissionKind::Link) == 0).await;
    daemon.stop(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn photos_that_disappear_all_at_once_are_said_to_be_held_back() {
    let world = World::new();
    fs::create_dir(world.photo("x")).unwrap();
    // One content: this is about files.
    let picture = pictures::png(1);
    for number in 0..24 {
        fs::write(world.photo(format!("x/{number}.png")), &picture).unwrap();
    }
    pictures::write(&world.photo("stays.png"), 2);
    let daemon = world.start().await;
    daemon.wait_for_files(25).await;
    fs::rename(world.photo("x"), world.path("aside")).unwrap();
    daemon.wait_for("they are held back", |status| count(status, proto::OmissionKind::HeldBack) == 24).await;
    assert!(text(&world, &["roots"]).contains("24 photos seem to be gone"));
    assert_eq!(text(&world, &["failures"]).lines().count(), 24);
    fs::rename(world.path("aside"), world.photo("x")).unwrap();
    daemon.wait_for("they are back", |status| count(status, proto::OmissionKind::HeldBack) == 0).await;
    daemon.wait_for_files(25).await;
}
