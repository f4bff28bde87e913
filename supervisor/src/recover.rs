//! What a killed predecessor left: its leases are unlocked, its processes are dead or dying, its groups are not removed.

use std::time::{Duration, Instant};

use gaoler_jail::cgroup::Group;
use gaoler_jail::step::StepFailure;
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal};

use crate::host::Host;
use crate::lease;

/// How long a group's last processes may take to die; they are killed and only the kernel is slow.
const PATIENCE: Duration = Duration::from_secs(5);

/// Cleans up after every process of ours that is gone, and says how many jails it had.
///
/// # Errors
/// When the leases cannot be read.
pub fn recover(host: &Host) -> Result<usize, StepFailure> {
    let stale = lease::stale()?;
    for lease in &stale {
        clear(&Group::named(host.cgroups, &lease.group()));
    }
    Ok(stale.len())
}

/// Kills what is in a group and removes it. Waits for each process's end, not for time.
pub fn clear(group: &Group) {
    let limit = Instant::now() + PATIENCE;
    loop {
        let busy = match group.remove() {
            Ok(()) => return,
            Err(failure) => failure,
        };
        let dying = busy.errno == Errno::BUSY.raw_os_error();
        if !dying || Instant::now() >= limit {
            crate::log::line(&format!("a group could not be removed: {busy}"));
            return;
        }
        let processes = group.processes();
        if processes.is_empty() {
            // The last one has left and is not taken down yet; the kernel tells nobody when it is.
            let _ = rustix::event::poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 1_000_000 }));
        }
        for pid in processes {
            let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { continue };
            if !group.processes().contains(&pid) {
                // It ended in between, and its number may be somebody else's.
                continue;
            }
            // Gone already is what we want.
            let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
            let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
            let _ = rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }));
        }
    }
}
