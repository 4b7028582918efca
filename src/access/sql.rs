//! The SQL functions of schema `access`, declared in sql/schema/20_access.sql, and what the steward
//! sees of sessions, in 60_reports.sql.

use crate::access::grant::{self, Asked};
use crate::error::report;
use crate::event::session_name;
use crate::identity::live::LivePerson;
use crate::pg::{catalog, session, sessions};
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::Oid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// `access.grant_access`
#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)] // the arguments of the SQL function
fn grant_access(
    user_id: Option<String>,
    privileges: Option<Vec<Option<String>>>,
    on_object: Option<String>,
    duration: Option<Interval>,
    reason: Option<String>,
    ticket: Option<String>,
    rows: Option<String>,
    group_name: Option<String>,
    issuer: Option<String>,
    starts_at: Option<TimestampWithTimeZone>,
) -> Result<i64, ErrorReport> {
    let duration = duration.map(|interval| interval.as_micros());
    let starts_at = starts_at.map(i64::from);
    let asked = Asked {
        user_id,
        issuer,
        group_name,
        privileges,
        on_object,
        duration,
        reason,
        ticket,
        rows,
        starts_at,
    };
    grant::give(asked).map_err(report)
}

/// `access.numbering`
#[pg_extern(sql = false)]
fn access_numbering() -> Option<String> {
    catalog::numbering()
}

/// `access.revoke_access`
#[pg_extern(sql = false)]
fn revoke_access(grant_id: Option<i64>, reason: Option<String>) -> Result<(), ErrorReport> {
    grant::revoke(grant_id, reason).map_err(report)
}

/// `custodian.live_sessions`: what sessions of this database show, once they have run anything.
#[allow(clippy::type_complexity)] // the columns, which pgrx reads off the signature
#[pg_extern(sql = false)]
fn live_sessions() -> TableIterator<
    'static,
    (
        name!(pid, i32),
        name!(session, String),
        name!(session_role, Oid),
        name!(role, Oid),
        name!(issuer, Option<String>),
        name!(user_id, Option<String>),
        name!(email, Option<String>),
        name!(token_id, Option<String>),
        name!(identified_at, Option<TimestampWithTimeZone>),
        name!(issued_at, Option<TimestampWithTimeZone>),
        name!(expires_at, Option<TimestampWithTimeZone>),
        name!(running_since, Option<TimestampWithTimeZone>),
    ),
> {
    let time = |micros: Option<i64>| micros.and_then(|at| TimestampWithTimeZone::try_from(at).ok());
    let rows = sessions::of_database(session::database().to_u32()).into_iter().map(move |view| {
        let person = LivePerson::of(&view);
        let since = time(person.as_ref().map(|person| person.since));
        let issued = time(person.as_ref().and_then(|person| person.issued_at));
        let expires = time(person.as_ref().map(|person| person.expires_at));
        let [issuer, user_id, email, token_id] = match person {
            Some(person) => [Some(person.issuer), Some(person.user_id), person.email, person.token_id],
            None => [const { None }; 4],
        };
        (
            view.pid,
            session_name(view.session),
            Oid::from(view.session_role),
            Oid::from(view.role),
            issuer,
            user_id,
            email,
            token_id,
            since,
            issued,
            expires,
            time(view.running_since),
        )
    });
    TableIterator::new(rows)
}
