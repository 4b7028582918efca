//! The offline verifier: what pg_custodian has exported, checked without a database.

use pg_custodian_verifier::checkpoint::{Checkpoint, Kept, List};
use pg_custodian_verifier::ledger::Walk;
use pg_custodian_verifier::{Refusal, proof};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::process::ExitCode;

const USAGE: &str = "usage: pg_custodian_verifier ledger|checkpoints|proof [--against FILE] [FILE]

  ledger       rows as JSON lines: of audit.export() or a file of audit.retain()
  checkpoints  checkpoints as JSON lines, the oldest first
  proof        what audit.prove() returned
  --against    checkpoints that were kept elsewhere, as JSON lines

Without FILE, or with -, reads standard input.
Ends with 0: it holds; 1: it does not; 2: used in a wrong way; 3: it cannot be read.";

struct Task {
    what: String,
    against: Option<String>,
    file: Option<String>,
}

fn task() -> Option<Task> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().filter(|what| ["ledger", "checkpoints", "proof"].contains(&what.as_str()))?;
    let (mut against, mut file) = (None, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--against" if against.is_none() => against = Some(arguments.next()?),
            "-" if file.is_none() => file = Some(argument),
            name if name.starts_with('-') || file.is_some() => return None,
            _ => file = Some(argument),
        }
    }
    Some(Task { what, against, file })
}

fn open(name: &str) -> Result<Box<dyn BufRead>, Refusal> {
    if name == "-" {
        return Ok(Box::new(stdin().lock()));
    }
    let file = File::open(name).map_err(|error| Refusal::Unreadable(format!("{name}: {error}")))?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
}

/// Calls `each` with every line that is not empty.
fn lines(name: &str, mut each: impl FnMut(&str) -> Result<(), Refusal>) -> Result<(), Refusal> {
    for line in open(name)?.lines() {
        let line = line.map_err(|error| Refusal::Unreadable(format!("{name}: {error}")))?;
        if !line.trim().is_empty() {
            each(&line)?;
        }
    }
    Ok(())
}

fn json(text: &str) -> Result<Value, Refusal> {
    serde_json::from_str(text).map_err(|error| Refusal::Unreadable(error.to_string()))
}

fn kept(name: Option<&str>) -> Result<Vec<Kept>, Refusal> {
    let mut kept = Vec::new();
    if let Some(name) = name {
        lines(name, |line| {
            let one = Kept::from_json(&json(line)?);
            kept.push(one.ok_or_else(|| Refusal::Unreadable(format!("{name}: no checkpoint: {line}")))?);
            Ok(())
        })?;
    }
    Ok(kept)
}

fn ledger(name: &str, kept: &[Kept]) -> Result<String, Refusal> {
    let mut walk = Walk::new(kept);
    lines(name, |line| walk.line(line))?;
    let held = walk.finish()?;
    if held.compared == 0 && !kept.is_empty() {
        return Err(Refusal::Unreadable(
            "none of the checkpoints to compare with lies among these rows".into(),
        ));
    }
    let mut said = format!("ok: rows {} to {}, hash {}", held.from_seq, held.to_seq, hex::encode(held.hash));
    if held.on_trust {
        said.push_str("; what stands before the first row was taken on trust");
    }
    if held.compared > 0 {
        said.push_str(&format!("; checkpoints compared: {}", held.compared));
    }
    Ok(said)
}

fn checkpoints(name: &str, kept: &[Kept]) -> Result<String, Refusal> {
    let mut list = List::default();
    lines(name, |line| {
        let one = Checkpoint::from_json(&json(line)?);
        list.push(one.ok_or_else(|| Refusal::Unreadable(format!("no checkpoint: {line}")))?, kept)
    })?;
    let (last, count, from_first) = list.finish(kept)?;
    let trust = if from_first { "" } else { "; what stands before the first one was taken on trust" };
    Ok(format!("ok: {count} checkpoints to row {}, link {}{trust}", last.seq, hex::encode(last.link)))
}

fn prove(name: &str, kept: &[Kept]) -> Result<String, Refusal> {
    let mut text = String::new();
    open(name)?.read_to_string(&mut text).map_err(|error| Refusal::Unreadable(format!("{name}: {error}")))?;
    let proved = proof::check(&json(&text)?, kept)?;
    let link = hex::encode(proved.checkpoint.link);
    let trust = if proved.compared { "" } else { "; compare the link with the one that was kept elsewhere" };
    Ok(format!(
        "ok: row {} under the checkpoint at row {}, link {link}{trust}",
        proved.seq, proved.checkpoint.seq
    ))
}

fn main() -> ExitCode {
    let Some(task) = task() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let name = task.file.as_deref().unwrap_or("-");
    let said = kept(task.against.as_deref()).and_then(|kept| match task.what.as_str() {
        "ledger" => ledger(name, &kept),
        "checkpoints" => checkpoints(name, &kept),
        _ => prove(name, &kept),
    });
    match said {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(refusal) => {
            println!("{refusal}");
            ExitCode::from(if matches!(refusal, Refusal::Bad { .. }) { 1 } else { 3 })
        }
    }
}
