use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::sync::mpsc;

use super::*;
use crate::models::pull::agent;
use crate::models::pull::pip::Pip;

const FILE: &[u8] = b"the bytes of a network, some more than a handful";

/// A server on this machine that answers one connection after the other from a list.
struct Server {
    url: String,
    requests: mpsc::Receiver<String>,
}

impl Server {
    #[expect(
        clippy::disallowed_methods,
        reason = "ends with the list of answers, or with the test's process"
    )]
    fn start(answers: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/net.onnx", listener.local_addr().unwrap());
        let (sender, requests) = mpsc::channel();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                sender.send(head.join("\n").to_ascii_lowercase()).unwrap();
                stream.write_all(&answer).unwrap();
            }
        });
        Self { url, requests }
    }
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    [b"HTTP/1.1 ", head.as_bytes(), b"\r\nConnection: close\r\n\r\n", body].concat()
}

fn whole() -> Vec<u8> {
    answer(&format!("200 OK\r\nContent-Length: {}", FILE.len()), FILE)
}

struct Pulled {
    dir: tempfile::TempDir,
    progress: Vec<u64>,
    result: Result<(), PullError>,
    requests: Vec<String>,
}

impl Pulled {
    fn content(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.dir.path().join(name)).ok()
    }

    fn text(&self) -> String {
        self.result.as_ref().unwrap_err().to_string()
    }
}

/// Downloads [`FILE`] from a server with these answers, where a part of it may be there.
fn pull(part: Option<&[u8]>, answers: Vec<Vec<u8>>) -> Pulled {
    let dir = tempfile::tempdir().unwrap();
    if let Some(part) = part {
        fs::write(dir.path().join("net.onnx.part"), part).unwrap();
    }
    pull_into(dir, answers)
}

fn pull_into(dir: tempfile::TempDir, answers: Vec<Vec<u8>>) -> Pulled {
    let server = Server::start(answers);
    let target = dir.path().join("net.onnx");
    let download = Download {
        url: &server.url,
        bytes: FILE.len() as u64,
        sha256: FileDigest::of(FILE),
        target: &target,
    };
    let mut progress = Vec::new();
    let pip = Pip { indexes: Vec::new(), cert: None };
    let part = download.fetch(&agent(false, None, &pip).unwrap(), &mut |step| {
        assert_eq!(step.total, FILE.len() as u64);
        progress.push(step.done);
    });
    let result = part.and_then(Part::keep);
    Pulled { dir, progress, result, requests: server.requests.try_iter().collect() }
}

#[track_caller]
fn assert_whole(pulled: &Pulled) {
    if let Err(error) = &pulled.result {
        panic!("{error:?}");
    }
    assert_eq!(pulled.content("net.onnx").as_deref(), Some(FILE));
    assert_eq!(pulled.content("net.onnx.part"), None);
}

#[test]
fn a_whole_file_is_downloaded_under_its_name() {
    let pulled = pull(None, vec![whole()]);
    assert_whole(&pulled);
    assert_eq!(pulled.progress.first(), Some(&0));
    assert_eq!(pulled.progress.last(), Some(&(FILE.len() as u64)));
    assert!(!pulled.requests[0].contains("range:"));
}

#[test]
fn a_part_is_continued() {
    let head = format!("206 Partial Content\r\nContent-Range: bytes 10-{}/{}", FILE.len() - 1, FILE.len());
    let pulled = pull(Some(&FILE[..10]), vec![answer(&head, &FILE[10..])]);
    assert_whole(&pulled);
    assert!(pulled.requests[0].contains("range: bytes=10-"), "{}", pulled.requests[0]);
    assert_eq!(pulled.progress.first(), Some(&10));
}

#[test]
fn a_server_without_ranges_starts_over() {
    let pulled = pull(Some(b"xxxxx"), vec![whole()]);
    assert_whole(&pulled);
    assert_eq!(pulled.progress.first(), Some(&0));
}

#[test]
fn a_server_that_refuses_the_range_or_sends_another_is_asked_for_the_whole() {
    for odd in [
        "416 Range Not Satisfiable\r\nContent-Length: 0",
        "206 Partial Content\r\nContent-Range: bytes 3-9/48",
    ] {
        let pulled = pull(Some(&FILE[..10]), vec![answer(odd, b""), whole()]);
        assert_whole(&pulled);
        assert!(!pulled.requests[1].contains("range:"));
    }
}

#[test]
fn a_part_that_is_whole_or_too_long_is_no_trap() {
    let pulled = pull(Some(FILE), vec![]);
    assert_whole(&pulled);
    assert!(pulled.requests.is_empty());
    assert_whole(&pull(Some(&[FILE, b"more"].concat()), vec![whole()]));
}

#[test]
fn a_wrong_digest_deletes_the_part_and_leaves_no_file() {
    let mut other = FILE.to_vec();
    other[3] ^= 1;
    let pulled = pull(None, vec![answer(&format!("200 OK\r\nContent-Length: {}", other.len()), &other)]);
    assert!(pulled.text().contains(&FileDigest::of(&other).to_string()), "{}", pulled.text());
    assert!(matches!(pulled.result, Err(PullError::OtherDigest { .. })));
    assert_eq!((pulled.content("net.onnx"), pulled.content("net.onnx.part")), (None, None));
}

#[test]
fn a_broken_connection_keeps_the_part_for_the_next_time() {
    let head = format!("200 OK\r\nContent-Length: {}", FILE.len());
    for broken in [answer(&head, &FILE[..20]), answer("200 OK", &FILE[..20])] {
        let pulled = pull(None, vec![broken]);
        assert!(matches!(pulled.result, Err(PullError::Interrupted { done: 20, .. })), "{:?}", pulled.result);
        assert_eq!(pulled.content("net.onnx.part").as_deref(), Some(&FILE[..20]));
        assert_eq!(pulled.content("net.onnx"), None);
    }
}

#[test]
fn a_refusal_is_told_and_keeps_the_part() {
    let pulled = pull(Some(&FILE[..10]), vec![answer("404 Not Found\r\nContent-Length: 0", b""); 2]);
    assert!(pulled.text().contains("404"), "{}", pulled.text());
    assert_eq!(pulled.content("net.onnx.part").as_deref(), Some(&FILE[..10]));
}

#[test]
fn another_length_than_promised_is_refused() {
    let long = [FILE, b"and more"].concat();
    // Told beforehand: nothing is downloaded. A pointer in place of the file is such a case.
    let told = pull(None, vec![answer(&format!("200 OK\r\nContent-Length: {}", long.len()), &long)]);
    assert!(
        matches!(told.result, Err(PullError::OtherLength { offered: 56, promised: 48, .. })),
        "{:?}",
        told.result
    );
    let pointer = pull(Some(&FILE[..10]), vec![answer("200 OK\r\nContent-Length: 5", b"tiny!")]);
    assert!(matches!(pointer.result, Err(PullError::OtherLength { offered: 5, .. })));
    assert_eq!(pointer.content("net.onnx.part").as_deref(), Some(&FILE[..10]));
    // Not told: the download ends there.
    let untold = pull(None, vec![answer("200 OK", &long)]);
    assert!(matches!(untold.result, Err(PullError::OtherLength { promised: 48, .. })), "{:?}", untold.result);
    assert_eq!((untold.content("net.onnx"), untold.content("net.onnx.part")), (None, None));
}

#[test]
fn two_downloads_of_one_file_do_not_mix() {
    let dir = tempfile::tempdir().unwrap();
    let part = File::create(dir.path().join("net.onnx.part")).unwrap();
    part.lock().unwrap();
    assert!(matches!(pull_into(dir, vec![]).result, Err(PullError::Busy(_))));
}

#[test]
fn a_server_that_is_not_there_is_an_error_with_its_address() {
    let pulled = pull(None, vec![]);
    assert!(matches!(pulled.result, Err(PullError::Http { .. })), "{:?}", pulled.result);
    assert!(pulled.text().contains("http://127.0.0.1"), "{}", pulled.text());
}
