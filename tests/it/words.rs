//! Words, with a classifier that tells red, green and blue photos apart: strawberry, cucumber, jay.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Instant;

use image::{Rgb, RgbImage};
use prost::Message;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value as Dim};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType, type_proto,
};

use crate::pictures::{self, Facts};
use crate::world::{DEADLINE, World};

const LABELS: usize = 1000;
/// Labels of ImageNet: strawberry, cucumber, jay.
const COLOURED: [usize; 3] = [949, 943, 17];

pub fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |&dim: &i64| Dimension { denotation: String::new(), value: Some(Dim::DimValue(dim)) };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
    let tensor = TypeProto { denotation: String::new(), value: Some(type_proto::Value::TensorType(tensor)) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(tensor), doc_string: String::new() }
}

pub fn node(op: &str, input: &[&str], output: &str, integer: Option<(&str, i64)>) -> NodeProto {
    let attribute = integer.map(|(name, i)| AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i,
        ..AttributeProto::default()
    });
    NodeProto {
        op_type: op.to_owned(),
        input: input.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute: attribute.into_iter().collect(),
        ..NodeProto::default()
    }
}

/// The mean colour, and a classifier of it. What is half of one colour and half of another is both, half as likely; a grey
/// photo looks like each label a little.
fn classifier() -> Vec<u8> {
    let mut weights = vec![0.0_f32; 3 * LABELS];
    for (colour, label) in COLOURED.into_iter().enumerate() {
        weights[3 * label..3 * label + 3].fill(-22.0);
        weights[3 * label + colour] = 40.0;
    }
    let graph = GraphProto {
        name: "colours".to_owned(),
        node: vec![
            node("GlobalAveragePool", &["photo"], "mean", None),
            node("Flatten", &["mean"], "features", Some(("axis", 1))),
            node("Gemm", &["features", "weights"], "labels", Some(("transB", 1))),
        ],
        initializer: vec![TensorProto {
            name: "weights".to_owned(),
            data_type: DataType::Float as i32,
            dims: vec![LABELS as i64, 3],
            raw_data: weights.iter().flat_map(|weight| weight.to_le_bytes()).collect(),
            ..TensorProto::default()
        }],
        input: vec![value("photo", &[1, 3, 8, 8])],
        output: vec![value("labels", &[1, LABELS as i64])],
        ..GraphProto::default()
    };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 13 }];
    ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..ModelProto::default() }.encode_to_vec()
}

/// Installs it as the network `colours`.
pub fn install(world: &World) {
    let folder = world.path("config/resembled/models");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("colours.onnx"), classifier()).unwrap();
    let manifest = "name = \"colours\"\ntitle = \"mean colours\"\nlicence = \"MIT\"\ndim = 3\nmetric = \"cosine\"\n\
        labels = \"imagenet_1k\"\n[preprocessing]\nresize_short_side = 8\ncrop = 8\nmean = [0.0, 0.0, 0.0]\n\
        std = [1.0, 1.0, 1.0]\n[[source]]\nfile = \"colours.onnx\"\n";
    fs::write(folder.join("colours.toml"), manifest).unwrap();
}

/// Writes a photo of one colour.
pub fn photo(world: &World, name: &str, colour: [u8; 3]) {
    RgbImage::from_pixel(32, 24, Rgb(colour)).save(world.photo(name)).unwrap();
}

pub fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Searches until the photos that were just indexed have been looked at for words too.
fn search_until(world: &World, args: &[&str], holds: impl Fn(&str) -> bool) -> Output {
    let begun = Instant::now();
    loop {
        let output = world.resemble(args);
        if holds(&text(&output).0) {
            return output;
        }
        assert!(begun.elapsed() < DEADLINE, "{output:?}\n{}", world.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_finds_the_photos_that_show_it() {
    let world = World::new();
    install(&world);
    photo(&world, "red.png", [250, 5, 5]);
    photo(&world, "dark-red.png", [200, 10, 10]);
    photo(&world, "green.png", [5, 250, 5]);
    photo(&world, "grey.png", [128, 128, 128]);
    let photos = world.photos();
    let arguments = ["--model".as_ref(), "colours".as_ref(), photos.as_os_str()];
    let daemon = world.start_with(&arguments).await;
    daemon.wait_for_files(4).await;

    let both = |out: &str| out.contains("/red.png") && out.contains("dark-red.png");
    let found = search_until(&world, &["search", "Strawberries"], both);
    let (out, told) = text(&found);
    assert_eq!(found.status.code(), Some(0));
    assert!(!out.contains("green") && !out.contains("grey"), "{out}");
    assert!(out.contains("strawberry"), "each says which label spoke: {out}");
    assert!(told.contains("2 of 4 photos show strawberry\n  strawberry: "), "{told}");
    // What stands above it finds it too, beside other kinds of the same.
    let (out, _) = text(&search_until(&world, &["search", "fruit"], both));
    assert!(!out.contains("grey.png"), "{out}");
    search_until(&world, &["search", "vegetable"], |out| out.contains("green.png"));

    let nothing = world.resemble(["search", "jay"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(text(&nothing).1.contains("none of 4 photos shows jay\n"), "{nothing:?}");
    let filtered = world.resemble(["search", "strawberry", "--type", "image/jpeg"]);
    assert!(text(&filtered).1.contains("none of 0 photos"), "{filtered:?}");

    // Honest about what it does not know.
    let unknown = world.resemble(["search", "strawbery"]);
    assert_eq!(unknown.status.code(), Some(2));
    let (_, told) = text(&unknown);
    assert!(told.contains("there is no file strawbery here"), "{told}");
    assert!(told.contains("not among the 3212 words") && told.contains("alike: strawberry"), "{told}");
    let (_, told) = text(&world.resemble(["search", "strawberry, please"]));
    assert!(told.contains("\"please\" is not among"), "only what is not known is said: {told}");

    let sheet = world.resemble(["search", "strawberry", "--html", "sheet.html"]);
    assert_eq!(sheet.status.code(), Some(0), "{sheet:?}");
    let sheet = fs::read_to_string(world.path("sheet.html")).unwrap();
    assert!(sheet.contains("1.00 strawberry"), "the label stands below the photo");

    // A file is the file, unless it is said that it is a word.
    fs::copy(world.photo("green.png"), world.path("jay")).unwrap();
    let (out, _) = text(&world.resemble(["search", "jay", "-k", "1"]));
    assert!(out.contains("green.png"), "{out}");
    let worded = world.resemble(["search", "jay", "--text"]);
    assert_eq!(worded.status.code(), Some(1));
    let filed = text(&world.resemble(["search", "jay"])).1;
    assert!(filed.contains("jay is a file here; with --text"), "{filed}");
    // No folder is a picture.
    fs::create_dir(world.path("cucumber")).unwrap();
    assert!(text(&world.resemble(["search", "cucumber"])).0.contains("green.png"));

    let described = world.resemble(["describe", "photos/red.png", "--json"]);
    let first: serde_json::Value =
        serde_json::from_str(text(&described).0.lines().next().expect("a label")).unwrap();
    assert_eq!(first["label"], "strawberry");
    assert!(first["likelihood"].as_f64().unwrap() > 0.99);
    let (out, _) = text(&world.resemble(["words", "strawb"]));
    assert_eq!(out, "strawberry\n");

    // What is deleted is gone, and a later start knows the rest at once.
    fs::remove_file(world.photo("red.png")).unwrap();
    daemon.wait_for_files(3).await;
    search_until(&world, &["search", "strawberry"], |out| !out.contains("/red.png"));
    daemon.stop(&world).await;
    let daemon = world.start_with(&arguments).await;
    daemon.wait_for_files(3).await;
    search_until(&world, &["search", "strawberry"], |out| out.contains("dark-red.png"));
}

/// Half red and half green: both fruits, each half as likely.
fn two_fruits(world: &World, name: &str) {
    let colour = |x: u32| if x < 16 { Rgb([250, 5, 5]) } else { Rgb([5, 250, 5]) };
    RgbImage::from_fn(32, 24, |x, _| colour(x)).save(world.photo(name)).unwrap();
}

fn names(output: &Output) -> Vec<String> {
    let lines = text(output).0;
    let row = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let name = |row: serde_json::Value| {
        row["path"].as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default().to_owned()
    };
    lines.lines().map(|line| name(row(line))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_and_pictures_are_asked_for_together() {
    let world = World::new();
    install(&world);
    photo(&world, "red.png", [250, 5, 5]);
    photo(&world, "dark-red.png", [200, 10, 10]);
    photo(&world, "green.png", [5, 250, 5]);
    photo(&world, "blue.png", [5, 5, 250]);
    two_fruits(&world, "both.png");
    let photos = world.photos();
    let arguments = ["--model".as_ref(), "colours".as_ref(), photos.as_os_str()];
    let daemon = world.start_with(&arguments).await;
    daemon.wait_for_files(5).await;
    search_until(&world, &["search", "entity"], |out| out.lines().count() == 6);

    let found = |args: &[&str]| {
        let output = world.resemble(args.iter().chain(&["--json"]));
        assert!(output.status.code().is_some_and(|code| code < 2), "{args:?}: {output:?}");
        names(&output)
    };
    // All that show it come back, without a number; -k leaves some out.
    assert_eq!(found(&["search", "strawberry"]), ["red.png", "dark-red.png", "both.png"]);
    assert_eq!(found(&["search", "strawberry", "-k", "1"]), ["red.png"]);
    assert_eq!(found(&["search", "strawberry", "--max-distance", "0.2"]), ["red.png", "dark-red.png"]);
    assert_eq!(found(&["search", "strawberry", "and", "cucumbers"]), ["both.png"]);
    assert_eq!(found(&["search", "strawberry or jay"]).len(), 4);
    assert_eq!(found(&["search", "strawberry", "without", "cucumber"]), ["red.png", "dark-red.png"]);
    assert_eq!(found(&["search", "strawberry", "--unlike", "cucumber"]), ["red.png", "dark-red.png"]);
    assert_eq!(found(&["search", "strawberry", "--like", "cucumber"]), ["both.png"]);
    assert!(found(&["search", "strawberry", "--like", "jay"]).is_empty());

    // Words are conditions beside pictures, which decide the order.
    let green = "photos/green.png";
    assert_eq!(found(&["search", green, "--like", "strawberry", "-k", "2"])[0], "both.png");
    let without = found(&["search", green, "--unlike", "strawberry", "--unlike", "jay"]);
    assert_eq!(without, ["green.png"]);
    assert_eq!(found(&["search", "strawberry", "--like", green])[0], "both.png");
    let output = world.resemble(["search", green, "--like", "strawberry"]);
    assert!(text(&output).1.contains("3 of 5 photos show strawberry\n"), "{output:?}");
    assert!(text(&output).0.contains("distance"), "{output:?}");
    let speaks = world.resemble(["search", "strawberry", "--like", "vegetable", "--json"]);
    let row: serde_json::Value = serde_json::from_str(&text(&speaks).0).unwrap();
    assert_eq!(row["labels"], serde_json::json!(["strawberry", "cucumber"]));

    let told = text(&world.resemble(["search", "strawberry or jay and cucumber without daisy"])).1;
    assert!(told.contains("1 of 5 photos shows strawberry or jay and cucumber without daisy\n"), "{told}");

    for (args, problem) in [
        (&["search", "not", "strawberry"][..], "must say what photos show"),
        (&["search", "strawberry", "--unlike", "photos/green.png"], "examples"),
        (&["search", "strawberry", "photos/green.png"], "--like"),
        (&["search", "jay", "--unlike", "not strawberry"], "one thing"),
    ] {
        let refused = world.resemble(args);
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
        assert!(text(&refused).1.contains(problem), "{args:?}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn matches_come_by_date_within_the_cut_off() {
    let world = World::new();
    install(&world);
    // The redder, the likelier; the times go another way.
    photo(&world, "c.png", [52, 0, 0]);
    for (name, red, taken) in [
        ("a.png", 80, "2021:06:01 12:00:00"),
        ("b.png", 60, "2024:06:01 12:00:00"),
        ("d.png", 45, "2019:06:01 12:00:00"),
    ] {
        let facts = Facts { camera: "Box", taken, offset: None, position: (0.0, 0.0) };
        pictures::write_picture_with(
            &world.photo(name),
            &RgbImage::from_pixel(32, 24, Rgb([red, 0, 0])),
            &facts,
        );
    }
    photo(&world, "green.png", [5, 250, 5]);
    let photos = world.photos();
    let arguments = ["--model".as_ref(), "colours".as_ref(), photos.as_os_str()];
    let daemon = world.start_with(&arguments).await;
    daemon.wait_for_files(5).await;
    search_until(&world, &["search", "entity"], |out| out.lines().count() == 6);
    let found = |args: &[&str]| names(&world.resemble(args.iter().chain(&["--json"])));
    assert_eq!(found(&["search", "strawberry"]), ["a.png", "b.png", "c.png", "d.png"]);
    assert_eq!(found(&["search", "strawberry", "--by-date"]), ["b.png", "a.png", "d.png", "c.png"]);
    // The newest of all that show it, not the likeliest by date.
    assert_eq!(found(&["search", "strawberry", "--by-date", "-k", "1"]), ["b.png"]);
    let near = ["search", "photos/a.png", "--max-distance", "0.1", "--by-date", "-k", "2"];
    assert_eq!(found(&near), ["b.png", "a.png"]);
    let (table, _) = text(&world.resemble(["search", "strawberry", "--by-date"]));
    assert!(table.contains("2024-06-01"), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_without_words_says_how_to_get_one() {
    let world = World::new();
    install(&world);
    let manifest = world.path("config/resembled/models/colours.toml");
    let described = fs::read_to_string(&manifest).unwrap().replace("labels = \"imagenet_1k\"\n", "");
    fs::write(&manifest, described).unwrap();
    let photos = world.photos();
    let daemon = world.start_with(&["--model".as_ref(), "colours".as_ref(), photos.as_os_str()]).await;
    daemon.wait_for_files(0).await;
    for arguments in [&["search", "dog"][..], &["words"], &["describe", "photos/x.png"]] {
        if arguments[0] == "describe" {
            photo(&world, "x.png", [1, 2, 3]);
        }
        let refused = world.resemble(arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        let (_, told) = text(&refused);
        assert!(told.contains("knows no words") && told.contains("resembled models pull"), "{told}");
    }
}

/// The network in the executable is too small to tell breeds, and tells what stands above them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_built_in_network_knows_broad_words_and_says_how_to_get_more() {
    let world = World::new();
    let classes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/photos/classes");
    let kinds = ["airplanes", "dog", "pizza"];
    let mut files = 0;
    for kind in kinds.iter().filter(|kind| classes.join(kind).is_dir()) {
        for entry in fs::read_dir(classes.join(kind)).unwrap().take(8) {
            files += 1;
            fs::copy(entry.unwrap().path(), world.photo(format!("{kind} {files}.jpg"))).unwrap();
        }
    }
    let daemon = world.start().await;
    daemon.wait_for_files(files).await;
    let (out, _) = text(&world.resemble(["words"]));
    let has = |word: &str| out.lines().any(|line| line == word);
    assert!(has("dog") && has("vehicle") && !has("dalmatian") && out.lines().count() < 400, "{out}");
    let unknown = world.resemble(["search", "dalmatian"]);
    assert_eq!(unknown.status.code(), Some(2));
    let (_, told) = text(&unknown);
    assert!(told.contains("the nearest kind of thing is: dog"), "{told}");
    assert!(told.contains("`resembled models pull` gets a network that knows 3212"), "{told}");
    if files == 0 {
        eprintln!("skipped: no photos in {}", classes.display());
        return;
    }
    for (word, kind) in [("vehicle", "airplanes"), ("dogs", "dog"), ("food", "pizza")] {
        let found = search_until(&world, &["search", word, "-k", "3", "--json"], |out| {
            out.lines().filter(|line| line.contains(&format!("/{kind} "))).count() == 3
        });
        assert_eq!(found.status.code(), Some(0), "{word}");
    }
    // Embeddings are enough to know it at the next start, and so is a drive that is away.
    daemon.stop(&world).await;
    fs::rename(world.photos(), world.path("away")).unwrap();
    let daemon = world.start().await;
    daemon.wait_for_rest().await;
    search_until(&world, &["search", "vehicle", "-k", "3"], |out| out.matches("/airplanes ").count() == 3);
}
