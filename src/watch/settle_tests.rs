//! When paths come out, and what is remembered of them until then: touches at made-up times.

use super::*;

const QUIET: Debounce = Debounce {
    default: Duration::from_millis(500),
    after_close: Duration::from_millis(100),
    while_open: Duration::from_secs(2),
};

fn fingerprint(len: u64) -> Fingerprint {
    Fingerprint { len, modified_ns: 0, changed_ns: 0, inode: 1 }
}

/// Plays touches at milliseconds and returns when the path came out.
fn check(touches: &[(u64, Touch)], expected_ms: u64) {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut settle = Settle::new(QUIET, 8);
    for &(ms, touch) in touches {
        assert!(settle.take_due(at(ms), 8).is_empty(), "came out before {ms} ms");
        assert!(settle.touch(Path::new("/p/a.jpg"), touch, at(ms)));
    }
    assert_eq!(settle.next_due(), Some(at(expected_ms)));
    assert!(settle.take_due(at(expected_ms - 1), 8).is_empty());
    assert_eq!(settle.take_due(at(expected_ms), 8).len(), 1);
    assert_eq!((settle.len(), settle.next_due()), (0, None));
}

#[test]
fn a_closed_file_comes_out_shortly_after() {
    check(&[(0, Touch::Created), (10, Touch::Written), (20, Touch::Closed)], 120);
}

#[test]
fn a_slow_copy_that_pauses_stays_in_until_it_is_closed() {
    check(
        &[
            (0, Touch::Created),
            (10, Touch::Written),
            (1500, Touch::Written),
            (3400, Touch::Written),
            (3401, Touch::Closed),
        ],
        3501,
    );
}

#[test]
fn a_name_that_vanishes_remembers_that_it_was_written_to_until_another_file_takes_it() {
    let now = Instant::now();
    let mut settle = Settle::new(QUIET, 8);
    let path = Path::new("/p/a.jpg");
    for (touch, expected) in [
        (Touch::FoundChanged, true),
        (Touch::Vanished, true),
        (Touch::Appeared, false),
        (Touch::Closed, true),
        (Touch::Vanished, true),
        (Touch::Appeared, false),
        (Touch::Vanished, false),
    ] {
        assert!(settle.touch(path, touch, now));
        assert_eq!(settle.is_written(path), expected, "{touch:?}");
    }
}

#[test]
fn what_is_renamed_takes_along_what_was_heard_of_it_under_all_its_names() {
    let now = Instant::now();
    let mut settle = Settle::new(QUIET, 16);
    let rename = |settle: &mut Settle, from: &str, to: &str| {
        assert!(settle.touch(Path::new(from), Touch::Vanished, now));
        assert!(settle.touch(Path::new(to), Touch::Appeared, now));
        settle.renamed(Path::new(from), Path::new(to), |_| false);
    };
    rename(&mut settle, "/p/a.jpg", "/p/d/b.jpg");
    assert!(settle.touch(Path::new("/p/d/b.jpg"), Touch::Closed, now));
    rename(&mut settle, "/p/c.jpg", "/p/d/c.jpg");
    // The folder of both is renamed.
    for name in ["b.jpg", "c.jpg", "known.jpg", "unheard/of.jpg"] {
        assert!(settle.touch(&Path::new("/p/e").join(name), Touch::FoundUnwatched, now));
    }
    settle.renamed(Path::new("/p/d"), Path::new("/p/e"), |directory| directory == Path::new("/p/d"));
    // From a place that is not watched; then from there on.
    assert!(settle.touch(Path::new("/p/x.jpg"), Touch::Appeared, now));
    rename(&mut settle, "/p/x.jpg", "/p/y.jpg");
    let due = settle.take_due(now + QUIET.default * 2, 16);
    let mut adopting: Vec<&Path> = due
        .iter()
        .filter(|due| due.may_adopt() && due.last != Touch::Vanished)
        .map(|due| &*due.path)
        .collect();
    adopting.sort();
    assert_eq!(adopting, ["/p/d/c.jpg", "/p/e/c.jpg", "/p/e/known.jpg"].map(Path::new));
}

#[test]
fn a_hard_link_comes_out_without_ever_being_closed() {
    check(&[(0, Touch::Created)], 500);
}

#[test]
fn a_new_file_without_a_byte_waits_for_its_first() {
    let start = Instant::now();
    let mut settle = Settle::new(QUIET, 8);
    assert!(settle.touch(Path::new("/p/a.jpg"), Touch::Created, start));
    let now = start + QUIET.default;
    let due = settle.take_due(now, 8).pop().unwrap();
    assert_eq!(settle.judge(&due, fingerprint(0), Some(QUIET.default), now), Verdict::Wait);
    assert_eq!(settle.next_due(), Some(now + QUIET.while_open));
}

#[test]
fn a_chmod_of_an_open_file_does_not_close_it() {
    check(&[(0, Touch::Written), (10, Touch::Attributes)], 2010);
}

#[test]
fn a_file_moved_onto_an_old_name_comes_out_once() {
    check(&[(0, Touch::Vanished), (1, Touch::Appeared)], 101);
}

#[test]
fn a_file_that_grows_without_events_waits_until_two_looks_agree() {
    let start = Instant::now();
    let mut settle = Settle::new(QUIET, 8);
    assert!(settle.touch(Path::new("/p/a.jpg"), Touch::Found, start));
    let mut now = start;
    let mut lens = [10, 20, 20].into_iter();
    let looks = loop {
        now += Duration::from_millis(500);
        let due = settle.take_due(now, 8).pop().unwrap();
        let age = Some(Duration::from_millis(1));
        if settle.judge(&due, fingerprint(lens.next().unwrap()), age, now) == Verdict::Settled {
            break lens.len();
        }
    };
    assert_eq!(looks, 0);
}

#[test]
fn what_vanished_comes_out_after_what_was_found_meanwhile() {
    let start = Instant::now();
    let mut settle = Settle::new(QUIET, 8);
    assert!(settle.touch(Path::new("/p/old"), Touch::Vanished, start));
    let found = start + QUIET.default - Duration::from_millis(1);
    assert!(settle.touch(Path::new("/p/new/a.jpg"), Touch::Found, found));
    assert!(settle.take_due(start + QUIET.default, 8).is_empty());
    let later = found + QUIET.default + Duration::from_millis(1);
    let order: Vec<Touch> = settle.take_due(later, 8).iter().map(|due| due.last).collect();
    assert_eq!(order, [Touch::Found, Touch::Vanished]);
}

#[test]
fn what_keeps_being_found_does_not_hold_back_deletions_for_ever() {
    let start = Instant::now();
    let mut settle = Settle::new(QUIET, 8);
    assert!(settle.touch(Path::new("/p/gone.jpg"), Touch::Vanished, start));
    let mut now = start;
    let came_out = loop {
        now += QUIET.default / 2;
        assert!(settle.touch(Path::new("/p/new.jpg"), Touch::Found, now));
        if !settle.take_due(now, 8).is_empty() {
            break now - start;
        }
    };
    assert!(came_out <= QUIET.default * (HOLD_PERIODS + 1), "{came_out:?}");
}

#[test]
fn an_old_change_time_makes_the_second_look_needless() {
    let start = Instant::now();
    let mut settle = Settle::new(QUIET, 8);
    assert!(settle.touch(Path::new("/p/a.jpg"), Touch::Found, start));
    let now = start + QUIET.default;
    let due = settle.take_due(now, 8).pop().unwrap();
    assert_eq!(settle.judge(&due, fingerprint(1), Some(QUIET.default), now), Verdict::Settled);
}

#[test]
fn past_capacity_a_touch_is_refused_aloud_but_known_paths_go_on() {
    let now = Instant::now();
    let mut settle = Settle::new(QUIET, 1);
    assert!(settle.touch(Path::new("/p/a.jpg"), Touch::Written, now));
    assert!(!settle.touch(Path::new("/p/b.jpg"), Touch::Written, now));
    assert!(settle.touch(Path::new("/p/a.jpg"), Touch::Closed, now));
}

#[test]
fn a_path_at_which_the_disk_refuses_a_look_comes_out_again_later_each_time_but_not_for_ever() {
    let mut now = Instant::now();
    let mut settle = Settle::new(QUIET, 8);
    assert!(settle.touch(Path::new("/p/a.jpg"), Touch::Written, now));
    now = settle.next_due().unwrap();
    for look in 0..=MAX_FAILED_LOOKS {
        let due = settle.take_due(now, 8).pop().unwrap();
        assert!(due.was_written(), "what was heard of it is not forgotten");
        let is_put_back = settle.look_again(&due, now);
        assert_eq!(is_put_back, look < MAX_FAILED_LOOKS);
        if is_put_back {
            let next = settle.next_due().unwrap();
            assert_eq!(next - now, QUIET.while_open * 2_u32.pow(look));
            now = next;
        }
    }
    assert_eq!(settle.len(), 0);
}
