//! What can become of a transcript between an agent that says it and orch that reads it: cut off,
//! lines lost, doubled or out of order, bits flipped.
//!
//! Seeded and the same in every run.

/// Numbers that look random and are the same in every run (splitmix64).
pub struct Chance(u64);

impl Chance {
    /// Begins at `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap();
        usize::try_from(self.next() % bound).unwrap()
    }
}

/// The lines of a transcript, each with its line break.
pub fn lines(stdout: &[u8]) -> Vec<&[u8]> {
    stdout.split_inclusive(|&byte| byte == b'\n').collect()
}

/// `stdout` with its lines lost, doubled and out of order: nothing in it was not said.
pub fn rearranged(stdout: &[u8], chance: &mut Chance) -> Vec<u8> {
    let lines = lines(stdout);
    if lines.is_empty() {
        return Vec::new();
    }
    let count = chance.below(lines.len() * 2 + 1);
    let picked = (0..count).map(|_| lines[chance.below(lines.len())]);
    picked.collect::<Vec<_>>().concat()
}

/// `stdout` with some bits flipped.
pub fn flipped(stdout: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = stdout.to_vec();
    for _ in 0..=chance.below(8) {
        let at = chance.below(bytes.len());
        bytes[at] ^= 1 << chance.below(8);
    }
    bytes
}
