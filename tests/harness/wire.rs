//! A client that speaks the protocol message by message, to do what libraries do not: stop in the middle.
//!
//! It connects through the Unix socket, where no password is asked for. Messages are those of the
//! documentation's chapter "Message Formats".

use super::Cluster;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

pub struct Wire {
    stream: UnixStream,
    waiting: Vec<u8>,
    /// The server's process for this session.
    pub pid: i32,
}

/// A message of the server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub kind: char,
    body: Vec<u8>,
}

impl Answer {
    /// What CommandComplete says: `SELECT 3`.
    pub fn tag(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap().trim_end_matches('\0')
    }

    /// The message without its kind and length.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The SQLSTATE of an ErrorResponse.
    pub fn sqlstate(&self) -> &str {
        let fields = self.body.split(|byte| *byte == 0);
        let code = fields.into_iter().find_map(|field| field.strip_prefix(b"C")).unwrap();
        std::str::from_utf8(code).unwrap()
    }
}

/// The kinds of answers, in order, those in a row of the same kind as one.
pub fn kinds(answers: &[Answer]) -> String {
    let mut kinds: Vec<char> = answers.iter().map(|answer| answer.kind).collect();
    kinds.dedup();
    kinds.into_iter().collect()
}

impl Wire {
    pub fn connect(cluster: &Cluster, user: &str, database: &str) -> Self {
        let path = cluster.socket().join(format!(".s.PGSQL.{}", cluster.port()));
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(super::PATIENCE)).unwrap();
        let mut wire = Self { stream, waiting: Vec::new(), pid: 0 };
        let mut start = 196_608_i32.to_be_bytes().to_vec();
        for text in ["user", user, "database", database, ""] {
            start.extend_from_slice(text.as_bytes());
            start.push(0);
        }
        wire.waiting.extend_from_slice(&(start.len() as i32 + 4).to_be_bytes());
        wire.waiting.extend_from_slice(&start);
        wire.send();
        let key = wire.until('Z').into_iter().find(|answer| answer.kind == 'K').unwrap();
        wire.pid = i32::from_be_bytes(key.body[..4].try_into().unwrap());
        wire
    }

    fn message(&mut self, kind: char, body: &[u8]) -> &mut Self {
        self.waiting.push(kind as u8);
        self.waiting.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
        self.waiting.extend_from_slice(body);
        self
    }

    /// Sends what was put together, and waits for nothing.
    pub fn send(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.stream.write_all(&waiting).unwrap();
    }

    pub fn query(&mut self, text: &str) -> &mut Self {
        self.message('Q', &terminated(&[text]))
    }

    /// With parameters of these types; 0 leaves a type to the server.
    pub fn parse(&mut self, name: &str, text: &str, types: &[u32]) -> &mut Self {
        let mut body = terminated(&[name, text]);
        body.extend_from_slice(&(types.len() as i16).to_be_bytes());
        types.iter().for_each(|kind| body.extend_from_slice(&kind.to_be_bytes()));
        self.message('P', &body)
    }

    /// Values are binary where the format is 1, and text where it is 0.
    pub fn bind(&mut self, portal: &str, name: &str, values: &[(i16, Option<&[u8]>)]) -> &mut Self {
        let mut body = terminated(&[portal, name]);
        body.extend_from_slice(&(values.len() as i16).to_be_bytes());
        values.iter().for_each(|(format, _)| body.extend_from_slice(&format.to_be_bytes()));
        body.extend_from_slice(&(values.len() as i16).to_be_bytes());
        for (_, value) in values {
            let length = value.map_or(-1, |value| value.len() as i32);
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(value.unwrap_or_default());
        }
        body.extend_from_slice(&0_i16.to_be_bytes());
        self.message('B', &body)
    }

    /// At most this many rows; 0 for all.
    pub fn execute(&mut self, portal: &str, rows: i32) -> &mut Self {
        let mut body = terminated(&[portal]);
        body.extend_from_slice(&rows.to_be_bytes());
        self.message('E', &body)
    }

    pub fn close_portal(&mut self, portal: &str) -> &mut Self {
        let body = [b"P".as_slice(), &terminated(&[portal])].concat();
        self.message('C', &body)
    }

    pub fn flush(&mut self) -> &mut Self {
        self.message('H', &[])
    }

    pub fn sync(&mut self) -> &mut Self {
        self.message('S', &[])
    }

    pub fn copy_data(&mut self, data: &str) -> &mut Self {
        self.message('d', data.as_bytes())
    }

    pub fn copy_done(&mut self) -> &mut Self {
        self.message('c', &[])
    }

    pub fn copy_fail(&mut self, reason: &str) -> &mut Self {
        self.message('f', &terminated(&[reason]))
    }

    /// Says good-bye as the protocol wants it.
    pub fn terminate(mut self) {
        self.message('X', &[]);
        self.send();
    }

    /// Sends what is waiting, and is gone without a word.
    pub fn vanish(mut self) {
        self.send();
    }

    /// Sends what is waiting, and reads up to the first answer of this kind.
    pub fn until(&mut self, kind: char) -> Vec<Answer> {
        self.send();
        let mut answers = Vec::new();
        loop {
            let mut head = [0; 5];
            self.stream.read_exact(&mut head).unwrap();
            let length = i32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4;
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).unwrap();
            answers.push(Answer { kind: head[0] as char, body });
            if head[0] as char == kind {
                return answers;
            }
        }
    }

    /// Sends what is waiting, and goes on when the session waits for something of this kind
    /// (pg_stat_activity.wait_event_type).
    pub fn send_and_wait(&mut self, admin: &mut postgres::Client, kind: &str) {
        self.send();
        let waits = "select exists (select from pg_stat_activity where pid = $1 and wait_event_type = $2)";
        super::wait_for("the session to wait", || {
            admin.query_one(waits, &[&self.pid, &kind]).unwrap().get(0)
        });
    }

    /// Up to where the server is ready again.
    pub fn ready(&mut self) -> Vec<Answer> {
        self.until('Z')
    }
}

fn terminated(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| text.bytes().chain([0])).collect()
}
