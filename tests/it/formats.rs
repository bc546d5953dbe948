//! Every format by a real file through a real daemon, and what becomes of the daemon when its decoders are lost.

use std::ffi::OsStr;
use std::fs;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use image::imageops::{flip_horizontal, flip_vertical, rotate90, rotate180, rotate270};
use image::{DynamicImage, ImageFormat, RgbImage};
use resembled::proto;
use resembled::proto::FailureKind;
use rustix::process::{Signal, kill_process};

use crate::pictures;
use crate::world::{Daemon, World};

fn data(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let image = DynamicImage::from(image.clone());
    let image = if format == ImageFormat::Ico { image.into_rgba8().into() } else { image };
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub fn jpeg(image: &RgbImage) -> Vec<u8> {
    let mut compress = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
    compress.set_size(image.width() as usize, image.height() as usize);
    compress.set_quality(97.0);
    let mut started = compress.start_compress(Vec::new()).unwrap();
    started.write_scanlines(image).unwrap();
    started.finish().unwrap()
}

/// A TIFF structure of one directory; each entry is a tag, its type, and its only value.
fn tiff(entries: &[(u16, u16, u32)], rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"II*\0\x08\0\0\0".to_vec();
    bytes.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, value) in entries {
        bytes.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        bytes.extend([1, *value].map(u32::to_le_bytes).concat());
    }
    bytes.extend([0; 4]);
    bytes.extend(rest);
    bytes
}

/// A camera RAW as far as it is read: a note that sensor data follows, and where the JPEG is.
pub fn raw(jpeg: &[u8]) -> Vec<u8> {
    let start = 8 + 2 + 3 * 12 + 4;
    tiff(&[(0x0106, 3, 32803), (0x0201, 4, start), (0x0202, 4, jpeg.len() as u32)], jpeg)
}

/// Puts EXIF with an orientation behind the first marker of a JPEG.
pub fn turned_by_exif(jpeg: &[u8], orientation: u32) -> Vec<u8> {
    let block = tiff(&[(0x0112, 3, orientation)], &[]);
    let len = (block.len() as u16 + 8).to_be_bytes();
    [&jpeg[..2], b"\xff\xe1", &len, b"Exif\0\0", &block, &jpeg[2..]].concat()
}

/// A Photoshop document that was saved without its merged picture: of one grey pixel.
fn document_of_layers() -> Vec<u8> {
    let header = b"8BPS\0\x01\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x08\0\x01";
    let version = b"8BIM\x04\x21\0\0\0\0\0\x05\0\0\0\x01\0\0";
    let resources = [&(version.len() as u32).to_be_bytes()[..], version].concat();
    [&header[..], &[0; 4], &resources, &[0; 4], &[0, 0, 255]].concat()
}

async fn media_type(daemon: &Daemon, bytes: &[u8]) -> String {
    let name = format!("photos/{}", resembled::photo::ContentHash::of(bytes));
    let request = proto::GetPhotoRequest { name };
    daemon.library().get_photo(request).await.unwrap().into_inner().media_type
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_format_is_indexed_by_its_content_and_what_is_not_has_a_reason() {
    let world = World::new();
    let drawn = pictures::draw(1);
    let good = [
        ("a.jpg", jpeg(&drawn), "image/jpeg"),
        ("cmyk.jpg", data("cmyk.jpg"), "image/jpeg"),
        ("a jpeg named.HEIC", data("420.jpg"), "image/jpeg"),
        ("a.png", encoded(&drawn, ImageFormat::Png), "image/png"),
        ("a.webp", encoded(&drawn, ImageFormat::WebP), "image/webp"),
        ("a.gif", encoded(&drawn, ImageFormat::Gif), "image/gif"),
        ("a.bmp", encoded(&drawn, ImageFormat::Bmp), "image/bmp"),
        ("a.tif", encoded(&drawn, ImageFormat::Tiff), "image/tiff"),
        ("a.ico", encoded(&drawn, ImageFormat::Ico), "image/vnd.microsoft.icon"),
        ("a.heic", data("photo.heic"), "image/heif"),
        ("a.avif", data("photo.avif"), "image/avif"),
        ("a.jxl", data("photo.jxl"), "image/jxl"),
        ("a.jp2", data("quarters.jp2"), "image/jp2"),
        ("a.dcr", raw(&jpeg(&drawn)), "image/x-dcraw"),
    ];
    let bomb = tiff(
        &[
            (0x100, 4, 100_000),
            (0x101, 4, 100_000),
            (0x102, 3, 8),
            (0x106, 3, 1),
            (0x111, 4, 8),
            (0x116, 4, 100_000),
            (0x117, 4, 10),
        ],
        &[],
    );
    let bad = [
        ("text.jpg", b"Dear diary".to_vec(), FailureKind::NotAPhoto),
        ("half.heic", data("photo.heic")[..700].to_vec(), FailureKind::Corrupt),
        ("layers.psd", document_of_layers(), FailureKind::Unsupported),
        ("half.psd", b"8BPS\0\x01and so on".to_vec(), FailureKind::Corrupt),
        ("bomb.tif", bomb, FailureKind::TooLarge),
    ];
    for (name, bytes) in good.iter().map(|(name, bytes, _)| (name, bytes)) {
        fs::write(world.photo(name), bytes).unwrap();
    }
    for (name, bytes, _) in &bad {
        fs::write(world.photo(name), bytes).unwrap();
    }
    let daemon = world.start().await;
    daemon.wait_for_files(good.len() as u64).await;
    for (name, bytes, expected) in &good {
        assert_eq!(media_type(&daemon, bytes).await, *expected, "{name}");
    }
    let mut failures: Vec<_> = daemon
        .failures()
        .await
        .into_iter()
        .map(|failure| (PathBuf::from(OsStr::from_bytes(&failure.path)), failure.kind(), failure.reason))
        .collect();
    failures.sort();
    let mut expected: Vec<_> = bad.iter().map(|(name, _, kind)| (world.photo(name), *kind)).collect();
    expected.sort();
    let found: Vec<_> = failures.iter().map(|(path, kind, _)| (path.clone(), *kind)).collect();
    assert_eq!(found, expected, "{failures:?}");

    // The same picture in three formats; the query is a fourth file.
    let matches = daemon.nearest(data("deep.heic"), 3).await;
    let mut paths: Vec<_> =
        matches.iter().map(|found| found.photo.as_ref().unwrap().files[0].path.clone()).collect();
    paths.sort();
    assert_eq!(
        paths,
        ["a.avif", "a.heic", "a.jxl"].map(|name| world.photo(name).as_os_str().as_bytes().to_vec())
    );
    assert!(matches.iter().all(|found| found.similarity > 0.98), "{matches:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_eight_orientations_of_a_photo_are_one_picture() {
    let world = World::new();
    let upright = pictures::draw(7);
    for orientation in 1..=8 {
        // What a camera stores when it is held so.
        let stored = match orientation {
            2 => flip_horizontal(&upright),
            3 => rotate180(&upright),
            4 => flip_vertical(&upright),
            5 => flip_horizontal(&rotate90(&upright)),
            6 => rotate270(&upright),
            7 => flip_vertical(&rotate90(&upright)),
            8 => rotate90(&upright),
            _ => upright.clone(),
        };
        let file = turned_by_exif(&jpeg(&stored), orientation);
        fs::write(world.photo(format!("{orientation}.jpg")), file).unwrap();
    }
    pictures::write(&world.photo("other.png"), 8);
    let daemon = world.start().await;
    daemon.wait_for_files(9).await;
    let matches = daemon.nearest(jpeg(&upright), 9).await;
    assert!(matches[..8].iter().all(|found| found.similarity >= 0.98), "{matches:?}");
    assert!(matches[8].similarity < 0.98, "the other picture is another one: {:?}", matches[8]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decoding_processes_that_die_or_hang_cost_at_most_the_photo_in_hand() {
    let world = World::new();
    fs::create_dir_all(world.path("config/resembled")).unwrap();
    let config = "[decode]\nmax_seconds = 1\n[ingest]\nthreads = 1\n";
    fs::write(world.path("config/resembled/config.toml"), config).unwrap();
    let daemon = world.start().await;
    let status = daemon.status().await;
    let decoder = status.decoder.unwrap();
    assert!(decoder.seccomp && decoder.memory_limit && decoder.processes_lost == 0, "{decoder:?}");
    pictures::write(&world.photo("0.png"), 0);
    daemon.wait_for_files(1).await;

    for (number, signal) in (1..).zip([Signal::KILL, Signal::ABORT, Signal::SEGV]) {
        for child in daemon.children() {
            kill_process(child, signal).unwrap();
        }
        pictures::write(&world.photo(format!("{number}.png")), number);
        daemon.wait_for_files(u64::from(number) + 1).await;
        assert_eq!(daemon.nearest(pictures::png(number), 1).await.len(), 1, "queries lost theirs too");
    }
    assert_eq!(daemon.failures().await, []);

    for child in daemon.children() {
        kill_process(child, Signal::STOP).unwrap();
    }
    pictures::write(&world.photo("next.png"), 10);
    let status = daemon.wait_for_files(5).await;
    assert_eq!(daemon.failures().await, [], "one that stands still is not the photo's fault");
    assert!(status.decoder.unwrap().processes_lost >= 4, "{:?}", status.decoder);
    // They end with their daemon, even if they stand still.
    let left = daemon.children();
    assert!(!left.is_empty());
    left.iter().for_each(|child| kill_process(*child, Signal::STOP).unwrap());
    daemon.kill();
    for child in left {
        if let Ok(pidfd) = rustix::process::pidfd_open(child, rustix::process::PidfdFlags::empty()) {
            let deadline = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
            let ended = rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN);
            assert_eq!(rustix::event::poll(&mut [ended], Some(&deadline)), Ok(1), "{child:?} stays");
        }
    }
}

#[test]
fn the_report_says_what_becomes_of_each_file_and_where_a_manifest_disagrees() {
    let world = World::new();
    fs::write(world.photo("good.jpg"), data("420.jpg")).unwrap();
    fs::write(world.photo("bad.jpg"), "Dear diary").unwrap();
    fs::write(world.photo("notes.txt"), "not looked at").unwrap();
    let sheet = world.path("sheet.png");
    let manifest = world.photo("manifest.tsv");
    let report = |policies: [(&str, &str); 2]| {
        let rows = policies.map(|(path, rest)| format!("{path}\t{rest}\n")).concat();
        fs::write(&manifest, format!("path\tpolicy\tref_w\tref_h\n{rows}")).unwrap();
        let mut command = world.resembled();
        command.arg("decode-report").arg("--contact-sheet").arg(&sheet);
        let output = command.arg("--expect").arg(&manifest).arg(world.photos()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let (agrees, table, summary) = report([("good.jpg", "index\t97\t61"), ("bad.jpg", "reject\t\t")]);
    assert!(agrees, "{summary}");
    let verdict = |name: &str| {
        let row = table.lines().find(|row| row.contains(name)).unwrap();
        row.split('\t').next().unwrap().to_owned()
    };
    assert_eq!(
        [verdict("good.jpg"), verdict("bad.jpg"), verdict("notes.txt")],
        ["indexed", "failed: not-a-photo", "skipped"]
    );
    assert!(table.contains("JPEG\t97x61") && summary.contains("1 indexed, 1 failed, 2 skipped"), "{summary}");
    let thumbnail = image::open(&sheet).unwrap().into_rgb8();
    assert!(thumbnail.pixels().any(|pixel| *pixel != image::Rgb([90, 90, 90])));

    let (agrees, _, summary) = report([("good.jpg", "index\t90\t60"), ("bad.jpg", "index\t\t")]);
    assert!(!agrees && summary.contains("2 of 4 files differ from the manifest"), "{summary}");
}
