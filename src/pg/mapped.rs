//! A file of numbers that all processes share: what is written survives every process and restart of the server, as
//! the kernel keeps it, and a power cut once the kernel has written it.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::AtomicU64;

/// Bytes at the beginning that tell what the file is.
pub const HEADER: usize = 512;

/// The file and its numbers, for as long as the process lives.
pub struct Mapped {
    file: File,
    pub words: &'static [AtomicU64],
}

impl Mapped {
    /// Maps `count` numbers behind a header that begins with `magic`. A file that is not there is made,
    /// of zeroes; one that is anything else is refused.
    pub fn open(path: &Path, magic: &[u8; 16], count: usize) -> io::Result<Self> {
        let length = HEADER + count * size_of::<u64>();
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        lock(&file)?;
        let ready = prepare(&file, path, magic, length as u64);
        file.unlock()?;
        ready?;
        // SAFETY: a fresh shared mapping of a file that is `length` bytes long, all of them allocated; the kernel
        // picks the address, which is aligned to a page.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: inside the mapping, which is never removed, and aligned; all access is atomic.
        let words =
            unsafe { std::slice::from_raw_parts(base.cast::<u8>().add(HEADER).cast::<AtomicU64>(), count) };
        Ok(Self { file, words })
    }

    /// Runs `work` while no other process runs such.
    pub fn alone<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        lock(&self.file)?;
        let done = work();
        self.file.unlock()?;
        Ok(done)
    }
}

fn lock(file: &File) -> io::Result<()> {
    loop {
        match file.lock() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn prepare(file: &File, path: &Path, magic: &[u8; 16], length: u64) -> io::Result<()> {
    let found = file.metadata()?.len();
    let mut header = [0; 16];
    if found == 0 {
        // SAFETY: the descriptor is open for writing as long as `file` is borrowed.
        let failed = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length as libc::off_t) };
        if failed != 0 {
            // Half of it would be taken for damage.
            file.set_len(0)?;
            return Err(io::Error::from_raw_os_error(failed));
        }
    } else {
        file.read_exact_at(&mut header, 0)?;
    }
    // Zeroes: it was made just now, or by somebody who died before it was ready.
    if header == [0; 16] && file.metadata()?.len() == length {
        file.write_all_at(magic, 0)?;
        return file.sync_all();
    }
    if found != length || header != *magic {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("\"{}\" is damaged", path.display())));
    }
    Ok(())
}
