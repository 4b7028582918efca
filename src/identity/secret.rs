//! Text that must not be shown.

use std::fmt;

/// A token as it was presented. Printing it gives nothing, and its memory is overwritten when it
/// is dropped (this copy's; PostgreSQL holds others until the statement's memory is released).
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// What is no UTF-8 is no token either: it becomes a text that no check accepts.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self(text),
            Err(error) => {
                error.into_bytes().fill(0);
                Self(String::new())
            }
        }
    }

    /// The text itself, for verification only. Never format, log or store what this returns.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        // the compiler may not conclude that nobody looks at the zeros
        std::hint::black_box(&bytes);
    }
}
