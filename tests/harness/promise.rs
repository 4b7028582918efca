//! What is promised to happen within a second, on a machine that may be busy with something else just then.

use std::time::Duration;

/// What is promised: a second after its cause a statement that must not go on has ended.
pub const PROMISE: Duration = Duration::from_secs(1);

/// What a single one may take. The machine can keep it waiting, but nobody forgets it: what runs would take a minute.
const LONGEST: Duration = Duration::from_secs(10);

/// How late what is promised came, of several cases.
#[derive(Default)]
pub struct Lateness(Vec<(String, Duration)>);

impl Lateness {
    #[track_caller]
    pub fn note(&mut self, what: &str, late: Duration) {
        in_the_end(what, late);
        self.0.push((what.to_string(), late));
    }

    /// Asserts that the promise was kept, as a rule: that one of several was held up by the machine proves nothing.
    #[track_caller]
    pub fn kept_the_promise(mut self) {
        assert!(self.0.len() > 2, "two are no rule: {:?}", self.0);
        self.0.sort_by_key(|(_, late)| *late);
        let median = self.0[self.0.len() / 2].1;
        assert!(median < PROMISE, "{:?}", self.0);
    }
}

/// Asserts of a single case that it did not take for ever; for where the promise itself is measured elsewhere.
#[track_caller]
pub fn in_the_end(what: &str, late: Duration) {
    assert!(late < LONGEST, "{what}: {late:?} after its cause");
}
