//! Process 1 of the jail: reaps, forwards signals, dials the jail's own loopback, and ends when the payload ends.
//!
//! It runs with the payload's ids and without privilege, cannot be traced, and its end is the end of everything
//! in the jail: the kernel kills the rest of the pid namespace with it.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};

use gaoler_jail::landlock::{self, Ports};
use gaoler_jail::plan::{Network, Plan};
use gaoler_jail::seccomp::{self, Profile};
use gaoler_jail::step::{At, Ended, Order, Report, Step, StepFailure};
use gaoler_jail::{privilege, sys};
use gaoler_wire::channel::{self, ChannelError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrV4, SocketFlags, SocketType};
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus};

use crate::payload::Child;

/// How long a connection to the payload's own port may take; on loopback it is made at once or the backlog is full.
const DIAL_TIME: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Gives everything up and watches until the payload has ended. The result is this process's exit status.
pub(crate) fn run(plan: &Plan, control: &OwnedFd, events: &OwnedFd, child: Child) -> Result<u8, StepFailure> {
    release_streams().at(Step::Init, "standard streams")?;
    privilege::drop_all()?;
    let port = match plan.network {
        Network::Loopback { listen } => listen,
        Network::Host => None,
    };
    // Not version 6: its signal scope would keep this process from signalling the payload, which is in a domain of its own.
    landlock::restrict(plan.landlock_abi.min(5), &[], Ports { bind: None, connect: port })?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Step::Init, "dumpable")?;
    privilege::die_with_parent()?;
    seccomp::install(Profile::Init.program()).at(Step::Seccomp, "filter of process 1")?;
    watch(control, events, child)
}

/// Process 1 must not hold the payload's pipes: their end is how others see that the payload is gone.
fn release_streams() -> rustix::io::Result<()> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    sys::place_fd(read.as_fd(), 0)?;
    sys::place_fd(write.as_fd(), 1)?;
    sys::place_fd(write.as_fd(), 2)
}

fn watch(control: &OwnedFd, events: &OwnedFd, child: Child) -> Result<u8, StepFailure> {
    let Child { pid, started, go } = child;
    let mut started = Some(started);
    loop {
        let mut fds = vec![PollFd::new(control, PollFlags::IN), PollFd::new(events, PollFlags::IN)];
        fds.extend(started.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(StepFailure::new(Step::Init, "poll", e)),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready.get(2) == Some(&true) {
            started = None;
            tell(control, &Report::Running, None);
        }
        if ready[1] {
            while sys::next_signal(events.as_fd()).is_some() {}
            if let Some(ended) = reap(pid) {
                tell(control, &Report::Ended(ended), None);
                return Ok(0);
            }
        }
        if ready[0] && !obey(control, pid, &go) {
            // The parent is gone or confused; nothing may outlive it.
            return Ok(0);
        }
    }
}

/// Collects every child that has ended, adopted orphans too, until it finds the payload: the rest ends with this process.
fn reap(payload: Pid) -> Option<Ended> {
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == payload {
            return Some(end_of(status));
        }
    }
    None
}

fn end_of(status: WaitStatus) -> Ended {
    let byte = |n: i32| u8::try_from(n).unwrap_or(u8::MAX);
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ended::Exited(byte(code)),
        (None, Some(signal)) => Ended::Signalled(byte(signal)),
        (None, None) => Ended::Exited(u8::MAX),
    }
}

/// Carries out one order; false when there will be no more.
fn obey(control: &OwnedFd, payload: Pid, go: &OwnedFd) -> bool {
    match channel::receive::<Order>(control.as_fd()) {
        Ok((Order::Signal(number), _)) => {
            if let Some(signal) = Signal::from_named_raw(number) {
                // Already gone is as good as delivered.
                let _ = rustix::process::kill_process(payload, signal);
            }
            true
        }
        Ok((Order::Dial(port), _)) => {
            match dial(port) {
                Ok(socket) => tell(control, &Report::Dialed, Some(&socket)),
                Err(e) => tell(control, &Report::DialFailed(e.raw_os_error()), None),
            }
            true
        }
        Ok((Order::Go, _)) => rustix::io::write(go, b"g").is_ok(),
        Err(ChannelError::WouldBlock) => true,
        // An order of the set-up comes too late.
        Ok((Order::Enter, _)) | Err(_) => false,
    }
}

/// Connects to the payload's port. A payload that does not accept must not keep this process from its other work.
fn dial(port: u16) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) {
        Err(Errno::INPROGRESS) => {}
        other => return other.map(|()| socket),
    }
    let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
    if poll(&mut fds, Some(&DIAL_TIME))? == 0 {
        return Err(Errno::TIMEDOUT);
    }
    rustix::net::sockopt::socket_error(&socket)?.map(|()| socket)
}

/// Reports to the parent. When it is gone, the next look at the channel ends this process.
fn tell(control: &OwnedFd, report: &Report, socket: Option<&OwnedFd>) {
    let fds: Vec<_> = socket.iter().map(|fd| fd.as_fd()).collect();
    let _ = channel::send(control.as_fd(), report, &fds);
}
