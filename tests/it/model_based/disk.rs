//! The disk: two roots and a place outside, operations on them, and a plain walk that says what ought to be listed.
//!
//! The disk is its own model: an operation that the file system refuses has done nothing, which the walk sees.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use resembled::photo::ContentHash;

use crate::random::Random;

const IGNORE_FILE: &str = ".resembledignore";

/// Photos in each root that no operation touches, so that no operation makes half of a root disappear.
const BALLAST: usize = 60;

/// Photos that the operations may make, in all.
const MOST_FILES: usize = 80;

/// What may be done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Create,
    Copy,
    WriteSlowly,
    GoOnWriting,
    Rename,
    RenameFolder,
    Delete,
    DeleteFolder,
    Replace,
    RewriteUnderOldTime,
    HardLink,
    SymbolicLink,
    ChangeMode,
    TouchTime,
    SwapNames,
    SwapFolders,
    MoveOut,
    MoveIn,
    Ignore,
    Unignore,
    MakePipe,
    MakeTree,
}

impl Op {
    pub(super) fn draw(random: &mut Random) -> Self {
        use Op::*;
        // Those named more often happen more often.
        const ALL: [Op; 32] = [
            Create,
            Create,
            Create,
            Create,
            Create,
            Copy,
            Copy,
            WriteSlowly,
            WriteSlowly,
            GoOnWriting,
            GoOnWriting,
            Rename,
            Rename,
            Rename,
            RenameFolder,
            RenameFolder,
            Delete,
            Delete,
            DeleteFolder,
            Replace,
            Replace,
            RewriteUnderOldTime,
            HardLink,
            SymbolicLink,
            ChangeMode,
            TouchTime,
            SwapNames,
            MoveOut,
            MoveIn,
            Ignore,
            Unignore,
            MakeTree,
        ];
        match random.below(40) {
            0 => SwapFolders,
            1 => MakePipe,
            drawn => ALL[drawn % ALL.len()],
        }
    }
}

pub(super) struct Disk {
    roots: [PathBuf; 2],
    outside: PathBuf,
    /// Every content that was ever whole on the disk.
    contents: HashSet<ContentHash>,
    slow: Vec<(PathBuf, File, Vec<u8>)>,
    next: u64,
}

impl Disk {
    pub(super) fn new(world: &Path) -> Self {
        let roots = [world.join("first"), world.join("second")];
        let outside = world.join("outside");
        fs::create_dir(&outside).unwrap();
        let mut disk = Self { roots, outside, contents: HashSet::new(), slow: Vec::new(), next: 0 };
        for root in disk.roots.clone() {
            fs::create_dir_all(root.join("ballast")).unwrap();
            for number in 0..BALLAST {
                let photo = disk.photo();
                disk.contents.insert(ContentHash::of(&photo));
                fs::write(root.join(format!("ballast/{number}.bmp")), photo).unwrap();
            }
        }
        disk
    }

    pub(super) fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// Returns the second root, and a place where it may be put aside.
    pub(super) fn second_root(&self) -> (PathBuf, PathBuf) {
        (self.roots[1].clone(), self.outside.join("second-aside"))
    }

    /// Returns how many contents there ever were: as many as may have been encoded.
    pub(super) fn contents(&self) -> u64 {
        self.contents.len() as u64
    }

    /// Does it, and says what was done.
    pub(super) fn apply(&mut self, op: Op, random: &mut Random) -> String {
        let op = if self.files().len() > MOST_FILES && matches!(op, Op::Create | Op::Copy | Op::MakeTree) {
            Op::DeleteFolder
        } else {
            op
        };
        let what = self.attempt(op, random);
        format!("{op:?}: {what}")
    }

    fn attempt(&mut self, op: Op, random: &mut Random) -> String {
        let files = self.files();
        let file = random.pick(&files).cloned().unwrap_or_else(|| self.outside.join("nothing"));
        let folders = self.folders();
        let folder = random.pick(&folders).cloned().unwrap_or_else(|| self.outside.join("nothing"));
        let target = self.place(random);
        let aside = self.outside.join("aside");
        match op {
            Op::Create => {
                let photo = self.photo();
                self.write(&target, &photo)
            }
            Op::Copy => {
                let bytes = fs::read(&file).unwrap_or_else(|_| self.photo());
                self.write(&target, &bytes)
            }
            Op::WriteSlowly => {
                let photo = self.photo();
                self.begin_slow_write(&target, photo)
            }
            Op::GoOnWriting => match self.slow.first_mut() {
                Some((path, open, rest)) => {
                    let half = rest.len() / 2;
                    let written = open.write_all(&rest[..half]);
                    rest.drain(..half);
                    format!("{path:?}, {half} bytes: {written:?}")
                }
                None => "nothing is open".to_owned(),
            },
            Op::Rename => said(&file, &target, fs::rename(&file, &target)),
            Op::RenameFolder => {
                let target = self.folder_place(random);
                said(&folder, &target, fs::rename(&folder, &target))
            }
            Op::Delete => format!("{file:?}: {:?}", fs::remove_file(&file)),
            Op::DeleteFolder => format!("{folder:?}: {:?}", fs::remove_dir_all(&folder)),
            Op::Replace => {
                let photo = self.photo();
                let temporary = file.with_extension("bmp.part");
                self.write(&temporary, &photo);
                said(&temporary, &file, fs::rename(&temporary, &file))
            }
            Op::RewriteUnderOldTime => {
                let photo = self.photo();
                format!("{file:?}: {:?}", self.rewrite(&file, &photo))
            }
            Op::HardLink => said(&file, &target, fs::hard_link(&file, &target)),
            Op::SymbolicLink => {
                let to = if random.below(2) == 0 { &file } else { &folder };
                let link = if random.below(3) == 0 { self.outside.join("link") } else { target };
                said(to, &link, symlink(to, &link))
            }
            Op::ChangeMode => {
                let mode = [0o600, 0o644, 0o640][random.below(3)];
                format!("{file:?} {mode:o}: {:?}", fs::set_permissions(&file, Permissions::from_mode(mode)))
            }
            Op::TouchTime => {
                let time =
                    std::time::UNIX_EPOCH + std::time::Duration::from_secs(random.next() % 4_000_000_000);
                let touched =
                    OpenOptions::new().append(true).open(&file).and_then(|file| file.set_modified(time));
                format!("{file:?}: {touched:?}")
            }
            Op::SwapNames => {
                let other = random.pick(&files).cloned().unwrap_or_else(|| file.clone());
                self.swap(&file, &other, &aside)
            }
            Op::SwapFolders => {
                let other = random.pick(&folders).cloned().unwrap_or_else(|| folder.clone());
                self.swap(&folder, &other, &aside)
            }
            Op::MoveOut => {
                let from = if random.below(2) == 0 { file } else { folder };
                let to = self.outside.join(format!("out{}", random.below(4)));
                said(&from, &to, fs::rename(&from, &to))
            }
            Op::MoveIn => {
                let from = self.outside.join(format!("out{}", random.below(4)));
                let to = if from.is_dir() { self.folder_place(random) } else { target };
                said(&from, &to, fs::rename(&from, &to))
            }
            Op::Ignore => {
                let line = if random.below(2) == 0 {
                    format!("{}\n", file_name(random.below(FILE_NAMES)).to_string_lossy())
                } else {
                    format!("{}/\n", folder_name(random.below(FOLDER_NAMES)))
                };
                let path = folder.join(IGNORE_FILE);
                // A name that is no text cannot be written down in a pattern.
                let line = if line.contains(['\u{fffd}', '*']) || line.lines().count() > 1 {
                    "p0.bmp\n"
                } else {
                    &line
                };
                format!("{path:?} {line:?}: {:?}", fs::write(&path, line))
            }
            Op::Unignore => {
                let ignore_files = self.ignore_files();
                match random.pick(&ignore_files) {
                    Some(path) => format!("{path:?}: {:?}", fs::remove_file(path)),
                    None => "there is no ignore file".to_owned(),
                }
            }
            Op::MakePipe => {
                let mode = rustix::fs::Mode::from_raw_mode(0o600);
                let made = rustix::fs::mknodat(rustix::fs::CWD, &target, rustix::fs::FileType::Fifo, mode, 0);
                format!("{target:?}: {made:?}")
            }
            Op::MakeTree => {
                let mut path = self.folder_place(random);
                let mut made = Vec::new();
                for _ in 0..3 {
                    path.push(folder_name(random.below(FOLDER_NAMES)));
                    made.push(fs::create_dir_all(&path).is_ok());
                    let photo = self.photo();
                    self.write(&path.join(file_name(random.below(FILE_NAMES))), &photo);
                }
                format!("{path:?}: {made:?}")
            }
        }
    }

    fn swap(&mut self, one: &Path, other: &Path, aside: &Path) -> String {
        if one.starts_with(other) || other.starts_with(one) {
            return "nothing to swap".to_owned();
        }
        let first = fs::rename(one, aside);
        let second = fs::rename(other, one);
        let third = fs::rename(aside, other);
        let _ = fs::remove_dir_all(aside);
        said(one, other, first.and(second).and(third))
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> String {
        // Whoever has it open slowly would write into the middle of this.
        if self.slow.iter().any(|(slow, ..)| slow == path) || is_odd(path) || self.is_back_door(path) {
            return format!("{path:?} is in use");
        }
        let written = fs::write(path, bytes);
        if written.is_ok() {
            self.contents.insert(ContentHash::of(bytes));
        }
        format!("{path:?}: {written:?}")
    }

    /// A name outside of what is watched, of a photo that has another name inside: the kernel announces a change
    /// under the name that was used only, so nobody can know of it before the next comparison as a whole.
    fn is_back_door(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|metadata| metadata.nlink() > 1)
            && !self.walk().contains_key(path)
    }

    fn rewrite(&mut self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        if self.slow.iter().any(|(slow, ..)| slow == path) || is_odd(path) || self.is_back_door(path) {
            return Ok(());
        }
        let modified = fs::metadata(path)?.modified()?;
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.write_all(bytes)?;
        file.set_modified(modified)?;
        self.contents.insert(ContentHash::of(bytes));
        Ok(())
    }

    fn begin_slow_write(&mut self, path: &Path, photo: Vec<u8>) -> String {
        if self.slow.len() > 2 || fs::symlink_metadata(path).is_ok() {
            return format!("{path:?} is in use");
        }
        match File::create_new(path) {
            Ok(mut file) => {
                let half = photo.len() / 2;
                file.write_all(&photo[..half]).unwrap();
                self.slow.push((path.to_path_buf(), file, photo[half..].to_vec()));
                self.contents.insert(ContentHash::of(&photo));
                format!("{path:?}")
            }
            Err(error) => format!("{path:?}: {error}"),
        }
    }

    pub(super) fn finish_slow_writes(&mut self) {
        for (_, mut file, rest) in self.slow.drain(..) {
            file.write_all(&rest).unwrap();
        }
    }

    /// Returns a photo like no other, all of one size: a bitmap of 24 x 24 pixels.
    fn photo(&mut self) -> Vec<u8> {
        self.next += 1;
        let mut noise = Random::new(self.next);
        let mut image = image::RgbImage::new(24, 24);
        for pixel in image.pixels_mut() {
            let [red, green, blue, ..] = noise.next().to_le_bytes();
            *pixel = image::Rgb([red, green, blue]);
        }
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Bmp).unwrap();
        bytes.into_inner()
    }

    fn place(&self, random: &mut Random) -> PathBuf {
        let folders = self.folders();
        let root = self.roots[random.below(2)].clone();
        let folder = if random.below(3) == 0 { root } else { random.pick(&folders).cloned().unwrap_or(root) };
        folder.join(file_name(random.below(FILE_NAMES)))
    }

    fn folder_place(&self, random: &mut Random) -> PathBuf {
        let folders: Vec<PathBuf> =
            self.folders().into_iter().filter(|folder| folder.components().count() < 12).collect();
        let root = self.roots[random.below(2)].clone();
        let parent = if random.below(2) == 0 { root } else { random.pick(&folders).cloned().unwrap_or(root) };
        parent.join(folder_name(random.below(FOLDER_NAMES)))
    }

    /// Every folder in the roots that an operation may touch.
    fn folders(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        each_entry(&self.roots, &mut |path, is_folder| {
            if is_folder {
                found.push(path.to_path_buf());
            }
        });
        found.retain(|path| !is_ballast(path));
        found.sort();
        found
    }

    /// Every photo in the roots that an operation may touch, ignored or not.
    fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        each_entry(&self.roots, &mut |path, is_folder| {
            if !is_folder && !is_odd(path) && is_photo(path) {
                found.push(path.to_path_buf());
            }
        });
        found.retain(|path| !is_ballast(path) && self.slow.iter().all(|(slow, ..)| slow != path));
        found.sort();
        found
    }

    fn ignore_files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        each_entry(&self.roots, &mut |path, _| {
            if path.file_name() == Some(OsStr::new(IGNORE_FILE)) {
                found.push(path.to_path_buf());
            }
        });
        found.sort();
        found
    }

    /// What ought to be listed: path and content of every regular photo file that no rule leaves out.
    pub(super) fn walk(&self) -> BTreeMap<PathBuf, ContentHash> {
        let mut expected = BTreeMap::new();
        for root in &self.roots {
            walk_folder(root, &BTreeSet::new(), &mut expected);
        }
        expected
    }
}

/// `ignored` are the lines of the ignore files above: here always one name, of a file, or of a folder with a
/// closing slash, which hold at every depth below.
fn walk_folder(folder: &Path, ignored: &BTreeSet<OsString>, expected: &mut BTreeMap<PathBuf, ContentHash>) {
    let mut ignored = ignored.clone();
    if let Ok(text) = fs::read_to_string(folder.join(IGNORE_FILE)) {
        ignored.extend(text.lines().map(OsString::from));
    }
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            let mut with_slash = name.clone();
            with_slash.push("/");
            if !is_hidden(&path) && !ignored.contains(&name) && !ignored.contains(&with_slash) {
                walk_folder(&path, &ignored, expected);
            }
        } else if kind.is_file() && is_photo(&path) && !ignored.contains(&name) {
            expected.insert(path.clone(), ContentHash::of(&fs::read(&path).unwrap()));
        }
    }
}

fn each_entry(folders: &[PathBuf], visit: &mut dyn FnMut(&Path, bool)) {
    for folder in folders {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            visit(&entry.path(), is_folder);
            if is_folder {
                each_entry(&[entry.path()], visit);
            }
        }
    }
}

/// Says whether a regular file is a photo: by its extension or, where a photo was moved to the name of a folder and has
/// none, by its first bytes.
fn is_photo(path: &Path) -> bool {
    match path.extension() {
        Some(extension) => extension.eq_ignore_ascii_case("bmp"),
        None => !is_hidden(path) && fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"BM")),
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."))
}

/// Links and pipes: writing through them would change something else, or wait.
fn is_odd(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file())
}

fn is_ballast(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "ballast")
}

fn said(from: &Path, to: &Path, result: std::io::Result<()>) -> String {
    format!("{from:?} -> {to:?}: {result:?}")
}

const FILE_NAMES: usize = 14;
const FOLDER_NAMES: usize = 7;

fn file_name(number: usize) -> OsString {
    match number {
        10 => OsStr::from_bytes(b"\xff\xfe.bmp").to_owned(),
        11 => "new\nline.bmp".into(),
        12 => "P1.BMP".into(),
        13 => "*.bmp".into(),
        _ => format!("p{number}.bmp").into(),
    }
}

fn folder_name(number: usize) -> String {
    if number == 0 { ".hidden".to_owned() } else { format!("d{number}") }
}
