//! JSON: the values at some paths, or the texts in all of it.
//!
//! Works on the text, and copies whatever it need not change: numbers keep their digits, and nesting costs no
//! stack. The input is JSON, as the server has checked; should it not be, `null` comes out.

use super::paths::Path;
use super::{HIDDEN, redact};

const NULL: &[u8] = b"null";

/// A text becomes `"***"`, anything else `null`, wherever one of the paths leads.
pub fn masked(json: &[u8], paths: &[Path]) -> Vec<u8> {
    let live = (0..paths.len()).map(|path| Place { path, step: 0 }).collect();
    rewritten(json, &Work::Paths(paths), live)
}

/// Every text, keys included, as [`redact`] has it; a number that it would hide is `null`.
pub fn redacted(json: &[u8]) -> Vec<u8> {
    rewritten(json, &Work::Redact, Vec::new())
}

/// What is done.
enum Work<'a> {
    Paths(&'a [Path]),
    Redact,
}

/// How far a path has come: `step` of its steps led here.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    path: usize,
    step: usize,
}

/// An object or array that is open.
struct Open {
    object: bool,
    /// Elements that have begun.
    count: usize,
    live: Vec<Place>,
}

fn rewritten(json: &[u8], work: &Work<'_>, live: Vec<Place>) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() + 8);
    match rewrite(json, work, live, &mut out) {
        Some(()) => out,
        None => NULL.to_vec(),
    }
}

fn rewrite(json: &[u8], work: &Work<'_>, mut live: Vec<Place>, out: &mut Vec<u8>) -> Option<()> {
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    // each turn takes one value, with what stands before and behind it
    loop {
        at = spaces(json, at, out);
        let here = *json.get(at)?;
        if masks(work, &live) {
            let end = end_of_value(json, at)?;
            out.extend_from_slice(if here == b'"' { b"\"***\"" } else { NULL });
            at = end;
        } else if here == b'{' || here == b'[' {
            out.push(here);
            open.push(Open { object: here == b'{', count: 0, live: std::mem::take(&mut live) });
            at = spaces(json, at + 1, out);
            if !matches!(json.get(at)?, b'}' | b']') {
                (at, live) = begin(json, at, work, open.last_mut()?, out)?;
                continue;
            }
        } else {
            let end = end_of_value(json, at)?;
            scalar(&json[at..end], work, out);
            at = end;
        }
        // behind a value: the next one, or the ends of what it was in
        loop {
            at = spaces(json, at, out);
            let Some(inside) = open.last_mut() else { return (at == json.len()).then_some(()) };
            let here = *json.get(at)?;
            out.push(here);
            at += 1;
            match here {
                b',' => {
                    at = spaces(json, at, out);
                    (at, live) = begin(json, at, work, inside, out)?;
                    break;
                }
                b'}' | b']' => {
                    open.pop();
                }
                _ => return None,
            }
        }
    }
}

fn masks(work: &Work<'_>, live: &[Place]) -> bool {
    match work {
        Work::Paths(paths) => live.iter().any(|place| paths[place.path].steps() == place.step),
        Work::Redact => false,
    }
}

/// Takes the key of a member, or counts an element: where its value begins, and the paths that go on there.
fn begin(
    json: &[u8],
    at: usize,
    work: &Work<'_>,
    inside: &mut Open,
    out: &mut Vec<u8>,
) -> Option<(usize, Vec<Place>)> {
    let index = inside.count;
    inside.count += 1;
    let paths = match work {
        Work::Paths(paths) => *paths,
        Work::Redact => &[],
    };
    let further = |place: &Place| Place { step: place.step + 1, ..*place };
    if !inside.object {
        let mut live = Vec::new();
        for place in &inside.live {
            if paths[place.path].takes_element(place.step, index) {
                live.push(further(place));
            }
            // a key goes on in each element
            live.push(*place);
        }
        return Some((at, live));
    }
    let end = end_of_string(json, at)?;
    let written = &json[at..end];
    let key: Option<String> =
        if inside.live.is_empty() { None } else { serde_json::from_slice(written).ok() };
    match work {
        Work::Paths(_) => out.extend_from_slice(written),
        Work::Redact => scalar(written, work, out),
    }
    // a key that cannot be read may be any
    let takes = |place: &&Place| match &key {
        Some(key) => paths[place.path].takes_key(place.step, key),
        None => true,
    };
    let live = inside.live.iter().filter(takes).map(further).collect();
    let colon = spaces(json, end, out);
    if json.get(colon) != Some(&b':') {
        return None;
    }
    out.push(b':');
    Some((colon + 1, live))
}

/// A text, number, true, false or null.
fn scalar(written: &[u8], work: &Work<'_>, out: &mut Vec<u8>) {
    match (work, written.first()) {
        (Work::Redact, Some(b'"')) => match serde_json::from_slice::<String>(written) {
            Ok(text) => match redact::redact(text.as_bytes()) {
                shown if *shown == *text.as_bytes() => out.extend_from_slice(written),
                shown => {
                    let shown = String::from_utf8_lossy(&shown);
                    let quoted = serde_json::to_vec(&*shown);
                    out.extend_from_slice(&quoted.unwrap_or_else(|_| format!("\"{HIDDEN}\"").into_bytes()));
                }
            },
            Err(_) => out.extend_from_slice(b"\"***\""),
        },
        (Work::Redact, Some(byte)) if byte.is_ascii_digit() || *byte == b'-' => {
            let hidden = *redact::redact(written) != *written;
            out.extend_from_slice(if hidden { NULL } else { written });
        }
        _ => out.extend_from_slice(written),
    }
}

/// Copies white space, and says where it ends.
fn spaces(json: &[u8], mut at: usize, out: &mut Vec<u8>) -> usize {
    while let Some(space @ (b' ' | b'\t' | b'\n' | b'\r')) = json.get(at) {
        out.push(*space);
        at += 1;
    }
    at
}

fn end_of_string(json: &[u8], at: usize) -> Option<usize> {
    if json.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', json.get(at..)?)?;
        if json[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

fn end_of_value(json: &[u8], at: usize) -> Option<usize> {
    match *json.get(at)? {
        b'"' => end_of_string(json, at),
        b'{' | b'[' => {
            let (mut depth, mut at) = (0_usize, at);
            loop {
                match *json.get(at)? {
                    b'"' => {
                        at = end_of_string(json, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => {
            let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            let length = json[at..].iter().position(ends).unwrap_or(json.len() - at);
            (length > 0).then_some(at + length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::masking::function::samples::Samples;

    fn at(json: &str, paths: &[&str]) -> String {
        let paths: Vec<Path> = paths.iter().map(|path| Path::parse(path).unwrap()).collect();
        String::from_utf8(masked(json.as_bytes(), &paths)).unwrap()
    }

    #[test]
    fn values_at_paths_are_masked_by_their_type_and_nothing_else_is_touched() {
        for (json, paths, expected) in [
            (r#"{"a": 1, "b": "x"}"#, vec!["{b}"], r#"{"a": 1, "b": "***"}"#),
            (r#"{"a": 1.50, "b": 1e400}"#, vec!["{a}"], r#"{"a": null, "b": 1e400}"#),
            (r#"{"a": {"b": [1, {"c": 2}]}, "c": 3}"#, vec!["{a,b}"], r#"{"a": {"b": null}, "c": 3}"#),
            (
                r#"{"a": {"b": [1, {"c": 2}]}, "c": 3}"#,
                vec!["{a,b,c}"],
                r#"{"a": {"b": [1, {"c": null}]}, "c": 3}"#,
            ),
            (r#"[{"n": "x"}, {"n": "y"}]"#, vec!["{n}"], r#"[{"n": "***"}, {"n": "***"}]"#),
            (r#"[["x", "y"], "z"]"#, vec!["{1}"], r#"[["x", "***"], "***"]"#),
            (r#"{"a": {"x": "1", "y": "2"}}"#, vec!["{a,*}"], r#"{"a": {"x": "***", "y": "***"}}"#),
            (r#"{"a": [], "b": {}}"#, vec!["{a,*}", "{b,c}"], r#"{"a": [], "b": {}}"#),
            (r#"{"a": null, "b": true}"#, vec!["{*}"], r#"{"a": null, "b": null}"#),
            (r#"{"\u0061": "x"}"#, vec!["{a}"], r#"{"\u0061": "***"}"#),
            (r#"{"\ud800": "x"}"#, vec!["{a}"], r#"{"\ud800": "***"}"#),
            (r#"{"a": "}]\"", "b": "x"}"#, vec!["{b}"], r#"{"a": "}]\"", "b": "***"}"#),
            (r#""x""#, vec!["{a}"], r#""x""#),
            (" [ 1 , 2 ] ", vec!["{*}"], " [ null , null ] "),
        ] {
            assert_eq!(at(json, &paths), expected, "{json} {paths:?}");
        }
    }

    #[test]
    fn what_is_no_json_is_null() {
        for json in ["", "{", "[1", "{\"a\"}", "{\"a\": }", "[1 2]", "\"x", "{a: 1}", "[]]", "1 2"] {
            assert_eq!(at(json, &["{zzz}"]), "null", "{json}");
        }
    }

    #[test]
    fn texts_are_redacted_wherever_they_stand() {
        let shown = |json: &str| String::from_utf8(redacted(json.as_bytes())).unwrap();
        assert_eq!(
            shown(r#"{"j@example.com": ["\u0040 a@b.cc", "ok\n", 4111111111111111, 42, -0.10]}"#),
            r#"{"[email]": ["@ [email]", "ok\n", null, 42, -0.10]}"#
        );
        assert_eq!(shown(r#"["\ud800 x"]"#), r#"["***"]"#);
    }

    #[test]
    fn nesting_takes_no_stack() {
        let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(at(&deep, &["{a}"]), deep);
        assert_eq!(redacted(deep.as_bytes()), deep.as_bytes());
    }

    #[test]
    fn what_comes_out_is_json_and_has_none_of_what_was_masked() {
        fn any(samples: &mut Samples, depth: usize) -> serde_json::Value {
            match samples.below(if depth == 0 { 3 } else { 5 }) {
                0 => "secret".into(),
                1 => samples.below(1000).into(),
                2 => serde_json::Value::Null,
                3 => (0..samples.below(4)).map(|_| any(samples, depth - 1)).collect(),
                _ => {
                    let key = |samples: &mut Samples| samples.text(&["a", "b", "\""], 2);
                    let members = (0..samples.below(4)).map(|_| (key(samples), any(samples, depth - 1)));
                    serde_json::Value::Object(members.collect())
                }
            }
        }
        fn secrets_below(value: &serde_json::Value, below: bool) -> bool {
            match value {
                serde_json::Value::String(text) => below && text == "secret",
                serde_json::Value::Array(values) => values.iter().any(|v| secrets_below(v, below)),
                serde_json::Value::Object(members) => {
                    members.iter().any(|(key, v)| secrets_below(v, below || key == "a"))
                }
                _ => false,
            }
        }
        let path = [Path::parse("{a}").unwrap(), Path::parse("{*,a}").unwrap()];
        let deeper = [Path::parse("{*,*,a}").unwrap(), Path::parse("{*,*,*,a}").unwrap()];
        let paths = [path, deeper].concat();
        let mut samples = Samples::new();
        for _ in 0..20_000 {
            let value = any(&mut samples, 4);
            let shown: serde_json::Value =
                serde_json::from_slice(&masked(value.to_string().as_bytes(), &paths)).unwrap();
            assert!(!secrets_below(&shown, false), "{value} {shown}");
            // without paths nothing changes
            assert_eq!(masked(value.to_string().as_bytes(), &[]), value.to_string().as_bytes());
        }
    }
}
