//! A server whose clock a test can put forward: months pass while nobody waits.

use super::command;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

pub struct Clock {
    directory: PathBuf,
}

impl Clock {
    /// A clock that is right so far.
    pub fn new() -> Self {
        let clock = Self { directory: command::make_directory("pg_custodian-clock") };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/harness/clock.c");
        command::plain(Path::new("cc"))
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(clock.library())
            .arg(source)
            .succeed();
        clock.set(0);
        clock
    }

    fn library(&self) -> PathBuf {
        self.directory.join("clock.so")
    }

    fn file(&self) -> PathBuf {
        self.directory.join("ahead")
    }

    /// What a server's environment must hold.
    pub fn environment(&self) -> Vec<(String, String)> {
        let of = |path: PathBuf| path.to_string_lossy().into_owned();
        vec![("LD_PRELOAD".into(), of(self.library())), ("PGC_CLOCK".into(), of(self.file()))]
    }

    /// Shows so many seconds more than the true time from now on.
    pub fn set(&self, seconds: i64) {
        // Whoever reads it meanwhile must find a whole number.
        let new = self.directory.join("new");
        std::fs::write(&new, seconds.to_string()).unwrap();
        std::fs::rename(&new, self.file()).unwrap();
    }

    /// Shows this time from now on, in seconds since 1970.
    pub fn show(&self, time: i64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        self.set(time - now);
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
