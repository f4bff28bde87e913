//! Jail start and end: `/bin/true` through every launcher, as whole processes, in turn.
//!
//! Each round runs every launcher once, so that whatever disturbs the machine disturbs all alike. Standard input and
//! output are pipes: some launchers change the owner of a device that they are handed as standard input.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gaoler_bench::stats::{figure, paired_ratio};
use gaoler_bench::{Error, Result, explain};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::launchers::{self, Launcher};
use crate::place::Place;
use crate::report::{Section, Verdict, spread};

/// The pause before a run in the series that measures a host that was idle before.
const IDLE: Duration = Duration::from_millis(50);

/// The longest run of `/bin/true` that is borne.
const PATIENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// Measures all launchers in `rounds` rounds.
pub(crate) fn measure(place: &Place, rounds: usize) -> Result<Section> {
    let mut section = Section::new("Jail start and end");
    section.say(&format!(
        "`/bin/true` in a jail as one whole process, from before the launcher's start to after its end, in \
         milliseconds: median (smallest–largest) of {rounds} rounds; each round runs every launcher once. The ratio is \
         the median over the rounds of `gaoler jail` divided by that launcher. The floor is \
         `tests/bench/floor.c`."
    ));
    let launchers = launchers::all(place)?;
    let failures: Vec<Option<String>> =
        launchers.iter().map(|launcher| once(launcher).err().map(why)).collect();
    let times = series(&launchers, &failures, rounds, Duration::ZERO)?;
    let ours = &times[0];
    let rows: Vec<Vec<String>> = launchers
        .iter()
        .zip(&failures)
        .zip(&times)
        .map(|((launcher, failure), theirs)| {
            let shown = failure.clone().unwrap_or_else(|| spread(figure(theirs)));
            let ratio = spread(paired_ratio(ours, theirs));
            vec![launcher.name.to_owned(), shown, ratio, launcher.note.to_owned()]
        })
        .collect();
    section.table(&["launcher", "ms", "gaoler / it", "what is different"], &rows);
    verdicts(&mut section, &launchers, &times);
    idle(&mut section, &launchers, &failures, rounds / 3)?;
    launchers::clean_up();
    Ok(section)
}

fn verdicts(section: &mut Section, launchers: &[Launcher], times: &[Vec<f64>]) {
    for (launcher, theirs) in launchers.iter().zip(times).skip(1) {
        let ratio = paired_ratio(&times[0], theirs).map(|f| f.median);
        match launcher.name {
            "floor" | "floor -c" => section.verdicts.push(Verdict::at_most(
                format!("start and end of a jail / `{}`", launcher.name),
                1.3,
                ratio,
                "×",
            )),
            "floor -n" => {}
            name => section.verdicts.push(Verdict::at_most(
                format!("start and end of a jail / {name}"),
                1.0,
                ratio,
                "×",
            )),
        }
    }
}

/// The first three again, each after a pause: joining a v1 cgroup costs more on a host that was idle.
fn idle(
    section: &mut Section,
    launchers: &[Launcher],
    failures: &[Option<String>],
    rounds: usize,
) -> Result<()> {
    let few = launchers.len().min(3);
    let times = series(&launchers[..few], &failures[..few], rounds, IDLE)?;
    section.say(&format!(
        "The same after {} ms of idleness before each run, {rounds} rounds:",
        IDLE.as_millis()
    ));
    let rows: Vec<Vec<String>> = launchers
        .iter()
        .zip(&times)
        .map(|(launcher, theirs)| {
            let ratio = spread(paired_ratio(&times[0], theirs));
            vec![launcher.name.to_owned(), spread(figure(theirs)), ratio]
        })
        .collect();
    section.table(&["launcher", "ms", "gaoler / it"], &rows);
    Ok(())
}

fn series(
    launchers: &[Launcher],
    failures: &[Option<String>],
    rounds: usize,
    pause: Duration,
) -> Result<Vec<Vec<f64>>> {
    let mut times = vec![Vec::with_capacity(rounds); launchers.len()];
    for round in 0..rounds {
        for step in 0..launchers.len() {
            // Another one goes first each time, so that none profits from its neighbour for ever.
            let at = (round + step) % launchers.len();
            if failures[at].is_none() {
                std::thread::sleep(pause);
                times[at].push(once(&launchers[at])?.as_secs_f64() * 1e3);
            }
        }
    }
    Ok(times)
}

/// One run, which must succeed.
pub(crate) fn once(launcher: &Launcher) -> Result<Duration> {
    let program = launcher.program.as_ref().ok_or_else(|| Error::Answer("not installed here".into()))?;
    let step = || format!("running {}", launcher.name);
    let stdin = match &launcher.stdin {
        Some(path) => File::open(path).map_err(Error::io(step()))?.into(),
        None => Stdio::piped(),
    };
    let mut command = Command::new(program);
    command.args(&launcher.arguments).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().map_err(Error::io(step()))?;
    wait_bounded(&mut child).map_err(Error::io(step()))?;
    let status = child.wait().map_err(Error::io(step()))?;
    let time = start.elapsed();
    if status.success() {
        return Ok(time);
    }
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        // What it said is only a help; the status is the error.
        let _ = std::io::Read::read_to_string(&mut stderr, &mut said);
    }
    let last = said.trim().lines().last().unwrap_or_default().to_owned();
    Err(Error::Answer(format!("failed here: {status}: {last}")))
}

/// Waits for the end without polling, and kills what does not end.
fn wait_bounded(child: &mut Child) -> std::io::Result<()> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    if poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&PATIENCE))? == 0 {
        child.kill()?;
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function of Result::err")]
fn why(error: Error) -> String {
    explain(&error)
}
