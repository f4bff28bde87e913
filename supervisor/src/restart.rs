//! Back-off: how soon a server that keeps failing may be started again. Pure; the clock is passed in.
//!
//! The first failure costs nothing, because most are single; each further one doubles the pause up to [`LONGEST`]. A server
//! that lived for [`GOOD`] starts afresh.

use std::time::{Duration, Instant};

/// The first pause.
const FIRST: Duration = Duration::from_millis(250);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// A life this long counts as success.
const GOOD: Duration = Duration::from_secs(10);

/// The record of one server.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
    not_before: Option<Instant>,
}

impl Backoff {
    /// How long a start must still wait; zero when it may go ahead.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        self.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// Records the end of a life that was not asked for.
    pub fn failed(&mut self, lived: Duration, now: Instant) {
        if lived >= GOOD {
            *self = Self::default();
        }
        self.failures = self.failures.saturating_add(1);
        let doublings = self.failures.saturating_sub(2).min(16);
        let pause = if self.failures < 2 {
            Duration::ZERO
        } else {
            FIRST.saturating_mul(1 << doublings).min(LONGEST)
        };
        self.not_before = Some(now + pause);
    }

    /// Records a life that ended as asked.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_costs_nothing_and_the_next_ones_double() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            backoff.failed(Duration::ZERO, now);
            pauses.push(backoff.wait(now).as_millis());
        }
        assert_eq!(pauses, [0, 250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn a_good_life_forgives() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        (0..5).for_each(|_| backoff.failed(Duration::ZERO, now));
        backoff.failed(GOOD, now);
        assert_eq!(backoff.wait(now), Duration::ZERO);
    }
}
