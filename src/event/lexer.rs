//! Words, names and constants of SQL, as PostgreSQL's lexer takes them apart (scan.l).
//!
//! Promises: blanks and comments are left out, and nothing is judged: what the parser would refuse comes in
//! pieces all the same, and [`Scan::is_whole`] tells of a text that ended within one.

use std::ops::Range;

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A key word, or a name without quotes.
    Word(&'a [u8]),
    /// A name in quotes.
    Name,
    /// A string constant, with its prefix and quotes.
    Constant,
    /// A number, with what hangs on it: an `e'` behind a number begins no constant of its own.
    Number,
    /// Any other character.
    Sign(u8),
}

/// The pieces of a text, each with its place.
pub struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    backslashes: bool,
    whole: bool,
}

impl<'a> Scan<'a> {
    /// With `backslashes`, plain constants are read as with standard_conforming_strings = off.
    pub fn new(text: &'a [u8], backslashes: bool) -> Self {
        Self { text, at: 0, backslashes, whole: true }
    }

    /// Whether no constant, name or comment so far was without an end.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Passes what has this length, or the rest of the text if it has no end.
    fn pass(&mut self, length: Option<usize>) {
        self.whole &= length.is_some();
        self.at = length.map_or(self.text.len(), |length| self.at + length);
    }

    fn skip_blanks(&mut self) {
        while let Some(length) = blank(&self.text[self.at..]) {
            self.pass(length);
        }
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = (Range<usize>, Piece<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_blanks();
        let start = self.at;
        let rest = &self.text[start..];
        let run = |of: fn(u8) -> bool| rest.iter().position(|byte| !of(*byte)).unwrap_or(rest.len());
        let (piece, length) = match (*rest.first()?, &rest[1..]) {
            (b'\'', _) => (Piece::Constant, quoted(rest, 1, b'\'', self.backslashes)),
            (b'"', _) => (Piece::Name, quoted(rest, 1, b'"', false)),
            (b'e' | b'E', [b'\'', ..]) => (Piece::Constant, quoted(rest, 2, b'\'', true)),
            (b'b' | b'B' | b'x' | b'X', [b'\'', ..]) => (Piece::Constant, quoted(rest, 2, b'\'', false)),
            (b'n' | b'N', [b'\'', ..]) => (Piece::Constant, quoted(rest, 2, b'\'', self.backslashes)),
            (b'u' | b'U', [b'&', b'\'', ..]) => (Piece::Constant, quoted(rest, 3, b'\'', false)),
            (b'u' | b'U', [b'&', b'"', ..]) => (Piece::Name, quoted(rest, 3, b'"', false)),
            (b'$', _) => match dollar_quoted(rest) {
                Some(length) => (Piece::Constant, length),
                None => (Piece::Sign(b'$'), Some(1)),
            },
            (first, _) if is_word_start(first) => {
                let length = run(is_word);
                (Piece::Word(&rest[..length]), Some(length))
            }
            (b'0'..=b'9', _) | (b'.', [b'0'..=b'9', ..]) => (Piece::Number, Some(number(rest))),
            (first, _) => (Piece::Sign(first), Some(1)),
        };
        self.pass(length);
        Some((start..self.at, piece))
    }
}

/// `text` with each run of blanks and comments as one blank.
pub fn blanks_as_one(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut scan = Scan::new(text, false);
    while scan.at < text.len() {
        let start = scan.at;
        scan.skip_blanks();
        if scan.at > start {
            out.push(b' ');
        } else {
            out.push(text[start]);
            scan.at += 1;
        }
    }
    out
}

/// Length of a number, with what hangs on it.
fn number(text: &[u8]) -> usize {
    let run = |from: usize| {
        let hangs = |byte: &u8| is_word(*byte) || *byte == b'.';
        from + text[from..].iter().take_while(|byte| hangs(byte)).count()
    };
    match (run(0), &text[..2.min(text.len())]) {
        (end, [b'0', b'x' | b'X']) => end,
        // The sign of an exponent.
        (end, _) if matches!(text.get(end - 1..end + 2), Some([b'e' | b'E', b'+' | b'-', b'0'..=b'9'])) => {
            run(end + 1)
        }
        (end, _) => end,
    }
}

/// Length of the blank or comment at the start of `text`, or that it has no end; `None` if none begins here.
fn blank(text: &[u8]) -> Option<Option<usize>> {
    match text {
        [b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, ..] => Some(Some(1)),
        [b'-', b'-', ..] => Some(Some(memchr::memchr2(b'\n', b'\r', text).unwrap_or(text.len()))),
        [b'/', b'*', ..] => Some(comment(text)),
        _ => None,
    }
}

/// Length of a comment, which may hold others.
fn comment(text: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (1, 2);
    while depth > 0 {
        (depth, at) = match text.get(at..at + 2)? {
            b"/*" => (depth + 1, at + 2),
            b"*/" => (depth - 1, at + 2),
            _ => (depth, at + 1),
        };
    }
    Some(at)
}

/// Length of a constant or name of which `open` bytes stand before its inside.
fn quoted(text: &[u8], open: usize, quote: u8, backslashes: bool) -> Option<usize> {
    let mut at = open;
    loop {
        match text.get(at)? {
            b'\\' if backslashes => at += 2,
            byte if *byte == quote && text.get(at + 1) == Some(&quote) => at += 2,
            byte if *byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// Length of a dollar-quoted constant, or that it has no end; `None` if none begins here.
fn dollar_quoted(text: &[u8]) -> Option<Option<usize>> {
    let tag = memchr::memchr(b'$', &text[1..])? + 2;
    let name = &text[1..tag - 1];
    let is_tag =
        name.first().is_none_or(|byte| is_word_start(*byte)) && name.iter().all(|byte| is_word(*byte));
    is_tag.then(|| Some(memchr::memmem::find(&text[tag..], &text[..tag])? + 2 * tag))
}

fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_word(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit() || byte == b'$'
}
