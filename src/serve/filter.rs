//! Filters of a request, checked and in the words of the search.

use prost_types::Timestamp;
use tonic::Status;

use super::{Api, convert, refuse};
use crate::proto;
use crate::search::{Area, Filter, PhotoSet, RootLocation, SearchError};
use crate::watch::RootState;

/// Entries of one list at the most.
const MAX_ENTRIES: usize = 1_000;

/// Reads a filter.
pub(super) fn parse(filter: &proto::Filter) -> Result<Filter, Status> {
    for (field, entries) in [
        ("filter.folders", filter.folders.len()),
        ("filter.folder_uris", filter.folder_uris.len()),
        ("filter.cameras", filter.cameras.len()),
        ("filter.media_types", filter.media_types.len()),
    ] {
        if entries > MAX_ENTRIES {
            return Err(refuse::field(field, format_args!("more than {MAX_ENTRIES} entries")));
        }
    }
    let folders = filter.folders.iter().map(|path| convert::parse_path("filter.folders", path));
    let uris = filter.folder_uris.iter().map(|uri| convert::parse_uri("filter.folder_uris", uri));
    Ok(Filter {
        folders: folders.chain(uris).collect::<Result<_, _>>()?,
        taken_from: filter.taken_from.as_ref().map(first_second),
        taken_before: filter.taken_before.as_ref().map(first_second),
        dated: filter.dated,
        cameras: filter.cameras.clone(),
        area: filter.place.as_ref().map(area).transpose()?,
        media_types: filter.media_types.clone(),
        online: filter.online,
    })
}

/// Returns the photos that pass; `None` where all do.
pub(super) fn passing(api: &Api, filter: &Filter) -> Result<Option<PhotoSet>, SearchError> {
    match filter.is_empty() {
        true => Ok(None),
        false => filter.photos(&api.facts.snapshot(), &roots(api)).map(Some),
    }
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
pub(super) fn roots(api: &Api) -> Vec<RootLocation> {
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
