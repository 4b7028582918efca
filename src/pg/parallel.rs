//! Work that several processes share: PostgreSQL's own parallel workers (access/parallel.h), which have our
//! snapshot, our role and our locks, and whose errors become ours.

use super::raw;
use pgrx::pg_sys;
use std::ffi::CStr;
use std::sync::atomic::{AtomicI64, Ordering};

/// Key of the shared words.
const WORDS: u64 = 1;
/// Key of their number.
const COUNT: u64 = 2;

/// Whether this process is already part of something parallel, where no workers can be had.
pub fn is_parallel() -> bool {
    raw::IsInParallelMode()
}

/// Runs `work` on shared words in this process, and the exported `function` on the same in as many as `workers`
/// others, if the server has them to spare. All have finished when it returns the words.
pub fn run(
    function: &'static CStr,
    workers: i32,
    words: &[i64],
    work: impl FnOnce(&[AtomicI64]),
) -> Vec<i64> {
    // SAFETY: the sequence of access/parallel (README.parallel), inside a transaction, under an active snapshot; an ERROR
    // ends the workers with the (sub)transaction. The words are memory of the segment, which lives until it is
    // destroyed below; all access to them is atomic.
    unsafe {
        pg_sys::EnterParallelMode();
        let context = pg_sys::CreateParallelContext(c"pg_custodian".as_ptr(), function.as_ptr(), workers);
        let estimator = &raw mut (*context).estimator;
        // shm_toc_estimate_chunk and _keys, which are macros; both chunks are rounded up to the buffer alignment.
        (*estimator).space_for_chunks += size_of_val(words).next_multiple_of(128) + 128;
        (*estimator).number_of_keys += 2;
        pg_sys::InitializeParallelDSM(context);
        let shared = pg_sys::shm_toc_allocate((*context).toc, size_of_val(words)).cast::<AtomicI64>();
        for (n, word) in words.iter().enumerate() {
            shared.add(n).write(AtomicI64::new(*word));
        }
        let count = pg_sys::shm_toc_allocate((*context).toc, size_of::<usize>()).cast::<usize>();
        count.write(words.len());
        pg_sys::shm_toc_insert((*context).toc, WORDS, shared.cast());
        pg_sys::shm_toc_insert((*context).toc, COUNT, count.cast());
        pg_sys::LaunchParallelWorkers(context);
        let shared = std::slice::from_raw_parts(shared, words.len());
        work(shared);
        pg_sys::WaitForParallelWorkersToFinish(context);
        let words = shared.iter().map(|word| word.load(Ordering::Acquire)).collect();
        pg_sys::DestroyParallelContext(context);
        pg_sys::ExitParallelMode();
        words
    }
}

/// The shared words, in a worker.
///
/// # Safety
/// `contents` is what PostgreSQL has called the worker's function with, which has not returned.
pub unsafe fn words<'a>(contents: *mut pg_sys::shm_toc) -> &'a [AtomicI64] {
    // SAFETY: as the caller promises; `run` has put both there.
    unsafe {
        let shared = pg_sys::shm_toc_lookup(contents, WORDS, false).cast::<AtomicI64>();
        let count = pg_sys::shm_toc_lookup(contents, COUNT, false).cast::<usize>();
        std::slice::from_raw_parts(shared, *count)
    }
}
