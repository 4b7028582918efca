//! Patterns for the names of columns, as ILIKE has them: `%` is anything, `_` one character, `\` takes the next as it is.
//!
//! Letters of either case are the same: whoever protects `%iban%` means "IBAN" too.

/// Whether the pattern fits the name.
pub fn fits(pattern: &str, name: &str) -> bool {
    let (Some(pattern), name) = (parts(pattern), folded(name)) else { return false };
    let (mut at, mut place) = (0, 0);
    // Where to take up again: behind the last `%`, and one character further on in the name.
    let mut again: Option<(usize, usize)> = None;
    loop {
        match pattern.get(at) {
            Some(Part::Anything) => {
                again = Some((at + 1, place));
                at += 1;
                continue;
            }
            Some(Part::One) if place < name.len() => {
                (at, place) = (at + 1, place + 1);
                continue;
            }
            Some(Part::This(wanted)) if name.get(place) == Some(wanted) => {
                (at, place) = (at + 1, place + 1);
                continue;
            }
            None if place == name.len() => return true,
            _ => {}
        }
        match again {
            Some((behind, from)) if from < name.len() => {
                again = Some((behind, from + 1));
                (at, place) = (behind, from + 1);
            }
            _ => return false,
        }
    }
}

/// Whether it is one: no escape without a character.
pub fn is_pattern(pattern: &str) -> bool {
    !pattern.is_empty() && parts(pattern).is_some()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Anything,
    One,
    This(char),
}

fn parts(pattern: &str) -> Option<Vec<Part>> {
    let mut found = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' => found.push(Part::Anything),
            '_' => found.push(Part::One),
            '\\' => found.extend(folded_one(characters.next()?).map(Part::This)),
            other => found.extend(folded_one(other).map(Part::This)),
        }
    }
    Some(found)
}

fn folded(name: &str) -> Vec<char> {
    name.chars().flat_map(folded_one).collect()
}

fn folded_one(character: char) -> impl Iterator<Item = char> {
    character.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_ilike_has_them() {
        for (pattern, name, expected) in [
            ("%iban%", "iban", true),
            ("%iban%", "customer_IBAN_1", true),
            ("%iban%", "ib_an", false),
            ("iban", "iban2", false),
            ("_ban", "iban", true),
            ("_ban", "ban", false),
            ("%", "", true),
            ("%", "x", true),
            ("%%a", "bca", true),
            ("a%b%c", "aXbYbZc", true),
            ("a%b%c", "aXcYb", false),
            ("50\\%", "50%", true),
            ("50\\%", "50x", false),
            ("e\\_mail", "e_mail", true),
            ("e\\_mail", "exmail", false),
            ("ÄRGER%", "ärgernis", true),
            ("%\\", "\\", false),
            ("", "", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
        assert!(is_pattern("%x") && !is_pattern("") && !is_pattern("a\\"));
    }

    #[test]
    fn a_pattern_of_many_parts_is_quick() {
        let started = std::time::Instant::now();
        assert!(!fits(&"%a".repeat(40), &"a".repeat(39)));
        // Trying all ways takes years.
        assert!(started.elapsed().as_secs() < 60);
    }
}
