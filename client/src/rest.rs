//! Of a group of duplicates: which files stay, and which are the rest.
//!
//! Invariant: the rest of a group never is all of it, and holds only files that the daemon saw a moment ago, as it did at
//! least one of those that stay. By a rule, none goes but for one that stays and is near it.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::convert::Infallible;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use resembled_api::proto;
use resembled_api::proto::FilePresence;

use crate::output;

/// What stays of each group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The one with the most pixels, then bytes.
    Largest,
    /// The one that was taken first.
    Oldest,
    /// The one that was taken last.
    Newest,
    /// All that is in this folder or below. Where nothing is, everything stays.
    Folder(PathBuf),
}

impl FromStr for Keep {
    type Err = Infallible;

    /// `./largest` is a folder.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "largest" => Self::Largest,
            "oldest" => Self::Oldest,
            "newest" => Self::Newest,
            folder => Self::Folder(folder.into()),
        })
    }
}

impl Keep {
    /// Makes the folder what the daemon knows it by.
    pub(crate) fn resolved(&self) -> anyhow::Result<Self> {
        let Self::Folder(folder) = self else { return Ok(self.clone()) };
        let real = folder.canonicalize().ok().filter(|real| real.is_dir());
        match real {
            Some(real) => Ok(Self::Folder(real)),
            None => anyhow::bail!(
                "--keep {}: no such folder; largest, oldest and newest are the other rules",
                folder.display()
            ),
        }
    }
}

/// A file of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'a> {
    /// The place of its photo in the group.
    place: u32,
    pub(crate) photo: &'a proto::Photo,
    pub(crate) file: &'a proto::File,
}

impl Member<'_> {
    fn path(&self) -> PathBuf {
        output::path(&self.file.path)
    }

    fn is_there(&self) -> bool {
        self.file.presence() == FilePresence::Verified
    }

    fn pixels(&self) -> u64 {
        u64::from(self.photo.width) * u64::from(self.photo.height)
    }

    fn taken(&self) -> Option<(i64, i32)> {
        self.photo.capture_time.as_ref().map(|time| (time.seconds, time.nanos))
    }

    /// A camera's RAW and the JPEG that it wrote beside it are one shot, no duplicates.
    fn is_one_shot_with(&self, other: &Self) -> bool {
        let (one, another) = (self.path(), other.path());
        let stem = |path: &Path| path.file_stem().map(OsStr::to_ascii_lowercase);
        self.photo.media_type != other.photo.media_type
            && one.parent() == another.parent()
            && stem(&one) == stem(&another)
    }
}

/// A group in two parts.
#[derive(Debug, Default)]
pub(crate) struct Split<'a> {
    pub(crate) kept: Vec<Member<'a>>,
    pub(crate) rest: Vec<Member<'a>>,
}

/// Parts a group.
pub(crate) fn split<'a>(group: &'a proto::DuplicateGroup, keep: &Keep) -> Split<'a> {
    // What cannot be seen now neither goes, nor can anything else go for it.
    let (mut there, mut kept): (Vec<Member<'a>>, Vec<Member<'a>>) =
        members(group).partition(Member::is_there);
    // Stable: of equals, the first in the daemon's order stays.
    let stays = match keep {
        Keep::Largest => {
            there.sort_by_key(|member| Reverse((member.pixels(), member.photo.size_bytes)));
            1
        }
        Keep::Oldest => {
            there.sort_by_key(|member| (member.taken().is_none(), member.taken()));
            1
        }
        Keep::Newest => {
            there.sort_by_key(|member| Reverse(member.taken()));
            1
        }
        Keep::Folder(folder) => {
            there.sort_by_key(|member| !member.path().starts_with(folder));
            match there.partition_point(|member| member.path().starts_with(folder)) {
                0 => there.len(),
                inside => inside,
            }
        }
    };
    let rest = there.split_off(stays.min(there.len()));
    let not_near: HashSet<(u32, u32)> = group
        .not_near
        .iter()
        .flat_map(|pair| [(pair.first, pair.second), (pair.second, pair.first)])
        .collect();
    let (rest, far) = rest
        .into_iter()
        .partition(|member| there.iter().any(|stays| !not_near.contains(&(member.place, stays.place))));
    kept.splice(0..0, far);
    without_one_shots(there, rest, kept)
}

fn members(group: &proto::DuplicateGroup) -> impl Iterator<Item = Member<'_>> {
    let photos = group.photos.iter().zip(0..);
    photos.flat_map(|(photo, place)| photo.files.iter().map(move |file| Member { place, photo, file }))
}

/// Parts a group as the user marked it: `goes` says which files were marked. Where all that is there would go, all of it stays.
pub(crate) fn split_as_marked<'a>(
    group: &'a proto::DuplicateGroup,
    goes: impl Fn(&Member<'a>) -> bool,
) -> Split<'a> {
    let (there, away): (Vec<Member<'a>>, Vec<Member<'a>>) = members(group).partition(Member::is_there);
    let (rest, stays): (Vec<Member<'a>>, Vec<Member<'a>>) = there.into_iter().partition(goes);
    match stays.is_empty() {
        true => without_one_shots(rest, Vec::new(), away),
        false => without_one_shots(stays, rest, away),
    }
}

/// Takes from the rest what is one shot with what stays.
fn without_one_shots<'a>(
    stays: Vec<Member<'a>>,
    mut rest: Vec<Member<'a>>,
    mut kept: Vec<Member<'a>>,
) -> Split<'a> {
    let is_one_shot = |member: &Member<'_>| stays.iter().any(|kept| kept.is_one_shot_with(member));
    let (shots, others) = rest.drain(..).partition(is_one_shot);
    kept.splice(0..0, stays.into_iter().chain::<Vec<Member<'a>>>(shots));
    Split { kept, rest: others }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    fn photo(
        side: u32,
        taken: Option<i64>,
        media_type: &str,
        files: &[(&str, FilePresence)],
    ) -> proto::Photo {
        let file = |&(path, presence): &(&str, FilePresence)| proto::File {
            path: path.into(),
            presence: presence.into(),
            ..Default::default()
        };
        proto::Photo {
            width: side,
            height: side,
            size_bytes: u64::from(side),
            media_type: media_type.to_owned(),
            capture_time: taken.map(|seconds| Timestamp { seconds, nanos: 0 }),
            files: files.iter().map(file).collect(),
            ..Default::default()
        }
    }

    fn check(group: &proto::DuplicateGroup, keep: Keep, kept: &[&str], rest: &[&str]) {
        let parts = split(group, &keep);
        let paths = |members: &[Member<'_>]| -> Vec<PathBuf> { members.iter().map(Member::path).collect() };
        let expected = |paths: &[&str]| -> Vec<PathBuf> { paths.iter().map(PathBuf::from).collect() };
        assert_eq!(paths(&parts.kept), expected(kept), "{keep:?}");
        assert_eq!(paths(&parts.rest), expected(rest), "{keep:?}");
    }

    const THERE: FilePresence = FilePresence::Verified;
    const AWAY: FilePresence = FilePresence::Offline;

    #[test]
    fn the_rule_says_which_file_of_a_group_stays() {
        let photos = vec![
            photo(10, Some(5), "image/jpeg", &[("/p/a.jpg", THERE), ("/q/a.jpg", THERE)]),
            photo(30, Some(9), "image/jpeg", &[("/p/b.jpg", THERE)]),
            photo(20, None, "image/png", &[("/p/c.png", THERE)]),
        ];
        let group = proto::DuplicateGroup { photos, ..Default::default() };
        check(&group, Keep::Largest, &["/p/b.jpg"], &["/p/c.png", "/p/a.jpg", "/q/a.jpg"]);
        check(&group, Keep::Oldest, &["/p/a.jpg"], &["/q/a.jpg", "/p/b.jpg", "/p/c.png"]);
        check(&group, Keep::Newest, &["/p/b.jpg"], &["/p/a.jpg", "/q/a.jpg", "/p/c.png"]);
        let q = Keep::Folder("/q".into());
        check(&group, q, &["/q/a.jpg"], &["/p/a.jpg", "/p/b.jpg", "/p/c.png"]);
        let nowhere = Keep::Folder("/pp".into());
        check(&group, nowhere, &["/p/a.jpg", "/q/a.jpg", "/p/b.jpg", "/p/c.png"], &[]);
    }

    #[test]
    fn nothing_goes_for_what_is_away_and_nothing_that_is_away_goes() {
        let photos = vec![
            photo(30, None, "image/jpeg", &[("/usb/a.jpg", AWAY)]),
            photo(10, None, "image/jpeg", &[("/p/b.jpg", THERE)]),
        ];
        let group = proto::DuplicateGroup { photos, ..Default::default() };
        check(&group, Keep::Largest, &["/p/b.jpg", "/usb/a.jpg"], &[]);
    }

    #[test]
    fn by_a_rule_nothing_goes_for_what_it_is_not_near() {
        let photos = vec![
            photo(20, Some(5), "image/jpeg", &[("/p/middle.jpg", THERE)]),
            photo(30, Some(1), "image/jpeg", &[("/p/left.jpg", THERE)]),
            photo(10, Some(9), "image/jpeg", &[("/p/right.jpg", THERE), ("/q/right.jpg", THERE)]),
        ];
        let not_near = vec![proto::PairOfPlaces { first: 1, second: 2 }];
        let group = proto::DuplicateGroup { photos, not_near, ..Default::default() };
        let right = ["/p/right.jpg", "/q/right.jpg"];
        check(&group, Keep::Largest, &["/p/left.jpg", right[0], right[1]], &["/p/middle.jpg"]);
        check(&group, Keep::Newest, &[right[0], "/p/left.jpg"], &[right[1], "/p/middle.jpg"]);
        check(&group, Keep::Folder("/q".into()), &[right[1], "/p/left.jpg"], &["/p/middle.jpg", right[0]]);
    }

    #[test]
    fn what_is_marked_goes_but_never_all_and_never_for_what_is_away() {
        let photos = vec![
            photo(30, None, "image/x-canon-cr2", &[("/p/1.CR2", THERE), ("/usb/1.CR2", AWAY)]),
            photo(20, None, "image/jpeg", &[("/p/1.jpg", THERE), ("/q/1.jpg", THERE)]),
        ];
        let group = proto::DuplicateGroup { photos, ..Default::default() };
        let check = |marked: &[&str], expected: &[&str]| {
            let parts = split_as_marked(&group, |member| marked.contains(&member.path().to_str().unwrap()));
            let rest: Vec<PathBuf> = parts.rest.iter().map(Member::path).collect();
            assert_eq!(rest, expected.iter().map(PathBuf::from).collect::<Vec<_>>(), "{marked:?}");
            assert_eq!(parts.kept.len() + parts.rest.len(), 4);
        };
        check(&[], &[]);
        check(&["/q/1.jpg"], &["/q/1.jpg"]);
        check(&["/p/1.CR2", "/p/1.jpg"], &["/p/1.CR2", "/p/1.jpg"]);
        check(&["/p/1.jpg", "/q/1.jpg"], &["/q/1.jpg"]);
        check(&["/usb/1.CR2", "/q/1.jpg"], &["/q/1.jpg"]);
        check(&["/p/1.CR2", "/p/1.jpg", "/q/1.jpg"], &[]);
        check(&["/other"], &[]);
    }

    #[test]
    fn a_raw_and_the_jpeg_beside_it_are_one_shot() {
        let photos = vec![
            photo(30, None, "image/x-canon-cr2", &[("/p/IMG_1.CR2", THERE)]),
            photo(20, None, "image/jpeg", &[("/p/img_1.jpg", THERE), ("/q/img_1.jpg", THERE)]),
        ];
        let group = proto::DuplicateGroup { photos, ..Default::default() };
        check(&group, Keep::Largest, &["/p/IMG_1.CR2", "/p/img_1.jpg"], &["/q/img_1.jpg"]);
    }

    #[test]
    fn what_is_no_rule_is_a_folder() {
        assert_eq!("oldest".parse(), Ok(Keep::Oldest));
        assert_eq!("./oldest".parse(), Ok(Keep::Folder("./oldest".into())));
    }
}
