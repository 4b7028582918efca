//! The settings. None can be set by the people it governs: they need the configuration file or, where
//! noted, a superuser.
//!
//! Each is private, with the reason for its default, and read through a typed accessor.
//! `docs/settings.md` lists them for administrators; a test keeps the two in step.

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use std::ffi::CString;
use std::path::PathBuf;
use std::time::Duration;

/// Whose statements are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum AuditRoles {
    /// People, enrolled roles, superusers, and whoever touches a protected table.
    #[name = c"default"]
    Default,
    /// Everybody.
    #[name = c"all"]
    All,
}

/// How long the person lasts whom a session identifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum IdentityScope {
    /// Until the token's `exp`, unless asked for one transaction.
    #[name = c"session"]
    Session,
    /// Until the end of the transaction, whatever was asked for.
    #[name = c"transaction"]
    Transaction,
}

/// What a statement's record has survived when the statement runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum Durability {
    /// The death of every process of the server.
    #[name = c"server_crash"]
    ServerCrash,
    /// The death of the machine.
    #[name = c"power_loss"]
    PowerLoss,
}

/// How loudly the server log tells of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum AlertLevel {
    #[name = c"notice"]
    Notice,
    #[name = c"warning"]
    Warning,
    #[name = c"log"]
    Log,
}

/// How the journal is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum JournalIo {
    #[name = c"mmap"]
    Mmap,
    #[name = c"pwrite"]
    Pwrite,
}

/// The names of all settings whose changes are recorded: all but the token, which is none by the time
/// anybody could look. A test compares them with the server's.
pub const NAMES: [&str; 21] = [
    "pg_custodian.alert_level",
    "pg_custodian.audit_classes",
    "pg_custodian.audit_object_role",
    "pg_custodian.audit_roles",
    "pg_custodian.break_glass_groups",
    "pg_custodian.break_glass_incident",
    "pg_custodian.checkpoint_command",
    "pg_custodian.durability",
    "pg_custodian.exclude_relations",
    "pg_custodian.exclude_statements",
    "pg_custodian.export_directory",
    "pg_custodian.failure_delay",
    "pg_custodian.forward_to",
    "pg_custodian.identity_scope",
    "pg_custodian.journal_io",
    "pg_custodian.maintenance",
    "pg_custodian.nested_statements",
    "pg_custodian.normalize_statements",
    "pg_custodian.parameter_max_size",
    "pg_custodian.subject_claim",
    "pg_custodian.trigger_statements",
];

// The application's own role is left out unless asked for: its volume is large, and it is no person.
static AUDIT_ROLES: GucSetting<AuditRoles> = GucSetting::<AuditRoles>::new(AuditRoles::Default);
// What a function does with tables is what auditors ask about, so it is on.
static NESTED_STATEMENTS: GucSetting<bool> = GucSetting::<bool>::new(true);
// A row of the application's with three triggers is one change of one row; of people it is always recorded.
static TRIGGER_STATEMENTS: GucSetting<bool> = GucSetting::<bool>::new(false);
// The guards of the ledger hold unless somebody with access to the server's files says otherwise.
static MAINTENANCE: GucSetting<bool> = GucSetting::<bool>::new(false);
// People who connect directly identify once. A pooler in transaction mode hands a session to
// strangers between transactions: an administrator says so for the roles and databases concerned.
static IDENTITY_SCOPE: GucSetting<IdentityScope> = GucSetting::<IdentityScope>::new(IdentityScope::Session);
// A sync before each statement costs what a commit costs; a machine dies far more rarely than a process.
static DURABILITY: GucSetting<Durability> = GucSetting::<Durability>::new(Durability::ServerCrash);
// Eight times cheaper than a system call for each record, and safe where preallocated blocks are.
static JOURNAL_IO: GucSetting<JournalIo> = GucSetting::<JournalIo>::new(JournalIo::Mmap);
// Nobody notices a quarter of a second after a slip. Tokens cannot be guessed at any speed: what is slowed down
// is whoever fills the record with attempts, or tries a list of stolen tokens.
static FAILURE_DELAY: GucSetting<i32> = GucSetting::<i32>::new(250);
// What was sent is what happened; apart is better for counting, or to keep values out of the record.
static NORMALIZE_STATEMENTS: GucSetting<bool> = GucSetting::<bool>::new(false);
// Longer than what people look for by hand, shorter than a document.
static PARAMETER_MAX_SIZE: GucSetting<i32> = GucSetting::<i32>::new(8192);

// Where a checkpoint would be safe from whoever rules this server, only its administrator knows.
static CHECKPOINT_COMMAND: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

// Where evidence goes when it leaves the database is for whoever has the server's files to say.
static EXPORT_DIRECTORY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

// Who may help himself is for somebody with access to the server's files to say; until then nobody may.
static BREAK_GLASS_GROUPS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
// Without an on-call system that tells of incidents there would be none to be assigned to.
static BREAK_GLASS_INCIDENT: GucSetting<bool> = GucSetting::<bool>::new(false);
// Loud enough for whatever watches the log; `log` is not told to the client.
static ALERT_LEVEL: GucSetting<AlertLevel> = GucSetting::<AlertLevel>::new(AlertLevel::Warning);
// Names and addresses tell most accounts apart; which claim tells humans apart, only the issuer's administrator knows.
static SUBJECT_CLAIM: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

/// The setting that marks the role of a credential; none that anybody changes.
pub const CREDENTIAL_NAME: &str = "pg_custodian.credential";

// Made by access.issue_credential, on the roles that it makes.
static CREDENTIAL: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

/// Defines the settings; once, in `_PG_init`. Without `preloading` those are left out that PostgreSQL takes
/// at its start only.
pub fn define(preloading: bool) {
    if preloading {
        GucRegistry::define_enum_guc(
            c"pg_custodian.journal_io",
            c"Chooses how the journal is read and written.",
            c"\"mmap\": mapped into memory. \"pwrite\": by system calls, for file systems where preallocation guarantees nothing.",
            &JOURNAL_IO,
            GucContext::Postmaster,
            GucFlags::default(),
        );
    }
    GucRegistry::define_enum_guc(
        c"pg_custodian.durability",
        c"Chooses what the record of a statement has survived when the statement runs.",
        c"\"server_crash\": the death of every process. \"power_loss\": the death of the machine, for a sync of the journal before each statement.",
        &DURABILITY,
        // Differs by role and database (ALTER ROLE ... SET); the governed are no superusers.
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"pg_custodian.audit_roles",
        c"Chooses whose statements are recorded.",
        c"\"default\": people, enrolled roles, superusers, and whoever touches a protected table. \"all\": everybody.",
        &AUDIT_ROLES,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"pg_custodian.nested_statements",
        c"Records the statements that functions and other statements run.",
        c"If off, only what clients send is recorded.",
        &NESTED_STATEMENTS,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"pg_custodian.trigger_statements",
        c"Records the statements that triggers run for superusers and the application.",
        c"Those of people, of enrolled roles, and on protected tables are recorded in either case.",
        &TRIGGER_STATEMENTS,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"pg_custodian.maintenance",
        c"Permits to alter or drop the ledger and its guards.",
        c"Can be set only in postgresql.conf itself, not by ALTER SYSTEM.",
        &MAINTENANCE,
        GucContext::Sighup,
        // A superuser without access to files must not be able to open the door by SQL.
        GucFlags::DISALLOW_IN_AUTO_FILE,
    );
    GucRegistry::define_enum_guc(
        c"pg_custodian.identity_scope",
        c"Chooses how long an identity lasts.",
        c"\"session\": until the token expires, unless set for a transaction. \"transaction\": for one transaction at most, as behind a pooler in transaction mode.",
        &IDENTITY_SCOPE,
        // Differs by role and database (ALTER ROLE ... SET); the governed are no superusers.
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"pg_custodian.checkpoint_command",
        c"Sets the shell command that keeps checkpoints of the ledger elsewhere.",
        c"It reads them from its standard input, one line of JSON each. Can be set only in postgresql.conf itself, not by ALTER SYSTEM.",
        &CHECKPOINT_COMMAND,
        GucContext::Sighup,
        // Whoever can set it by SQL could run programs, and keep the witness away.
        GucFlags::DISALLOW_IN_AUTO_FILE,
    );
    GucRegistry::define_int_guc(
        c"pg_custodian.failure_delay",
        c"Sets how long a failed attempt to identify takes.",
        c"Doubles with each further failure in the session, up to 5 s. 0 turns it off.",
        &FAILURE_DELAY,
        0,
        5000,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_bool_guc(
        c"pg_custodian.normalize_statements",
        c"Records the constants of queries as parameters, apart from the text.",
        c"With parameter_max_size = 0 no value of either is recorded.",
        &NORMALIZE_STATEMENTS,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pg_custodian.parameter_max_size",
        c"Sets how much is recorded of each parameter of a statement.",
        c"Of longer ones the beginning is kept, and their size. 0 keeps sizes only.",
        &PARAMETER_MAX_SIZE,
        0,
        1 << 20,
        GucContext::Sighup,
        // A superuser must not be able to hide by SQL what he passes.
        GucFlags::UNIT_BYTE | GucFlags::DISALLOW_IN_AUTO_FILE,
    );
    GucRegistry::define_string_guc(
        c"pg_custodian.break_glass_groups",
        c"Lists the groups whose members may break the glass.",
        c"A list with commas, as the tokens name the groups. If empty, nobody may.",
        &BREAK_GLASS_GROUPS,
        GucContext::Sighup,
        GucFlags::DISALLOW_IN_AUTO_FILE,
    );
    GucRegistry::define_bool_guc(
        c"pg_custodian.break_glass_incident",
        c"Requires an open incident that is assigned to whoever breaks the glass.",
        c"The on-call system tells of incidents by access.open_incident().",
        &BREAK_GLASS_INCIDENT,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"pg_custodian.alert_level",
        c"Chooses the level at which the server log tells of alerts.",
        c"\"notice\", \"warning\", or \"log\", which the client does not see.",
        &ALERT_LEVEL,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"pg_custodian.subject_claim",
        c"Names the claim of tokens that tells humans apart, whatever their accounts.",
        c"Nobody decides on a request of the same human. If set, whoever asks or decides needs a token with it. Empty: by name and address only.",
        &SUBJECT_CLAIM,
        GucContext::Sighup,
        GucFlags::DISALLOW_IN_AUTO_FILE,
    );
    GucRegistry::define_string_guc(
        c"pg_custodian.credential",
        c"Marks the role of a credential, and says where it was issued.",
        c"Set by access.issue_credential() on the role that it makes; not for anybody else.",
        &CREDENTIAL,
        // Whoever logs in by a credential must not be able to take its mark off.
        GucContext::Suset,
        GucFlags::NO_SHOW_ALL
            | GucFlags::NO_RESET_ALL
            | GucFlags::DISALLOW_IN_FILE
            | GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_string_guc(
        c"pg_custodian.export_directory",
        c"Names the directory of the server to which audit.retain() exports partitions of the ledger.",
        c"If empty, audit.retain() is refused.",
        &EXPORT_DIRECTORY,
        GucContext::Sighup,
        GucFlags::DISALLOW_IN_AUTO_FILE | GucFlags::SUPERUSER_ONLY,
    );
}

/// Whose statements are recorded.
pub fn audit_roles() -> AuditRoles {
    AUDIT_ROLES.get()
}

/// Whether nested statements are recorded.
pub fn nested_statements() -> bool {
    NESTED_STATEMENTS.get()
}

/// Whether statements of triggers are recorded for those who are not accountable.
pub fn trigger_statements() -> bool {
    TRIGGER_STATEMENTS.get()
}

/// Whether the ledger and its guards may be altered.
pub fn maintenance() -> bool {
    MAINTENANCE.get()
}

/// The command that keeps checkpoints elsewhere, if there is one.
pub fn checkpoint_command() -> Option<String> {
    let command = CHECKPOINT_COMMAND.get()?.to_string_lossy().into_owned();
    (!command.trim().is_empty()).then_some(command)
}

/// The groups whose members may break the glass.
pub fn break_glass_groups() -> Vec<String> {
    let Some(groups) = BREAK_GLASS_GROUPS.get() else { return Vec::new() };
    let groups = groups.to_string_lossy();
    groups.split(',').map(str::trim).filter(|group| !group.is_empty()).map(str::to_owned).collect()
}

/// Whether that needs an open incident that is assigned to the person.
pub fn break_glass_incident() -> bool {
    BREAK_GLASS_INCIDENT.get()
}

/// How loudly the server log tells of an alert.
pub fn alert_level() -> AlertLevel {
    ALERT_LEVEL.get()
}

/// The claim that tells humans apart, if there is one.
pub fn subject_claim() -> Option<String> {
    let claim = SUBJECT_CLAIM.get()?.to_string_lossy().into_owned();
    (!claim.is_empty()).then_some(claim)
}

/// How long an identity lasts.
pub fn identity_scope() -> IdentityScope {
    IDENTITY_SCOPE.get()
}

/// What a record has survived when its statement runs.
pub fn durability() -> Durability {
    DURABILITY.get()
}

/// How the journal is read and written.
pub fn journal_io() -> JournalIo {
    JOURNAL_IO.get()
}

/// How long the first failed attempt to identify takes.
pub fn failure_delay() -> Duration {
    Duration::from_millis(u64::try_from(FAILURE_DELAY.get()).unwrap_or_default())
}

/// Whether the constants of queries are recorded as parameters.
pub fn normalize_statements() -> bool {
    NORMALIZE_STATEMENTS.get()
}

/// Bytes that are recorded of each parameter.
pub fn parameter_max_size() -> usize {
    usize::try_from(PARAMETER_MAX_SIZE.get()).unwrap_or_default()
}

/// The mark of the credential that this session was opened with, if it is one.
pub fn credential() -> Option<String> {
    let mark = CREDENTIAL.get()?.to_string_lossy().into_owned();
    (!mark.is_empty()).then_some(mark)
}

/// Where partitions of the ledger are exported to.
pub fn export_directory() -> Option<PathBuf> {
    let directory = EXPORT_DIRECTORY.get().filter(|directory| !directory.is_empty())?;
    Some(PathBuf::from(directory.to_str().ok()?))
}
