//! Walking the journal from a position.

use super::io::Reading;
use super::segment::{self, HEADER, Header, SIZE};
use super::{JournalError, Position, Shared, frame};
use std::path::PathBuf;

/// What lies at the cursor.
#[derive(Debug)]
pub enum Next<'a> {
    /// A frame; the cursor moved behind it.
    Frame { at: Position, end: Position, payload: &'a [u8] },
    /// The segment at `at` is the first of another epoch: whoever was at work before is dead.
    Epoch { at: Position },
    /// What should be there is missing, damaged or was never finished: what was in it is lost.
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
    open: Option<(Reading, Header)>,
    epoch: u64,
    /// Where something that is no frame begins, in an epoch that is over.
    hole: Option<Position>,
    /// Whether there are other bytes than zero in it.
    soiled: bool,
}

const UNFINISHED: &str = "a record was not finished";

impl Cursor {
    /// A cursor at `position` of the journal in `directory`.
    ///
    /// `epoch` is the epoch of whatever was read last, 0 if nothing was: a step into another one is
    /// reported once.
    pub fn new(directory: impl Into<PathBuf>, position: Position, epoch: u64) -> Self {
        Self { directory: directory.into(), position, open: None, epoch, hole: None, soiled: false }
    }

    /// Everything below was read.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Steps to the next frame.
    ///
    /// In the live epoch an unfinished frame means waiting: its owner is at it, and if the owner
    /// died the server restarts and the epoch ends. In an older epoch nobody will finish it, so it
    /// is skipped, and reported if something follows or was begun there; what follows is recognised by
    /// its checksum.
    pub fn next(&mut self, shared: &Shared) -> Result<Next<'_>, JournalError> {
        Ok(match self.step(shared)? {
            Step::Frame { at, from, to } => match &self.open {
                Some((reading, _)) => {
                    Next::Frame { at, end: self.position, payload: reading.again(from, to) }
                }
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
            if self.open.as_ref().is_none_or(|(reading, _)| reading.number() != number) {
                if live && self.position >= shared.allocated() {
                    return Ok(Step::Wait);
                }
                self.open = None;
                match self.open_segment(number, live, shared) {
                    Ok(opened) => self.open = Some(opened),
                    Err(error) if error.is_loss() && self.is_left(number, shared) => {
                        return self.skip_lost(number, shared, &error);
                    }
                    Err(error) => return Err(error),
                }
            }
            let Some((reading, header)) = &mut self.open else { continue };
            if header.epoch != self.epoch {
                let epoch = header.epoch;
                // Zeros at the end of an epoch are where nobody came to.
                if let Some(from) = self.hole.take().filter(|_| self.soiled) {
                    self.soiled = false;
                    return Ok(Step::Gap { from, to: number * SIZE, reason: UNFINISHED.into() });
                }
                self.epoch = epoch;
                return Ok(Step::Epoch { at: number * SIZE });
            }
            let offset = (self.position % SIZE) as usize;
            let at = self.position;
            if offset + frame::WORD > reading.length() {
                let from = self.hole.take().unwrap_or(at);
                self.soiled = false;
                self.position = (number + 1) * SIZE;
                let reason = segment::TRUNCATED.to_string();
                return Ok(Step::Gap { from, to: self.position, reason });
            }
            let room = reading.length() - offset;
            let limit =
                if live { (shared.reserved() - number * SIZE).min(SIZE) as usize } else { reading.length() };
            let word = reading.load(offset, limit)?;
            let found = match frame::open(word) {
                frame::Word::Padding { length, checksum }
                    if length <= SIZE as usize - offset
                        && frame::is_padding(header.key, at, length, checksum) =>
                {
                    Some((None, length as u64))
                }
                frame::Word::Frame { length, checksum }
                    if (frame::WORD..=room).contains(&length)
                        && frame::checksum(
                            header.key,
                            at,
                            length as u32,
                            reading.bytes(offset + frame::WORD, offset + length, limit)?,
                        ) == checksum =>
                {
                    Some((Some(offset + length), frame::footprint(length - frame::WORD) as u64))
                }
                _ => None,
            };
            let Some((frame, footprint)) = found else {
                if !live {
                    self.hole.get_or_insert(at);
                    self.soiled |= word != 0;
                    self.position += frame::ALIGN as u64;
                    continue;
                }
                reading.look_again();
                if shared.reserved() / SIZE > number
                    && let Err(error) = segment::read_header(&self.directory, number)
                    && error.is_loss()
                {
                    // It was removed, and whoever opens it no more goes on in the next one.
                    return self.skip_lost(number, shared, &error);
                }
                return Ok(Step::Wait);
            };
            if let Some(from) = self.hole.take() {
                self.soiled = false;
                return Ok(Step::Gap { from, to: at, reason: UNFINISHED.into() });
            }
            self.position += footprint;
            if let Some(to) = frame {
                return Ok(Step::Frame { at, from: offset + frame::WORD, to });
            }
        }
    }

    fn open_segment(
        &self,
        number: u64,
        live: bool,
        shared: &Shared,
    ) -> Result<(Reading, Header), JournalError> {
        let (header, length) = segment::inspect(&self.directory, number)?;
        let path = || segment::path(&self.directory, number);
        if header.journal != shared.journal() {
            return Err(JournalError::Corrupt { path: path(), reason: "segment belongs to another journal" });
        }
        // What is left of one that was cut can be read when nobody writes to it any more.
        if live && length != SIZE {
            return Err(JournalError::Corrupt { path: path(), reason: segment::TRUNCATED });
        }
        Ok((Reading::open(&self.directory, number, length, shared.io())?, header))
    }

    /// Whether nobody appends to segment `number` any more.
    fn is_left(&self, number: u64, shared: &Shared) -> bool {
        self.position < shared.epoch_start() || shared.reserved() / SIZE > number
    }

    fn skip_lost(
        &mut self,
        number: u64,
        shared: &Shared,
        error: &JournalError,
    ) -> Result<Step, JournalError> {
        let from = self.hole.take().unwrap_or(self.position);
        self.soiled = false;
        self.open = None;
        let present = segment::list(&self.directory)?;
        let next = present.into_iter().find(|n| *n > number).map_or(shared.reserved(), |n| n * SIZE);
        // The live epoch is never passed over as a whole.
        let end = match self.position < shared.epoch_start() {
            true => shared.epoch_start(),
            false => shared.reserved(),
        };
        self.position = next.min(end);
        Ok(Step::Gap { from, to: self.position, reason: error.to_string() })
    }
}
