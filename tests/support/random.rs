//! Reproducible choices. It promises: the same seed gives the same choices, and `GAOLER_SEED` sets it.

use std::time::{SystemTime, UNIX_EPOCH};

/// A small generator (xorshift64*; Vigna, 2016), enough to pick moments and victims.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// From `GAOLER_SEED`, or from the clock; prints the seed, so that a failure can be repeated.
    #[must_use]
    pub fn seeded(test: &str) -> Self {
        let given = std::env::var("GAOLER_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(1, |age| u64::from(age.subsec_nanos()) + age.as_secs())
        });
        eprintln!("{test}: GAOLER_SEED={seed}");
        Self { state: seed.max(1) }
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw().checked_rem(end).unwrap_or(0)
    }
}
