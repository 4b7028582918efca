//! Texts without the values in them: what many executions have in common, and the values apart.

use super::lexer::{Piece, Scan};

/// First words of statements whose constants are data. Of others, such as definitions, they are part of what is
/// defined.
const QUERIES: [&str; 14] = [
    "select", "values", "table", "with", "insert", "update", "delete", "merge", "explain", "declare",
    "prepare", "execute", "copy", "call",
];

/// A text in which numbered parameters stand for its constants.
#[derive(Debug, PartialEq, Eq)]
pub struct Normal {
    pub text: Vec<u8>,
    /// Number of the first constant; the others follow.
    pub first: usize,
    pub constants: Vec<Vec<u8>>,
}

/// Takes the constants out of a query's text. Their numbers begin after the text's own parameters, and after
/// `count`. With `backslashes`, plain strings are read as with standard_conforming_strings = off.
///
/// `None` if it is no query, has no constants, or cannot be taken apart.
pub fn normal(text: &[u8], count: usize, backslashes: bool) -> Option<Normal> {
    let mut scan = Scan::new(text, backslashes);
    let (mut pieces, mut is_query, mut own) = (Vec::new(), None, count);
    let mut after_dollar = None;
    for (place, piece) in scan.by_ref() {
        match piece {
            Piece::Word(word) => {
                is_query.get_or_insert_with(|| {
                    QUERIES.iter().any(|first| word.eq_ignore_ascii_case(first.as_bytes()))
                });
            }
            Piece::Number if after_dollar == Some(place.start) => {
                let number = std::str::from_utf8(&text[place]).ok().and_then(|number| number.parse().ok());
                own = own.max(number?);
            }
            Piece::Number | Piece::Constant => pieces.push((place, piece)),
            Piece::Sign(b'$') => after_dollar = Some(place.end),
            _ => {}
        }
    }
    if !scan.is_whole() || is_query != Some(true) || pieces.is_empty() {
        return None;
    }
    let mut normal = Normal { text: Vec::with_capacity(text.len()), first: own + 1, constants: Vec::new() };
    let mut copied = 0;
    for (place, _) in pieces {
        normal.text.extend_from_slice(&text[copied..place.start]);
        normal.text.extend_from_slice(format!("${}", normal.first + normal.constants.len()).as_bytes());
        normal.constants.push(value(&text[place.clone()], backslashes));
        copied = place.end;
        // A quote ends a constant, and nothing a parameter's number but what is no part of it.
        if text
            .get(copied)
            .is_some_and(|next| next.is_ascii_alphanumeric() || b"$_'.".contains(next) || *next >= 0x80)
        {
            normal.text.push(b' ');
        }
    }
    normal.text.extend_from_slice(&text[copied..]);
    Some(normal)
}

/// What a plain or a dollar-quoted constant stands for; others, with their escapes, as they are written.
fn value(constant: &[u8], backslashes: bool) -> Vec<u8> {
    match constant {
        [b'\'', inner @ .., b'\''] if !backslashes || !inner.contains(&b'\\') => {
            let mut out = Vec::with_capacity(inner.len());
            let mut rest = inner;
            while let Some(quote) = memchr::memchr(b'\'', rest) {
                out.extend_from_slice(&rest[..=quote]);
                rest = rest.get(quote + 2..).unwrap_or_default();
            }
            out.extend_from_slice(rest);
            out
        }
        [b'$', rest @ ..] => {
            let tag = memchr::memchr(b'$', rest).map_or(0, |end| end + 2);
            constant.get(tag..constant.len().saturating_sub(tag)).unwrap_or_default().to_vec()
        }
        _ => constant.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, count: usize) -> Option<(String, Vec<String>)> {
        let normal = normal(text.as_bytes(), count, false)?;
        let constants = normal.constants.into_iter().map(|value| String::from_utf8(value).unwrap());
        Some((String::from_utf8(normal.text).unwrap(), constants.collect()))
    }

    #[test]
    fn constants_become_parameters() {
        for (text, expected, values) in [
            ("select 1", "select $1", &["1"][..]),
            ("Select 'it''s', $$a'b$$, $x$c$x$", "Select $1, $2, $3", &["it's", "a'b", "c"]),
            ("select E'a\\'b', B'01', x'ff'", "select $1, $2, $3", &["E'a\\'b'", "B'01'", "x'ff'"]),
            ("select -1.5e-3, .5, 1e10, 2.", "select -$1, $2, $3, $4", &["1.5e-3", ".5", "1e10", "2."]),
            ("select $2, 'x' where a = 7", "select $2, $3 where a = $4", &["x", "7"]),
            (
                "select a1, \"b 2\", c$3 -- 4\n from t5 /* 6 */ limit 7",
                "select a1, \"b 2\", c$3 -- 4\n from t5 /* 6 */ limit $1",
                &["7"],
            ),
            ("insert into t values ('', 0)", "insert into t values ($1, $2)", &["", "0"]),
            ("(select 1) union (select 2)", "(select $1) union (select $2)", &["1", "2"]),
            ("select ''''", "select $1", &["'"]),
        ] {
            let values: Vec<String> = values.iter().map(|value| value.to_string()).collect();
            assert_eq!(split(text, 0), Some((expected.into(), values)), "{text}");
        }
    }

    #[test]
    fn their_numbers_follow_those_of_the_parameters_that_were_passed() {
        assert_eq!(split("select 'x'", 3).unwrap().0, "select $4");
        assert_eq!(split("select $1, 'x'", 3).unwrap().0, "select $1, $4");
    }

    #[test]
    fn definitions_and_what_cannot_be_taken_apart_stay_as_they_are() {
        for text in [
            "create table t (a int default 5)",
            "select 'x",
            "select a from t",
            "alter role a password 'x'",
            "",
            "'x'",
        ] {
            assert_eq!(split(text, 0), None, "{text}");
        }
    }

    #[test]
    fn the_rest_of_the_text_reads_as_before() {
        /// What stands where, with `$` for each constant and parameter.
        fn pieces(text: &[u8]) -> Vec<u8> {
            let (mut out, mut last) = (Vec::new(), Piece::Name);
            for (place, piece) in Scan::new(text, false) {
                match piece {
                    Piece::Number if last == Piece::Sign(b'$') => {}
                    Piece::Number | Piece::Constant => out.push(b'$'),
                    _ => out.extend_from_slice(&text[place]),
                }
                last = piece;
            }
            out
        }
        let mut seed = 7u64;
        let mut roll = |sides: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % sides
        };
        let parts = [
            "'a b'", " 12 ", " x1 ", "$$q$$", "\"n 1\"", " -- 3\n", "+", " $1 ", " e'\\'' ", ",", "'",
            " 1.5 ", " .5 ", " 1e-5 ", "/*", "*/",
        ];
        let mut found = 0;
        for _ in 0..20_000 {
            let mut text = "select ".to_string();
            (0..roll(12)).for_each(|_| text.push_str(parts[roll(parts.len())]));
            if let Some(normal) = normal(text.as_bytes(), 0, false) {
                let after = String::from_utf8(normal.text).unwrap();
                assert_eq!(pieces(after.as_bytes()), pieces(text.as_bytes()), "{text} became {after}");
                found += 1;
            }
        }
        assert!(found > 5_000, "{found}");
    }
}
