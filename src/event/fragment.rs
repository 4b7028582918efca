//! Texts of statements that nobody has parsed for us: where the first one ends, what it is, and how
//! much of it may be kept.
//!
//! A statement that fails in the parser or in analysis has no tree that would say where its secrets are. So what
//! is kept follows a list of statements that take none; of the others, the part before the first
//! literal; of one that names a secret in any way, nothing.

use super::Class;
use super::lexer::{Piece, Scan, blanks_as_one};
use std::borrow::Cow;

/// Words that stand in statements with secrets, whether PostgreSQL knows them or a person meant them.
const SECRETIVE: [&[u8]; 16] = [
    b"passw",
    b"passphrase",
    b"passfile",
    b"pwd",
    b"secret",
    b"credential",
    b"conninfo",
    b"dblink",
    b"subscription",
    b"user mapping",
    b"encrypt",
    b"crypt(",
    b"set_identity",
    b"trust_issuer",
    b"rotate_keys",
    b"pg_custodian.token",
];

/// Statements whose literals are data or names: first word, command, class.
const OPEN: [(&str, &str, Class); 24] = [
    ("select", "SELECT", Class::Read),
    ("values", "SELECT", Class::Read),
    ("table", "SELECT", Class::Read),
    ("with", "SELECT", Class::Read),
    ("insert", "INSERT", Class::Write),
    ("update", "UPDATE", Class::Write),
    ("delete", "DELETE", Class::Write),
    ("merge", "MERGE", Class::Write),
    ("truncate", "TRUNCATE TABLE", Class::Write),
    ("explain", "EXPLAIN", Class::Misc),
    ("declare", "DECLARE CURSOR", Class::Misc),
    ("fetch", "FETCH", Class::Misc),
    ("move", "MOVE", Class::Misc),
    ("close", "CLOSE CURSOR", Class::Misc),
    ("begin", "BEGIN", Class::Misc),
    ("start", "START TRANSACTION", Class::Misc),
    ("commit", "COMMIT", Class::Misc),
    ("end", "COMMIT", Class::Misc),
    ("savepoint", "SAVEPOINT", Class::Misc),
    ("release", "RELEASE", Class::Misc),
    ("show", "SHOW", Class::Misc),
    ("listen", "LISTEN", Class::Misc),
    ("lock", "LOCK TABLE", Class::Misc),
    ("drop", "DROP", Class::Ddl),
];

/// Command and class of a statement by its first word; `UNKNOWN` if that tells nothing.
pub fn command(text: &[u8]) -> (&'static str, Class) {
    open(text).map_or(("UNKNOWN", Class::Misc), |(_, command, class)| (*command, *class))
}

fn open(text: &[u8]) -> Option<&'static (&'static str, &'static str, Class)> {
    let mut pieces = Scan::new(text, false).map(|(_, piece)| piece);
    let Some(Piece::Word(word)) = pieces.find(|piece| *piece != Piece::Sign(b'(')) else { return None };
    OPEN.iter().find(|(first, ..)| word.eq_ignore_ascii_case(first.as_bytes()))
}

/// What may be kept of a statement's text, tokens aside; `None` for nothing.
pub fn kept(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    // Comments and line ends between words make no other statement.
    let one_blank = blanks_as_one(&text.to_ascii_lowercase());
    if SECRETIVE.iter().any(|word| memchr::memmem::find(&one_blank, word).is_some()) {
        return None;
    }
    if open(text).is_some() {
        return Some(Cow::Borrowed(text));
    }
    match memchr::memchr2(b'\'', b'$', text) {
        None => Some(Cow::Borrowed(text)),
        Some(first) => Some(Cow::Owned([&text[..first], b"<withheld: it can hold a secret>"].concat())),
    }
}

/// Where the first statement of a text that the parser has accepted ends; its semicolon is not part of it.
pub fn first(text: &[u8]) -> usize {
    let (mut parentheses, mut blocks, mut words) = (0usize, 0usize, 0usize);
    // Only bodies of functions written in SQL have semicolons of their own: CREATE [OR REPLACE] FUNCTION.
    let mut defines = false;
    for (place, piece) in Scan::new(text, false) {
        match piece {
            Piece::Sign(b'(') => parentheses += 1,
            Piece::Sign(b')') => parentheses = parentheses.saturating_sub(1),
            Piece::Sign(b';') if parentheses == 0 && blocks == 0 => return place.start,
            Piece::Word(word) => {
                let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
                words += 1;
                if words == 1 {
                    defines = is("create");
                } else if words <= 4 && defines && (is("function") || is("procedure")) {
                    words = 100;
                } else if words > 100 && is("begin") || blocks > 0 && is("case") {
                    blocks += 1;
                } else if blocks > 0 && is("end") {
                    blocks -= 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// Whether there is nothing in the text but blanks, comments and semicolons.
pub fn is_blank(text: &[u8]) -> bool {
    Scan::new(text, false).all(|(_, piece)| piece == Piece::Sign(b';'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> &str {
        &text[..first(text.as_bytes())]
    }

    #[test]
    fn the_first_statement_of_a_string_ends_at_its_own_semicolon() {
        for (text, expected) in [
            ("select 1; select 2", "select 1"),
            ("select ';'; x", "select ';'"),
            ("select 'it''s;' ; x", "select 'it''s;' "),
            ("select E'\\';' ; x", "select E'\\';' "),
            ("select \"a;b\"\";\" ; x", "select \"a;b\"\";\" "),
            ("select $$;$$, $a$;$$;$a$ ; x", "select $$;$$, $a$;$$;$a$ "),
            ("select $1; x", "select $1"),
            ("select a$b; x$b", "select a$b"),
            ("select 1 -- ;\n; x", "select 1 -- ;\n"),
            ("select /* ; /* ; */ ; */ 1; x", "select /* ; /* ; */ ; */ 1"),
            (
                "create rule r as on insert to t do (select 1; select 2); x",
                "create rule r as on insert to t do (select 1; select 2)",
            ),
            (
                "create or replace function f() returns int begin atomic select case when true then 1 end; select 2; end; x",
                "create or replace function f() returns int begin atomic select case when true then 1 end; select 2; end",
            ),
            ("begin; select 1; end", "begin"),
            ("select 1", "select 1"),
            ("", ""),
        ] {
            assert_eq!(cut(text), expected, "{text}");
        }
    }

    #[test]
    fn nothing_is_left_of_blanks_comments_and_semicolons() {
        assert!(is_blank(b" ; -- x\n /* ; */ ;"));
        assert!(!is_blank(b"; select 1"));
    }

    #[test]
    fn the_first_word_tells_the_command() {
        assert_eq!(command(b"/* x */ ((Select 1))").0, "SELECT");
        assert_eq!(command(b"insert into t values (1)"), ("INSERT", Class::Write));
        assert_eq!(command(b"selec 1"), ("UNKNOWN", Class::Misc));
        assert_eq!(command(b"'select'"), ("UNKNOWN", Class::Misc));
    }

    #[test]
    fn what_may_hold_a_secret_is_not_kept() {
        for text in [
            "alter role bob password 'x'",
            "ALTER ROLE bob PASSWROD 'x'; create user a PassWord 'y'",
            "create user/**/mapping for a server s options (x 'y')",
            "create user -- a\n mapping for a server s options (x 'y')",
            "select custodian.set_identity('x', 'y', 'z')",
            "select dblink('host=x', 'select 1')",
            "set pg_custodian.token = 'x'",
        ] {
            assert_eq!(kept(text.as_bytes()), None, "{text}");
        }
        for text in ["alter role bob pw 'x'", "do $$ x $$", "set my.thing = E'x'"] {
            let kept = String::from_utf8(kept(text.as_bytes()).unwrap().into_owned()).unwrap();
            assert!(kept.ends_with("<withheld: it can hold a secret>") && !kept.contains('x'), "{kept}");
        }
        for text in ["select * from nowhere where a = 'x'", "selec 1", "drop table nowhere"] {
            assert_eq!(kept(text.as_bytes()).as_deref(), Some(text.as_bytes()));
        }
    }
}
