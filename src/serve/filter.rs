//! Filters of a request, checked and in the words of the search.

use prost_types::Timestamp;
use tonic::Status;

use super::{Api, convert, refuse};
use crate::photo::ContentHash;
use crate::proto;
use crate::search::{self, Area, Facts, PhotoSet, RootLocation, SearchError};
use crate::store::StoreError;
use crate::watch::RootState;

/// Entries of one list at the most.
const MAX_ENTRIES: usize = 1_000;

/// What a request asks of photos.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Filter {
    conditions: search::Filter,
    /// Those that are named; none where any will do.
    named: Vec<ContentHash>,
}

impl Filter {
    /// Returns the photos that pass; `None` where all do.
    pub(super) fn passing(&self, api: &Api, facts: &Facts) -> Result<Option<PhotoSet>, SearchError> {
        if *self == Self::default() { Ok(None) } else { self.photos(api, facts).map(Some) }
    }

    /// Returns the photos that pass, of those with a file.
    pub(super) fn photos(&self, api: &Api, facts: &Facts) -> Result<PhotoSet, SearchError> {
        let passing = self.conditions.photos(facts, &roots(api))?;
        if self.named.is_empty() {
            return Ok(passing);
        }
        let known = || -> Result<PhotoSet, StoreError> {
            let reader = api.store.read()?;
            let known = self.named.iter().filter_map(|&content| reader.photo_with(content).transpose());
            known.collect()
        };
        let mut named = known().map_err(|error| SearchError::Vectors(error.into()))?;
        named.keep_only(&passing);
        Ok(named)
    }
}

/// Reads a filter.
pub(super) fn parse(filter: &proto::Filter) -> Result<Filter, Status> {
    for (field, entries) in [
        ("filter.folders", filter.folders.len()),
        ("filter.folder_uris", filter.folder_uris.len()),
        ("filter.cameras", filter.cameras.len()),
        ("filter.lenses", filter.lenses.len()),
        ("filter.media_types", filter.media_types.len()),
        ("filter.photos", filter.photos.len()),
    ] {
        if entries > MAX_ENTRIES {
            return Err(refuse::field(field, format_args!("more than {MAX_ENTRIES} entries")));
        }
    }
    let folders = filter.folders.iter().map(|path| convert::parse_path("filter.folders", path));
    let uris = filter.folder_uris.iter().map(|uri| convert::parse_uri("filter.folder_uris", uri));
    let named = filter.photos.iter().map(|name| convert::parse_photo_name("filter.photos", name));
    let conditions = search::Filter {
        folders: folders.chain(uris).collect::<Result<_, _>>()?,
        taken_from: filter.taken_from.as_ref().map(first_second),
        taken_before: filter.taken_before.as_ref().map(first_second),
        dated: filter.dated,
        cameras: filter.cameras.clone(),
        lenses: filter.lenses.clone(),
        area: filter.place.as_ref().map(area).transpose()?,
        media_types: filter.media_types.clone(),
        online: filter.online,
    };
    Ok(Filter { conditions, named: named.collect::<Result<_, _>>()? })
}

/// Photos are filtered by whole seconds.
fn first_second(time: &Timestamp) -> i64 {
    time.seconds.saturating_add(i64::from(time.nanos > 0))
}

fn area(place: &proto::filter::Place) -> Result<Area, Status> {
    match place {
        proto::filter::Place::Box(place) => {
            let &proto::PlaceBox { south, west, north, east } = place;
            check("filter.box", south, 90.0)?;
            check("filter.box", north, 90.0)?;
            check("filter.box", west, 180.0)?;
            check("filter.box", east, 180.0)?;
            if south > north {
                return Err(refuse::field("filter.box", "south is north of north"));
            }
            Ok(Area::Box { south, west, north, east })
        }
        proto::filter::Place::Circle(circle) => {
            let centre = circle.centre.ok_or_else(|| refuse::field("filter.circle", "centre must be set"))?;
            check("filter.circle", centre.latitude, 90.0)?;
            check("filter.circle", centre.longitude, 180.0)?;
            if circle.radius_metres.is_nan() || circle.radius_metres < 0.0 {
                return Err(refuse::field("filter.circle", "radius_metres must be a number from 0"));
            }
            let radius = circle.radius_metres;
            Ok(Area::Circle { latitude: centre.latitude, longitude: centre.longitude, radius })
        }
    }
}

fn check(field: &str, degrees: f64, most: f64) -> Result<(), Status> {
    if degrees.abs() <= most {
        Ok(())
    } else {
        Err(refuse::field(field, format_args!("{degrees} is not from -{most} to {most}")))
    }
}

/// Returns where the watched folders are now.
fn roots(api: &Api) -> Vec<RootLocation> {
    let roots = api.watch.roots().into_iter();
    roots
        .map(|root| RootLocation {
            id: root.id,
            online: !matches!(root.state, RootState::Offline(_)),
            mounts: root
                .mounts
                .iter()
                .map(|mount| (mount.at.clone(), !matches!(mount.state, RootState::Offline(_))))
                .collect(),
            path: root.path,
        })
        .collect()
}
