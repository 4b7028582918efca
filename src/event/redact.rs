//! The last net for secrets in texts.
//!
//! Statements known to carry a secret lose their text by their parse tree (see
//! `capture::build`). This catches what no parse tree shows: a token inside a string that is
//! only a literal to the parser, as in the body of a DO block. Anything shaped like a JSON Web
//! Token (RFC 7519: three base64url parts, the first of which is a JSON object) is replaced.

use std::borrow::Cow;
use std::ops::Range;

const MARK: &[u8] = b"<token>";
/// How `{` and a quote or a blank begin in base64url: `{"`, `{ ` as "ey", `{` and a line's end as "ew".
const JSON_OBJECT: [&[u8]; 2] = [b"ey", b"ew"];
/// `{"alg":"none"}` takes 19.
const SHORTEST_HEADER: usize = 16;
const SHORTEST_PART: usize = 8;

/// `text` without tokens.
pub fn tokens(text: &[u8]) -> Cow<'_, [u8]> {
    match parts(text) {
        parts if parts.is_empty() => Cow::Borrowed(text),
        parts => Cow::Owned(without(text, &parts)),
    }
}

/// Where `text` holds tokens, in order; without an allocation if there is none.
pub fn parts(text: &[u8]) -> Vec<Range<usize>> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(found) = find(&text[at..]) {
        let start = at + found;
        at = match token_end(&text[start..]) {
            Some(length) => {
                all.push(start..start + length);
                start + length
            }
            None => start + 1,
        };
    }
    all
}

/// `text` with `parts` replaced.
pub fn without(text: &[u8], parts: &[Range<usize>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut kept = 0;
    for part in parts {
        out.extend_from_slice(&text[kept..part.start]);
        out.extend_from_slice(MARK);
        kept = part.end;
    }
    out.extend_from_slice(&text[kept..]);
    out
}

/// A message for the server log without tokens, if it holds any: as text, or in the tree of a
/// statement as debug_print_parse and its kin print it.
pub fn message(text: &[u8]) -> Option<Vec<u8>> {
    let is_tree =
        [b"{QUERY".as_slice(), b"{PLANNEDSTMT"].iter().any(|root| memchr::memmem::find(text, root).is_some());
    let all = if is_tree { parts_of_tree(text) } else { parts(text) };
    (!all.is_empty()).then(|| without(text, &all))
}

/// In a printed tree constants are lists of bytes as decimal numbers (outfuncs.c), and lines are broken
/// anywhere: a line that goes on begins with the blanks of the one it continues (print.c).
fn parts_of_tree(text: &[u8]) -> Vec<Range<usize>> {
    let (mut joined, mut places) = (Vec::with_capacity(text.len()), Vec::with_capacity(text.len()));
    let (mut place, mut indent) = (0, 0);
    for line in text.split(|byte| *byte == b'\n') {
        let blanks = line.iter().take_while(|byte| **byte == b' ').count();
        if matches!(line.get(blanks), Some(b':' | b'{' | b'}' | b'(')) {
            indent = blanks;
        }
        let skipped = blanks.min(indent);
        joined.extend_from_slice(&line[skipped..]);
        places.extend(place + skipped..place + line.len());
        place += line.len() + 1;
    }
    let mut all = parts(&joined);
    let mut at = 0;
    while let Some(open) = memchr::memchr(b'[', &joined[at..]).map(|found| at + found + 1) {
        let Some(close) = memchr::memchr(b']', &joined[open..]).map(|found| open + found) else { break };
        // With debug_pretty_print a number may be broken, too; without it a blank is lost at the break.
        let as_it_stands = &text[places[open - 1] + 1..places[close]];
        if [as_it_stands, &joined[open..close]].iter().any(|list| !parts(&numbers(list)).is_empty()) {
            all.push(open..close);
        }
        at = close;
    }
    all.sort_unstable_by_key(|part| part.start);
    all.into_iter().map(|part| places[part.start]..places[part.end - 1] + 1).collect()
}

/// The bytes that `text` lists as numbers; none if it lists anything else.
fn numbers(text: &[u8]) -> Vec<u8> {
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<i16>().ok().map(|n| n as u8);
    let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.map(number).collect::<Option<_>>().unwrap_or_default()
}

fn find(text: &[u8]) -> Option<usize> {
    if text.len() <= SHORTEST_HEADER {
        return None;
    }
    // Texts of every statement come through here, and SQL has fewer of the second letters than of the first.
    memchr::memchr2_iter(b'y', b'w', text)
        .filter_map(|second| second.checked_sub(1))
        .find(|at| JSON_OBJECT.contains(&&text[*at..*at + 2]))
}

/// Length of the token at the start of `text`, which begins like one, if it is one. A cut-off one counts too: what is
/// left of it may be most of the signature's input.
fn token_end(text: &[u8]) -> Option<usize> {
    let part = |from: usize| word(&text[from..]);
    let header = part(0);
    if header < SHORTEST_HEADER || text.get(header) != Some(&b'.') {
        return None;
    }
    let mut end = header + 1 + part(header + 1);
    if end - header <= SHORTEST_PART {
        return None;
    }
    while text.get(end) == Some(&b'.') {
        end += 1 + part(end + 1);
    }
    Some(end)
}

fn word(text: &[u8]) -> usize {
    text.iter().take_while(|c| is_base64url(**c)).count()
}

fn is_base64url(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'-' || c == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl-_x";

    #[test]
    fn tokens_disappear_wherever_they_stand() {
        let text = format!("DO $$ BEGIN PERFORM custodian.set_identity('{TOKEN}'); END $$ -- {TOKEN}");
        let clean = String::from_utf8(tokens(text.as_bytes()).into_owned()).unwrap();
        assert_eq!(clean, "DO $$ BEGIN PERFORM custodian.set_identity('<token>'); END $$ -- <token>");
    }

    #[test]
    fn a_cut_off_token_disappears_too() {
        let cut = &TOKEN[..40];
        assert_eq!(tokens(cut.as_bytes()).as_ref(), MARK);
    }

    #[test]
    fn the_parts_of_a_text_are_its_tokens() {
        let text = format!("select f('{TOKEN}', '{TOKEN}')");
        let found = parts(text.as_bytes());
        assert_eq!(found.len(), 2);
        assert!(found.into_iter().all(|part| &text[part] == TOKEN));
        assert!(parts(b"select custodian.set_identity($1)").is_empty());
    }

    #[test]
    fn a_token_in_a_printed_tree_disappears() {
        let bytes: Vec<String> = TOKEN.bytes().map(|byte| byte.to_string()).collect();
        let (first, rest) = TOKEN.split_at(11);
        let list = bytes.join(" ");
        // Broken in a number, and before a blank.
        let broken = list.replacen("101 1", "10\n   1 1", 1).replacen("98 ", "98\n    ", 1);
        let tree = format!(
            "   {{QUERY \n   :constvalue 62 [ -8 0 0 0 {broken} ] \n   :payload {first}\n   {rest}\n   :x 4 [ 1 2 ]"
        );
        let clean = String::from_utf8(message(tree.as_bytes()).unwrap()).unwrap();
        assert_eq!(clean, "   {QUERY \n   :constvalue 62 [<token>] \n   :payload <token>\n   :x 4 [ 1 2 ]");
        let plain = format!("{{QUERY :constvalue 62 [ -8 0 0 0\n{} ] :x", list.replacen(' ', "\n", 1));
        assert_eq!(message(plain.as_bytes()).unwrap(), b"{QUERY :constvalue 62 [<token>] :x");
        assert_eq!(message(b"{QUERY :constvalue 4 [ 4 0 0 0 ] {x}"), None);
    }

    #[test]
    fn other_text_is_left_alone_and_not_copied() {
        for text in [
            "",
            "select 1",
            "select eyewitness.statement, ewe.b from they.were_there",
            "select 'eyJ' || a.b from eyJ.t",
            "eyJhbGciOiJFUzI1NiJ9 alone is no token here",
        ] {
            assert!(matches!(tokens(text.as_bytes()), Cow::Borrowed(t) if t == text.as_bytes()), "{text}");
        }
    }
}
