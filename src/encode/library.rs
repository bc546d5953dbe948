//! Looking for ONNX Runtime's library, and trying it before it is handed on.
//!
//! The crate we reach the runtime through takes a failed attempt for a done one (2.0.0-rc.14), and after a second attempt
//! it reads memory that nobody wrote. So each library is opened and asked for its version here first, and that crate
//! gets one path, which works.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::ffi::CStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use libloading::Library;
use ort::sys::{ORT_API_VERSION, OrtApiBase};

/// A place where ONNX Runtime's library may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// This file. Somebody has named it, so its absence is worth a warning.
    File(PathBuf),
    /// `libonnxruntime.so` or `libonnxruntime.so.*` in this folder, the greatest version first.
    Folder(PathBuf),
    /// The system's library path.
    System,
}

/// A library that was there, or was named, and could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// The library.
    pub library: PathBuf,
    /// Why not.
    pub reason: String,
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.library.display(), self.reason)
    }
}

/// A library that can be used. Stays open, so that nobody else's file takes its place meanwhile.
pub(super) struct Found {
    pub path: PathBuf,
    pub version: String,
    _open: Library,
}

const NAME: &str = "libonnxruntime.so";

/// Returns the first library that works, and adds those before it to `passed_over`.
pub(super) fn find(candidates: &[Candidate], passed_over: &mut Vec<PassedOver>) -> Option<Found> {
    for candidate in candidates {
        let (paths, is_absence_told) = match candidate {
            Candidate::File(path) => (vec![path.clone()], true),
            Candidate::Folder(dir) => (libraries_in(dir), true),
            Candidate::System => (vec![PathBuf::from(format!("{NAME}.1")), PathBuf::from(NAME)], false),
        };
        for path in paths {
            match open(&path) {
                Ok(found) => return Some(found),
                Err(Refusal::Absent(_)) if !is_absence_told => {}
                Err(Refusal::Absent(reason) | Refusal::Unfit(reason)) => {
                    passed_over.push(PassedOver { library: path, reason });
                }
            }
        }
    }
    None
}

/// Says whether a library can be used on this machine, and why not.
///
/// # Errors
/// What the loader or the library says.
pub fn check_library(path: &Path) -> Result<(), String> {
    open(path).map(drop).map_err(|refusal| match refusal {
        Refusal::Absent(reason) | Refusal::Unfit(reason) => reason,
    })
}

enum Refusal {
    /// The loader does not load it.
    Absent(String),
    /// It is loaded, and not what is needed.
    Unfit(String),
}

/// Opens a library and asks for its version.
#[expect(unsafe_code, reason = "loading code that somebody else compiled is unsafe by its nature")]
fn open(path: &Path) -> Result<Found, Refusal> {
    let before = mapped();
    // SAFETY: loading runs the library's initialisers. The user, or whoever administrates the machine, has put it there
    // as ONNX Runtime, and would have it loaded a moment later anyway.
    let library = unsafe { Library::new(path) }.map_err(|error| {
        // What the loader says is the source, path first; the error itself only says that it failed.
        let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        Refusal::Absent(text.trim_start_matches(&format!("{}: ", path.display())).to_owned())
    })?;
    let unfit = |reason: &str| Refusal::Unfit(reason.to_owned());
    // SAFETY: every ONNX Runtime exports this function with this type, since its first version.
    let base = unsafe {
        let get = library.get::<unsafe extern "C" fn() -> *const OrtApiBase>(c"OrtGetApiBase");
        let get = get.map_err(|_| unfit("it is another library under this name"))?;
        get().as_ref().ok_or_else(|| unfit("it gives no interface"))?
    };
    // SAFETY: the interface lives as long as the library, and the string as long as the interface.
    let version = unsafe { CStr::from_ptr((base.GetVersionString)()) }.to_string_lossy().into_owned();
    let needed = format!("it is version {version}, and 1.{ORT_API_VERSION} or later is needed");
    // Older ones print to standard error when they are asked for what they do not have.
    if numbers(&version).get(1).is_none_or(|&minor| minor < u64::from(ORT_API_VERSION)) {
        return Err(Refusal::Unfit(needed));
    }
    // SAFETY: as above; the function only looks at the number.
    if unsafe { (base.GetApi)(ORT_API_VERSION) }.is_null() {
        return Err(Refusal::Unfit(needed));
    }
    let path = match path.is_absolute() {
        true => fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf()),
        // Where the loader has found it.
        false => mapped().difference(&before).next().cloned().unwrap_or_else(|| path.to_path_buf()),
    };
    Ok(Found { path, version, _open: library })
}

fn libraries_in(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut paths: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| suffix(path).is_some()).collect();
    paths.sort_by_key(|path| std::cmp::Reverse(numbers(suffix(path).unwrap_or_default())));
    paths
}

/// Returns what follows `libonnxruntime.so` in the file's name, where that is nothing or a version.
fn suffix(path: &Path) -> Option<&str> {
    let suffix = path.file_name()?.to_str()?.strip_prefix(NAME)?;
    match suffix.strip_prefix('.') {
        Some(version) if version.starts_with(|first: char| first.is_ascii_digit()) => Some(version),
        None if suffix.is_empty() => Some(suffix),
        _ => None,
    }
}

fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// Returns the libraries under the name of ONNX Runtime that are in this process.
fn mapped() -> BTreeSet<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..])));
    paths.filter(|path| suffix(path).is_some()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_its_libraries_the_greatest_version_first() {
        let dir = tempfile::tempdir().unwrap();
        let expected = ["1.32.0", "1.9.1", "1"].map(|version| format!("{NAME}.{version}"));
        let others = ["libonnxruntime_providers_shared.so", "libonnxruntime.so.part", "libonnxruntime.sox"];
        for file in expected.iter().rev().map(String::as_str).chain(others).chain([NAME]) {
            fs::write(dir.path().join(file), "").unwrap();
        }
        let libraries = libraries_in(dir.path());
        let names: Vec<&str> =
            libraries.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names[..3], expected);
        assert_eq!(names[3..], [NAME]);
        assert!(libraries_in(&dir.path().join("missing")).is_empty());
    }

    #[test]
    fn what_cannot_be_used_is_passed_over_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let broken = dir.path().join("libonnxruntime.so.1.2.3");
        fs::write(&broken, "no library").unwrap();
        let missing = dir.path().join("missing.so");
        // Every Linux has a library that is another one.
        let other = mapped_c_library();
        let candidates = [
            Candidate::Folder(dir.path().to_path_buf()),
            Candidate::File(missing.clone()),
            Candidate::File(other.clone()),
        ];
        let mut passed_over = Vec::new();
        assert!(find(&candidates, &mut passed_over).is_none());
        let libraries: Vec<&Path> = passed_over.iter().map(|passed| passed.library.as_path()).collect();
        assert_eq!(libraries, [broken.as_path(), missing.as_path(), other.as_path()]);
        let told =
            format!("{}: cannot open shared object file: No such file or directory", missing.display());
        assert_eq!(passed_over[1].to_string(), told);
        assert!(passed_over[2].reason.contains("another library"), "{}", passed_over[2].reason);
    }

    fn mapped_c_library() -> PathBuf {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| line.contains("/libc.so") || line.contains("/libc-")).unwrap();
        PathBuf::from(&line[line.find('/').unwrap()..])
    }
}
