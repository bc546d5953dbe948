//! Filters against the plain meaning of their conditions.

use std::path::PathBuf;

use super::*;
use crate::decode::{Format, PhotoInfo, Position, Taken};
use crate::photo::{FileId, RelativePath, RootId};

const FOLDERS: [&str; 5] = ["", "a", "a/b", "ab", "c"];
const CAMERAS: [&str; 3] = ["Canon EOS 5D", "NIKON D70", "Éclair 3"];
const LENSES: [&str; 3] = ["50mm f/1.8", "Zoom 24-70mm", "Tele"];
const FORMATS: [Format; 3] = [Format::Jpeg, Format::Png, Format::WebP];

/// A photo: its number, its info, and its files.
type Photo = (u64, PhotoInfo, Vec<FileId>);

fn photo() -> impl Strategy<Value = Photo> {
    let taken = prop::option::of((0i64..50, prop::option::of(-2i16..3)));
    let position = prop::option::of((-4i32..=4, -6i32..=6));
    let files = prop::collection::vec((1u32..3, 0..FOLDERS.len()), 0..4);
    (0u64..9000, taken, prop::option::of(0..CAMERAS.len()), position, 0..FORMATS.len(), files).prop_map(
        |(number, taken, camera, position, format, files)| {
            let info = PhotoInfo {
                width: 1,
                height: 1,
                format: FORMATS[format],
                taken: taken.map(|(local_seconds, offset_minutes)| Taken {
                    local_seconds,
                    nanos: 0,
                    offset_minutes,
                }),
                camera: camera.map(|camera| CAMERAS[camera].to_owned()),
                lens: camera.map(|camera| LENSES[camera].to_owned()),
                position: position.map(|(latitude, longitude)| Position {
                    latitude: f64::from(latitude) * 20.0,
                    longitude: f64::from(longitude) * 30.0,
                    altitude: None,
                }),
                is_damaged: false,
            };
            let file = |(place, (root, folder)): (usize, (u32, usize))| {
                let path = PathBuf::from(FOLDERS[folder]).join(format!("{number} {place}.jpg"));
                FileId { root: RootId(root), path: RelativePath::from_bytes(path.to_str().unwrap().into()) }
            };
            (number, info, files.into_iter().enumerate().map(file).collect())
        },
    )
}

fn filter() -> impl Strategy<Value = Filter> {
    let folder = prop::sample::select(vec!["/one", "/one/a", "/one/a/b", "/two/c", "/", "/three", "/one/ab"]);
    let camera = prop::sample::select(vec!["canon", "D70", "éclair", "nobody"]);
    let media_type = prop::sample::select(vec!["image/jpeg", "image/png", "image/none"]);
    let area = (-4i32..=4, -6i32..=6, 0i32..5, -6i32..=6).prop_map(|(south, west, height, east)| Area::Box {
        south: f64::from(south) * 20.0,
        west: f64::from(west) * 30.0,
        north: f64::from(south + height) * 20.0,
        east: f64::from(east) * 30.0,
    });
    (
        prop::collection::vec(folder.prop_map(PathBuf::from), 0..3),
        prop::option::of(-200i64..200),
        prop::option::of(-200i64..200),
        prop::option::of(any::<bool>()),
        prop::collection::vec(camera.prop_map(str::to_owned), 0..3),
        prop::collection::vec(prop::sample::select(vec!["50MM", "zoom"]).prop_map(str::to_owned), 0..3),
        prop::option::of(area),
        prop::collection::vec(media_type.prop_map(str::to_owned), 0..3),
        prop::option::of(any::<bool>()),
    )
        .prop_map(
            |(folders, taken_from, taken_before, dated, cameras, lenses, area, media_types, online)| Filter {
                folders,
                taken_from,
                taken_before,
                dated,
                cameras,
                lenses,
                area,
                media_types,
                online,
            },
        )
}

fn roots() -> [RootLocation; 2] {
    [
        RootLocation {
            id: RootId(1),
            path: "/one".into(),
            online: true,
            // A drive in the folder `a` is away, and one in that is there.
            mounts: [("a", false), ("a/b", true)]
                .map(|(at, is_there)| (RelativePath::from_bytes(at.into()), is_there))
                .to_vec(),
        },
        RootLocation { id: RootId(2), path: "/two".into(), online: false, mounts: Vec::new() },
    ]
}

/// The meaning of a filter, condition by condition.
fn passes(filter: &Filter, (_, info, files): &Photo) -> bool {
    let seconds = info.taken.map(|t| t.local_seconds - i64::from(t.offset_minutes.unwrap_or(0)) * 60);
    let is_online = |file: &FileId| {
        let is_in = |folder: &str| file.path.as_path().starts_with(folder);
        file.root == RootId(1) && (is_in("a/b") || !is_in("a"))
    };
    let is_in_folder = |file: &FileId| {
        let path = file.path.under(&roots()[file.root.0 as usize - 1].path);
        filter.folders.is_empty() || filter.folders.iter().any(|folder| path.starts_with(folder))
    };
    let any =
        |names: &[String], is: &dyn Fn(&str) -> bool| names.is_empty() || names.iter().any(|name| is(name));
    !files.is_empty()
        && files.iter().any(|file| is_in_folder(file) && (filter.online != Some(true) || is_online(file)))
        && (filter.online != Some(false) || !files.iter().any(is_online))
        && filter.taken_from.is_none_or(|from| seconds.is_some_and(|seconds| seconds >= from))
        && filter.taken_before.is_none_or(|before| seconds.is_some_and(|seconds| seconds < before))
        && filter.dated.is_none_or(|dated| seconds.is_some() == dated)
        && any(&filter.media_types, &|name| info.format.media_type() == name)
        && any(&filter.cameras, &|name| {
            info.camera.as_ref().is_some_and(|camera| camera.to_lowercase().contains(&name.to_lowercase()))
        })
        && any(&filter.lenses, &|name| {
            info.lens.as_ref().is_some_and(|lens| lens.to_lowercase().contains(&name.to_lowercase()))
        })
        && filter.area.is_none_or(|area| {
            let Area::Box { south, west, north, east } = area else { unreachable!("only boxes are made") };
            info.position.is_some_and(|p| {
                let is_between = if west <= east {
                    west <= p.longitude && p.longitude <= east
                } else {
                    p.longitude >= west || p.longitude <= east
                };
                south <= p.latitude && p.latitude <= north && is_between
            })
        })
}

proptest! {
    #[test]
    fn a_filter_lets_pass_what_its_conditions_say(
        photos in prop::collection::vec(photo(), 0..60),
        filter in filter(),
    ) {
        let table = FactTable::default();
        let before = table.snapshot();
        let mut known = BTreeMap::new();
        for photo in photos {
            // A photo that comes twice has changed.
            table.change(|facts| facts.set(PhotoId(photo.0), &photo.1, &photo.2));
            known.insert(photo.0, photo);
        }
        let expected: Vec<u64> =
            known.values().filter(|photo| passes(&filter, photo)).map(|photo| photo.0).collect();
        let found = filter.photos(&table.snapshot(), &roots()).unwrap();
        prop_assert_eq!(found.iter().map(|id| id.0).collect::<Vec<_>>(), expected);
        prop_assert_eq!(filter.photos(&before, &roots()).unwrap().len(), 0, "a snapshot does not change");
    }
}

#[test]
fn a_circle_reaches_as_far_as_its_radius_over_the_pole_and_the_date_line() {
    let at = |latitude: f64, longitude: f64| PhotoInfo {
        width: 1,
        height: 1,
        format: Format::Jpeg,
        taken: None,
        camera: None,
        lens: None,
        position: Some(Position { latitude, longitude, altitude: None }),
        is_damaged: false,
    };
    let check = |centre: (f64, f64), point: (f64, f64), metres: f64| {
        let table = FactTable::default();
        let file = FileId { root: RootId(1), path: RelativePath::from_bytes(b"a.jpg".to_vec()) };
        table.change(|facts| facts.set(PhotoId(1), &at(point.0, point.1), std::slice::from_ref(&file)));
        for (radius, expected) in [(metres * 0.999, 0), (metres * 1.001, 1)] {
            let area = Some(Area::Circle { latitude: centre.0, longitude: centre.1, radius });
            let filter = Filter { area, ..Filter::default() };
            assert_eq!(
                filter.photos(&table.snapshot(), &roots()).unwrap().len(),
                expected,
                "{centre:?} {point:?}"
            );
        }
    };
    // A degree along a great circle is 111,195 m on this sphere.
    check((10.0, 20.0), (11.0, 20.0), 111_195.0);
    check((0.0, 179.5), (0.0, -179.5), 111_195.0);
    check((89.5, 0.0), (89.5, 180.0), 111_195.0);
}
