//! Values as people and accidents make them, the same at every run.

/// xorshift64
pub struct Samples(u64);

impl Samples {
    pub fn new() -> Self {
        Self(0x2545_f491_4f6c_dd1d)
    }

    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() % limit as u64) as usize
    }

    /// Up to `most` of `pieces`, one after the other; now and then with a byte that is no text.
    pub fn bytes(&mut self, pieces: &[&str], most: usize) -> Vec<u8> {
        let mut value: Vec<u8> =
            (0..self.below(most + 1)).flat_map(|_| pieces[self.below(pieces.len())].bytes()).collect();
        if self.below(20) == 0 {
            value.push(0xff);
        }
        value
    }

    /// As [`Samples::bytes`], a text always.
    pub fn text(&mut self, pieces: &[&str], most: usize) -> String {
        (0..self.below(most + 1)).map(|_| pieces[self.below(pieces.len())]).collect()
    }
}
