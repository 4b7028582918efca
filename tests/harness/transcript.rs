//! What a server says to a client, down to the byte, as text that a person can read and a test can compare.

use super::Cluster;
use super::wire::{Answer, Wire};
use std::fmt::Write as _;

pub struct Session {
    wire: Wire,
    /// Whether the place in the server's source belongs to what is compared.
    pub with_source: bool,
    /// Whether the tables and types that columns are of belong to it.
    pub with_origin: bool,
    /// OIDs above are of what was made since, and say nothing.
    pub newest: i32,
    /// What results call the database; it is left out.
    database: String,
}

impl Session {
    pub fn connect(cluster: &Cluster, user: &str, database: &str) -> Self {
        let wire = Wire::connect(cluster, user, database);
        Self {
            wire,
            with_source: false,
            with_origin: true,
            newest: i32::MAX,
            database: format!("UDT.{database}."),
        }
    }

    /// Sends a statement, or several, by the simple protocol and gives back everything that was answered.
    pub fn run(&mut self, text: &str) -> String {
        self.wire.query(text);
        self.answered()
    }

    /// The same with data for a COPY FROM STDIN.
    pub fn run_with_data(&mut self, text: &str, data: &str) -> String {
        self.wire.query(text).copy_data(data).copy_done();
        self.answered()
    }

    /// By the extended protocol: a named statement that stays. Types are left to the server, values are text.
    pub fn parse(&mut self, name: &str, text: &str) -> String {
        self.wire.parse(name, text, &[]).sync();
        self.answered()
    }

    pub fn execute(&mut self, name: &str, values: &[Option<&str>]) -> String {
        let values: Vec<(i16, Option<&[u8]>)> =
            values.iter().map(|value| (0, value.map(str::as_bytes))).collect();
        self.wire.bind("", name, &values).execute("", 0).sync();
        self.answered()
    }

    /// A portal of a named statement without parameters, and its first rows.
    pub fn open(&mut self, portal: &str, name: &str, rows: i32) -> String {
        self.wire.bind(portal, name, &[]).execute(portal, rows).sync();
        self.answered()
    }

    /// The next rows of a portal.
    pub fn go_on(&mut self, portal: &str, rows: i32) -> String {
        self.wire.execute(portal, rows).sync();
        self.answered()
    }

    fn answered(&mut self) -> String {
        let mut out = String::new();
        for answer in self.wire.ready() {
            self.describe(&answer, &mut out);
        }
        without_numbers(&out.replace(&self.database, "UDT."))
    }

    fn describe(&self, answer: &Answer, out: &mut String) {
        let body = answer.body();
        match answer.kind {
            'T' => self.columns(body, out),
            'D' => row(body, out),
            'C' => writeln!(out, "{}", answer.tag()).unwrap(),
            'E' => fields("ERROR", body, self.with_source, out),
            'N' => fields("NOTICE", body, self.with_source, out),
            'd' => write!(out, "copy: {}", String::from_utf8_lossy(body)).unwrap(),
            'Z' if body == b"E" => writeln!(out, "(failed transaction)").unwrap(),
            // What follows from the rest or says nothing: ready, parsed, bound, copying.
            'Z' | '1' | '2' | '3' | 'G' | 'H' | 'c' | 's' => (),
            other => writeln!(out, "{other} {}", String::from_utf8_lossy(body)).unwrap(),
        }
    }

    /// Name, and where it comes from and what type it has.
    fn columns(&self, body: &[u8], out: &mut String) {
        let mut rest = &body[2..];
        let mut described = Vec::new();
        while let Some(end) = rest.iter().position(|byte| *byte == 0) {
            let (name, numbers) = (String::from_utf8_lossy(&rest[..end]), &rest[end + 1..]);
            let four = |at: usize| i32::from_be_bytes(numbers[at..at + 4].try_into().unwrap());
            let two = |at: usize| i16::from_be_bytes(numbers[at..at + 2].try_into().unwrap());
            let known = |oid: i32| if oid > self.newest { "new".into() } else { oid.to_string() };
            let (table, kind) = (known(four(0)), known(four(6)));
            described.push(match self.with_origin {
                true => format!("{name} {table}.{} {kind} {} {}", two(4), two(10), four(12)),
                false => name.into_owned(),
            });
            rest = &numbers[18..];
        }
        writeln!(out, "[{}]", described.join(" | ")).unwrap();
    }
}

/// Schemas of temporary objects without the number of the session.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split("pg_temp_");
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        out.push_str("pg_temp_N");
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    out
}

fn row(body: &[u8], out: &mut String) {
    let mut rest = &body[2..];
    let mut values = Vec::new();
    while rest.len() >= 4 {
        let length = i32::from_be_bytes(rest[..4].try_into().unwrap());
        rest = &rest[4..];
        match usize::try_from(length) {
            Ok(length) => {
                values.push(String::from_utf8_lossy(&rest[..length]).into_owned());
                rest = &rest[length..];
            }
            Err(_) => values.push("(null)".into()),
        }
    }
    writeln!(out, "  {}", values.join(" | ")).unwrap();
}

/// All fields of an error or a notice: V is S again, and F, L and R are the place in the source.
fn fields(what: &str, body: &[u8], with_source: bool, out: &mut String) {
    let mut said = vec![what.to_string()];
    for field in body.split(|byte| *byte == 0).filter(|field| !field.is_empty()) {
        let (kind, value) = (field[0] as char, String::from_utf8_lossy(&field[1..]));
        if kind != 'V' && (with_source || !"FLR".contains(kind)) {
            said.push(format!("{kind} {value}"));
        }
    }
    writeln!(out, "{}", said.join(" · ")).unwrap();
}

/// The same with rows in an order of their own, for statements that promise none.
pub fn sorted(transcript: &str) -> String {
    let mut lines: Vec<&str> = transcript.lines().collect();
    let mut at = 0;
    while at < lines.len() {
        let rows = lines[at..].iter().take_while(|line| line.starts_with("  ")).count();
        lines[at..at + rows].sort_unstable();
        at += rows.max(1);
    }
    lines.join("\n")
}

/// What an error says in place of a detail.
const WITHHELD: &str = " · D The row and its keys are not shown, for columns are masked.";

/// Whether two answers are the same, but for details of errors that are withheld: those show rows.
pub fn same(expected: &str, got: &str) -> bool {
    let without_detail = |line: &str| -> String {
        line.split(" · ").filter(|field| !field.starts_with("D ")).collect::<Vec<_>>().join(" · ")
    };
    expected.lines().count() == got.lines().count()
        && expected.lines().zip(got.lines()).all(|(expected, got)| {
            expected == got || got.contains(WITHHELD) && without_detail(expected) == without_detail(got)
        })
}
