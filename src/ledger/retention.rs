//! The end of old rows: verified, exported, removed, and what they proved is kept.
//!
//! Whole months go, the oldest first, so that what stays is one run of numbers. Under a lock that keeps the
//! writer out, a partition is verified and written to a file, which is on disk before the partition is
//! dropped; its last hash stays in audit.retired, where the next verification begins, and in the
//! chain itself as an event. Whoever rolls back keeps the rows, and a file that nothing refers to.

use super::chain::{Hash, Head};
use super::partition::Month;
use super::table::{self, Partition, Tables};
use super::{LedgerError, reader, retired, store};
use crate::event::{Note, Outcome};
use crate::pg::append::{self, Place};
use crate::pg::rows::{self, Row};
use crate::pg::{catalog, session};
use crate::{settings, trail};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// A partition that has gone.
#[derive(Debug)]
pub struct Retired {
    pub name: String,
    pub first_seq: i64,
    pub rows: i64,
    /// The chain before its first row, and at its last one.
    pub before: Hash,
    pub last: Head,
    /// The file, and SHA-256 over all its bytes.
    pub file: String,
    pub digest: Hash,
}

/// Retires the partitions of the months that had ended `keep` microseconds ago.
pub fn retain(keep: i128) -> Result<Vec<Retired>, LedgerError> {
    let keep = i64::try_from(keep).ok().filter(|keep| *keep >= 0);
    let keep = keep.ok_or_else(|| LedgerError::BadArgument("the interval must not be negative".into()))?;
    let directory = settings::export_directory().ok_or(LedgerError::NoExportDirectory)?;
    let tables = Tables::require()?;
    let mut retired = Vec::new();
    let mut head = retired::base()?;
    for partition in tables.partitions()? {
        let over = Month::named(&partition.name)
            .is_some_and(|month| month.next().start() <= session::now().saturating_sub(keep));
        if !over {
            break;
        }
        // Whoever stores rows there is waited for; from here on nobody does.
        store::lock_partition(&partition.name)?;
        if let Some(gone) = export(&partition, head, &directory)? {
            head = gone.last;
            record(&gone)?;
            retired.push(gone);
        }
        store::drop_partition(&partition.name)?;
    }
    Ok(retired)
}

/// Verifies a partition and writes it to a file. `None` if it has no rows.
fn export(partition: &Partition, before: Head, directory: &Path) -> Result<Option<Retired>, LedgerError> {
    let last = walk(partition, before, |_, _| Ok(()))?;
    if last == before {
        return Ok(None);
    }
    let (first_seq, rows) = (before.seq + 1, last.seq - before.seq);
    let path = directory.join(format!(
        "{}.{}.jsonl",
        file_name(&String::from_utf8_lossy(&session::database_name())),
        partition.name
    ));
    let failed = |source: io::Error| LedgerError::Export { path: path.clone(), source };
    let file = File::options().write(true).create_new(true).open(&path).map_err(failed)?;
    let written = (|| {
        let mut out = Hashed { file: BufWriter::with_capacity(1 << 20, file), digest: Sha256::new() };
        let header = json!({
            "format": "pg_custodian ledger", "version": 1, "encoding": super::row::VERSION,
            "partition": partition.name, "columns": &table::NAMES[..],
            "first_seq": first_seq, "last_seq": last.seq, "rows": rows,
            "previous_hash": hex::encode(before.hash), "last_hash": hex::encode(last.hash),
        });
        writeln!(out, "{header}").map_err(failed)?;
        let again = walk(partition, before, |seq, values| {
            let line = reader::to_json(&table::NAMES, values).ok_or(LedgerError::NotExportable { seq })?;
            writeln!(out, "{line}").map_err(failed)
        })?;
        if again != last {
            return Err(LedgerError::Altered { seq: again.seq + 1 });
        }
        let digest = out.digest.finalize().into();
        let file = out.file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(digest)
    })();
    let digest = match written {
        Ok(digest) => digest,
        Err(error) => {
            // What is not whole must not pass for an export; that it cannot be removed changes nothing.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
    };
    let (name, file) = (partition.name.clone(), path.to_string_lossy().into_owned());
    Ok(Some(Retired { name, first_seq, rows, before: before.hash, last, file, digest }))
}

/// Walks the rows of a partition along the chain from `head` on, and returns where that ends.
fn walk(
    partition: &Partition,
    mut head: Head,
    mut each: impl FnMut(i64, &Row<'_>) -> Result<(), LedgerError>,
) -> Result<Head, LedgerError> {
    let (mut scratch, mut problem) = (Vec::with_capacity(1024), None);
    rows::with_newest_state(|| {
        rows::scan(partition.relid, 0..rows::blocks(partition.relid), |_, row| {
            let seq = head.seq + 1;
            let looked = match head.after_read(row, &mut scratch) {
                Ok(next) if reader::number(row) == seq && reader::stored(row) == Some(next.hash) => {
                    head = next;
                    each(seq, row)
                }
                _ => Err(LedgerError::Altered { seq }),
            };
            problem = looked.err();
            problem.is_none()
        })
    });
    problem.map_or(Ok(head), Err)
}

/// Leaves the digest: in audit.retired, and as an event in the chain.
fn record(gone: &Retired) -> Result<(), LedgerError> {
    let Some(retired) = catalog::relation("audit", "retired") else { return Ok(()) };
    append::append(retired, &[], &mut Place::default(), 1, |_, former| {
        former.text(gone.name.as_bytes());
        former.integer(gone.first_seq);
        former.integer(gone.last.seq);
        former.integer(gone.rows);
        former.text(&gone.before);
        former.text(&gone.last.hash);
        former.text(gone.file.as_bytes());
        former.text(&gone.digest);
        former.integer(session::now());
        true
    })?;
    let detail = json!({
        "first_seq": gone.first_seq, "last_seq": gone.last.seq, "last_hash": hex::encode(gone.last.hash),
        "file": gone.file, "sha256": hex::encode(gone.digest),
    });
    let (object, detail) = (Some(gone.name.clone()), Some(detail.to_string()));
    trail::note(&Note { event: "retention", outcome: Outcome::Ok, sqlstate: None, object, detail })?;
    Ok(())
}

/// A database's name where it can be none of a path.
fn file_name(database: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-_".contains(c) { c } else { '_' };
    database.chars().map(plain).collect()
}

struct Hashed {
    file: BufWriter<File>,
    digest: Sha256,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
