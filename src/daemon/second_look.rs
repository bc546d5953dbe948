//! The second look: photos that are near by the network are looked at side by side, by their local features.
//!
//! In: candidates of the store. Out: what the two photos of each are to each other, or that they are nothing. Photos are decoded
//! where all photos are, in confined processes, and what was found in them is kept on the disk with their thumbnails. Works on
//! threads of the maintenance's low priority, one for each core.
//!
//! A photo that is out of reach is looked at when it is back, one that cannot be decoded after a while; until then its pairs are
//! what they are by their distance.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::decode::{Cancel, Decoders, IsolatedError};
use crate::ingest::{self, Contents};
use crate::photo::{ContentHash, FileId, PhotoId};
use crate::search::in_background;
use crate::store::{NearPair, Photos, Seen, Standing, Store, StoreError};
use crate::thumbnails::{ThumbnailError, Thumbnails};
use crate::verify::{self, Judgement, LocalFeatures, Verdict};

/// After this time a photo is tried again that could not be looked at.
pub(super) const AGAIN: Duration = Duration::from_secs(600);

/// Photos whose features are kept in memory while there are candidates: about 10 MB.
const IN_MEMORY: usize = 512;

/// Files of a photo that are tried at the most.
const MOST_TRIED: usize = 4;

/// How photos are looked at.
pub(super) struct Eyes {
    /// Where features are kept.
    pub(super) thumbnails: Arc<Thumbnails>,
    /// At background priority.
    pub(super) decoders: Decoders,
    /// Where files are.
    pub(super) place: PlaceOf,
}

/// Says where a file is, if it can be reached.
pub(super) type PlaceOf = Box<dyn Fn(&FileId) -> Option<PathBuf> + Send + Sync>;

/// Looks at candidates.
pub(super) struct SecondLook {
    eyes: Eyes,
    store: Arc<Store>,
    in_memory: HashMap<PhotoId, Arc<LocalFeatures>>,
    /// Photos that could not be looked at though they were there, and when.
    unseen: HashMap<PhotoId, Instant>,
}

/// What became of looking at a photo.
enum Look {
    Features(LocalFeatures),
    OutOfReach,
    Failed,
}

/// What there is of a photo to be looked at.
struct Subject {
    photo: PhotoId,
    content: ContentHash,
    files: Vec<FileId>,
}

/// What became of a candidate: `None` where its photos are nothing to each other.
pub(super) type Decided = (NearPair, Option<Standing>);

impl SecondLook {
    pub(super) fn new(eyes: Eyes, store: Arc<Store>) -> Self {
        Self { eyes, store, in_memory: HashMap::new(), unseen: HashMap::new() }
    }

    /// Looks at candidates, whose photos are all in the index. Those that cannot be looked at now are left out.
    pub(super) fn decide(
        &mut self,
        candidates: &[NearPair],
        is_stopped: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Decided>, StoreError> {
        self.unseen.retain(|_, since| since.elapsed() < AGAIN);
        let is_unseen = |pair: &NearPair| [pair.first, pair.second].map(|id| self.unseen.contains_key(&id));
        let candidates: Vec<&NearPair> =
            candidates.iter().filter(|pair| is_unseen(pair) == [false; 2]).collect();
        let wanted: BTreeSet<PhotoId> =
            candidates.iter().flat_map(|pair| [pair.first, pair.second]).collect();
        self.look_at(&wanted, is_stopped)?;
        let of = |photo| self.in_memory.get(&photo);
        let pairs: Vec<_> = candidates
            .into_iter()
            .filter_map(|pair| Some((pair, of(pair.first)?, of(pair.second)?)))
            .collect();
        let compare = |next: &dyn Fn() -> Option<usize>| {
            let mut decided: Vec<Decided> = Vec::new();
            while let Some(place) = next().filter(|_| !is_stopped()) {
                let (pair, first, second) = &pairs[place];
                let judgement = verify::judge(&verify::compare(first, second));
                decided.push((**pair, standing(&judgement)));
            }
            Ok::<_, Infallible>(decided)
        };
        let decided = in_background(pairs.len(), compare).unwrap_or_else(|never| match never {});
        if self.in_memory.len() > IN_MEMORY {
            self.in_memory.retain(|photo, _| wanted.contains(photo));
        }
        Ok(decided.into_iter().flatten().collect())
    }

    /// Lets the features go that are in memory.
    pub(super) fn rest(&mut self) {
        self.in_memory = HashMap::new();
    }

    /// Sees to it that the features of these photos are in memory, as far as they can be had.
    fn look_at(
        &mut self,
        wanted: &BTreeSet<PhotoId>,
        is_stopped: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), StoreError> {
        let photos = self.store.read()?.photos()?;
        let missing = wanted.iter().filter(|photo| !self.in_memory.contains_key(photo));
        let subjects = missing.map(|&photo| Subject::of(&photos, photo));
        let subjects: Vec<Subject> = subjects.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        let look = |next: &dyn Fn() -> Option<usize>| {
            let mut seen = Vec::new();
            while let Some(place) = next().filter(|_| !is_stopped()) {
                let subject = &subjects[place];
                seen.push((subject.photo, self.features(subject)));
            }
            Ok::<_, Infallible>(seen)
        };
        let seen = in_background(subjects.len(), look).unwrap_or_else(|never| match never {});
        for (photo, features) in seen.into_iter().flatten() {
            match features {
                Look::Features(features) => drop(self.in_memory.insert(photo, Arc::new(features))),
                Look::OutOfReach => {}
                Look::Failed => drop(self.unseen.insert(photo, Instant::now())),
            }
        }
        Ok(())
    }

    /// Returns what is kept of a photo, or looks at its first file that can be read and still has the content, or at its
    /// thumbnail.
    fn features(&self, subject: &Subject) -> Look {
        let Eyes { thumbnails, decoders, place } = &self.eyes;
        if let Some(kept) = thumbnails.kept_features(subject.content) {
            return Look::Features(kept);
        }
        let mut is_out_of_reach = true;
        let (max_bytes, never) = (decoders.limits().max_bytes, Cancel::default());
        for path in subject.files.iter().filter_map(place).take(MOST_TRIED) {
            is_out_of_reach = false;
            let Contents::Whole { bytes, .. } = ingest::read(&path, max_bytes) else { continue };
            if ContentHash::of(&bytes) != subject.content {
                continue;
            }
            let is_away = |content| self.is_away(content);
            match thumbnails.make_features(decoders, subject.content, &bytes, &never, &is_away) {
                Ok(features) => return Look::Features(features),
                Err(error) => {
                    tracing::debug!(path = %path.display(), %error, "not looked at");
                    // The daemon stops.
                    if matches!(error, ThumbnailError::Decode(IsolatedError::Cancelled)) {
                        return Look::OutOfReach;
                    }
                }
            }
        }
        match thumbnails.features_of_thumbnail(decoders, subject.content, &never) {
            Ok(Some(features)) => Look::Features(features),
            Ok(None) if is_out_of_reach => Look::OutOfReach,
            Ok(None) | Err(_) => Look::Failed,
        }
    }

    /// Says whether all files of a content are out of reach. What cannot be told will be at the next time.
    fn is_away(&self, content: ContentHash) -> bool {
        let files = || -> Result<Option<Vec<FileId>>, StoreError> {
            let reader = self.store.read()?;
            let Some(photo) = reader.photo_with(content)? else { return Ok(None) };
            reader.photos()?.files_of(photo).map(Some)
        };
        matches!(files(), Ok(Some(files)) if !files.iter().any(|file| (self.eyes.place)(file).is_some()))
    }
}

impl Subject {
    /// `None` where the photo is gone.
    fn of(photos: &Photos, photo: PhotoId) -> Result<Option<Self>, StoreError> {
        let Some(record) = photos.get(photo)? else { return Ok(None) };
        Ok(Some(Self { photo, content: record.content, files: photos.files_of(photo)? }))
    }
}

/// Returns what is kept of a judgement; nothing where the photos are different.
fn standing(judgement: &Judgement) -> Option<Standing> {
    let &Judgement { verdict, probability, shared, .. } = judgement;
    (verdict != Verdict::Different).then(|| {
        Standing::Seen(Seen { verdict, probability, shared, quarter_turns: judgement.quarter_turns() })
    })
}
