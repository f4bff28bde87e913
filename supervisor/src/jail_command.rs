//! `gaoler jail`: one command in exactly the jail that a hosted server gets, with this terminal's streams and exit status.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use gaoler_jail::cgroup;
use gaoler_jail::step::{Ended, Step, StepFailure};
use gaoler_jail::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::cli::Hosting;
use crate::data;
use crate::host::{self, Host};
use crate::instance::{End, Instance, Phase};
use crate::plan;
use crate::pump::{Stream, Way};

/// The jail could not be made.
const SETUP_FAILED: u8 = 125;
/// The time of `--timeout` ended, as timeout(1) has it.
const TIMED_OUT: u8 = 124;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Signals that are passed on; a second one while the payload is stopping ends it at once.
const FORWARDED: [i32; 4] = [1, 2, 3, 15];

/// Runs the command and returns this process's exit status.
///
/// # Errors
/// One sentence when the jail could not be made; the exit status is then 125.
pub fn run(hosting: &Hosting, secrets: &[(String, Vec<u8>)]) -> Result<u8, String> {
    let host = Host::look().map_err(|e| e.to_string())?;
    let spawner = host::spawner()?;
    let volume = hosting.data_bytes.map(|bytes| data::open(&hosting.name, bytes)).transpose()?;
    let signals = sys::signal_events(&FORWARDED).map_err(|e| format!("cannot watch signals: {e}"))?;
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let stream = |fd, way| Stream::new(fd, way).map_err(|e| format!("cannot make a pipe: {e}"));
    let mut streams = [
        stream(stdin.as_fd(), Way::In)?,
        stream(stdout.as_fd(), Way::Out)?,
        stream(stderr.as_fd(), Way::Out)?,
    ];
    let instance = {
        let mut ends = streams.iter().map(|s| s.jail().unwrap_or_else(|| stderr.as_fd()));
        let ends = [(); 3].map(|()| ends.next().unwrap_or_else(|| stderr.as_fd()));
        let volume = volume.as_ref().map(|volume| volume.path.as_str());
        let make = |id| plan::server(&plan::Given { hosting, secrets, volume }, &host, id);
        Instance::start(&spawner, &host, &hosting.limits, ends, None, make).map_err(|e| e.to_string())?
    };
    for stream in &mut streams {
        instance.give(&stream.own_end());
        stream.handed_over();
    }
    let deadline = hosting.timeout.map(|time| Instant::now() + time);
    let (end, timed_out) = watch(instance, &mut streams, signals.as_fd(), deadline);
    streams.iter_mut().for_each(Stream::drain);
    cgroup::remove_parent(host.cgroups);
    status(end, timed_out)
}

/// Polls until the jail has ended.
fn watch(
    mut instance: Instance,
    streams: &mut [Stream<'_>; 3],
    signals: BorrowedFd<'_>,
    deadline: Option<Instant>,
) -> (End, bool) {
    let mut timed_out = false;
    loop {
        let ready = wait(&instance, streams, signals, deadline.filter(|_| !timed_out));
        let now = Instant::now();
        if ready.ended {
            return (instance.finish(), timed_out);
        }
        if ready.report {
            let _ = instance.on_report();
        }
        if ready.memory {
            instance.on_memory();
        }
        if ready.signal {
            on_signal(&mut instance, signals);
        }
        for (stream, ready) in streams.iter_mut().zip(ready.streams) {
            if ready {
                stream.copy();
            }
        }
        if !timed_out && deadline.is_some_and(|at| at <= now) {
            timed_out = true;
            instance.stop();
        }
        instance.on_deadline(now);
    }
}

/// What one wait found.
struct Ready {
    report: bool,
    ended: bool,
    memory: bool,
    signal: bool,
    streams: [bool; 3],
}

fn wait(
    instance: &Instance,
    streams: &[Stream<'_>; 3],
    signals: BorrowedFd<'_>,
    deadline: Option<Instant>,
) -> Ready {
    let (control, end, memory) = instance.fds();
    let mut fds = vec![
        PollFd::from_borrowed_fd(control, PollFlags::IN),
        PollFd::from_borrowed_fd(end, PollFlags::IN),
        PollFd::from_borrowed_fd(signals, PollFlags::IN),
    ];
    let interests: Vec<_> = streams.iter().map(Stream::interest).collect();
    let mut slots = [None; 3];
    for (slot, interest) in slots.iter_mut().zip(&interests) {
        if let Some((fd, flags)) = interest {
            *slot = Some(fds.len());
            fds.push(PollFd::from_borrowed_fd(*fd, *flags));
        }
    }
    let memory_slot = memory.map(|fd| {
        fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        fds.len() - 1
    });
    let until = [instance.deadline(), deadline].into_iter().flatten().min();
    let rest = until.map(|at| timespec(at.saturating_duration_since(Instant::now())));
    match poll(&mut fds, rest.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        // Nothing can be watched any more; the jail must not go on unwatched.
        Err(_) => {
            return Ready { report: false, ended: true, memory: false, signal: false, streams: [false; 3] };
        }
    }
    let is_ready = |slot: Option<usize>| slot.is_some_and(|slot| !fds[slot].revents().is_empty());
    Ready {
        report: is_ready(Some(0)),
        ended: is_ready(Some(1)),
        memory: is_ready(memory_slot),
        signal: is_ready(Some(2)),
        streams: slots.map(is_ready),
    }
}

fn timespec(time: std::time::Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

fn on_signal(instance: &mut Instance, signals: BorrowedFd<'_>) {
    while let Some(number) = sys::next_signal(signals) {
        match (instance.phase(), number) {
            (Phase::Running, 15) => instance.stop(),
            (Phase::Running, other) => instance.signal(other),
            _ => instance.kill(),
        }
    }
}

/// This process's exit status, as shells and other container tools have it.
fn status(end: End, timed_out: bool) -> Result<u8, String> {
    if let Some(failure) = end.failure {
        return match failure {
            StepFailure { step: Step::Exec, .. } => {
                crate::log::line(&failure.to_string());
                Ok(exec_status(&failure))
            }
            other => Err(other.to_string()),
        };
    }
    if timed_out {
        return Ok(TIMED_OUT);
    }
    match end.payload {
        Some(Ended::Exited(code)) => Ok(code),
        Some(Ended::Signalled(signal)) => Ok(signal.saturating_add(128)),
        // Process 1 was killed: by the memory limit or after the grace period, with signal 9 either way.
        None if end.cause == gaoler_wire::message::ExitCause::OutOfMemory => Ok(137),
        None if end.cause == gaoler_wire::message::ExitCause::KilledAfterGrace => Ok(137),
        None => Err(end.cause.to_string()),
    }
}

/// The status for a command that could not be executed, as shells have it.
#[must_use]
pub fn exec_status(failure: &StepFailure) -> u8 {
    if failure.errno == Errno::NOENT.raw_os_error() { NOT_FOUND } else { NOT_EXECUTABLE }
}

/// The status for a jail that could not be made.
#[must_use]
pub fn setup_failed() -> u8 {
    SETUP_FAILED
}
