//! What a process remembers of its own.
//!
//! PostgreSQL's processes have one thread, and this library starts none: a plain static does what a thread-local
//! one does, without the call into the dynamic linker that each look at one costs in a shared library (some
//! forty per statement, as much as the rest of the record's checksum). Unit tests have many threads: there the same
//! declaration makes thread-local statics.

use std::cell::{Cell, RefCell};

/// A static that belongs to the process's one thread.
#[cfg_attr(test, allow(dead_code))]
pub struct Local<T>(T);

// SAFETY: there is one thread; see above.
unsafe impl<T> Sync for Local<T> {}

#[cfg_attr(test, allow(dead_code))]
impl<T> Local<T> {
    /// For [`process_local`].
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

/// As for `std::thread::LocalKey`.
#[cfg_attr(test, allow(dead_code))]
impl<T> Local<Cell<T>> {
    #[inline]
    pub fn get(&self) -> T
    where
        T: Copy,
    {
        self.0.get()
    }

    #[inline]
    pub fn set(&self, value: T) {
        self.0.set(value);
    }

    #[inline]
    pub fn take(&self) -> T
    where
        T: Default,
    {
        self.0.take()
    }

    #[inline]
    pub fn replace(&self, value: T) -> T {
        self.0.replace(value)
    }
}

/// As for `std::thread::LocalKey`.
#[cfg_attr(test, allow(dead_code))]
impl<T> Local<RefCell<T>> {
    #[inline]
    pub fn with_borrow<R>(&self, work: impl FnOnce(&T) -> R) -> R {
        work(&self.0.borrow())
    }

    #[inline]
    pub fn with_borrow_mut<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut self.0.borrow_mut())
    }

    #[inline]
    pub fn replace(&self, value: T) -> T {
        self.0.replace(value)
    }

    #[inline]
    pub fn take(&self) -> T
    where
        T: Default,
    {
        self.0.take()
    }
}

/// Declares statics of the process, each of a `Cell` or a `RefCell` that is made of a constant.
macro_rules! process_local {
    ($($(#[$doc:meta])* static $name:ident: $type:ty = const $value:block;)+) => {$(
        #[cfg(not(test))]
        $(#[$doc])*
        static $name: $crate::pg::local::Local<$type> = $crate::pg::local::Local::new(const $value);
        #[cfg(test)]
        thread_local! { $(#[$doc])* static $name: $type = const $value; }
    )+};
}
pub(crate) use process_local;
