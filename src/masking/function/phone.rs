//! Telephone numbers: `+49 171 1234567` becomes `+49 *** *****67`.
//!
//! The country (ITU-T E.164) and the last two digits remain, and the form: how many digits there are and how
//! they are grouped.

use super::HIDDEN;

/// Fewer digits than that are an extension or a short number, which would be half shown.
const FEWEST: usize = 7;
const MOST: usize = 20;
const SHOWN: usize = 2;

/// The mask of a number; `***` for what cannot be one.
pub fn phone(value: &[u8]) -> Vec<u8> {
    masked(value).unwrap_or_else(|| HIDDEN.into())
}

fn masked(value: &[u8]) -> Option<Vec<u8>> {
    if value.len() > 2 * MOST {
        return None;
    }
    let (plus, rest) = match value.strip_prefix(b"+") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let separator = |byte: &u8| matches!(byte, b' ' | b'-' | b'.' | b'/' | b'(' | b')');
    let digits: Vec<u8> = rest.iter().copied().filter(u8::is_ascii_digit).collect();
    let fits = (FEWEST..=MOST).contains(&digits.len())
        && rest.iter().all(|byte| byte.is_ascii_digit() || separator(byte));
    if !fits {
        return None;
    }
    let country = if plus { country_digits(&digits) } else { 0 };
    let mut out = value.to_vec();
    let hidden = country..digits.len() - SHOWN;
    for (nth, byte) in out.iter_mut().filter(|byte| byte.is_ascii_digit()).enumerate() {
        if hidden.contains(&nth) {
            *byte = b'*';
        }
    }
    Some(out)
}

/// How many digits the country's code has: one in two zones, two where the second digit says so, else three.
fn country_digits(digits: &[u8]) -> usize {
    match digits {
        [b'1' | b'7', ..] => 1,
        [b'2', b'0' | b'7', ..]
        | [b'3', b'0'..=b'4' | b'6' | b'9', ..]
        | [b'4', b'0' | b'1' | b'3'..=b'9', ..]
        | [b'5', b'1'..=b'8', ..]
        | [b'6', b'0'..=b'6', ..]
        | [b'8', b'1' | b'2' | b'4' | b'6', ..]
        | [b'9', b'0'..=b'5' | b'8', ..] => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::masking::function::samples::Samples;

    fn of(text: &str) -> String {
        String::from_utf8(phone(text.as_bytes())).unwrap()
    }

    #[test]
    fn a_number_keeps_its_country_its_form_and_two_digits() {
        for (text, expected) in [
            ("+49 171 1234567", "+49 *** *****67"),
            ("+1 (212) 555-0123", "+1 (***) ***-**23"),
            ("+420123456789", "+420*******89"),
            ("030/1234567", "***/*****67"),
            ("5550123", "*****23"),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_hidden_entirely() {
        for text in [
            "",
            "+",
            "110",
            "555012",
            "call 555 0123",
            "+49 171 1234567 ext. 5",
            "++491711234567",
            "123456789012345678901",
            "٠١٢٣٤٥٦٧",
            "5550123\n",
        ] {
            assert_eq!(of(text), "***", "{text}");
        }
    }

    #[test]
    fn no_more_digits_are_shown_than_country_and_end() {
        let mut samples = Samples::new();
        for _ in 0..20_000 {
            let value = samples.bytes(&["1", "49", "420", "+", " ", "-", "(", ")", "7", "x", "é"], 12);
            let masked = phone(&value);
            let shown = masked.iter().filter(|byte| byte.is_ascii_digit()).count();
            let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
            assert!(masked == HIDDEN.as_bytes() || (shown <= 5 && shown + 2 <= digits), "{value:?}");
        }
    }
}
