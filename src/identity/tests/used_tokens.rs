//! The file of used tokens: once is once, whatever happened to the file.

use super::super::used_tokens::{UsedTokensFault, claim, key};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

const NOW: i64 = super::NOW * 1_000_000;
const HOUR: i64 = 3_600_000_000;
const HEADER: u64 = 16;
const RECORD: u64 = 44;

/// A directory of its own for one test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("pg_custodian-used_tokens-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("used_tokens")
    }

    fn length(&self) -> u64 {
        fs::metadata(self.file()).unwrap().len()
    }

    fn claim(&self, token: &str) -> Result<bool, UsedTokensFault> {
        self.claim_at(token, NOW, NOW + HOUR)
    }

    fn claim_at(&self, token: &str, now: i64, expires: i64) -> Result<bool, UsedTokensFault> {
        claim(&self.0, &key("issuer", token), expires, now, || thread::sleep(Duration::from_millis(1)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_token_is_claimed_once() {
    let place = Place::new("once");
    for token in ["a", "b", "c"] {
        assert!(place.claim(token).unwrap());
    }
    for token in ["a", "b", "c"] {
        assert!(!place.claim(token).unwrap(), "{token}");
    }
    assert_eq!(place.length(), HEADER + 3 * RECORD);
}

#[test]
fn only_its_owner_can_read_the_file() {
    let place = Place::new("mode");
    place.claim("a").unwrap();
    for name in ["used_tokens", "used_tokens.lock"] {
        let mode = fs::metadata(place.0.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert!(!place.0.join("used_tokens.new").exists());
}

#[test]
fn the_key_is_of_issuer_and_signed_text_together() {
    assert_ne!(key("a", "bc"), key("ab", "c"));
    assert_ne!(key("a", "bc"), key("b", "bc"));
    assert_eq!(key("a", "bc"), key("a", "bc"));
}

#[test]
fn of_many_who_claim_at_once_exactly_one_wins() {
    const RIVALS: usize = 8;
    const TOKENS: usize = 40;
    let place = Place::new("rivals");
    let wins: Vec<AtomicU32> = (0..TOKENS).map(|_| AtomicU32::new(0)).collect();
    let start = Barrier::new(RIVALS);
    thread::scope(|scope| {
        for _ in 0..RIVALS {
            scope.spawn(|| {
                for (token, won) in wins.iter().enumerate() {
                    start.wait();
                    // no panic here: the others would wait for this one for ever
                    match place.claim(&token.to_string()) {
                        Ok(mine) => won.fetch_add(u32::from(mine), Ordering::Relaxed),
                        Err(_) => won.fetch_add(1000, Ordering::Relaxed),
                    };
                }
            });
        }
    });
    let won: Vec<u32> = wins.iter().map(|won| won.load(Ordering::Relaxed)).collect();
    assert_eq!(won, [1; TOKENS]);
    assert_eq!(place.length(), HEADER + TOKENS as u64 * RECORD);
}

#[test]
fn rivals_neither_lose_nor_double_while_the_file_is_rewritten() {
    let place = Place::new("rewritten");
    for token in 0..300 {
        place.claim_at(&format!("old {token}"), NOW, NOW + HOUR).unwrap();
    }
    let later = NOW + 3 * HOUR;
    let wins = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for token in 0..20 {
                    let won = place.claim_at(&format!("new {token}"), later, later + HOUR).unwrap();
                    wins.fetch_add(u32::from(won), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(wins.load(Ordering::Relaxed), 20);
    assert_eq!(place.length(), HEADER + 20 * RECORD);
}

#[test]
fn what_has_expired_is_dropped_and_what_lives_is_not() {
    let place = Place::new("expired");
    for token in 0..200 {
        place.claim_at(&format!("short {token}"), NOW, NOW + HOUR).unwrap();
    }
    for token in 0..100 {
        place.claim_at(&format!("long {token}"), NOW, NOW + 9 * HOUR).unwrap();
    }
    // not right after exp: a clock may be set back
    assert!(place.claim_at("one", NOW + HOUR + 1, NOW + 9 * HOUR).unwrap());
    assert_eq!(place.length(), HEADER + 301 * RECORD);
    assert!(!place.claim_at("short 7", NOW + HOUR + 1, NOW + HOUR).unwrap());
    assert!(place.claim_at("two", NOW + 2 * HOUR + 1, NOW + 9 * HOUR).unwrap());
    assert_eq!(place.length(), HEADER + 102 * RECORD);
    for token in ["one", "two", "long 0", "long 99"] {
        assert!(!place.claim_at(token, NOW + 2 * HOUR + 1, NOW + 9 * HOUR).unwrap(), "{token}");
    }
}

/// At whichever byte the machine stops: who was let in stays known, and the rest goes on.
#[test]
fn a_torn_record_is_written_over() {
    for torn in 1..=RECORD {
        let place = Place::new("torn");
        assert!(place.claim("a").unwrap() && place.claim("b").unwrap());
        let file = OpenOptions::new().write(true).open(place.file()).unwrap();
        if torn == RECORD {
            // the length came to the disk, the bytes did not
            file.set_len(HEADER + RECORD).unwrap();
            file.set_len(HEADER + 2 * RECORD).unwrap();
        } else {
            file.set_len(HEADER + RECORD + torn).unwrap();
        }
        assert!(!place.claim("a").unwrap(), "{torn} bytes");
        assert!(place.claim("b").unwrap(), "{torn} bytes");
        assert!(!place.claim("b").unwrap() && place.claim("c").unwrap(), "{torn} bytes");
        assert_eq!(place.length(), HEADER + 3 * RECORD);
    }
}

/// A record that cannot be read may be of the very token that is presented.
#[test]
fn a_damaged_file_is_refused_until_it_is_removed() {
    let damages: [fn(&mut Vec<u8>); 5] = [
        |bytes| bytes[HEADER as usize + 3] ^= 1,
        |bytes| bytes[(HEADER + RECORD) as usize - 1] ^= 1,
        |bytes| bytes[0] ^= 1,
        |bytes| bytes[HEADER as usize - 1] = 2,
        |bytes| bytes.truncate(HEADER as usize - 1),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let place = Place::new("damaged");
        assert!(place.claim("a").unwrap() && place.claim("b").unwrap());
        let mut bytes = fs::read(place.file()).unwrap();
        damage(&mut bytes);
        fs::write(place.file(), &bytes).unwrap();
        for token in ["a", "c"] {
            assert!(matches!(place.claim(token), Err(UsedTokensFault::Damaged(_))), "damage {number}");
        }
        assert_eq!(fs::read(place.file()).unwrap(), bytes, "damage {number}");
        fs::remove_file(place.file()).unwrap();
        assert!(place.claim("c").unwrap());
    }
}

#[test]
fn an_empty_file_is_damaged_and_none_is_not() {
    let place = Place::new("empty");
    File::create(place.file()).unwrap();
    assert!(matches!(place.claim("a"), Err(UsedTokensFault::Damaged(_))));
}

#[test]
fn without_a_place_to_write_nobody_is_let_in() {
    let place = Place::new("gone");
    fs::remove_dir(&place.0).unwrap();
    let fault = place.claim("a").unwrap_err();
    assert!(matches!(fault, UsedTokensFault::Io { .. }) && !fault.is_full(), "{fault}");
    // a directory where the file should be cannot be read as one
    fs::create_dir_all(place.file()).unwrap();
    assert!(matches!(place.claim("a"), Err(UsedTokensFault::Io { action: "read", .. })));
}

#[test]
fn a_full_disk_is_told_apart() {
    let source = std::io::Error::from_raw_os_error(libc::ENOSPC);
    let full = UsedTokensFault::Io { action: "write", path: "used_tokens".into(), source };
    assert!(full.is_full());
}

#[test]
fn who_waits_too_long_is_refused_and_not_let_in() {
    let place = Place::new("busy");
    place.claim("a").unwrap();
    let held = File::open(place.0.join("used_tokens.lock")).unwrap();
    held.lock().unwrap();
    assert!(matches!(place.claim("b"), Err(UsedTokensFault::Busy(_))));
    drop(held);
    assert!(place.claim("b").unwrap());
}
