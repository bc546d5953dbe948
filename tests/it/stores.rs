//! Stores of former versions, and damaged ones: opened, migrated, mended, and answering.
//!
//! `tests/data/stores/version_N.redb.gz` was made by the last commit of version N, with
//! `cargo test --release --test it -- --ignored a_golden_store_is_made`, which writes the store of the present version to
//! `tests/data/stores/version_N.redb`; then `gzip -9n`. While version N has not been released it may be made anew.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableTable, TableDefinition};
use resembled::proto;
use resembled::proto::duplicate_service_client::DuplicateServiceClient;

use crate::world::{Daemon, World, run_to_end};

/// Photos in the configured folder, and in the one added by a call.
const CONFIGURED: u32 = 240;
const ADDED: u32 = 60;

/// A photo of 32 by 24 pixels as a Windows bitmap, byte for byte the same wherever it is made. With a `spot`, one pixel
/// is another: near, but not the same.
fn bitmap(seed: u32, spot: bool) -> Vec<u8> {
    const SIZE: (usize, usize) = (32, 24);
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) as usize % limit
    };
    let mut pixels = vec![[next(256) as u8, next(256) as u8, next(256) as u8]; SIZE.0 * SIZE.1];
    for _ in 0..6 {
        let (left, top, width, height) = (next(SIZE.0), next(SIZE.1), 3 + next(16), 3 + next(12));
        let colour = [next(256) as u8, next(256) as u8, next(256) as u8];
        for y in top..(top + height).min(SIZE.1) {
            pixels[y * SIZE.0 + left..y * SIZE.0 + (left + width).min(SIZE.0)].fill(colour);
        }
    }
    if spot {
        pixels[0] = [!pixels[0][0], pixels[0][1], pixels[0][2]];
    }
    let data_bytes = (pixels.len() * 3) as u32;
    let mut bytes = b"BM".to_vec();
    for number in [54 + data_bytes, 0, 54, 40, SIZE.0 as u32, SIZE.1 as u32] {
        bytes.extend(number.to_le_bytes());
    }
    // One plane, 24 bits a pixel; not compressed, and nothing said of its resolution and colours.
    bytes.extend([1, 0, 24, 0]);
    for number in [0, data_bytes, 2835, 2835, 0, 0] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(pixels.as_flattened());
    bytes
}

/// The photos of the golden stores: path below the home, and content. The last two are near the first two.
fn photos() -> Vec<(PathBuf, Vec<u8>)> {
    let photo = |number: u32| {
        let folder = if number < CONFIGURED { "photos" } else { "added" };
        let path = PathBuf::from(format!("{folder}/{}/{number}.bmp", number % 7));
        let first_near = CONFIGURED + ADDED - 2;
        let content =
            if number < first_near { bitmap(number, false) } else { bitmap(number - first_near, true) };
        (path, content)
    };
    (0..CONFIGURED + ADDED).map(photo).collect()
}

fn write_photos(home: &Path) {
    for (path, content) in photos() {
        let path = home.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// Names of the pairs that are told apart: one near, one far.
fn apart() -> [[String; 2]; 2] {
    let name = |number: usize| format!("photos/{}", blake3::hash(&photos()[number].1).to_hex());
    [[name(0), name((CONFIGURED + ADDED) as usize - 2)], [name(7), name(250)]]
}

/// Returns the groups of near duplicates, by name, once all are compared.
async fn near_groups(daemon: &Daemon) -> Vec<Vec<String>> {
    let mut duplicates = DuplicateServiceClient::new(daemon.channel.clone());
    let request =
        proto::ListDuplicateGroupsRequest { kind: proto::DuplicateKind::Near.into(), ..Default::default() };
    loop {
        let answer = duplicates.list_duplicate_groups(request.clone()).await.unwrap().into_inner();
        // Comparing goes on in the background.
        if answer.photos_pending == 0 {
            let names =
                |group: proto::DuplicateGroup| group.photos.into_iter().map(|photo| photo.name).collect();
            return answer.groups.into_iter().map(names).collect();
        }
    }
}

async fn tell_apart(daemon: &Daemon, pair: [String; 2]) {
    let mut duplicates = DuplicateServiceClient::new(daemon.channel.clone());
    let request = proto::TellApartRequest { photos: pair.to_vec(), undo: false };
    duplicates.tell_apart(request).await.unwrap();
}

async fn add_root(daemon: &Daemon, path: &Path) {
    let path = path.as_os_str().as_bytes().to_vec();
    daemon.library().add_root(proto::AddRootRequest { path, ..Default::default() }).await.unwrap();
}

pub fn store_of(world: &World) -> PathBuf {
    world.path("data/resembled/resembled.redb")
}

fn golden_stores() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/stores")
}

/// Puts the golden store of a version in its place.
pub fn unpack(world: &World, version: u32) {
    let packed = fs::File::open(golden_stores().join(format!("version_{version}.redb.gz"))).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
    fs::create_dir_all(store_of(world).parent().unwrap()).unwrap();
    fs::write(store_of(world), bytes).unwrap();
}

/// Lets the folders of a store of version 1, which were those of the machine that made it, be those of this world.
fn move_roots_of_version1(world: &World) {
    const ROOTS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("roots");
    let db = Database::open(store_of(world)).unwrap();
    let transaction = db.begin_write().unwrap();
    {
        let mut roots = transaction.open_table(ROOTS).unwrap();
        let rows: Vec<_> = roots
            .iter()
            .unwrap()
            .map(|row| {
                let (id, row) = row.unwrap();
                (id.value(), row.value().to_vec())
            })
            .collect();
        for (id, row) in rows {
            let (len, kept) = (usize::from(row[0]), row[row.len() - 1]);
            let path = Path::new(OsStr::from_bytes(&row[1..=len]));
            let path = world.path(path.file_name().unwrap());
            let path = path.as_os_str().as_bytes();
            // A length below 128 takes one byte; no volume; whether it was added by a call.
            let row = [&[u8::try_from(path.len()).unwrap()][..], path, &[0, kept]].concat();
            assert!(path.len() < 128);
            roots.insert(id, row.as_slice()).unwrap();
        }
    }
    transaction.commit().unwrap();
}

/// A world with the golden photos, in which a start finds their store of version 1, so that none has to be encoded.
fn golden_world() -> World {
    let world = World::new();
    write_photos(&world.path(""));
    unpack(&world, 1);
    move_roots_of_version1(&world);
    world
}

/// What must be in a daemon that has taken over a golden store.
async fn check(daemon: &Daemon) {
    let groups = near_groups(daemon).await;
    let is_together =
        |pair: &[String; 2]| groups.iter().any(|group| pair.iter().all(|name| group.contains(name)));
    assert!(!apart().iter().any(is_together), "the marks are in force");
    let still_near = photos()[1].1.clone();
    assert!(
        groups.iter().flatten().any(|name| *name == format!("photos/{}", blake3::hash(&still_near).to_hex()))
    );
    for number in [3, 111, 270] {
        let (_, content) = &photos()[number];
        let found = daemon.nearest(content.clone(), 1).await;
        let name = &found[0].photo.as_ref().unwrap().name;
        assert_eq!(*name, format!("photos/{}", blake3::hash(content).to_hex()));
        assert_eq!(found[0].distance, 0.0, "the same content, rounded alike");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_version_1_is_taken_over_without_encoding_anything() {
    let world = golden_world();
    // Its content is in the store, and waits there for its return.
    fs::write(world.photo("0/gone.bmp"), bitmap(1000, false)).unwrap();
    let daemon = world.start().await;
    let status = daemon.wait_for_files(u64::from(CONFIGURED + ADDED) + 1).await;
    assert_eq!((status.photos, status.photos_encoded), (u64::from(CONFIGURED + ADDED) + 1, 0));
    assert_eq!(status.mended_store, None);
    let configured: Vec<_> = status.roots.iter().map(|root| root.configured).collect();
    assert_eq!(configured.iter().filter(|&&configured| configured).count(), 1, "{configured:?}");
    assert_eq!(configured.len(), 2);
    check(&daemon).await;
    daemon.stop(&world).await;
    assert_eq!(world.log().matches("copied into format").count(), 1);
    let decisions = fs::read_to_string(store_of(&world).with_extension("decisions")).unwrap();
    assert_eq!((decisions.matches(" apart ").count(), decisions.matches(" folder ").count()), (2, 1));

    let daemon = world.start().await;
    let status = daemon.wait_for_files(u64::from(CONFIGURED + ADDED) + 1).await;
    assert_eq!(status.photos_encoded, 0);
    check(&daemon).await;
    daemon.stop(&world).await;
    assert_eq!(world.log().matches("copied into format").count(), 1, "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_disk_has_damaged_is_mended_and_read_again() {
    let world = golden_world();
    let daemon = world.start().await;
    daemon.wait_for_files(u64::from(CONFIGURED + ADDED)).await;
    let before = daemon.files().await;
    daemon.stop(&world).await;

    let mut bytes = fs::read(store_of(&world)).unwrap();
    // Of the pages with embeddings, of whose bytes a tenth are zeros, and of those with paths: not those that lead to others,
    // of which more are.
    let mut leaves = 0;
    for block in bytes.chunks_exact_mut(4096).skip(2) {
        let is_dense = block.iter().filter(|&&byte| byte == 0).count() < 800;
        if is_dense || block.windows(4).any(|four| four == b".bmp") {
            leaves += 1;
            if leaves % 3 == 0 {
                block[2000..2100].fill(0xff);
            }
        }
    }
    assert!(leaves > 30, "{leaves}");
    fs::write(store_of(&world), bytes).unwrap();
    let daemon = world.start().await;
    let status = daemon.wait_for_files(u64::from(CONFIGURED + ADDED)).await;
    let mended = status.mended_store.expect("it says what happened");
    assert!(mended.mend_time.is_some());
    assert_eq!(daemon.files().await, before);
    assert_eq!(status.roots.len(), 2);
    check(&daemon).await;
    let shown = String::from_utf8(world.resemble(["status"]).stdout).unwrap();
    assert!(shown.contains("was damaged and is mended"), "{shown}");
    daemon.stop(&world).await;
    assert!(world.log().contains("is damaged"), "{}", world.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_damaged_beyond_that_is_refused_until_it_is_repaired() {
    let world = golden_world();
    let daemon = world.start().await;
    daemon.wait_for_files(u64::from(CONFIGURED + ADDED)).await;
    daemon.stop(&world).await;
    let repair = || world.command(env!("CARGO_BIN_EXE_resembled")).arg("repair").output().unwrap();
    let text = |output: &std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let whole = repair();
    assert!(whole.status.success() && text(&whole).contains("nothing to repair"), "{whole:?}");

    let mut bytes = fs::read(store_of(&world)).unwrap();
    bytes[..8192].fill(0);
    fs::write(store_of(&world), bytes).unwrap();
    let (status, said) = run_to_end(world.resembled().arg(world.photos()));
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("Run `resembled repair`"), "{said}");
    let repaired = repair();
    assert!(repaired.status.success(), "{repaired:?}");
    assert!(text(&repaired).contains("kept: 1 folders, 2 marks"), "{repaired:?}");
    assert!(world.path("data/resembled/resembled.redb.damaged").exists());

    // Each one that is there is encoded again; those that `check` asks for will do.
    const LEFT: [usize; 9] = [0, 1, 3, 7, 111, 250, 270, 298, 299];
    for (number, (path, _)) in photos().into_iter().enumerate() {
        if !LEFT.contains(&number) {
            fs::remove_file(world.path(path)).unwrap();
        }
    }
    let daemon = world.start().await;
    let status = daemon.wait_for_files(LEFT.len() as u64).await;
    assert_eq!(status.roots.len(), 2);
    check(&daemon).await;
    daemon.stop(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes the golden store of this version"]
async fn a_golden_store_is_made() {
    let world = World::new();
    write_photos(&world.path(""));
    fs::write(world.photo("0/broken.jpg"), [0xff, 0xd8, 0xff, 0xe0, 0, 16]).unwrap();
    fs::write(world.photo("0/text.jpg"), "not a photo").unwrap();
    fs::write(world.photo("0/gone.bmp"), bitmap(1000, false)).unwrap();
    let daemon = world.start().await;
    daemon.wait_for_files(u64::from(CONFIGURED) + 1).await;
    add_root(&daemon, &world.path("added")).await;
    daemon.wait_for_files(u64::from(CONFIGURED + ADDED) + 1).await;
    fs::remove_file(world.photo("0/gone.bmp")).unwrap();
    daemon.wait_for_files(u64::from(CONFIGURED + ADDED)).await;
    near_groups(&daemon).await;
    for pair in apart() {
        tell_apart(&daemon, pair).await;
    }
    daemon.stop(&world).await;
    fs::copy(store_of(&world), golden_stores().join("version_2.redb")).unwrap();
}
