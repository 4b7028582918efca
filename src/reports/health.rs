//! Whether what the promises rest on is in place: `custodian.status()`.

use super::{ReportsError, store};
use crate::identity;
use crate::journal::segment;
use crate::journal::writer::ensure_allocated;
use crate::ledger::table::{Progress, Tables};
use crate::pg::shared::{self, DatabaseSlot, Process, Shared};
use crate::pg::{remote, session, spi};
use crate::{settings, trail};
use std::sync::atomic::Ordering;

/// Bytes of the journal that may wait for the ledger: what a writer takes in some seconds. More than
/// a segment, for each restart leaves one half empty.
const LAG: u64 = 2 * segment::SIZE;

/// One row of `custodian.status()`.
#[derive(Debug)]
pub struct Check {
    pub name: &'static str,
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What to do, if it is not well.
    pub hint: Option<String>,
}

fn well(name: &'static str, detail: impl Into<String>) -> Check {
    Check { name, ok: true, detail: detail.into(), hint: None }
}

fn bad(name: &'static str, detail: impl Into<String>, hint: &str) -> Check {
    Check { name, ok: false, detail: detail.into(), hint: Some(hint.into()) }
}

/// A check that is well if nothing was found.
fn none(name: &'static str, found: &[String], fine: &str, hint: &str) -> Check {
    if found.is_empty() { well(name, fine) } else { bad(name, found.join("; "), hint) }
}

/// All checks, in the order in which one would mend them.
pub fn checks() -> Result<Vec<Check>, ReportsError> {
    let memory = shared::get();
    let mut checks = vec![library(memory), journal(), syncs()];
    let slot = memory.and_then(|memory| memory.database(session::database().to_u32()));
    checks.push(process("ledger writer", slot, |slot| &slot.writer));
    checks.push(lag(slot));
    if session::in_recovery() {
        checks.push(forwarding(slot));
    }
    checks.push(process("steward", slot, |slot| &slot.steward));
    spi::as_owner(|client| {
        checks.push(none(
            "ledger guards",
            &store::guards_down(client)?,
            "all triggers fire always",
            "Run ALTER TABLE ... ENABLE ALWAYS TRIGGER ... under pg_custodian.maintenance, and find out who disabled it.",
        ));
        checks.push(if settings::maintenance() {
            bad(
                "maintenance",
                "pg_custodian.maintenance is on",
                "Remove it from postgresql.conf and reload, as soon as the work is done.",
            )
        } else {
            well("maintenance", "off")
        });
        checks.push(none(
            "superusers",
            &store::superusers(client)?,
            "no enrolled role is a superuser",
            "Run ALTER ROLE ... NOSUPERUSER: nothing can be enforced on a superuser.",
        ));
        checks.push(none(
            "ways around",
            &store::bypassing(client)?,
            "no enrolled role has attributes or memberships that lead around masks and grants",
            "Take the attribute or the membership from the role.",
        ));
        checks.push(none(
            "protected tables",
            &store::unmasked(client)?,
            "enrolled roles read protected tables through masked views only",
            "Run REVOKE SELECT on the table and GRANT SELECT on its view in schema masked.",
        ));
        checks.push(none(
            "enrolled roles",
            &store::dropped(client)?,
            "all exist",
            "Call custodian.unenroll for roles that were dropped.",
        ));
        checks.push(issuers(store::anybody_needed(client)?)?);
        checks.push(if store::fsync(client)? {
            well("fsync", "on")
        } else {
            bad(
                "fsync",
                "fsync is off: a crash of the machine can damage ledger and data",
                "Set fsync = on in postgresql.conf and reload.",
            )
        });
        Ok(checks)
    })
}

fn library(memory: Option<&Shared>) -> Check {
    match memory {
        Some(_) => well("library", "preloaded"),
        None => bad(
            "library",
            "not preloaded: nothing is recorded or refused",
            "Add pg_custodian to \"shared_preload_libraries\" in postgresql.conf and restart the server.",
        ),
    }
}

/// Whether the journal takes events, and will when its segment is full: makes the next one.
fn journal() -> Check {
    const NAME: &str = "journal";
    const HINT: &str = "See the server log and the directory \"pg_custodian\" of the data directory.";
    let Some(journal) = trail::journal() else { return bad(NAME, "not there without the library", HINT) };
    let room = || {
        journal.started()?;
        ensure_allocated(&trail::directory(), journal, journal.reserved() + segment::SIZE)
    };
    match room() {
        Ok(()) => well(NAME, format!("started, at {}", journal.reserved())),
        Err(error) => bad(NAME, error.to_string(), HINT),
    }
}

/// What `pg_custodian.durability = power_loss` costs, and whether it holds.
fn syncs() -> Check {
    const NAME: &str = "journal syncs";
    const HINT: &str = "A record that was under way when a sync failed is not made good by a later one. Mend or replace the disk; the count begins anew when the server starts.";
    let Some(journal) = trail::journal() else { return bad(NAME, "none without the library", HINT) };
    let ((asked, syncs), failures) = (journal.sync_figures(), journal.sync_failures());
    let detail = format!("{asked} records waited for {syncs} syncs, {failures} of which failed");
    if failures == 0 { well(NAME, detail) } else { bad(NAME, detail, HINT) }
}

fn process(name: &'static str, slot: Option<&DatabaseSlot>, of: fn(&DatabaseSlot) -> &Process) -> Check {
    const HINT: &str =
        "See the server log; each database needs room for two processes in \"max_worker_processes\".";
    let Some(process) = slot.map(of) else { return bad(name, "this database has no slot for it", HINT) };
    let pid = process.pid.load(Ordering::Acquire);
    if process.is_running() {
        well(name, format!("runs as process {pid}"))
    } else if pid != 0 && session::in_recovery() {
        well(name, format!("process {pid} waits to forward or for promotion"))
    } else {
        bad(name, "does not run", HINT)
    }
}

fn lag(slot: Option<&DatabaseSlot>) -> Check {
    const NAME: &str = "ledger lag";
    const HINT: &str = "Wait, or call audit.sync(); if it does not shrink, see the server log.";
    let (Some(slot), Some(journal)) = (slot, trail::journal()) else {
        return bad(NAME, "unknown without the library", "See the other checks.");
    };
    if session::in_recovery() && !slot.writer.is_running() {
        return well(NAME, "nothing is forwarded");
    }
    let position = match slot.writer.is_running() {
        true => slot.position.load(Ordering::Acquire),
        // Since the server's start nobody has said how far the ledger is, but the ledger itself.
        false => match Tables::require().and_then(|tables| Progress::load(&tables)) {
            Ok(progress) => progress.position,
            Err(error) => return bad(NAME, error.to_string(), HINT),
        },
    };
    let behind = journal.reserved().saturating_sub(position);
    let detail = format!("{behind} bytes of the journal are not in the ledger yet");
    if behind <= LAG { well(NAME, detail) } else { bad(NAME, detail, HINT) }
}

/// Whether what is recorded on this standby goes to the primary's ledger.
fn forwarding(slot: Option<&DatabaseSlot>) -> Check {
    const NAME: &str = "forwarding";
    if remote::address().is_none() {
        return bad(
            NAME,
            "what is recorded here is kept in the journal, and in no ledger before a promotion",
            "Name the primary in \"pg_custodian.forward_to\".",
        );
    }
    match slot.is_some_and(|slot| slot.writer.is_running()) {
        true => well(NAME, "goes to the primary's ledger"),
        false => bad(
            NAME,
            "the primary cannot be reached; what is recorded here is kept in the journal until it can",
            "The server log says why.",
        ),
    }
}

fn issuers(needed: bool) -> Result<Check, ReportsError> {
    const NAME: &str = "issuers";
    let known = identity::issuers()?;
    if known.is_empty() && needed {
        return Ok(bad(
            NAME,
            "roles need a person, and no issuer is trusted",
            "Call custodian.trust_issuer(issuer, jwks, audience).",
        ));
    }
    let faults: Vec<String> =
        known.iter().filter_map(|(issuer, fault)| Some(format!("{issuer}: {}", fault.as_ref()?))).collect();
    Ok(none(
        NAME,
        &faults,
        &format!("{} trusted, all with usable keys", known.len()),
        "Register the issuer anew with custodian.trust_issuer(issuer, jwks, audience).",
    ))
}
