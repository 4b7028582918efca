//! The words that all parts share: what happened, to whom it is put down, how it ended.
//!
//! Texts are bytes in the database's encoding: they come from the server and go back into it.

pub mod codec;
pub mod fragment;
mod lexer;
pub mod normal;
pub mod object;
pub mod redact;
pub mod secrets;

pub use object::{Change, Object, Origin};

/// A text as the server holds it.
pub type Text = Vec<u8>;

/// How a statement or an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Outcome {
    #[default]
    Ok = 0,
    /// It failed; the SQLSTATE says how.
    Error = 1,
    /// pg_custodian or the database's privileges refused it.
    Denied = 2,
    /// Its user, or an administrator, stopped it.
    Cancelled = 3,
    /// Its process died before it ended.
    Interrupted = 4,
}

impl Outcome {
    /// The word in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Denied => "denied",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }

    /// What an error with this SQLSTATE means for the statement.
    pub fn of_sqlstate(sqlstate: [u8; 5]) -> Self {
        match &sqlstate {
            b"42501" | b"28000" | b"28P01" => Self::Denied,
            // query_canceled, admin_shutdown, crash_shutdown, idle timeouts
            b"57014" | b"57P01" | b"57P02" | b"57P05" | b"25P03" => Self::Cancelled,
            _ => Self::Error,
        }
    }

    fn from_u8(value: u8) -> Option<Self> {
        [Self::Ok, Self::Error, Self::Denied, Self::Cancelled, Self::Interrupted]
            .into_iter()
            .find(|o| *o as u8 == value)
    }
}

/// The classes that pgaudit made known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    Read = 0,
    Write = 1,
    Function = 2,
    Role = 3,
    Ddl = 4,
    Misc = 5,
    MiscSet = 6,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Read, Self::Write, Self::Function, Self::Role, Self::Ddl, Self::Misc, Self::MiscSet];

    /// The word in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::Function => "FUNCTION",
            Self::Role => "ROLE",
            Self::Ddl => "DDL",
            Self::Misc => "MISC",
            Self::MiscSet => "MISC_SET",
        }
    }

    fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|class| *class as u8 == value)
    }
}

/// Whom an event names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PersonTag {
    pub issuer: String,
    pub user_id: String,
    pub email: Option<String>,
    pub token_id: Option<String>,
}

/// Who acts, from where: sent once per session and segment, and whenever it changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context {
    pub session: u64,
    pub number: u32,
    pub database: u32,
    pub pid: u32,
    pub session_role: Text,
    pub role: Text,
    pub client_address: Option<Text>,
    pub application: Text,
    pub person: Option<PersonTag>,
    /// The standby that it was on; empty if it was on this server. Not part of the encoded context: whoever
    /// decodes what a standby has sent knows.
    pub server: Text,
}

/// What statements that do the same to the same objects have in common: sent once per session and
/// segment. The text is not part of it: where values stand in the text, no two are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub class: Class,
    pub command: Text,
    pub origin: Origin,
    pub objects: Vec<Object>,
    /// `schema.table.column`
    pub columns_read: Vec<Text>,
    pub columns_written: Vec<Text>,
    /// Names of protected columns.
    pub masked: Vec<Text>,
    pub revealed: Vec<Text>,
}

impl Shape {
    /// Of a command of which nothing else is said.
    pub fn of(class: Class, command: &[u8]) -> Self {
        Self {
            class,
            command: command.to_vec(),
            origin: Origin::default(),
            objects: Vec::new(),
            columns_read: Vec::new(),
            columns_written: Vec::new(),
            masked: Vec::new(),
            revealed: Vec::new(),
        }
    }

    /// Names an object, unless it is named already.
    pub fn name(&mut self, object: Object) {
        if !self.objects.iter().any(|known| known.name == object.name) {
            self.objects.push(object);
        }
    }
}

/// A statement is about to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    pub session: u64,
    pub statement: u32,
    /// The statement that runs this one; 0 for one that came from the client.
    pub parent: u32,
    pub depth: u16,
    pub context: u32,
    pub shape: u32,
    /// Microseconds since 2000-01-01 UTC, as PostgreSQL counts.
    pub at: i64,
    /// Absent if it is that of the session's last begin of the same shape that had one in the segment.
    pub text: Option<Text>,
    pub grants: Vec<i64>,
    pub parameters: Vec<Option<Text>>,
}

/// A statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub session: u64,
    pub statement: u32,
    pub at: i64,
    pub rows: u64,
    /// Bytes sent to the client meanwhile.
    pub bytes: u64,
    /// Number of the transaction, once it has changed something, else 0.
    pub transaction: u64,
    /// Whether it committed, if that was known when the end was recorded.
    pub committed: Option<bool>,
    pub outcome: Outcome,
    /// `00000` if it went well.
    pub sqlstate: [u8; 5],
}

/// Anything else that happened: an attempt to identify, a grant, a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub event: &'static str,
    pub outcome: Outcome,
    pub sqlstate: Option<[u8; 5]>,
    /// What it was done to, for people.
    pub object: Option<String>,
    /// JSON
    pub detail: Option<String>,
}

/// [`Note`] as it comes back from the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    pub session: u64,
    pub context: u32,
    pub at: i64,
    pub event: Text,
    pub outcome: Outcome,
    pub sqlstate: Option<[u8; 5]>,
    pub object: Option<Text>,
    pub detail: Option<Text>,
}

/// What a standby has sent, as the primary's journal holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarded {
    pub database: u32,
    /// The role that it was sent by.
    pub role: Text,
    /// The standby's name.
    pub server: Text,
    /// The name of the standby's journal, and how far the ledger was and is with it.
    pub journal: [u8; 16],
    pub from: Place,
    pub to: Place,
    /// Context, shape, begin and end, and notes, whole rows only.
    pub records: Vec<u8>,
}

/// How far a ledger is with a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// All rows for what lies below are in the ledger.
    pub position: u64,
    /// And so many of those that follow.
    pub rows: u32,
    /// Reading must begin no later.
    pub needed_from: u64,
}

/// A session's name as in the ledger: what log_line_prefix shows for %c.
pub fn session_name(session: u64) -> String {
    format!("{:x}.{:x}", session >> 32, session as u32)
}
