//! Finds the groups of each kind. All of it may take seconds, and runs on blocking threads.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::sync::Arc;

use tonic::Status;

use super::super::blocking::blocking;
use super::super::convert::Roots;
use super::super::{Api, Served, files, refuse};
use crate::decode::Format;
use crate::photo::{PhotoId, RelativePath, RootId};
use crate::search::{self, Facts, Group, Pair, PhotoSet, SearchError};
use crate::store::{ModelRecord, NearPair, PairRecord, Photos, Standing, StoreError};

/// The answer to a request.
pub(super) struct Found {
    pub(super) groups: Vec<Group>,
    /// Photos of which it is not known yet.
    pub(super) pending: u64,
    /// Shots that are there as RAW and as another picture.
    pub(super) raw_pairs: u64,
    /// Pairs that are to be looked at side by side.
    pub(super) pairs_pending: u64,
    /// The network by which they were found, and what tells it from others.
    pub(super) model: ModelRecord,
    pub(super) model_digest: String,
    /// How many files hold a photo, where that was looked up on the disk.
    copies: HashMap<PhotoId, u64>,
    pub(super) sums: Sums,
}

/// What the groups come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Free when of each group only the largest file stays.
    pub(super) rest_bytes: u64,
}

impl Found {
    fn of(served: &Served, mut groups: Vec<Group>) -> Self {
        // Stable: of equals, the one with the oldest photo first.
        groups.sort_by_key(|group| Reverse(group.photos.len()));
        Self {
            groups,
            pending: 0,
            raw_pairs: 0,
            pairs_pending: 0,
            model: served.model.clone(),
            model_digest: served.digest.to_string(),
            copies: HashMap::new(),
            sums: Sums::default(),
        }
    }

    /// Sums the groups up.
    pub(super) fn summed(self, api: &Api) -> Result<Self, StoreError> {
        let photos = api.store.read()?.photos()?;
        let mut sums = Sums::default();
        for group in &self.groups {
            let mut largest = 0;
            let mut bytes = 0;
            for &photo in &group.photos {
                let Some(record) = photos.get(photo)? else { continue };
                let files = match self.copies.get(&photo) {
                    Some(&files) => files,
                    None => photos.files_of(photo)?.len() as u64,
                };
                sums.files += files;
                bytes += files * record.size_bytes;
                largest = largest.max(record.size_bytes);
            }
            sums.bytes += bytes;
            sums.rest_bytes += bytes.saturating_sub(largest);
        }
        Ok(Self { sums, ..self })
    }
}

/// Says whether a photo meets the filter.
fn passes(passing: Option<&PhotoSet>, photo: PhotoId) -> bool {
    passing.is_none_or(|passing| passing.contains(photo))
}

/// Makes a group of what is alike each to each.
fn all_near(photos: Vec<PhotoId>) -> Group {
    Group { photos, not_near: Vec::new() }
}

/// Finds the photos of which there are several files.
pub(super) async fn exact(
    api: &Arc<Api>,
    served: &Served,
    passing: Option<PhotoSet>,
) -> Result<Found, Status> {
    let roots = Arc::new(Roots::of(api));
    let (store, reading, index) = (Arc::clone(&api.store), Arc::clone(&roots), served.index.snapshot());
    let copied = blocking(move |_| {
        let reader = store.read()?;
        let (photos, roots) = (reader.photos()?, reading);
        let is_meant = |photo| index.contains(photo) && passes(passing.as_ref(), photo);
        let copied = reader.copied_photos()?.into_iter().filter(|(photo, _)| is_meant(*photo));
        let with_files = copied.map(|(photo, _)| Ok((photo, files::known(&reader, &photos, &roots, photo)?)));
        with_files.collect::<Result<files::OfPhotos, StoreError>>()
    });
    let mut counted = files::count(&roots, copied.await?).await;
    counted.retain(|&(_, files)| files > 1);
    counted.sort_by_key(|&(photo, files)| (Reverse(files), photo));
    let copies = counted.iter().map(|&(photo, files)| (photo, files as u64)).collect();
    let groups = counted.into_iter().map(|(photo, _)| all_near(vec![photo])).collect();
    Ok(Found { groups, copies, ..Found::of(served, Vec::new()) })
}

/// Finds the photos that have all pixels in common.
pub(super) fn pixels(api: &Api, served: &Served, passing: Option<&PhotoSet>) -> Result<Found, StoreError> {
    let reader = api.store.read()?;
    let (index, seen) = (served.index.snapshot(), reader.appearances()?);
    let mut known = PhotoSet::default();
    let mut by_pixels: BTreeMap<_, Vec<PhotoId>> = BTreeMap::new();
    seen.each(|photo, looks| {
        if index.contains(photo) {
            known.insert(photo);
            if let Some(pixels) = looks.pixels.filter(|_| passes(passing, photo)) {
                by_pixels.entry(pixels).or_default().push(photo);
            }
        }
    })?;
    let mut groups: Vec<_> = by_pixels.into_values().filter(|photos| photos.len() > 1).collect();
    groups.sort_unstable();
    let groups = groups.into_iter().map(all_near).collect();
    let pending = index.ids_after(None).iter().filter(|&&photo| !known.contains(photo)).count() as u64;
    Ok(Found { pending, ..Found::of(served, groups) })
}

/// Finds the groups of photos that are near, made of pairs at most `limit` apart where there is one. What is still to be looked at is
/// near by its distance, in its neighborhood.
pub(super) fn near(
    api: &Api,
    served: &Served,
    limit: Option<f32>,
    passing: Option<&PhotoSet>,
) -> Result<Found, StoreError> {
    let reader = api.store.read()?;
    let index = served.index.snapshot();
    let mut apart = reader.told_apart()?;
    let compared = reader.compared(&served.model)?.unwrap_or_default();
    let (mut pairs, mut pairs_pending) = (Vec::new(), 0);
    reader.each_pair(
        &served.model,
        |NearPair { first, second, record: PairRecord { distance, standing } }| {
            let is_meant = limit.is_none_or(|limit| distance <= limit);
            let is_one = |photo| index.contains(photo) && passes(passing, photo);
            if !(is_meant && is_one(first) && is_one(second)) || apart.contains(&(first, second)) {
                return;
            }
            let is_near = match standing {
                Standing::LooksSame | Standing::Seen(_) => true,
                Standing::Candidate(share) => {
                    pairs_pending += 1;
                    compared.rule.near.holds(distance, share)
                }
            };
            if is_near {
                pairs.push(Pair { first, second, distance });
            }
        },
    )?;
    let raw = raw_pairs(&pairs, &api.facts.snapshot(), &reader.photos()?)?;
    apart.extend(&raw);
    let runs = compared.runs;
    let is_compared = |photo: &PhotoId| {
        let after = runs.partition_point(|(first, _)| first <= photo);
        after.checked_sub(1).is_some_and(|run| *photo <= runs[run].1)
    };
    let pending = index.ids_after(None).iter().filter(|photo| !is_compared(photo)).count() as u64;
    let raw_pairs = raw.len() as u64;
    Ok(Found { pending, raw_pairs, pairs_pending, ..Found::of(served, search::groups(pairs, &apart)) })
}

/// Returns the pairs that are one shot: a RAW and another picture with its name, in one folder, taken at one time.
fn raw_pairs(
    pairs: &[Pair],
    facts: &Facts,
    photos: &Photos,
) -> Result<HashSet<(PhotoId, PhotoId)>, StoreError> {
    let raw_types = facts.mark_types(|name| Format::RAW.iter().any(|format| format.media_type() == name));
    let mut raw = HashSet::new();
    for pair in pairs {
        let is_raw = [pair.first, pair.second].map(|photo| facts.is_of_type(photo, &raw_types));
        if is_raw[0] == is_raw[1] || facts.taken(pair.first) != facts.taken(pair.second) {
            continue;
        }
        let names = names(photos, pair.first)?;
        if names_of(photos, pair.second)?.any(|name| names.contains(&name)) {
            raw.insert((pair.first, pair.second));
        }
    }
    Ok(raw)
}

/// A folder and a name in it without its ending, in small letters.
type Name = (RootId, Option<RelativePath>, OsString);

fn names(photos: &Photos, photo: PhotoId) -> Result<HashSet<Name>, StoreError> {
    Ok(names_of(photos, photo)?.collect())
}

fn names_of(photos: &Photos, photo: PhotoId) -> Result<impl Iterator<Item = Name>, StoreError> {
    Ok(photos.files_of(photo)?.into_iter().filter_map(|file| {
        let name = file.path.as_path().file_stem()?.to_ascii_lowercase();
        Some((file.root, file.path.parent(), name))
    }))
}

/// Finds the groups of photos taken by one camera within seconds of a center of theirs, and at most `limit` apart from it.
pub(super) fn bursts(
    api: &Api,
    served: &Served,
    (limit, seconds): (f32, u32),
    passing: Option<&PhotoSet>,
    cancelled: &dyn Fn() -> bool,
) -> Result<Found, Status> {
    let index = served.index.snapshot();
    let apart = api.store.read()?.told_apart()?;
    let mut shots = api.facts.snapshot().shots();
    shots.retain(|shot| index.contains(shot.photo) && passes(passing, shot.photo));
    let pairs = search::shots_within(seconds, shots);
    let pairs = index.distances(&pairs, served.model.metric, cancelled).map_err(|error| match error {
        SearchError::Cancelled => refuse::given_up(),
        error => refuse::internal("the shots could not be compared", &error),
    })?;
    let near = pairs.into_iter().filter(|pair| pair.distance <= limit).collect();
    Ok(Found::of(served, search::groups(near, &apart)))
}
