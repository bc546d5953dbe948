//! `resemble` as a person and as a script meet it.

use std::fs;

use resembled::proto;
use serde_json::Value;

use crate::pictures;
use crate::world::World;

fn lines(output: &std::process::Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_get_one_object_a_line_and_an_exit_code() {
    let world = World::new();
    for seed in 0..3 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    fs::write(world.photo("bad.jpg"), "x").unwrap();
    let daemon = world.start().await;
    daemon.wait_for_files(3).await;

    let query = world.photo("1.png");
    let found =
        world.resemble([query.as_os_str(), "-k".as_ref(), "2".as_ref(), "--json".as_ref()].into_iter().fold(
            vec![std::ffi::OsString::from("search")],
            |mut args, arg| {
                args.push(arg.to_owned());
                args
            },
        ));
    assert_eq!(found.status.code(), Some(0), "{found:?}");
    let matches = lines(&found);
    assert_eq!(matches.len(), 2);
    assert_eq!(matches[0]["path"], query.to_str().unwrap());
    assert!(matches[0]["distance"].as_f64().unwrap() < 1e-5);
    assert!(matches[0]["similarity"].as_f64().unwrap() > matches[1]["similarity"].as_f64().unwrap());

    let nothing = world.resemble(["search", "photos/bad.jpg"]);
    assert_eq!(nothing.status.code(), Some(2), "what cannot be read is an error");
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("not a picture"), "{nothing:?}");
    let failed = world.resemble(["similar", "photos/bad.jpg"]);
    assert_eq!(failed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("could not be indexed: "), "{failed:?}");

    let status = lines(&world.resemble(["status", "--json"])).remove(0);
    for (key, value) in
        [("state", "idle".into()), ("photos", 3.into()), ("pending", 0.into()), ("failed", Value::from(1))]
    {
        assert_eq!(status[key], value, "{key}");
    }
    assert_eq!(status["model"], "builtin");
    assert!(status["runtime"].as_str().unwrap().starts_with("tract"), "{status}");

    let listed = lines(&world.resemble(["list", "--json"]));
    assert_eq!(listed.len(), 3);
    assert_eq!(listed[0]["content"].as_str().unwrap().len(), 64);
    assert!(listed[0]["size"].as_u64().unwrap() > 100);
    let failures = lines(&world.resemble(["failures", "--json"]));
    assert_eq!(failures.len(), 1);
    assert!(failures[0]["path"].as_str().unwrap().ends_with("bad.jpg") && failures[0]["reason"].is_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_get_tables_and_are_told_what_to_do() {
    let world = World::new();
    let lonely = world.resemble(["status"]);
    assert_eq!(lonely.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&lonely.stderr).contains("resembled DIR"), "{lonely:?}");

    pictures::write(&world.photo("a.png"), 1);
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    let watched = world.resemble(["status", "--watch"]);
    let text = String::from_utf8(watched.stdout).unwrap();
    assert!(text.contains("1 searchable") && text.contains("photos"), "{text}");
    let table = String::from_utf8(world.resemble(["search", "photos/a.png"]).stdout).unwrap();
    assert!(table.contains("distance") && table.contains("a.png"), "{table}");
    let shown = world.resemble(["search", "photos/a.png", "--html", "sheet.html"]);
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    let sheet = fs::read_to_string(world.path("sheet.html")).unwrap();
    assert!(sheet.contains("photos/a.png") && sheet.contains("data:image/jpeg;base64,"), "{sheet}");
    let far = world.resemble(["search", "photos/a.png", "--max-distance", "0", "--metric", "l2"]);
    assert_eq!(far.status.code(), Some(0), "the picture itself is at distance 0");
    fs::write(world.path("query.png"), pictures::png(2)).unwrap();
    let nothing = world.resemble(["search", "query.png", "--max-distance", "0"]);
    assert_eq!(nothing.status.code(), Some(1), "nothing is that near");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_are_added_and_removed_from_the_shell() {
    let world = World::new();
    pictures::write(&world.path("more/a.png"), 1);
    let daemon = world.start().await;
    let added = world.resemble(["roots", "add", "more"]);
    assert_eq!(added.status.code(), Some(0), "{added:?}");
    daemon.wait_for_files(1).await;
    assert_eq!(lines(&world.resemble(["roots", "--json"])).len(), 2);
    assert_eq!(world.resemble(["rescan", "more"]).status.code(), Some(0));
    assert_eq!(world.resemble(["roots", "remove", "more"]).status.code(), Some(0));
    daemon.wait_for_files(0).await;
    let unknown = world.resemble(["roots", "remove", "elsewhere"]);
    assert_eq!(unknown.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_is_checked_against_the_index_before_it_is_wiped() {
    let world = World::new();
    pictures::write(&world.photo("a.png"), 1);
    pictures::write(&world.photo("b.png"), 7);
    let daemon = world.start().await;
    daemon.wait_for_files(2).await;

    fs::create_dir_all(world.path("card/deep")).unwrap();
    fs::copy(world.photo("a.png"), world.path("card/1 copy.png")).unwrap();
    let imported = world.resemble(["check", "card"]);
    assert_eq!(imported.status.code(), Some(0), "all of it is in the index: {imported:?}");

    pictures::write_retouched(&world.path("card/2 saved again.png"), 7, 1);
    fs::write(world.path("card/3 new.png"), pictures::png(2)).unwrap();
    fs::write(world.path("card/deep/4 damaged.jpg"), "x").unwrap();
    fs::write(world.path("card/deep/5 film.mov"), "x").unwrap();
    let checked = world.resemble(["check", "--json", "card"]);
    assert_eq!(checked.status.code(), Some(1), "not all of it is: {checked:?}");
    let lines = lines(&checked);
    let states: Vec<_> = lines.iter().map(|line| line["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["copy", "same", "new", "other", "no-photo"]);
    assert!(lines[0]["photo"]["path"].as_str().unwrap().ends_with("photos/a.png"), "{}", lines[0]);
    assert!(lines[1]["photo"]["path"].as_str().unwrap().ends_with("photos/b.png"), "{}", lines[1]);
    assert!(lines[3]["reason"].as_str().unwrap().contains("not a picture"), "{}", lines[3]);

    let missing = world.resemble(["check", "--missing", "--copies", "card"]);
    let text = String::from_utf8(missing.stdout).unwrap();
    assert_eq!(text, "card/2 saved again.png\ncard/3 new.png\ncard/deep/4 damaged.jpg\n");
    let copied = world.resemble(["check", "card", "--copies", "--copy-missing-to", "new"]);
    assert_eq!(copied.status.code(), Some(1), "{copied:?}");
    let there = |name: &str| fs::read(world.path("new").join(name)).ok();
    assert_eq!(there("3 new.png"), Some(pictures::png(2)));
    assert!(there("2 saved again.png").is_some() && there("deep/4 damaged.jpg").is_some());
    assert!(there("1 copy.png").is_none() && there("deep/5 film.mov").is_none());
    assert_eq!(world.resemble(["check", "nowhere"]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn photos_wait_from_pause_to_resume_and_status_says_why() {
    let world = World::new();
    pictures::write(&world.photo("a.png"), 1);
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    assert_eq!(world.resemble(["pause"]).status.code(), Some(0));
    pictures::write(&world.photo("b.png"), 2);
    let waits = daemon.wait_for("a waiting photo", |status| status.pending == 1).await;
    assert_eq!((waits.state(), waits.files), (proto::State::Paused, 1));
    let text = String::from_utf8(world.resemble(["status", "--watch"]).stdout).unwrap();
    assert!(text.starts_with("paused") && text.contains("resemble resume"), "{text}");
    assert_eq!(world.resemble(["search", "photos/b.png"]).status.code(), Some(0), "queries are answered");
    assert_eq!(world.resemble(["resume"]).status.code(), Some(0));
    daemon.wait_for_files(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_says_what_could_be_better_and_what_to_do() {
    let world = World::new();
    let lonely = world.resemble(["doctor"]);
    assert_eq!(lonely.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&lonely.stdout).contains("resembled DIR"), "{lonely:?}");

    fs::create_dir_all(world.photos()).unwrap();
    fs::write(world.photo("bad.jpg"), "x").unwrap();
    let daemon = world.start().await;
    daemon.wait_for("the failure", |status| status.failed == 1 && status.pending == 0).await;
    let findings = lines(&world.resemble(["doctor", "--json"]));
    let unwell: Vec<_> = findings
        .iter()
        .filter(|finding| finding["well"] == false)
        .map(|finding| finding["what"].as_str().unwrap())
        .collect();
    for advice in ["`resembled models pull`", "ONNX Runtime", "resemble failures"] {
        assert!(unwell.iter().any(|what| what.contains(advice)), "{advice}: {unwell:?}");
    }
    assert!(findings.iter().any(|finding| finding["well"] == true), "{findings:?}");
}
