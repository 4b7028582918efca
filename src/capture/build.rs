//! From the server's view of a statement to the words of an event.

use crate::event::secrets::{self, WITHHELD, Which};
use crate::event::{Class, Shape, Text, codec, redact};
use crate::pg::carried::Carried;
use crate::pg::catalog;
use crate::pg::parameters::Parameters;
use crate::pg::query::{Command, RelationUse};
use crate::pg::session;
use crate::pg::utility::{Kind, Utility};
use pgrx::pg_sys::Oid;
use std::borrow::Cow;

/// Bytes of a statement's text that are kept.
const LONGEST_TEXT: usize = 1 << 20;
/// Bytes of one parameter's text that are kept.
const LONGEST_PARAMETER: usize = 8192;
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

/// The shape of a statement with a plan.
pub fn planned(command: Command, writes: bool, uses: &[RelationUse], fields: Fields<'_>) -> Shape {
    let mut shape = Shape {
        class: if writes { Class::Write } else { Class::Read },
        command: command.as_str().as_bytes().to_vec(),
        objects: Vec::new(),
        columns_read: Vec::new(),
        columns_written: Vec::new(),
        masked: texts(fields.masked),
        revealed: texts(fields.revealed),
    };
    for used in uses {
        let Some(name) = catalog::qualified_name(used.relid) else { continue };
        add_columns(&mut shape.columns_read, &name, used.relid, &used.selected);
        add_columns(&mut shape.columns_written, &name, used.relid, &used.written);
        if !shape.objects.contains(&name) {
            shape.objects.push(name);
        }
    }
    shape
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
        _ if statement.concerns_roles() => Class::Role,
        _ if statement.defines() => Class::Ddl,
        _ if statement.modifies() => Class::Write,
        _ => Class::Misc,
    }
}

/// The shape of a utility statement.
pub fn utility(statement: &Utility<'_>, kind: &Kind, fields: Fields<'_>) -> Shape {
    Shape {
        class: utility_class(statement, kind),
        command: statement.command().to_vec(),
        objects: utility_relations(kind).into_iter().filter_map(catalog::qualified_name).collect(),
        columns_read: Vec::new(),
        columns_written: Vec::new(),
        masked: texts(fields.masked),
        revealed: texts(fields.revealed),
    }
}

/// Parameters as an event holds them, and their number. Trailing absent ones are dropped: a
/// PL/pgSQL function offers all its variables to each of its statements.
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
                if encoded.len() < ALL_PARAMETERS {
                    put_value(&mut encoded, value);
                } else {
                    put_value(&mut encoded, format!("<{} bytes omitted>", value.len()).as_bytes());
                }
                (last, end) = (count, encoded.len());
            }
        }
    });
    encoded.truncate(end);
    (encoded, last)
}

fn put_value(encoded: &mut Vec<u8>, value: &[u8]) {
    let clean = match secrets::tells(value) {
        true => Cow::Borrowed(b"<withheld>".as_slice()),
        false => redact::tokens(value),
    };
    if clean.len() <= LONGEST_PARAMETER {
        return codec::put_parameter(encoded, Some(&clean));
    }
    let mut cut = session::cut(&clean, LONGEST_PARAMETER).to_vec();
    cut.extend_from_slice(format!("... ({} bytes)", value.len()).as_bytes());
    codec::put_parameter(encoded, Some(&cut));
}
