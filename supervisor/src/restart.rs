//! Back-off: how soon what keeps failing may be started again. Pure; the clock is passed in.
//!
//! [`Backoff`] is for the front, which is started again by itself: the first failure costs nothing, because most are single;
//! each further one doubles the pause up to [`LONGEST`], and a life of [`GOOD`] starts afresh.
//!
//! [`Allowance`] is for hosted servers, which are started only when a client asks: [`BURST`] failures cost nothing, then one
//! start is allowed every [`EVERY`]. Its pauses do not grow, because a client that makes its own server die as often
//! as it can must not keep others from getting theirs.

use std::time::{Duration, Instant};

/// The first pause.
const FIRST: Duration = Duration::from_millis(250);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// A life this long counts as success.
const GOOD: Duration = Duration::from_secs(10);

/// Failures of one server that cost nothing.
const BURST: u32 = 16;

/// Between two starts of a server whose failures are more.
const EVERY: Duration = Duration::from_millis(250);

/// The record of one front.
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
}

/// The record of one hosted server: failures that were not worked off yet.
#[derive(Clone, Debug, Default)]
pub struct Allowance {
    failures: u32,
    since: Option<Instant>,
}

impl Allowance {
    /// How long a start must still wait; zero when it may go ahead.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        let over = self.failures.saturating_sub(self.worked_off(now)).saturating_sub(BURST - 1);
        match (over, self.since) {
            (1.., Some(since)) => {
                let passed = now.saturating_duration_since(since).as_micros() % EVERY.as_micros();
                let rest = EVERY.saturating_sub(Duration::from_micros(u64::try_from(passed).unwrap_or(0)));
                rest.saturating_add(EVERY.saturating_mul(over - 1))
            }
            _ => Duration::ZERO,
        }
    }

    /// Records the end of a life that was not asked for.
    pub fn failed(&mut self, now: Instant) {
        let worked_off = self.worked_off(now);
        self.failures = self.failures.saturating_sub(worked_off).saturating_add(1).min(BURST + 1);
        self.since = match (self.failures, self.since) {
            (2.., Some(since)) => Some(since + EVERY.saturating_mul(worked_off)),
            _ => Some(now),
        };
    }

    fn worked_off(&self, now: Instant) -> u32 {
        let passed = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        u32::try_from(passed.as_micros() / EVERY.as_micros()).unwrap_or(u32::MAX)
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

    #[test]
    fn many_failures_cost_nothing_and_then_a_steady_pause() {
        let now = Instant::now();
        let mut allowance = Allowance::default();
        for _ in 1..BURST {
            allowance.failed(now);
            assert_eq!(allowance.wait(now), Duration::ZERO);
        }
        for round in 0..100 {
            let now = now + EVERY * round;
            allowance.failed(now);
            assert_eq!(allowance.wait(now), EVERY, "round {round}");
            assert_eq!(allowance.wait(now + EVERY), Duration::ZERO, "round {round}");
        }
    }

    #[test]
    fn failures_at_one_moment_never_add_up_to_more_than_two_pauses() {
        let now = Instant::now();
        let mut allowance = Allowance::default();
        (0..1000).for_each(|_| allowance.failed(now));
        assert_eq!(allowance.wait(now), EVERY * 2);
        assert_eq!(allowance.wait(now + EVERY), EVERY);
    }

    #[test]
    fn time_forgives_a_servers_failures() {
        let now = Instant::now();
        let mut allowance = Allowance::default();
        (0..BURST).for_each(|_| allowance.failed(now));
        let later = now + EVERY * BURST * 2;
        (1..BURST).for_each(|_| allowance.failed(later));
        assert_eq!(allowance.wait(later), Duration::ZERO);
    }
}
