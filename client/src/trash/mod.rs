//! Duplicates go to the desktop's trash, on the user's word: the one place where something of ours moves photos.
//!
//! Invariant: no file goes that is not read once more just before, with a file that stays in its place; and neither is
//! another than the daemon said.

mod freedesktop;

use std::fs::File;

use anyhow::{Context, bail, ensure};
use indicatif::HumanBytes;
use resembled_api::content::ContentHash;
use resembled_api::dirs::Dirs;

pub(crate) use self::freedesktop::Trashed;
use crate::Answer;
use crate::output;
use crate::rest::{Member, Split};

/// Asks, and moves the rest of each group to the trash.
pub(crate) fn move_rest(groups: &[Split<'_>], yes: bool) -> anyhow::Result<Answer> {
    let files: usize = groups.iter().map(|group| group.rest.len()).sum();
    let bytes: u64 = groups.iter().flat_map(|group| &group.rest).map(|member| member.photo.size_bytes).sum();
    if files == 0 {
        eprintln!("nothing is to be moved");
        return Ok(Answer::Nothing);
    }
    let question =
        format!("Move {files} files ({}) to the trash? What stays is marked above.", HumanBytes(bytes));
    if !yes && !output::confirm(&question)? {
        return Ok(Answer::Nothing);
    }
    let (mut moved, mut left) = (0, 0);
    for group in groups.iter().filter(|group| !group.rest.is_empty()) {
        for (member, done) in move_group(group) {
            match done {
                Ok(_) => moved += 1,
                Err(error) => {
                    left += 1;
                    eprintln!("{} stays: {error:#}", output::shown(&member.file.path));
                }
            }
        }
    }
    output::line(format_args!(
        "{moved} files are in the trash; to undo, restore them there with your file manager (`gio trash --list` shows them)"
    ))?;
    Ok(if left > 0 { Answer::Incomplete } else { Answer::Found })
}

/// Moves the rest of a group to the trash, file by file, and says what became of each.
pub(crate) fn move_group<'a>(group: &Split<'a>) -> Vec<(Member<'a>, anyhow::Result<Trashed>)> {
    // Looked at once for all that go for it.
    let stays = !group.rest.is_empty() && group.kept.iter().any(|member| check(member).is_ok());
    let moved = group.rest.iter().map(|member| {
        let done = match stays {
            true => check(member).and_then(|()| move_one(member)),
            false => Err(anyhow::anyhow!("what should stay in its place cannot be read")),
        };
        (*member, done)
    });
    moved.collect()
}

/// Reads a file: is it still what the daemon said?
fn check(member: &Member<'_>) -> anyhow::Result<()> {
    let path = output::path(&member.file.path);
    let metadata = path.symlink_metadata().context("it cannot be looked at")?;
    ensure!(metadata.is_file(), "it is no file any more");
    let content = ContentHash::read(File::open(&path)?).context("it cannot be read")?;
    ensure!(member.photo.name == format!("photos/{content}"), "it has changed");
    Ok(())
}

fn move_one(member: &Member<'_>) -> anyhow::Result<Trashed> {
    if let Some(other) = member.file.other_paths.first() {
        bail!("it is {} too, and would still be there", output::shown(other));
    }
    let data = Dirs::find(&|name| std::env::var_os(name))?.data;
    let data_home = data.parent().context("there is no place for a trash")?;
    freedesktop::put(&output::path(&member.file.path), data_home).context("the trash does not take it")
}
