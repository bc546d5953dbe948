//! The library without a query: lists in an order, counts, duplicates of a part of it; and paths written as text.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use resembled::proto;
use resembled::proto::duplicate_service_client::DuplicateServiceClient;
use resembled::proto::search_photos_request::Query;
use resembled_api::uri;
use tonic::Code;

use crate::pictures::{self, Facts};
use crate::world::{Daemon, World};

/// Four photos of three times and two cameras.
async fn start(world: &World) -> Daemon {
    let facts = |camera, taken| Facts { camera, taken, offset: None, position: (0.0, 0.0) };
    let write = |name: &str, seed, facts: &Facts| pictures::write_with(&world.photo(name), seed, facts);
    write("alps/2019.png", 1, &facts("Kamera Eins", "2019:12:31 23:00:00"));
    write("alps/2024.png", 2, &facts("Kamera Eins", "2024:06:01 12:00:00"));
    write("hut/2021.png", 3, &facts("Kamera Zwei", "2021:02:03 04:05:06"));
    pictures::write(&world.photo("hut/undated.png"), 4);
    let daemon = world.start().await;
    daemon.wait_for_files(4).await;
    daemon
}

/// Lists by pages of that size; returns the names of the files in their order.
async fn list(daemon: &Daemon, request: proto::ListPhotosRequest) -> Vec<String> {
    let (mut names, mut request) = (Vec::new(), request);
    loop {
        let page = daemon.library().list_photos(request.clone()).await.unwrap().into_inner();
        for photo in &page.photos {
            let path = Path::new(OsStr::from_bytes(&photo.files[0].path)).to_path_buf();
            names.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
        }
        if page.next_page_token.is_empty() {
            assert_eq!(page.total_size, names.len() as u64);
            return names;
        }
        request.page_token = page.next_page_token;
    }
}

fn folder(path: &Path) -> Option<proto::Filter> {
    let folder_uris = vec![uri::of_path(path.as_os_str().as_bytes())];
    Some(proto::Filter { folder_uris, ..Default::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn photos_are_listed_by_time_or_by_name_and_by_a_filter() {
    let world = World::new();
    let daemon = start(&world).await;
    let by = |order_by: &str, filter, page_size| proto::ListPhotosRequest {
        page_size,
        order_by: order_by.to_owned(),
        filter,
        ..Default::default()
    };
    let newest = ["2024", "2021", "2019", "undated"];
    assert_eq!(list(&daemon, by("capture_time desc", None, 0)).await, newest);
    assert_eq!(list(&daemon, by("capture_time desc", None, 1)).await, newest);
    assert_eq!(list(&daemon, by("capture_time", None, 3)).await, ["2019", "2021", "2024", "undated"]);
    let alps = || folder(&world.photo("alps"));
    assert_eq!(list(&daemon, by("capture_time", alps(), 1)).await, ["2019", "2024"]);
    let mut by_name = list(&daemon, by("", alps(), 1)).await;
    by_name.sort();
    assert_eq!(by_name, ["2019", "2024"]);
    assert_eq!(list(&daemon, by("", None, 2)).await.len(), 4);
    assert!(list(&daemon, by("", folder(&world.photo("nowhere")), 0)).await.is_empty());

    let refused = daemon.library().list_photos(by("size", None, 0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let page = daemon.library().list_photos(by("capture_time", None, 1)).await.unwrap().into_inner();
    let other =
        proto::ListPhotosRequest { page_token: page.next_page_token, ..by("capture_time desc", None, 1) };
    assert_eq!(daemon.library().list_photos(other).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn photos_are_counted_by_what_they_have_in_common() {
    let world = World::new();
    let daemon = start(&world).await;
    let count = async |facet: proto::Facet, filter| {
        let request = proto::CountPhotosRequest { filter, facet: facet.into() };
        let counted = daemon.library().count_photos(request).await.unwrap().into_inner();
        let counts: Vec<(String, u64)> =
            counted.counts.into_iter().map(|counted| (counted.value, counted.photos)).collect();
        (counts, counted.total_size)
    };
    let check = async |facet, filter, expected: &[(&str, u64)], total| {
        let expected = expected.iter().map(|&(value, photos)| (value.to_owned(), photos)).collect();
        assert_eq!(count(facet, filter).await, (expected, total), "{facet:?}");
    };
    check(proto::Facet::Year, None, &[("2024", 1), ("2021", 1), ("2019", 1), ("", 1)], 4).await;
    let alps = folder(&world.photo("alps"));
    check(proto::Facet::Month, alps, &[("2024-06", 1), ("2019-12", 1)], 2).await;
    check(proto::Facet::Camera, None, &[("Kamera Eins", 2), ("Kamera Zwei", 1), ("", 1)], 4).await;
    check(proto::Facet::MediaType, None, &[("image/png", 4)], 4).await;
    let uris = ["alps", "hut"].map(|name| uri::of_path(world.photo(name).as_os_str().as_bytes()));
    check(proto::Facet::Folder, None, &[(&uris[0], 2), (&uris[1], 2)], 4).await;
    let none = daemon.library().count_photos(proto::CountPhotosRequest::default()).await.unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_come_and_go_as_text_whatever_their_bytes() {
    let world = World::new();
    let odd = world.photo(OsStr::from_bytes(b"\xff #%.png"));
    pictures::write(&odd, 1);
    fs::write(world.photo("bad.jpg"), "x").unwrap();
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    let of = |path: &Path| uri::of_path(path.as_os_str().as_bytes());

    let ask = async |query| {
        let request = proto::SearchPhotosRequest { query: Some(query), ..Default::default() };
        daemon.search().search_photos(request).await
    };
    let found = ask(Query::Uri(of(&odd))).await.unwrap().into_inner().matches;
    let file = &found[0].photo.as_ref().unwrap().files[0];
    assert_eq!((&file.uri, uri::to_path(&file.uri)), (&of(&odd), Ok(file.path.clone())));
    assert!(ask(Query::IndexedUri(of(&odd))).await.is_ok());
    assert_eq!(
        ask(Query::Uri("http://nas/a.jpg".to_owned())).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(daemon.failures().await[0].uri, of(&world.photo("bad.jpg")));

    fs::create_dir(world.path("more")).unwrap();
    let add = |path: &[u8], uri: String| proto::AddRootRequest { path: path.to_vec(), uri };
    let both = add(b"/tmp", of(&world.path("more")));
    assert_eq!(daemon.library().add_root(both).await.unwrap_err().code(), Code::InvalidArgument);
    let root = daemon.library().add_root(add(b"", of(&world.path("more")))).await.unwrap().into_inner();
    assert_eq!(uri::to_path(&root.uri), Ok(root.path));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_are_those_of_the_photos_that_pass() {
    let world = World::new();
    for name in ["a/1.png", "b/1.png", "b/1 again.png"] {
        pictures::write(&world.photo(name), 1);
    }
    for name in ["b/2.png", "b/2 again.png"] {
        pictures::write(&world.photo(name), 2);
    }
    let daemon = world.start().await;
    daemon.wait_for_files(5).await;
    let groups = async |filter| {
        let request = proto::ListDuplicateGroupsRequest {
            kind: proto::DuplicateKind::Exact.into(),
            filter,
            ..Default::default()
        };
        let mut client = DuplicateServiceClient::new(daemon.channel.clone());
        client.list_duplicate_groups(request).await.unwrap().into_inner().groups
    };
    assert_eq!(groups(None).await.len(), 2);
    let of_a = groups(folder(&world.photo("a"))).await;
    assert_eq!(of_a.len(), 1);
    assert_eq!(of_a[0].photos[0].files.len(), 3, "wherever the copies are");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shell_lists_counts_and_hands_paths_on() {
    let world = World::new();
    let daemon = start(&world).await;
    let years = world.resemble(["list", "--by", "year"]);
    let years: Vec<String> = text(&years.stdout).lines().map(|line| line.trim().to_owned()).collect();
    assert_eq!(years, ["1  2024", "1  2021", "1  2019", "1  not known"]);
    let newest = world.resemble(["list", "--by-date", "--limit", "1", "--since", "2020"]);
    let line = format!("2024-06-01 12:00:00  {}\n", world.photo("alps/2024.png").display());
    assert_eq!(text(&newest.stdout), line);
    let bytes = world.resemble(["list", "-0", "--camera", "eins", "--before", "2020"]).stdout;
    assert_eq!(bytes, [world.photo("alps/2019.png").as_os_str().as_bytes(), b"\0"].concat());

    let found = world.resemble(["search", "photos/hut/2021.png", "-k", "1", "--paths"]);
    assert_eq!(text(&found.stdout), format!("{}\n", world.photo("hut/2021.png").display()));
    let json = world.resemble(["list", "--json", "--before", "2020"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["taken"], "2019-12-31T23:00:00", "nobody knows the zone");

    let none = world.resemble(["list", "--camera", "fjui"]);
    assert_eq!(none.status.code(), Some(1));
    let told = "no camera is called `fjui`; there are Kamera Eins, Kamera Zwei\n";
    assert_eq!(text(&none.stderr), told);
    assert_eq!(world.resemble(["list", "--type", "docx"]).status.code(), Some(2));
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_of_the_duplicates_is_listed_and_goes_to_the_trash_on_the_users_word() {
    let world = World::new();
    for name in ["keep/1.png", "b/1.png", "c/1.png"] {
        pictures::write(&world.photo(name), 1);
    }
    for name in ["b/2.png", "b/2 again.png"] {
        pictures::write(&world.photo(name), 2);
    }
    let daemon = world.start().await;
    daemon.wait_for_files(5).await;
    let keep = world.photo("keep");
    let rule = ["duplicates", "exact", "--keep", keep.to_str().unwrap()];
    let rest = world.resemble(rule.into_iter().chain(["--rest", "--paths"]));
    let mut paths: Vec<PathBuf> = text(&rest.stdout).lines().map(PathBuf::from).collect();
    paths.sort();
    assert_eq!(
        paths,
        [world.photo("b/1.png"), world.photo("c/1.png")],
        "what has no copy in the folder stays"
    );
    assert!(
        text(&rest.stderr).starts_with("2 groups, 5 files; beyond those in the folder: 2 files"),
        "{rest:?}"
    );

    let unasked = world.resemble(rule.into_iter().chain(["--trash"]));
    assert_eq!(unasked.status.code(), Some(2), "nobody is there to say yes: {unasked:?}");
    assert!(world.photo("b/1.png").exists());

    let moved = world.resemble(rule.into_iter().chain(["--trash", "--yes"]));
    assert_eq!(moved.status.code(), Some(0), "{moved:?}");
    assert!(text(&moved.stdout).contains("2 files are in the trash"), "{moved:?}");
    for (name, stays) in [
        ("keep/1.png", true),
        ("b/1.png", false),
        ("c/1.png", false),
        ("b/2.png", true),
        ("b/2 again.png", true),
    ] {
        assert_eq!(world.photo(name).exists(), stays, "{name}");
    }
    let trashed = fs::read_dir(world.path("data/Trash/files")).unwrap().count();
    assert_eq!(trashed, 2);
    daemon.wait_for_files(3).await;
    let shown = world.resemble(["duplicates", "exact", "--html", "sheet.html"]);
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    let sheet = fs::read_to_string(world.path("sheet.html")).unwrap();
    assert_eq!((sheet.matches("<h2>").count(), sheet.matches("base64,").count()), (1, 2), "{sheet}");
    let near = world.resemble(["duplicates", "near", "--trash", "--yes"]);
    assert_eq!(near.status.code(), Some(2), "of near photos only a rule says which: {near:?}");
}
