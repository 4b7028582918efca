//! The architecture as docs/architecture.md draws it, held by looking at the source.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each tier uses lower tiers only; the modules of one tier do not know each other.
const TIERS: &[&[&str]] = &[
    &["error", "settings", "event"],
    &["pg", "journal"],
    &["trail"],
    &["identity"],
    &["access"],
    &["gate", "masking", "subjects", "capture", "ledger"],
    &["reports"],
    &["pipeline", "workers", "install", "pg_test"],
];

/// The journal knows neither events nor PostgreSQL: it could be a crate of its own.
const KNOWS_NOTHING: &str = "journal";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The Rust files of src, each with its path below src and its text.
fn sources() -> Vec<(String, String)> {
    let src = root().join("src");
    let files = files_below(&src, "rs");
    assert!(files.len() > 20, "this looks at {} files only", files.len());
    let name = |path: &Path| path.strip_prefix(&src).unwrap().to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// Source without comments and string contents, so that words in them count for nothing.
fn code(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let bytes: Vec<char> = source.chars().collect();
    let mut at = 0;
    while at < bytes.len() {
        let next = bytes.get(at + 1).copied();
        match bytes[at] {
            '/' if next == Some('/') => {
                while at < bytes.len() && bytes[at] != '\n' {
                    at += 1;
                }
            }
            '/' if next == Some('*') => {
                at += 2;
                while at + 1 < bytes.len() && (bytes[at], bytes[at + 1]) != ('*', '/') {
                    at += 1;
                }
                at += 2;
            }
            'r' if raw_string(&bytes, at).is_some() => {
                let (start, hashes) = raw_string(&bytes, at).unwrap();
                at = end_of_raw(&bytes, start, hashes);
                code.push_str("\"\"");
            }
            '"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != '"' {
                    at += if bytes[at] == '\\' { 2 } else { 1 };
                }
                at += 1;
                code.push_str("\"\"");
            }
            // A quote in quotes begins no string; a lifetime has no second quote.
            '\'' if next == Some('\\') => {
                at += 3;
                while at < bytes.len() && bytes[at] != '\'' {
                    at += 1;
                }
                at += 1;
            }
            '\'' if bytes.get(at + 2) == Some(&'\'') => at += 3,
            other => {
                code.push(other);
                at += 1;
            }
        }
    }
    code
}

/// Where the text of a raw string at this place begins, and how many # guard it.
fn raw_string(source: &[char], at: usize) -> Option<(usize, usize)> {
    if at > 0 && (source[at - 1].is_alphanumeric() || source[at - 1] == '_') && source[at - 1] != 'b' {
        return None;
    }
    let hashes = source[at + 1..].iter().take_while(|c| **c == '#').count();
    (source.get(at + 1 + hashes) == Some(&'"')).then_some((at + 2 + hashes, hashes))
}

fn end_of_raw(source: &[char], start: usize, hashes: usize) -> usize {
    let ends = |at: usize| {
        source[at] == '"' && source[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    (start..source.len()).find(|at| ends(*at)).map_or(source.len(), |at| at + 1 + hashes)
}

/// The top-level modules of the crate that some code names: `crate::a::b`, `use crate::{a, b::c}`.
fn modules_used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, path) in code.match_indices("crate::") {
        // `$crate::` in a macro counts, `some_crate::` does not.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + path.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut first = true;
            for word in group.split_inclusive([',', '{', '}', ':']) {
                if depth == 0 && first {
                    used.insert(leading_word(word));
                }
                first = word.ends_with(',');
                depth += i32::from(word.ends_with('{')) - i32::from(word.ends_with('}'));
                if depth < 0 {
                    break;
                }
            }
        } else {
            used.insert(leading_word(rest));
        }
    }
    used.remove("");
    used
}

fn leading_word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn tier(module: &str) -> Option<usize> {
    TIERS.iter().position(|tier| tier.contains(&module))
}

/// The module a file belongs to: src/identity/token.rs is of `identity`, src/trail.rs is `trail`.
fn module_of(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

#[test]
fn each_module_uses_lower_tiers_only() {
    let mut wrong = Vec::new();
    for (file, source) in sources() {
        let module = module_of(&file);
        if module == "lib" {
            continue;
        }
        let own = tier(module).unwrap_or_else(|| panic!("{file}: which tier is {module}?"));
        for used in modules_used(&code(&source)) {
            if used == module {
                continue;
            }
            match tier(&used) {
                // Items at the crate's root, macros for example.
                None => (),
                Some(_) if module == KNOWS_NOTHING => wrong.push(format!("{file} uses {used}")),
                Some(its) if its < own => (),
                // The top puts the rest together, and its parts may use each other.
                Some(its) if its == own && own == TIERS.len() - 1 => (),
                Some(its) => wrong.push(format!("{file} (tier {own}) uses {used} (tier {its})")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_stays_where_postgresql_and_memory_maps_are() {
    let mut wrong = Vec::new();
    for (file, source) in sources() {
        let allowed = file.starts_with("pg/") || ["journal/map.rs", "workers.rs"].contains(&file.as_str());
        let code = code(&source);
        let uses = code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
        // The attribute #[unsafe(no_mangle)] is the linker's word, and pgrx asks for it.
        if uses && !allowed {
            wrong.push(file.clone());
        }
        if code.contains("allow(unsafe_code)") && !allowed {
            wrong.push(format!("{file} allows unsafe_code"));
        }
    }
    assert!(wrong.is_empty(), "unsafe in {wrong:#?}");
}

#[test]
fn only_stores_hold_sql_text() {
    let mut wrong = Vec::new();
    for (file, source) in sources() {
        // Hints quote the statement to run; nothing runs them.
        if ["store.rs", "install.rs", "error.rs"].iter().any(|name| file.ends_with(name))
            || file.contains("test")
        {
            continue;
        }
        for line in source.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
            for text in line.split('"').skip(1).step_by(2) {
                let lower = text.trim_start().to_ascii_lowercase();
                let verb = [
                    "select ",
                    "insert into ",
                    "update ",
                    "delete from ",
                    "with ",
                    "create ",
                    "alter ",
                    "drop ",
                ]
                .iter()
                .find(|verb| lower.starts_with(**verb));
                // A statement, not a sentence that begins with the same word.
                let is_statement = match verb {
                    Some(&"select ") => lower.contains(" from ") || lower.contains('('),
                    Some(&"update ") => lower.contains(" set "),
                    Some(&"with ") => lower.contains(" as ("),
                    Some(&("create " | "alter " | "drop ")) => {
                        [" table ", " function ", " role ", " view ", " trigger ", " index "]
                            .iter()
                            .any(|kind| lower.contains(kind))
                            && lower.contains(['%', ';', '{'])
                    }
                    Some(_) => true,
                    None => false,
                };
                // A placeholder in angle brackets is for readers, too.
                if is_statement && !lower.contains("(<") && !source_is_test(&source, line) {
                    wrong.push(format!("{file}: {line}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether a line stands in the test module at the end of a file.
fn source_is_test(source: &str, line: &str) -> bool {
    match (source.find("#[cfg(test)]"), source.find(line)) {
        (Some(tests), Some(at)) => at > tests,
        _ => false,
    }
}

#[test]
fn files_are_about_one_thing() {
    let long: Vec<String> = sources()
        .iter()
        .map(|(file, source)| (file, source.lines().count()))
        .filter(|(file, lines)| *lines > if file.as_str() == "lib.rs" { 80 } else { 600 })
        .map(|(file, lines)| format!("{file}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_setting_is_documented() {
    let source = fs::read_to_string(root().join("src/settings.rs")).unwrap();
    let docs = fs::read_to_string(root().join("docs/settings.md")).unwrap();
    let names = setting_names(&source);
    assert!(!names.is_empty(), "src/settings.rs defines nothing that this test finds");
    let missing: Vec<_> = names.iter().filter(|name| !docs.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "docs/settings.md does not mention {missing:?}");
    let all: BTreeSet<String> = sources().iter().flat_map(|(_, source)| setting_names(source)).collect();
    let gone: Vec<_> = setting_names(&docs).into_iter().filter(|name| !all.contains(name)).collect();
    assert!(gone.is_empty(), "docs/settings.md describes settings that are not there: {gone:?}");
}

fn setting_names(text: &str) -> BTreeSet<String> {
    text.match_indices("pg_custodian.")
        .map(|(at, prefix)| {
            let name: String = text[at + prefix.len()..]
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                .collect();
            format!("{prefix}{name}")
        })
        .filter(|name| !["pg_custodian.", "pg_custodian.so", "pg_custodian.control"].contains(&name.as_str()))
        .collect()
}

#[test]
fn errors_are_documented() {
    let docs = fs::read_to_string(root().join("docs/errors.md")).unwrap();
    for code in ["28000", "42501", "22023", "55000", "58030", "0A000"] {
        assert!(docs.contains(code), "docs/errors.md does not explain {code}");
    }
}

#[test]
fn these_checks_see_what_they_look_for() {
    let sample = "use crate::{trail, pg::{spi, scope}, identity::Person};\n// crate::gate\nlet a = crate::capture::build(\"crate::ledger\");\nlet c = 'x'; let r = r#\"crate::masking \" \"#; other_crate::access::x();";
    let used = modules_used(&code(sample));
    assert_eq!(used.into_iter().collect::<Vec<_>>(), ["capture", "identity", "pg", "trail"]);
    assert!(!code("let x = \"unsafe\"; // unsafe").contains("unsafe"));
    assert!(code("let quote = '\"'; unsafe { f() }").contains("unsafe"));
    assert_eq!(module_of("identity/token.rs"), "identity");
    assert!(source_is_test("a\n#[cfg(test)]\nb", "b") && !source_is_test("a\n#[cfg(test)]\nb", "a"));
}

/// The parts of a mangled name: `_ZN12pg_custodian5trail3end` is pg_custodian, trail, end.
fn parts_of(mangled: &str) -> Vec<&str> {
    let mut rest = mangled.trim_start_matches("_ZN");
    let mut parts = Vec::new();
    while let Some(digits) = rest.find(|c: char| !c.is_ascii_digit()).filter(|digits| *digits > 0) {
        let length: usize = rest[..digits].parse().unwrap();
        let Some(part) = rest.get(digits..digits + length) else { break };
        parts.push(part);
        rest = &rest[digits + length..];
    }
    parts
}

#[test]
fn what_each_statement_runs_is_still_called_so() {
    assert_eq!(parts_of("_ZN12pg_custodian5trail3end*"), ["pg_custodian", "trail", "end"]);
    assert_eq!(parts_of("_ZN12pg_custodian2pg5named52_*"), ["pg_custodian", "pg", "named"]);
    let script = fs::read_to_string(root().join("src/hot.ld")).unwrap();
    let names: Vec<_> = script.lines().filter_map(|line| line.trim().strip_prefix("*(.text.")).collect();
    assert!(names.len() > 50, "{names:?}");
    let sources = sources();
    let is_there = |parts: &[&str]| {
        let (last, path) = (parts[parts.len() - 1], parts[1].to_owned());
        sources.iter().any(|(file, source)| {
            file.starts_with(&path)
                && (source.contains(&format!("fn {last}"))
                    || source.contains(&format!("{last} {{"))
                    || file.ends_with(&format!("{last}.rs")))
        })
    };
    let ours = names.iter().map(|name| parts_of(name)).filter(|parts| parts[0] == "pg_custodian");
    let gone: Vec<_> = ours.filter(|parts| !is_there(parts)).collect();
    assert!(gone.is_empty(), "src/hot.ld names what is not there: {gone:?}");
}
