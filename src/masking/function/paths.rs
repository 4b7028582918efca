//! Paths into JSON: `{customer,iban}`, `{items,*,price}`.
//!
//! A step is a key, the number of an element, or `*` for every key and element. A key that meets an array
//! goes on in each of its elements.

use std::fmt;

/// More steps than that lead nowhere.
const MOST_STEPS: usize = 64;

/// A way from the top of a JSON value; at least one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<String>);

impl Path {
    /// Reads the form that `#>` takes: steps between braces, in quotes where they hold what separates them.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim().strip_prefix('{')?;
        let mut steps = Vec::new();
        loop {
            let (step, after) = match rest.trim_start().strip_prefix('"') {
                Some(quoted) => quoted_step(quoted)?,
                None => plain_step(rest)?,
            };
            steps.push(step);
            if steps.len() > MOST_STEPS {
                return None;
            }
            rest = after.trim_start();
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => return (rest == "}").then_some(Self(steps)),
            }
        }
    }

    pub fn steps(&self) -> usize {
        self.0.len()
    }

    /// Whether the step leads to a key of an object.
    pub fn takes_key(&self, step: usize, key: &str) -> bool {
        self.0.get(step).is_some_and(|step| step == "*" || step == key)
    }

    /// Whether the step leads to an element of an array.
    pub fn takes_element(&self, step: usize, index: usize) -> bool {
        self.0.get(step).is_some_and(|step| step == "*" || step.parse() == Ok(index))
    }
}

fn quoted_step(text: &str) -> Option<(String, &str)> {
    let mut step = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((step, &text[at + 1..])),
            '\\' => step.push(characters.next()?.1),
            other => step.push(other),
        }
    }
    None
}

fn plain_step(text: &str) -> Option<(String, &str)> {
    let end = text.find([',', '}'])?;
    let step = text[..end].trim();
    let plain = !step.is_empty() && !step.contains(['{', '"', '\\']);
    plain.then(|| (step.to_owned(), &text[end..]))
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = |step: &String| {
            let plain = !step.is_empty()
                && step.trim() == step
                && !step.contains(['{', '}', ',', '"', '\\'])
                && !step.eq_ignore_ascii_case("null");
            if plain {
                step.clone()
            } else {
                format!("\"{}\"", step.replace('\\', "\\\\").replace('"', "\\\""))
            }
        };
        write!(f, "{{{}}}", self.0.iter().map(step).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::masking::function::samples::Samples;

    #[test]
    fn paths_are_read_as_the_server_reads_them() {
        for (text, expected) in [
            ("{a}", "{a}"),
            ("{ a , b }", "{a,b}"),
            ("{items,*,price}", "{items,*,price}"),
            ("{\"a,b\",\"\"}", "{\"a,b\",\"\"}"),
            ("{\"say \\\"x\\\"\"}", "{\"say \\\"x\\\"\"}"),
            ("{\"plain\"}", "{plain}"),
            ("{größe}", "{größe}"),
        ] {
            assert_eq!(Path::parse(text).unwrap().to_string(), expected, "{text}");
        }
        for text in
            ["", "a", "{}", "{a", "a}", "{a,}", "{,a}", "{a}b", "{{a}}", "{\"a}", "{a\"b\"}", "{a\\b}"]
        {
            assert_eq!(Path::parse(text), None, "{text}");
        }
        assert_eq!(Path::parse(&format!("{{{}}}", ["a"; 65].join(","))), None);
    }

    #[test]
    fn a_path_written_out_is_read_back_as_itself() {
        let pieces = ["a", "*", "0", ",", "{", "}", "\"", "\\", " ", "é", "null", "'"];
        let mut samples = Samples::new();
        for _ in 0..5_000 {
            let path = Path((0..=samples.below(4)).map(|_| samples.text(&pieces, 4)).collect());
            assert_eq!(Path::parse(&path.to_string()), Some(path.clone()), "{path}");
        }
    }
}
