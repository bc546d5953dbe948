//! Filters as they are typed, and as the daemon wants them.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;
use jiff::civil::DateTime;
use prost_types::Timestamp;
use resembled_api::proto;

use crate::output;

/// Only some photos.
#[derive(Debug, Args)]
#[command(next_help_heading = "Only photos that are")]
pub(crate) struct FilterArgs {
    /// in this folder or below; may be given several times
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Vec<PathBuf>,

    /// taken on this day or later: 2024-12-31, or with a time: 2024-12-31T18:00:00
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) since: Option<i64>,

    /// taken before this day or time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) before: Option<i64>,

    /// taken with a camera whose name contains this; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) camera: Vec<String>,

    /// taken around here: degrees north, degrees east, metres
    #[arg(long, value_name = "LAT,LON,METRES", value_parser = parse_circle, allow_hyphen_values = true)]
    pub(crate) around: Option<proto::PlaceCircle>,

    /// taken between two latitudes and two longitudes, in degrees
    #[arg(long, value_name = "SOUTH,WEST,NORTH,EAST", value_parser = parse_box, allow_hyphen_values = true, conflicts_with = "around")]
    pub(crate) within: Option<proto::PlaceBox>,

    /// of this type: jpeg, png, heif, image/tiff, ...; may be given several times
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) media_type: Vec<String>,

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
        taken_from: time(args.since),
        taken_before: time(args.before),
        cameras: args.camera.clone(),
        place,
        media_types: args.media_type.iter().map(|name| media_type(name)).collect(),
        online: if args.online { Some(true) } else { args.offline.then_some(false) },
    };
    Ok((filter != proto::Filter::default()).then_some(filter))
}

fn media_type(name: &str) -> String {
    match name.to_lowercase().as_str() {
        "jpg" => "image/jpeg".to_owned(),
        "tif" => "image/tiff".to_owned(),
        "heic" => "image/heif".to_owned(),
        name if name.contains('/') => name.to_owned(),
        name => format!("image/{name}"),
    }
}

/// Reads a day or a time on the camera's clock.
fn parse_time(text: &str) -> Result<i64, String> {
    let time: DateTime =
        text.parse().map_err(|_| "not a day or time: write 2024-12-31 or 2024-12-31T18:00:00".to_owned())?;
    let since_1970 = time.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
    Ok(since_1970.as_secs())
}

/// Reads a point and a distance.
fn parse_circle(text: &str) -> Result<proto::PlaceCircle, String> {
    let [latitude, longitude, radius_metres] = numbers(text)?;
    Ok(proto::PlaceCircle { centre: Some(proto::Position { latitude, longitude }), radius_metres })
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
    fn days_and_times_are_seconds_since_1970() {
        assert_eq!(parse_time("1970-01-02"), Ok(86_400));
        assert_eq!(parse_time("1969-12-31T23:59:50"), Ok(-10));
        assert!(parse_time("yesterday").is_err());
    }

    #[test]
    fn places_are_numbers_with_commas_between() {
        let circle = parse_circle("48.85, 2.35,500").unwrap();
        assert_eq!((circle.centre.unwrap().longitude, circle.radius_metres), (2.35, 500.0));
        assert_eq!(parse_box("-10,170,10,-170").unwrap().east, -170.0);
        assert!(parse_box("1,2,3").is_err() && parse_circle("a,b,c").is_err());
    }

    #[test]
    fn types_are_known_by_their_short_names() {
        assert_eq!(media_type("JPG"), "image/jpeg");
        assert_eq!(media_type("png"), "image/png");
        assert_eq!(media_type("image/x-canon-cr2"), "image/x-canon-cr2");
    }
}
