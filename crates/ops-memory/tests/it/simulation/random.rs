//! SplitMix64.

/// A source of numbers that a seed determines.
pub(super) struct Random(u64);

impl Random {
    /// The first number of a seed is the state: with the seed itself as the state, seeds that follow one another would give
    /// the same numbers, one later.
    pub(super) fn new(seed: u64) -> Self {
        Self(Self(seed).next())
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one, which is not 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Whether it happens, once in so many times.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// An index of a list; `None` of an empty one.
    pub(super) fn index(&mut self, len: usize) -> Option<usize> {
        let len = u64::try_from(len).ok()?;
        (len > 0).then(|| usize::try_from(self.below(len)).unwrap_or(0))
    }
}
