//! Payment cards: `4111 1111 1111 1111` becomes `0000 0000 0000 1111` with one digit set so that the
//! number passes the check (ISO/IEC 7812-1, Luhn).
//!
//! Length, separators and the last four digits remain. The issuer's digits do not: what checks for them
//! finds none, as no issuer has a number that begins with 0.

use super::HIDDEN;

/// Digits of a card's number (ISO/IEC 7812-1, and the shortest in use).
const LENGTHS: std::ops::RangeInclusive<usize> = 12..=19;
const SHOWN: usize = 4;

/// The mask of a card's number; `***` for what cannot be one.
pub fn card(value: &[u8]) -> Vec<u8> {
    masked(value).unwrap_or_else(|| HIDDEN.into())
}

fn masked(value: &[u8]) -> Option<Vec<u8>> {
    // with a separator behind each digit it is longer than any card
    if value.len() > 2 * LENGTHS.end() {
        return None;
    }
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    let separated = |pair: &[u8]| pair.iter().any(u8::is_ascii_digit);
    let fits = LENGTHS.contains(&digits)
        && value.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b' ' | b'-'))
        && value.first()?.is_ascii_digit()
        && value.last()?.is_ascii_digit()
        && value.windows(2).all(separated);
    if !fits {
        return None;
    }
    let mut out = value.to_vec();
    let mut left = digits - SHOWN;
    let mut free = 0;
    for (at, byte) in out.iter_mut().enumerate().filter(|(_, byte)| byte.is_ascii_digit()) {
        if left == 0 {
            break;
        }
        (*byte, left, free) = (b'0', left - 1, at);
    }
    // one of the ten digits in the last hidden place makes the sum right: doubling permutes them
    for digit in b'0'..=b'9' {
        out[free] = digit;
        if passes(&out) {
            break;
        }
    }
    Some(out)
}

/// Whether the digits pass the check; everything else is passed over.
pub fn passes(number: &[u8]) -> bool {
    let digits = number.iter().rev().filter(|byte| byte.is_ascii_digit()).map(|byte| u32::from(byte - b'0'));
    let sum: u32 = digits
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => digit,
            (_, double) if double > 9 => double - 9,
            (_, double) => double,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::masking::function::samples::Samples;

    fn of(text: &str) -> String {
        String::from_utf8(card(text.as_bytes())).unwrap()
    }

    #[test]
    fn a_card_keeps_its_form_and_its_last_four_digits() {
        assert_eq!(of("4111111111111111"), "0000000000041111");
        assert_eq!(of("4111 1111 1111 1111"), "0000 0000 0004 1111");
        assert_eq!(of("3782-822463-10005"), "0000-000000-50005");
    }

    #[test]
    fn what_is_no_card_is_hidden_entirely() {
        for text in [
            "",
            "4111",
            "41111111111",
            "41111111111111111111",
            "4111 1111  1111 1111",
            " 4111111111111111",
            "4111111111111111x",
            "4111.1111.1111.1111",
            "４１１１１１１１１１１１",
        ] {
            assert_eq!(of(text), "***", "{text}");
        }
        assert_eq!(card(b"\xff111111111111111"), b"***");
    }

    #[test]
    fn masked_cards_pass_the_check_and_hide_the_rest() {
        let mut samples = Samples::new();
        for _ in 0..20_000 {
            let length = 12 + samples.below(8);
            let number: Vec<u8> = (0..length).map(|_| b'0' + samples.below(10) as u8).collect();
            let masked = card(&number);
            assert!(passes(&masked) && masked.len() == length);
            assert_eq!(masked[length - 4..], number[length - 4..]);
            // nothing but the last four decides what is shown
            let mut other = vec![b'9'; length];
            other[length - 4..].copy_from_slice(&number[length - 4..]);
            assert_eq!(card(&other), masked);
        }
    }
}
