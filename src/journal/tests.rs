//! What the journal promises, held in both ways of writing it.

use super::recovery::{Start, begin_epoch};
use super::segment::{self, HEADER, SIZE};
use super::writer::ensure_allocated;
use super::{Appender, Cursor, Io, JournalError, Next, Position, Shared, frame};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs `test` with the directory of a journal that is not there yet, mapped and by pwrite.
fn both_ways(test: impl Fn(&Path, Io)) {
    for io in [Io::Mmap, Io::Pwrite] {
        let mut unique = [0; 8];
        getrandom::fill(&mut unique).unwrap();
        let scratch = Scratch(std::env::temp_dir().join(format!("pgc-journal-{}", hex::encode(unique))));
        fs::create_dir(&scratch.0).unwrap();
        test(&scratch.0.join("journal"), io);
    }
}

/// A new life of the shared memory.
fn start(directory: &Path, io: Io) -> Shared {
    start_as(directory, Start { io, ..Start::default() })
}

fn start_as(directory: &Path, start: Start) -> Shared {
    let shared = Shared::default();
    begin_epoch(directory, &shared, start).unwrap();
    shared
}

fn append(directory: &Path, shared: &Shared, payload: &[u8]) -> Position {
    Appender::new(directory).append(shared, payload).unwrap()
}

/// A cursor at the beginning of an epoch.
fn from_start(directory: &Path, shared: &Shared) -> Cursor {
    Cursor::new(directory, shared.epoch_start(), shared.epoch())
}

/// What a reader finds: frames as they are, gaps as `gap`.
fn read(cursor: &mut Cursor, shared: &Shared) -> Vec<String> {
    let mut out = Vec::new();
    loop {
        match cursor.next(shared).unwrap() {
            Next::Frame { payload, .. } => out.push(String::from_utf8_lossy(payload).into_owned()),
            Next::Epoch { .. } => {}
            Next::Gap { from, to, .. } => {
                assert!(from < to, "a gap of nothing: {from} to {to}");
                out.push("gap".into());
            }
            Next::Wait => return out,
        }
    }
}

fn file(directory: &Path, position: Position) -> PathBuf {
    segment::path(directory, position / SIZE)
}

fn cut(directory: &Path, position: Position, length: u64) {
    OpenOptions::new().write(true).open(file(directory, position)).unwrap().set_len(length).unwrap();
}

fn overwrite(directory: &Path, position: Position, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(file(directory, position)).unwrap();
    file.write_all_at(bytes, position % SIZE).unwrap();
}

#[test]
fn frames_of_many_writers_come_back_once_each_in_their_writers_order() {
    both_ways(|dir, io| {
        let shared = start(dir, io);
        let (writers, each) = (4u32, 20_000u32);
        std::thread::scope(|scope| {
            for writer in 0..writers {
                let shared = &shared;
                scope.spawn(move || {
                    let mut appender = Appender::new(dir);
                    for n in 0..each {
                        let mut payload = [writer.to_le_bytes(), n.to_le_bytes()].concat();
                        payload.resize(8 + (n as usize * 7) % 900, writer as u8);
                        appender.append(shared, &payload).unwrap();
                    }
                });
            }
            // A reader beside them: what is not finished yet must never look like something else.
            let mut next = vec![0u32; writers as usize];
            let mut cursor = from_start(dir, &shared);
            while next.iter().any(|n| *n < each) {
                match cursor.next(&shared).unwrap() {
                    Next::Frame { payload, .. } => {
                        let writer = u32::from_le_bytes(payload[..4].try_into().unwrap());
                        let n = u32::from_le_bytes(payload[4..8].try_into().unwrap());
                        assert_eq!(n, next[writer as usize], "lost, doubled or reordered");
                        next[writer as usize] += 1;
                    }
                    Next::Wait => std::thread::yield_now(),
                    other => panic!("{other:?}"),
                }
            }
        });
        assert!(shared.allocated() - shared.epoch_start() > SIZE, "the test must cross segments");
    });
}

#[test]
fn a_new_epoch_follows_in_a_new_segment_and_keeps_the_journals_name() {
    both_ways(|dir, io| {
        let first = start(dir, io);
        append(dir, &first, b"one");
        let second = start(dir, io);
        append(dir, &second, b"two");
        assert_eq!((second.journal(), second.epoch()), (first.journal(), first.epoch() + 1));
        assert_ne!(second.key(), first.key());
        assert_eq!(read(&mut from_start(dir, &first), &second), ["one", "two"]);
    });
}

#[test]
fn the_way_of_writing_may_change_between_two_epochs() {
    both_ways(|dir, io| {
        let first = start(dir, io);
        append(dir, &first, b"one");
        let second = start(dir, if io == Io::Mmap { Io::Pwrite } else { Io::Mmap });
        append(dir, &second, b"two");
        assert_eq!(read(&mut from_start(dir, &first), &second), ["one", "two"]);
    });
}

#[test]
fn an_unfinished_frame_makes_readers_wait_while_its_epoch_lives_and_is_reported_afterwards() {
    both_ways(|dir, io| {
        let first = start(dir, io);
        append(dir, &first, b"before");
        let hole = first.reserved();
        assert!(first.reserve(hole, hole + frame::footprint(100) as u64));
        append(dir, &first, b"after");
        let mut cursor = from_start(dir, &first);
        assert_eq!(read(&mut cursor, &first), ["before"]);
        let second = start(dir, io);
        assert_eq!(read(&mut cursor, &second), ["gap", "after"]);
        // A reader that starts anew finds the same, and at the same place.
        let mut anew = from_start(dir, &first);
        assert!(matches!(anew.next(&second), Ok(Next::Frame { .. })));
        let Next::Gap { from, to, .. } = anew.next(&second).unwrap() else { panic!("no gap") };
        assert_eq!((from, to), (hole, hole + frame::footprint(100) as u64));
    });
}

#[test]
fn the_unused_end_of_an_epoch_is_no_gap_and_a_frame_torn_there_is_one() {
    both_ways(|dir, io| {
        let first = start(dir, io);
        let end = append(dir, &first, b"last");
        // The writer had made one ahead.
        ensure_allocated(dir, &first, first.allocated() + SIZE).unwrap();
        let second = start(dir, io);
        append(dir, &second, b"next");
        assert_eq!(read(&mut from_start(dir, &first), &second), ["last", "next"]);
        overwrite(dir, end + 8, b"copied, and then its owner died");
        assert_eq!(read(&mut from_start(dir, &first), &second), ["last", "gap", "next"]);
    });
}

#[test]
fn bytes_in_a_torn_frame_that_look_like_a_frame_are_not_believed() {
    both_ways(|dir, io| {
        let first = start(dir, io);
        append(dir, &first, b"before");
        // What an attacker can put into a query: frames sealed with every key but the right one.
        let mut text = Vec::new();
        for guess in 0..64u64 {
            let at = first.reserved() + frame::WORD as u64 + text.len() as u64;
            text.extend(frame::seal(guess, at, b"forged").to_le_bytes());
            text.extend(b"forged\0\0");
            text.extend(frame::seal_padding(guess, at + 16, 1 << 20).to_le_bytes());
        }
        let at = first.reserved();
        append(dir, &first, &text);
        append(dir, &first, b"true");
        // Tear it: the word is lost, the bytes stay.
        overwrite(dir, at + 4, &[0xff; 4]);
        let second = start(dir, io);
        assert_eq!(read(&mut from_start(dir, &first), &second), ["before", "gap", "true"]);
    });
}

#[test]
fn numbers_never_run_backwards_after_everything_was_drained() {
    both_ways(|dir, io| {
        let first = start(dir, io);
        let second = start(dir, io);
        segment::remove(dir, first.epoch_start() / SIZE).unwrap();
        let third = start(dir, io);
        assert!(third.epoch_start() > second.epoch_start());
    });
}

#[test]
fn numbers_do_not_run_backwards_when_the_newest_segments_are_lost() {
    both_ways(|dir, io| {
        let first = start(dir, io);
        append(dir, &first, b"old");
        let second = start(dir, io);
        append(dir, &second, b"lost");
        fs::remove_file(file(dir, second.epoch_start())).unwrap();
        let third = start(dir, io);
        append(dir, &third, b"new");
        assert!(third.epoch_start() > second.epoch_start() && third.epoch() > second.epoch());
        assert_eq!(third.journal(), first.journal());
        assert_eq!(read(&mut from_start(dir, &first), &third), ["old", "gap", "new"]);
    });
}

#[test]
fn an_older_copy_of_the_directory_in_its_place_makes_a_gap_and_hides_nothing() {
    both_ways(|dir, io| {
        let first = start(dir, io);
        append(dir, &first, b"old");
        let copy = dir.with_file_name("copy");
        fs::rename(dir, &copy).unwrap();
        fs::create_dir(dir).unwrap();
        for entry in fs::read_dir(&copy).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
        }
        let second = start(dir, io);
        let read_to = append(dir, &second, b"lost");
        fs::remove_dir_all(dir).unwrap();
        fs::rename(&copy, dir).unwrap();
        let third = start(dir, io);
        append(dir, &third, b"new");
        let mut cursor = Cursor::new(dir, read_to, second.epoch());
        assert_eq!(read(&mut cursor, &third), ["gap", "new"]);
    });
}

#[test]
fn another_journal_in_its_place_gets_a_name_of_its_own() {
    both_ways(|dir, io| {
        let ours = start(dir, io);
        fs::remove_dir_all(dir).unwrap();
        let emptied = start(dir, io);
        assert_ne!(emptied.journal(), ours.journal());
        assert!(emptied.epoch_start() > ours.epoch_start());
        let other = dir.with_file_name("other");
        let theirs = start(&other, io);
        fs::remove_dir_all(dir).unwrap();
        fs::rename(&other, dir).unwrap();
        let swapped = start(dir, io);
        assert!(![emptied.journal(), theirs.journal()].contains(&swapped.journal()));
    });
}

#[test]
fn a_copy_and_a_server_that_becomes_a_standby_go_on_under_another_name() {
    both_ways(|dir, io| {
        let primary = start(dir, io);
        append(dir, &primary, b"the primary's");
        let standby = start_as(dir, Start { io, on_standby: true, copied: false });
        assert_ne!(standby.journal(), primary.journal());
        append(dir, &standby, b"mine");
        // It restarts, is promoted at a restart, and remains who it is.
        let again = start_as(dir, Start { io, on_standby: true, copied: false });
        let promoted = start(dir, io);
        assert_eq!((again.journal(), promoted.journal()), (standby.journal(), standby.journal()));
        let first = segment::first_of(dir, promoted.journal()).unwrap();
        assert_eq!(first, Some(standby.epoch_start() / SIZE));
        assert_eq!(read(&mut from_start(dir, &standby), &promoted), ["mine"]);
        // It cannot start at once, and then nothing shows any more that it is a copy.
        let copy = Shared::default();
        let aside = dir.with_file_name("aside");
        fs::rename(dir, &aside).unwrap();
        fs::write(dir, "in the way").unwrap();
        assert!(begin_epoch(dir, &copy, Start { io, on_standby: false, copied: true }).is_err());
        fs::remove_file(dir).unwrap();
        fs::rename(&aside, dir).unwrap();
        begin_epoch(dir, &copy, Start { io, ..Start::default() }).unwrap();
        assert_ne!(copy.journal(), promoted.journal());
        assert!(copy.epoch_start() > promoted.epoch_start());
    });
}

#[test]
fn a_lost_segment_is_reported_as_a_gap() {
    both_ways(|dir, io| {
        let first = start(dir, io);
        append(dir, &first, b"lost");
        let second = start(dir, io);
        append(dir, &second, b"kept");
        fs::remove_file(file(dir, first.epoch_start())).unwrap();
        let mut cursor = from_start(dir, &first);
        let Next::Gap { from, to, .. } = cursor.next(&second).unwrap() else { panic!("no gap") };
        assert_eq!((from, to), (first.epoch_start() + HEADER, second.epoch_start()));
        assert_eq!(read(&mut cursor, &second), ["kept"]);
    });
}

#[test]
fn what_is_left_of_a_truncated_segment_is_read_and_the_rest_is_a_gap() {
    both_ways(|dir, io| {
        let first = start(dir, io);
        let kept = append(dir, &first, b"kept");
        append(dir, &first, &[b'x'; 5000]);
        cut(dir, first.epoch_start(), kept % SIZE + 100);
        // The newest one, too: the server starts, and goes on in the next.
        let second = start(dir, io);
        append(dir, &second, b"new");
        assert_eq!(second.journal(), first.journal());
        assert_eq!(read(&mut from_start(dir, &first), &second), ["kept", "gap", "new"]);
        // Down to nothing, and to a header of noise.
        cut(dir, first.epoch_start(), 0);
        assert_eq!(read(&mut from_start(dir, &first), &second), ["gap", "new"]);
        cut(dir, second.epoch_start(), 10);
        let third = start(dir, io);
        append(dir, &third, b"newer");
        assert_eq!(third.journal(), first.journal());
        assert_eq!(read(&mut from_start(dir, &first), &third), ["gap", "gap", "newer"]);
    });
}

#[test]
fn a_segment_that_is_removed_or_cut_while_it_is_written_to_stops_nobody() {
    both_ways(|dir, io| {
        for damage in [
            |path: &Path| fs::remove_file(path).unwrap(),
            |path: &Path| {
                OpenOptions::new().write(true).open(path).unwrap().set_len(100).unwrap();
            },
        ] {
            let shared = start(dir, io);
            append(dir, &shared, b"before");
            let mut cursor = from_start(dir, &shared);
            damage(&file(dir, shared.reserved()));
            // Nobody appends to it yet: what is in it may be all that was lost, or not.
            assert!(cursor.next(&shared).is_err());
            append(dir, &shared, b"after");
            assert_eq!(read(&mut cursor, &shared), ["gap", "after"]);
        }
    });
}

#[test]
fn a_segment_made_ahead_that_is_removed_stops_nobody() {
    both_ways(|dir, io| {
        let shared = start(dir, io);
        ensure_allocated(dir, &shared, shared.allocated() + SIZE).unwrap();
        fs::remove_file(file(dir, shared.allocated() - 1)).unwrap();
        let large = vec![b'x'; frame::MAX_PAYLOAD];
        for _ in 0..3 {
            append(dir, &shared, &large);
        }
        // The fourth does not fit into the first segment any more.
        append(dir, &shared, &large);
        append(dir, &shared, b"after");
        let found = read(&mut from_start(dir, &shared), &shared);
        let lengths: Vec<usize> = found.iter().map(String::len).collect();
        assert_eq!(lengths, [large.len(), large.len(), large.len(), 3, large.len(), 5]);
    });
}

#[test]
fn a_reader_that_has_a_removed_segment_open_reads_it_to_its_end() {
    both_ways(|dir, io| {
        let shared = start(dir, io);
        append(dir, &shared, b"one");
        let mut cursor = from_start(dir, &shared);
        assert_eq!(read(&mut cursor, &shared), ["one"]);
        let mut who_has_it_open = Appender::new(dir);
        who_has_it_open.append(&shared, b"two").unwrap();
        fs::remove_file(file(dir, shared.epoch_start())).unwrap();
        who_has_it_open.append(&shared, b"three").unwrap();
        append(dir, &shared, b"four");
        assert_eq!(read(&mut cursor, &shared), ["two", "three", "gap", "four"]);
    });
}

#[test]
fn a_segment_that_cannot_be_opened_now_is_not_called_lost() {
    both_ways(|dir, io| {
        let first = start(dir, io);
        append(dir, &first, b"there");
        let second = start(dir, io);
        let path = file(dir, first.epoch_start());
        let aside = dir.join("aside");
        fs::rename(&path, &aside).unwrap();
        // For want of a file descriptor, say; a link to itself fails for root as well.
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let mut cursor = from_start(dir, &first);
        assert!(cursor.next(&second).is_err());
        fs::rename(&aside, &path).unwrap();
        assert_eq!(read(&mut cursor, &second), ["there"]);
    });
}

#[test]
fn a_journal_may_lie_elsewhere_behind_a_symbolic_link() {
    both_ways(|dir, io| {
        let elsewhere = dir.with_file_name("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, dir).unwrap();
        let first = start(dir, io);
        append(dir, &first, b"there");
        assert_eq!(segment::list(&elsewhere).unwrap().len(), 1);
        // What says how far it got stays where the link is.
        assert!(dir.with_extension("newest").exists());
        fs::remove_dir_all(&elsewhere).unwrap();
        assert!(matches!(
            begin_epoch(dir, &Shared::default(), Start::default()),
            Err(JournalError::Io { .. })
        ));
    });
}

#[test]
fn an_oversized_payload_is_refused_and_reserves_nothing() {
    both_ways(|dir, io| {
        let shared = start(dir, io);
        let before = shared.reserved();
        let refused = Appender::new(dir).append(&shared, &vec![0; frame::MAX_PAYLOAD + 1]);
        assert!(matches!(refused, Err(JournalError::TooLarge { .. })));
        assert_eq!(shared.reserved(), before);
        let nowhere = Appender::new(dir).append(&Shared::default(), b"x");
        assert!(matches!(nowhere, Err(JournalError::NotStarted { full: false })));
    });
}
