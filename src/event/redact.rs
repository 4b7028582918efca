//! The last net for secrets in texts.
//!
//! Statements known to carry a secret lose their text by their parse tree (see
//! `capture::build`). This catches what no parse tree shows: a token inside a string that is
//! only a literal to the parser, as in the body of a DO block. Anything shaped like a JSON Web
//! Token (RFC 7519: three base64url parts, the first of which is a JSON object) is replaced.

use std::borrow::Cow;

const MARK: &[u8] = b"<token>";
/// How `{` and a quote or a blank begin in base64url: `{"`, `{ ` as "ey", `{` and a line's end as "ew".
const JSON_OBJECT: [&[u8]; 2] = [b"ey", b"ew"];
/// `{"alg":"none"}` takes 19.
const SHORTEST_HEADER: usize = 16;
const SHORTEST_PART: usize = 8;

/// `text` without tokens.
pub fn tokens(text: &[u8]) -> Cow<'_, [u8]> {
    let mut out: Option<Vec<u8>> = None;
    let (mut kept, mut at) = (0, 0);
    while let Some(found) = find(&text[at..]) {
        let start = at + found;
        let end = token_end(&text[start..]).map(|length| start + length);
        at = match end {
            Some(end) => {
                let out = out.get_or_insert_with(|| Vec::with_capacity(text.len()));
                out.extend_from_slice(&text[kept..start]);
                out.extend_from_slice(MARK);
                kept = end;
                end
            }
            None => start + 1,
        };
    }
    match out {
        None => Cow::Borrowed(text),
        Some(mut out) => {
            out.extend_from_slice(&text[kept..]);
            Cow::Owned(out)
        }
    }
}

fn find(text: &[u8]) -> Option<usize> {
    if text.len() <= SHORTEST_HEADER {
        return None;
    }
    // Texts of every statement come through here: the search for one byte is the fast one.
    memchr::memchr_iter(b'e', text)
        .find(|at| text.get(*at..*at + 2).is_some_and(|two| JSON_OBJECT.contains(&two)))
}

/// Length of the token at the start of `text`, if it is one. A cut-off one counts too: what is
/// left of it may be most of the signature's input.
fn token_end(text: &[u8]) -> Option<usize> {
    let part = |from: usize| text[from..].iter().take_while(|c| is_base64url(**c)).count();
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
