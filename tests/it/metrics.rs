//! Numbers for Prometheus, where they are asked for.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::pictures;
use crate::world::{DEADLINE, World, run_to_end};

/// Asks, and returns the answer's first line and body.
fn ask(mut stream: impl Read + Write, request: &str) -> (String, String) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\n\r\n";

/// The samples, by name and labels as they stand.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    lines.map(sample).collect()
}

/// The names of ours that a board asks for.
fn asked_for(board: &str) -> Vec<&str> {
    let words = board.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("resembled_") || word.starts_with("process_")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_scraped_is_what_is_and_prometheus_understands_it() {
    let world = World::new();
    for seed in 0..5 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    fs::write(world.photo("copy.png"), pictures::png(0)).unwrap();
    fs::write(world.photo("broken.jpg"), b"\xff\xd8\xff\xe0 no more than a beginning").unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let socket = world.path("run/resembled/metrics.sock");
    world.configure(&format!("[metrics]\nlisten = \"127.0.0.1:{port}\"\nsocket = {socket:?}\n"));
    let daemon = world.start().await;
    daemon.wait_for_files(6).await;
    daemon.nearest(pictures::png(1), 3).await;

    let tcp = || {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    };
    let (status, text) = ask(tcp(), SCRAPE);
    assert_eq!(status, "HTTP/1.1 200 OK");
    let found = samples(&text);
    let check = |name: &str, expected: f64| assert_eq!(found.get(name), Some(&expected), "{name}\n{text}");
    check("resembled_photos", 5.0);
    check("resembled_files{state=\"searchable\"}", 6.0);
    check("resembled_files{state=\"waiting\"}", 0.0);
    check("resembled_files{state=\"failed\"}", 1.0);
    check("resembled_failures{kind=\"corrupt\"}", 1.0);
    check("resembled_photos_encoded_total", 5.0);
    check("resembled_state{state=\"idle\"}", 1.0);
    check("resembled_paused{reason=\"asked\"}", 0.0);
    check("resembled_step_seconds_count{step=\"encode\"}", 5.0);
    check("resembled_call_seconds_count{method=\"SearchPhotos\"}", 1.0);
    check("resembled_folder_online{folder=\"roots/1\"}", 1.0);
    check("resembled_index_writable", 1.0);
    assert!(found["process_resident_memory_bytes"] > 1e6, "{text}");
    assert!(!text.contains("photos/") && !text.contains(world.photos().to_str().unwrap()), "{text}");

    // A path of the client's own makes no number.
    assert_eq!(ask(tcp(), "GET / HTTP/1.1\r\n\r\n").0, "HTTP/1.1 404 Not Found");
    // Those that say nothing keep nobody else from his numbers.
    let _silent: Vec<TcpStream> = (0..20).map(|_| tcp()).collect();
    let (status, paused) = {
        assert!(world.resemble(["pause"]).status.success());
        ask(UnixStream::connect(&socket).unwrap(), SCRAPE)
    };
    assert_eq!(status, "HTTP/1.1 200 OK");
    let paused = samples(&paused);
    assert_eq!(
        (paused["resembled_paused{reason=\"asked\"}"], paused["resembled_state{state=\"paused\"}"]),
        (1.0, 1.0)
    );
    let begun = ask(tcp(), SCRAPE);
    assert_eq!(begun.0, "HTTP/1.1 200 OK");

    let board = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/grafana.json");
    let board = fs::read_to_string(board).unwrap();
    serde_json::from_str::<serde_json::Value>(&board).unwrap();
    let asked = asked_for(&board);
    assert!(asked.len() > 10);
    for name in asked {
        assert!(
            found.keys().any(|sample| sample.split('{').next() == Some(name)),
            "{name} is on the board alone"
        );
    }

    match Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        Ok(mut promtool) => {
            promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            let output = promtool.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Err(_) => eprintln!("SKIPPED: promtool is not installed (Debian's package prometheus)"),
    }
    daemon.stop(&world).await;
}

#[test]
fn metrics_are_for_this_machine_alone() {
    let world = World::new();
    world.configure("[metrics]\nlisten = \"0.0.0.0:9420\"\n");
    let (status, text) = run_to_end(world.resembled().arg("check-config"));
    assert_eq!(status.code(), Some(78), "{text}");
    assert!(text.contains("metrics.listen") && text.contains("no password"), "{text}");
}
