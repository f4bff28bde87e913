//! `gaoler run` as a guard: started with flags, ready when its one line says so, gone without a trace at the end.

use std::net::SocketAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::http::Client;
use crate::leftovers::Snapshot;
use crate::output::{Log, follow_stdout};
use crate::paths::bin;
use crate::proc::{self, Process};
use crate::wait;

/// How long a start may take on a loaded machine.
const START: Duration = Duration::from_secs(30);

/// How long a drain and teardown may take.
const STOP: Duration = Duration::from_secs(30);

/// The kernel's names of the helper while it sets up and when it is process 1; a payload has one until it is executed.
const HELPER: [&str; 2] = ["gaoler-jail-exe", "gaoler-init"];

/// What to start: a command in a jail, flags of Gaoler and variables of its environment.
#[derive(Debug, Clone)]
pub struct Launch {
    flags: Vec<String>,
    command: Vec<String>,
    env: Vec<(String, String)>,
    start: Duration,
}

impl Launch {
    /// Hosts a command.
    #[must_use]
    pub fn command<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Self {
        let command = words.into_iter().map(Into::into).collect();
        Self { flags: Vec::new(), command, env: Vec::new(), start: START }
    }

    /// Hosts a test server of this repository: its static executable is bound into the jail as `/srv/NAME`.
    #[must_use]
    pub fn server(name: &str) -> Self {
        let inside = format!("/srv/{name}");
        Self::command([inside.clone()]).flags(["--bind", &format!("{}:{inside}:ro", bin(name).display())])
    }

    /// Adds words to the hosted command.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.command.extend(words.into_iter().map(Into::into));
        self
    }

    /// Adds flags of `gaoler`.
    #[must_use]
    pub fn flags<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.flags.extend(words.into_iter().map(Into::into));
        self
    }

    /// All sessions on one jail.
    #[must_use]
    pub fn shared(self) -> Self {
        self.flags(["--session-mode", "shared"])
    }

    /// A jail for each session.
    #[must_use]
    pub fn isolated(self) -> Self {
        self.flags(["--session-mode", "isolated"])
    }

    /// Sets a variable in the environment of `gaoler` itself.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How long the ready line may take.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.start = limit;
        self
    }

    /// Starts it and waits until it serves.
    ///
    /// # Panics
    /// When it does not: shows its status and log.
    #[must_use]
    pub fn start(self) -> Run {
        self.try_start().unwrap_or_else(|refused| panic!("gaoler run did not become ready: {refused:?}"))
    }

    /// Starts it and waits until it serves or has ended.
    ///
    /// # Errors
    /// [`Refused`] with its exit status and log when it did not become ready.
    ///
    /// # Panics
    /// When the executable cannot be started at all.
    pub fn try_start(self) -> Result<Run, Refused> {
        let before = Snapshot::take();
        let mut command = Command::new(bin("gaoler"));
        command.arg("run").args(&self.flags);
        if !self.flags.iter().any(|flag| flag == "--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.arg("--").args(&self.command).envs(self.env.iter().cloned()).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("start gaoler: {e}"));
        let log = Log::follow(&mut child);
        let lines = Mutex::new(follow_stdout(&mut child));
        let mut run = Run { child, before, log, lines, url: String::new(), ended: None, keep: false };
        let line = run.lines().recv_timeout(self.start);
        match line {
            Ok(line) if line.starts_with("ready http://") => {
                run.url = line.trim_start_matches("ready ").to_owned();
                Ok(run)
            }
            Ok(line) => Err(run.refused(Some(line))),
            Err(RecvTimeoutError::Disconnected) => Err(run.refused(None)),
            Err(RecvTimeoutError::Timeout) => {
                Err(run.refused(Some(format!("nothing within {:?}", self.start))))
            }
        }
    }
}

/// A `gaoler run` that did not become ready.
#[derive(Debug)]
pub struct Refused {
    /// its exit status, when it ended by itself
    pub status: Option<ExitStatus>,
    /// what it wrote to standard output instead
    pub stdout: Option<String>,
    /// what it wrote to standard error
    pub stderr: String,
}

/// One jail of a run, seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// the jail's process 1
    pub init: Process,
    /// the first child of process 1: the hosted server, or what will become it
    pub server: Process,
    /// everything below process 1
    pub members: Vec<Process>,
}

/// A running `gaoler run`. Dropping it ends it by force; [`Run::stop`] is the proof of an orderly end.
#[derive(Debug)]
pub struct Run {
    child: Child,
    before: Snapshot,
    log: Log,
    lines: Mutex<Receiver<String>>,
    url: String,
    ended: Option<ExitStatus>,
    keep: bool,
}

impl Run {
    /// The URL of the ready line.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address in the URL.
    ///
    /// # Panics
    /// When the URL has no numeric address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        let rest = self.url.trim_start_matches("http://");
        let host = rest.split('/').next().unwrap_or("");
        host.parse().unwrap_or_else(|e| panic!("{:?} has no address: {e}", self.url))
    }

    /// The path in the URL.
    #[must_use]
    pub fn path(&self) -> &str {
        let rest = self.url.trim_start_matches("http://");
        rest.find('/').map_or("/", |at| &rest[at..])
    }

    /// A client of its address.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.addr())
    }

    /// The supervisor's process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// What it has logged so far (the last 4 MiB).
    #[must_use]
    pub fn log(&self) -> String {
        self.log.read()
    }

    /// The front's process id, waiting for it within a bound.
    ///
    /// # Panics
    /// When no front runs.
    #[must_use]
    pub fn front_pid(&self) -> i32 {
        wait::until_some(START, "a process named gaoler-front", || self.try_front().map(|front| front.pid))
    }

    /// The front, if it runs now.
    #[must_use]
    pub fn try_front(&self) -> Option<Process> {
        proc::descendants(self.pid()).into_iter().find(|p| p.comm == "gaoler-front" && !p.is_zombie())
    }

    /// The jails whose server runs now, in order of their process ids; the front's own is not among them.
    #[must_use]
    pub fn instances(&self) -> Vec<Instance> {
        let mut jails = self.jails();
        jails.retain(|jail| !HELPER.contains(&jail.server.comm.as_str()));
        jails
    }

    /// Waits until the front knows what it serves and the jail in which it found out has gone, so that
    /// [`Run::instances`] are those of sessions.
    ///
    /// # Panics
    /// When that is not within a bound.
    #[must_use]
    pub fn settled(self) -> Self {
        wait::until(START, "a server whose phase is known", || {
            let health = self.client().get("/healthz", &[]).ok().map(|response| response.json());
            health.is_some_and(|h| h.pointer("/servers/0/phase").is_some_and(|phase| phase != "starting"))
        });
        let gone = || self.instances().is_empty().then_some(());
        assert!(
            wait::try_until(START, gone).is_some(),
            "the jail of the first look at the server stays: {:?}",
            self.instances()
        );
        self
    }

    /// The jails that are set up and wait for someone to need them.
    #[must_use]
    pub fn spares(&self) -> Vec<Instance> {
        let mut jails = self.jails();
        jails.retain(|jail| HELPER.contains(&jail.server.comm.as_str()));
        jails
    }

    fn jails(&self) -> Vec<Instance> {
        let table = proc::all();
        let children = |pid: i32| table.values().filter(move |p| p.parent == pid && !p.is_zombie()).cloned();
        children(self.pid())
            .filter_map(|init| {
                let below = |p: &&Process| proc::ancestors(&table, p.pid).contains(&init.pid);
                let members: Vec<Process> = table.values().filter(below).cloned().collect();
                let server = children(init.pid).min_by_key(|p| (p.start, p.pid))?;
                Some(Instance { init, server, members })
            })
            .filter(|jail| jail.members.iter().all(|p| p.comm != "gaoler-front"))
            .collect()
    }

    /// Sends a signal to the supervisor alone.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid()) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits until the supervisor has ended.
    ///
    /// # Panics
    /// When it has not within `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        if let Some(status) = self.ended {
            return status;
        }
        if !wait::ended(self.pid(), limit) {
            panic!("gaoler run still runs after {limit:?}; its log:\n{}", self.log());
        }
        let status = self.child.wait().unwrap_or_else(|e| panic!("wait for gaoler: {e}"));
        self.ended = Some(status);
        status
    }

    /// SIGTERM, an end with status 0, and nothing left.
    ///
    /// # Panics
    /// When any of it does not hold.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.wait(STOP);
        assert!(status.success(), "gaoler run ended with {status} on SIGTERM; its log:\n{}", self.log());
        self.assert_nothing_left();
        let more: Vec<String> = self.lines().try_iter().collect();
        assert!(more.is_empty(), "more than the ready line on standard output: {more:?}");
    }

    /// Waits until nothing is there that was not there before the start.
    ///
    /// # Panics
    /// When something stays.
    pub fn assert_nothing_left(&self) {
        self.before.assert_none();
    }

    /// What was there before the start.
    #[must_use]
    pub fn before(&self) -> &Snapshot {
        &self.before
    }

    /// Leaves what a killed supervisor left, for the next start to find.
    pub fn abandon(mut self) {
        self.keep = true;
    }

    fn lines(&self) -> MutexGuard<'_, Receiver<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(mut self, stdout: Option<String>) -> Refused {
        let ended = wait::ended(self.pid(), Duration::from_secs(5));
        let status = ended.then(|| self.wait(Duration::from_secs(1)));
        Refused { status, stdout, stderr: self.log() }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if self.ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let from = log.char_indices().rev().nth(8000).map_or(0, |(at, _)| at);
            eprintln!("--- log of gaoler run {} ---\n{}", self.child.id(), &log[from..]);
        }
    }
}

/// The signal that ended a process, when one did.
#[must_use]
pub fn signal_of(status: ExitStatus) -> Option<i32> {
    status.signal()
}
