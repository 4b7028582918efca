//! Columns that look personal and that nobody has protected: by their names, and by what a sample holds.
//!
//! Promises: values are looked at and never shown, nor anything made of them but two counts. Of a table some
//! hundred pages are read at most, of a foreign one nothing.

use crate::access::object::identifier;
use crate::masking::candidate_store::{self, Looked};
use crate::masking::known;
use crate::masking::{MaskError, spec::Masking};
use crate::pg::{lineage, shared, spi};
use pgrx::pg_sys::Oid;

/// What a column seems to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Iban,
    Card,
    Email,
    Phone,
    Ssn,
    Birth,
    Name,
    Ip,
    Address,
    Secret,
}

/// Names first: of two that fit the earlier one counts.
const NAMES: &[(Kind, &[&str])] = &[
    (Kind::Secret, &["password", "passwd", "pwd", "secret", "api_key", "apikey", "private_key", "token"]),
    (Kind::Iban, &["iban", "bank_account", "bankaccount", "account_number", "kontonummer"]),
    (Kind::Card, &["card_number", "cardnumber", "credit_card", "creditcard", "card_no", "pan"]),
    (Kind::Email, &["email", "e_mail", "mail_address", "mailaddress"]),
    (Kind::Phone, &["phone", "mobile", "telephone", "fax", "msisdn", "tel"]),
    (
        Kind::Ssn,
        &["ssn", "social_security", "national_id", "tax_id", "taxid", "passport", "nino", "insurance_number"],
    ),
    (Kind::Birth, &["birth", "dob", "born", "geburtsdatum"]),
    (
        Kind::Name,
        &[
            "first_name",
            "firstname",
            "last_name",
            "lastname",
            "surname",
            "full_name",
            "fullname",
            "given_name",
            "family_name",
            "maiden_name",
            "vorname",
            "nachname",
            "customer_name",
            "patient_name",
        ],
    ),
    (Kind::Ip, &["ip_address", "ipaddress", "ip_addr", "remote_addr", "client_ip", "ip"]),
    (Kind::Address, &["street", "address", "postal_code", "postcode", "zip_code", "zipcode", "zip"]),
];

/// Words that count only as a whole part of a name: `pan` is not in "company".
const WHOLE_UP_TO: usize = 4;

/// Of the values this part must look so, and so many at least.
const NEEDED: (usize, usize) = (3, 5);
const AT_LEAST: usize = 3;

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Iban => "iban",
            Self::Card => "card",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Ssn => "ssn",
            Self::Birth => "birth",
            Self::Name => "name",
            Self::Ip => "ip",
            Self::Address => "address",
            Self::Secret => "secret",
        }
    }

    /// What a column of this name holds.
    pub fn of_name(name: &str) -> Option<Self> {
        let name = snake(name);
        let parts: Vec<&str> = name.split('_').collect();
        let says = |word: &str| {
            if word.len() <= WHOLE_UP_TO { parts.contains(&word) } else { name.contains(word) }
        };
        NAMES.iter().find(|(_, words)| words.iter().any(|word| says(word))).map(|(kind, _)| *kind)
    }

    /// What a value looks like.
    pub fn of_value(value: &str) -> Option<Self> {
        let value = value.trim();
        if is_email(value) {
            Some(Self::Email)
        } else if is_iban(value) {
            Some(Self::Iban)
        } else if is_card(value) {
            Some(Self::Card)
        } else if is_ssn(value) {
            Some(Self::Ssn)
        } else if value.parse::<std::net::IpAddr>().is_ok() {
            Some(Self::Ip)
        } else if is_phone(value) {
            Some(Self::Phone)
        } else {
            None
        }
    }

    /// A masking for it in a column of this type.
    fn masking(self, base_type: &str) -> Masking {
        let partial = |prefix, suffix| Masking::Partial { prefix, padding: "****".into(), suffix };
        let wanted = match self {
            Self::Email => Masking::Email,
            Self::Iban | Self::Card => partial(0, 4),
            Self::Phone => partial(0, 2),
            Self::Name => partial(1, 0),
            Self::Ssn | Self::Birth | Self::Ip | Self::Address | Self::Secret => Masking::NullValue,
        };
        if wanted.fits(base_type) { wanted } else { Masking::NullValue }
    }
}

/// `customerEmail` and `Customer-Email` as `customer_email`.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    let mut was_lower = false;
    for character in name.chars() {
        if character.is_alphanumeric() {
            if character.is_uppercase() && was_lower {
                snake.push('_');
            }
            was_lower = character.is_lowercase() || character.is_numeric();
            snake.extend(character.to_lowercase());
        } else {
            was_lower = false;
            snake.push('_');
        }
    }
    snake
}

fn is_email(value: &str) -> bool {
    let Some((local, domain)) = value.split_once('@') else { return false };
    let sane = |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c == '@');
    sane(local) && sane(domain) && domain.contains('.') && !domain.starts_with('.') && !domain.ends_with('.')
}

/// ISO 13616: the country and check digits moved to the end give 1 modulo 97.
fn is_iban(value: &str) -> bool {
    let value: String = value.chars().filter(|c| *c != ' ').collect();
    let bytes = value.as_bytes();
    let shaped = (15..=34).contains(&bytes.len())
        && bytes[..2].iter().all(u8::is_ascii_uppercase)
        && bytes[2..4].iter().all(u8::is_ascii_digit)
        && bytes.iter().all(u8::is_ascii_alphanumeric);
    shaped
        && bytes[4..].iter().chain(&bytes[..4]).fold(0u32, |rest, byte| match byte {
            b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
            letter => (rest * 100 + u32::from(letter.to_ascii_uppercase() - b'A') + 10) % 97,
        }) == 1
}

/// ISO/IEC 7812: 13 to 19 digits with Luhn's check digit.
fn is_card(value: &str) -> bool {
    if !value.chars().all(|c| c.is_ascii_digit() || c == ' ' || c == '-') {
        return false;
    }
    let digits: Vec<u32> = value.chars().filter_map(|c| c.to_digit(10)).collect();
    let luhn = |(at, digit): (usize, &u32)| match (at % 2, digit * 2) {
        (0, _) => *digit,
        (_, twice) if twice > 9 => twice - 9,
        (_, twice) => twice,
    };
    (13..=19).contains(&digits.len())
        && digits.first() != Some(&0)
        && digits.iter().rev().enumerate().map(luhn).sum::<u32>() % 10 == 0
}

/// 078-05-1120: no 000, 666 or 9xx in front, no zeros behind.
fn is_ssn(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let [area, group, serial] = parts.as_slice() else { return false };
    let digits = |part: &str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_digit());
    digits(area, 3)
        && digits(group, 2)
        && digits(serial, 4)
        && !["000", "666"].contains(area)
        && !area.starts_with('9')
        && *group != "00"
        && *serial != "0000"
}

/// +49 30 901820, (030) 90 18 20: a sign or a separator, or it is but a number.
fn is_phone(value: &str) -> bool {
    let digits = value.chars().filter(char::is_ascii_digit).count();
    (7..=15).contains(&digits)
        && value.chars().all(|c| c.is_ascii_digit() || " +-()/.".contains(c))
        && (value.starts_with('+')
            || value.starts_with('(')
            || value.starts_with('0') && value.contains([' ', '-', '/']))
}

/// A column to look after.
pub struct Candidate {
    pub relation: Oid,
    pub column: String,
    pub data_type: String,
    pub kind: Kind,
    pub found_by: &'static str,
    pub sampled: i32,
    pub matching: i32,
    pub masking: String,
    pub call: String,
}

/// All of them.
pub fn find() -> Result<Vec<Candidate>, MaskError> {
    shared::preloaded()?;
    let known = known::current()?;
    spi::as_owner(|client| {
        let mut found = Vec::new();
        for table in candidate_store::tables(client)? {
            let protected = known.columns_of(table.oid);
            let columns = candidate_store::columns(client, table.oid)?;
            let open: Vec<&Looked> = columns
                .iter()
                .filter(|column| !protected.iter().any(|protected| protected.attnum == column.attnum))
                .collect();
            if open.is_empty() {
                continue;
            }
            let types = lineage::columns(table.oid);
            let samples = candidate_store::sample(client, &table, &open)?;
            for (column, values) in open.iter().zip(samples) {
                let base_type =
                    types.iter().find(|one| one.number == column.attnum).map_or("", |one| &one.base_type);
                if let Some((kind, by, matching)) = judge(column, &values) {
                    let masking = kind.masking(base_type).to_string();
                    let call = candidate_store::call(&table, &column.name, &masking);
                    found.push(Candidate {
                        relation: table.oid,
                        column: identifier(&column.name),
                        data_type: column.type_name.clone(),
                        kind,
                        found_by: by,
                        sampled: i32::try_from(values.len()).unwrap_or(i32::MAX),
                        matching: i32::try_from(matching).unwrap_or(i32::MAX),
                        masking,
                        call,
                    });
                }
            }
        }
        Ok(found)
    })
}

/// What the column holds, how that shows, and how many values look so.
fn judge(column: &Looked, values: &[String]) -> Option<(Kind, &'static str, usize)> {
    let mut counts: Vec<(Kind, usize)> = Vec::new();
    for kind in values.iter().filter_map(|value| Kind::of_value(value)) {
        match counts.iter_mut().find(|(of, _)| *of == kind) {
            Some((_, count)) => *count += 1,
            None => counts.push((kind, 1)),
        }
    }
    let enough = |count: usize| count >= AT_LEAST && count * NEEDED.1 >= values.len() * NEEDED.0;
    let content = counts.into_iter().max_by_key(|(_, count)| *count).filter(|(_, count)| enough(*count));
    let name = Kind::of_name(&column.name).filter(|kind| *kind != Kind::Birth || column.is_date);
    match (name, content) {
        (Some(name), Some((kind, count))) if name == kind => Some((kind, "both", count)),
        (_, Some((kind, count))) => Some((kind, "content", count)),
        (Some(name), None) => Some((name, "name", 0)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_they_say_and_no_more() {
        for (name, expected) in [
            ("iban", Some(Kind::Iban)),
            ("customerEmail", Some(Kind::Email)),
            ("E-Mail", Some(Kind::Email)),
            ("home_phone_2", Some(Kind::Phone)),
            ("tel", Some(Kind::Phone)),
            ("hotel", None),
            ("company", None),
            ("pan", Some(Kind::Card)),
            ("SSN", Some(Kind::Ssn)),
            ("date_of_birth", Some(Kind::Birth)),
            ("DateOfBirth", Some(Kind::Birth)),
            ("last_name", Some(Kind::Name)),
            ("table_name", None),
            ("client_ip", Some(Kind::Ip)),
            ("shipping", None),
            ("password_hash", Some(Kind::Secret)),
            ("id", None),
            ("amount", None),
        ] {
            assert_eq!(Kind::of_name(name), expected, "{name}");
        }
    }

    #[test]
    fn values_are_known_by_shape_and_check_digits() {
        for (value, expected) in [
            ("DE89370400440532013000", Some(Kind::Iban)),
            ("GB29 NWBK 6016 1331 9268 19", Some(Kind::Iban)),
            ("DE89370400440532013001", None),
            ("4111111111111111", Some(Kind::Card)),
            ("4111-1111-1111-1111", Some(Kind::Card)),
            ("4111111111111112", None),
            ("0000000000000000", None),
            ("ada@example.com", Some(Kind::Email)),
            ("ada@example", None),
            ("a b@example.com", None),
            ("078-05-1120", Some(Kind::Ssn)),
            ("666-05-1120", None),
            ("192.168.0.1", Some(Kind::Ip)),
            ("::1", Some(Kind::Ip)),
            ("+49 30 901820", Some(Kind::Phone)),
            ("1234567", None),
            ("2024-01-01", None),
            ("", None),
        ] {
            assert_eq!(Kind::of_value(value), expected, "{value}");
        }
    }

    fn column(name: &str, is_date: bool) -> Looked {
        Looked { attnum: 1, name: name.into(), type_name: "text".into(), is_sampled: true, is_date }
    }

    #[test]
    fn most_of_a_sample_must_look_so() {
        let values = |good: usize, bad: usize| {
            let mut values = vec!["ada@example.com".to_owned(); good];
            values.extend(vec!["nothing".to_owned(); bad]);
            values
        };
        let judged = |name: &str, good, bad| judge(&column(name, false), &values(good, bad));
        assert_eq!(judged("note", 6, 4), Some((Kind::Email, "content", 6)));
        assert_eq!(judged("note", 5, 5), None);
        assert_eq!(judged("note", 2, 0), None);
        assert_eq!(judged("email", 6, 4), Some((Kind::Email, "both", 6)));
        assert_eq!(judged("email", 0, 9), Some((Kind::Email, "name", 0)));
        assert_eq!(judge(&column("born", true), &[]), Some((Kind::Birth, "name", 0)));
        assert_eq!(judge(&column("newborn_count", false), &[]), None);
    }
}
