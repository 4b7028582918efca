//! From the server's view of a statement to the words of an event.

use super::statement::Facts;
use crate::event::secrets::{self, WITHHELD, Which};
use crate::event::{Change, Class, Object, Origin, Shape, Text, codec, normal, redact};
use crate::pg::carried::Carried;
use crate::pg::catalog;
use crate::pg::objects;
use crate::pg::parameters::Parameters;
use crate::pg::query::{Command, Planned, RelationUse};
use crate::pg::session;
use crate::pg::utility::{Kind, Utility};
use crate::settings;
use pgrx::pg_sys::Oid;
use std::borrow::Cow;

/// Bytes of a statement's text that are kept.
const LONGEST_TEXT: usize = 1 << 20;
/// Bytes of all parameters together that are kept.
const ALL_PARAMETERS: usize = 1 << 20;
/// What stands for the text of a statement that identifies: it holds a token.
const IDENTIFIES: &[u8] = b"SELECT custodian.set_identity(<token>)";

/// What may be kept of the statement's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    Open,
    /// It presents a token.
    Identifies,
    /// Its grammar has a place for passwords: these constants go.
    Holds(Which),
    /// It may hold a secret anywhere.
    Withheld,
}

/// Protected columns that the statement touches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields<'a> {
    pub masked: &'a [String],
    pub revealed: &'a [String],
}

/// What may be kept of a text of which nothing is known but that it is one: by the names of the
/// functions that take secrets.
pub fn secrecy_of_text(text: &[u8]) -> Secrecy {
    let holds = |name: &str| text.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name.as_bytes()));
    match ["set_identity", "trust_issuer", "rotate_keys"].into_iter().any(holds) {
        true => Secrecy::Withheld,
        false => Secrecy::Open,
    }
}

/// What is kept of a statement's text.
pub fn text(text: &[u8], secrecy: Secrecy) -> Cow<'_, [u8]> {
    let clean = match secrecy {
        Secrecy::Open => secrets::ordinary(text),
        Secrecy::Holds(which) => secrets::without(text, which),
        Secrecy::Identifies => return Cow::Borrowed(IDENTIFIES),
        Secrecy::Withheld => return Cow::Borrowed(WITHHELD),
    };
    match clean {
        Cow::Borrowed(text) => redact::tokens(session::cut(text, LONGEST_TEXT)),
        Cow::Owned(text) => Cow::Owned(redact::tokens(session::cut(&text, LONGEST_TEXT)).into_owned()),
    }
}

/// What may be kept of a utility statement's text and parameters.
pub fn utility_secrecy(statement: &Utility<'_>) -> Secrecy {
    match statement.carried() {
        Carried::Password => Secrecy::Holds(Which::AfterPassword),
        Carried::Options => Secrecy::Holds(Which::All),
        // What the code runs is recorded for itself; its own text is no statement that could be told apart.
        Carried::Code if secrets::mentions_password(statement.text()) => Secrecy::Holds(Which::All),
        Carried::Code | Carried::Nothing => Secrecy::Open,
    }
}

/// What is kept of a utility statement's text. What was cut out must be gone by the parse tree's word,
/// too, or nothing is kept.
pub fn utility_text<'a>(statement: &Utility<'a>, secrecy: Secrecy) -> Cow<'a, [u8]> {
    let kept = text(statement.text(), secrecy);
    let holds = |secret: &Vec<u8>| !secret.is_empty() && memchr::memmem::find(&kept, secret).is_some();
    match secrecy {
        Secrecy::Holds(_) if statement.secrets().iter().any(holds) => Cow::Borrowed(WITHHELD),
        _ => kept,
    }
}

fn texts(names: &[String]) -> Vec<Text> {
    names.iter().map(|name| name.as_bytes().to_vec()).collect()
}

/// The class of a statement with a plan.
pub fn planned_class(planned: &Planned<'_>) -> Class {
    if planned.writes() {
        Class::Write
    } else if planned.calls_added() {
        Class::Function
    } else {
        Class::Read
    }
}

/// The class of a statement that has none yet.
pub fn query_class(writes: bool) -> Class {
    if writes { Class::Write } else { Class::Read }
}

/// The shape of a statement with a plan, or that was to get one.
pub fn planned(
    command: Command,
    class: Class,
    origin: Origin,
    uses: &[RelationUse],
    fields: Fields<'_>,
) -> Shape {
    let mut shape = Shape {
        origin,
        masked: texts(fields.masked),
        revealed: texts(fields.revealed),
        ..Shape::of(class, command.as_str().as_bytes())
    };
    for used in uses {
        let Some(name) = catalog::qualified_name(used.relid) else { continue };
        add_columns(&mut shape.columns_read, &name, used.relid, &used.selected);
        add_columns(&mut shape.columns_written, &name, used.relid, &used.written);
        shape.name(used_relation(name, used.relid));
    }
    shape
}

fn used_relation(name: Text, relid: Oid) -> Object {
    Object { kind: catalog::relation_type(relid).into(), name, change: Change::Used }
}

fn add_columns(list: &mut Vec<Text>, relation: &[u8], relid: Oid, numbers: &[i16]) {
    for number in numbers {
        // A whole row is all of it; system columns carry no data of the row.
        let column = match number {
            0 => Some(b"*".to_vec()),
            n if *n < 0 => None,
            n => catalog::attribute_bytes(relid, *n),
        };
        if let Some(column) = column {
            let full = [relation, b".", &column].concat();
            if !list.contains(&full) {
                list.push(full);
            }
        }
    }
}

/// The relations that a utility statement names.
pub fn utility_relations(kind: &Kind) -> Vec<Oid> {
    match kind {
        Kind::CopyOut(relid) | Kind::CopyIn(relid) | Kind::Attaches(relid) | Kind::Alters(relid) => {
            relid.iter().copied().collect()
        }
        Kind::Truncate(relids) | Kind::Lock(relids) | Kind::Drops(relids) => relids.clone(),
        _ => Vec::new(),
    }
}

/// The class of a utility statement.
pub fn utility_class(statement: &Utility<'_>, kind: &Kind) -> Class {
    match kind {
        Kind::CopyOut(_) => Class::Read,
        Kind::CopyIn(_) | Kind::Truncate(_) => Class::Write,
        Kind::Code => Class::Function,
        Kind::Set => Class::MiscSet,
        _ if statement.offers() => query_class(statement.modifies()),
        _ if statement.executes() => Class::Misc,
        _ if statement.concerns_roles() => Class::Role,
        _ if statement.defines() => Class::Ddl,
        _ if statement.modifies() => Class::Write,
        _ => Class::Misc,
    }
}

/// The shape of a utility statement on `relations`.
pub fn utility(
    statement: &Utility<'_>,
    kind: &Kind,
    origin: Origin,
    relations: &[Oid],
    fields: Fields<'_>,
) -> Shape {
    let mut shape = Shape {
        origin,
        masked: texts(fields.masked),
        revealed: texts(fields.revealed),
        ..Shape::of(utility_class(statement, kind), statement.command())
    };
    for relid in relations {
        let Some(name) = catalog::qualified_name(*relid) else { continue };
        match kind {
            Kind::CopyOut(_) => shape.columns_read = copied_columns(statement, &name),
            Kind::CopyIn(_) => shape.columns_written = copied_columns(statement, &name),
            _ => {}
        }
        shape.name(used_relation(name, *relid));
    }
    shape
}

fn copied_columns(statement: &Utility<'_>, relation: &[u8]) -> Vec<Text> {
    let columns = statement.copied_columns();
    match columns.is_empty() {
        true => vec![[relation, b".*"].concat()],
        false => columns.iter().map(|column| [relation, b".", column].concat()).collect(),
    }
}

/// Objects that a utility statement named and did something to that PostgreSQL tells nobody. To be asked
/// when it has gone well.
pub fn named(statement: &Utility<'_>, kind: &Kind) -> Vec<Object> {
    let mut found: Vec<Object> = objects::named(statement)
        .into_iter()
        .map(|(kind, name)| Object { kind, name, change: Change::Used })
        .collect();
    if let Kind::Alters(Some(relid)) = kind
        && statement.alters_relation()
        && let Some(name) = catalog::qualified_name(*relid)
    {
        found.push(Object { change: Change::Altered, ..used_relation(name, *relid) });
    }
    found
}

/// Parameters as an event holds them, and their number. Of what a PL/pgSQL function offers to each of its
/// statements, all its variables, trailing absent ones are dropped.
pub fn parameters(parameters: &Parameters<'_>, secrecy: Secrecy) -> (Vec<u8>, u16) {
    let (mut count, mut last, mut end) = (0u16, 0u16, 0);
    if parameters.count() == 0 {
        return (Vec::new(), 0);
    }
    let mut encoded = Vec::with_capacity(256);
    if secrecy != Secrecy::Open {
        codec::put_parameter(&mut encoded, Some(b"<withheld>"));
        return (encoded, 1);
    }
    parameters.each(|value| {
        count += 1;
        match value {
            None => codec::put_parameter(&mut encoded, None),
            Some(value) => {
                put_bounded(&mut encoded, value);
                (last, end) = (count, encoded.len());
            }
        }
    });
    if !parameters.are_offered() {
        return (encoded, count);
    }
    encoded.truncate(end);
    (encoded, last)
}

/// A statement's text without its constants, and its parameters with them.
pub struct Normal {
    pub text: Vec<u8>,
    pub parameters: Vec<u8>,
    pub count: u16,
}

/// Takes the constants out of the text; `None` if it stays as it is.
pub fn normal(facts: &Facts<'_>) -> Option<Normal> {
    let backslashes = session::setting("standard_conforming_strings").is_some_and(|value| value == "off");
    let found = normal::normal(facts.text, facts.parameter_count.into(), backslashes)?;
    let count = u16::try_from(found.first - 1 + found.constants.len()).ok()?;
    let mut parameters = facts.parameters.to_vec();
    // Parameters that the text names and nobody passed.
    for _ in usize::from(facts.parameter_count)..found.first - 1 {
        codec::put_parameter(&mut parameters, None);
    }
    for constant in found.constants {
        put_bounded(&mut parameters, &constant);
    }
    Some(Normal { text: found.text, parameters, count })
}

/// Appends a value, or of what is too much only its size.
fn put_bounded(encoded: &mut Vec<u8>, value: &[u8]) {
    match encoded.len() < ALL_PARAMETERS {
        true => put_value(encoded, value),
        false => put_value(encoded, format!("<{} bytes omitted>", value.len()).as_bytes()),
    }
}

fn put_value(encoded: &mut Vec<u8>, value: &[u8]) {
    let clean = match value {
        // Most values are numbers, and those tell no secret.
        digits if digits.iter().all(u8::is_ascii_digit) => Cow::Borrowed(digits),
        value if secrets::tells(value) => Cow::Borrowed(b"<withheld>".as_slice()),
        value => redact::tokens(value),
    };
    let longest = settings::parameter_max_size();
    if clean.len() <= longest {
        return codec::put_parameter(encoded, Some(&clean));
    }
    let mut cut = session::cut(&clean, longest).to_vec();
    cut.extend_from_slice(format!("... ({} bytes)", value.len()).as_bytes());
    codec::put_parameter(encoded, Some(&cut));
}
