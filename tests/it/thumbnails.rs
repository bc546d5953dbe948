//! Thumbnails: small pictures of photos, made by the daemon, kept on its disk, shown by a client that decodes nothing.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use resembled::decode::{Limits, Need, decode};
use resembled::photo::ContentHash;
use resembled::proto;
use resembled::proto::get_thumbnail_request::Photo;
use tonic::{Code, Status};

use crate::pictures;
use crate::world::{Daemon, World};

async fn get(daemon: &Daemon, photo: Photo, longest_side: i32) -> Result<Vec<u8>, Status> {
    let request = proto::GetThumbnailRequest { photo: Some(photo), longest_side };
    daemon.library().get_thumbnail(request).await.map(|answer| answer.into_inner().jpeg)
}

async fn of(daemon: &Daemon, file: &[u8], longest_side: i32) -> Result<Vec<u8>, Status> {
    get(daemon, Photo::Name(format!("photos/{}", ContentHash::of(file))), longest_side).await
}

async fn at(daemon: &Daemon, path: &Path) -> Result<Vec<u8>, Status> {
    get(daemon, Photo::Path(path.as_os_str().as_bytes().to_vec()), 128).await
}

pub fn shown(jpeg: &[u8]) -> RgbImage {
    let image = decode(jpeg, Need::full(), &Limits::default()).unwrap().image;
    RgbImage::from_raw(image.width, image.height, image.pixels).unwrap()
}

fn kept(world: &World) -> Vec<PathBuf> {
    let folders = fs::read_dir(world.path("cache/resembled/thumbnails")).into_iter().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

fn data(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thumbnail_is_the_whole_photo_upright_and_as_long_as_asked() {
    let world = World::new();
    let plain = pictures::png(1);
    fs::write(world.photo("plain.png"), &plain).unwrap();
    let turned = data("orientation_6.heic");
    fs::write(world.photo("turned.heic"), &turned).unwrap();
    let daemon = world.start().await;
    daemon.wait_for_files(2).await;

    let small = shown(&of(&daemon, &plain, 100).await.unwrap());
    assert_eq!(small.dimensions(), (128, 96));
    let reference = image::imageops::thumbnail(&pictures::draw(1), 128, 96);
    let off = |(a, b): (&Rgb<u8>, &Rgb<u8>)| (0..3).map(|c| u64::from(a[c].abs_diff(b[c]))).sum::<u64>();
    let mean = small.pixels().zip(reference.pixels()).map(off).sum::<u64>() as f64 / (128.0 * 96.0 * 3.0);
    assert!(mean < 6.0, "{mean} levels off");
    let whole = shown(&of(&daemon, &plain, 0).await.unwrap());
    assert_eq!(whole.dimensions(), (160, 120), "a small photo is not enlarged");

    let upright = decode(&turned, Need::full(), &Limits::default()).unwrap().image;
    let found = shown(&of(&daemon, &turned, 1024).await.unwrap());
    assert_eq!(found.dimensions(), (upright.width, upright.height));
    let upright = RgbImage::from_raw(upright.width, upright.height, upright.pixels).unwrap();
    let pixels = f64::from(upright.width() * upright.height()) * 3.0;
    let mean = found.pixels().zip(upright.pixels()).map(off).sum::<u64>() as f64 / pixels;
    assert!(mean < 6.0, "{mean} levels off");

    for bad in [-1, 1025] {
        assert_eq!(of(&daemon, &plain, bad).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let nothing = proto::GetThumbnailRequest::default();
    assert_eq!(daemon.library().get_thumbnail(nothing).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(of(&daemon, b"nothing like it", 100).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_named_by_its_path_too_and_one_that_could_not_be_indexed_says_why() {
    let world = World::new();
    pictures::write(&world.photo("a.png"), 1);
    fs::write(world.photo("bad.jpg"), "x").unwrap();
    std::os::unix::fs::symlink(world.photos(), world.path("link")).unwrap();
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    let made = at(&daemon, &world.photo("a.png")).await.unwrap();
    assert_eq!(at(&daemon, &world.path("link/a.png")).await.unwrap(), made);

    let failed = at(&daemon, &world.photo("bad.jpg")).await.unwrap_err();
    assert_eq!(failed.code(), Code::FailedPrecondition);
    let reason = &daemon.failures().await[0].reason;
    assert!(failed.message().contains("bad.jpg") && failed.message().contains(reason), "{failed:?}");
    assert_eq!(at(&daemon, &world.photo("none.jpg")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(at(&daemon, Path::new("a.png")).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_shown_while_the_drive_is_away_and_made_again_where_it_is_damaged() {
    let world = World::new();
    let photo = pictures::png(1);
    fs::write(world.photo("a.png"), &photo).unwrap();
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    let made = of(&daemon, &photo, 128).await.unwrap();
    let files = kept(&world);
    assert_eq!((files.len(), fs::read(&files[0]).unwrap()), (1, made.clone()));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = files[0].parent().unwrap();
    assert_eq!((mode(&files[0]), mode(folder), mode(folder.parent().unwrap())), (0o600, 0o700, 0o700));

    fs::write(&files[0], &made[..made.len() / 2]).unwrap();
    assert_eq!(of(&daemon, &photo, 128).await.unwrap(), made, "half a file is no thumbnail");
    assert_eq!(fs::read(&files[0]).unwrap(), made);

    fs::rename(world.photos(), world.path("aside")).unwrap();
    daemon
        .wait_for("the folder is away", |status| {
            status.roots.iter().any(|root| root.state() == proto::RootState::Offline)
        })
        .await;
    assert_eq!(of(&daemon, &photo, 128).await.unwrap(), made);
    assert_eq!(at(&daemon, &world.photo("a.png")).await.unwrap(), made);
    let never_made = of(&daemon, &photo, 1024).await.unwrap_err();
    assert_eq!(never_made.code(), Code::FailedPrecondition, "{never_made:?}");
    assert!(never_made.message().contains("away"), "{never_made:?}");
}

/// The client once decoded the photos itself, so that over TCP its sheet was empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contact_sheet_is_filled_over_tcp_too() {
    let world = World::new();
    pictures::write(&world.photo("a.png"), 1);
    pictures::write(&world.photo("b.png"), 2);
    fs::write(world.path("query.png"), pictures::png(1)).unwrap();
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let photos = world.photos();
    let daemon = world.start_with(&["--listen".as_ref(), address.as_ref(), photos.as_os_str()]).await;
    daemon.wait_for_files(2).await;
    let token = world.path("data/resembled/token");
    let token = token.to_str().unwrap();
    let sheet = ["search", "query.png", "--html", "sheet.html"];
    let found = world.resemble(["--connect", &address, "--token-file", token].into_iter().chain(sheet));
    assert_eq!(found.status.code(), Some(0), "{found:?}");
    let sheet = fs::read_to_string(world.path("sheet.html")).unwrap();
    assert_eq!(sheet.matches("data:image/jpeg;base64,").count(), 2, "{sheet}");
}
