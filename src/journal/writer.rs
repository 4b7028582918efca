//! Appending: reserve, copy, publish.

use super::map::Map;
use super::segment::{self, CreationLock, HEADER, SIZE};
use super::{JournalError, Position, Shared, frame};
use std::path::{Path, PathBuf};

/// Where a frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It lies right before this position.
    Before(Position),
    /// It was not written: it would have come to lie in this segment.
    Elsewhere(u64),
}

/// One process's way into the journal. Keeps at most two segments mapped.
pub struct Appender {
    directory: PathBuf,
    maps: [Option<Map>; 2],
}

impl Appender {
    /// An appender to the journal in `directory`. Opens nothing yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), maps: [None, None] }
    }

    /// Appends `payload` as one frame, wherever it comes to lie, and returns the position behind it.
    pub fn append(&mut self, shared: &Shared, payload: &[u8]) -> Result<Position, JournalError> {
        let mut segment = shared.reserved() / SIZE;
        loop {
            match self.append_in(shared, payload, segment)? {
                Placed::Before(end) => return Ok(end),
                Placed::Elsewhere(other) => segment = other,
            }
        }
    }

    /// Appends `payload` as one frame if it comes to lie in `segment`; otherwise says where it would.
    ///
    /// Everything that can fail (making and mapping the segment) happens before the reservation:
    /// a range that was reserved and never published would stop every reader.
    pub fn append_in(
        &mut self,
        shared: &Shared,
        payload: &[u8],
        segment: u64,
    ) -> Result<Placed, JournalError> {
        if payload.len() > frame::MAX_PAYLOAD {
            return Err(JournalError::TooLarge { size: payload.len(), limit: frame::MAX_PAYLOAD });
        }
        shared.started()?;
        let key = shared.key();
        let need = frame::footprint(payload.len()) as u64;
        loop {
            let at = shared.reserved();
            let offset = at % SIZE;
            let (start, padding) = match offset {
                0 => (at + HEADER, None),
                _ if offset + need <= SIZE => (at, None),
                // Frames do not straddle segments; the rest of this one is declared unused.
                _ => (at - offset + SIZE + HEADER, Some((SIZE - offset) as usize)),
            };
            if start / SIZE != segment {
                return Ok(Placed::Elsewhere(start / SIZE));
            }
            if start + need > shared.allocated() {
                ensure_allocated(&self.directory, shared, start + need)?;
                continue;
            }
            if padding.is_some() {
                self.mapped(at / SIZE)?;
            }
            self.mapped(segment)?;
            if !shared.reserve(at, start + need) {
                continue;
            }
            if let Some(length) = padding {
                self.publish(at, &[], frame::seal_padding(key, at, length))?;
            }
            self.publish(start, payload, frame::seal(key, start, payload))?;
            return Ok(Placed::Before(start + need));
        }
    }

    fn publish(&mut self, at: Position, payload: &[u8], word: u64) -> Result<(), JournalError> {
        self.mapped(at / SIZE)?.publish((at % SIZE) as usize, payload, word);
        Ok(())
    }

    /// The older map makes room: an append touches a segment and at most its successor, and both
    /// must stay mapped from the reservation to the last store.
    fn mapped(&mut self, number: u64) -> Result<&Map, JournalError> {
        let number_at = |place: &Option<Map>| place.as_ref().map(Map::number);
        let found = self.maps.iter().position(|place| number_at(place) == Some(number));
        let place = match found {
            Some(place) => place,
            None => {
                let map = Map::open(&self.directory, number, true)?;
                let older = usize::from(number_at(&self.maps[0]) > number_at(&self.maps[1]));
                self.maps[older] = Some(map);
                older
            }
        };
        self.maps[place].as_ref().ok_or(JournalError::NotStarted)
    }
}

/// Makes segments until the journal reaches `end`. Anybody may call it, ahead of need.
pub fn ensure_allocated(directory: &Path, shared: &Shared, end: Position) -> Result<(), JournalError> {
    let _lock = CreationLock::take(directory)?;
    while shared.allocated() < end {
        let next = shared.allocated();
        segment::create(directory, shared.header(next / SIZE))?;
        shared.set_allocated(next + SIZE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Cursor, Next, recovery::begin_epoch};
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let mut unique = [0; 8];
            getrandom::fill(&mut unique).unwrap();
            let path = std::env::temp_dir().join(format!("pgc-journal-{name}-{}", hex::encode(unique)));
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn read_all(cursor: &mut Cursor, shared: &Shared) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        loop {
            match cursor.next(shared).unwrap() {
                Next::Frame { payload, .. } => out.push(payload.to_vec()),
                Next::Epoch { .. } => {}
                Next::Gap { reason, .. } => panic!("gap: {reason}"),
                Next::Wait => return out,
            }
        }
    }

    #[test]
    fn frames_of_many_writers_come_back_once_each_in_their_writers_order() {
        let dir = Scratch::new("many");
        let shared = Shared::default();
        begin_epoch(&dir.0, &shared).unwrap();
        let start = shared.epoch_start();
        let (writers, each) = (4u32, 20_000u32);
        std::thread::scope(|scope| {
            for writer in 0..writers {
                let (shared, dir) = (&shared, &dir.0);
                scope.spawn(move || {
                    let mut appender = Appender::new(dir);
                    for n in 0..each {
                        let mut payload = [writer.to_le_bytes(), n.to_le_bytes()].concat();
                        payload.resize(8 + (n as usize * 7) % 900, writer as u8);
                        appender.append(shared, &payload).unwrap();
                    }
                });
            }
        });
        let mut next = vec![0u32; writers as usize];
        let frames = read_all(&mut Cursor::new(&dir.0, start, 0), &shared);
        assert!(shared.allocated() - start > segment::SIZE, "the test must cross segments");
        for frame in &frames {
            let writer = u32::from_le_bytes(frame[..4].try_into().unwrap());
            let n = u32::from_le_bytes(frame[4..8].try_into().unwrap());
            assert_eq!(n, next[writer as usize], "lost, doubled or reordered");
            next[writer as usize] += 1;
        }
        assert!(next.iter().all(|n| *n == each));
    }

    #[test]
    fn a_new_epoch_follows_in_a_new_segment_and_keeps_the_journals_name() {
        let dir = Scratch::new("epoch");
        let first = Shared::default();
        begin_epoch(&dir.0, &first).unwrap();
        Appender::new(&dir.0).append(&first, b"one").unwrap();
        let second = Shared::default();
        begin_epoch(&dir.0, &second).unwrap();
        Appender::new(&dir.0).append(&second, b"two").unwrap();
        assert_eq!((second.journal(), second.epoch()), (first.journal(), first.epoch() + 1));
        assert_ne!(second.key(), first.key());
        let mut cursor = Cursor::new(&dir.0, first.epoch_start(), first.epoch());
        assert_eq!(read_all(&mut cursor, &second), [b"one".to_vec(), b"two".to_vec()]);
    }

    #[test]
    fn an_unfinished_frame_makes_readers_wait_while_its_epoch_lives_and_is_skipped_afterwards() {
        let dir = Scratch::new("hole");
        let first = Shared::default();
        begin_epoch(&dir.0, &first).unwrap();
        let mut appender = Appender::new(&dir.0);
        appender.append(&first, b"before").unwrap();
        let hole = first.reserved();
        assert!(first.reserve(hole, hole + frame::footprint(100) as u64));
        appender.append(&first, b"after").unwrap();
        let mut cursor = Cursor::new(&dir.0, first.epoch_start(), first.epoch());
        assert_eq!(read_all(&mut cursor, &first), [b"before".to_vec()]);
        let second = Shared::default();
        begin_epoch(&dir.0, &second).unwrap();
        assert_eq!(read_all(&mut cursor, &second), [b"after".to_vec()]);
    }

    #[test]
    fn bytes_in_a_torn_frame_that_look_like_a_frame_are_not_believed() {
        let dir = Scratch::new("forged");
        let first = Shared::default();
        begin_epoch(&dir.0, &first).unwrap();
        let mut appender = Appender::new(&dir.0);
        appender.append(&first, b"before").unwrap();
        // What an attacker can put into a query: frames sealed with every key but the right one.
        let mut text = Vec::new();
        for guess in 0..64u64 {
            let at = first.reserved() + frame::WORD as u64 + text.len() as u64;
            text.extend(frame::seal(guess, at, b"forged").to_le_bytes());
            text.extend(b"forged\0\0");
            text.extend(frame::seal_padding(guess, at + 16, 1 << 20).to_le_bytes());
        }
        let at = first.reserved();
        appender.append(&first, &text).unwrap();
        appender.append(&first, b"true").unwrap();
        // Tear it: the word is lost, the bytes stay.
        let file = OpenOptions::new().write(true).open(segment::path(&dir.0, at / SIZE)).unwrap();
        file.write_all_at(&[0xff; 4], at % SIZE + 4).unwrap();
        let second = Shared::default();
        begin_epoch(&dir.0, &second).unwrap();
        let mut cursor = Cursor::new(&dir.0, first.epoch_start(), first.epoch());
        assert_eq!(read_all(&mut cursor, &second), [b"before".to_vec(), b"true".to_vec()]);
    }

    #[test]
    fn numbers_never_run_backwards_after_everything_was_drained() {
        let dir = Scratch::new("drained");
        let first = Shared::default();
        begin_epoch(&dir.0, &first).unwrap();
        let second = Shared::default();
        begin_epoch(&dir.0, &second).unwrap();
        segment::remove(&dir.0, first.epoch_start() / SIZE).unwrap();
        let third = Shared::default();
        begin_epoch(&dir.0, &third).unwrap();
        assert!(third.epoch_start() > second.epoch_start());
    }

    #[test]
    fn a_lost_segment_is_reported_as_a_gap() {
        let dir = Scratch::new("gap");
        let first = Shared::default();
        begin_epoch(&dir.0, &first).unwrap();
        Appender::new(&dir.0).append(&first, b"lost").unwrap();
        let second = Shared::default();
        begin_epoch(&dir.0, &second).unwrap();
        Appender::new(&dir.0).append(&second, b"kept").unwrap();
        std::fs::remove_file(segment::path(&dir.0, first.epoch_start() / SIZE)).unwrap();
        let mut cursor = Cursor::new(&dir.0, first.epoch_start(), first.epoch());
        let Next::Gap { from, to, .. } = cursor.next(&second).unwrap() else { panic!("no gap") };
        assert_eq!((from, to), (first.epoch_start() + HEADER, second.epoch_start()));
        assert_eq!(read_all(&mut cursor, &second), [b"kept".to_vec()]);
    }

    #[test]
    fn a_truncated_segment_is_refused_instead_of_mapped() {
        let dir = Scratch::new("truncated");
        let first = Shared::default();
        begin_epoch(&dir.0, &first).unwrap();
        let number = first.epoch_start() / SIZE;
        OpenOptions::new().write(true).open(segment::path(&dir.0, number)).unwrap().set_len(4096).unwrap();
        assert!(matches!(Appender::new(&dir.0).append(&first, b"x"), Err(JournalError::Corrupt { .. })));
        assert!(matches!(begin_epoch(&dir.0, &Shared::default()), Err(JournalError::Corrupt { .. })));
    }

    #[test]
    fn an_oversized_payload_is_refused_and_reserves_nothing() {
        let dir = Scratch::new("large");
        let shared = Shared::default();
        begin_epoch(&dir.0, &shared).unwrap();
        let before = shared.reserved();
        let refused = Appender::new(&dir.0).append(&shared, &vec![0; frame::MAX_PAYLOAD + 1]);
        assert!(matches!(refused, Err(JournalError::TooLarge { .. })));
        assert_eq!(shared.reserved(), before);
        assert!(matches!(
            Appender::new(&dir.0).append(&Shared::default(), b"x"),
            Err(JournalError::NotStarted)
        ));
    }
}
