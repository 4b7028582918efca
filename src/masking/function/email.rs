//! E-mail addresses: `john.doe@example.com` becomes `john.d***@example.com`.
//!
//! Of the mailbox the first word and one letter of the second remain, or one letter if there is
//! only one word; what follows a `+` counts for nothing. The domain remains: it says for whom
//! somebody works and is what support needs; a domain of one's own names its owner, and then
//! `null_value` or `hash` is the right mask. What is no address becomes `***`.

use super::HIDDEN;

/// Longest mailbox and domain that mail can have (RFC 5321, 4.5.3.1).
const LONGEST_MAILBOX: usize = 64;
const LONGEST_DOMAIN: usize = 255;

/// The mask of an address.
pub fn email(value: &[u8]) -> Vec<u8> {
    let masked = std::str::from_utf8(value).ok().and_then(split).map(|(mailbox, domain)| {
        let shown = shown(mailbox);
        [shown, HIDDEN, "@", domain].concat()
    });
    masked.unwrap_or_else(|| HIDDEN.to_owned()).into_bytes()
}

/// Mailbox and domain, if the text is an address as people have them: no quoted mailboxes, no
/// address literals, no names without a dot.
fn split(text: &str) -> Option<(&str, &str)> {
    let (mailbox, domain) = text.split_once('@')?;
    let fits = !mailbox.is_empty() && mailbox.len() <= LONGEST_MAILBOX && domain.len() <= LONGEST_DOMAIN;
    (fits && mailbox.chars().all(in_mailbox) && is_domain(domain)).then_some((mailbox, domain))
}

/// atext of RFC 5322 and the dot, and letters of all scripts (RFC 6531).
fn in_mailbox(c: char) -> bool {
    c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c)
}

/// At least two labels, the last not a number: `x@4111111111111111` is a card, not an address.
fn is_domain(domain: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    domain.split('.').all(label)
        && domain.rsplit_once('.').is_some_and(|(_, last)| last.chars().any(char::is_alphabetic))
}

/// What of a mailbox may be seen; always less than all of it.
fn shown(mailbox: &str) -> &str {
    let base = mailbox.split('+').next().unwrap_or_default();
    if let Some(at) = base.find(['.', '_', '-']).filter(|at| *at > 0) {
        let mut second = base[at + 1..].char_indices();
        if let (Some((_, initial)), Some((end, _))) = (second.next(), second.next())
            && initial.is_alphanumeric()
        {
            return &base[..at + 1 + end];
        }
    }
    let mut letters = base.char_indices();
    match (letters.next(), letters.next()) {
        (Some((_, first)), Some((end, _))) if first.is_alphanumeric() => &base[..end],
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        String::from_utf8(email(text.as_bytes())).unwrap()
    }

    #[test]
    fn an_address_keeps_its_first_word_an_initial_and_its_domain() {
        for (plain, expected) in [
            ("john.doe@example.com", "john.d***@example.com"),
            ("john.doe+shop@example.com", "john.d***@example.com"),
            ("anna-lena_k@mail.example.co.uk", "anna-l***@mail.example.co.uk"),
            ("j.smith@example.com", "j.s***@example.com"),
            ("jdoe@example.com", "j***@example.com"),
            ("john+news@example.com", "j***@example.com"),
            ("jürgen.groß@münchen.de", "jürgen.g***@münchen.de"),
            ("山田@例え.jp", "山***@例え.jp"),
        ] {
            assert_eq!(masked(plain), expected, "{plain}");
        }
    }

    #[test]
    fn short_mailboxes_are_hidden_rather_than_shown() {
        assert_eq!(masked("j@example.com"), "***@example.com");
        assert_eq!(masked("a.b@example.com"), "a***@example.com");
        assert_eq!(masked("john.d@example.com"), "j***@example.com");
        assert_eq!(masked(".doe@example.com"), "***@example.com");
        assert_eq!(masked("+@example.com"), "***@example.com");
        assert_eq!(masked("a+b@example.com"), "***@example.com");
        assert_eq!(masked("john..doe@example.com"), "j***@example.com");
    }

    #[test]
    fn what_is_no_address_is_hidden_entirely() {
        for garbage in [
            "",
            "@",
            "john",
            "john@",
            "@example.com",
            "john@localhost",
            "john@4111111111111111",
            "john@1.2.3.4",
            "my ssn is 078-05-1120 @ home.example",
            "john@exa mple.com",
            "a@b@c.com",
            "\"john doe\"@example.com",
            "john@.com",
            "john@example.",
            "john@-a.com",
            "john@example.com ",
            "john@example.com\0",
            "john@[1.2.3.4]",
        ] {
            assert_eq!(masked(garbage), "***", "{garbage}");
        }
        assert_eq!(email(b"j\xf6rg@example.com"), b"***");
        assert_eq!(masked(&format!("{}@example.com", "a".repeat(65))), "***");
        assert_eq!(masked(&format!("a@{}.com", "a".repeat(255))), "***");
    }
}
