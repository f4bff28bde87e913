//! `gaoler jail` as a function: one command in a jail, its output and status, within a bound.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::leftovers::Snapshot;
use crate::paths::bin;
use crate::wait;

/// How long a command may take unless another limit is set.
const LIMIT: Duration = Duration::from_secs(30);

/// A command to run in a jail.
#[derive(Debug, Clone)]
pub struct Jail {
    flags: Vec<String>,
    command: Vec<String>,
    env: Vec<(String, String)>,
    stdin: Vec<u8>,
    limit: Duration,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// the exit status of `gaoler jail` itself
    pub status: ExitStatus,
    /// standard output
    pub stdout: String,
    /// standard error
    pub stderr: String,
}

impl Outcome {
    /// The exit code; 128 and the signal for a killed launcher.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().or_else(|| Some(128 + crate::run::signal_of(self.status)?)).unwrap_or(-1)
    }
}

impl Jail {
    /// Runs a command.
    #[must_use]
    pub fn command<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Self {
        let command = words.into_iter().map(Into::into).collect();
        Self { flags: Vec::new(), command, env: Vec::new(), stdin: Vec::new(), limit: LIMIT }
    }

    /// Runs a static test executable of this repository, bound into the jail as `/srv/NAME`.
    #[must_use]
    pub fn tool<S: Into<String>>(name: &str, args: impl IntoIterator<Item = S>) -> Self {
        let inside = format!("/srv/{name}");
        let mut words = vec![inside.clone()];
        words.extend(args.into_iter().map(Into::into));
        Self::command(words).flags(["--bind", &format!("{}:{inside}:ro", bin(name).display())])
    }

    /// Adds flags of `gaoler jail`.
    #[must_use]
    pub fn flags<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.flags.extend(words.into_iter().map(Into::into));
        self
    }

    /// Sets a variable in the environment of `gaoler` itself.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What the command reads.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// How long it may take.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts it without waiting: stdin, stdout and stderr are pipes, the process group is its own.
    ///
    /// # Panics
    /// When the executable cannot be started.
    #[must_use]
    pub fn spawn(&self) -> Child {
        let mut command = Command::new(bin("gaoler"));
        command.arg("jail").args(&self.flags).arg("--").args(&self.command).envs(self.env.iter().cloned());
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap_or_else(|e| panic!("start gaoler jail: {e}"))
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it does not end within the limit.
    #[must_use]
    pub fn run(&self) -> Outcome {
        let mut child = self.spawn();
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        if let Some(mut stdin) = child.stdin.take() {
            let bytes = self.stdin.clone();
            // A command that does not read must not hold the test up.
            std::thread::spawn(move || stdin.write_all(&bytes));
        }
        let ended = wait::ended(child.id().cast_signed(), self.limit);
        if !ended {
            let _ = child.kill();
        }
        let status = child.wait().unwrap_or_else(|e| panic!("wait for gaoler jail: {e}"));
        let (stdout, stderr) = (join(stdout), join(stderr));
        assert!(ended, "{:?} did not end within {:?}\n{stdout}\n{stderr}", self.command, self.limit);
        Outcome { status, stdout, stderr }
    }

    /// Runs it to its end and proves that nothing is left.
    ///
    /// # Panics
    /// As [`Jail::run`], and when something is left.
    #[must_use]
    pub fn run_clean(&self) -> Outcome {
        let before = Snapshot::take();
        let outcome = self.run();
        before.assert_none();
        outcome
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> Option<JoinHandle<Vec<u8>>> {
    let mut pipe = pipe?;
    Some(std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    }))
}

fn join(thread: Option<JoinHandle<Vec<u8>>>) -> String {
    let bytes = thread.and_then(|thread| thread.join().ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
