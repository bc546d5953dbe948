//! What is near is decided by looking at both photos side by side, and said in a word.

use std::fs;
use std::process::Output;
use std::time::Instant;

use image::{RgbImage, imageops};
use resembled::proto::RootState;
use serde_json::Value;

use crate::comparing::street;
use crate::sameness::page;
use crate::world::{DEADLINE, World};

/// Asks until `is_it` accepts what is said.
fn ask_until(world: &World, arguments: &[&str], is_it: impl Fn(&Output) -> bool) -> Output {
    let begun = Instant::now();
    loop {
        let said = world.resemble(arguments);
        if is_it(&said) {
            return said;
        }
        assert!(begun.elapsed() < DEADLINE, "{said:?}\n{}", world.log());
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asks until everything is looked at.
fn near(world: &World) -> Vec<Value> {
    let is_done =
        |said: &Output| !errors(said).contains("not compared yet") && !errors(said).contains("side by side");
    let said = ask_until(world, &["duplicates", "near", "--json"], is_done);
    String::from_utf8(said.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn name(photo: &Value) -> &str {
    photo["path"].as_str().unwrap().rsplit('/').next().unwrap()
}

/// All pages of one form were near one another, and an edit was not near what it was made of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_a_form_are_nothing_to_each_other_and_edits_are_named() {
    let world = World::new();
    let save = |picture: &RgbImage, name: &str| picture.save(world.photo(name)).unwrap();
    for seed in 0..14 {
        save(&page(seed), &format!("page {seed}.png"));
    }
    save(&street(1), "street.png");
    let daemon = world.start().await;
    daemon.wait_for_files(15).await;
    save(&imageops::crop_imm(&street(1), 24, 18, 400, 300).to_image(), "crop.png");
    save(
        &imageops::flip_horizontal(&imageops::crop_imm(&street(1), 24, 18, 420, 315).to_image()),
        "mirrored.png",
    );
    save(&street(2), "another street.png");
    daemon.wait_for_files(18).await;

    let groups = near(&world);
    let mut names: Vec<Vec<&str>> =
        groups.iter().map(|group| group["photos"].as_array().unwrap().iter().map(name).collect()).collect();
    names[0][1..].sort_unstable();
    assert_eq!(names, [["street.png", "crop.png", "mirrored.png"]]);
    for photo in &groups[0]["photos"].as_array().unwrap()[1..] {
        let expected = match name(photo) {
            "crop.png" => ("edit", "upright", 400.0 * 300.0 / (480.0 * 360.0)),
            "mirrored.png" => ("mirrored", "mirrored", 420.0 * 315.0 / (480.0 * 360.0)),
            other => panic!("{other}"),
        };
        assert_eq!(
            (photo["relation"].as_str(), photo["turn"].as_str()),
            (Some(expected.0), Some(expected.1)),
            "{photo}"
        );
        assert!((photo["share_of_first"].as_f64().unwrap() - expected.2).abs() < 0.06, "{photo}");
        assert!(
            photo["share_of_this"].as_f64().unwrap() > 0.94 && photo["probability"].as_f64().unwrap() > 0.9
        );
    }
    let text = String::from_utf8(world.resemble(["duplicates"]).stdout).unwrap();
    assert!(text.contains("crop.png  an edit, 7") && text.contains("mirrored.png  an edit, 8"), "{text}");
    drop(daemon);
}

/// Each two had to be near, so that one part was left out; and now that it is not, nothing may go for what it does not show.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_parts_of_a_picture_are_with_it_and_neither_goes_for_the_other() {
    let world = World::new();
    std::fs::create_dir(world.photo("kept")).unwrap();
    street(1).save(world.photo("street.png")).unwrap();
    street(2).save(world.photo("another street.png")).unwrap();
    let part = |left| imageops::crop_imm(&street(1), left, 0, 270, 360).to_image();
    part(0).save(world.photo("kept/left.png")).unwrap();
    part(210).save(world.photo("right.png")).unwrap();
    let daemon = world.start().await;
    daemon.wait_for_files(4).await;

    let groups = near(&world);
    let names: Vec<Vec<&str>> =
        groups.iter().map(|group| group["photos"].as_array().unwrap().iter().map(name).collect()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(names[0][0], "street.png", "{names:?}");
    assert_eq!(names[0].len(), 3, "{names:?}");
    let goes = |keep: &str| {
        let rest = world.resemble(["duplicates", "near", "--keep", keep, "--rest", "--paths"]);
        let paths = String::from_utf8(rest.stdout).unwrap();
        let mut names: Vec<String> =
            paths.lines().map(|path| path.rsplit('/').next().unwrap().to_owned()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(goes("photos/kept"), ["street.png"]);
    assert_eq!(goes("largest"), ["left.png", "right.png"]);
    drop(daemon);
}

/// Until it is back, its distance decides; it is never called the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_photo_whose_drive_is_away_is_looked_at_when_it_is_back() {
    let world = World::new();
    let [here, drive] = ["here", "drive"].map(|name| world.path(name));
    fs::create_dir(&here).unwrap();
    fs::create_dir(&drive).unwrap();
    street(1).save(drive.join("street.png")).unwrap();
    let daemon = world.start_with(&[here.as_os_str(), drive.as_os_str()]).await;
    daemon.wait_for_files(1).await;
    fs::rename(&drive, world.path("unplugged")).unwrap();
    daemon
        .wait_for("the drive is away", |status| {
            status
                .roots
                .iter()
                .any(|root| root.path.ends_with(b"drive") && root.state() == RootState::Offline)
        })
        .await;
    imageops::crop_imm(&street(1), 12, 9, 456, 342).to_image().save(here.join("crop.png")).unwrap();
    daemon.wait_for_files(2).await;
    let is_compared = |said: &Output| !errors(said).contains("not compared yet");
    let said = ask_until(&world, &["duplicates", "near", "--json"], is_compared);
    assert!(errors(&said).contains("1 pair is not looked at side by side yet"), "{said:?}");
    assert!(!String::from_utf8_lossy(&said.stdout).contains("edit"), "{said:?}");

    fs::rename(world.path("unplugged"), &drive).unwrap();
    let groups = near(&world);
    assert_eq!(groups[0]["photos"][1]["relation"], "edit", "{groups:?}");
    drop(daemon);
}

/// What `check` calls near is looked at first, and a search when it is asked to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_and_search_call_near_what_shows_the_same() {
    let world = World::new();
    // So few that there is no neighborhood.
    for seed in 0..6 {
        page(seed).save(world.photo(format!("page {seed}.png"))).unwrap();
    }
    street(1).save(world.photo("street.png")).unwrap();
    fs::create_dir(world.path("card")).unwrap();
    let card = |name: &str| world.path("card").join(name);
    page(99).save(card("page.png")).unwrap();
    imageops::crop_imm(&street(1), 24, 18, 400, 300).to_image().save(card("crop.png")).unwrap();
    let daemon = world.start().await;
    daemon.wait_for_files(7).await;

    let lines = |said: &Output| -> Vec<Value> {
        let text = String::from_utf8(said.stdout.clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let checked = lines(&world.resemble(["check", "--json", "card"]));
    let of = |name: &str| checked.iter().find(|line| line["path"].as_str().unwrap().ends_with(name)).unwrap();
    assert_eq!(of("/page.png")["state"], "new", "{checked:?}");
    let crop = of("/crop.png");
    assert_eq!((&crop["state"], &crop["second_look"]["verdict"]), (&"near".into(), &"edit".into()), "{crop}");
    let share = crop["second_look"]["share_of_photo"].as_f64().unwrap();
    assert!((share - 400.0 * 300.0 / (480.0 * 360.0)).abs() < 0.05, "{crop}");
    let text = String::from_utf8(world.resemble(["check", "card/crop.png"]).stdout).unwrap();
    assert!(text.contains("street.png  edit, 7"), "{text}");

    // Without, the distance decides: all pages are near, and nothing is said to have been looked at.
    let plain = lines(&world.resemble(["search", "--json", "card/page.png"]));
    assert!(plain.iter().all(|found| found["second_look"].is_null()), "{plain:?}");
    assert!(plain.iter().any(|found| found["band"] == "near"), "{plain:?}");
    let looked = lines(&world.resemble(["search", "--verify", "--json", "card/page.png"]));
    assert!(looked.iter().all(|found| found["band"] != "near"), "{looked:?}");
    let seen = looked.iter().filter(|found| found["second_look"]["verdict"] == "different").count();
    assert_eq!(seen, 3, "{looked:?}");
    let table = String::from_utf8(world.resemble(["search", "--verify", "card/crop.png"]).stdout).unwrap();
    assert!(table.contains("near, edit, 7"), "{table}");
    let refused = world.resemble(["search", "--verify", "--text", "street"]);
    assert_eq!(refused.status.code(), Some(2));

    // What cannot be looked at is called what it would be without, and it is said why.
    fs::rename(world.photos(), world.path("unplugged")).unwrap();
    fs::remove_dir_all(world.path("cache")).unwrap();
    daemon
        .wait_for("away", |status| status.roots.iter().all(|root| root.state() == RootState::Offline))
        .await;
    let blind = lines(&world.resemble(["search", "--verify", "--json", "card/page.png"]));
    for (place, (found, plain)) in blind.iter().zip(&plain).enumerate() {
        assert_eq!(found["band"], plain["band"], "{found}");
        let why = found["second_look_failed"].as_str();
        assert_eq!(why.is_some_and(|why| why.contains("its drive is away")), place < 3, "{found}");
    }
    drop(daemon);
}
