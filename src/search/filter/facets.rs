//! Facets: of a set of photos, how many were taken in each year, with each camera, and so on.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::facts::{Facts, NO_TIME, Page};
use super::photo_set::{PAGE, PhotoSet};
use crate::photo::{RelativePath, RootId};

/// By what photos are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facet {
    /// The year in which they were taken.
    Year,
    /// Year and month.
    Month,
    /// The camera's name.
    Camera,
    /// The lens's name.
    Lens,
    /// The media type.
    MediaType,
    /// The folder, each of them where a photo has files in several.
    Folder,
}

/// What photos have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FacetValue {
    /// A year.
    Year(i16),
    /// A year, and a month from 1.
    Month(i16, i8),
    /// A name: a camera, a lens, a media type.
    Name(String),
    /// A folder.
    Folder(RootId, RelativePath),
}

impl Facts {
    /// Counts the photos of a set by a facet; `None` for those that do not say. The order is any.
    pub fn count(&self, photos: &PhotoSet, facet: Facet) -> Vec<(Option<FacetValue>, u64)> {
        match facet {
            Facet::Year | Facet::Month => {
                // Counted by day first: the calendar is asked once for each.
                let days = self.count_by(photos, |page, at, count| {
                    let taken = page.taken[at];
                    count((taken != NO_TIME).then(|| taken.div_euclid(86_400)));
                });
                let mut counted = HashMap::new();
                for (day, photos) in days {
                    *counted.entry(day.and_then(|day| date(day, facet))).or_insert(0) += photos;
                }
                counted.into_iter().collect()
            }
            Facet::Camera => self.named(photos, self.cameras(), |page, at| page.camera[at]),
            Facet::Lens => self.named(photos, self.lenses(), |page, at| page.lens[at]),
            Facet::MediaType => self.named(photos, self.types(), |page, at| u32::from(page.media_type[at])),
            Facet::Folder => {
                let folders = self.folders();
                let counted = self.count_by(photos, |page, at, count| {
                    page.each_folder(at, count);
                });
                let folder = |number: u32| {
                    folders.get(&number).map(|&(root, path)| FacetValue::Folder(root, path.clone()))
                };
                counted.into_iter().map(|(number, photos)| (folder(number), photos)).collect()
            }
        }
    }

    fn named(
        &self,
        photos: &PhotoSet,
        names: HashMap<u32, &str>,
        number: impl Fn(&Page, usize) -> u32,
    ) -> Vec<(Option<FacetValue>, u64)> {
        let counted = self.count_by(photos, |page, at, count| count(number(page, at)));
        let name = |number| names.get(&number).map(|&name| FacetValue::Name(name.to_owned()));
        counted.into_iter().map(|(number, photos)| (name(number), photos)).collect()
    }

    /// Counts by whatever `keys` hands on of each photo.
    fn count_by<K: Eq + std::hash::Hash>(
        &self,
        photos: &PhotoSet,
        keys: impl Fn(&Page, usize, &mut dyn FnMut(K)),
    ) -> HashMap<K, u64> {
        let mut counted = HashMap::new();
        for photo in photos.iter() {
            if let Some(page) = self.page(photo) {
                let at = (photo.0 % PAGE) as usize;
                keys(page, at, &mut |key| *counted.entry(key).or_insert(0) += 1);
            }
        }
        counted
    }
}

/// Returns the year or month of a day since 1970.
fn date(day: i64, facet: Facet) -> Option<FacetValue> {
    let date = Timestamp::from_second(day.checked_mul(86_400)?).ok()?.to_zoned(TimeZone::UTC).date();
    Some(match facet {
        Facet::Month => FacetValue::Month(date.year(), date.month()),
        _ => FacetValue::Year(date.year()),
    })
}
