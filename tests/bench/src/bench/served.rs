//! A running contestant: started, waited for, watched, and ended with everything below it.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gaoler_bench::client::Client;
use gaoler_bench::mcp::Target;
use gaoler_bench::process::{self, Process};
use gaoler_bench::{Error, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::bridges::Bridge;
use crate::place::Place;

/// The longest start and the longest end that are borne.
const PATIENCE: Duration = Duration::from_secs(20);

/// A contestant that serves.
#[derive(Debug)]
pub(crate) struct Served {
    /// its name in the tables
    pub(crate) name: &'static str,
    /// where it serves
    pub(crate) target: Target,
    child: Child,
}

/// A loopback port that is free now.
pub(crate) fn free_port() -> Result<u16> {
    let step = "looking for a free port";
    let listener = TcpListener::bind("127.0.0.1:0").map_err(Error::io(step))?;
    Ok(listener.local_addr().map_err(Error::io(step))?.port())
}

impl Served {
    /// Starts a contestant and waits until it has opened and closed one session.
    pub(crate) fn start(place: &Place, bridge: &Bridge, port: u16) -> Result<Self> {
        let program = bridge.program.as_ref().ok_or_else(|| Error::Answer("not installed here".into()))?;
        let name = bridge.name;
        let log = place.work.join(format!("{}.log", name.replace([' ', '.'], "-")));
        let step = || format!("starting {name}");
        let stderr = std::fs::File::create(&log).map_err(Error::io(step()))?;
        let mut command = Command::new(program);
        command.args(&bridge.arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(stderr);
        let child = command.spawn().map_err(Error::io(step()))?;
        let mut target = Target::parse(&format!("http://127.0.0.1:{port}{}", bridge.path))?;
        bridge.tool_prefix.clone_into(&mut target.tool_prefix);
        let mut served = Self { name, target, child };
        served.wait_ready().map_err(|error| {
            Error::Answer(format!("{}; its log is {}", gaoler_bench::explain(&error), log.display()))
        })?;
        Ok(served)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            let tried = Client::connect(&self.target).and_then(|mut client| {
                client.open_session()?;
                client.close_session()
            });
            match tried {
                Ok(()) => return Ok(()),
                Err(error) if start.elapsed() > PATIENCE => return Err(error),
                Err(_) => {}
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(Error::Answer(format!("{} ended with {status}", self.name)));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The processes of the bridge itself: everything below it but the model servers.
    pub(crate) fn own(&self) -> Vec<Process> {
        process::tree(self.child.id()).into_iter().filter(|process| process.name != "echo").collect()
    }

    /// The processes that grow with sessions: the product's front, or the whole bridge.
    fn front(&self) -> Vec<Process> {
        let own = self.own();
        let front: Vec<Process> =
            own.iter().filter(|p| p.name.starts_with("gaoler-front")).cloned().collect();
        if front.is_empty() { own } else { front }
    }

    /// Processor time of the bridge itself so far, in microseconds.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.own().iter().map(|process| process::cpu_us(process.pid)).sum()
    }

    /// Resident memory of what grows with sessions, in KiB.
    pub(crate) fn front_kib(&self) -> f64 {
        self.front().iter().filter_map(|process| process::status_kib(process.pid, "VmRSS")).sum()
    }

    /// The most that was ever resident of what grows with sessions, in KiB.
    pub(crate) fn front_peak_kib(&self) -> f64 {
        self.front().iter().filter_map(|process| process::status_kib(process.pid, "VmHWM")).sum()
    }
}

impl Drop for Served {
    /// Asks it to end, waits, and kills what is left of the processes that it had.
    fn drop(&mut self) {
        let tree = process::tree(self.child.id());
        signal(self.child.id(), Signal::TERM);
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        for left in tree {
            let still = process::tree(left.pid).first().is_some_and(|now| now.name == left.name);
            if still {
                signal(left.pid, Signal::KILL);
            }
        }
        // Already reaped unless it had to be killed.
        let _ = self.child.wait();
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // Gone already is as good.
        let _ = kill_process(pid, signal);
    }
}
