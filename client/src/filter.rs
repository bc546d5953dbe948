//! Filters as they are typed, and as the daemon wants them.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use jiff::Zoned;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use prost_types::Timestamp;
use resembled_api::format::Format;
use resembled_api::proto;
use resembled_api::proto::library_service_client::LibraryServiceClient;

use crate::connect::{Connection, refused};
use crate::output;

/// Only some photos.
#[derive(Debug, Args)]
#[command(next_help_heading = "Only photos that are")]
pub(crate) struct FilterArgs {
    /// in this folder or below; may be given several times
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) folder: Vec<PathBuf>,

    /// taken then or later: 2024, 2024-06, 2024-06-30, yesterday, today, or with a time: 2024-06-30T18:00:00
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) since: Option<i64>,

    /// taken before that, written alike
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) before: Option<i64>,

    /// without a time at which they were taken
    #[arg(long, conflicts_with_all = ["since", "before"])]
    pub(crate) undated: bool,

    /// taken with a camera whose name contains this; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) camera: Vec<String>,

    /// taken with a lens whose name contains this; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) lens: Vec<String>,

    /// taken around here: degrees north, degrees east, and how far: 500, 500m, 30km
    #[arg(long, value_name = "LAT,LON,DISTANCE", value_parser = parse_circle, allow_hyphen_values = true)]
    pub(crate) around: Option<proto::PlaceCircle>,

    /// taken between two latitudes and two longitudes, in degrees
    #[arg(long, value_name = "SOUTH,WEST,NORTH,EAST", value_parser = parse_box, allow_hyphen_values = true, conflicts_with = "around")]
    pub(crate) within: Option<proto::PlaceBox>,

    /// of this type: jpeg, heic, nef, raw (all of a camera's), image/tiff, ...; may be given several times
    #[arg(long = "type", value_name = "TYPE", value_parser = media_types)]
    pub(crate) media_type: Vec<MediaTypes>,

    /// on a drive that is there
    #[arg(long, conflicts_with = "offline")]
    pub(crate) online: bool,

    /// on a drive that is away
    #[arg(long)]
    pub(crate) offline: bool,
}

/// Returns the filter that was asked for; `None` where everything passes.
pub(crate) fn filter(args: &FilterArgs) -> anyhow::Result<Option<proto::Filter>> {
    let time = |seconds: Option<i64>| seconds.map(|seconds| Timestamp { seconds, nanos: 0 });
    let folders = args.folder.iter().map(|folder| {
        let folder = output::absolute(folder)?;
        // The daemon knows its folders by their real names.
        let folder = folder.canonicalize().unwrap_or(folder);
        Ok(folder.as_os_str().as_bytes().to_vec())
    });
    let place = args.around.map(proto::filter::Place::Circle).or(args.within.map(proto::filter::Place::Box));
    let filter = proto::Filter {
        folders: folders.collect::<anyhow::Result<_>>()?,
        folder_uris: Vec::new(),
        taken_from: time(args.since),
        taken_before: time(args.before),
        cameras: args.camera.clone(),
        lenses: args.lens.clone(),
        photos: Vec::new(),
        place,
        media_types: args.media_type.iter().flat_map(MediaTypes::names).collect(),
        dated: args.undated.then_some(false),
        online: if args.online { Some(true) } else { args.offline.then_some(false) },
    };
    Ok((filter != proto::Filter::default()).then_some(filter))
}

/// The media types that a word stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MediaTypes(Vec<&'static str>);

impl MediaTypes {
    /// Returns their names, as photos have them.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|&name| name.to_owned())
    }
}

/// Reads the name of a format, one of its extensions, a media type, or `raw`.
pub(crate) fn media_types(text: &str) -> Result<MediaTypes, String> {
    let word = text.to_lowercase();
    let word = match word.as_str() {
        "jpg" => "jpeg",
        "tif" => "tiff",
        "heic" => "heif",
        "jp2" => "jpeg 2000",
        "psd" => "photoshop",
        word => word,
    };
    let is_meant = |format: &Format| {
        let name = format.media_type();
        let short = name.trim_start_matches("image/");
        format.name().eq_ignore_ascii_case(word)
            || name == word
            || short == word
            || (word == "raw" && format.is_raw())
    };
    let meant: Vec<&str> = Format::ALL.into_iter().filter(is_meant).map(Format::media_type).collect();
    if meant.is_empty() {
        let names = Format::ALL.map(|format| format.name().to_lowercase());
        return Err(format!("there are {}, and raw for all of a camera's", names.join(", ")));
    }
    Ok(MediaTypes(meant))
}

/// Where nothing met a filter, says what there is instead.
pub(crate) async fn say_what_there_is(
    client: LibraryServiceClient<Connection>,
    args: &FilterArgs,
) -> anyhow::Result<()> {
    what_there_is(client, args).await?.iter().for_each(|line| eprintln!("{line}"));
    Ok(())
}

/// Returns what there is instead of what was asked for, a line each: cameras with other names, folders that are watched.
pub(crate) async fn what_there_is(
    mut client: LibraryServiceClient<Connection>,
    args: &FilterArgs,
) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    if !args.camera.is_empty() {
        let request = proto::CountPhotosRequest { filter: None, facet: proto::Facet::Camera.into() };
        let counted = client.count_photos(request).await.map_err(refused)?.into_inner();
        let cameras: Vec<&str> = counted
            .counts
            .iter()
            .map(|counted| counted.value.as_str())
            .filter(|name| !name.is_empty())
            .collect();
        for asked in &args.camera {
            let word = asked.to_lowercase();
            if !cameras.iter().any(|camera| camera.to_lowercase().contains(&word)) {
                lines.push(no_camera(asked, &cameras));
            }
        }
    }
    if !args.folder.is_empty() {
        let roots = client.list_roots(proto::ListRootsRequest {}).await.map_err(refused)?.into_inner().roots;
        for asked in &args.folder {
            let folder = output::absolute(asked)?;
            let folder = folder.canonicalize().unwrap_or(folder);
            let is_watched = roots.iter().any(|root| {
                let root = output::path(&root.path);
                folder.starts_with(&root) || root.starts_with(&folder)
            });
            if !is_watched {
                let watched: Vec<String> = roots.iter().map(|root| output::shown(&root.path)).collect();
                lines.push(format!(
                    "{} is not in a watched folder; those are {}",
                    folder.display(),
                    watched.join(", ")
                ));
            }
        }
    }
    Ok(lines)
}

fn no_camera(asked: &str, cameras: &[&str]) -> String {
    const MOST: usize = 12;
    let more = if cameras.len() > MOST { ", ... (`resemble list --by camera`)" } else { "" };
    match cameras {
        [] => format!("no camera is called `{asked}`: no photo says with which it was taken"),
        _ => {
            let named = cameras[..cameras.len().min(MOST)].join(", ");
            format!("no camera is called `{asked}`; there are {named}{more}")
        }
    }
}

/// Reads a year, a month, a day or a time on the camera's clock.
pub(crate) fn parse_time(text: &str) -> Result<i64, String> {
    parse_time_on(text, Zoned::now().date())
}

fn parse_time_on(text: &str, today: Date) -> Result<i64, String> {
    let number =
        |text: &str| text.parse::<i16>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let start: Option<DateTime> = match text.split('-').collect::<Vec<_>>().as_slice() {
        ["today"] => Some(today.into()),
        ["yesterday"] => today.yesterday().ok().map(Into::into),
        [year] if year.len() == 4 => number(year).and_then(|year| Date::new(year, 1, 1).ok()).map(Into::into),
        [year, month] if year.len() == 4 => number(year)
            .zip(number(month))
            .and_then(|(year, month)| Date::new(year, i8::try_from(month).ok()?, 1).ok().map(Into::into)),
        _ => text.parse().ok(),
    };
    let time = start.ok_or("write 2024, 2024-06, 2024-06-30, 2024-06-30T18:00:00, yesterday or today")?;
    let time = time.to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
    Ok(time.timestamp().as_second())
}

/// Reads a point and a distance.
fn parse_circle(text: &str) -> Result<proto::PlaceCircle, String> {
    let (text, metres) = match text.trim_end().strip_suffix("km") {
        Some(text) => (text, 1_000.0),
        None => (text.trim_end().trim_end_matches('m'), 1.0),
    };
    let [latitude, longitude, radius] = numbers(text)?;
    let radius_metres = radius * metres;
    Ok(proto::PlaceCircle {
        centre: Some(proto::Position { latitude, longitude, altitude_metres: None }),
        radius_metres,
    })
}

/// Reads a box.
fn parse_box(text: &str) -> Result<proto::PlaceBox, String> {
    let [south, west, north, east] = numbers(text)?;
    Ok(proto::PlaceBox { south, west, north, east })
}

fn numbers<const N: usize>(text: &str) -> Result<[f64; N], String> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    numbers
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| format!("{N} numbers are needed, with commas between"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_months_days_and_times_are_seconds_since_1970() {
        let today = Date::new(1970, 3, 1).unwrap();
        let check = |text: &str, expected| assert_eq!(parse_time_on(text, today).ok(), expected, "{text}");
        check("1970-01-02", Some(86_400));
        check("1969-12-31T23:59:50", Some(-10));
        check("1971", Some(365 * 86_400));
        check("1970-02", Some(31 * 86_400));
        check("today", Some(59 * 86_400));
        check("yesterday", Some(58 * 86_400));
        for wrong in ["tomorrow?", "70", "+970", "1970-13", "1970-00", "1970-02-30", ""] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_camera_that_there_is_not_is_answered_with_those_that_there_are() {
        assert_eq!(
            no_camera("fjui", &["Fujifilm X-T3", "NIKON"]),
            "no camera is called `fjui`; there are Fujifilm X-T3, NIKON"
        );
        assert!(no_camera("x", &["a"; 20]).ends_with("(`resemble list --by camera`)"));
    }

    #[test]
    fn places_are_numbers_with_commas_between() {
        let circle = parse_circle("48.85, 2.35,500").unwrap();
        assert_eq!((circle.centre.unwrap().longitude, circle.radius_metres), (2.35, 500.0));
        assert_eq!(parse_circle("46,8,30km").unwrap().radius_metres, 30_000.0);
        assert_eq!(parse_circle("46,8,1.5 m").unwrap().radius_metres, 1.5);
        assert_eq!(parse_box("-10,170,10,-170").unwrap().east, -170.0);
        assert!(parse_box("1,2,3").is_err() && parse_circle("a,b,c").is_err());
    }

    #[test]
    fn types_are_known_by_their_short_names_and_impossible_ones_refused() {
        let check = |text: &str, expected: &[&'static str]| {
            assert_eq!(media_types(text), Ok(MediaTypes(expected.to_vec())), "{text}");
        };
        check("JPG", &["image/jpeg"]);
        check("png", &["image/png"]);
        check("heic", &["image/heif"]);
        check("nef", &["image/x-nikon-nef"]);
        check("image/x-canon-cr2", &["image/x-canon-cr2"]);
        check("jxl", &["image/jxl"]);
        let raw = media_types("raw").unwrap().0;
        assert!(raw.contains(&"image/x-adobe-dng") && !raw.contains(&"image/jpeg"), "{raw:?}");
        assert!(media_types("docx").unwrap_err().contains("jpeg"));
    }
}
