//! Statements that fail where no hook is called: in the parser, in analysis, in a failed transaction,
//! at the commit, and messages that are refused before they are a statement.
//!
//! Promises: each is given out once, and none that has a record of its own failure already.

use crate::capture::build;
use crate::capture::statement;
use crate::event::{Class, Shape, fragment, redact};
use crate::pg::failure::Erring;
use crate::pg::local::process_local;
use crate::pg::session;
use std::cell::{Cell, RefCell};

/// Bytes of a text that are looked at.
const LONGEST: usize = 1 << 20;
/// What stands for the text of a message that belongs to no statement, or whose text cannot be read.
const NO_TEXT: &[u8] = b"<a message without a statement>";

/// Whether the failure that is on its way has a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    None,
    /// It was written before the error is raised.
    Ahead,
    Written,
}

/// How far a string of the client's has been run.
#[derive(Debug, Clone, Copy)]
struct Passed {
    sent_at: i64,
    /// Where the last statement of it that began ends.
    end: usize,
    ends_transaction: bool,
}

/// An error without a record, which may still be caught: as little work as can be.
struct Seen {
    sqlstate: [u8; 5],
    sent_at: i64,
    is_parsed: bool,
    text: Option<Vec<u8>>,
}

/// A failure to be recorded.
pub struct Failure {
    pub sqlstate: [u8; 5],
    pub sent_at: i64,
    /// Without secrets.
    pub text: Vec<u8>,
    pub command: &'static str,
    class: Class,
}

impl Failure {
    pub fn shape(&self) -> Shape {
        Shape::of(self.class, self.command.as_bytes())
    }
}

process_local! {
    static RECORD: Cell<Record> = const { Cell::new(Record::None) };
    static PASSED: Cell<Passed> = const { Cell::new(Passed { sent_at: i64::MIN, end: 0, ends_transaction: false }) };
    static LAST: RefCell<Option<Seen>> = const { RefCell::new(None) };
    static CODE: Cell<[u8; 5]> = const { Cell::new(*b"00000") };
}

/// A statement of the client's has got as far as to its own record. It ends at this byte of its text.
#[inline]
pub fn passed(end: usize, ends_transaction: bool) {
    PASSED.set(Passed { sent_at: session::statement_sent_at(), end, ends_transaction });
}

/// The error that is raised next has been recorded.
pub fn recorded_ahead() {
    RECORD.set(Record::Ahead);
}

/// The error that is on its way has been recorded as the end of the client's statement.
pub fn recorded() {
    RECORD.set(Record::Written);
}

/// A message is being reported that may be an error of the client's statement.
pub fn erring(erring: &Erring<'_>) {
    CODE.set(erring.sqlstate);
    let has_record = RECORD.get() == Record::Ahead || statement::runs_recorded();
    RECORD.set(if has_record { Record::Written } else { Record::None });
    let Erring { sqlstate, text, sent_at, is_parsed, .. } = *erring;
    let seen = || Seen { sqlstate, sent_at, is_parsed, text: text.map(<[u8]>::to_vec) };
    LAST.replace((!has_record).then(seen));
}

fn failure(seen: &Seen) -> Failure {
    let Seen { sqlstate, sent_at, is_parsed, ref text } = *seen;
    let failure = |text: Vec<u8>, (command, class)| Failure { sqlstate, sent_at, text, command, class };
    let Some(whole) = text.as_deref() else { return failure(NO_TEXT.to_vec(), ("UNKNOWN", Class::Misc)) };
    let passed = PASSED.get();
    let is_further = passed.sent_at == sent_at && passed.end > 0;
    let rest = if is_further { whole.get(passed.end..).unwrap_or_default() } else { whole };
    if is_further && (passed.ends_transaction || fragment::is_blank(rest)) {
        // All statements ended well, and their transaction does not.
        return failure(kept(whole), ("COMMIT", Class::Misc));
    }
    let skipped = rest.iter().take_while(|c| **c == b';' || c.is_ascii_whitespace()).count();
    let rest = session::cut(&rest[skipped..], LONGEST);
    // A string that the parser refuses is refused as a whole.
    let part = if is_parsed || is_further { &rest[..fragment::first(rest)] } else { rest };
    failure(kept(part), fragment::command(part))
}

fn kept(text: &[u8]) -> Vec<u8> {
    // Tokens go first: their letters are random, and can spell a word that tells a secret.
    let clean = redact::tokens(session::cut(text, LONGEST).trim_ascii());
    match fragment::kept(&clean) {
        None => build::text(text, build::Secrecy::Withheld).into_owned(),
        Some(kept) => kept.into_owned(),
    }
}

/// The failure of a statement that a recorded one has run, whatever becomes of its error.
pub fn nested(erring: &Erring<'_>) -> Option<Failure> {
    let text = erring.nested.filter(|_| statement::runs_recorded())?;
    let (command, class) = fragment::command(text);
    Some(Failure { sqlstate: erring.sqlstate, sent_at: session::now(), text: kept(text), command, class })
}

/// An error ended what the client asked for: the failure, unless it has its record or was given out.
pub fn take(sqlstate: Option<[u8; 5]>) -> Option<Failure> {
    let has_record = RECORD.replace(Record::Written) == Record::Written;
    let last = LAST.take().filter(|_| !has_record)?;
    Some(failure(&Seen { sqlstate: sqlstate.unwrap_or(last.sqlstate), ..last }))
}

/// For a process that ends by an error: that error, and, if a statement without a record ran, its failure.
pub fn take_last() -> ([u8; 5], Option<Failure>) {
    (CODE.get(), take(None).filter(|failure| failure.text != NO_TEXT))
}
