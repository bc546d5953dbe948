//! What filters ask about each photo, in memory: when, where and with what it was taken, its type, its folders.
//!
//! 31 bytes a photo, in pages of photos with neighboring numbers that snapshots share. Names of cameras, lenses, types and
//! folders are kept once and numbered.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::photo_set::PAGE;
use crate::decode::{PhotoInfo, Taken};
use crate::photo::{FileId, PhotoId, RelativePath, RootId};
use crate::search::duplicates::Shot;

/// A photo without a time of its own.
pub(super) const NO_TIME: i64 = i64::MIN;
/// A photo whose time has no offset.
const NO_OFFSET: i16 = i16::MIN;
/// A photo without a position.
pub(super) const NO_POSITION: i32 = i32::MIN;
/// Units in a degree: a centimetre on the ground.
pub(super) const UNITS_A_DEGREE: f64 = 1e7;
/// A photo whose files lie in several folders: [`Page::several`] has them.
const SEVERAL: u32 = u32::MAX;

/// The facts of all photos, changed by one writer and read by queries.
#[derive(Debug, Default)]
pub struct FactTable(ArcSwap<Facts>);

impl FactTable {
    /// Starts with these.
    pub fn new(facts: Facts) -> Self {
        Self(ArcSwap::from_pointee(facts))
    }

    /// Changes the facts; whoever took a snapshot before keeps the old ones. There is one writer: of two at once, one would
    /// undo what the other did.
    pub fn change(&self, change: impl FnOnce(&mut Facts)) {
        let mut facts = Facts::clone(&self.0.load());
        change(&mut facts);
        self.0.store(Arc::new(facts));
    }

    /// Returns the facts as they are now.
    pub fn snapshot(&self) -> Arc<Facts> {
        self.0.load_full()
    }
}

/// The facts at one moment. Clones share what has not changed.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// By number; `None` where no photo of the page has been heard of.
    pages: Vec<Option<Arc<Page>>>,
    cameras: Arc<Names>,
    lenses: Arc<Names>,
    types: Arc<Names>,
    folders: Arc<Folders>,
}

/// When a photo was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenAt {
    /// Seconds since 1970: UTC where the offset is known, else by the camera's clock.
    seconds: i64,
    offset_minutes: Option<i16>,
}

impl TakenAt {
    /// A time on a camera's clock, in seconds since 1970 as if it had shown UTC, and how many minutes it was ahead of that.
    pub fn new(by_clock: i64, offset_minutes: Option<i16>) -> Self {
        Self { seconds: by_clock - i64::from(offset_minutes.unwrap_or(0)) * 60, offset_minutes }
    }

    /// Returns the seconds since 1970: UTC where the offset is known, else by the camera's clock.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Returns the seconds between two shots. Where one of them has lost its offset, as many programs that edit photos make
    /// them, the cameras' clocks are compared.
    pub fn seconds_apart(self, other: Self) -> u64 {
        match (self.offset_minutes, other.offset_minutes) {
            (Some(_), Some(_)) => self.seconds.abs_diff(other.seconds),
            _ => self.by_clock().abs_diff(other.by_clock()),
        }
    }

    /// Returns the time on the camera's clock, as if it had shown UTC: seconds since 1970.
    pub fn by_clock(self) -> i64 {
        self.seconds + i64::from(self.offset_minutes.unwrap_or(0)) * 60
    }
}

/// Facts of [`PAGE`] photos, each kind side by side.
#[derive(Clone, Debug)]
pub(super) struct Page {
    /// Seconds since 1970, UTC where the photo tells its offset, else by the camera's clock; [`NO_TIME`].
    pub taken: Vec<i64>,
    /// Minutes by which the camera's clock was ahead of UTC; [`NO_OFFSET`].
    offset: Vec<i16>,
    /// In [`UNITS_A_DEGREE`]; [`NO_POSITION`].
    pub latitude: Vec<i32>,
    pub longitude: Vec<i32>,
    /// Numbers of names from 1; 0 where there is none.
    pub camera: Vec<u32>,
    pub lens: Vec<u32>,
    /// 0 where the photo is not known.
    pub media_type: Vec<u8>,
    folder: Vec<u32>,
    several: BTreeMap<u16, Arc<[u32]>>,
}

impl Page {
    fn new() -> Self {
        let photos = PAGE as usize;
        Self {
            taken: vec![NO_TIME; photos],
            offset: vec![NO_OFFSET; photos],
            latitude: vec![NO_POSITION; photos],
            longitude: vec![NO_POSITION; photos],
            camera: vec![0; photos],
            lens: vec![0; photos],
            media_type: vec![0; photos],
            folder: vec![0; photos],
            several: BTreeMap::new(),
        }
    }

    /// Hands on the numbers of the folders in which the photo has files.
    pub fn each_folder(&self, place: usize, hand_on: &mut dyn FnMut(u32)) {
        match self.folder[place] {
            SEVERAL => {
                let folders = u16::try_from(place).ok().and_then(|place| self.several.get(&place));
                folders.into_iter().flat_map(|folders| folders.iter()).for_each(|&folder| hand_on(folder));
            }
            folder => hand_on(folder),
        }
    }

    /// Returns whether one of the photo's files lies in a folder that is marked.
    pub fn is_in(&self, place: usize, marked: &[bool]) -> bool {
        let is_marked = |folder: u32| marked.get(folder as usize).copied().unwrap_or(false);
        match self.folder[place] {
            SEVERAL => {
                let folders = u16::try_from(place).ok().and_then(|place| self.several.get(&place));
                folders.is_some_and(|folders| folders.iter().any(|&folder| is_marked(folder)))
            }
            folder => is_marked(folder),
        }
    }
}

impl Facts {
    /// Writes down what is known of a photo, in place of what was known before; of one without files, nothing.
    pub fn set(&mut self, photo: PhotoId, info: &PhotoInfo, files: &[FileId]) {
        if files.is_empty() {
            return self.forget(photo);
        }
        let camera = info.camera.as_deref().map_or(0, |name| Names::number(&mut self.cameras, name));
        let lens = info.lens.as_deref().map_or(0, |name| Names::number(&mut self.lenses, name));
        let media_type = Names::number(&mut self.types, info.format.media_type());
        let mut folders: Vec<u32> =
            files.iter().map(|file| Folders::number(&mut self.folders, file.root, &file.path)).collect();
        folders.sort_unstable();
        folders.dedup();

        let (page, place) = self.page_mut(photo);
        page.taken[place] = info.taken.map_or(NO_TIME, |taken| seconds(&taken));
        page.offset[place] = info.taken.and_then(|taken| taken.offset_minutes).unwrap_or(NO_OFFSET);
        let units = |degrees: f64, most: f64| (degrees.clamp(-most, most) * UNITS_A_DEGREE).round() as i32;
        let position = info.position.filter(|p| p.latitude.is_finite() && p.longitude.is_finite());
        page.latitude[place] = position.map_or(NO_POSITION, |p| units(p.latitude, 90.0));
        page.longitude[place] = position.map_or(NO_POSITION, |p| units(p.longitude, 180.0));
        page.camera[place] = camera;
        page.lens[place] = lens;
        // There are fewer image formats than that.
        page.media_type[place] = u8::try_from(media_type).unwrap_or(u8::MAX);
        let key = place as u16;
        page.several.remove(&key);
        page.folder[place] = match folders.as_slice() {
            [] => 0,
            [folder] => *folder,
            several => {
                page.several.insert(key, several.into());
                SEVERAL
            }
        };
    }

    fn forget(&mut self, photo: PhotoId) {
        let (page, place) = self.page_mut(photo);
        page.media_type[place] = 0;
        page.folder[place] = 0;
        page.taken[place] = NO_TIME;
    }

    /// Returns how many photos are known.
    pub fn len(&self) -> usize {
        self.pages().map(|(_, page)| page.media_type.iter().filter(|&&known| known != 0).count()).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns when the photo was taken.
    pub fn taken(&self, photo: PhotoId) -> Option<TakenAt> {
        let page = self.page(photo)?;
        let place = (photo.0 % PAGE) as usize;
        let (seconds, offset) = (page.taken[place], page.offset[place]);
        (seconds != NO_TIME)
            .then(|| TakenAt { seconds, offset_minutes: (offset != NO_OFFSET).then_some(offset) })
    }

    /// Returns the page of a photo.
    pub(super) fn page(&self, photo: PhotoId) -> Option<&Page> {
        self.pages.get(usize::try_from(photo.0 / PAGE).ok()?)?.as_deref()
    }

    /// Returns the names of cameras by their numbers.
    pub(super) fn cameras(&self) -> HashMap<u32, &str> {
        self.cameras.by_number()
    }

    /// Returns the names of lenses by their numbers.
    pub(super) fn lenses(&self) -> HashMap<u32, &str> {
        self.lenses.by_number()
    }

    /// Returns the media types by their numbers.
    pub(super) fn types(&self) -> HashMap<u32, &str> {
        self.types.by_number()
    }

    /// Returns the folders by their numbers.
    pub(super) fn folders(&self) -> HashMap<u32, (RootId, &RelativePath)> {
        let mut by_number = HashMap::with_capacity(self.folders.len as usize);
        for (&root, folders) in &self.folders.by_root {
            by_number.extend(folders.iter().map(|(path, &number)| (number, (root, path))));
        }
        by_number
    }

    /// Returns all photos that say when they were taken.
    pub fn shots(&self) -> Vec<Shot> {
        let of_page = |(number, page): (u64, &Page)| {
            let places = (0..PAGE).zip(page.taken.iter().zip(&page.offset).zip(&page.camera));
            let taken = places.filter(|(_, ((taken, _), _))| **taken != NO_TIME);
            let shots = taken.map(|(place, ((&seconds, &offset), &camera))| Shot {
                photo: PhotoId(number * PAGE + place),
                taken: TakenAt { seconds, offset_minutes: (offset != NO_OFFSET).then_some(offset) },
                camera,
            });
            shots.collect::<Vec<_>>()
        };
        self.pages().flat_map(of_page).collect()
    }

    /// Says whether a photo is of one of the types that are marked.
    pub fn is_of_type(&self, photo: PhotoId, marked: &[bool]) -> bool {
        let media_type = self.page(photo).map_or(0, |page| page.media_type[(photo.0 % PAGE) as usize]);
        marked.get(usize::from(media_type)).copied().unwrap_or(false)
    }

    /// Returns the pages that hold a photo, with their numbers.
    pub(super) fn pages(&self) -> impl Iterator<Item = (u64, &Page)> {
        (0..).zip(&self.pages).filter_map(|(number, page)| Some((number, page.as_deref()?)))
    }

    /// Marks the numbers of the lenses that are meant.
    pub(super) fn mark_lenses(&self, is_meant: impl Fn(&str) -> bool) -> Vec<bool> {
        self.lenses.mark(is_meant)
    }

    /// Marks the numbers of the cameras that are meant.
    pub(super) fn mark_cameras(&self, is_meant: impl Fn(&str) -> bool) -> Vec<bool> {
        self.cameras.mark(is_meant)
    }

    /// Marks the numbers of the types that are meant.
    pub fn mark_types(&self, is_meant: impl Fn(&str) -> bool) -> Vec<bool> {
        self.types.mark(is_meant)
    }

    /// Marks the numbers of the folders that are meant.
    pub(super) fn mark_folders(&self, is_meant: impl Fn(RootId, &RelativePath) -> bool) -> Vec<bool> {
        let mut marked = vec![false; self.folders.len as usize + 1];
        for (root, folders) in &self.folders.by_root {
            for (path, &number) in folders {
                marked[number as usize] = is_meant(*root, path);
            }
        }
        marked
    }

    fn page_mut(&mut self, photo: PhotoId) -> (&mut Page, usize) {
        let number = usize::try_from(photo.0 / PAGE).expect("numbers are given one after another");
        if self.pages.len() <= number {
            self.pages.resize(number + 1, None);
        }
        let page = self.pages[number].get_or_insert_with(|| Arc::new(Page::new()));
        (Arc::make_mut(page), (photo.0 % PAGE) as usize)
    }
}

/// Seconds since 1970: UTC where the camera tells its offset, else by its clock.
fn seconds(taken: &Taken) -> i64 {
    taken.local_seconds - i64::from(taken.offset_minutes.unwrap_or(0)) * 60
}

/// Names, numbered from 1 in the order in which they were heard of.
#[derive(Clone, Debug, Default)]
struct Names {
    numbers: HashMap<String, u32>,
}

impl Names {
    /// Returns the number of a name. Only a new one copies the names.
    fn number(names: &mut Arc<Self>, name: &str) -> u32 {
        if let Some(&number) = names.numbers.get(name) {
            return number;
        }
        let numbers = &mut Arc::make_mut(names).numbers;
        let number = numbers.len() as u32 + 1;
        numbers.insert(name.to_owned(), number);
        number
    }

    fn by_number(&self) -> HashMap<u32, &str> {
        self.numbers.iter().map(|(name, &number)| (number, name.as_str())).collect()
    }

    fn mark(&self, is_meant: impl Fn(&str) -> bool) -> Vec<bool> {
        let mut marked = vec![false; self.numbers.len() + 1];
        for (name, &number) in &self.numbers {
            marked[number as usize] = is_meant(name);
        }
        marked
    }
}

/// Folders that hold or held a photo, numbered like [`Names`].
#[derive(Clone, Debug, Default)]
struct Folders {
    len: u32,
    by_root: HashMap<RootId, HashMap<RelativePath, u32>>,
}

impl Folders {
    fn number(folders: &mut Arc<Self>, root: RootId, file: &RelativePath) -> u32 {
        let folder = file.parent().unwrap_or_default();
        if let Some(&number) = folders.by_root.get(&root).and_then(|known| known.get(&folder)) {
            return number;
        }
        let folders = Arc::make_mut(folders);
        folders.len += 1;
        folders.by_root.entry(root).or_default().insert(folder, folders.len);
        folders.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_lost_its_offset_is_compared_by_the_clock() {
        let check = |one: (i64, Option<i16>), other: (i64, Option<i16>), expected| {
            let [one, other] = [one, other].map(|(local, offset_minutes)| TakenAt {
                seconds: local - i64::from(offset_minutes.unwrap_or(0)) * 60,
                offset_minutes,
            });
            assert_eq!(one.seconds_apart(other), expected, "{one:?} {other:?}");
            assert_eq!(other.seconds_apart(one), expected, "{other:?} {one:?}");
        };
        check((36_000, None), (36_004, None), 4);
        check((36_000, Some(120)), (36_004, Some(120)), 4);
        // The same clock in two zones: an hour apart.
        check((36_000, Some(120)), (36_000, Some(60)), 3_600);
        check((36_000, Some(120)), (36_004, None), 4);
        check((36_000, None), (36_004, Some(-570)), 4);
    }
}
