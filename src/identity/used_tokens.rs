//! Which tokens of single-use issuers have named somebody already: a file beside the journal.
//!
//! Promises: [`claim`] says yes once for a token, whoever asks at the same time, also after a
//! ROLLBACK, a restart, a kill -9 or a power cut: the yes is on disk before it is given. A token is
//! known by what its issuer signed, not by the signature: of an ECDSA signature anybody can make
//! a second valid one. No text of a token is in the file.
//!
//! The file: [`HEADER`], then records of [`RECORD`] bytes: SHA-256 of issuer and signed text, the
//! token's `exp` (microseconds since 1970, little-endian), CRC-32C of both. Whoever claims holds
//! the lock on a second file, which is never renamed, from reading to the end of writing. So at
//! most the last record can be unfinished, and nobody was let in by it: it is written over.
//! Anything else that is wrong is damage, which could hide a used token: every claim is refused until
//! somebody removes the file. A file that is not there is an empty one.

use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const FILE: &str = "used_tokens";
const LOCK: &str = "used_tokens.lock";
const TEMPORARY: &str = "used_tokens.new";

/// Name and version of the format.
const HEADER: &[u8; 16] = b"pgc used tokens\x01";
const KEY: usize = 32;
const RECORD: usize = KEY + 8 + 4;

/// A record is kept this long after `exp`, in microseconds: a clock that is set back by less
/// makes no used token new.
const KEPT_AFTER: i64 = 3_600_000_000;
/// Files with fewer records are not worth rewriting.
const WORTH_REWRITING: usize = 256;
/// How long to wait for others, who hold the lock for as long as a disk needs to write.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why nobody can tell whether a token was used.
#[derive(Debug, thiserror::Error)]
pub enum UsedTokensFault {
    #[error("could not {action} file \"{}\": {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("file \"{}\" is damaged", .0.display())]
    Damaged(PathBuf),
    #[error("file \"{}\" is locked by other sessions", .0.display())]
    Busy(PathBuf),
}

impl UsedTokensFault {
    /// Whether it is for want of space.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
    }
}

/// What a token is known by: its issuer and what the issuer signed, header and claims.
pub fn key(issuer: &str, signed: &str) -> [u8; KEY] {
    let mut hash = Sha256::new();
    hash.update((issuer.len() as u64).to_le_bytes());
    hash.update(issuer);
    hash.update(signed);
    hash.finalize().into()
}

/// Whether the token with this key names somebody for the first time; from now on it has.
///
/// `expires` and `now` in microseconds since 1970. `wait` is called again and again while others
/// hold the lock; it should pause for a moment, and may leave by unwinding.
pub fn claim(
    directory: &Path,
    key: &[u8; KEY],
    expires: i64,
    now: i64,
    mut wait: impl FnMut(),
) -> Result<bool, UsedTokensFault> {
    // given back when the file is closed, by whichever way this process leaves
    let _lock = lock(directory, &mut wait)?;
    let path = directory.join(FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(source) => return Err(UsedTokensFault::Io { action: "read", path, source }),
    };
    let records = match &bytes {
        Some(bytes) => records(bytes).ok_or_else(|| UsedTokensFault::Damaged(path.clone()))?,
        None => &[],
    };
    if records.iter().any(|record| record.starts_with(key)) {
        return Ok(false);
    }
    let new = record(key, expires);
    let kept = records.iter().filter(|record| now < expiry(record).saturating_add(KEPT_AFTER));
    let stale = records.len() - kept.clone().count();
    if bytes.is_none() || records.len() >= WORTH_REWRITING && stale * 2 >= records.len() {
        let kept: Vec<u8> = kept.flatten().copied().collect();
        replace(directory, &[HEADER.as_slice(), &kept, &new].concat())?;
    } else {
        let end = (HEADER.len() + records.len() * RECORD) as u64;
        append(&path, &new, end).map_err(|source| UsedTokensFault::Io { action: "write", path, source })?;
    }
    Ok(true)
}

fn lock(directory: &Path, wait: &mut impl FnMut()) -> Result<File, UsedTokensFault> {
    let path = directory.join(LOCK);
    let failed = |source| UsedTokensFault::Io { action: "lock", path: path.clone(), source };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => wait(),
            Err(TryLockError::WouldBlock) => return Err(UsedTokensFault::Busy(path)),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
}

/// The finished records of a file, or `None` if it is damaged.
fn records(bytes: &[u8]) -> Option<&[[u8; RECORD]]> {
    let (records, rest) = bytes.strip_prefix(HEADER)?.as_chunks::<RECORD>();
    let whole = match records.split_last() {
        // the last one, if nothing comes after it, may be one that a crash left half on disk
        Some((last, before)) if rest.is_empty() && !is_sound(last) => before,
        _ => records,
    };
    whole.iter().all(is_sound).then_some(whole)
}

fn record(key: &[u8; KEY], expires: i64) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..KEY].copy_from_slice(key);
    record[KEY..KEY + 8].copy_from_slice(&expires.to_le_bytes());
    let sum = crc32c::crc32c(&record[..KEY + 8]);
    record[KEY + 8..].copy_from_slice(&sum.to_le_bytes());
    record
}

fn is_sound(record: &[u8; RECORD]) -> bool {
    // of zeros, which a crash may leave, the sum is not zero
    record[KEY + 8..] == crc32c::crc32c(&record[..KEY + 8]).to_le_bytes()
}

fn expiry(record: &[u8; RECORD]) -> i64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&record[KEY..KEY + 8]);
    i64::from_le_bytes(bytes)
}

/// Puts a record at `end`, over whatever a crash has left there.
fn append(path: &Path, record: &[u8], end: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(end)?;
    let written = file.write_all_at(record, end).and_then(|()| file.sync_data());
    if written.is_err() {
        // nobody is let in by it, and the next one must not find it in the middle; if this fails
        // too, the next claim writes over the record or finds the damage
        let _ = file.set_len(end);
    }
    written
}

/// Makes a new file of these bytes and puts it in the place of the old one.
fn replace(directory: &Path, bytes: &[u8]) -> Result<(), UsedTokensFault> {
    let temporary = directory.join(TEMPORARY);
    let write = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write()
        .and_then(|()| fs::rename(&temporary, directory.join(FILE)))
        .and_then(|()| File::open(directory)?.sync_all())
        .map_err(|source| {
            let _ = fs::remove_file(&temporary);
            UsedTokensFault::Io { action: "write", path: directory.join(FILE), source }
        })
}
