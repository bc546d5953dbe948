//! `resemble mcp` as an assistant meets it: lines in, lines out.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use data_encoding::BASE64;
use image::{Rgb, RgbImage};
use serde_json::{Value, json};

use crate::pictures::{self, Facts};
use crate::world::{DEADLINE, World, wait_for_end};
use crate::{thumbnails, words};

/// A client of the protocol, with the server that it has started.
struct Assistant {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    asked: u64,
}

impl Assistant {
    #[expect(clippy::disallowed_methods, reason = "it ends with the server, which is killed at the latest")]
    fn start(world: &World) -> Self {
        let mut child =
            world.client().arg("mcp").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { input: child.stdin.take(), child, lines, asked: 0 }
    }

    fn send(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
        input.flush().unwrap();
    }

    fn next(&mut self) -> Value {
        let line = self.lines.recv_timeout(DEADLINE).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Asks, and returns the whole answer.
    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let request = json!({ "jsonrpc": "2.0", "id": self.asked, "method": method, "params": params });
        self.send(&request.to_string());
        let answer = self.next();
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(self.asked)), "{answer}");
        answer
    }

    /// Uses a tool, and returns its content, or what it says went wrong.
    fn call(&mut self, tool: &str, arguments: Value) -> Result<Vec<Value>, String> {
        let answer = self.ask("tools/call", json!({ "name": tool, "arguments": arguments }));
        let content = answer["result"]["content"].as_array().unwrap_or_else(|| panic!("{answer}")).clone();
        match answer["result"]["isError"].as_bool().unwrap() {
            false => Ok(content),
            true => Err(content[0]["text"].as_str().unwrap().to_owned()),
        }
    }

    /// Uses a tool that answers with JSON.
    fn json(&mut self, tool: &str, arguments: Value) -> Value {
        let content = self.call(tool, arguments).unwrap();
        serde_json::from_str(content[0]["text"].as_str().unwrap()).unwrap()
    }

    /// Returns the file names of the photos that a search finds.
    fn found(&mut self, arguments: Value) -> Vec<String> {
        let answer = self.json("search_photos", arguments);
        let photos = answer["photos"].as_array().unwrap().clone();
        let name = |photo: Value| photo["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        photos.into_iter().map(name).collect()
    }

    /// Closes the input, as a client does that ends; the server must end too.
    fn stop(mut self) {
        drop(self.input.take());
        assert!(wait_for_end(&mut self.child).success());
    }
}

impl Drop for Assistant {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A photo of one colour that says when and where it was taken.
fn photo(world: &World, name: &str, colour: [u8; 3], taken: &'static str, position: (f64, f64)) {
    let facts = Facts { camera: "Fujifilm X-T3", taken, offset: None, position };
    pictures::write_picture_with(&world.photo(name), &RgbImage::from_pixel(32, 24, Rgb(colour)), &facts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assistant_finds_photos_and_looks_at_them() {
    let world = World::new();
    words::install(&world);
    photo(&world, "red.png", [250, 5, 5], "2023:07:01 18:00:00", (46.5, 8.0));
    photo(&world, "dark-red.png", [200, 10, 10], "2024:07:01 18:00:00", (46.5, 8.0));
    photo(&world, "green.png", [5, 250, 5], "2024:01:01 18:00:00", (-33.9, 151.2));
    fs::copy(world.photo("green.png"), world.photo("green copy.png")).unwrap();
    let photos = world.photos();
    let daemon = world.start_with(&["--model".as_ref(), "colours".as_ref(), photos.as_os_str()]).await;
    daemon.wait_for_files(4).await;
    let mut assistant = Assistant::start(&world);

    let tools = assistant.ask("tools/list", json!({}));
    let tools = tools["result"]["tools"].as_array().unwrap();
    for tool in tools {
        assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
        assert!(tool["description"].is_string() && tool["annotations"]["readOnlyHint"] == true, "{tool}");
    }

    // Words are known a moment after the photos are.
    let begun = Instant::now();
    while assistant.found(json!({ "text": "strawberry" })).len() < 2 {
        assert!(begun.elapsed() < DEADLINE, "{}", world.log());
    }
    let answer = assistant.json("search_photos", json!({ "text": "strawberry", "newest_first": true }));
    let names: Vec<_> = answer["photos"].as_array().unwrap().iter().map(|photo| &photo["taken"]).collect();
    assert_eq!(names, ["2024-07-01T18:00:00", "2023-07-01T18:00:00"], "{answer}");
    assert!(answer["meaning"][0].as_str().unwrap().contains("2 of 3 photos show strawberry"), "{answer}");
    assert_eq!(answer["photos"][0]["labels"], json!(["strawberry"]));
    assert_eq!(
        assistant.found(json!({ "text": "fruit", "since": "2024", "unlike": null })),
        ["dark-red.png"]
    );

    // By pictures: a path, and a photo's content.
    let red = world.photo("red.png");
    assert_eq!(assistant.found(json!({ "like": [red], "limit": 2 })), ["red.png", "dark-red.png"]);
    let content = &answer["photos"][0]["content"];
    assert_eq!(
        assistant.found(json!({ "like": [content], "limit": 1 })),
        ["red.png"],
        "not the photo itself"
    );
    let liked = json!({ "text": "strawberry", "like": [red], "unlike": [content], "limit": 1 });
    assert_eq!(assistant.found(liked).len(), 1);

    // By time and place alone, the newest first.
    assert_eq!(assistant.found(json!({})), ["dark-red.png", "green copy.png", "red.png"]);
    let sydney = json!({ "around": { "latitude": -33.9, "longitude": 151.0, "kilometres": 50 } });
    assert_eq!(assistant.found(sydney), ["green copy.png"]);
    assert_eq!(assistant.found(json!({ "before": "2024", "cameras": ["fuji"] })), ["red.png"]);
    let none = assistant.json("search_photos", json!({ "cameras": ["nikon"] }));
    assert!(none["instead"][0].as_str().unwrap().contains("there are Fujifilm X-T3"), "{none}");

    let years = assistant.json("count_photos", json!({ "by": "year" }));
    assert_eq!(
        years["counts"],
        json!([{ "value": "2024", "photos": 2 }, { "value": "2023", "photos": 1 }]),
        "{years}"
    );
    let groups = assistant.json("find_duplicates", json!({ "kind": "exact" }));
    assert_eq!(groups["total"], 1, "{groups}");
    assert_eq!(groups["groups"][0]["photos"][0]["copies"].as_array().unwrap().len(), 1, "{groups}");
    let described = assistant.json("describe_picture", json!({ "picture": red }));
    assert_eq!(described["shows"][0]["label"], "strawberry", "{described}");
    let status = assistant.json("library_status", json!({}));
    assert_eq!((&status["photos"], &status["model"]), (&json!(3), &json!("colours")), "{status}");

    // A picture as the protocol has it, beside one that cannot be shown.
    let shown = assistant.call("show_photos", json!({ "photos": [content, "/nowhere.jpg"] })).unwrap();
    assert_eq!((&shown[1]["type"], &shown[1]["mimeType"]), (&json!("image"), &json!("image/jpeg")));
    let jpeg = BASE64.decode(shown[1]["data"].as_str().unwrap().as_bytes()).unwrap();
    let picture = thumbnails::shown(&jpeg);
    assert!(picture.get_pixel(3, 3)[0] > 150 && picture.get_pixel(3, 3)[1] < 60, "{picture:?}");
    assert!(shown[2]["text"].as_str().unwrap().starts_with("/nowhere.jpg: "), "{shown:?}");

    // What cannot be done is told to the assistant, with what to do.
    for (tool, arguments, says) in [
        ("search_photos", json!({ "text": "strawbery" }), "alike: strawberry"),
        ("search_photos", json!({ "like": ["red.png"] }), "absolute path"),
        ("search_photos", json!({ "like": ["/nowhere.jpg"] }), "no such file"),
        ("search_photos", json!({ "unlike": [red] }), "only beside words or pictures"),
        ("search_photos", json!({ "since": "soon" }), "write 2024"),
        ("search_photos", json!({ "words": "dog" }), "unknown field `words`"),
        ("search_photos", json!({ "limit": 0 }), "from 1 to 200"),
        ("count_photos", json!({}), "missing field `by`"),
        ("show_photos", json!({ "photos": ["/nowhere.jpg"] }), "/nowhere.jpg"),
        ("show_photos", json!({ "photos": [] }), "from 1 to 8"),
        ("describe_picture", json!({ "picture": world.path("log") }), "not a picture"),
        ("find_duplicates", json!({ "kind": "all" }), "unknown variant"),
    ] {
        let error = assistant.call(tool, arguments.clone()).unwrap_err();
        assert!(error.contains(says), "{tool} {arguments}: {error}");
    }
    assistant.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_line_and_no_daemon_ends_it() {
    let world = World::new();
    pictures::write(&world.photo("a.png"), 1);
    let mut assistant = Assistant::start(&world);
    for (line, code) in [
        ("garbage", -32700),
        ("{\"jsonrpc\": \"2.0\",", -32700),
        ("\u{0}\u{1}", -32700),
        ("17", -32600),
        ("[]", -32600),
        ("{}", -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[1]}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"format_disk"}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"resources/list"}"#, -32601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#, -32602),
    ] {
        assistant.send(line);
        let answer = assistant.next();
        assert_eq!(answer["error"]["code"], code, "{line}: {answer}");
    }
    assistant.send(&"x".repeat(5 << 20));
    assert_eq!(assistant.next()["error"]["code"], -32600);
    // Nothing is said to what wants no answer.
    assistant.send("");
    assistant.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    assistant.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}"#);
    assistant.send(r#"{"jsonrpc":"2.0","id":5,"result":{}}"#);
    assert_eq!(assistant.ask("ping", json!({}))["result"], json!({}));

    // A daemon that is away costs a call; when it is there, the next one is answered.
    let away = assistant.call("library_status", json!({})).unwrap_err();
    assert!(away.contains("no daemon answers") && away.contains("`resembled DIR`"), "{away}");
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    assert_eq!(assistant.json("library_status", json!({}))["photos"], 1);
    // The built-in network finds by pictures.
    assert_eq!(assistant.found(json!({ "like": [world.photo("a.png")] })), ["a.png"]);
    daemon.stop(&world).await;
    let gone = assistant.call("search_photos", json!({})).unwrap_err();
    assert!(gone.contains("no daemon answers"), "{gone}");
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    assert_eq!(assistant.found(json!({})), ["a.png"]);
    assistant.stop();
}

/// Something listens on the socket and never answers. Other messages are answered meanwhile, and a call that is not wanted
/// any more gets no answer.
#[test]
fn a_call_that_hangs_keeps_nobody() {
    let world = World::new();
    fs::create_dir_all(world.socket().parent().unwrap()).unwrap();
    let _silent = UnixListener::bind(world.socket()).unwrap();
    let mut assistant = Assistant::start(&world);
    let call = r#"{"jsonrpc":"2.0","id":"slow","method":"tools/call","params":{"name":"library_status"}}"#;
    assistant.send(call);
    assert_eq!(assistant.ask("ping", json!({}))["result"], json!({}));
    assistant.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"slow"}}"#);
    drop(assistant.input.take());
    assert!(assistant.lines.recv_timeout(DEADLINE).is_err(), "the cancelled call is not answered");
    assert!(wait_for_end(&mut assistant.child).success());
}

#[test]
fn clients_of_all_revisions_are_answered() {
    let world = World::new();
    let mut assistant = Assistant::start(&world);
    for (asked, agreed) in
        [("2024-11-05", "2024-11-05"), ("2025-06-18", "2025-06-18"), ("2099-01-01", "2025-11-25")]
    {
        let client = json!({ "name": "test", "version": "1" });
        let params = json!({ "protocolVersion": asked, "capabilities": {}, "clientInfo": client });
        let begun = assistant.ask("initialize", params);
        assert_eq!(begun["result"]["protocolVersion"], agreed, "{begun}");
        assert_eq!(begun["result"]["capabilities"], json!({ "tools": {} }));
        assert_eq!(begun["result"]["serverInfo"]["name"], "resembled");
    }
    // Several messages in one.
    assistant.send(
        r#"[{"jsonrpc":"2.0","id":"a","method":"ping"},{"jsonrpc":"2.0","method":"x"},{"jsonrpc":"2.0","id":"b","method":"x"}]"#,
    );
    let both = assistant.next();
    assert_eq!(
        (&both[0]["id"], &both[1]["error"]["code"], &both[2]),
        (&json!("a"), &json!(-32601), &Value::Null)
    );

    // Later clients begin with nothing, and say with each request what they speak.
    let meta = |revision: &str| {
        json!({ "_meta": {
            "io.modelcontextprotocol/protocolVersion": revision,
            "io.modelcontextprotocol/clientCapabilities": {},
        } })
    };
    let discovered = assistant.ask("server/discover", meta("2026-07-28"));
    assert_eq!(discovered["result"]["supportedVersions"], json!(["2026-07-28"]), "{discovered}");
    assert_eq!(discovered["result"]["resultType"], "complete");
    let listed = assistant.ask("tools/list", meta("2026-07-28"));
    assert!(listed["result"]["ttlMs"].is_u64() && listed["result"]["tools"].is_array(), "{listed}");
    let refused = assistant.ask("tools/list", meta("2099-01-01"));
    assert_eq!(refused["error"]["code"], -32022, "{refused}");
    assert_eq!(refused["error"]["data"]["supported"], json!(["2026-07-28"]));
    assistant.stop();
}
