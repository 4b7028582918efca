//! Events as bytes: what a journal frame holds.
//!
//! A payload is a run of records, each a kind byte and its fields: integers in as many bytes as they
//! need, texts with their length before them. `docs/journal-format.md` holds the same in prose. Statement numbers, contexts and shapes are names within a session;
//! a segment explains every name that it uses.

use super::{
    Begin, Change, Class, Context, End, Forwarded, Note, Noted, Object, Origin, Outcome, PersonTag, Place,
    Shape, Text,
};

const CONTEXT: u8 = 1;
const SHAPE: u8 = 2;
const BEGIN: u8 = 3;
const END: u8 = 4;
const NOTE: u8 = 5;
const OBJECTS: u8 = 6;
const FORWARDED: u8 = 7;
/// Whether a transaction committed: 0, 1, or this.
const UNKNOWN: u8 = 2;

/// The payload does not say what an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed audit record at byte {at}")]
pub struct Malformed {
    pub at: usize,
}

/// One record of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    Context(Context),
    Shape {
        session: u64,
        number: u32,
        shape: Shape,
    },
    Begin(Begin),
    End(End),
    Note(Noted),
    /// What became of objects while the statement ran; its end follows in the same payload.
    Objects {
        session: u64,
        statement: u32,
        objects: Vec<Object>,
    },
    /// It takes the rest of the payload.
    Forwarded(Forwarded),
}

/// Appends `context`.
pub fn put_context(out: &mut Vec<u8>, context: &Context) {
    out.push(CONTEXT);
    put_session(out, context.session);
    put_u32(out, context.number);
    put_u32(out, context.database);
    put_u32(out, context.pid);
    put_text(out, &context.session_role);
    put_text(out, &context.role);
    put_optional(out, context.client_address.as_deref());
    put_text(out, &context.application);
    let person = context.person.as_ref();
    put_optional(out, person.map(|p| p.issuer.as_bytes()));
    put_optional(out, person.map(|p| p.user_id.as_bytes()));
    put_optional(out, person.and_then(|p| p.email.as_deref()).map(str::as_bytes));
    put_optional(out, person.and_then(|p| p.token_id.as_deref()).map(str::as_bytes));
}

/// Appends `shape`, to be called `number` in `session`.
pub fn put_shape(out: &mut Vec<u8>, session: u64, number: u32, shape: &Shape) {
    out.push(SHAPE);
    put_session(out, session);
    put_u32(out, number);
    out.push(shape.class as u8);
    put_text(out, &shape.command);
    out.push(shape.origin as u8);
    put_object_list(out, &shape.objects);
    for list in [&shape.columns_read, &shape.columns_written, &shape.masked, &shape.revealed] {
        put_u32(out, list.len() as u32);
        for text in list {
            put_text(out, text);
        }
    }
}

/// Appends what became of `objects` while `statement` of `session` ran.
pub fn put_objects(out: &mut Vec<u8>, session: u64, statement: u32, objects: &[Object]) {
    out.push(OBJECTS);
    put_session(out, session);
    put_u32(out, statement);
    put_object_list(out, objects);
}

fn put_object_list(out: &mut Vec<u8>, objects: &[Object]) {
    put_u32(out, objects.len() as u32);
    for object in objects {
        out.push(object.change as u8);
        put_text(out, &object.kind);
        put_text(out, &object.name);
    }
}

/// The fields of [`Begin`] that are known before its parameters.
#[derive(Debug, Clone, Copy)]
pub struct BeginHead<'a> {
    pub session: u64,
    pub statement: u32,
    pub parent: u32,
    pub depth: u16,
    pub context: u32,
    pub shape: u32,
    pub at: i64,
    /// Absent if it is that of the session's last begin of the same shape that had one in the segment.
    pub text: Option<&'a [u8]>,
    pub grants: &'a [i64],
}

/// Appends a begin whose `parameters` were encoded by [`put_parameter`], `count` of them.
pub fn put_begin(out: &mut Vec<u8>, head: BeginHead<'_>, count: u16, parameters: &[u8]) {
    out.push(BEGIN);
    put_session(out, head.session);
    put_u32(out, head.statement);
    put_u32(out, head.parent);
    put_u32(out, head.depth.into());
    put_u32(out, head.context);
    put_u32(out, head.shape);
    put_u64(out, head.at as u64);
    put_optional(out, head.text);
    put_u32(out, head.grants.len() as u32);
    for grant in head.grants {
        put_u64(out, *grant as u64);
    }
    put_u32(out, count.into());
    out.extend_from_slice(parameters);
}

/// Appends one parameter; absent means NULL.
pub fn put_parameter(out: &mut Vec<u8>, value: Option<&[u8]>) {
    put_optional(out, value);
}

/// Appends `end`.
pub fn put_end(out: &mut Vec<u8>, end: &End) {
    out.push(END);
    put_session(out, end.session);
    put_u32(out, end.statement);
    put_u64(out, end.at as u64);
    put_u64(out, end.rows);
    put_u64(out, end.bytes);
    put_u64(out, end.transaction);
    out.push(end.committed.map_or(UNKNOWN, u8::from));
    out.push(end.outcome as u8);
    if end.outcome != Outcome::Ok {
        out.extend_from_slice(&end.sqlstate);
    }
}

/// Appends what a standby has sent; nothing can follow in the payload.
pub fn put_forwarded(out: &mut Vec<u8>, forwarded: &Forwarded) {
    out.push(FORWARDED);
    put_u32(out, forwarded.database);
    put_text(out, &forwarded.role);
    put_text(out, &forwarded.server);
    out.extend_from_slice(&forwarded.journal);
    for place in [forwarded.from, forwarded.to] {
        put_u64(out, place.position);
        put_u32(out, place.rows);
        put_u64(out, place.needed_from);
    }
    out.extend_from_slice(&forwarded.records);
}

/// Appends an event that was read before, as [`put_note`] does.
pub fn put_noted(out: &mut Vec<u8>, noted: &Noted) {
    put_any_note(
        out,
        (noted.session, noted.context, noted.at),
        &noted.event,
        noted.outcome,
        noted.sqlstate.as_ref(),
        noted.object.as_deref(),
        noted.detail.as_deref(),
    );
}

/// Appends `note`, made by `session` in `context` at the time `at`.
pub fn put_note(out: &mut Vec<u8>, session: u64, context: u32, at: i64, note: &Note) {
    put_any_note(
        out,
        (session, context, at),
        note.event.as_bytes(),
        note.outcome,
        note.sqlstate.as_ref(),
        note.object.as_deref().map(str::as_bytes),
        note.detail.as_deref().map(str::as_bytes),
    );
}

fn put_any_note(
    out: &mut Vec<u8>,
    (session, context, at): (u64, u32, i64),
    event: &[u8],
    outcome: Outcome,
    sqlstate: Option<&[u8; 5]>,
    object: Option<&[u8]>,
    detail: Option<&[u8]>,
) {
    out.push(NOTE);
    put_session(out, session);
    put_u32(out, context);
    put_u64(out, at as u64);
    put_text(out, event);
    out.push(outcome as u8);
    put_optional(out, sqlstate.map(|code| &code[..]));
    put_optional(out, object);
    put_optional(out, detail);
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    put_u64(out, value.into());
}

/// Seven bits a byte, the lowest first, the highest bit of a byte telling that more follow: most numbers are
/// small, and each byte costs every statement.
fn put_u64(out: &mut Vec<u8>, value: u64) {
    let mut rest = value;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn put_session(out: &mut Vec<u8>, session: u64) {
    out.extend_from_slice(&session.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_u32(out, text.len() as u32);
    out.extend_from_slice(text);
}

fn put_optional(out: &mut Vec<u8>, text: Option<&[u8]>) {
    match text {
        Some(text) => {
            put_u64(out, text.len() as u64 + 1);
            out.extend_from_slice(text);
        }
        None => out.push(0),
    }
}

/// The records of a payload, in order; ends after the first malformed one.
pub fn records(payload: &[u8]) -> impl Iterator<Item = Result<Record, Malformed>> + '_ {
    let mut input = Input { bytes: payload, at: 0 };
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || input.at == payload.len() {
            return None;
        }
        let record = input.record().ok_or(Malformed { at: input.at });
        failed = record.is_err();
        Some(record)
    })
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn record(&mut self) -> Option<Record> {
        Some(match self.u8()? {
            CONTEXT => Record::Context(self.context()?),
            SHAPE => Record::Shape { session: self.session()?, number: self.u32()?, shape: self.shape()? },
            BEGIN => Record::Begin(self.begin()?),
            END => Record::End(self.end()?),
            NOTE => Record::Note(Noted {
                session: self.session()?,
                context: self.u32()?,
                at: self.i64()?,
                event: self.text()?,
                outcome: Outcome::from_u8(self.u8()?)?,
                sqlstate: match self.optional()? {
                    Some(code) => Some(code.try_into().ok()?),
                    None => None,
                },
                object: self.optional()?,
                detail: self.optional()?,
            }),
            OBJECTS => {
                Record::Objects { session: self.session()?, statement: self.u32()?, objects: self.objects()? }
            }
            FORWARDED => Record::Forwarded(self.forwarded()?),
            _ => return None,
        })
    }

    fn forwarded(&mut self) -> Option<Forwarded> {
        Some(Forwarded {
            database: self.u32()?,
            role: self.text()?,
            server: self.text()?,
            journal: self.array()?,
            from: self.place()?,
            to: self.place()?,
            records: self.take(self.bytes.len() - self.at)?.to_vec(),
        })
    }

    fn place(&mut self) -> Option<Place> {
        Some(Place { position: self.u64()?, rows: self.u32()?, needed_from: self.u64()? })
    }

    fn context(&mut self) -> Option<Context> {
        let mut context = Context {
            session: self.session()?,
            number: self.u32()?,
            database: self.u32()?,
            pid: self.u32()?,
            session_role: self.text()?,
            role: self.text()?,
            client_address: self.optional()?,
            application: self.text()?,
            person: None,
            server: Vec::new(),
        };
        let (issuer, user_id) = (self.optional_string()?, self.optional_string()?);
        let (email, token_id) = (self.optional_string()?, self.optional_string()?);
        if let (Some(issuer), Some(user_id)) = (issuer, user_id) {
            context.person = Some(PersonTag { issuer, user_id, email, token_id });
        }
        Some(context)
    }

    fn shape(&mut self) -> Option<Shape> {
        Some(Shape {
            class: Class::from_u8(self.u8()?)?,
            command: self.text()?,
            origin: Origin::from_u8(self.u8()?)?,
            objects: self.objects()?,
            columns_read: self.list()?,
            columns_written: self.list()?,
            masked: self.list()?,
            revealed: self.list()?,
        })
    }

    fn end(&mut self) -> Option<End> {
        let (session, statement, at) = (self.session()?, self.u32()?, self.i64()?);
        let (rows, bytes, transaction) = (self.u64()?, self.u64()?, self.u64()?);
        let committed = match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            UNKNOWN => None,
            _ => return None,
        };
        let outcome = Outcome::from_u8(self.u8()?)?;
        let sqlstate = match outcome {
            Outcome::Ok => *b"00000",
            _ => self.array()?,
        };
        Some(End { session, statement, at, rows, bytes, transaction, committed, outcome, sqlstate })
    }

    fn begin(&mut self) -> Option<Begin> {
        let mut begin = Begin {
            session: self.session()?,
            statement: self.u32()?,
            parent: self.u32()?,
            depth: u16::try_from(self.u64()?).ok()?,
            context: self.u32()?,
            shape: self.u32()?,
            at: self.i64()?,
            text: self.optional()?,
            grants: Vec::new(),
            parameters: Vec::new(),
        };
        for _ in 0..self.u32()? {
            begin.grants.push(self.i64()?);
        }
        for _ in 0..self.u32()? {
            begin.parameters.push(self.optional()?);
        }
        Some(begin)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Option<u32> {
        u32::try_from(self.u64()?).ok()
    }

    fn u64(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = u64::from(self.u8()?);
            let bits = byte & 0x7f;
            // The last byte has room for one bit, and a number one form only.
            if bits << shift >> shift != bits || byte == 0 && shift > 0 {
                return None;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn session(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.array()?))
    }

    fn i64(&mut self) -> Option<i64> {
        Some(self.u64()? as i64)
    }

    fn text(&mut self) -> Option<Text> {
        let length = self.u32()?;
        Some(self.take(length as usize)?.to_vec())
    }

    fn optional(&mut self) -> Option<Option<Text>> {
        match self.u64()?.checked_sub(1) {
            None => Some(None),
            Some(length) => Some(Some(self.take(usize::try_from(length).ok()?)?.to_vec())),
        }
    }

    fn optional_string(&mut self) -> Option<Option<String>> {
        match self.optional()? {
            Some(text) => Some(Some(String::from_utf8(text).ok()?)),
            None => Some(None),
        }
    }

    fn objects(&mut self) -> Option<Vec<Object>> {
        let count = self.u32()?;
        (0..count)
            .map(|_| {
                let change = Change::from_u8(self.u8()?)?;
                Some(Object { change, kind: self.text()?, name: self.text()? })
            })
            .collect()
    }

    fn list(&mut self) -> Option<Vec<Text>> {
        let count = self.u32()?;
        (0..count).map(|_| self.text()).collect()
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
