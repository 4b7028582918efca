//! Appending: reserve, copy, publish. By pwrite: copy, then reserve.

use super::io::Writing;
use super::segment::{self, HEADER, SIZE};
use super::{Io, JournalError, Position, Shared, frame, map};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

pub use super::recovery::ensure_allocated;

/// Where a frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It lies right before this position.
    Before(Position),
    /// It was not written: it would have come to lie in this segment.
    Elsewhere(u64),
}

/// One process's way into the journal. Keeps at most two segments open.
pub struct Appender {
    directory: PathBuf,
    open: [Option<Writing>; 2],
    lock: Option<File>,
    buffer: Vec<u8>,
}

/// Where the next frame would lie.
struct Room {
    at: Position,
    start: Position,
    /// Bytes from `at` to the end of its segment, if the frame does not fit there.
    padding: Option<usize>,
}

impl Room {
    /// Frames do not straddle segments; the rest of one is declared unused.
    fn after(at: Position, need: u64) -> Self {
        let offset = at % SIZE;
        let (start, padding) = match offset {
            0 => (at + HEADER, None),
            _ if offset + need <= SIZE => (at, None),
            _ => (at - offset + SIZE + HEADER, Some((SIZE - offset) as usize)),
        };
        Self { at, start, padding }
    }
}

impl Appender {
    /// An appender to the journal in `directory`. Opens nothing yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), open: [None, None], lock: None, buffer: Vec::new() }
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
    /// Everything that can fail happens before the reservation: a range that was reserved and
    /// never published would stop every reader. Mapped, that is making and mapping the segment; by pwrite it is
    /// writing, too, so there one appends after the other.
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
        match shared.io() {
            Io::Mmap => self.append_unlocked(shared, payload, segment),
            Io::Pwrite => self.append_locked(shared, payload, segment),
        }
    }

    #[inline(never)]
    fn append_locked(
        &mut self,
        shared: &Shared,
        payload: &[u8],
        segment: u64,
    ) -> Result<Placed, JournalError> {
        let lock = match self.lock.take() {
            Some(lock) => lock,
            None => segment::open_lock(&self.directory, "lock.append")?,
        };
        let failed = |e| JournalError::io("lock", self.directory.join("lock.append"), e);
        map::lock(lock.as_raw_fd()).map_err(failed)?;
        let placed = self.append_unlocked(shared, payload, segment);
        // If this should fail, closing the file frees the lock as well.
        self.lock = map::unlock(lock.as_raw_fd()).ok().map(|()| lock);
        placed
    }

    fn append_unlocked(
        &mut self,
        shared: &Shared,
        payload: &[u8],
        segment: u64,
    ) -> Result<Placed, JournalError> {
        let need = frame::footprint(payload.len()) as u64;
        loop {
            let room = Room::after(shared.reserved(), need);
            if room.start / SIZE != segment {
                return Ok(Placed::Elsewhere(room.start / SIZE));
            }
            if !self.prepare(shared, &room, need)? {
                continue;
            }
            let end = room.start + need;
            let put = match shared.io() {
                Io::Mmap => self.put_mapped(shared, &room, end, payload)?,
                Io::Pwrite => self.put_written(shared, &room, end, payload)?,
            };
            if put {
                return Ok(Placed::Before(end));
            }
        }
    }

    /// Reserves the range and copies. False: the journal's end has moved.
    fn put_mapped(
        &mut self,
        shared: &Shared,
        room: &Room,
        end: Position,
        payload: &[u8],
    ) -> Result<bool, JournalError> {
        let key = shared.key();
        if !shared.reserve(room.at, end) {
            return Ok(false);
        }
        if let Some(length) = room.padding {
            self.publish(room.at, &[], frame::seal_padding(key, room.at, length))?;
        }
        self.publish(room.start, payload, frame::seal(key, room.start, payload))?;
        Ok(true)
    }

    /// Nobody else appends. What fails in the middle leaves bytes that are no frame, behind the journal's end.
    #[inline(never)]
    fn put_written(
        &mut self,
        shared: &Shared,
        room: &Room,
        end: Position,
        payload: &[u8],
    ) -> Result<bool, JournalError> {
        let key = shared.key();
        if let Some(length) = room.padding {
            self.write(room.at, &frame::seal_padding(key, room.at, length).to_le_bytes())?;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.extend_from_slice(&frame::seal(key, room.start, payload).to_le_bytes());
        buffer.extend_from_slice(payload);
        let written = self.write(room.start, &buffer);
        self.buffer = buffer;
        written?;
        shared.advance(end);
        Ok(true)
    }

    /// Sees that the segments for a frame exist and are open. False: the journal's end has moved.
    fn prepare(&mut self, shared: &Shared, room: &Room, need: u64) -> Result<bool, JournalError> {
        if room.start + need > shared.allocated() {
            ensure_allocated(&self.directory, shared, room.start + need)?;
            return Ok(false);
        }
        for number in room.at / SIZE..=room.start / SIZE {
            if !self.has_open(number) && !self.open_for(shared, room, number)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    #[cold]
    fn open_for(&mut self, shared: &Shared, room: &Room, number: u64) -> Result<bool, JournalError> {
        match self.opened(number, shared.io()) {
            Ok(_) => Ok(true),
            // Somebody has removed or cut it. What is in it is lost, and readers will say so; nothing that
            // is to come needs to be.
            Err(error) if error.is_loss() => self.pass_over(shared, room, number).map(|()| false),
            Err(error) => Err(error),
        }
    }

    /// Moves the journal's end beyond segment `number`, or up to it if the end is not there yet.
    #[cold]
    fn pass_over(&mut self, shared: &Shared, room: &Room, number: u64) -> Result<(), JournalError> {
        let Some(length) = room.padding.filter(|_| room.at / SIZE != number) else {
            shared.reserve(room.at, (number + 1) * SIZE);
            return Ok(());
        };
        let padding = frame::seal_padding(shared.key(), room.at, length);
        if shared.io() == Io::Pwrite {
            self.write(room.at, &padding.to_le_bytes())?;
        }
        match shared.reserve(room.at, number * SIZE) {
            true => self.publish(room.at, &[], padding),
            false => Ok(()),
        }
    }

    fn publish(&mut self, at: Position, payload: &[u8], word: u64) -> Result<(), JournalError> {
        if let Some(Writing::Mapped(map)) = self.open.iter().flatten().find(|open| open.number() == at / SIZE)
        {
            map.publish((at % SIZE) as usize, payload, word);
        }
        Ok(())
    }

    fn write(&mut self, at: Position, bytes: &[u8]) -> Result<(), JournalError> {
        let Writing::File { file, .. } = self.opened(at / SIZE, Io::Pwrite)? else { return Ok(()) };
        file.write_all_at(bytes, at % SIZE)
            .map_err(|e| JournalError::io("write", segment::path(&self.directory, at / SIZE), e))
    }

    fn has_open(&self, number: u64) -> bool {
        self.open.iter().flatten().any(|open| open.number() == number)
    }

    /// The older segment makes room: an append touches a segment and at most its successor, and both
    /// must stay open from the reservation to the last store.
    fn opened(&mut self, number: u64, io: Io) -> Result<&Writing, JournalError> {
        let number_at = |place: &Option<Writing>| place.as_ref().map(Writing::number);
        let found = self.open.iter().position(|place| number_at(place) == Some(number));
        let place = match found {
            Some(place) => place,
            None => {
                let opened = Writing::open(&self.directory, number, io)?;
                let older = usize::from(number_at(&self.open[0]) > number_at(&self.open[1]));
                self.open[older] = Some(opened);
                older
            }
        };
        self.open[place].as_ref().ok_or(JournalError::NotStarted { full: false })
    }
}
