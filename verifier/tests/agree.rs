//! Two who have read the same specification say the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

/// `PGC_CASES` sets how many random ledgers are tried, `PGC_SEED` which.
#[test]
fn the_verifier_and_the_one_in_python_agree_on_random_ledgers() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/second_opinion/agree.py");
    let cases = std::env::var("PGC_CASES").unwrap_or_else(|_| "115".into());
    let done = Command::new("python3")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(script)
        .arg(env!("CARGO_BIN_EXE_pg_custodian_verifier"))
        .arg(cases)
        .args(std::env::var("PGC_SEED").ok())
        .output()
        .expect("python3 runs");
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    println!("{said}");
    assert!(done.status.success(), "{said}");
}
