//! Group commit: many processes wait, one calls fdatasync.
//!
//! Whoever has copied his frame takes a **ticket**: the number of the next sync that starts. Any sync
//! with that number or a later one has started after his copy. "Flushed up to a position" would not
//! do: what was reserved before may not be copied yet.
//!
//! A sync that fails is never made good by a later one. The kernel marks pages clean that it could
//! not write, so that the next fdatasync has nothing to complain of. Whoever had a frame under way while a
//! sync failed is refused, whatever later syncs say.

use super::segment::{self, FileLock, SIZE};
use super::{JournalError, Shared};
use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// After which to look again, should nobody have said that he has done.
const PATIENCE: Duration = Duration::from_millis(100);

/// Waits until what this process has appended to `segment` and later ones is on disk.
///
/// `failures` is what [`Shared::sync_failures`] said before it was appended.
pub fn sync(directory: &Path, shared: &Shared, segment: u64, failures: u64) -> Result<(), JournalError> {
    let mut file = None;
    let lock = || {
        let file = match &mut file {
            Some(file) => file,
            None => file.insert(segment::open_lock(directory, "lock.sync")?),
        };
        FileLock::try_take(file).map_err(|e| JournalError::io("lock", directory.join("lock.sync"), e))
    };
    let failed =
        |number: u64, error| JournalError::Sync { path: segment::path(directory, number), source: error };
    wait(shared, segment, failures, lock, |number| {
        let written = File::open(segment::path(directory, number)).and_then(|file| file.sync_data());
        match written {
            // It is gone because what was in it is on disk in every ledger.
            Err(_) if shared.is_released(number) => Ok(()),
            written => written.map_err(|error| failed(number, error)),
        }
    })
}

/// [`sync`] without files: `lock` lets one in at a time, `flush` writes a segment.
///
/// Who is not let in waits until the one who is has done, and mostly finds that it was for him, too.
fn wait<L>(
    shared: &Shared,
    segment: u64,
    failures: u64,
    mut lock: impl FnMut() -> Result<Option<L>, JournalError>,
    mut flush: impl FnMut(u64) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    let ticket = shared.take_ticket();
    loop {
        let rung = shared.bell();
        // In this order: a failure comes before the next success.
        let synced = shared.has_synced(ticket, segment);
        if shared.sync_failures() != failures {
            return Err(JournalError::NotSynced);
        }
        if synced {
            return Ok(());
        }
        let Some(lock) = lock()? else {
            shared.listen(rung, PATIENCE);
            continue;
        };
        // Somebody may have done it between the look and the lock.
        let written = match shared.has_synced(ticket, segment) || shared.sync_failures() != failures {
            true => None,
            false => {
                let number = shared.begin_sync();
                let written = (segment..=(shared.reserved() - 1) / SIZE).try_for_each(&mut flush);
                match &written {
                    Ok(()) => shared.end_sync(number, segment),
                    Err(_) => shared.fail_sync(),
                }
                Some(written)
            }
        };
        drop(lock);
        shared.ring();
        if let Some(written) = written {
            return written;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::{Barrier, Mutex, MutexGuard, TryLockError};
    use std::thread;

    /// A disk on which is, after a sync, what had been copied when it began.
    struct Disk {
        shared: Shared,
        lock: Mutex<()>,
        copied: Vec<AtomicBool>,
        written: Vec<AtomicBool>,
        fails: AtomicU64,
    }

    impl Disk {
        fn new(frames: usize) -> Self {
            let flags = || std::iter::repeat_with(AtomicBool::default).take(frames).collect();
            let disk = Self {
                shared: Shared::default(),
                lock: Mutex::default(),
                copied: flags(),
                written: flags(),
                fails: AtomicU64::new(0),
            };
            assert!(disk.shared.reserve(0, SIZE + 100));
            disk
        }

        fn flush(&self) -> Result<(), JournalError> {
            let seen: Vec<bool> = self.copied.iter().map(|flag| flag.load(Ordering::SeqCst)).collect();
            thread::sleep(Duration::from_micros(300));
            let fails = self
                .fails
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok();
            while fails && self.copied.iter().filter(|flag| flag.load(Ordering::SeqCst)).count() < 2 {
                // Somebody else waits while it fails, though he may have to wait for a processor first.
                thread::yield_now();
            }
            for (frame, seen) in seen.iter().enumerate().filter(|(_, seen)| **seen) {
                if fails {
                    // Given up: clean now, and no later sync will write it.
                    self.copied[frame].store(false, Ordering::SeqCst);
                } else {
                    self.written[frame].store(*seen, Ordering::SeqCst);
                }
            }
            if !fails {
                return Ok(());
            }
            Err(JournalError::Sync { path: "disk".into(), source: io::Error::from_raw_os_error(libc::EIO) })
        }

        fn lock(&self) -> Result<Option<MutexGuard<'_, ()>>, JournalError> {
            match self.lock.try_lock() {
                Ok(lock) => Ok(Some(lock)),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Poisoned(_)) => panic!("a thread has failed"),
            }
        }

        /// Copies a frame and waits for it.
        fn append(&self, frame: usize) -> Result<(), JournalError> {
            let failures = self.shared.sync_failures();
            self.copied[frame].store(true, Ordering::SeqCst);
            wait(&self.shared, 1, failures, || self.lock(), |_| self.flush())
        }

        /// Many threads append; returns how many were told that their frame is on disk.
        fn load(&self, threads: usize) -> usize {
            let each = self.copied.len() / threads;
            // All at once, however long it takes to make them.
            let start = &Barrier::new(threads);
            thread::scope(|scope| {
                let workers: Vec<_> = (0..threads)
                    .map(|thread| {
                        scope.spawn(move || {
                            start.wait();
                            let frames = thread * each..(thread + 1) * each;
                            let told = |frame: &usize| {
                                let told = self.append(*frame).is_ok();
                                let is_there = self.written[*frame].load(Ordering::SeqCst);
                                assert!(!told || is_there, "frame {frame} was called written and is not");
                                told
                            };
                            frames.filter(told).count()
                        })
                    })
                    .collect();
                workers.into_iter().map(|worker| worker.join().unwrap()).sum()
            })
        }
    }

    #[test]
    fn whoever_is_told_that_his_frame_is_on_disk_finds_it_there_and_syncs_are_shared() {
        let disk = Disk::new(16 * 60);
        assert_eq!(disk.load(16), 16 * 60);
        let (asked, syncs) = disk.shared.sync_figures();
        assert_eq!(asked, 16 * 60);
        assert!(syncs < asked / 3, "{syncs} syncs for {asked} frames");
    }

    #[test]
    fn a_sync_that_failed_is_never_made_good_by_a_later_one() {
        let disk = Disk::new(16 * 60);
        let failing = 7;
        disk.fails.store(failing, Ordering::SeqCst);
        let told = disk.load(16);
        assert_eq!(disk.shared.sync_failures(), failing);
        assert!(told < 16 * 60 - failing as usize, "those who waited while a sync failed are refused, too");
        assert!(told > 0, "the disk works again, and nobody is told so");
    }

    #[test]
    fn who_comes_while_a_sync_runs_waits_for_the_next_one() {
        let disk = Disk::new(2);
        disk.copied[0].store(true, Ordering::SeqCst);
        let late = || disk.append(1).unwrap();
        thread::scope(|scope| {
            let flush = |_| {
                let done = disk.flush();
                // Too late for the sync that runs: it has looked already.
                scope.spawn(late);
                thread::sleep(Duration::from_millis(20));
                done
            };
            wait(&disk.shared, 1, 0, || disk.lock(), flush).unwrap();
        });
        assert!(disk.written[1].load(Ordering::SeqCst));
        assert_eq!(disk.shared.sync_figures(), (2, 2));
    }

    #[test]
    fn a_frame_in_an_earlier_segment_than_the_sync_that_ran_is_not_called_written() {
        let shared = Shared::default();
        assert!(shared.reserve(0, 3 * SIZE + 100));
        let flushed = Mutex::new(Vec::new());
        let flush = |number| {
            flushed.lock().unwrap().push(number);
            Ok(())
        };
        let ticket_of_both = shared.take_ticket();
        wait(&shared, 3, 0, || Ok(Some(())), flush).unwrap();
        assert!(shared.has_synced(ticket_of_both, 3) && !shared.has_synced(ticket_of_both, 2));
        wait(&shared, 2, 0, || Ok(Some(())), flush).unwrap();
        assert_eq!(*flushed.lock().unwrap(), [3, 2, 3]);
    }

    #[test]
    fn a_segment_that_cannot_be_synced_is_an_error() {
        let directory = std::env::temp_dir().join(format!("pgc-journal-nowhere-{}", std::process::id()));
        let shared = Shared::default();
        assert!(shared.reserve(0, SIZE + 100));
        std::fs::create_dir_all(&directory).unwrap();
        let lost = sync(&directory, &shared, 1, 0);
        assert!(matches!(lost, Err(JournalError::Sync { .. })), "{lost:?}");
        assert_eq!(shared.sync_failures(), 1);
        shared.release(2);
        assert!(sync(&directory, &shared, 1, 1).is_ok(), "it is in every ledger");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
