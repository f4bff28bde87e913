//! `gaoler jail`: one command in exactly the jail that a hosted server gets, with this terminal's streams and exit status.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use gaoler_jail::step::{Ended, Step, StepFailure};
use gaoler_jail::sys;
use gaoler_wire::message::ExitCause;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::cli::Hosting;
use crate::data;
use crate::host::{self, Host};
use crate::instance::{End, Instance, Phase, timespec};
use crate::pump::{Stream, Way};
use crate::{log, plan, recover};

/// The jail could not be made.
const SETUP_FAILED: u8 = 125;
/// The time of `--timeout` ended, as timeout(1) has it.
const TIMED_OUT: u8 = 124;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Signals that are passed on; a second one while the payload is stopping ends it at once.
const FORWARDED: [i32; 4] = [1, 2, 3, SIGTERM];

const SIGTERM: i32 = 15;

/// How long a caller that wanted an end may take to read what the command said before it.
const LAST_WORDS: Duration = Duration::from_millis(500);

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
        Instance::start(&spawner, &host, &hosting.limits, ends, make).map_err(|e| e.to_string())?
    };
    for stream in &mut streams {
        instance.give(&stream.own_end());
        stream.handed_over();
    }
    let deadline = hosting.timeout.map(|time| Instant::now() + time);
    // While the helper works: what killed predecessors left is not this jail's business, but nobody else may come by.
    if let Err(failure) = recover::recover(&host) {
        log::line(&format!("could not look for what killed processes left: {failure}"));
    }
    let mut watcher = Watcher { signals: signals.as_fd(), deadline, timed_out: false, last_signal: None };
    let end = watcher.watch(instance, &mut streams);
    watcher.drain(&mut streams);
    status(end, &watcher)
}

/// What there is to watch besides the jail and its streams, and what was seen.
struct Watcher<'a> {
    signals: BorrowedFd<'a>,
    deadline: Option<Instant>,
    timed_out: bool,
    last_signal: Option<i32>,
}

impl Watcher<'_> {
    /// Polls until the jail has ended.
    fn watch(&mut self, mut instance: Instance, streams: &mut [Stream<'_>; 3]) -> End {
        loop {
            let ready = wait(&instance, streams, self.signals, self.deadline.filter(|_| !self.timed_out));
            let now = Instant::now();
            if ready.ended {
                return instance.finish();
            }
            if ready.report {
                let _ = instance.on_report();
            }
            if ready.memory {
                instance.on_memory();
            }
            if ready.signal {
                self.on_signal(&mut instance);
            }
            for (stream, ready) in streams.iter_mut().zip(ready.streams) {
                if ready {
                    stream.copy();
                }
            }
            if !self.timed_out && self.deadline.is_some_and(|at| at <= now) {
                self.timed_out = true;
                instance.stop();
            }
            instance.on_deadline(now);
        }
    }

    fn on_signal(&mut self, instance: &mut Instance) {
        while let Some(number) = sys::next_signal(self.signals) {
            self.last_signal = Some(number);
            match (instance.phase(), number) {
                (Phase::Running, SIGTERM) => instance.stop(),
                (Phase::Running, other) => instance.signal(other),
                _ => instance.kill(),
            }
        }
    }

    /// Copies what the ended jail has left in its pipes, until whoever reads it is done, or the time or a signal says no more.
    fn drain(&self, streams: &mut [Stream<'_>; 3]) {
        let told_to_end = self.timed_out || self.last_signal.is_some();
        let until = if told_to_end { Some(Instant::now() + LAST_WORDS) } else { self.deadline };
        for stream in streams {
            stream.jail_has_ended();
            while let Some((fd, flags)) = stream.interest() {
                let mut fds = [
                    PollFd::from_borrowed_fd(fd, flags),
                    PollFd::from_borrowed_fd(self.signals, PollFlags::IN),
                ];
                let rest = until.map(|at| timespec(at.saturating_duration_since(Instant::now())));
                match poll(&mut fds, rest.as_ref()) {
                    Ok(0) | Err(_) => return,
                    Ok(_) if !fds[1].revents().is_empty() => return,
                    Ok(_) => stream.copy(),
                }
            }
        }
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
    let mut fds =
        vec![PollFd::from_borrowed_fd(end, PollFlags::IN), PollFd::from_borrowed_fd(signals, PollFlags::IN)];
    let interests: Vec<_> = streams.iter().map(Stream::interest).collect();
    let mut slots = [None; 3];
    for (slot, interest) in slots.iter_mut().zip(&interests) {
        if let Some((fd, flags)) = interest {
            *slot = Some(fds.len());
            fds.push(PollFd::from_borrowed_fd(*fd, *flags));
        }
    }
    let mut also = |fd| {
        fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        fds.len() - 1
    };
    let memory_slot = memory.map(&mut also);
    // A channel at its end would be ready all the time.
    let report_slot = Some(control).filter(|_| !instance.is_silent()).map(&mut also);
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
        report: is_ready(report_slot),
        ended: is_ready(Some(0)),
        memory: is_ready(memory_slot),
        signal: is_ready(Some(1)),
        streams: slots.map(is_ready),
    }
}

/// This process's exit status, as shells and other container tools have it.
fn status(end: End, seen: &Watcher<'_>) -> Result<u8, String> {
    if let Some(failure) = end.failure {
        return match failure {
            StepFailure { step: Step::Exec, .. } => {
                log::line(&failure.to_string());
                Ok(exec_status(&failure))
            }
            other => Err(other.to_string()),
        };
    }
    if seen.timed_out {
        return Ok(TIMED_OUT);
    }
    // An exit status cannot tell these from a signal that anybody sent.
    if let ExitCause::OutOfMemory | ExitCause::KilledAfterGrace | ExitCause::Seccomp = end.cause {
        log::line(&format!("the command {}", end.cause));
    }
    match end.payload {
        Some(Ended::Exited(code)) => Ok(code),
        Some(Ended::Signalled(signal)) => Ok(signal.saturating_add(128)),
        // Process 1 was killed, with signal 9.
        None if matches!(end.cause, ExitCause::OutOfMemory | ExitCause::KilledAfterGrace) => Ok(137),
        // A signal ended the set-up.
        None if end.cause == ExitCause::Stopped => {
            Ok(128 + seen.last_signal.and_then(|number| u8::try_from(number).ok()).unwrap_or(0))
        }
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
