//! The SQL of credentials: `access.issued_credential`, and the roles that belong to it.

use super::error::CredentialError;
use super::issue::{Asker, Holder};
use crate::access::object::{identifier, literal};
use crate::access::store::moment;
use crate::error::ServerError;
use crate::identity::Person;
use crate::pg::{catalog, spi};
use crate::settings;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::Oid;
use pgrx::spi::SpiClient;

fn missing(column: &'static str) -> CredentialError {
    ServerError::UnexpectedNull(column).into()
}

// ---- what sessions ask, without SQL

/// A credential whose role has not been removed yet.
pub struct Kept {
    pub id: i64,
    pub role: Oid,
    pub grant: i64,
    pub issuer: String,
    pub user_id: String,
    pub email: Option<String>,
    pub groups: Vec<String>,
    /// Microseconds since 2000, as all times here.
    pub valid_until: i64,
    pub issued_at: i64,
    pub has_ended: bool,
}

const KEPT: &[&str] = &[
    "id",
    "role_id",
    "numbered_in",
    "removed_at",
    "grant_id",
    "issuer",
    "user_id",
    "email",
    "groups",
    "valid_until",
    "issued_at",
    "ended_at",
];

/// The credential of a role of this database. A row that cannot be understood in full is one that has ended.
pub fn kept(role: Oid) -> Result<Option<Kept>, ServerError> {
    let mut found = None;
    catalog::rows("access", "issued_credential", KEPT, |row| {
        if row.oid(1) == Some(role) && row.bigint(3).is_none() {
            let kept = Kept {
                id: row.bigint(0).unwrap_or_default(),
                role,
                grant: row.bigint(4).unwrap_or_default(),
                issuer: row.text(5).unwrap_or_default(),
                user_id: row.text(6).unwrap_or_default(),
                email: row.text(7),
                groups: row.texts(8).unwrap_or_default(),
                valid_until: row.bigint(9).unwrap_or(i64::MIN),
                issued_at: row.bigint(10).unwrap_or(i64::MIN),
                has_ended: row.bigint(11).is_some(),
            };
            found = row.text(2).map(|place| (place, kept));
        }
    })?;
    let here = catalog::numbering();
    Ok(found.filter(|(place, _)| Some(place) == here.as_ref()).map(|(_, kept)| kept))
}

/// When a credential ends: with its grant, and no later than was said. `None` if it has been ended, or the grant is gone.
pub fn end_of(kept: &Kept) -> Result<Option<i64>, ServerError> {
    let mut end = None;
    catalog::rows("access", "issued_grant", &["id", "ends_at", "revoked_at"], |row| {
        if row.bigint(0) == Some(kept.grant) && row.bigint(2).is_none() {
            end = row.bigint(1);
        }
    })?;
    Ok(end.filter(|_| !kept.has_ended).map(|end| end.min(kept.valid_until)))
}

// ---- issuing

/// The grant that a credential is asked for.
pub struct Grant {
    pub user_id: Option<String>,
    pub group: Option<String>,
    pub issuer: Option<String>,
    pub starts_at: i64,
    pub ends_at: i64,
    pub is_revoked: bool,
}

impl Grant {
    /// Whether it is this person's, by name or by group.
    pub fn is_of(&self, person: &Person) -> bool {
        let vouched = self.issuer.as_ref().is_none_or(|issuer| *issuer == person.issuer);
        let named = self.user_id.as_ref().is_some_and(|user_id| *user_id == person.user_id);
        vouched && (named || self.group.as_ref().is_some_and(|group| person.is_in(group)))
    }
}

/// Lets one transaction at a time give and take privileges of credentials: two that change the privileges on one table
/// at once disturb each other. Nobody but these waits for it.
pub fn serialize(client: &mut SpiClient<'_>) -> Result<(), CredentialError> {
    client.update("LOCK TABLE access.issued_credential IN SHARE UPDATE EXCLUSIVE MODE", None, &[])?;
    Ok(())
}

pub fn grant(client: &mut SpiClient<'_>, id: i64) -> Result<Option<Grant>, CredentialError> {
    let rows = client.update(
        "SELECT g.user_id, g.group_name, g.issuer, g.starts_at, g.ends_at, g.revoked_at IS NOT NULL \
         FROM access.issued_grant AS g WHERE g.id = $1 FOR SHARE",
        None,
        &[id.into()],
    )?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let time = |place: usize| -> Result<i64, CredentialError> {
        let time: Option<TimestampWithTimeZone> = row.get(place)?;
        time.map(i64::from).ok_or_else(|| missing("issued_grant.ends_at"))
    };
    Ok(Some(Grant {
        user_id: row.get(1)?,
        group: row.get(2)?,
        issuer: row.get(3)?,
        starts_at: time(4)?,
        ends_at: time(5)?,
        is_revoked: row.get::<bool>(6)?.unwrap_or(true),
    }))
}

/// The trusted issuer, if there is just one.
pub fn only_issuer() -> Result<Option<String>, ServerError> {
    let mut names = Vec::new();
    catalog::rows("custodian", "issuer", &["issuer"], |row| names.extend(row.text(0)))?;
    Ok(if names.len() == 1 { names.pop() } else { None })
}

/// Ends what the holder has of the grant already; the steward does the rest.
pub fn replace(
    client: &mut SpiClient<'_>,
    grant: i64,
    holder: &Holder,
    now: i64,
) -> Result<(), CredentialError> {
    client.update(
        "UPDATE access.issued_credential SET ended_at = $4, end_reason = 'replaced' \
         WHERE grant_id = $1 AND issuer = $2 AND user_id = $3 AND ended_at IS NULL",
        None,
        &[grant.into(), holder.issuer.as_str().into(), holder.user_id.as_str().into(), moment(now).into()],
    )?;
    Ok(())
}

/// A time as VALID UNTIL takes it, whatever the session's settings.
pub fn spelled(client: &SpiClient<'_>, at: i64) -> Result<String, CredentialError> {
    let spelled = client.select(
        "SELECT pg_catalog.to_char($1 AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'",
        Some(1),
        &[moment(at).into()],
    )?;
    spelled.first().get_one()?.ok_or_else(|| missing("valid_until"))
}

/// Marks a role as made here, for whoever finds it.
pub fn mark(
    client: &mut SpiClient<'_>,
    role: &str,
    user_id: &str,
    grant: i64,
) -> Result<(), CredentialError> {
    let place = catalog::numbering().ok_or(ServerError::NotInstalled)?;
    let (name, mark) = (identifier(role), literal(&super::mark(&place, role)));
    client.update(&format!("ALTER ROLE {name} SET pg_custodian.credential = {mark}"), None, &[])?;
    let comment = format!("pg_custodian: credential of \"{user_id}\" for grant {grant}; goes with it");
    client.update(&format!("COMMENT ON ROLE {name} IS {}", literal(&comment)), None, &[])?;
    Ok(())
}

/// Files a credential and returns its number. The limits of the enrolled role on which it was asked for are its own.
pub fn file(
    client: &mut SpiClient<'_>,
    grant: i64,
    holder: &Holder,
    (role, name): (Oid, &str),
    valid_until: i64,
    asker: &Asker,
    now: i64,
) -> Result<i64, CredentialError> {
    let person = asker.person.as_deref();
    let filed = client.update(
        "INSERT INTO access.issued_credential (role_id, role_name, verifier_digest, grant_id, issuer, user_id, email, \
             groups, valid_until, row_limit, rows_per_hour, ad_hoc, issued_at, issued_by, issued_by_issuer, \
             issued_by_token, issued_by_role) \
         SELECT r.oid, r.rolname, pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(r.rolpassword, 'UTF8')), 'hex'), \
             $3, $4, $5, $6, $7, $8, e.row_limit, e.rows_per_hour, coalesce(e.ad_hoc, true), $9, $10, $11, $12, \
             pg_catalog.pg_get_userbyid($13) \
         FROM pg_catalog.pg_authid AS r LEFT JOIN custodian.enrolled_role AS e ON e.role = $14 \
         WHERE r.oid = $1 AND r.rolname = $2::pg_catalog.name RETURNING id",
        None,
        &[
            role.into(),
            name.into(),
            grant.into(),
            holder.issuer.as_str().into(),
            holder.user_id.as_str().into(),
            holder.email.clone().into(),
            holder.groups.clone().into(),
            moment(valid_until).into(),
            moment(now).into(),
            person.map(|person| person.user_id.clone()).into(),
            person.map(|person| person.issuer.clone()).into(),
            person.and_then(|person| person.token_id.clone()).into(),
            asker.role.into(),
            asker.enrolled.into(),
        ],
    )?;
    filed.first().get_one()?.ok_or_else(|| missing("issued_credential.id"))
}

// ---- ends

/// What makes a role another one than was made: more than a login, another password or end, a place among others.
const ALTERED: &str = "(r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls \
     OR c.verifier_digest IS DISTINCT FROM \
         pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(r.rolpassword, 'UTF8')), 'hex') \
     OR r.rolvaliduntil IS NULL OR r.rolvaliduntil > c.valid_until \
     OR EXISTS (SELECT FROM pg_catalog.pg_auth_members AS m WHERE r.oid IN (m.member, m.roleid)))";

/// Whether somebody has made another role of it.
pub fn is_altered(role: Oid) -> Result<bool, CredentialError> {
    let altered = format!(
        "SELECT {ALTERED} FROM access.issued_credential AS c JOIN pg_catalog.pg_authid AS r ON r.oid = c.role_id \
         WHERE c.role_id = $1 AND c.removed_at IS NULL AND c.numbered_in = access.numbering()"
    );
    spi::as_owner(|client| {
        let found = client.select(&altered, Some(1), &[role.into()])?;
        if found.is_empty() { Ok(true) } else { Ok(found.first().get_one()?.unwrap_or(true)) }
    })
}

/// A credential whose role is still to be dealt with.
pub struct Waiting {
    pub id: i64,
    /// The role, under the name that it has now; none if it is gone.
    pub role: Option<(Oid, String)>,
    pub filed_name: String,
    pub grant: i64,
    pub issuer: String,
    pub user_id: String,
    pub issued_at: i64,
    /// When it ends by itself.
    pub until: i64,
    pub has_ended: bool,
    /// Why it is to be ended, if it is.
    pub why: Option<String>,
}

/// All credentials whose roles have not been removed.
pub fn waiting(client: &SpiClient<'_>, now: i64) -> Result<Vec<Waiting>, CredentialError> {
    let query = format!(
        "SELECT c.id, r.oid, r.rolname::text, c.role_name, c.grant_id, c.issuer, c.user_id, c.issued_at, \
             least(g.ends_at, c.valid_until), c.ended_at IS NOT NULL, \
             CASE WHEN c.numbered_in <> access.numbering() THEN 'elsewhere' \
                 WHEN r.oid IS NULL THEN 'role dropped' \
                 WHEN g.id IS NULL THEN 'grant gone' \
                 WHEN g.revoked_at IS NOT NULL THEN 'revoked' \
                 WHEN least(g.ends_at, c.valid_until) <= $1 THEN 'expired' \
                 WHEN {ALTERED} THEN 'altered' END \
         FROM access.issued_credential AS c \
             LEFT JOIN pg_catalog.pg_authid AS r ON r.oid = c.role_id AND c.numbered_in = access.numbering() \
             LEFT JOIN access.issued_grant AS g ON g.id = c.grant_id \
         WHERE c.removed_at IS NULL ORDER BY c.id"
    );
    let mut found = Vec::new();
    for row in client.select(&query, None, &[moment(now).into()])? {
        let time = |time: Option<TimestampWithTimeZone>| time.map(i64::from);
        let role: Option<Oid> = row.get(2)?;
        found.push(Waiting {
            id: row.get(1)?.ok_or_else(|| missing("issued_credential.id"))?,
            role: role.zip(row.get(3)?),
            filed_name: row.get(4)?.unwrap_or_default(),
            grant: row.get(5)?.unwrap_or_default(),
            issuer: row.get(6)?.unwrap_or_default(),
            user_id: row.get(7)?.unwrap_or_default(),
            issued_at: time(row.get(8)?).unwrap_or(i64::MIN),
            until: time(row.get(9)?).unwrap_or(now),
            has_ended: row.get::<bool>(10)?.unwrap_or(true),
            why: row.get(11)?,
        });
    }
    Ok(found)
}

/// Writes down that a credential has ended, and why.
pub fn end(client: &mut SpiClient<'_>, id: i64, why: &str, now: i64) -> Result<(), CredentialError> {
    client.update(
        "UPDATE access.issued_credential SET ended_at = $2, end_reason = $3 WHERE id = $1 AND ended_at IS NULL",
        None,
        &[id.into(), moment(now).into(), why.into()],
    )?;
    Ok(())
}

/// Writes down that the role of a credential is gone.
pub fn removed(client: &mut SpiClient<'_>, id: i64, now: i64) -> Result<(), CredentialError> {
    client.update(
        "UPDATE access.issued_credential SET removed_at = $2 WHERE id = $1",
        None,
        &[id.into(), moment(now).into()],
    )?;
    Ok(())
}

/// Ends the sessions of a role, in whichever database; returns how many there were.
pub fn terminate(client: &SpiClient<'_>, role: Oid) -> Result<i64, CredentialError> {
    let ended = client.select(
        "SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(a.pid)) \
         FROM pg_catalog.pg_stat_get_activity(NULL) AS a WHERE a.usesysid = $1 AND a.pid <> pg_catalog.pg_backend_pid()",
        Some(1),
        &[role.into()],
    )?;
    Ok(ended.first().get_one()?.unwrap_or(0))
}

/// How long to wait for somebody's lock: the steward, for whom others wait, no longer than this.
pub fn do_not_wait(client: &mut SpiClient<'_>) -> Result<(), CredentialError> {
    client.update("SET LOCAL lock_timeout = '200ms'", None, &[])?;
    Ok(())
}

/// Removes a role: what it owns in this database goes to `custodian_heir`. Returns the objects that were handed on.
/// Raises an ERROR if something of it is left in another database.
pub fn remove(client: &mut SpiClient<'_>, role: Oid, name: &str) -> Result<Vec<String>, CredentialError> {
    let mut owned = Vec::new();
    for row in client.select(
        "SELECT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_catalog.pg_shdepend AS d \
         WHERE d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND d.refobjid = $1 AND d.deptype = 'o' \
             AND d.dbid IN (0, (SELECT b.oid FROM pg_catalog.pg_database AS b \
                 WHERE b.datname = pg_catalog.current_database())) ORDER BY 1 LIMIT 100",
        None,
        &[role.into()],
    )? {
        owned.extend(row.get::<String>(1)?);
    }
    let name = identifier(name);
    client.update(&format!("REASSIGN OWNED BY {name} TO custodian_heir"), None, &[])?;
    client.update(&format!("DROP OWNED BY {name}"), None, &[])?;
    client.update(&format!("DROP ROLE {name}"), None, &[])?;
    Ok(owned)
}

/// Roles that were made as credentials and that nobody accounts for: of this database without a row here, of a database
/// that is gone, or of another server. Those of other databases are left to their stewards.
pub fn orphans(client: &SpiClient<'_>) -> Result<Vec<(Oid, String, String)>, CredentialError> {
    let mut found = Vec::new();
    let Some(here) = catalog::numbering() else { return Ok(found) };
    let mut parts = here.split('.');
    let (server, database) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    for row in client.select(
        "SELECT r.oid, r.rolname::text, m.place FROM pg_catalog.pg_db_role_setting AS s \
             JOIN pg_catalog.pg_authid AS r ON r.oid = s.setrole \
             CROSS JOIN LATERAL (SELECT pg_catalog.substr(e.entry, pg_catalog.length($1) + 2) AS mark \
                 FROM pg_catalog.unnest(s.setconfig) AS e (entry) \
                 WHERE pg_catalog.starts_with(e.entry, $1 || '=')) AS f \
             CROSS JOIN LATERAL (SELECT pg_catalog.split_part(f.mark, '/', 1) AS place, \
                 pg_catalog.split_part(f.mark, '/', 2) AS role) AS m \
         WHERE s.setdatabase = 0 AND m.role = r.rolname AND pg_catalog.starts_with(r.rolname::text, 'custodian_') \
             AND NOT r.rolsuper \
             AND NOT EXISTS (SELECT FROM access.issued_credential AS c WHERE c.role_id = r.oid \
                 AND c.removed_at IS NULL AND c.numbered_in = access.numbering()) \
             AND (pg_catalog.split_part(m.place, '.', 1) <> $2 OR pg_catalog.split_part(m.place, '.', 2) = $3 \
                 OR NOT EXISTS (SELECT FROM pg_catalog.pg_database AS d \
                     WHERE d.oid::text = pg_catalog.split_part(m.place, '.', 2)))",
        None,
        &[settings::CREDENTIAL_NAME.into(), server.into(), database.into()],
    )? {
        if let (Some(role), Some(name), Some(place)) = (row.get(1)?, row.get(2)?, row.get(3)?) {
            found.push((role, name, place));
        }
    }
    Ok(found)
}
