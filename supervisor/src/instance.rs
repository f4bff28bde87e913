//! One jail from the request to the moment nothing is left of it.
//!
//! An [`Instance`] never waits: its owner polls [`Instance::fds`] and calls back. It promises that dropping out of any
//! phase ends the jail, and that [`Instance::finish`] returns only when its group and lease are gone.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use gaoler_jail::cgroup::{self, Group, Version};
use gaoler_jail::check::Facts;
use gaoler_jail::plan::Plan;
use gaoler_jail::spawn::{Running, Spawner};
use gaoler_jail::step::{Ended, Order, Report, StepFailure};
use gaoler_wire::channel::ChannelError;
use gaoler_wire::message::{ExitCause, Usage};
use gaoler_wire::policy::Limits;

use crate::host::Host;
use crate::lease::Lease;

/// How long a jail may take from its clone to its payload's first instruction.
pub const SETUP_TIME: Duration = Duration::from_secs(10);

/// How long a payload has between SIGTERM and SIGKILL.
pub const GRACE: Duration = Duration::from_secs(5);

const SIGTERM: i32 = 15;
const SIGKILL: u8 = 9;
const SIGSYS: u8 = 31;

/// Where a jail is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// being set up, until the deadline
    Starting(Instant),
    /// set up, checked and waiting for its order to go
    Held,
    /// its payload runs
    Running,
    /// told to stop; killed at the deadline
    Stopping(Instant),
}

/// What a jail reported.
#[derive(Debug)]
pub enum Happened {
    /// nothing that concerns the owner
    Nothing,
    /// it is set up and checked, and waits
    Ready,
    /// the payload's first instruction has run
    Started,
    /// a connection to the jail's own port
    Dialed(OwnedFd),
    /// no connection; the kernel's error number
    DialFailed(i32),
    /// its channel is at its end: it is not to be polled any more
    Silent,
}

/// One jail.
#[derive(Debug)]
pub struct Instance {
    running: Running,
    group: Group,
    lease: Lease,
    out_of_memory: Option<OwnedFd>,
    phase: Phase,
    held: bool,
    facts: Option<Facts>,
    failure: Option<StepFailure>,
    ended: Option<Ended>,
    memory_ran_out: bool,
    ran: bool,
    late: bool,
    killed: bool,
    silent: bool,
}

/// How a jail ended, for those who asked for it.
#[derive(Debug)]
pub struct End {
    /// in the words of the boundary
    pub cause: ExitCause,
    /// the payload's own end, if it ran
    pub payload: Option<Ended>,
    /// the step that failed, if one did
    pub failure: Option<StepFailure>,
}

impl Instance {
    /// Takes a lease, makes the group, and starts the set-up. `plan` is given the host id.
    ///
    /// # Errors
    /// The step that failed; nothing is left.
    pub fn start(
        spawner: &Spawner,
        host: &Host,
        limits: &Limits,
        streams: [BorrowedFd<'_>; 3],
        plan: impl FnOnce(u32) -> Plan,
    ) -> Result<Self, StepFailure> {
        let lease = Lease::take()?;
        let limits =
            cgroup::Limits { memory: limits.memory_bytes, cpu_milli: limits.cpu_milli, pids: limits.pids };
        let group = Group::named(host.cgroups, &lease.group());
        // A killed holder of the same number may have left its group.
        crate::recover::clear(&group);
        let plan = Plan { tasks: group.tasks(), ..plan(lease.host_id()) };
        let placed = host.cgroups == Version::V2;
        let make = |group: &Group| group.create(&limits);
        if placed {
            make(&group)?;
        }
        let spawned = spawner.spawn(&plan, Some(&group).filter(|_| placed), streams);
        let running = spawned.inspect_err(|_| crate::recover::clear(&group))?;
        // From here on the helper works beside this process.
        let made = if placed { Ok(()) } else { make(&group) };
        let watched = made.and_then(|()| group.out_of_memory());
        match watched.and_then(|event| spawner.admit(&running, &plan).map(|()| event)) {
            Ok(out_of_memory) => Ok(Self {
                running,
                group,
                lease,
                out_of_memory,
                phase: Phase::Starting(Instant::now() + SETUP_TIME),
                held: plan.held,
                facts: None,
                failure: None,
                ended: None,
                memory_ran_out: false,
                ran: false,
                late: false,
                killed: false,
                silent: false,
            }),
            Err(failure) => {
                running.end_and_wait();
                crate::recover::clear(&group);
                Err(failure)
            }
        }
    }

    /// What to poll for input: the channel, the end, and on cgroup version 1 the memory event.
    #[must_use]
    pub fn fds(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>, Option<BorrowedFd<'_>>) {
        use std::os::fd::AsFd;
        (self.running.control(), self.running.pidfd(), self.out_of_memory.as_ref().map(AsFd::as_fd))
    }

    /// Whether its channel is at its end: there is no more to hear, and polling it would return at once until the kernel has
    /// taken the jail down.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// Where it is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What the check from inside saw, once it was made.
    #[must_use]
    pub fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    /// The host id of its payload.
    #[must_use]
    pub fn host_id(&self) -> u32 {
        self.lease.host_id()
    }

    /// Makes the payload the owner of its own pipes, so that it can open `/dev/stdout` and its like.
    pub fn give(&self, pipes: &[BorrowedFd<'_>]) {
        let (uid, gid) =
            (rustix::fs::Uid::from_raw(self.host_id()), rustix::fs::Gid::from_raw(self.host_id()));
        for pipe in pipes {
            // A payload that cannot open a stream again can still use it.
            let _ = rustix::fs::fchown(pipe, Some(uid), Some(gid));
        }
    }

    /// Takes one report. Call when its channel is readable.
    pub fn on_report(&mut self) -> Happened {
        match self.running.report() {
            Ok((Report::Checked(facts), _)) => {
                self.facts = Some(facts);
                if self.held && matches!(self.phase, Phase::Starting(_)) {
                    self.phase = Phase::Held;
                    return Happened::Ready;
                }
                Happened::Nothing
            }
            Ok((Report::Running, _)) if self.facts.is_some() && self.failure.is_none() => {
                if matches!(self.phase, Phase::Starting(_) | Phase::Held) {
                    self.phase = Phase::Running;
                    self.ran = true;
                    return Happened::Started;
                }
                Happened::Nothing
            }
            Ok((Report::Running, _)) => Happened::Nothing,
            Ok((Report::Failed(failure), _)) => {
                self.failure.get_or_insert(failure);
                Happened::Nothing
            }
            Ok((Report::Ended(ended), _)) => {
                self.ended = Some(ended);
                Happened::Nothing
            }
            Ok((Report::Dialed, Some(socket))) => Happened::Dialed(socket),
            Ok((Report::Dialed, None)) => Happened::DialFailed(0),
            Ok((Report::DialFailed(errno), _)) => Happened::DialFailed(errno),
            Err(ChannelError::WouldBlock) => Happened::Nothing,
            Err(_) => {
                // Closed, or process 1 speaks nonsense: either way this jail is over.
                self.silent = true;
                self.end();
                Happened::Silent
            }
        }
    }

    /// Kills a group whose memory ran out: version 1 of cgroups kills only one process of it.
    pub fn on_memory(&mut self) {
        self.memory_ran_out = true;
        if let Some(event) = &self.out_of_memory {
            // Only to make it unreadable; it holds a number of events and never blocks.
            let _ = rustix::io::read(event, &mut [0u8; 8]);
        }
        self.end();
    }

    /// Lets a held payload run.
    pub fn go(&mut self) {
        self.phase = Phase::Starting(Instant::now() + SETUP_TIME);
        self.held = false;
        self.order(&Order::Go);
    }

    /// Asks the payload to stop; it is killed at the end of the grace period.
    pub fn stop(&mut self) {
        match self.phase {
            Phase::Stopping(_) => {}
            Phase::Running => {
                self.phase = Phase::Stopping(Instant::now() + GRACE);
                self.signal(SIGTERM);
            }
            Phase::Starting(_) | Phase::Held => {
                self.kill();
            }
        }
    }

    /// Sends a signal to the payload.
    pub fn signal(&mut self, number: i32) {
        self.order(&Order::Signal(number));
    }

    /// Asks for a connection to a port on the jail's loopback.
    pub fn dial(&mut self, port: u16) {
        self.order(&Order::Dial(port));
    }

    /// When something must happen without any report, if ever.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Starting(at) | Phase::Stopping(at) if !self.killed => Some(at),
            _ => None,
        }
    }

    /// Kills a jail whose deadline has passed.
    pub fn on_deadline(&mut self, now: Instant) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.late = matches!(self.phase, Phase::Starting(_));
            self.end();
        }
    }

    /// Kills it now.
    pub fn kill(&mut self) {
        self.phase = Phase::Stopping(Instant::now());
        self.end();
    }

    /// What it uses now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let now = self.group.readings();
        Usage {
            memory_bytes: now.memory,
            memory_peak_bytes: now.memory_peak,
            cpu_us: now.cpu_us,
            pids: u32::try_from(now.pids).unwrap_or(u32::MAX),
            oom_kills: now.oom_kills,
        }
    }

    /// Buries a jail whose pidfd is readable: last reports, the end, the group, the lease.
    #[must_use]
    pub fn finish(mut self) -> End {
        // What process 1 said before it ended still waits in the channel.
        while let Ok(true) = readable(self.running.control()) {
            match self.running.report() {
                Ok((Report::Ended(ended), _)) => self.ended = Some(ended),
                Ok((Report::Failed(failure), _)) => {
                    self.failure.get_or_insert(failure);
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        let _ = self.running.reap();
        let memory = self.memory_ran_out || self.group.oom_kills() > 0;
        let stopping = matches!(self.phase, Phase::Stopping(_));
        let known = Known { stopping, ran: self.ran, memory, late: self.late };
        let cause = cause(known, self.ended, self.failure.as_ref());
        crate::recover::clear(&self.group);
        End { cause, payload: self.ended, failure: self.failure }
    }

    fn order(&mut self, order: &Order) {
        if self.running.order(order).is_err() {
            self.end();
        }
    }

    fn end(&mut self) {
        self.killed = true;
        self.running.end();
    }
}

/// A bound in the words of `poll` and `epoll_wait`.
pub(crate) fn timespec(time: Duration) -> rustix::event::Timespec {
    rustix::event::Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

fn readable(fd: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let mut fds = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(fds[0].revents().contains(rustix::event::PollFlags::IN))
}

/// What the outside knows about an end.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// it was told to stop
    stopping: bool,
    /// its payload had begun
    ran: bool,
    /// memory ran out
    memory: bool,
    /// its set-up took too long
    late: bool,
}

/// Why a jail ended, of all that is known about it.
fn cause(known: Known, ended: Option<Ended>, failure: Option<&StepFailure>) -> ExitCause {
    let Known { stopping, ran, memory, late } = known;
    if let Some(failure) = failure {
        return ExitCause::Broken(failure.to_string());
    }
    match ended {
        Some(Ended::Signalled(SIGKILL)) | None if memory => ExitCause::OutOfMemory,
        Some(Ended::Signalled(SIGSYS)) => ExitCause::Seccomp,
        Some(_) if stopping => ExitCause::Stopped,
        None if stopping && ran => ExitCause::KilledAfterGrace,
        None if stopping => ExitCause::Stopped,
        Some(Ended::Exited(code)) => ExitCause::Exited(code),
        Some(Ended::Signalled(signal)) => ExitCause::Signalled(signal),
        None if late => ExitCause::Broken(format!("set-up did not end within {} s", SETUP_TIME.as_secs())),
        None => ExitCause::Broken("process 1 of the jail was killed".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_true_cause_is_told() {
        let running = Known { ran: true, ..Known::default() };
        let stopping = Known { stopping: true, ..running };
        let starved = Known { memory: true, ..running };
        let never_ran = Known { stopping: true, ..Known::default() };
        let slow = Known { late: true, ..Known::default() };
        let table = [
            (running, Some(Ended::Exited(3)), ExitCause::Exited(3)),
            (running, Some(Ended::Signalled(11)), ExitCause::Signalled(11)),
            (running, Some(Ended::Signalled(9)), ExitCause::Signalled(9)),
            (starved, Some(Ended::Signalled(9)), ExitCause::OutOfMemory),
            (starved, None, ExitCause::OutOfMemory),
            (running, Some(Ended::Signalled(31)), ExitCause::Seccomp),
            // A server that survived the kernel's choice of victim and then left by itself.
            (starved, Some(Ended::Exited(1)), ExitCause::Exited(1)),
            (stopping, Some(Ended::Exited(0)), ExitCause::Stopped),
            (stopping, Some(Ended::Signalled(15)), ExitCause::Stopped),
            (stopping, None, ExitCause::KilledAfterGrace),
            (never_ran, None, ExitCause::Stopped),
            (slow, None, ExitCause::Broken("set-up did not end within 10 s".into())),
        ];
        for (known, ended, want) in table {
            assert_eq!(cause(known, ended, None), want, "{known:?} {ended:?}");
        }
    }
}
