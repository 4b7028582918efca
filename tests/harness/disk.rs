//! A small disk that can be full, grow, and be gone.

use super::command::{self, Program};
use std::fs;
use std::path::{Path, PathBuf};

/// A file system in memory, of a given size.
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Needs to be root, or sudo without a password: a test that needs a full disk must not pass without one.
    pub fn new(megabytes: u32) -> Self {
        let path = command::make_directory("pg_custodian-disk");
        let owner = fs::metadata(&path).map(|made| std::os::unix::fs::MetadataExt::uid(&made)).unwrap();
        let options = format!("size={megabytes}m,mode=700,uid={owner}");
        as_root("mount").args(["-t", "tmpfs", "-o", &options, "pg_custodian-test"]).arg(&path).succeed();
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn resize(&self, megabytes: u32) {
        let options = format!("remount,size={megabytes}m");
        as_root("mount").args(["-o", &options]).arg(&self.path).succeed();
    }
}

fn as_root(program: &str) -> Program {
    if command::is_root() {
        return command::plain(Path::new(program));
    }
    let mut sudo = command::plain(Path::new("sudo"));
    sudo.args(["-n", program]);
    sudo
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Also while a server of a failed test still uses it.
        as_root("umount").arg("-l").arg(&self.path).run();
        let _ = fs::remove_dir(&self.path);
    }
}
