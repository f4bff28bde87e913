//! `bench`: measures the product beside its peers and writes `docs/benchmarks.md`; `make bench` starts it.
//!
//! # Layout
//! - `place`: paths, the C programs, which peers are here
//! - `launchers`, `start`: jails as whole processes
//! - `bridges`, `served`, `proxy`, `sessions`, `streams`: what stands behind an endpoint
//! - `growth`, `plot`: cost by number of jails
//! - `upper_bound`: bare hyper, as a process of its own
//! - `report`: the page
//!
//! It promises: load stays on loopback, a peer that is missing is a line in a table, and everything that was started
//! is ended.

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use gaoler_bench::{Error, Result, explain, process};

use crate::bridges::Mode;
use crate::place::Place;
use crate::report::Section;

mod bridges;
mod growth;
mod launchers;
mod place;
mod plot;
mod proxy;
mod report;
mod served;
mod sessions;
mod start;
mod streams;
mod upper_bound;

const USAGE: &str =
    "usage: bench [--quick] [--out FILE] [start|shared|isolated|sessions|jails|streams|growth]...";

/// The idle share of a machine that does little else.
const QUIET: f64 = 0.95;

/// What was asked for.
#[derive(Debug, Default)]
struct Options {
    quick: bool,
    out: Option<std::path::PathBuf>,
    parts: Vec<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.as_slice() {
        [verb, port] if verb == "upper-bound" => {
            let port = port.parse().map_err(|_| Error::Answer(format!("{port:?} is not a port")));
            port.and_then(upper_bound::run)
        }
        _ => options(arguments).and_then(|options| run(&options)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("bench: {}", explain(&error)));
            ExitCode::FAILURE
        }
    }
}

fn say(line: &str) {
    // Nothing is left to do when the terminal is gone.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn options(arguments: Vec<String>) -> Result<Options> {
    let mut options = Options::default();
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--out" => options.out = rest.next().map(Into::into),
            part if PARTS.iter().any(|(name, _)| *name == part) => options.parts.push(argument),
            _ => return Err(Error::Answer(USAGE.into())),
        }
    }
    Ok(options)
}

type Part = fn(&Place, bool) -> Result<Section>;

/// The parts of a run, in order; the flag asks for a quick one.
const PARTS: [(&str, Part); 7] = [
    ("start", |place, quick| start::measure(place, if quick { 10 } else { 60 })),
    ("shared", |place, quick| proxy::measure(place, Mode::Shared, rounds(quick), window(quick))),
    ("isolated", |place, quick| proxy::measure(place, Mode::Isolated, rounds(quick), window(quick))),
    ("sessions", |place, quick| sessions::shared(place, session_counts(quick))),
    ("jails", |place, quick| sessions::isolated(place, session_counts(quick))),
    ("streams", |place, quick| {
        let (flood, slow) = if quick { (5_000, 50) } else { (100_000, 1_000) };
        streams::measure(place, streams::Counts { flood, slow, rounds: rounds(quick) })
    }),
    ("growth", |place, quick| {
        let steps: &[usize] = if quick { &[1, 10] } else { &[1, 10, 100, 300] };
        growth::measure(place, steps, if quick { 5 } else { 30 })
    }),
];

const fn rounds(quick: bool) -> usize {
    if quick { 2 } else { 5 }
}

const fn window(quick: bool) -> Duration {
    Duration::from_millis(if quick { 300 } else { 1500 })
}

const fn session_counts(quick: bool) -> sessions::Counts {
    let (opened, idle, jails) = if quick { (100, 500, 20) } else { (1_000, 10_000, 300) };
    sessions::Counts { opened, idle, jails, rounds: rounds(quick) }
}

fn run(options: &Options) -> Result<()> {
    let start = Instant::now();
    let place = Place::prepare()?;
    place.install_peers()?;
    let facts_before = facts(&place, options);
    let mut sections = Vec::new();
    for (name, part) in PARTS {
        if !options.parts.is_empty() && !options.parts.iter().any(|wanted| wanted == name) {
            continue;
        }
        say(&format!("bench: {name}, {} s after the start", start.elapsed().as_secs()));
        sections.push(part(&place, options.quick).unwrap_or_else(|error| {
            let mut section = Section::new("A part that could not be measured");
            section.say(&format!("`{name}`: {}.", explain(&error)));
            section
        }));
    }
    let facts = format!("{facts_before}- took: {} s\n", start.elapsed().as_secs());
    let page = report::page(&facts, &sections);
    let out = options.out.clone().unwrap_or_else(|| place.repository.join("docs/benchmarks.md"));
    std::fs::write(&out, page).map_err(Error::io(format!("writing {}", out.display())))?;
    say(&format!("bench: wrote {}", out.display()));
    Ok(())
}

/// What a reader must know of the machine and the run.
fn facts(place: &Place, options: &Options) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
    let processors = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let memory = process::meminfo_kib("MemTotal").unwrap_or(0.0) / 1024.0 / 1024.0;
    let mut git = Command::new("git");
    git.current_dir(&place.repository).args(["rev-parse", "--short", "HEAD"]);
    let commit = place::output(&mut git).map(|out| String::from_utf8_lossy(&out).trim().to_owned());
    let idle = process::idle_share(Duration::from_secs(3)).unwrap_or(0.0);
    format!(
        "- command: `make bench`{}\n- commit: {}\n- machine: {processors} × {}, {memory:.0} GiB, Linux {}\n- \
         processors idle in the 3 s before it began: {:.0} %{}\n",
        if options.quick { " with `--quick`: a smoke run, not figures" } else { "" },
        commit.unwrap_or_else(|_| "unknown".into()),
        model.trim_start_matches([' ', '\t', ':']),
        read("/proc/sys/kernel/osrelease").trim(),
        idle * 100.0,
        if idle < QUIET { ": **busy with other work, so the figures are disturbed**" } else { "" },
    )
}
