//! The mask functions: value in, mask out. Knows nothing of PostgreSQL.
//!
//! Promises: total - whatever bytes come in, something safe comes out and nothing is raised, for
//! an error message would show the value; never the whole value unless that value is itself a mask.
//! Texts are bytes in the database's encoding; bytes that are not UTF-8 are masked entirely.

pub mod calendar;
pub mod card;
pub mod decimal;
pub mod email;
pub mod iban;
pub mod ip;
pub mod json;
pub mod keyed;
pub mod name;
pub mod number;
pub mod partial;
pub mod paths;
pub mod phone;
pub mod redact;
#[cfg(test)]
pub mod samples;

/// What stands where something is hidden.
pub const HIDDEN: &str = "***";

#[cfg(test)]
mod tests {
    use super::*;

    /// Values as people and accidents make them, the same at every run.
    fn values() -> impl Iterator<Item = Vec<u8>> {
        const PIECES: [&str; 22] = [
            "a",
            "Z",
            "9",
            "@",
            ".",
            "-",
            "_",
            "+",
            " ",
            "é",
            "日",
            "\u{301}",
            "\0",
            "\n",
            "'",
            "\"",
            "\\",
            "***",
            "com",
            "john",
            "example.com",
            "4711",
        ];
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        (0..20_000).map(move |_| {
            let mut value: Vec<u8> = (0..next(9)).flat_map(|_| PIECES[next(PIECES.len())].bytes()).collect();
            if next(20) == 0 {
                value.push(0xff);
            }
            value
        })
    }

    /// Whether less is shown than there is.
    fn hidden(value: &[u8], shown: &[u8]) -> bool {
        shown.len() < value.len() || value.is_empty()
    }

    #[test]
    fn masks_are_total_and_hide_something_of_every_value() {
        for value in values() {
            let email = email::email(&value);
            let shown = email.split(|byte| *byte == b'*').next().unwrap_or_default();
            let mailbox = value.split(|byte| *byte == b'@').next().unwrap_or_default();
            assert!(email == HIDDEN.as_bytes() || value.starts_with(shown), "{value:?}");
            assert!(email == HIDDEN.as_bytes() || hidden(mailbox, shown), "{value:?}");
            for (prefix, suffix) in [(0, 0), (1, 1), (2, 3), (4, 0), (0, 4), (-1, 2), (i32::MAX, 1)] {
                let masked = partial::partial(&value, prefix, b"", suffix);
                assert!(hidden(&value, &masked), "{value:?} {prefix} {suffix}");
                let end = usize::try_from(suffix).unwrap_or(0);
                if masked.is_ascii() && masked.len() >= end {
                    assert!(value.ends_with(&masked[masked.len() - end.min(masked.len())..]), "{value:?}");
                }
            }
        }
    }

    #[test]
    fn masks_of_texts_are_texts() {
        for value in values().filter(|value| std::str::from_utf8(value).is_ok()) {
            assert!(String::from_utf8(email::email(&value)).is_ok(), "{value:?}");
            assert!(String::from_utf8(partial::partial(&value, 1, "é".as_bytes(), 1)).is_ok(), "{value:?}");
        }
    }
}
