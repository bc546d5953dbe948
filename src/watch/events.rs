//! The kernel's events in our own words. Runs on the event source's thread, so it neither waits nor asks the disk.
//!
//! What cannot matter (reading, files that are no photos) ends here, before it takes a place in our queue.
//! What says that events were lost, or that the source failed, becomes [`Signal::Lost`].

use std::ffi::OsStr;
use std::path::PathBuf;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{Event, EventKind};

use super::settle::Touch;

/// What the live thread hears.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Something happened to the entry at this path, which may be a directory where its name changed.
    Touched { path: PathBuf, touch: Touch },
    /// What was at `from` is now at `to`; both have been touched already. Not said of what came from, or went to, a
    /// place that is not watched.
    Renamed { from: PathBuf, to: PathBuf },
    /// There is a new directory.
    Directory { path: PathBuf },
    /// A watched directory itself was moved; matters for roots, whose parents are not watched.
    SelfMoved { path: PathBuf },
    /// Events were lost below these paths; everywhere where there are none.
    Lost { paths: Vec<PathBuf>, why: String },
    /// The rules that hold for all roots changed.
    Rules,
    /// Look at the state again: something outside the queue changed.
    Wake,
    /// The event source ended.
    Ended,
}

/// Translates one event; none where it cannot matter. `is_wanted` judges names of files.
pub(super) fn translate(event: notify::Result<Event>, is_wanted: impl Fn(&OsStr) -> bool) -> Option<Signal> {
    let event = match event {
        Ok(event) => event,
        Err(error) => {
            let why = error.to_string();
            return Some(Signal::Lost { paths: error.paths, why });
        }
    };
    if event.need_rescan() {
        return Some(Signal::Lost { paths: Vec::new(), why: "the kernel's event queue overflowed".into() });
    }
    let has_cookie = event.tracker().is_some();
    if let (EventKind::Modify(ModifyKind::Name(RenameMode::Both)), [from, to]) =
        (event.kind, event.paths.as_slice())
    {
        return Some(Signal::Renamed { from: from.clone(), to: to.clone() });
    }
    let path = event.paths.into_iter().next()?;
    let wanted = path.file_name().is_some_and(is_wanted);
    let touched = |touch| Some(Signal::Touched { path: path.clone(), touch });
    match event.kind {
        EventKind::Create(CreateKind::Folder) => Some(Signal::Directory { path }),
        EventKind::Create(_) if wanted => touched(Touch::Created),
        EventKind::Modify(ModifyKind::Data(_)) if wanted => touched(Touch::Written),
        EventKind::Access(AccessKind::Close(AccessMode::Write)) if wanted => touched(Touch::Closed),
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) if has_cookie => touched(Touch::Vanished),
        // The same kind without a cookie is the directory's own "I was moved", under the path it had.
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Some(Signal::SelfMoved { path }),
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => touched(Touch::Appeared),
        EventKind::Modify(ModifyKind::Metadata(_) | ModifyKind::Any) | EventKind::Any => {
            touched(Touch::Attributes)
        }
        EventKind::Remove(_) => touched(Touch::Vanished),
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Access(_) | EventKind::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use notify::event::{DataChange, Flag};

    use super::*;

    fn check(event: Event, expected: Option<Signal>) {
        let wanted = |name: &OsStr| Path::new(name).extension() == Some(OsStr::new("jpg"));
        assert_eq!(translate(Ok(event), wanted), expected);
    }

    fn event(kind: EventKind, path: &str) -> Event {
        Event::new(kind).add_path(path.into())
    }

    fn touched(path: &str, touch: Touch) -> Option<Signal> {
        Some(Signal::Touched { path: path.into(), touch })
    }

    #[test]
    fn writes_to_files_that_are_no_photos_end_here() {
        let data = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        check(event(data, "/p/a.txt"), None);
        check(event(data, "/p/a.jpg"), touched("/p/a.jpg", Touch::Written));
    }

    #[test]
    fn reading_a_photo_is_no_change() {
        check(event(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/p/a.jpg"), None);
    }

    #[test]
    fn any_name_that_comes_or_goes_is_looked_at_since_it_may_be_a_directory() {
        let name = |mode| EventKind::Modify(ModifyKind::Name(mode));
        check(event(name(RenameMode::From), "/p/d").set_tracker(7), touched("/p/d", Touch::Vanished));
        check(event(name(RenameMode::To), "/p/d").set_tracker(7), touched("/p/d", Touch::Appeared));
        check(event(name(RenameMode::From), "/p/d"), Some(Signal::SelfMoved { path: "/p/d".into() }));
    }

    #[test]
    fn an_overflow_and_an_error_both_say_that_events_were_lost() {
        let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(
            matches!(translate(Ok(overflow), |_| true), Some(Signal::Lost { paths, .. }) if paths.is_empty())
        );
        let error = notify::Error::generic("broken").add_path("/p".into());
        assert!(
            matches!(translate(Err(error), |_| true), Some(Signal::Lost { paths, .. }) if paths == [Path::new("/p")])
        );
    }
}
