//! SQL files of short scripts, each with a title, as `tests/masking_shapes/*.sql` are:
//!
//! ```text
//! -- # section
//! -- / title
//! -- since 17          not before this version
//! -- alone             in no transaction of the test's
//! -- refused           a masked person gets 42501
//! -- documented        tells something that is masked, as docs/threat-model.md says
//! -- < a\tb            a line of data for a COPY FROM STDIN
//! select 1;            statements end with a semicolon at the end of a line
//! ```

use super::transcript::{Session, sorted};
use std::fmt::Write as _;

#[derive(Default, Clone)]
pub struct Script {
    pub section: String,
    pub title: String,
    pub since: i32,
    pub alone: bool,
    pub refused: bool,
    pub documented: bool,
    pub data: String,
    pub statements: Vec<String>,
}

pub fn read(text: &str) -> Vec<Script> {
    let mut scripts: Vec<Script> = Vec::new();
    let (mut section, mut statement) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("-- # ") {
            section = title.into();
            continue;
        }
        if let Some(title) = line.strip_prefix("-- / ") {
            assert!(statement.is_empty(), "before {title}: a statement without an end");
            scripts.push(Script { section: section.clone(), title: title.into(), ..Script::default() });
            continue;
        }
        let Some(script) = scripts.last_mut() else { continue };
        match line.strip_prefix("-- ") {
            Some("alone") => script.alone = true,
            Some("refused") => script.refused = true,
            Some("documented") => script.documented = true,
            Some(word) if word.starts_with("since ") => script.since = word[6..].parse().unwrap(),
            Some(word) if word.starts_with("< ") => script.data += &format!("{}\n", &word[2..]),
            Some(comment) => panic!("{}: what does {comment:?} mean", script.title),
            None => {
                statement += line;
                // A body in dollars may have lines that end like a statement.
                if line.ends_with(';') && statement.matches("$$").count() % 2 == 0 {
                    script.statements.push(std::mem::take(&mut statement));
                } else if !statement.is_empty() {
                    statement.push('\n');
                }
            }
        }
    }
    for script in &scripts {
        assert!(!script.statements.is_empty(), "{} has no statement", script.title);
    }
    scripts
}

impl Script {
    /// Runs it, and leaves nothing behind. What is told of each statement; rows in their order only if it has one.
    pub fn run(&self, session: &mut Session) -> String {
        let mut told = String::new();
        if !self.alone {
            session.run("begin");
        }
        for statement in &self.statements {
            let said = match self.data.is_empty() {
                true => session.run(statement),
                false => session.run_with_data(statement, &self.data),
            };
            let said = if in_order(statement) { said } else { sorted(&said) };
            writeln!(told, "> {statement}\n{}", said.trim_end()).unwrap();
        }
        let left = session.run("rollback");
        assert!(!left.contains("ERROR"), "{}: {left}", self.title);
        session.run("deallocate all");
        session.run("close all");
        told
    }
}

/// Whether a statement says in which order its rows come.
pub fn in_order(statement: &str) -> bool {
    let text = statement.to_ascii_lowercase();
    let mut depth = 0;
    let unordered = [
        "select", "with", "values", "table", "insert", "update", "delete", "merge", "execute", "(", "copy",
        "explain",
    ];
    if !unordered.iter().any(|word| text.starts_with(word)) {
        return true;
    }
    text.char_indices().any(|(at, c)| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0 && c == 'o' && text[at..].starts_with("order by")
    })
}
