//! What a call asks for: conditions as the command line has them, and pictures by name.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::{Context, anyhow, ensure};
use resembled_api::proto;
use resembled_api::proto::example;
use resembled_api::uri;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::filter::{self, FilterArgs};
use crate::{output, search};

/// Reads what a tool takes. What is null was left out.
///
/// # Errors
/// Another name or type; says which.
pub(super) fn read<T: DeserializeOwned>(mut arguments: Map<String, Value>) -> anyhow::Result<T> {
    arguments.retain(|_, value| !value.is_null());
    serde_json::from_value(Value::Object(arguments)).map_err(|error| anyhow!("the arguments: {error}"))
}

/// Only some photos.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FilterAsked {
    since: Option<String>,
    before: Option<String>,
    undated: bool,
    folders: Vec<String>,
    cameras: Vec<String>,
    types: Vec<String>,
    around: Option<Around>,
    within: Option<Within>,
    online: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Around {
    latitude: f64,
    longitude: f64,
    kilometres: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Within {
    south: f64,
    west: f64,
    north: f64,
    east: f64,
}

impl FilterAsked {
    /// Takes the conditions out of a tool's arguments.
    ///
    /// # Errors
    /// One of them is of another type.
    pub(super) fn take(arguments: &mut Map<String, Value>) -> anyhow::Result<Self> {
        const NAMES: [&str; 9] =
            ["since", "before", "undated", "folders", "cameras", "types", "around", "within", "online"];
        let taken = NAMES.iter().filter_map(|&name| arguments.remove_entry(name));
        read(taken.collect())
    }

    /// # Errors
    /// A time, a type or a place that there is not.
    pub(super) fn to_args(&self) -> anyhow::Result<FilterArgs> {
        let time = |text: &Option<String>, name: &str| {
            let time = text.as_deref().map(filter::parse_time).transpose();
            time.map_err(|why| anyhow!("{name}: {why}"))
        };
        let types = self.types.iter().map(|name| filter::media_types(name));
        let types = types.collect::<Result<_, _>>().map_err(|why| anyhow!("types: {why}"))?;
        ensure!(self.around.is_none() || self.within.is_none(), "around and within do not go together");
        Ok(FilterArgs {
            lens: Vec::new(),
            folder: self.folders.iter().map(|folder| path(folder)).collect::<anyhow::Result<_>>()?,
            since: time(&self.since, "since")?,
            before: time(&self.before, "before")?,
            undated: self.undated,
            camera: self.cameras.clone(),
            around: self.around.as_ref().map(|around| proto::PlaceCircle {
                centre: Some(proto::Position {
                    latitude: around.latitude,
                    longitude: around.longitude,
                    altitude_metres: None,
                }),
                radius_metres: 1_000.0 * around.kilometres,
            }),
            within: self.within.as_ref().map(|&Within { south, west, north, east }| proto::PlaceBox {
                south,
                west,
                north,
                east,
            }),
            media_type: types,
            online: self.online == Some(true),
            offline: self.online == Some(false),
        })
    }
}

/// A picture, as an assistant names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// A photo of the index, by its content.
    Photo(String),
    File(PathBuf),
}

impl Named {
    /// # Errors
    /// It is no name.
    pub(super) fn of(text: &str) -> anyhow::Result<Self> {
        let content = text.strip_prefix("photos/").unwrap_or(text);
        let is_content = content.len() == 64 && content.bytes().all(|byte| byte.is_ascii_hexdigit());
        Ok(match is_content {
            true => Self::Photo(format!("photos/{}", content.to_ascii_lowercase())),
            false => Self::File(path(text)?),
        })
    }

    /// Returns the example for it. A file that is not there may be one of the index, on a drive that is away. It is read
    /// beside what else is answered.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) async fn example(self, weight: f32) -> anyhow::Result<proto::Example> {
        let indexed = move |query| proto::Example { query: Some(query), weight: Some(weight) };
        match self {
            Self::Photo(name) => Ok(indexed(example::Query::Photo(name))),
            Self::File(file) => {
                let read = tokio::task::spawn_blocking(move || match file.exists() {
                    true => search::example(&file, weight),
                    false => Ok(indexed(example::Query::IndexedPath(file.as_os_str().as_bytes().to_vec()))),
                });
                read.await.context("the picture's reader ended")?
            }
        }
    }
}

/// Reads a path: absolute, below `~`, or as a URI.
fn path(text: &str) -> anyhow::Result<PathBuf> {
    if text.starts_with("file:") {
        let bytes = uri::to_path(text).map_err(|error| anyhow!("{text}: {error}"))?;
        return Ok(output::path(&bytes));
    }
    let path = match text.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        Some(rest) => {
            let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
            let home = home.context("~ stands for nothing: HOME is not set")?;
            PathBuf::from(home).join(rest.trim_start_matches('/'))
        }
        None => PathBuf::from(text),
    };
    ensure!(path.is_absolute(), "{text}: write the absolute path of a file, or the `content` of a photo");
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_picture_is_named_by_its_content_its_path_or_its_uri() {
        let hash = "0a".repeat(32);
        for text in [hash.clone(), format!("photos/{hash}"), hash.to_uppercase()] {
            assert_eq!(Named::of(&text).unwrap(), Named::Photo(format!("photos/{hash}")), "{text}");
        }
        assert_eq!(Named::of("/p/a.jpg").unwrap(), Named::File("/p/a.jpg".into()));
        assert_eq!(Named::of("file:///p/a%20b.jpg").unwrap(), Named::File("/p/a b.jpg".into()));
        let home = PathBuf::from(std::env::var_os("HOME").unwrap());
        assert_eq!(Named::of("~/a.jpg").unwrap(), Named::File(home.join("a.jpg")));
        for wrong in ["", "a.jpg", "0a0a", "file://elsewhere/a.jpg", "~somebody/a.jpg"] {
            assert!(Named::of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn conditions_are_those_of_the_command_line() {
        let args = |value: Value| {
            let mut arguments = value.as_object().unwrap().clone();
            FilterAsked::take(&mut arguments)?.to_args()
        };
        let all = args(json!({
            "since": "1970-02", "cameras": ["fuji"], "types": ["jpg"], "online": false, "before": null,
            "around": { "latitude": 48.85, "longitude": 2.35, "kilometres": 0.5 },
        }));
        let filter = filter::filter(&all.unwrap()).unwrap().unwrap();
        assert_eq!(filter.taken_from.map(|time| time.seconds), Some(31 * 86_400));
        assert_eq!((filter.taken_before, filter.online), (None, Some(false)));
        assert!(
            matches!(filter.place, Some(proto::filter::Place::Circle(circle)) if circle.radius_metres == 500.0)
        );
        for (wrong, says) in [
            (json!({ "since": "soon" }), "since: write 2024"),
            (json!({ "types": ["docx"] }), "types: there are jpeg"),
            (json!({ "since": 2024 }), "string"),
            (json!({ "around": { "latitude": 1 } }), "longitude"),
            (json!({ "folders": ["Pictures"] }), "absolute path"),
        ] {
            let error = args(wrong.clone()).unwrap_err().to_string();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }
}
