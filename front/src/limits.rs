//! Bounds that several places share: the memory that waits for slow peers, and how often something may be logged.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

/// What may wait for all peers together, as a multiple of what may wait for one.
const TOTAL_FACTOR: usize = 12;

/// Below this many bytes a peer is not ended because others are slow.
const FAIR_SHARE: usize = 256 * 1024;

/// Bytes that wait: for a client or server that does not read, or for the rest of a line or body. Each place has a bound,
/// and so have all together.
#[derive(Debug)]
pub(crate) struct Budget {
    used: Cell<usize>,
    one: usize,
}

impl Budget {
    /// `one` is the bound of a single reader, in bytes.
    pub(crate) fn new(one: usize) -> Self {
        Self { used: Cell::new(0), one }
    }

    /// Takes `bytes` for a reader that holds `held` already; false when that is too much.
    pub(crate) fn take(&self, held: usize, bytes: usize) -> bool {
        let mine = held.saturating_add(bytes);
        let all = self.used.get().saturating_add(bytes);
        if mine > self.one || (all > self.one.saturating_mul(TOTAL_FACTOR) && mine > FAIR_SHARE) {
            return false;
        }
        self.used.set(all);
        true
    }

    /// Gives bytes back.
    pub(crate) fn give(&self, bytes: usize) {
        self.used.set(self.used.get().saturating_sub(bytes));
    }

    /// Bytes that wait now.
    pub(crate) fn used(&self) -> usize {
        self.used.get()
    }
}

/// Bytes of one place that count against a budget until it is gone.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Rc<Budget>,
    bytes: usize,
}

impl Held {
    /// None yet.
    pub(crate) fn new(budget: &Rc<Budget>) -> Self {
        Self { budget: budget.clone(), bytes: 0 }
    }

    /// Counts this many from now on; false, and nothing changes, when that is too much.
    pub(crate) fn set(&mut self, bytes: usize) -> bool {
        if bytes <= self.bytes {
            self.budget.give(self.bytes - bytes);
        } else if !self.budget.take(self.bytes, bytes - self.bytes) {
            return false;
        }
        self.bytes = bytes;
        true
    }

    /// How many are counted.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
    }
}

/// A token bucket for log lines: a burst, then a steady rate.
#[derive(Debug)]
pub(crate) struct Bucket {
    tokens: u32,
    burst: u32,
    per_second: u32,
    filled: Instant,
    refused: u64,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(burst: u32, per_second: u32, now: Instant) -> Self {
        Self { tokens: burst, burst, per_second, filled: now, refused: 0 }
    }

    /// Whether one more may pass; `Some(n)` says how many were refused since the last that passed.
    pub(crate) fn pass(&mut self, now: Instant) -> Option<u64> {
        let whole = now.saturating_duration_since(self.filled).as_secs();
        if whole > 0 {
            let add = u32::try_from(whole).unwrap_or(u32::MAX).saturating_mul(self.per_second);
            self.tokens = self.tokens.saturating_add(add).min(self.burst);
            self.filled += Duration::from_secs(whole);
        }
        if self.tokens == 0 {
            self.refused += 1;
            return None;
        }
        self.tokens -= 1;
        Some(std::mem::take(&mut self.refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reader_and_all_readers_are_bounded() {
        let budget = Budget::new(1 << 20);
        assert!(!budget.take(0, (1 << 20) + 1));
        for _ in 0..TOTAL_FACTOR {
            assert!(budget.take(0, 1 << 20));
        }
        assert!(!budget.take(0, 1 << 20), "a big reader is refused when all together hold too much");
        assert!(budget.take(0, 1000), "a small one is not");
        budget.give(1 << 20);
        assert!(budget.take(0, 1 << 19));
    }

    #[test]
    fn what_is_held_is_given_back() {
        let budget = Rc::new(Budget::new(100));
        let mut held = Held::new(&budget);
        assert!(held.set(80) && !held.set(101));
        assert_eq!((held.bytes(), budget.used()), (80, 80));
        assert!(held.set(30));
        assert_eq!(budget.used(), 30);
        drop(held);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_bucket_tells_what_it_refused() {
        let start = Instant::now();
        let mut bucket = Bucket::new(2, 1, start);
        assert_eq!((bucket.pass(start), bucket.pass(start)), (Some(0), Some(0)));
        assert_eq!((bucket.pass(start), bucket.pass(start)), (None, None));
        assert_eq!(bucket.pass(start + Duration::from_secs(1)), Some(2));
    }
}
