//! A few words in shared memory that one process writes and others read whole, or look again.
//!
//! Nobody waits: a version is odd while the words are being written.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Up to `N` words, said of something that has a number. Zero bytes are none at all.
#[repr(C)]
pub(super) struct Words<const N: usize> {
    version: AtomicU64,
    about: AtomicU64,
    length: AtomicU64,
    words: [AtomicU64; N],
}

impl<const N: usize> Words<N> {
    /// Says so much of `about`; of more words than there is room for, the first ones. One writer at a time.
    pub(super) fn say(&self, about: u64, words: impl Iterator<Item = u64>) {
        let odd = self.version.load(Ordering::Relaxed) | 1;
        self.version.store(odd, Ordering::Relaxed);
        fence(Ordering::Release);
        let mut length = 0;
        for (place, word) in self.words.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
            length += 1;
        }
        self.length.store(length, Ordering::Relaxed);
        self.about.store(about, Ordering::Relaxed);
        self.version.store(odd + 1, Ordering::Release);
    }

    /// What was said last, if that is of `about`.
    pub(super) fn of(&self, about: u64) -> Vec<u64> {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let mut said = Vec::new();
            if self.about.load(Ordering::Relaxed) == about {
                let length = self.length.load(Ordering::Relaxed) as usize;
                said.extend(self.words.iter().take(length).map(|word| word.load(Ordering::Relaxed)));
            }
            fence(Ordering::Acquire);
            if version & 1 == 0 && self.version.load(Ordering::Relaxed) == version {
                return said;
            }
            std::thread::yield_now();
        }
    }

    /// As [`Self::say`], of a text. What does not fit is cut.
    pub(super) fn say_text(&self, about: u64, text: &[u8]) {
        let text = &text[..text.len().min(N.saturating_sub(1) * 8)];
        let packed = text.chunks(8).map(|bytes| {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(word)
        });
        self.say(about, std::iter::once(text.len() as u64).chain(packed));
    }

    /// The text that was said of `about`; empty if none was.
    pub(super) fn text_of(&self, about: u64) -> Vec<u8> {
        let said = self.of(about);
        let Some((length, packed)) = said.split_first() else { return Vec::new() };
        let mut text: Vec<u8> = packed.iter().flat_map(|word| word.to_le_bytes()).collect();
        text.truncate(*length as usize);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicU32};

    fn none<const N: usize>() -> Box<Words<N>> {
        // SAFETY: zero bytes are valid words (atomics only).
        unsafe { Box::<Words<N>>::new_zeroed().assume_init() }
    }

    #[test]
    fn what_was_said_of_one_thing_is_not_said_of_another() {
        let words = none::<4>();
        assert!(words.of(7).is_empty());
        words.say(7, [1, 2, 3].into_iter());
        assert_eq!((words.of(7), words.of(8)), (vec![1, 2, 3], vec![]));
        words.say(8, 1..=9);
        assert_eq!((words.of(7), words.of(8)), (vec![], vec![1, 2, 3, 4]));
    }

    #[test]
    fn texts_come_back_as_far_as_there_is_room() {
        let words = none::<4>();
        for length in 0..=24 {
            let text: Vec<u8> = (1..=length).collect();
            words.say_text(1, &text);
            assert_eq!(words.text_of(1), text);
        }
        words.say_text(2, &[9; 100]);
        assert_eq!((words.text_of(2), words.text_of(1)), (vec![9; 24], vec![]));
    }

    #[test]
    fn readers_see_all_of_it_or_nothing() {
        let (words, done, seen) = (none::<32>(), AtomicBool::new(false), AtomicU32::new(0));
        words.say(1, std::iter::once(0));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let said = words.of(1);
                    assert!(
                        said.iter().all(|word| *word == said[0]) && said.len() == said[0] as usize % 31 + 1
                    );
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            });
            // On a busy machine the reader may not get a processor for a while: until it has seen something.
            let mut round = 0_u64;
            while !reader.is_finished() && (round < 200_000 || seen.load(Ordering::Relaxed) == 0) {
                words.say(1, std::iter::repeat_n(round, round as usize % 31 + 1));
                round += 1;
                if round >= 200_000 {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            }
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
    }
}
