//! Pseudorandom numbers, which are the same in each run.

/// A generator with a fixed seed.
pub(crate) struct Rng(fastrand::Rng);

impl Rng {
    /// Creates the generator.
    pub(crate) fn new() -> Self {
        Self(fastrand::Rng::with_seed(1))
    }

    /// Returns a byte.
    pub(crate) fn byte(&mut self) -> u8 {
        self.0.u8(..)
    }

    /// Returns a number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end)
    }

    /// Returns that many bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.fill(&mut bytes);
        bytes
    }

    /// Returns one of the elements.
    pub(crate) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}
