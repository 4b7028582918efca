//! The only place where the journal touches memory it shares: mapped segments.
#![allow(unsafe_code)]

use super::{JournalError, segment};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

impl super::Shared {
    /// The journal's view of `words`, which lie in memory that all processes share.
    pub fn over(words: &[AtomicU64; super::shared::WORDS]) -> &Self {
        // SAFETY: Shared is a transparent wrapper around this very type.
        unsafe { &*std::ptr::from_ref(words).cast::<Self>() }
    }
}

/// Sleeps while `word` is `value`, until somebody wakes it, for `timeout` at most. May return early (futex(2)).
pub fn sleep_while(word: &AtomicU32, value: u32, timeout: Duration) {
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: timeout.subsec_nanos() as libc::c_long,
    };
    // SAFETY: the word and the time outlive the call; the kernel only reads them.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, &raw const timeout) };
}

/// Wakes who sleeps at `word`, in every process.
pub fn wake_all(word: &AtomicU32) {
    // SAFETY: the kernel takes the address of the word for a name.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

/// Half of `word`, for those who sleep at it: the kernel knows words of four bytes only.
pub fn half(word: &AtomicU64) -> &AtomicU32 {
    // SAFETY: inside the word and aligned; all access to this one is through the half.
    unsafe { AtomicU32::from_ptr(word.as_ptr().cast()) }
}

/// Reserves blocks for the first `length` bytes of `file` (posix_fallocate(3)).
pub fn allocate(file: &File, length: u64) -> io::Result<()> {
    // SAFETY: the descriptor is open for writing as long as `file` is borrowed.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length as libc::off_t) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Waits for the exclusive lock on the open file `fd` (flock(2)).
pub fn lock(fd: RawFd) -> io::Result<()> {
    loop {
        // SAFETY: flock takes a descriptor and touches no memory.
        if unsafe { libc::flock(fd, libc::LOCK_EX) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Takes the exclusive lock on the open file `fd` unless somebody else has it.
pub fn try_lock(fd: RawFd) -> io::Result<bool> {
    // SAFETY: flock takes a descriptor and touches no memory.
    if unsafe { libc::flock(fd, libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(false),
        _ => Err(error),
    }
}

/// Frees the lock on the open file `fd`.
pub fn unlock(fd: RawFd) -> io::Result<()> {
    // SAFETY: flock takes a descriptor and touches no memory.
    if unsafe { libc::flock(fd, libc::LOCK_UN) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Segment `number`, mapped shared; unmapped when dropped.
pub struct Map {
    number: u64,
    base: NonNull<u8>,
}

impl Map {
    /// Maps segment `number` of `directory`, for writing if `writable`.
    pub fn open(directory: &Path, number: u64, writable: bool) -> Result<Self, JournalError> {
        let path = segment::path(directory, number);
        let file = OpenOptions::new().read(true).write(writable).open(&path);
        let file = file.map_err(|e| JournalError::io("open", &path, e))?;
        let length = file.metadata().map_err(|e| JournalError::io("stat", &path, e))?.len();
        if length != segment::SIZE {
            // A map reaching beyond the file's end would be SIGBUS at the first touch.
            return Err(JournalError::Corrupt { path, reason: segment::TRUNCATED });
        }
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: a fresh shared mapping of a file that is SIZE bytes long; the kernel picks the address.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                segment::SIZE as usize,
                protection,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(base.cast::<u8>()) {
            Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => Ok(Self { number, base }),
            _ => Err(JournalError::io("map", path, io::Error::last_os_error())),
        }
    }

    /// Number of the mapped segment.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The commit word at `offset`, a multiple of eight inside the segment.
    pub fn load(&self, offset: usize) -> u64 {
        self.word(offset).load(Ordering::Acquire)
    }

    /// Writes `payload` behind `offset`, then makes it exist by storing `word`.
    ///
    /// The caller owns the range by reservation; nobody reads it before the word is there.
    pub fn publish(&self, offset: usize, payload: &[u8], word: u64) {
        let end = offset + super::frame::WORD + payload.len();
        assert!(end <= segment::SIZE as usize, "journal frame beyond its segment");
        // SAFETY: the range lies inside the mapping (checked above), is writable, and reserved by this process alone.
        unsafe {
            let to = self.base.as_ptr().add(offset + super::frame::WORD);
            std::ptr::copy_nonoverlapping(payload.as_ptr(), to, payload.len());
        }
        self.word(offset).store(word, Ordering::Release);
    }

    /// The bytes from `offset` to `end`; call only after [`Map::load`] showed a committed frame there.
    pub fn bytes(&self, offset: usize, end: usize) -> &[u8] {
        assert!(offset <= end && end <= segment::SIZE as usize, "journal frame beyond its segment");
        // SAFETY: inside the mapping (checked above); committed bytes are never written again.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(offset), end - offset) }
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= segment::SIZE as usize, "misplaced journal word");
        // SAFETY: inside the mapping and aligned (checked above; the mapping is page-aligned); all access is atomic.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `open` mapped, and no borrow of it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), segment::SIZE as usize) };
    }
}
