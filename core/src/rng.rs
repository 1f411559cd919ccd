//! Random numbers: one ChaCha stream per (seed, part, purpose), so that a draw for one purpose never shifts another.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng};

/// Who draws, and for what. The number is part of the stream's key: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Redial back-off and connection nonces.
    Link = 1,
    /// Election timeouts and fresh replica ids.
    Raft = 2,
    /// Ids and secrets of the mesh.
    Mesh = 3,
    /// Flooding back-off.
    Route = 4,
    /// Message ids and attach tokens.
    Stream = 5,
    /// Heartbeats of pairs.
    Pair = 6,
    /// Histories of logs.
    History = 7,
}

/// A deterministic random stream.
#[derive(Clone, Debug)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// The stream of `seed` for `purpose`.
    #[must_use]
    pub fn stream(seed: [u8; 32], purpose: Purpose) -> Self {
        let mut rng = ChaCha8Rng::from_seed(seed);
        rng.set_stream(purpose as u64);
        Self(rng)
    }

    /// The stream of the same seed for another purpose.
    #[must_use]
    pub fn beside(&self, purpose: Purpose) -> Self {
        Self::stream(self.0.get_seed(), purpose)
    }

    /// 64 random bits.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// 128 random bits.
    pub fn u128(&mut self) -> u128 {
        u128::from(self.u64()) << 64 | u128::from(self.u64())
    }

    /// A number below `bound` (0 if `bound` is 0), by multiplication: the bias is below 2^-32 for bounds under 2^32.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// 32 random bytes.
    pub fn bytes32(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}
