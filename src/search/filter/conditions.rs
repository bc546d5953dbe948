//! Filters: conditions on facts in, the set of photos that meet them out.
//!
//! The set is made before the search and looked at within it, so that a filter never costs a result.

use std::path::PathBuf;

use super::facts::{Facts, NO_POSITION, NO_TIME, Page, UNITS_A_DEGREE};
use super::photo_set::{PhotoSet, WORDS};
use crate::photo::{RelativePath, RootId};
use crate::search::error::SearchError;
use crate::search::pool::in_parallel;

/// What a page of facts costs to judge, in bytes of scanning.
const BYTES_A_PAGE: usize = 64 << 10;

/// Mean radius of the Earth in metres (IUGG).
const EARTH_METRES: f64 = 6_371_008.8;

/// Conditions. Those that are set must all be met; one that is empty lets everything pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// In one of these folders or below; absolute paths.
    pub folders: Vec<PathBuf>,
    /// Taken at this second since 1970 or later.
    pub taken_from: Option<i64>,
    /// Taken before this second since 1970.
    pub taken_before: Option<i64>,
    /// With a time at which it was taken (true), or without (false).
    pub dated: Option<bool>,
    /// The camera's name contains one of these, whatever the case.
    pub cameras: Vec<String>,
    /// The lens's name contains one of these, whatever the case.
    pub lenses: Vec<String>,
    /// Taken in this area.
    pub area: Option<Area>,
    /// One of these, as `image/jpeg`.
    pub media_types: Vec<String>,
    /// One of its files is in a folder that is there (true), or none is (false).
    pub online: Option<bool>,
}

/// A part of the globe, in degrees (WGS 84).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Area {
    /// Between two latitudes and two longitudes. With `west` greater than `east` it lies across the 180th meridian.
    Box {
        /// Least latitude.
        south: f64,
        /// Longitude where it begins.
        west: f64,
        /// Greatest latitude.
        north: f64,
        /// Longitude where it ends.
        east: f64,
    },
    /// Within a distance of a point, on a sphere.
    Circle {
        /// Of the point.
        latitude: f64,
        /// Of the point.
        longitude: f64,
        /// In metres.
        radius: f64,
    },
}

/// Where a watched folder is, and whether it can be reached.
#[derive(Clone, Debug)]
pub struct RootLocation {
    /// Which.
    pub id: RootId,
    /// Absolute.
    pub path: PathBuf,
    /// Whether its volume is there.
    pub online: bool,
    /// Folders of it at which other volumes are mounted, and whether those are there.
    pub mounts: Vec<(RelativePath, bool)>,
}

impl RootLocation {
    fn is_reachable(&self, folder: &RelativePath) -> bool {
        let above = self.mounts.iter().filter(|(at, _)| folder.as_path().starts_with(at.as_path()));
        let deepest = above.max_by_key(|(at, _)| at.as_bytes().len());
        self.online && deepest.is_none_or(|(_, is_there)| *is_there)
    }
}

impl Filter {
    /// Returns whether everything passes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the photos that pass, of those with a file. `roots` are the watched folders as they are now.
    ///
    /// # Errors
    ///
    /// None today; it has the type of whatever the threads that share the work run.
    pub fn photos(&self, facts: &Facts, roots: &[RootLocation]) -> Result<PhotoSet, SearchError> {
        let marks = Marks::new(self, facts, roots);
        let pages: Vec<(u64, &Page)> = facts.pages().collect();
        let parts = in_parallel(pages.len(), pages.len() * BYTES_A_PAGE, |next| {
            let mut judged = Vec::new();
            while let Some(place) = next() {
                let (number, page) = pages[place];
                judged.push((number, self.judge(page, &marks)));
            }
            Ok(judged)
        })?;
        let mut judged = parts.concat();
        judged.sort_unstable_by_key(|(number, _)| *number);
        let mut set = PhotoSet::default();
        judged.into_iter().for_each(|(number, words)| set.push_page(number, words));
        Ok(set)
    }

    fn judge(&self, page: &Page, marks: &Marks) -> [u64; WORDS] {
        let mut words = [u64::MAX; WORDS];
        match &marks.types {
            Some(marked) => keep(&mut words, |at| marked[usize::from(page.media_type[at])]),
            None => keep(&mut words, |at| page.media_type[at] != 0),
        }
        if self.taken_from.is_some() || self.taken_before.is_some() {
            let (from, before) = (self.taken_from.unwrap_or(i64::MIN), self.taken_before.unwrap_or(i64::MAX));
            keep(&mut words, |at| {
                let taken = page.taken[at];
                (taken != NO_TIME) & (taken >= from) & (taken < before)
            });
        }
        if let Some(dated) = self.dated {
            keep(&mut words, |at| (page.taken[at] != NO_TIME) == dated);
        }
        if let Some(marked) = &marks.cameras {
            keep(&mut words, |at| marked[page.camera[at] as usize]);
        }
        if let Some(marked) = &marks.lenses {
            keep(&mut words, |at| marked[page.lens[at] as usize]);
        }
        if let Some(area) = self.area {
            keep(&mut words, |at| {
                page.latitude[at] != NO_POSITION && area.contains(page.latitude[at], page.longitude[at])
            });
        }
        if let Some(marked) = &marks.folders {
            keep(&mut words, |at| page.is_in(at, marked));
        }
        if let Some(marked) = &marks.reachable {
            keep(&mut words, |at| !page.is_in(at, marked));
        }
        words
    }
}

/// Takes out the photos that do not pass, looking only at words where one is left.
fn keep(words: &mut [u64; WORDS], pass: impl Fn(usize) -> bool) {
    for (number, word) in words.iter_mut().enumerate().filter(|(_, word)| **word != 0) {
        *word &= (0..64).fold(0, |kept, bit| kept | u64::from(pass(number * 64 + bit)) << bit);
    }
}

/// Which of the numbered names a filter means; `None` where it does not ask.
struct Marks {
    types: Option<Vec<bool>>,
    cameras: Option<Vec<bool>>,
    lenses: Option<Vec<bool>>,
    /// Folders in which a file must be.
    folders: Option<Vec<bool>>,
    /// Folders in which no file may be: those that can be reached, for a filter that asks for what cannot.
    reachable: Option<Vec<bool>>,
}

impl Marks {
    fn new(filter: &Filter, facts: &Facts, roots: &[RootLocation]) -> Self {
        let root = |id| roots.iter().find(|root| root.id == id);
        let is_online = |id, path: &RelativePath| root(id).is_some_and(|root| root.is_reachable(path));
        let is_asked_for = |id, path: &RelativePath| {
            let Some(root) = root(id) else { return false };
            let folder = path.under(&root.path);
            filter.folders.is_empty() || filter.folders.iter().any(|asked| folder.starts_with(asked))
        };
        let needs_folder = !filter.folders.is_empty() || filter.online == Some(true);
        let contains_one = |asked: &[String]| {
            let asked: Vec<String> = asked.iter().map(|name| name.to_lowercase()).collect();
            move |name: &str| {
                let name = name.to_lowercase();
                asked.iter().any(|asked| name.contains(asked))
            }
        };
        Self {
            types: (!filter.media_types.is_empty()).then(|| {
                let mut marked =
                    facts.mark_types(|name| filter.media_types.iter().any(|asked| asked == name));
                marked.resize(usize::from(u8::MAX) + 1, false);
                marked
            }),
            cameras: (!filter.cameras.is_empty()).then(|| facts.mark_cameras(contains_one(&filter.cameras))),
            lenses: (!filter.lenses.is_empty()).then(|| facts.mark_lenses(contains_one(&filter.lenses))),
            folders: needs_folder.then(|| {
                facts.mark_folders(|id, path| {
                    is_asked_for(id, path) && (filter.online != Some(true) || is_online(id, path))
                })
            }),
            reachable: (filter.online == Some(false)).then(|| facts.mark_folders(is_online)),
        }
    }
}

impl Area {
    /// Returns whether a point, in units of the facts, lies in it.
    fn contains(&self, latitude: i32, longitude: i32) -> bool {
        let (latitude, longitude) =
            (f64::from(latitude) / UNITS_A_DEGREE, f64::from(longitude) / UNITS_A_DEGREE);
        match *self {
            Self::Box { south, west, north, east } => {
                let is_between = if west <= east {
                    (west..=east).contains(&longitude)
                } else {
                    longitude >= west || longitude <= east
                };
                (south..=north).contains(&latitude) && is_between
            }
            Self::Circle { latitude: centre, longitude: meridian, radius } => {
                // The haversine formula, exact to rounding near and far.
                let (a, b) = (centre.to_radians(), latitude.to_radians());
                let (along, across) = ((b - a) / 2.0, (longitude - meridian).to_radians() / 2.0);
                let h = along.sin().powi(2) + a.cos() * b.cos() * across.sin().powi(2);
                2.0 * EARTH_METRES * h.sqrt().min(1.0).asin() <= radius
            }
        }
    }
}
