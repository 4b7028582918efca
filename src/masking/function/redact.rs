//! Free text: what looks like personal data is replaced by what it looks like.
//!
//! E-mail addresses, IBANs with right check digits, internet addresses, and numbers: of cards (by their check
//! digit), telephones, the form of US social security numbers, and whatever else has nine digits or more.
//! Dates stay. It finds patterns, not meaning: names, streets, spelt-out numbers and what is
//! encoded stay. In doubt it hides. Time is linear in the length of the text.
//!
//! Works on bytes: all patterns are ASCII, and bytes beyond are letters.

use super::{card, iban};
use regex::bytes::{Captures, Regex};
use std::borrow::Cow;
use std::sync::LazyLock;

/// Bytes that addresses have besides those of ASCII count as letters. No bound: the whole run is taken.
const EMAIL: &str =
    r"(?-u)[A-Za-z0-9.!#$%&'*+/=?^_`{|}~\x80-\xff-]+@[A-Za-z0-9\x80-\xff-]+(?:\.[A-Za-z0-9\x80-\xff-]+)+";

/// Candidates, each of a bounded length, that are looked at more closely.
const CANDIDATE: &str = concat!(
    r"(?-u)(?P<iban>[A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]){11,30})",
    r"|(?P<v4>(?:[0-9]{1,3}\.){3}[0-9]{1,3})",
    r"|(?P<v6>[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){1,6}:(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f]{0,4}))",
    r"|(?P<date>(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])\b)",
    r"|(?P<number>\+?\(?[0-9](?:[ ()./-]{0,2}[0-9]){6,24})",
);

struct Patterns {
    email: Regex,
    candidate: Regex,
}

/// `None` if a pattern were wrong, which a test rules out: then all of a text is hidden.
static PATTERNS: LazyLock<Option<Patterns>> = LazyLock::new(|| {
    Some(Patterns { email: Regex::new(EMAIL).ok()?, candidate: Regex::new(CANDIDATE).ok()? })
});

/// The text without what looks like personal data.
pub fn redact(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(patterns) = PATTERNS.as_ref() else { return Cow::Borrowed(super::HIDDEN.as_bytes()) };
    if !text.iter().any(|byte| byte.is_ascii_digit() || *byte == b'@' || *byte == b':') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::new();
    let mut done = 0;
    let between = |part: &'_ [u8], out: &mut Vec<u8>| numbers(patterns, part, out);
    if memchr::memchr(b'@', text).is_some() {
        for found in patterns.email.find_iter(text) {
            between(&text[done..found.start()], &mut out);
            out.extend_from_slice(b"[email]");
            done = found.end();
        }
    }
    between(&text[done..], &mut out);
    Cow::Owned(out)
}

fn numbers(patterns: &Patterns, text: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(found) = patterns.candidate.captures_at(text, at) {
        let Some(whole) = found.get(0) else { break };
        out.extend_from_slice(&text[at..whole.start()]);
        at = whole.start();
        let (length, label) = judged(&found, whole.as_bytes());
        match label {
            Some(label) => out.extend_from_slice(label),
            None => out.extend_from_slice(&text[at..at + length]),
        }
        at += length;
        if label.is_some() {
            at += run(&text[at..]);
        }
    }
    out.extend_from_slice(&text[at..]);
}

/// How far digits go on behind what was hidden: a run is longer than a candidate may be.
fn run(text: &[u8]) -> usize {
    let separator = |byte: &u8| matches!(byte, b' ' | b'(' | b')' | b'.' | b'/' | b'-');
    let mut end = 0;
    loop {
        let between = text[end..].iter().take(2).take_while(|byte| separator(byte)).count();
        match text.get(end + between) {
            Some(byte) if byte.is_ascii_digit() => end += between + 1,
            _ => return end,
        }
    }
}

/// How many bytes of a candidate are dealt with, at least one, and what stands for them if they are hidden.
fn judged(found: &Captures<'_>, text: &[u8]) -> (usize, Option<&'static [u8]>) {
    if found.name("iban").is_some() {
        // words that follow may have been taken along: the longest beginning that is right
        let ends = (15..=text.len()).rev().filter(|end| text[end - 1].is_ascii_alphanumeric());
        return match ends.map(|end| &text[..end]).find(|text| iban::is_valid(text)) {
            Some(iban) => (iban.len(), Some(b"[iban]")),
            None => (2, None),
        };
    }
    if found.name("v4").is_some() || found.name("v6").is_some() {
        let address = std::str::from_utf8(text).ok().and_then(|text| text.parse::<std::net::IpAddr>().ok());
        return match address {
            Some(_) => (text.len(), Some(b"[ip]")),
            // a longer number may begin in its last part
            None => {
                let last = text.iter().rposition(|byte| matches!(byte, b':' | b'.'));
                (last.map_or(text.len(), |at| at + 1), None)
            }
        };
    }
    if found.name("date").is_some() {
        return (text.len(), None);
    }
    (text.len(), number(text))
}

/// What a run of digits and separators is, if it is to be hidden.
fn number(text: &[u8]) -> Option<&'static [u8]> {
    let digits = text.iter().filter(|byte| byte.is_ascii_digit()).count();
    let separated = text.iter().any(|byte| matches!(byte, b' ' | b'-' | b'/' | b'('));
    let dialled = matches!(text, [b'+' | b'(' | b'0', ..]);
    let social = text.len() == 11 && digits == 9 && text[3] == text[6] && matches!(text[3], b'-' | b' ');
    if social {
        Some(b"[ssn]")
    } else if (13..=19).contains(&digits) && card::passes(text) {
        Some(b"[card]")
    } else if digits <= 15 && (dialled || separated) {
        Some(b"[phone]")
    } else if digits >= 9 {
        Some(b"[number]")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::masking::function::samples::Samples;

    fn of(text: &str) -> String {
        String::from_utf8(redact(text.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn what_looks_personal_is_named_and_not_shown() {
        for (text, expected) in [
            ("write to john.doe+x@mail.example.com!", "write to [email]!"),
            ("jürgen@münchen.de, info@example.org", "[email], [email]"),
            ("paid from DE89 3704 0044 0532 0130 00 for rent", "paid from [iban] for rent"),
            ("gb29nwbk60161331926819.", "[iban]."),
            ("card 4111 1111 1111 1111, 12/27", "card [card], 12/27"),
            ("4111-1111-1111-1111x", "[card]x"),
            ("call +49 171 1234567 or 030/123 45 67", "call [phone] or [phone]"),
            ("(212) 555-0123", "[phone]"),
            ("ssn 078-05-1120", "ssn [ssn]"),
            ("account 123456789012", "account [number]"),
            ("from 203.0.113.42 and 2001:db8::1", "from [ip] and [ip]"),
            ("::ffff:203.0.113.42", "[ip]"),
            ("x12345678901234567890123456789012345y", "x[number]y"),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }

    #[test]
    fn other_texts_stay_as_they_are() {
        for text in [
            "",
            "nothing here",
            "order 4711 of 2026-01-31 at 10:30:00",
            "10:30",
            "EUR 1.234,50",
            "1234567",
            "a@b",
            "v1.2.3",
            "2026-01-31 and 1999-12-31",
            "größe 42",
            "e::f is c++",
            "3 apples, 4 pears",
        ] {
            if text == "e::f is c++" {
                // a valid address by all rules: in doubt it hides
                assert_eq!(of(text), "[ip] is c++");
            } else {
                assert_eq!(of(text), text);
            }
        }
    }

    #[test]
    fn the_patterns_are_patterns() {
        assert!(PATTERNS.is_some());
    }

    #[test]
    fn nothing_of_a_card_or_an_address_comes_out_wherever_it_stands() {
        let pieces =
            [" ", "a", "9", "1", "-", ".", ":", "@", "+", "(", "é", "DE", "1:2:", "2026-01-02", "\n"];
        let mut samples = Samples::new();
        for _ in 0..20_000 {
            let (before, after) = (samples.text(&pieces, 6), samples.text(&pieces, 6));
            let shown = of(&format!("{before}4111111111111111{after}"));
            assert!(!shown.contains("111111"), "{before} {after}: {shown}");
            let shown = of(&format!("{before} john.doe@example.com {after}"));
            assert!(!shown.contains("doe@exa"), "{before} {after}: {shown}");
        }
    }

    #[test]
    fn any_bytes_are_taken_and_texts_remain_texts() {
        let pieces = ["4", "1111", " ", "@", "a.b", "é", "日", ":", ".", "DE89", "+", "\0", "\u{301}"];
        let mut samples = Samples::new();
        for _ in 0..20_000 {
            let value = samples.bytes(&pieces, 30);
            let shown = redact(&value);
            assert!(std::str::from_utf8(&value).is_err() || std::str::from_utf8(&shown).is_ok(), "{value:?}");
        }
    }

    #[test]
    fn long_texts_take_time_in_proportion() {
        for piece in ["1-", "a@", "1:", "DE891", "a.", "12345678 ", "1.1.1.", "+(", "a@b."] {
            let text = piece.repeat(400_000 / piece.len());
            let started = std::time::Instant::now();
            redact(text.as_bytes());
            // Time in proportion to the square would be hours, also where nothing else is to do.
            assert!(started.elapsed().as_secs() < 120, "{piece} {:?}", started.elapsed());
        }
    }
}
