//! Passwords in the texts of statements, cut out where PostgreSQL's lexer says that constants stand.
//!
//! Promises: of a text that is told apart, what is asked for is gone and the rest is as it was; of one that is
//! not (it ends within a constant, or means something else with standard_conforming_strings = off) nothing is
//! left: dropping it is better than guessing. Source of the rules: scan.l.

use super::lexer::{Piece, Scan};
use std::borrow::Cow;
use std::ops::Range;

const WORD: &[u8] = b"password";
/// What stands for a constant that is cut out.
const MARK: &[u8] = b"<secret>";
/// What stands for a text that could not be told apart.
pub const WITHHELD: &[u8] = b"<text withheld: it can hold a secret>";

/// Which constants of a text go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those behind the word PASSWORD, as in CREATE ROLE.
    AfterPassword,
    All,
    /// Those that look like a connection string with a password, or like a statement that sets one.
    Telling,
}

/// A string constant, with its prefix and quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Constant {
    place: Range<usize>,
    /// The token before it is the word PASSWORD.
    after_password: bool,
}

/// `text` without the constants that go.
pub fn without(text: &[u8], which: Which) -> Cow<'_, [u8]> {
    let (Some(constants), Some(otherwise)) = (constants(text, false), constants(text, true)) else {
        return Cow::Borrowed(WITHHELD);
    };
    if constants != otherwise {
        return Cow::Borrowed(WITHHELD);
    }
    let which = match constants.iter().any(|constant| is_template(&text[constant.place.clone()])) {
        true if which == Which::Telling => Which::All,
        _ => which,
    };
    let goes = |constant: &&Constant| match which {
        Which::All => true,
        Which::AfterPassword => constant.after_password,
        Which::Telling => tells(&text[constant.place.clone()]),
    };
    let mut out = Vec::with_capacity(text.len());
    let mut kept = 0;
    for constant in constants.iter().filter(goes) {
        out.extend_from_slice(&text[kept..constant.place.start]);
        out.extend_from_slice(MARK);
        kept = constant.place.end;
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    out.extend_from_slice(&text[kept..]);
    Cow::Owned(out)
}

/// `text`, of an ordinary statement, without constants that tell a password. Nearly free for texts
/// in which the word does not occur.
pub fn ordinary(text: &[u8]) -> Cow<'_, [u8]> {
    match may_tell(text) {
        false => Cow::Borrowed(text),
        true => without(text, Which::Telling),
    }
}

/// Whether `text` has the word at all, in any case, or an address with a name and a password.
pub fn may_tell(text: &[u8]) -> bool {
    mentions_password(text) || has_address(text)
}

/// Whether `value`, the value of a parameter or the inside of a constant, gives a password away.
pub fn tells(value: &[u8]) -> bool {
    let has_value = |rest: &[u8]| {
        let rest = rest.trim_ascii_start();
        // More than the end of the constant itself.
        !rest.iter().all(|byte| matches!(byte, b'\'' | b'$'))
            && (matches!(rest.first(), Some(b'=' | b'\'' | b'"' | b'\\' | b'$' | b'%'))
                || starts_prefixed(rest))
    };
    has_address(value) || passwords(value).any(has_value)
}

/// Whether the word "password" occurs, in any case.
pub fn mentions_password(text: &[u8]) -> bool {
    passwords(text).next().is_some()
}

/// A constant that another one completes: `format('ALTER ROLE x PASSWORD %L', 'secret')`, or
/// `'ALTER ROLE x PASSWORD ' || quote_literal('secret')`.
fn is_template(value: &[u8]) -> bool {
    passwords(value).any(|rest| {
        let blanks = rest.trim_ascii_start();
        let behind = blanks.strip_prefix(b"=").unwrap_or(blanks).trim_ascii_start();
        let ends = behind.iter().all(|byte| matches!(byte, b'\'' | b'$'));
        behind.first() == Some(&b'%') || ends && behind.len() < rest.len()
    })
}

/// What follows each occurrence of the word.
fn passwords(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    memchr::memchr2_iter(b'p', b'P', text).filter_map(|at| {
        let word = text.get(at..at + WORD.len())?;
        word.eq_ignore_ascii_case(WORD).then(|| &text[at + WORD.len()..])
    })
}

/// `scheme://name:password@host`
fn has_address(text: &[u8]) -> bool {
    memchr::memchr_iter(b':', text).filter(|at| text[*at..].starts_with(b"://")).any(|at| {
        let host = text[at + 3..].split(|byte| matches!(byte, b'/' | b'?' | b' ' | b'\'')).next();
        host.and_then(|host| host.rsplitn(2, |byte| *byte == b'@').nth(1))
            .is_some_and(|user| user.contains(&b':'))
    })
}

/// Whether a constant with a prefix begins here: `E'`, `U&'`.
fn starts_prefixed(text: &[u8]) -> bool {
    matches!(text, [b'e' | b'E' | b'n' | b'N', b'\'', ..] | [b'u' | b'U', b'&', b'\'', ..])
}

/// The string constants of `text`; `None` if it ends within one, or within a comment or a name.
/// With `backslashes`, as with standard_conforming_strings = off.
fn constants(text: &[u8], backslashes: bool) -> Option<Vec<Constant>> {
    let mut found: Vec<Constant> = Vec::new();
    // Whether another constant would continue the last one, and whether the last piece was the word.
    let (mut continued, mut password) = (false, false);
    let mut scan = Scan::new(text, backslashes);
    for (place, piece) in scan.by_ref() {
        let is_constant = piece == Piece::Constant;
        match found.last_mut() {
            // Only after a line's end for the lexer; anything else is a syntax error.
            Some(last) if is_constant && continued => last.place.end = place.end,
            _ if is_constant => found.push(Constant { place, after_password: password }),
            _ => {}
        }
        continued = is_constant;
        password = matches!(piece, Piece::Word(word) if word.eq_ignore_ascii_case(WORD));
    }
    scan.is_whole().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "hunter2";

    fn cut(text: &str, which: Which) -> String {
        String::from_utf8(without(text.as_bytes(), which).into_owned()).unwrap()
    }

    #[test]
    fn the_password_of_a_role_goes_in_every_spelling_and_nothing_else() {
        let spellings = [
            "'hunter2'",
            "E'hunter2'",
            "e'hun\\'ter2'",
            "'hunter2'''",
            "U&'hunter2'",
            "U&'hunter2' UESCAPE '!'",
            "$$hunter2$$",
            "$q$hunter2 $$ ' $q$",
            "'hunt'\n  'er2'",
            "'hunt' -- and more\n 'er2'",
            "N'hunter2'",
            "/* the 'password' */ 'hunter2'",
            "/* /* nested */ ' */ 'hunter2'",
            "-- don't\n 'hunter2'",
        ];
        for word in ["password", "PASSWORD", "encrypted PassWord", "\nPASSWORD\t"] {
            for spelling in spellings {
                let text = format!("ALTER ROLE \"pass'word\" {word} {spelling} VALID UNTIL '2030-01-01'");
                let clean = cut(&text, Which::AfterPassword);
                assert!(!clean.contains("hunt") && !clean.contains("er2"), "{text}: {clean}");
                assert!(clean.starts_with("ALTER ROLE \"pass'word\"") || clean.as_bytes() == WITHHELD);
                if !spelling.contains("\\'") {
                    assert!(clean.ends_with("VALID UNTIL '2030-01-01'"), "{text}: {clean}");
                }
            }
        }
        assert_eq!(
            cut("create role a password null valid until 'x'", Which::AfterPassword),
            "create role a password null valid until 'x'"
        );
    }

    #[test]
    fn a_text_that_cannot_be_told_apart_is_dropped() {
        for text in [
            "alter role a password 'hunter2",
            "alter role a password $a$hunter2",
            "alter role a password E'hunter2\\'",
            "alter role a /* password 'hunter2'",
            "alter role \"a password 'hunter2'",
            // one constant or two, as standard_conforming_strings says
            "alter role a password 'x\\' valid until 'hunter2'",
        ] {
            for which in [Which::AfterPassword, Which::All, Which::Telling] {
                assert_eq!(cut(text, which).as_bytes(), WITHHELD, "{text}");
            }
        }
    }

    #[test]
    fn all_constants_go_where_any_may_be_a_secret() {
        assert_eq!(
            cut("create user mapping for u server s options (user 'x', password 'hunter2')", Which::All),
            "create user mapping for u server s options (user <secret>, password <secret>)"
        );
        assert_eq!(cut("do $$ begin perform 'a'; end $$", Which::All), "do <secret>");
        assert_eq!(
            cut("select $1, a$b$c, 1e5, x'ff', \"'\"", Which::All),
            "select $1, a$b$c, 1e5, <secret>, \"'\""
        );
    }

    #[test]
    fn constants_that_tell_a_password_go_from_ordinary_statements() {
        for constant in [
            "'host=x password=hunter2'",
            "'host=x sslpassword = hunter2'",
            "'postgres://bob:hunter2@db/x'",
            "'alter role x password ''hunter2'''",
            "'alter role x PASSWORD E''hunter2'''",
            "$b$alter role x password $a$hunter2$a$$b$",
        ] {
            let text = format!("select dblink_connect({constant}, 'other')");
            assert_eq!(
                String::from_utf8_lossy(&ordinary(text.as_bytes())),
                "select dblink_connect(<secret>, 'other')"
            );
        }
        for text in [
            "select dblink_exec('c', format('alter role x password %L', 'hunter2'))",
            "select dblink_exec('c', 'alter role x password ' || quote_literal('hunter2'))",
            "select dblink_connect('password=' || 'hunter2')",
            "select dblink_connect('password=''' || 'hunter2')",
        ] {
            assert!(!String::from_utf8_lossy(&ordinary(text.as_bytes())).contains(SECRET), "{text}");
        }
    }

    #[test]
    fn other_texts_are_left_alone_and_not_copied() {
        for text in [
            "select password_hash from users where hint = 'my password' and note = 'no password here'",
            "select 'https://example.com/a:b@c', 'mailto:a@b'",
            "select 1",
            "it's broken",
        ] {
            assert!(
                matches!(ordinary(text.as_bytes()), Cow::Borrowed(same) if same == text.as_bytes()),
                "{text}"
            );
        }
    }

    #[test]
    fn no_text_makes_it_panic_and_what_stays_is_what_was() {
        // Every string of up to five of these pieces.
        const PIECES: [&str; 9] = ["'", "\"", "$", "a$", "\\", "--", "\n", "/*", "password "];
        for number in 0..9_usize.pow(5) {
            let text: String = (0..5).map(|digit| PIECES[number / 9_usize.pow(digit) % 9]).collect();
            for which in [Which::AfterPassword, Which::All, Which::Telling] {
                let clean = without(text.as_bytes(), which);
                let pieces: Vec<_> =
                    String::from_utf8_lossy(&clean).split("<secret>").map(str::to_owned).collect();
                let inside = pieces.iter().try_fold(text.as_str(), |rest, piece| {
                    Some(&rest[rest.find(piece.as_str())? + piece.len()..])
                });
                assert!(clean.as_ref() == WITHHELD || inside.is_some(), "{text}: {pieces:?}");
            }
        }
    }
}
