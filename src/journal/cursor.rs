//! Walking the journal from a position.

use super::map::Map;
use super::segment::{self, HEADER, SIZE};
use super::{JournalError, Position, Shared, frame};
use std::path::PathBuf;

/// What lies at the cursor.
#[derive(Debug)]
pub enum Next<'a> {
    /// A frame; the cursor moved behind it.
    Frame { at: Position, end: Position, payload: &'a [u8] },
    /// The segment at `at` is the first of another epoch: whoever was at work before is dead.
    Epoch { at: Position },
    /// Segments that should be there are missing or damaged: what was in them is lost.
    Gap { from: Position, to: Position, reason: String },
    /// Nothing more for now.
    Wait,
}

/// [`Next`], with the frame's place in its segment instead of its bytes.
enum Step {
    Frame { at: Position, from: usize, to: usize },
    Epoch { at: Position },
    Gap { from: Position, to: Position, reason: String },
    Wait,
}

/// Reads frames in order.
pub struct Cursor {
    directory: PathBuf,
    position: Position,
    open: Option<(Map, segment::Header)>,
    epoch: u64,
}

impl Cursor {
    /// A cursor at `position` of the journal in `directory`.
    ///
    /// `epoch` is the epoch of whatever was read last, 0 if nothing was: a step into another one is
    /// reported once.
    pub fn new(directory: impl Into<PathBuf>, position: Position, epoch: u64) -> Self {
        Self { directory: directory.into(), position, open: None, epoch }
    }

    /// Everything below was read.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Steps to the next frame.
    ///
    /// In the live epoch an unfinished frame means waiting: its owner is at it, and if the owner
    /// died the server restarts and the epoch ends. In an older epoch nobody will finish it, so it
    /// is skipped; what follows is recognised by its checksum.
    pub fn next(&mut self, shared: &Shared) -> Result<Next<'_>, JournalError> {
        Ok(match self.step(shared)? {
            Step::Frame { at, from, to } => match &self.open {
                Some((map, _)) => Next::Frame { at, end: self.position, payload: map.bytes(from, to) },
                None => Next::Wait,
            },
            Step::Epoch { at } => Next::Epoch { at },
            Step::Gap { from, to, reason } => Next::Gap { from, to, reason },
            Step::Wait => Next::Wait,
        })
    }

    fn step(&mut self, shared: &Shared) -> Result<Step, JournalError> {
        loop {
            if self.position >= shared.reserved() {
                return Ok(Step::Wait);
            }
            if self.position.is_multiple_of(SIZE) {
                self.position += HEADER;
                continue;
            }
            let live = self.position >= shared.epoch_start();
            let number = self.position / SIZE;
            if self.open.as_ref().is_none_or(|(map, _)| map.number() != number) {
                if live && self.position >= shared.allocated() {
                    return Ok(Step::Wait);
                }
                self.open = None;
                match self.open_segment(number, shared) {
                    Ok(opened) => self.open = Some(opened),
                    Err(error) if live => return Err(error),
                    Err(error) => return self.skip_lost(number, shared, error),
                }
            }
            let Some((map, header)) = &self.open else { continue };
            if header.epoch != self.epoch {
                self.epoch = header.epoch;
                return Ok(Step::Epoch { at: number * SIZE });
            }
            let offset = (self.position % SIZE) as usize;
            let at = self.position;
            let room = SIZE as usize - offset;
            let end = match frame::open(map.load(offset)) {
                frame::Word::Padding { length, checksum }
                    if length <= room && frame::is_padding(header.key, at, length, checksum) =>
                {
                    self.position += length as u64;
                    continue;
                }
                frame::Word::Frame { length, checksum }
                    if (frame::WORD..=room).contains(&length)
                        && frame::checksum(
                            header.key,
                            at,
                            length as u32,
                            map.bytes(offset + frame::WORD, offset + length),
                        ) == checksum =>
                {
                    offset + length
                }
                _ if live => return Ok(Step::Wait),
                _ => {
                    self.position += frame::ALIGN as u64;
                    continue;
                }
            };
            self.position += frame::footprint(end - offset - frame::WORD) as u64;
            return Ok(Step::Frame { at, from: offset + frame::WORD, to: end });
        }
    }

    fn open_segment(&self, number: u64, shared: &Shared) -> Result<(Map, segment::Header), JournalError> {
        let header = segment::read_header(&self.directory, number)?;
        if header.journal != shared.journal() {
            let path = segment::path(&self.directory, number);
            return Err(JournalError::Corrupt { path, reason: "segment belongs to another journal" });
        }
        Ok((Map::open(&self.directory, number, false)?, header))
    }

    fn skip_lost(&mut self, number: u64, shared: &Shared, error: JournalError) -> Result<Step, JournalError> {
        let from = self.position;
        let present = segment::list(&self.directory)?;
        let next = present.into_iter().find(|n| *n > number).map_or(shared.epoch_start(), |n| n * SIZE);
        self.position = next.min(shared.epoch_start());
        Ok(Step::Gap { from, to: self.position, reason: error.to_string() })
    }
}
