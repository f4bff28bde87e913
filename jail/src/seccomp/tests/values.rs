//! Arguments worth trying: on both sides of every condition that a call has, and random ones.

use super::super::compile::condition::{Condition, Width};
use super::super::compile::profile::Profile;

/// A reproducible source of numbers (xorshift).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Arguments for `number` under `profile`.
pub(super) fn arguments(profile: &Profile, number: u32, random: &mut Random) -> Vec<[u64; 6]> {
    let mut tried = vec![[0; 6], [u64::MAX; 6], std::array::from_fn(|_| random.next())];
    for rule in profile.rules.iter().filter(|rule| rule.calls.contains(&number)) {
        for case in &rule.cases {
            let fits = fitting(case);
            tried.push(fits);
            tried.push(around(case, || random.next()));
            for condition in case {
                tried.extend(beside(condition, fits));
            }
        }
    }
    tried
}

/// Arguments for which all of `case` holds, other bits zero.
pub(super) fn fitting(case: &[Condition]) -> [u64; 6] {
    let mut args = [0; 6];
    for condition in case {
        args[usize::from(condition.arg)] |= condition.value;
    }
    args
}

/// The same with `noise` in all bits that the conditions do not look at.
pub(super) fn around(case: &[Condition], mut noise: impl FnMut() -> u64) -> [u64; 6] {
    let mut args = fitting(case);
    for (index, arg) in args.iter_mut().enumerate() {
        let seen = case.iter().filter(|c| usize::from(c.arg) == index).fold(0, |mask, c| mask | c.mask);
        *arg |= noise() & !seen;
    }
    args
}

/// One off, one bit off in each half, and the upper half full.
fn beside(condition: &Condition, args: [u64; 6]) -> Vec<[u64; 6]> {
    let at = usize::from(condition.arg);
    let lowest = 1 << condition.mask.trailing_zeros().min(63);
    let highest = 1 << (63 - condition.mask.leading_zeros().min(63));
    let upper = if condition.width == Width::U32 { 0xffff_ffff_0000_0000 } else { 1 << 40 };
    let changes = [
        args[at].wrapping_add(1),
        args[at].wrapping_sub(1),
        args[at] ^ lowest,
        args[at] ^ highest,
        args[at] | upper,
    ];
    changes
        .map(|value| {
            let mut args = args;
            args[at] = value;
            args
        })
        .to_vec()
}
