//! The operator's command line: from arguments to one checked [`Command`].
//!
//! # Layout
//! - [`flag`]: every policy flag, once: name, value, default, help
//! - [`value`], [`path`]: one text to one checked value
//! - [`build`]: all flags of one command to a [`Hosting`]
//! - [`help`]: the help texts, made from the same table
//! - [`secret`]: the one step that reads files, after parsing
//!
//! Parsing makes no system call and never panics; it reports all mistakes at once, one line each.

mod build;
mod flag;
pub mod help;
mod path;
pub mod secret;
mod value;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use gaoler_jail::seccomp::Profile;
use gaoler_wire::id::ServerName;
use gaoler_wire::message::FrontLimits;
use gaoler_wire::policy::{Bind, Limits, SessionMode, Transport};
use lexopt::{Arg, Parser};

pub use flag::{Flag, Spec};
pub use help::Topic;

/// The exit status of a wrong command line.
pub const EXIT_USAGE: u8 = 2;

/// What the operator wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// host one server in the foreground
    Run(Hosting),
    /// run one command in the same jail on this terminal
    Jail(Hosting),
    /// tell what this host offers
    Doctor {
        /// as JSON instead of text
        json: bool,
    },
    /// the doctor's own child, which tries what can only be tried by losing something
    Probe,
    /// explain
    Help(Topic),
    /// print the version
    Version,
}

/// Every policy flag as a checked value. What only concerns serving has its default under `jail`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosting {
    /// the name in the URL, the log and the cgroup
    pub name: ServerName,
    /// program and arguments; never empty
    pub command: Vec<OsString>,
    /// where to listen; port 0 lets the kernel choose
    pub listen: SocketAddr,
    /// how legacy sessions map to jails
    pub session_mode: SessionMode,
    /// how the server speaks
    pub transport: Transport,
    /// variables that the command sees besides the fixed ones, in the order given
    pub env: Vec<EnvVar>,
    /// variables whose values [`secret::read`] takes from files
    pub secret_env: Vec<SecretFile>,
    /// host paths shown in the jail; no two overlap
    pub binds: Vec<Bind>,
    /// size of the writable `/data`, in bytes
    pub data_bytes: Option<u64>,
    /// memory, processors and tasks
    pub limits: Limits,
    /// which system calls are allowed
    pub seccomp: Profile,
    /// how long the whole run may take
    pub timeout: Option<Duration>,
    /// what `Host` may say besides loopback names
    pub allow_hosts: Vec<String>,
    /// what `Origin` may say besides loopback origins
    pub allow_origins: Vec<String>,
    /// jails kept started ahead
    pub warm: u32,
    /// bounds of sessions and requests
    pub front: FrontLimits,
}

/// One variable for the jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvVar {
    /// letters, digits and `_`, no digit first
    pub name: String,
    /// without NUL
    pub value: OsString,
}

/// One variable whose value stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// letters, digits and `_`, no digit first
    pub name: String,
    /// the file, on the host
    pub file: PathBuf,
}

/// A wrong command line: every mistake, each a line that names the flag, the value and the fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError {
    /// such as `gaoler run`
    prefix: &'static str,
    /// never empty
    problems: Vec<String>,
}

impl UsageError {
    fn one(prefix: &'static str, problem: String) -> Self {
        Self { prefix, problems: vec![problem] }
    }

    /// The mistakes, without the prefix.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            let end = if i == 0 { "" } else { "\n" };
            write!(f, "{end}{}: {problem}", self.prefix)?;
        }
        Ok(())
    }
}

impl std::error::Error for UsageError {}

/// Understands the arguments that follow the program's own name. `env` answers `--env NAME`.
///
/// # Errors
/// Every mistake of the line; the caller prints it and exits with [`EXIT_USAGE`].
pub fn parse(
    args: impl Iterator<Item = OsString>,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Command, UsageError> {
    let mut parser = Parser::from_args(args.collect::<Vec<_>>());
    let verb = match parser.next() {
        Ok(Some(Arg::Value(verb))) => verb,
        Ok(Some(Arg::Long("help") | Arg::Short('h'))) => return Ok(Command::Help(Topic::Gaoler)),
        Ok(Some(Arg::Long("version") | Arg::Short('V'))) => return Ok(Command::Version),
        Ok(None) => return Err(unknown_verb("no command given")),
        Ok(Some(other)) => {
            let shown = argument(&other);
            return Err(unknown_verb(&format!("{shown}: no such option here")));
        }
        Err(e) => return Err(unknown_verb(&value::clip(&e.to_string()))),
    };
    match verb.to_str() {
        Some("run") => {
            build::hosting(Topic::Run, parser, env).map(|h| h.map_or_else(Command::Help, Command::Run))
        }
        Some("jail") => {
            build::hosting(Topic::Jail, parser, env).map(|h| h.map_or_else(Command::Help, Command::Jail))
        }
        Some("doctor") => doctor(parser),
        Some("help") => topic(parser),
        _ => Err(unknown_verb(&format!("{}: no such command", value::quote(&verb)))),
    }
}

fn unknown_verb(what: &str) -> UsageError {
    UsageError::one("gaoler", format!("{what}; give one of run, jail, doctor, help (see gaoler --help)"))
}

fn doctor(mut parser: Parser) -> Result<Command, UsageError> {
    let mut command = Command::Doctor { json: false };
    loop {
        match parser.next() {
            Ok(None) => return Ok(command),
            Ok(Some(Arg::Long("json"))) if command != Command::Probe => {
                command = Command::Doctor { json: true }
            }
            Ok(Some(Arg::Long("probe"))) => command = Command::Probe,
            Ok(Some(Arg::Long("help") | Arg::Short('h'))) => return Ok(Command::Help(Topic::Doctor)),
            Ok(Some(other)) => {
                let what = format!("{}: no such option; the only one is --json", argument(&other));
                return Err(UsageError::one("gaoler doctor", what));
            }
            Err(e) => return Err(UsageError::one("gaoler doctor", value::clip(&e.to_string()))),
        }
    }
}

fn topic(mut parser: Parser) -> Result<Command, UsageError> {
    let given = match parser.next() {
        Ok(None) => return Ok(Command::Help(Topic::Gaoler)),
        Ok(Some(Arg::Value(given))) => given,
        Ok(Some(other)) => return Err(unknown_topic(&argument(&other))),
        Err(e) => return Err(UsageError::one("gaoler help", value::clip(&e.to_string()))),
    };
    match given.to_str() {
        Some("run") => Ok(Command::Help(Topic::Run)),
        Some("jail") => Ok(Command::Help(Topic::Jail)),
        Some("doctor") => Ok(Command::Help(Topic::Doctor)),
        _ => Err(unknown_topic(&value::quote(&given))),
    }
}

fn unknown_topic(shown: &str) -> UsageError {
    UsageError::one("gaoler help", format!("{shown}: no such topic; give run, jail or doctor"))
}

/// An argument as the operator typed it, bounded.
fn argument(arg: &Arg<'_>) -> String {
    match arg {
        Arg::Long(name) => value::clip(&format!("--{name}")),
        Arg::Short(letter) => format!("-{}", letter.escape_debug()),
        Arg::Value(text) => value::quote(text),
    }
}

#[cfg(test)]
mod tests;
