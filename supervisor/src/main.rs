//! `gaoler`: the operator's command and the supervisor, in one executable.
//!
//! Errors are printed here and nowhere else: one line on standard error that names what failed, and an exit status as
//! docs/cli.md lists them.

#![forbid(unsafe_code)]

use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use gaoler_jail::sys;
use gaoler_supervisor::cli::{self, Command, Hosting};
use gaoler_supervisor::{doctor, jail_command, log, run_command};

fn main() -> ExitCode {
    // Whoever started this may ignore the signal, and that would be inherited.
    sys::heed_children();
    let parsed = cli::parse(std::env::args_os().skip(1), &|name| std::env::var_os(name));
    match parsed {
        Ok(Command::Jail(hosting)) => hosted("gaoler jail", &hosting, jail_command::run),
        Ok(Command::Run(hosting)) => hosted("gaoler run", &hosting, run_command::run),
        Ok(Command::Doctor { json }) => told(doctor::run(json, &mut std::io::stdout())),
        Ok(Command::Probe) => told(doctor::probe::run(&mut std::io::stdout()).map(|()| 0)),
        Ok(Command::Help(topic)) => told(print(&cli::help::text(topic)).map(|()| 0)),
        Ok(Command::Version) => told(print(concat!("gaoler ", env!("CARGO_PKG_VERSION"), "\n")).map(|()| 0)),
        Err(usage) => {
            // Already one line for each mistake, each with its prefix.
            let _ = writeln!(std::io::stderr(), "{usage}");
            ExitCode::from(cli::EXIT_USAGE)
        }
    }
}

/// Names and values of `--secret-env`.
type Secrets = [(String, Vec<u8>)];

/// What `run` and `jail` have in common: secrets are read and the host is looked at before anything starts.
fn hosted(
    prefix: &'static str,
    hosting: &Hosting,
    command: fn(&Hosting, &Secrets) -> Result<u8, String>,
) -> ExitCode {
    let secrets = match cli::secret::read(prefix, &hosting.secret_env) {
        Ok(secrets) => secrets,
        Err(usage) => {
            let _ = writeln!(std::io::stderr(), "{usage}");
            return ExitCode::from(cli::EXIT_USAGE);
        }
    };
    let secrets: Vec<_> = secrets.into_iter().map(|s| (s.name, s.value.into_vec())).collect();
    let done =
        doctor::preflight().map_err(|unfit| unfit.to_string()).and_then(|()| command(hosting, &secrets));
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            log::line(&failure);
            ExitCode::from(jail_command::setup_failed())
        }
    }
}

fn told(done: std::io::Result<u8>) -> ExitCode {
    match done {
        Ok(code) => ExitCode::from(code),
        // Nobody reads standard output any more; there is nothing to say and nowhere to say it.
        Err(_) => ExitCode::FAILURE,
    }
}

fn print(text: &str) -> std::io::Result<()> {
    std::io::stdout().write_all(text.as_bytes())
}
