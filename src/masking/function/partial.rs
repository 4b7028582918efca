//! A beginning, a padding, an end: `DE89370400440532013000` becomes `DE****3000`.

/// The first `prefix` and the last `suffix` characters around `padding`. A value that is not
/// longer than both together shows nothing but the padding; negative counts are none.
pub fn partial(value: &[u8], prefix: i32, padding: &[u8], suffix: i32) -> Vec<u8> {
    let shown = std::str::from_utf8(value).ok().and_then(|text| around(text, prefix, suffix));
    let (start, end) = shown.unwrap_or(("", ""));
    [start.as_bytes(), padding, end.as_bytes()].concat()
}

/// The two ends that may be seen, with at least one character between them.
fn around(text: &str, prefix: i32, suffix: i32) -> Option<(&str, &str)> {
    let prefix = usize::try_from(prefix).unwrap_or(0);
    let suffix = usize::try_from(suffix).unwrap_or(0);
    let length = text.chars().count();
    if prefix.checked_add(suffix)? >= length {
        return None;
    }
    let at = |character: usize| text.char_indices().nth(character).map_or(text.len(), |(byte, _)| byte);
    Some((&text[..at(prefix)], &text[at(length - suffix)..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str, prefix: i32, padding: &str, suffix: i32) -> String {
        String::from_utf8(partial(text.as_bytes(), prefix, padding.as_bytes(), suffix)).unwrap()
    }

    #[test]
    fn the_ends_are_shown_and_the_middle_is_not() {
        assert_eq!(masked("DE89370400440532013000", 2, "****", 4), "DE****3000");
        assert_eq!(masked("078-05-1120", 0, "XXX-XX-", 4), "XXX-XX-1120");
        assert_eq!(masked("größe", 3, "*", 1), "grö*e");
        assert_eq!(masked("secret", 0, "", 0), "");
    }

    #[test]
    fn a_value_that_would_be_shown_whole_is_not_shown_at_all() {
        for (text, prefix, suffix) in [
            ("abc", 2, 1),
            ("abc", 3, 0),
            ("abc", 0, 3),
            ("", 0, 0),
            ("abc", i32::MAX, i32::MAX),
            ("a", 1, 0),
            ("abc", 2, 2),
            ("日本", 1, 1),
        ] {
            assert_eq!(masked(text, prefix, "*", suffix), "*", "{text} {prefix} {suffix}");
        }
    }

    #[test]
    fn negative_counts_show_nothing() {
        assert_eq!(masked("abc", -1, "*", -5), "*");
        assert_eq!(masked("abc", i32::MIN, "*", 1), "*c");
    }

    #[test]
    fn bytes_that_are_no_text_are_hidden() {
        assert_eq!(partial(b"ab\xffcd", 1, b"*", 1), b"*");
    }
}
