//! Tries one forbidden thing from wherever it runs and prints one JSON line: `{verb, outcome, detail, errno}`.
//!
//! `probe VERB [ARGUMENT…]` runs the verb in a child process, so that a filter that kills is reported and not
//! suffered. `probe --list` names every verb, `probe --ids` prints the ids and capabilities it runs with.
//! It promises: `stopped` only when something refused; what could not be tried is `unsupported`.

mod devices;
mod escape;
mod exhaust;
mod files;
mod identity;
mod kernel;
mod memory;
mod mounts;
mod namespaces;
mod net;
mod outcome;
mod process;
mod procfs;
mod sockets;
mod sys;
mod terminal;

use std::process::ExitCode;

use outcome::{Outcome, Verb, held, unsupported};
use sys::Ended;

/// A verb that takes longer is given up, in seconds.
const PATIENCE: usize = 60;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--list") => verbs().for_each(|verb| println!("{}", verb.name)),
        Some("--ids") => print!("{}", identity::report()),
        Some(name) => match verbs().find(|verb| verb.name == name) {
            Some(verb) => print_outcome(name, &run(verb, &arguments[1..])),
            None => return usage(&format!("unknown verb {name:?}")),
        },
        None => return usage("no verb"),
    }
    ExitCode::SUCCESS
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("probe: {problem}; use probe VERB [ARGUMENT...], probe --list or probe --ids");
    ExitCode::from(2)
}

fn verbs() -> impl Iterator<Item = &'static Verb> {
    let groups: [&'static [Verb]; 13] = [
        files::VERBS,
        procfs::VERBS,
        mounts::VERBS,
        namespaces::VERBS,
        identity::VERBS,
        devices::VERBS,
        process::VERBS,
        kernel::VERBS,
        terminal::VERBS,
        net::VERBS,
        sockets::VERBS,
        memory::VERBS,
        exhaust::VERBS,
    ];
    groups.into_iter().flatten().chain(escape::VERBS)
}

/// Runs a verb in a child and turns the child's end into an outcome.
fn run(verb: &Verb, arguments: &[String]) -> Outcome {
    let answer = sys::child_text(|out| {
        let _ = sys::call(libc::SYS_alarm, &[PATIENCE]);
        let text = encode(&(verb.run)(arguments));
        i32::from(out.write_all(text.as_bytes()).is_err())
    });
    match answer {
        Ok((text, Ended::Exited(0))) => decode(&text),
        Ok((_, Ended::Signalled(signal @ (libc::SIGSYS | libc::SIGKILL | libc::SIGXFSZ)))) => {
            held(format!("killed by signal {signal}"))
        }
        Ok((_, ended)) => unsupported(format!("the verb's process ended: {ended:?}")),
        Err(errno) => unsupported(format!("no child process: {}", outcome::words(errno))),
    }
}

fn encode(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Stopped { detail, errno } => format!("stopped\n{errno}\n{detail}"),
        Outcome::Succeeded(detail) => format!("succeeded\n0\n{detail}"),
        Outcome::Unsupported(detail) => format!("unsupported\n0\n{detail}"),
    }
}

fn decode(text: &str) -> Outcome {
    let mut lines = text.splitn(3, '\n');
    let (kind, errno, detail) = (lines.next(), lines.next(), lines.next().unwrap_or_default().to_owned());
    match (kind, errno.and_then(|number| number.parse().ok())) {
        (Some("stopped"), Some(errno)) => Outcome::Stopped { detail, errno },
        (Some("succeeded"), _) => Outcome::Succeeded(detail),
        _ => Outcome::Unsupported(detail),
    }
}

fn print_outcome(verb: &str, outcome: &Outcome) {
    let (kind, detail, errno) = match outcome {
        Outcome::Stopped { detail, errno } => ("stopped", detail, *errno),
        Outcome::Succeeded(detail) => ("succeeded", detail, 0),
        Outcome::Unsupported(detail) => ("unsupported", detail, 0),
    };
    let line = serde_json::json!({ "verb": verb, "outcome": kind, "detail": detail, "errno": errno });
    println!("{line}");
}
