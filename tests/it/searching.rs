//! What can be asked beyond "the nearest of this picture": filters, ranges, pages, examples, duplicates.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use resembled::photo::ContentHash;
use resembled::proto;
use resembled::proto::duplicate_service_client::DuplicateServiceClient;
use resembled::proto::search_photos_request::Query;
use serde_json::Value;
use tonic::Code;

use crate::pictures::{self, Facts};
use crate::world::{Daemon, World, with_vectors_and_with_codes};

with_vectors_and_with_codes!(
    filters_let_pass_what_meets_them_and_cost_no_match,
    a_range_is_complete_in_pages_that_do_not_move,
    examples_are_liked_and_disliked_and_not_among_the_matches,
    a_stored_photo_is_searched_for_by_its_path_even_when_it_cannot_be_read,
    duplicates_are_grouped_as_they_come_and_told_apart_for_good,
    a_burst_is_near_in_time_too,
);

fn image(seed: u32) -> Query {
    Query::Image(pictures::png(seed).into())
}

fn request(query: Query) -> proto::SearchPhotosRequest {
    proto::SearchPhotosRequest { query: Some(query), k: 100, ..Default::default() }
}

fn path_of(photo: &proto::Photo) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&photo.files[0].path))
}

async fn paths(daemon: &Daemon, request: proto::SearchPhotosRequest) -> Vec<PathBuf> {
    let answer = daemon.search().search_photos(request).await.unwrap().into_inner();
    answer.matches.iter().map(|found| path_of(found.photo.as_ref().unwrap())).collect()
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

const ALPS: Facts =
    Facts { camera: "Kamera Eins", taken: "2023:08:01 10:00:00", offset: None, position: (46.5, 8.0) };
const CHATHAM: Facts =
    Facts { camera: "Kamera Zwei", taken: "2024:02:01 10:00:00", offset: None, position: (-44.0, -176.5) };

async fn filters_let_pass_what_meets_them_and_cost_no_match(world: World) {
    for seed in 0..3 {
        pictures::write_with(&world.photo(format!("alps/{seed}.png")), seed, &ALPS);
    }
    pictures::write_with(&world.photo("alps/hut/3.png"), 3, &CHATHAM);
    pictures::write(&world.photo("plain.png"), 4);
    pictures::draw(5).save(world.photo("five.bmp")).unwrap();
    let daemon = world.start().await;
    daemon.wait_for_files(6).await;

    let alps: Vec<PathBuf> = (0..3).map(|seed| world.photo(format!("alps/{seed}.png"))).collect();
    let (hut, plain, bmp) =
        (world.photo("alps/hut/3.png"), world.photo("plain.png"), world.photo("five.bmp"));
    let all = [alps.clone(), vec![hut.clone(), plain.clone(), bmp.clone()]].concat();
    let check = async |filter: proto::Filter, expected: &[PathBuf]| {
        let asked = proto::SearchPhotosRequest { filter: Some(filter.clone()), ..request(image(4)) };
        let mut found = paths(&daemon, asked.clone()).await;
        found.sort();
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(found, expected, "{filter:?}");
        // However few are asked for, a filter leaves as many as there are.
        let one = proto::SearchPhotosRequest { k: 1, ..asked };
        assert_eq!(paths(&daemon, one).await.len(), expected.len().min(1), "{filter:?}");
    };
    let filter = proto::Filter::default;
    check(filter(), &all).await;
    let folders = |folder: &Path| proto::Filter { folders: vec![bytes(folder)], ..filter() };
    check(folders(&world.photo("alps")), &[alps.clone(), vec![hut.clone()]].concat()).await;
    check(folders(&world.photo("alps/hut")), std::slice::from_ref(&hut)).await;
    check(folders(&world.photos()), &all).await;
    check(folders(world.photos().parent().unwrap()), &all).await;
    check(folders(&world.photo("alp")), &[]).await;
    // 2024-01-01
    let new_year = Some(prost_types::Timestamp { seconds: 1_704_067_200, nanos: 0 });
    check(proto::Filter { taken_from: new_year, ..filter() }, std::slice::from_ref(&hut)).await;
    check(proto::Filter { taken_before: new_year, ..filter() }, &alps).await;
    check(proto::Filter { cameras: vec!["zwei".into()], ..filter() }, std::slice::from_ref(&hut)).await;
    check(
        proto::Filter { cameras: vec!["KAMERA".into()], ..filter() },
        &[alps.clone(), vec![hut.clone()]].concat(),
    )
    .await;
    check(proto::Filter { media_types: vec!["image/bmp".into()], ..filter() }, std::slice::from_ref(&bmp))
        .await;
    let named = |seeds: &[u32]| {
        let names = seeds.iter().map(|&seed| format!("photos/{}", ContentHash::of(&pictures::png(seed))));
        proto::Filter { photos: names.collect(), ..filter() }
    };
    check(named(&[4, 99]), std::slice::from_ref(&plain)).await;
    check(named(&[99]), &[]).await;
    check(proto::Filter { cameras: vec!["zwei".into()], ..named(&[4]) }, &[]).await;
    check(proto::Filter { online: Some(true), ..filter() }, &all).await;
    check(proto::Filter { online: Some(false), ..filter() }, &[]).await;
    let circle = |latitude, longitude, radius_metres| proto::Filter {
        place: Some(proto::filter::Place::Circle(proto::PlaceCircle {
            centre: Some(proto::Position { latitude, longitude, altitude_metres: None }),
            radius_metres,
        })),
        ..filter()
    };
    // A degree of latitude is 111.2 km.
    check(circle(47.5, 8.0, 112e3), &alps).await;
    check(circle(47.5, 8.0, 110e3), &[]).await;
    // Across the 180th meridian.
    check(circle(-44.0, 179.5, 330e3), std::slice::from_ref(&hut)).await;
    let within = |south, west, north, east| proto::Filter {
        place: Some(proto::filter::Place::Box(proto::PlaceBox { south, west, north, east })),
        ..filter()
    };
    check(within(40.0, 0.0, 50.0, 10.0), &alps).await;
    check(within(-50.0, 170.0, -40.0, -170.0), std::slice::from_ref(&hut)).await;
    check(within(-50.0, -170.0, -40.0, 170.0), &[]).await;
    check(proto::Filter { taken_before: new_year, cameras: vec!["zwei".into()], ..filter() }, &[]).await;

    // A photo that moves takes its facts along.
    fs::rename(world.photo("plain.png"), world.photo("alps/plain.png")).unwrap();
    loop {
        daemon.wait_for_files(6).await;
        let asked =
            proto::SearchPhotosRequest { filter: Some(folders(&world.photo("alps"))), ..request(image(4)) };
        if paths(&daemon, asked).await.contains(&world.photo("alps/plain.png")) {
            break;
        }
    }
    for (bad, field) in [
        (proto::Filter { folders: vec![b"alps".to_vec()], ..filter() }, "folders"),
        (within(10.0, 0.0, 5.0, 0.0), "box"),
        (within(0.0, f64::NAN, 5.0, 0.0), "box"),
        (circle(91.0, 0.0, 1.0), "circle"),
        (circle(0.0, 0.0, -1.0), "circle"),
    ] {
        let asked = proto::SearchPhotosRequest { filter: Some(bad), ..request(image(4)) };
        let refused = daemon.search().search_photos(asked).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(&format!("filter.{field}")), "{refused:?}");
    }
}

async fn a_range_is_complete_in_pages_that_do_not_move(world: World) {
    for seed in 0..25 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    let daemon = world.start().await;
    daemon.wait_for_files(25).await;
    let exact = proto::SearchPhotosRequest { exact: true, ..request(image(0)) };
    let all = daemon.search().search_photos(exact).await.unwrap().into_inner().matches;
    assert_eq!(all.len(), 25);
    let limit = all[16].distance;
    let expected: Vec<_> = all.iter().filter(|found| found.distance <= limit).cloned().collect();

    let first =
        proto::SearchPhotosRequest { max_distance: Some(limit), k: 0, page_size: 6, ..request(image(0)) };
    let mut found = Vec::new();
    let mut next = first.clone();
    loop {
        let page = daemon.search().search_photos(next.clone()).await.unwrap().into_inner();
        assert_eq!(page.total_size, expected.len() as u64);
        found.extend(page.matches);
        if page.next_page_token.is_empty() {
            break;
        }
        if next.page_token.is_empty() {
            // Would be the nearest of all, and must not turn up in an answer that has begun.
            pictures::write_retouched(&world.photo("new.png"), 0, 1);
            daemon.wait_for_files(26).await;
        }
        let other =
            proto::SearchPhotosRequest { k: 3, page_token: page.next_page_token.clone(), ..first.clone() };
        let refused = daemon.search().search_photos(other).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "a token belongs to its request");
        next = proto::SearchPhotosRequest { page_token: page.next_page_token, ..first.clone() };
    }
    assert_eq!(found, expected);
    for metric in [proto::Metric::Cosine, proto::Metric::L2] {
        for seed in 0..25 {
            let itself = proto::SearchPhotosRequest {
                max_distance: Some(0.0),
                k: 0,
                metric: metric.into(),
                ..request(image(seed))
            };
            let found = daemon.search().search_photos(itself).await.unwrap().into_inner().matches;
            let names: Vec<_> = found.iter().filter_map(|found| Some(&found.photo.as_ref()?.name)).collect();
            let name = format!("photos/{}", ContentHash::of(&pictures::png(seed)));
            assert!(names.contains(&&name), "{metric:?}: {seed} is not within 0 of itself");
            assert!(names.len() < 4, "{metric:?}: {names:?}");
        }
    }
    assert_eq!(
        daemon.search().search_photos(first).await.unwrap().into_inner().total_size,
        expected.len() as u64 + 1
    );
    let forged = proto::SearchPhotosRequest { page_token: "0000000000000001-6".into(), ..request(image(0)) };
    assert_eq!(daemon.search().search_photos(forged).await.unwrap_err().code(), Code::FailedPrecondition);
}

async fn examples_are_liked_and_disliked_and_not_among_the_matches(world: World) {
    for seed in 0..8 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
        pictures::write_retouched(&world.photo(format!("{seed} again.png")), seed, 1);
    }
    let daemon = world.start().await;
    daemon.wait_for_files(16).await;
    let example = |seed: u32, weight: f32| proto::Example {
        query: Some(proto::example::Query::IndexedPath(bytes(&world.photo(format!("{seed}.png"))))),
        weight: Some(weight),
    };
    let examples = |examples: Vec<proto::Example>| request(Query::Examples(proto::Examples { examples }));
    let both = paths(&daemon, examples(vec![example(1, 1.0), example(2, 1.0)])).await;
    assert_eq!(both.len(), 14);
    let mut nearest = both[..2].to_vec();
    nearest.sort();
    assert_eq!(nearest, [world.photo("1 again.png"), world.photo("2 again.png")]);
    let one = paths(&daemon, examples(vec![example(1, 3.0), example(2, 1.0), example(3, -0.5)])).await;
    assert_eq!(one[0], world.photo("1 again.png"));
    let place = |found: &[PathBuf], name: &str| found.iter().position(|path| *path == world.photo(name));
    assert!(place(&one, "2 again.png") < place(&one, "3 again.png"));

    for bad in [
        vec![],
        vec![example(1, -1.0)],
        vec![example(1, 1.0), example(2, f32::NAN)],
        vec![proto::Example::default()],
    ] {
        let refused = daemon.search().search_photos(examples(bad)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }

    // The same from the shell.
    let (liked, unlike) = (world.photo("2.png"), world.photo("3.png"));
    let unlike = format!("0.5:{}", unlike.display());
    let args = [
        "search",
        "photos/1.png",
        "--like",
        liked.to_str().unwrap(),
        "--unlike",
        &unlike,
        "--json",
        "-k",
        "4",
    ];
    let output = world.resemble(args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 4);
    let alike = world.resemble(["search", "photos/1.png", "--unlike", "photos/3.png", "--json"]);
    assert_eq!(alike.status.code(), Some(0), "one liked and one not: {alike:?}");
}

async fn a_stored_photo_is_searched_for_by_its_path_even_when_it_cannot_be_read(world: World) {
    for seed in 0..3 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    let daemon = world.start().await;
    daemon.wait_for_files(3).await;
    let by_name =
        paths(&daemon, request(Query::Photo(format!("photos/{}", ContentHash::of(&pictures::png(1)))))).await;
    assert_eq!(paths(&daemon, request(Query::IndexedPath(bytes(&world.photo("1.png"))))).await, by_name);
    let found = world.resemble(["similar", "photos/1.png", "--json", "--exact"]);
    assert_eq!(found.status.code(), Some(0), "{found:?}");
    let lines = String::from_utf8(found.stdout).unwrap();
    let shown: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        shown.iter().map(|line| PathBuf::from(line["path"].as_str().unwrap())).collect::<Vec<_>>(),
        by_name
    );
    let unknown = world.resemble(["similar", "photos/nowhere.png"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("nowhere.png"), "{unknown:?}");
    let nothing = world.resemble(["similar", "photos/1.png", "--type", "webp"]);
    assert_eq!(nothing.status.code(), Some(1));
}

/// The built-in network under a manifest with bands: everything that is all but the same is near.
async fn start_with_bands(world: &World) -> Daemon {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/builtin");
    fs::copy(built_in.join("encoder.onnx"), world.path("banded.onnx")).unwrap();
    let manifest: String =
        fs::read_to_string(built_in.join("manifest.toml"))
            .unwrap()
            .lines()
            .take_while(|line| !line.starts_with("[bands") && !line.starts_with("[[source"))
            .map(|line| {
                if line.starts_with("name") { "name = \"banded\"\n".to_owned() } else { format!("{line}\n") }
            })
            .collect();
    let bands = "[bands.cosine]\nnear = 0.001\nsimilar = 0.1\nrelated = 0.2\n";
    fs::write(world.path("banded.toml"), manifest + bands).unwrap();
    let model = world.path("banded.onnx");
    world.start_with(&["--model".as_ref(), model.as_os_str(), world.photos().as_os_str()]).await
}

async fn groups(daemon: &Daemon, request: proto::ListDuplicateGroupsRequest) -> Vec<Vec<PathBuf>> {
    let mut client = DuplicateServiceClient::new(daemon.channel.clone());
    loop {
        let answer = client.list_duplicate_groups(request.clone()).await.unwrap().into_inner();
        // Comparing goes on in the background.
        if answer.photos_pending == 0 {
            return answer.groups.iter().map(|group| group.photos.iter().map(path_of).collect()).collect();
        }
    }
}

async fn duplicates_are_grouped_as_they_come_and_told_apart_for_good(world: World) {
    for seed in 0..4 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    pictures::write(&world.photo("copy of 0.png"), 0);
    pictures::write_retouched(&world.photo("1 retouched.png"), 1, 1);
    let daemon = start_with_bands(&world).await;
    daemon.wait_for_files(6).await;
    let ask = |kind: proto::DuplicateKind| proto::ListDuplicateGroupsRequest {
        kind: kind.into(),
        ..Default::default()
    };
    let sorted = |mut groups: Vec<Vec<PathBuf>>| {
        groups.iter_mut().for_each(|group| group.sort());
        groups
    };
    let near = async |daemon: &Daemon| sorted(groups(daemon, ask(proto::DuplicateKind::Near)).await);
    let exact = groups(&daemon, ask(proto::DuplicateKind::Exact)).await;
    assert_eq!(exact, [[world.photo("0.png")]], "one photo in two files");
    let pair = vec![world.photo("1 retouched.png"), world.photo("1.png")];
    assert_eq!(near(&daemon).await, std::slice::from_ref(&pair));

    // A new one finds its group.
    pictures::write_retouched(&world.photo("1 once more.png"), 1, 2);
    daemon.wait_for_files(7).await;
    let mut three = pair.clone();
    three.insert(0, world.photo("1 once more.png"));
    three.sort();
    assert_eq!(near(&daemon).await, [three]);
    fs::remove_file(world.photo("1 once more.png")).unwrap();
    daemon.wait_for_files(6).await;
    assert_eq!(near(&daemon).await, std::slice::from_ref(&pair));

    let far =
        proto::ListDuplicateGroupsRequest { max_distance: Some(0.5), ..ask(proto::DuplicateKind::Near) };
    let mut client = DuplicateServiceClient::new(daemon.channel.clone());
    assert_eq!(client.list_duplicate_groups(far).await.unwrap_err().code(), Code::InvalidArgument);
    let unspecified = ask(proto::DuplicateKind::Unspecified);
    assert_eq!(client.list_duplicate_groups(unspecified).await.unwrap_err().code(), Code::InvalidArgument);

    let listed = world.resemble(["duplicates", "--json"]);
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
    let line: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((line["kind"].as_str(), line["photos"].as_array().unwrap().len()), (Some("near"), 2));
    let copies = String::from_utf8(world.resemble(["duplicates", "exact"]).stdout).unwrap();
    assert_eq!(copies.lines().count(), 2, "{copies}");

    let apart = ["duplicates", "--not-same", "photos/1.png", "photos/1 retouched.png"];
    assert_eq!(world.resemble(apart).status.code(), Some(0));
    assert_eq!(world.resemble(["duplicates"]).status.code(), Some(1));
    daemon.stop(&world).await;
    let daemon = start_with_bands(&world).await;
    daemon.wait_for_files(6).await;
    assert!(near(&daemon).await.is_empty(), "a restart does not forget");
    let undo = [&apart[..], &["--undo"]].concat();
    assert_eq!(world.resemble(undo).status.code(), Some(0));
    assert_eq!(near(&daemon).await, [pair]);
}

async fn a_burst_is_near_in_time_too(world: World) {
    let shot = |taken: &'static str| Facts { taken, ..ALPS };
    let daemon = start_with_bands(&world).await;
    let mut indexed = 0;
    for (name, taken) in [
        ("a", "2023:08:01 10:00:00"),
        ("b", "2023:08:01 10:00:08"),
        ("c", "2023:08:01 10:00:16"),
        ("d", "2023:08:01 10:00:24"),
    ] {
        pictures::write_with(&world.photo(format!("{name}.png")), 1, &shot(taken));
        // Which photos make a group follows from the order in which they came.
        indexed += 1;
        daemon.wait_for_files(indexed).await;
    }
    pictures::write(&world.photo("without a time.png"), 1);
    daemon.wait_for_files(5).await;
    let ask = |max_seconds| proto::ListDuplicateGroupsRequest {
        kind: proto::DuplicateKind::Burst.into(),
        max_seconds,
        ..Default::default()
    };
    let within_ten = groups(&daemon, ask(0)).await;
    assert_eq!(within_ten.len(), 1);
    let middle = within_ten[0][0].file_name().unwrap().to_str().unwrap();
    assert!(
        within_ten[0].len() == 3 && ["b.png", "c.png"].contains(&middle),
        "one is 16 seconds away: {within_ten:?}"
    );
    assert_eq!(groups(&daemon, ask(16)).await[0].len(), 4);
    assert!(groups(&daemon, ask(7)).await.is_empty());
}

/// Programs that edit photos keep the time and lose its offset from UTC. An edited shot was hours away from its burst then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_shot_that_lost_its_offset_stays_in_its_burst() {
    let world = World::new();
    for (name, taken, offset) in [
        ("a", "2023:08:01 10:00:00", Some("+02:00")),
        ("b", "2023:08:01 10:00:02", Some("+02:00")),
        ("b edited", "2023:08:01 10:00:02", None),
        // Half a minute later by the clock, and in another zone.
        ("elsewhere", "2023:08:01 10:00:30", Some("+01:00")),
    ] {
        let facts = Facts { taken, offset, ..ALPS };
        pictures::write_with(&world.photo(format!("{name}.png")), 1, &facts);
    }
    let daemon = start_with_bands(&world).await;
    daemon.wait_for_files(4).await;
    let burst =
        proto::ListDuplicateGroupsRequest { kind: proto::DuplicateKind::Burst.into(), ..Default::default() };
    let mut found = groups(&daemon, burst).await;
    found.iter_mut().for_each(|group| group.sort());
    let expected: Vec<PathBuf> =
        ["a", "b edited", "b"].iter().map(|name| world.photo(format!("{name}.png"))).collect();
    assert_eq!(found, [expected]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_bands_near_photos_are_refused_in_plain_words() {
    let world = World::new();
    pictures::write(&world.photo("a.png"), 1);
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/builtin");
    fs::copy(built_in.join("encoder.onnx"), world.path("bare.onnx")).unwrap();
    let manifest = fs::read_to_string(built_in.join("manifest.toml")).unwrap();
    let bare: Vec<&str> = manifest
        .lines()
        .take_while(|line| !line.starts_with("[bands") && !line.starts_with("[[source"))
        .collect();
    fs::write(world.path("bare.toml"), bare.join("\n")).unwrap();
    let model = world.path("bare.onnx");
    let daemon = world.start_with(&["--model".as_ref(), model.as_os_str(), world.photos().as_os_str()]).await;
    daemon.wait_for_files(1).await;
    let near = world.resemble(["duplicates"]);
    assert_eq!(near.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&near.stderr).contains("no bands"), "{near:?}");
    assert_eq!(world.resemble(["duplicates", "exact"]).status.code(), Some(1));
}

/// Of so many photos, an answer of three is chosen from candidates; fewer would all be compared with full vectors. Without
/// `exact` a neighbor may be missed, but never the photo itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_library_of_codes_answers_as_exactly_as_it_is_asked_to() {
    const PHOTOS: u32 = 200;
    let world = World::with_max_full_vectors(150);
    for seed in 0..PHOTOS {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    let daemon = world.start().await;
    // On a busy machine, all of them may take longer than the deadline of one wait.
    for some in (0..PHOTOS).step_by(20) {
        daemon.wait_for("some more files", |status| status.files >= u64::from(some)).await;
    }
    let status = daemon.wait_for_files(PHOTOS.into()).await;
    assert!(status.search.unwrap().sketched);
    let answers = async |daemon: &Daemon, exact: bool| {
        let mut answers = Vec::new();
        for seed in (0..PHOTOS + 60).step_by(20) {
            let asked = proto::SearchPhotosRequest { k: 3, exact, ..request(image(seed)) };
            let found = daemon.search().search_photos(asked).await.unwrap().into_inner().matches;
            assert!(found.is_sorted_by(|a, b| a.distance <= b.distance));
            answers
                .push(found.iter().map(|found| path_of(found.photo.as_ref().unwrap())).collect::<Vec<_>>());
        }
        answers
    };
    let exact = answers(&daemon, true).await;
    assert_most_are_found(&answers(&daemon, false).await, &exact);
    assert!((0..PHOTOS / 20).all(|n| exact[n as usize][0] == world.photo(format!("{}.png", n * 20))));

    // Photos come and go.
    fs::remove_file(world.photo("20.png")).unwrap();
    pictures::write(&world.photo("new.png"), PHOTOS + 20);
    daemon.wait_for("both changes", |status| status.files_indexed > u64::from(PHOTOS)).await;
    daemon.wait_for_files(PHOTOS.into()).await;
    let changed = answers(&daemon, true).await;
    assert_most_are_found(&answers(&daemon, false).await, &changed);
    assert_ne!(changed[1][0], world.photo("20.png"));
    assert_eq!(changed[PHOTOS as usize / 20 + 1][0], world.photo("new.png"));
    daemon.stop(&world).await;

    // A start takes codes from the store, and encodes no photo again.
    let daemon = world.start().await;
    let status = daemon.wait_for_files(PHOTOS.into()).await;
    assert!(status.search.unwrap().sketched);
    assert_eq!(status.photos_encoded, 0);
    assert_eq!(answers(&daemon, true).await, changed);
    assert_most_are_found(&answers(&daemon, false).await, &changed);
}

/// Of the exact answers, the first of each is found, and nine in ten of all.
fn assert_most_are_found(found: &[Vec<PathBuf>], exact: &[Vec<PathBuf>]) {
    let pairs = || found.iter().zip(exact);
    assert!(pairs().all(|(found, exact)| found.len() == exact.len() && found[0] == exact[0]), "{found:?}");
    let hits = pairs().flat_map(|(found, exact)| exact.iter().filter(|path| found.contains(path))).count();
    let all = exact.iter().map(Vec::len).sum::<usize>();
    assert!(hits * 10 >= all * 9, "{hits} of {all}: {found:?} instead of {exact:?}");
}
