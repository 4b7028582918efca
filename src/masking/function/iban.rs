//! IBANs (ISO 13616): `DE89 3704 0044 0532 0130 00` keeps its country and its last four characters.
//!
//! Length, spaces and which characters are letters remain, as formats of countries want it; letters become X,
//! digits 0, and the two check digits are those of the mask, so that it is a valid number.

use super::HIDDEN;

const LENGTHS: std::ops::RangeInclusive<usize> = 15..=34;
const SHOWN: usize = 4;

/// The mask of an IBAN; `***` for what cannot be one.
pub fn iban(value: &[u8]) -> Vec<u8> {
    masked(value).unwrap_or_else(|| HIDDEN.into())
}

fn masked(value: &[u8]) -> Option<Vec<u8>> {
    if value.len() > 2 * LENGTHS.end() || !has_form(value) {
        return None;
    }
    let mut out = value.to_ascii_uppercase();
    let places: Vec<usize> = (0..out.len()).filter(|at| out[*at] != b' ').collect();
    for at in &places[4..places.len() - SHOWN] {
        out[*at] = if out[*at].is_ascii_digit() { b'0' } else { b'X' };
    }
    (out[places[2]], out[places[3]]) = (b'0', b'0');
    let check = 98 - remainder(&out);
    (out[places[2]], out[places[3]]) = (b'0' + (check / 10) as u8, b'0' + (check % 10) as u8);
    Some(out)
}

/// Two letters, two digits, letters and digits, single spaces among them.
fn has_form(value: &[u8]) -> bool {
    let mut bare = value.iter().filter(|byte| **byte != b' ');
    let mut next = |is: fn(&u8) -> bool| bare.next().is_some_and(is);
    next(u8::is_ascii_alphabetic)
        && next(u8::is_ascii_alphabetic)
        && next(u8::is_ascii_digit)
        && next(u8::is_ascii_digit)
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b' ')
        && value.first() != Some(&b' ')
        && value.last() != Some(&b' ')
        && value.windows(2).all(|pair| pair != b"  ")
        && LENGTHS.contains(&value.iter().filter(|byte| **byte != b' ').count())
}

/// The number behind the characters, the first four last, modulo 97 (ISO 7064); 1 for a valid one.
fn remainder(value: &[u8]) -> u32 {
    let mut sum = 0;
    let bare = || value.iter().filter(|byte| byte.is_ascii_alphanumeric());
    for byte in bare().skip(4).chain(bare().take(4)) {
        sum = match byte {
            b'0'..=b'9' => sum * 10 + u32::from(byte - b'0'),
            letter => sum * 100 + u32::from(letter.to_ascii_uppercase() - b'A') + 10,
        } % 97;
    }
    sum
}

/// Whether this is an IBAN whose check digits are right; separators count for nothing.
pub fn is_valid(value: &[u8]) -> bool {
    let length = value.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
    LENGTHS.contains(&length) && remainder(value) == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::masking::function::samples::Samples;

    fn of(text: &str) -> String {
        String::from_utf8(iban(text.as_bytes())).unwrap()
    }

    #[test]
    fn an_iban_keeps_country_form_and_end_and_stays_valid() {
        for (text, expected) in [
            ("DE89370400440532013000", "DE31000000000000003000"),
            ("DE89 3704 0044 0532 0130 00", "DE31 0000 0000 0000 0030 00"),
            ("gb29 nwbk 6016 1331 9268 19", "GB69 XXXX 0000 0000 0068 19"),
        ] {
            assert_eq!(of(text), expected);
            assert!(is_valid(expected.as_bytes()) && is_valid(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_is_no_iban_is_hidden_entirely() {
        for text in [
            "",
            "DE",
            "DE89",
            "DE8937040044",
            "8937040044053201300",
            "DEX9370400440532013000",
            "DE89  3704 0044 0532 0130 00",
            "DE89-3704-0044-0532-0130-00",
            "DE893704004405320130é",
            &"DE89".repeat(9),
        ] {
            assert_eq!(of(text), "***", "{text}");
        }
    }

    #[test]
    fn masked_ibans_are_valid_and_depend_on_what_they_show_only() {
        let mut samples = Samples::new();
        for _ in 0..10_000 {
            let length = 15 + samples.below(20);
            let digits = |samples: &mut Samples| -> Vec<u8> {
                (0..length - 8).map(|_| b'0' + samples.below(10) as u8).collect()
            };
            let end: Vec<u8> = (0..4).map(|_| b'0' + samples.below(10) as u8).collect();
            let one = [b"FR12".as_slice(), &digits(&mut samples), &end].concat();
            let other = [b"FR99".as_slice(), &digits(&mut samples), &end].concat();
            assert!(is_valid(&iban(&one)));
            assert_eq!(iban(&one), iban(&other));
        }
    }
}
