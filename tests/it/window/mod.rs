//! `resemble window`: who is let in, what the page is told, and the page in a real browser.

mod browser;
mod http;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Instant;

use resembled_api::uri;
use serde_json::{Value, json};

use self::http::{Answer, send};
use crate::pictures::{self, Facts};
use crate::words;
use crate::world::{DEADLINE, Daemon, World, wait_for_end};

/// A window that serves.
struct Window {
    child: Child,
    port: u16,
    /// As it was printed.
    address: String,
}

impl Window {
    fn open(world: &World, args: &[&str]) -> Self {
        let mut command = world.client();
        command.args(["window", "--no-open"]).args(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim().to_owned();
        let port = address.split([':', '/']).nth(4).and_then(|port| port.parse().ok());
        let port = port.unwrap_or_else(|| panic!("{address} {:?}", child.wait_with_error()));
        Self { child, port, address }
    }

    /// Visits the printed address.
    fn enter(&self) -> Inside<'_> {
        let path = &self.address[format!("http://127.0.0.1:{}", self.port).len()..];
        let host = format!("127.0.0.1:{}", self.port);
        let entered = send(self.port, &format!("GET {path}"), &[("Host", &host)], b"");
        assert_eq!(entered.status, 200, "{}", entered.text());
        let set = entered.header("set-cookie").unwrap();
        assert!(set.ends_with("; HttpOnly; SameSite=Strict"), "{set}");
        let (cookie, rest) = set.split_once("; Path=").unwrap();
        let home = rest.split(';').next().unwrap().to_owned();
        assert!(entered.text().contains(&format!("url={home}\"")), "{}", entered.text());
        Inside { window: self, cookie: cookie.to_owned(), home }
    }
}

trait WithError {
    fn wait_with_error(&mut self) -> String;
}

impl WithError for Child {
    fn wait_with_error(&mut self) -> String {
        let mut text = String::new();
        self.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the browser has after the first visit.
struct Inside<'a> {
    window: &'a Window,
    cookie: String,
    home: String,
}

impl Inside<'_> {
    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.window.port)
    }

    fn get(&self, below: &str) -> Answer {
        let line = format!("GET {}{below}", self.home);
        send(self.window.port, &line, &[("Host", &self.host()), ("Cookie", &self.cookie)], b"")
    }

    /// What `name` answers to `asked`.
    fn ask(&self, name: &str, asked: &Value) -> Answer {
        self.get(&format!("api/{name}?q={}", encoded(asked)))
    }

    fn post(&self, below: &str, body: &[u8]) -> Answer {
        let origin = format!("http://{}", self.host());
        let headers = [("Host", &*self.host()), ("Cookie", &self.cookie), ("Origin", &origin)];
        send(self.window.port, &format!("POST {}{below}", self.home), &headers, body)
    }

    fn search(&self, asked: &Value, picture: &[u8]) -> Answer {
        self.post(&format!("api/search?q={}", encoded(asked)), picture)
    }
}

fn encoded(asked: &Value) -> String {
    asked.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Three photos with dates, one without, one that cannot be read.
async fn start(world: &World) -> Daemon {
    let write = |name: &str, seed, taken| {
        let facts = Facts { camera: "Kamera Eins", taken, offset: None, position: (46.5, 8.0) };
        pictures::write_with(&world.photo(name), seed, &facts);
    };
    write("alps/a.png", 1, "2019:12:31 23:00:00");
    write("alps/b & <i>.png", 2, "2024:06:01 12:00:00");
    write("c.png", 3, "2024:06:30 23:59:59");
    pictures::write(&world.photo("undated.png"), 4);
    fs::write(world.photo("bad.jpg"), "x").unwrap();
    let daemon = world.start().await;
    daemon.wait_for_files(4).await;
    daemon
}

fn names(photos: &Value) -> Vec<String> {
    let name = |photo: &Value| photo["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let Some(photos) = photos.as_array() else { panic!("no photos: {photos}") };
    photos.iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_but_the_owner_looks_in() {
    let world = World::new();
    let daemon = start(&world).await;
    let window = Window::open(&world, &[]);
    let path = window.address.rsplit("/open/").next().unwrap().to_owned();
    assert!(path.len() >= 43, "{path}");
    let host = format!("127.0.0.1:{}", window.port);
    let ask = |line: &str, headers: &[(&str, &str)]| send(window.port, line, headers, b"").status;

    // Before the first visit: another name of the machine, another page, a guess.
    let entry = format!("GET /open/{path}");
    assert_eq!(ask(&entry, &[("Host", "evil.example")]), 421);
    let embedded = [("Host", &*host), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")];
    assert_eq!(ask(&entry, &embedded), 403);
    assert_eq!(ask("GET /open/guessed", &[("Host", &host)]), 403);
    assert_eq!(ask("GET /", &[("Host", &host)]), 403);

    let inside = window.enter();
    assert_eq!(ask(&entry, &[("Host", &host)]), 410, "the address is good for one visit");
    assert_eq!(inside.get("").status, 200);
    let list = format!("GET {}api/photos", inside.home);
    let cookie = ("Cookie", inside.cookie.as_str());
    assert_eq!(ask(&list, &[("Host", &host), cookie]), 200);
    // The path that the address bar shows opens nothing by itself, and neither does the cookie.
    assert_eq!(ask(&list, &[("Host", &host)]), 403);
    assert_eq!(ask(&list, &[("Host", &host), ("Cookie", "resemble=guessed")]), 403);
    assert_eq!(ask("GET /elsewhere/api/photos", &[("Host", &host), cookie]), 403);
    // DNS rebinding, requests of other pages, of other ports of this machine, through a proxy, without a host.
    for evil in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "127.0.0.1@evil.example"]
    {
        assert_eq!(ask(&list, &[("Host", &format!("{evil}:{}", window.port)), cookie]), 421, "{evil}");
    }
    for origin in ["http://evil.example", "http://127.0.0.1:1", "null", "https://127.0.0.1"] {
        assert_eq!(ask(&list, &[("Host", &host), cookie, ("Origin", origin)]), 403, "{origin}");
    }
    for site in ["cross-site", "same-site"] {
        assert_eq!(ask(&list, &[("Host", &host), cookie, ("Sec-Fetch-Site", site)]), 403, "{site}");
    }
    let proxied = format!("GET http://{host}{}api/photos", inside.home);
    assert_eq!(ask(&proxied, &[("Host", &host), cookie]), 421);
    assert_eq!(ask(&list, &[cookie]), 421);

    // Changes come from the page alone.
    let pause = format!("POST {}api/pause", inside.home);
    assert_eq!(ask(&pause, &[("Host", &host), cookie]), 403);
    assert_eq!(ask(&pause, &[("Host", &host), cookie, ("Origin", "http://evil.example")]), 403);
    assert_eq!(ask(&pause.replace("POST", "PUT"), &[("Host", &host), cookie]), 405);
    assert_eq!(inside.get("api/pause").status, 404);
    assert!(daemon.status().await.pauses.is_empty());
    assert_eq!(inside.post("api/pause", b"{}").json()["state"], "paused");
    assert_eq!(inside.post("api/resume", b"{}").json()["pauses"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_is_served_but_thumbnails_of_indexed_photos() {
    let world = World::new();
    let _daemon = start(&world).await;
    pictures::write(&world.path("private.png"), 9);
    let window = Window::open(&world, &[]);
    let inside = window.enter();
    let photos = inside.ask("photos", &json!({})).json();
    let content = photos["photos"][0]["content"].as_str().unwrap();
    let thumbnail = inside.get(&format!("thumbnails/256/{content}"));
    assert_eq!((thumbnail.status, thumbnail.header("content-type")), (200, Some("image/jpeg")));
    assert_eq!(&thumbnail.body[..2], b"\xff\xd8");

    let private = blake3::hash(&fs::read(world.path("private.png")).unwrap()).to_string();
    for wrong in [
        format!("thumbnails/256/{private}"),
        format!("thumbnails/256/{}", "0".repeat(64)),
        "thumbnails/256/..%2F..%2Fprivate.png".to_owned(),
        format!("thumbnails/256/{content}/../../../private.png"),
        "thumbnails/256/photos%2F".to_owned(),
        "../private.png".to_owned(),
        "style.css/../../private.png".to_owned(),
        "page/main.js".to_owned(),
        "..%2f..%2fetc%2fpasswd".to_owned(),
        world.path("private.png").to_str().unwrap().to_owned(),
    ] {
        assert_eq!(inside.get(&wrong).status, 404, "{wrong}");
    }
    for wrong in ["thumbnails/0x/", "thumbnails/99999999999/", "thumbnails/-1/"] {
        let status = inside.get(&format!("{wrong}{content}")).status;
        assert!((400..500).contains(&status), "{wrong}: {status}");
    }
    // Nothing but files of indexed photos is shown in a file manager.
    let file = uri::of_path(world.path("private.png").as_os_str().as_bytes());
    let asked = json!({ "content": content, "uri": file });
    assert_eq!(inside.post("api/reveal", asked.to_string().as_bytes()).status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_loads_nothing_from_elsewhere_and_is_small() {
    let world = World::new();
    let _daemon = start(&world).await;
    let window = Window::open(&world, &[]);
    let inside = window.enter();
    let page = inside.get("");
    let policy = page.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    let mut total = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("client/src/window/page")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let below = if name == "index.html" { "" } else { name };
        let answer = inside.get(below);
        assert_eq!(answer.status, 200, "{name} is not served");
        assert_eq!(answer.body, fs::read(&path).unwrap(), "{name}");
        let text = answer.text().replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("http:") && !text.contains("https:"), "{name}");
        assert!(!text.contains("innerHTML") && !text.contains("style=\""), "{name}: the policy forbids it");
        total += answer.body.len();
    }
    assert!(total <= 100_000, "{total} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_is_told_what_the_commands_say() {
    let world = World::new();
    let _daemon = start(&world).await;
    let window = Window::open(&world, &[]);
    let inside = window.enter();

    let months = inside.ask("counts", &json!({ "by": "month" })).json();
    let months: Vec<_> = months["counts"].as_array().unwrap().iter().map(|count| &count["value"]).collect();
    assert_eq!(months, [&json!("2024-06"), &json!("2019-12"), &Value::Null]);
    let list = |filter: Value| inside.ask("photos", &json!({ "filter": filter })).json();
    assert_eq!(names(&list(json!({}))["photos"]), ["c.png", "b & <i>.png", "a.png", "undated.png"]);
    let june = list(json!({ "since": "2024-06", "before": "2024-07" }));
    assert_eq!((names(&june["photos"]).len(), &june["total"]), (2, &json!(2)));
    assert_eq!(names(&list(json!({ "dated": false }))["photos"]), ["undated.png"]);
    let alps = uri::of_path(world.photo("alps").as_os_str().as_bytes());
    assert_eq!(names(&list(json!({ "folders": [alps] }))["photos"]).len(), 2);
    let page = inside.ask("photos", &json!({ "page_size": 3 })).json();
    let rest = inside.ask("photos", &json!({ "page_size": 3, "page_token": page["next"] })).json();
    assert_eq!((names(&rest["photos"]), &rest["next"]), (vec!["undated.png".to_owned()], &json!("")));
    let listed = String::from_utf8(world.resemble(["list", "--undated", "--json"]).stdout).unwrap();
    assert_eq!(listed.lines().count(), 1, "{listed}");

    let content = june["photos"][0]["content"].clone();
    let photo = inside.get(&format!("api/photos/{}", content.as_str().unwrap())).json();
    assert_eq!((&photo["taken"], &photo["camera"]), (&json!("2024-06-30T23:59:59"), &json!("Kamera Eins")));
    let similar = inside.search(&json!({ "examples": [{ "photo": content }], "k": 2 }), b"").json();
    assert_eq!(similar["matches"].as_array().unwrap().len(), 2);
    let dropped = json!({ "examples": [{ "picture": true }], "k": 1 });
    let found = inside.search(&dropped, &pictures::png(1)).json();
    assert_eq!(
        (names(&found["matches"]), &found["matches"][0]["band"]),
        (vec!["a.png".to_owned()], &json!("same"))
    );
    let steered = json!({ "examples": [{ "picture": true }, { "photo": content, "weight": -1.0 }], "k": 1 });
    assert_eq!(names(&inside.search(&steered, &pictures::png(1)).json()["matches"]), ["a.png"]);

    // What cannot be answered says why, for a person.
    let words = inside.search(&json!({ "examples": [{ "text": "dalmatian" }] }), b"");
    assert_eq!(words.status, 404, "the built-in network knows broad words only: {}", words.text());
    assert!(words.json()["error"].as_str().unwrap().len() > 10);
    assert_eq!(inside.ask("words", &json!({ "prefix": "dog" })).json()["words"], json!(["dog"]));
    for (asked, picture) in
        [(&dropped, &b""[..]), (&dropped, b"no picture"), (&json!({}), b""), (&json!({ "x": 1 }), b"")]
    {
        let refused = inside.search(asked, picture);
        assert_eq!(refused.status, 400, "{asked}: {}", refused.text());
    }
    assert_eq!(inside.get("api/photos?q=%7B").status, 400);
    assert_eq!(inside.get(&format!("api/photos/{}", "0".repeat(64))).status, 404);

    let state = inside.get("api/state").json();
    assert_eq!(
        (&state["state"], &state["failed"], &state["local"]),
        (&json!("idle"), &json!(1), &json!(true))
    );
    assert!(state["findings"].as_array().unwrap().len() > 3, "{state}");
    let failures = inside.ask("failures", &json!({})).json();
    assert_eq!(names(&failures["failures"]), ["bad.jpg"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_when_it_is_not_used_and_looks_for_the_daemon_first() {
    let world = World::new();
    let lonely = world.resemble(["window", "--no-open"]);
    assert_eq!((lonely.status.code(), lonely.stdout.len()), (Some(2), 0), "{lonely:?}");

    let daemon = start(&world).await;
    let mut window = Window::open(&world, &["--unused", "1s"]);
    let ended = tokio::task::block_in_place(|| wait_for_end(&mut window.child));
    assert!(ended.success(), "{ended}");
    assert!(window.child.wait_with_error().contains("not used any more"));

    // A daemon that is started anew answers the same window.
    let window = Window::open(&world, &[]);
    let inside = window.enter();
    daemon.stop(&world).await;
    assert_eq!(inside.get("api/state").status, 502);
    let _daemon = world.start().await;
    assert_eq!(inside.get("api/state").json()["photos"], 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_of_a_group_goes_to_the_trash_and_comes_back_and_nothing_else_goes() {
    let world = World::new();
    for name in ["keep/1.png", "b/1.png", "c/1.png"] {
        pictures::write(&world.photo(name), 1);
    }
    pictures::write(&world.photo("b/2.png"), 2);
    let daemon = world.start().await;
    daemon.wait_for_files(4).await;
    let window = Window::open(&world, &[]);
    let inside = window.enter();
    let uri = |name: &str| uri::of_path(world.photo(name).as_os_str().as_bytes());
    let is_there = |name: &str| world.photo(name).exists();
    let trash = |photos: &Value, goes: &[&str]| {
        let goes: Vec<String> = goes.iter().map(|name| uri(name)).collect();
        let asked = json!({ "groups": [{ "photos": photos, "goes": goes }] });
        inside.post("api/trash", asked.to_string().as_bytes())
    };

    // What was not listed as a group is none.
    let all = inside.ask("photos", &json!({})).json();
    let content = |name: &str| {
        let photos = all["photos"].as_array().unwrap();
        let found = photos.iter().find(|photo| photo["path"].as_str().unwrap().ends_with(name)).unwrap();
        found["content"].clone()
    };
    let (one, two) = (json!([content("1.png")]), content("2.png"));
    assert_eq!(trash(&one, &["b/1.png"]).status, 409);
    let groups = inside.ask("groups", &json!({ "kind": "exact", "keep": uri("keep") })).json();
    assert_eq!((&groups["total"], groups["groups"].as_array().unwrap().len()), (&json!(1), 1), "{groups}");
    let group = &groups["groups"][0];
    assert_eq!((names(&group["stays"]), names(&group["goes"]).len()), (vec!["1.png".to_owned()], 2));
    assert!(group["stays"][0]["path"].as_str().unwrap().contains("/keep/"), "{group}");
    assert_eq!(trash(&json!([content("1.png"), two]), &["b/1.png"]).status, 409);

    // A file of no group, one that is marked with all others, one that was changed since.
    let done = trash(&one, &["b/2.png"]).json();
    assert_eq!((&done["moved"], is_there("b/2.png")), (&json!([]), true));
    let done = trash(&one, &["keep/1.png", "b/1.png", "c/1.png"]).json();
    assert_eq!((&done["moved"], done["left"].as_array().unwrap().len()), (&json!([]), 3), "{done}");
    let done = trash(&one, &["b/1.png"]).json();
    assert_eq!((&done["moved"], is_there("b/1.png")), (&json!([uri("b/1.png")]), false), "{done}");
    fs::write(world.photo("c/1.png"), "something else by now").unwrap();
    let left = trash(&one, &["c/1.png"]).json();
    assert_eq!((&left["moved"], is_there("c/1.png")), (&json!([]), true));
    // The last one that is there stays, though two others were listed.
    let last = trash(&one, &["keep/1.png"]).json();
    assert_eq!((&last["moved"], is_there("keep/1.png")), (&json!([]), true), "{last}");

    let back = inside.post("api/restore", json!({ "undo": done["undo"] }).to_string().as_bytes()).json();
    assert_eq!((&back["restored"], is_there("b/1.png")), (&json!(1), true), "{back}");
    let again = inside.post("api/restore", json!({ "undo": done["undo"] }).to_string().as_bytes()).json();
    assert_eq!(again["restored"], 0);
    assert_eq!(inside.post("api/restore", br#"{"undo":99}"#).json()["restored"], 0);
    assert_eq!(fs::read(world.photo("b/1.png")).unwrap(), pictures::png(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn photos_that_are_not_the_same_are_told_apart_and_that_is_taken_back() {
    let world = World::new();
    let picture = pictures::draw(1);
    picture.save(world.photo("a.png")).unwrap();
    image::imageops::resize(&picture, 320, 240, image::imageops::FilterType::Triangle)
        .save(world.photo("b.png"))
        .unwrap();
    let daemon = world.start().await;
    daemon.wait_for_files(2).await;
    let window = Window::open(&world, &[]);
    let inside = window.enter();
    let unmarked = inside.ask("groups", &json!({ "kind": "near" })).json();
    let groups = unmarked["groups"].as_array().unwrap();
    assert!(groups.iter().all(|group| group["goes"] == json!([])), "nothing is marked unasked: {unmarked}");
    let list = || inside.ask("groups", &json!({ "kind": "near", "keep": "largest" })).json();
    let mut groups = list();
    let begun = Instant::now();
    while groups["pending"] != 0 && begun.elapsed() < DEADLINE {
        groups = list();
    }
    let group = &groups["groups"][0];
    assert_eq!(
        (names(&group["stays"]), names(&group["goes"])),
        (vec!["b.png".to_owned()], vec!["a.png".to_owned()])
    );
    assert!(group["says"][0].as_str().unwrap().contains("copy"), "{group}");
    let contents: Vec<&Value> =
        group["photos"].as_array().unwrap().iter().map(|photo| &photo["content"]).collect();
    let apart = |undo: bool| {
        let asked = json!({ "photos": contents, "undo": undo });
        assert_eq!(inside.post("api/apart", asked.to_string().as_bytes()).status, 200);
    };
    apart(false);
    assert_eq!(list()["total"], 0);
    apart(true);
    assert_eq!(list()["total"], 1);
    assert_eq!(inside.post("api/apart", br#"{"photos":["x"]}"#).status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_is_checked_line_by_line() {
    let world = World::new();
    let _daemon = start(&world).await;
    let card = world.path("card");
    fs::create_dir(&card).unwrap();
    fs::copy(world.photo("c.png"), card.join("1.png")).unwrap();
    pictures::write(&card.join("2.png"), 77);
    fs::write(card.join("film.mov"), "x").unwrap();
    let window = Window::open(&world, &[]);
    let inside = window.enter();
    let check = |folder: &str| inside.post("api/check", json!({ "folder": folder }).to_string().as_bytes());
    let lines = |folder: &str| {
        let answer = check(folder);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")));
        answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let found = lines("~/card");
    assert_eq!((found.len(), &found[0]), (5, &json!({ "files": 3 })), "{found:?}");
    let states: Vec<&Value> = found[1..4].iter().map(|line| &line["state"]).collect();
    assert_eq!((states[0], states[2]), (&json!("copy"), &json!("no-photo")), "{found:?}");
    assert_ne!(states[1], "copy");
    assert!(found[1]["photo"]["path"].as_str().unwrap().ends_with("c.png"), "{found:?}");
    assert!(found[4]["summary"].as_str().unwrap().starts_with("2 photos: 1 with a copy"), "{found:?}");
    assert_eq!(found[4]["warning"], Value::Null);

    let none = lines(card.join("none").to_str().unwrap());
    assert_eq!(none[1]["state"], "unreadable", "{none:?}");
    for wrong in ["card", "", "../card"] {
        assert_eq!(check(wrong).status, 400, "{wrong}");
    }
    // Who goes away before the end holds up nothing.
    let origin = format!("http://{}", inside.host());
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", window.port)).unwrap();
    let body = json!({ "folder": card }).to_string();
    let (home, cookie, host, length) = (&inside.home, &inside.cookie, inside.host(), body.len());
    write!(
        stream,
        "POST {home}api/check HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nOrigin: {origin}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    drop(stream);
    assert_eq!(inside.get("api/state").status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_library_of_another_machine_is_looked_at_and_nothing_is_moved_there() {
    let world = World::new();
    pictures::write(&world.photo("1.png"), 1);
    pictures::write(&world.photo("again/1.png"), 1);
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let photos = world.photos();
    let daemon = world.start_with(&["--listen".as_ref(), address.as_ref(), photos.as_os_str()]).await;
    daemon.wait_for_files(2).await;
    let window = Window::open(&world, &["--connect", &address]);
    let inside = window.enter();
    let photos = inside.ask("photos", &json!({})).json();
    let photo = &photos["photos"][0];
    assert_eq!(inside.get("api/state").json()["local"], false);
    let thumbnail = inside.get(&format!("thumbnails/256/{}", photo["content"].as_str().unwrap()));
    assert_eq!(thumbnail.status, 200);
    let groups = inside.ask("groups", &json!({ "kind": "exact", "keep": "largest" })).json();
    let goes = &groups["groups"][0]["goes"][0]["uri"];
    let asked = json!({ "groups": [{ "photos": [photo["content"]], "goes": [goes] }] });
    for (name, body) in [
        ("trash", asked),
        ("restore", json!({ "undo": 0 })),
        ("reveal", json!({ "content": photo["content"], "uri": photo["uri"] })),
    ] {
        let refused = inside.post(&format!("api/{name}"), body.to_string().as_bytes());
        assert_eq!(refused.status, 409, "{name}: {}", refused.text());
        assert!(refused.text().contains("another machine"), "{name}: {}", refused.text());
    }
    assert!(world.photo("1.png").exists() && world.photo("again/1.png").exists());
}

/// Two photos that show a strawberry to a network that knows words, and one that shows none.
async fn start_with_words(world: &World) -> Daemon {
    words::install(world);
    words::photo(world, "red.png", [250, 5, 5]);
    words::photo(world, "dark-red.png", [200, 10, 10]);
    words::photo(world, "green.png", [5, 250, 5]);
    let photos = world.photos();
    let daemon = world.start_with(&["--model".as_ref(), "colours".as_ref(), photos.as_os_str()]).await;
    daemon.wait_for_files(3).await;
    daemon
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_are_searched_for_offered_and_said_to_be_unknown() {
    let world = World::new();
    let _daemon = start_with_words(&world).await;
    let window = Window::open(&world, &[]);
    let inside = window.enter();
    let search = |text: &str| inside.search(&json!({ "examples": [{ "text": text }] }), b"");
    let begun = Instant::now();
    let found = loop {
        let found = search("strawberry").json();
        // It takes a moment until it is known what a new photo shows.
        if found["total"] == 2 || begun.elapsed() > DEADLINE {
            break found;
        }
    };
    assert_eq!((&found["total"], &found["words"]), (&json!(2), &json!(true)), "{found}");
    assert_eq!(found["matches"][0]["labels"], json!(["strawberry"]));
    assert_eq!(found["said"][0], "2 of 3 photos show strawberry");
    let unknown = search("strawbery");
    assert_eq!(unknown.status, 404);
    assert!(unknown.text().contains("alike: strawberry"), "{}", unknown.text());
    assert_eq!(inside.ask("words", &json!({ "prefix": "strawb" })).json()["words"], json!(["strawberry"]));
    let content = found["matches"][0]["content"].as_str().unwrap();
    let labels = inside.get(&format!("api/labels/{content}")).json();
    assert_eq!(labels["labels"][0]["label"], "strawberry", "{labels}");
}
