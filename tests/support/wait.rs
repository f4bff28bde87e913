//! Bounded waits for a state. It promises: returns as soon as the state is seen, panics with its name at the limit.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The longest step between two looks.
const STEP_MAX: Duration = Duration::from_millis(20);

/// Looks until `ready` gives a value, and returns it.
///
/// # Panics
/// When nothing came within `limit`: says `what` was awaited.
pub fn until_some<T>(limit: Duration, what: &str, ready: impl FnMut() -> Option<T>) -> T {
    try_until(limit, ready).unwrap_or_else(|| panic!("not within {limit:?}: {what}"))
}

/// Looks until `ready` is true.
///
/// # Panics
/// When it was not within `limit`: says `what` was awaited.
pub fn until(limit: Duration, what: &str, mut ready: impl FnMut() -> bool) {
    until_some(limit, what, || ready().then_some(()));
}

/// Looks until `ready` gives a value or `limit` has passed; looks once more at the limit.
pub fn try_until<T>(limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    let mut step = Duration::from_millis(1);
    loop {
        if let Some(value) = ready() {
            return Some(value);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return ready();
        }
        pause(step.min(left));
        step = (step * 2).min(STEP_MAX);
    }
}

/// Lets time pass; only for what has no state to wait for, such as a random moment or a rate.
pub fn pause(time: Duration) {
    let _ = poll(&mut [], Some(&timespec(time)));
}

/// Whether the process ended within `limit`; a process that is not there has ended.
#[must_use]
pub fn ended(pid: i32, limit: Duration) -> bool {
    let Some(pid) = Pid::from_raw(pid) else { return true };
    let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { return true };
    readable(&fd, limit)
}

/// Whether a descriptor became readable (or ended) within `limit`.
#[must_use]
pub fn readable(fd: &impl AsFd, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(fd, PollFlags::IN)];
        match poll(&mut fds, Some(&timespec(left))) {
            Ok(n) => return n > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => panic!("poll: {e}"),
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}
