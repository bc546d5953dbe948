//! How soon the daemon ends, whatever hangs.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use resembled::proto;

use crate::fuse::{self, Fuse};
use crate::pictures;
use crate::world::{Daemon, World};

/// What a user, and systemd, may wait for.
const GRACE: Duration = Duration::from_secs(10);

async fn stop(what: &str, daemon: Daemon, world: &World) {
    let begun = Instant::now();
    daemon.stop(world).await;
    let took = begun.elapsed();
    println!("RESULT SIGTERM, {what}: ended with 0 after {:.1} s", took.as_secs_f64());
    assert!(took <= GRACE, "{}", world.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a campaign: it prints how long the daemon takes to end"]
async fn sigterm_with_a_disk_that_does_not_answer() {
    if !fuse::may_be_mounted("faults::hangs::sigterm_with_a_disk_that_does_not_answer") {
        return;
    }
    let world = World::new();
    let hung = world.path("hung");
    pictures::write(&world.photo("a.png"), 1);
    let mount = Fuse::mute(&hung);
    let args = [world.photos(), hung.clone()];
    let args = args.each_ref().map(|path| path.as_os_str());

    let daemon = world.start_with(&args).await;
    stop("a watched folder hangs since the start, just ready", daemon, &world).await;
    let daemon = world.start_with(&args).await;
    daemon
        .wait_for("silence", |status| {
            status.roots.iter().any(|root| root.state() == proto::RootState::NotAnswering)
        })
        .await;
    stop("a watched folder hangs since the start, noticed", daemon, &world).await;
    drop(mount);

    let photos = (10..40).map(|number| {
        let path = world.path("photo.png");
        pictures::write(&path, number);
        (format!("{number}.png"), fs::read(&path).unwrap())
    });
    let mount = Fuse::serving(&hung, photos.collect());
    let daemon = world.start_with(&args).await;
    daemon.wait_for("some are read", |status| status.files > 3).await;
    mount.hang();
    let daemon = with_calls_on_their_way(daemon, &hung.join("10.png"));
    stop("a folder hangs while its photos are read and asked for", daemon, &world).await;
}

/// Twenty callers name a photo on the disk that hangs.
fn with_calls_on_their_way(daemon: Daemon, path: &std::path::Path) -> Daemon {
    for _ in 0..20 {
        let mut client = daemon.search();
        let query = Some(proto::search_photos_request::Query::Path(path.as_os_str().as_bytes().to_vec()));
        let request = proto::SearchPhotosRequest { query, k: 1, ..Default::default() };
        #[expect(
            clippy::disallowed_methods,
            reason = "they end with the daemon, and nobody wants their answers"
        )]
        tokio::spawn(async move { client.search_photos(request).await });
    }
    daemon
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a campaign: it prints how long the daemon takes to end"]
async fn sigterm_during_an_import_of_a_thousand() {
    let world = World::new();
    for number in 0..1000 {
        pictures::write(&world.photo(format!("{number}.png")), number);
    }
    let daemon = world.start().await;
    daemon.wait_for("some are encoded", |status| status.photos_encoded > 5).await;
    stop("import of 1,000 photos", daemon, &world).await;
}
