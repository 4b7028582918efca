//! Names of people: `John Doe` becomes `J*** D***`.

use super::HIDDEN;

/// What has more words is no name: the rest is not even counted.
const MOST_WORDS: usize = 4;

/// The initial of each word; of a word of one letter, nothing.
pub fn name(value: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(value) else { return HIDDEN.into() };
    let mut out = String::with_capacity(MOST_WORDS * 8);
    for word in text.split_whitespace().take(MOST_WORDS) {
        if !out.is_empty() {
            out.push(' ');
        }
        let mut letters = word.chars();
        if let (Some(initial), Some(_)) = (letters.next(), letters.next())
            && initial.is_alphabetic()
        {
            out.push(initial);
        }
        out.push_str(HIDDEN);
    }
    if out.is_empty() { HIDDEN.into() } else { out.into_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_by_their_initials() {
        for (text, expected) in [
            ("John Doe", "J*** D***"),
            ("  anna-lena  größe ", "a*** g***"),
            ("山田 太郎", "山*** 太***"),
            ("J. R. R. Tolkien", "J*** R*** R*** T***"),
            ("a b c d e f", "*** *** *** ***"),
            ("4711 x1", "*** x***"),
            ("", "***"),
            (" \t", "***"),
        ] {
            assert_eq!(name(text.as_bytes()), expected.as_bytes(), "{text}");
        }
        assert_eq!(name(b"J\xf6rg"), b"***");
    }
}
