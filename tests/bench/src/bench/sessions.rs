//! Sessions: opened fast, left idle, and a jail for each.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gaoler_bench::client::Client;
use gaoler_bench::crowd::open_idle;
use gaoler_bench::stats::{Figure, figure};
use gaoler_bench::{Error, Result, drive, explain, mcp, process};

use crate::bridges::{self, Bridge, Mode};
use crate::place::Place;
use crate::report::{Section, Verdict, short, spread};
use crate::served::{Served, free_port};

/// How many of each; smaller in a quick run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    /// sessions opened on a clock
    pub(crate) opened: usize,
    /// sessions left idle on the product
    pub(crate) idle: usize,
    /// jails at once
    pub(crate) jails: usize,
    /// repetitions
    pub(crate) rounds: usize,
}

/// Sessions on one child: time to open, memory while idle.
pub(crate) fn shared(place: &Place, counts: Counts) -> Result<Section> {
    let mut section = Section::new("Sessions on one child");
    section.say(&format!(
        "Opening is `initialize` and `notifications/initialized`, over 16 connections at once, {} sessions at a time, \
         {} times. Memory is what the resident set of the front (of the whole bridge, for peers) grew by, divided by \
         the sessions opened; none was closed.",
        counts.opened, counts.rounds
    ));
    let mut rows = Vec::new();
    let mut best_peer: Option<f64> = None;
    let mut ours = None;
    for (bridge, port) in with_one_child(place)? {
        match opening(place, &bridge, port, counts) {
            Ok((times, kib)) => {
                let median = times.map(|f| f.median);
                if bridge.name == "gaoler" {
                    ours = Some((median, kib));
                } else if let Some(time) = median {
                    best_peer = Some(best_peer.map_or(time, |best: f64| best.min(time)));
                }
                rows.push(vec![bridge.name.into(), spread(times), short(kib)]);
            }
            Err(error) => rows.push(vec![bridge.name.into(), explain(&error), "–".into()]),
        }
    }
    section.table(&["contestant", "ms to open", "KiB per session"], &rows);
    let (time, kib) = ours.map_or((None, None), |(time, kib)| (time, Some(kib)));
    let opened = format!("{} sessions opened", counts.opened);
    section.verdicts.push(Verdict::at_most(opened.clone(), 200.0, time, "ms"));
    let ratio = time.zip(best_peer).map(|(ours, theirs)| ours / theirs);
    section.verdicts.push(Verdict::at_most(format!("{opened} / the best bridge"), 1.0, ratio, "×"));
    let what = format!("front memory per idle session, of {}", counts.idle);
    section.verdicts.push(Verdict::at_most(what, 8.0, kib, "KiB"));
    Ok(section)
}

fn with_one_child(place: &Place) -> Result<Vec<(Bridge, u16)>> {
    let port = free_port()?;
    let mut all = vec![(bridges::gaoler(place, Mode::Shared, port, 0), port)];
    let port = free_port()?;
    all.push((bridges::crates_io(place, port)?, port));
    for make in [bridges::npm, bridges::pypi] {
        let port = free_port()?;
        all.push((make(place, port), port));
    }
    Ok(all)
}

fn opening(place: &Place, bridge: &Bridge, port: u16, counts: Counts) -> Result<(Option<Figure>, f64)> {
    let served = Served::start(place, bridge, port)?;
    // The first calls bring in what every bridge needs once: code pages, thread stacks, buffers.
    let mut warm_up = drive::open(&served.target, 16)?;
    drive::run(&mut warm_up, Duration::from_millis(300))?;
    let before = served.front_kib();
    let mut times = Vec::new();
    for _ in 0..counts.rounds {
        times.push(open_idle(&served.target, counts.opened)?.as_secs_f64() * 1e3);
    }
    let mut sessions = counts.rounds * counts.opened;
    if bridge.name == "gaoler" && counts.idle > sessions {
        open_idle(&served.target, counts.idle - sessions)?;
        sessions = counts.idle;
    }
    let grown = served.front_kib() - before;
    warm_up.iter_mut().try_for_each(Client::close_session)?;
    #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
    Ok((figure(&times), grown / sessions as f64))
}

/// A jail for each session: start through the supervisor, cold and warm, and memory of many.
pub(crate) fn isolated(place: &Place, counts: Counts) -> Result<Section> {
    let mut section = Section::new("A jail for each session");
    let mut rows = Vec::new();
    let mut median = |name: &str, values: Result<Vec<f64>>| match values {
        Ok(values) => {
            rows.push(vec![name.to_owned(), spread(figure(&values))]);
            figure(&values).map(|f| f.median)
        }
        Err(error) => {
            rows.push(vec![name.to_owned(), explain(&error)]);
            None
        }
    };
    let repeats = 8 * counts.rounds;
    let cold = median("`initialize`, its jail started for it", initialize(place, Mode::Isolated, 0, repeats));
    let warm = median("`initialize`, its jail kept warm", initialize(place, Mode::Isolated, 4, repeats));
    let plain = median(
        "`initialize`, a server that runs already (shared)",
        initialize(place, Mode::Shared, 0, repeats),
    );
    let floor = median("the floor with cgroups, a whole process", floor(place, repeats));
    section.say(&format!(
        "Time from a client's `initialize` to its answer, in milliseconds: median (smallest–largest) of {repeats}, one \
         after another, with a pause that lets a pool refill."
    ));
    section.table(&["", "ms"], &rows);
    let ratio = cold.zip(floor).map(|(ours, theirs)| ours / theirs);
    section.verdicts.push(Verdict::at_most(
        "cold start through the supervisor, with its answer / `floor -c`",
        1.0,
        ratio,
        "×",
    ));
    let added = warm.zip(plain).map(|(warm, plain)| warm - plain);
    section.verdicts.push(Verdict::at_most(
        "`initialize` of a warm server, beyond a shared one's",
        1.0,
        added,
        "ms",
    ));
    memory(place, counts, &mut section);
    Ok(section)
}

fn initialize(place: &Place, mode: Mode, warm: u32, repeats: usize) -> Result<Vec<f64>> {
    let port = free_port()?;
    let served = Served::start(place, &bridges::gaoler(place, mode, port, warm), port)?;
    let mut client = Client::connect(&served.target)?;
    let mut times = Vec::new();
    for _ in 0..repeats {
        std::thread::sleep(Duration::from_millis(100));
        let start = Instant::now();
        client.initialize()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        client.close_session()?;
    }
    Ok(times)
}

fn floor(place: &Place, repeats: usize) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for _ in 0..repeats {
        std::thread::sleep(Duration::from_millis(100));
        let start = Instant::now();
        crate::place::output(Command::new(&place.floor).args(["-c", "/bin/true"]))?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

/// What the whole machine has less of with many jails, against the same servers without jails.
fn memory(place: &Place, counts: Counts, section: &mut Section) {
    let Counts { jails, rounds, .. } = counts;
    let (mut jailed, mut bare) = (Vec::new(), Vec::new());
    let measured = (0..rounds).try_for_each(|_| {
        jailed.push(jailed_kib(place, jails)?);
        bare.push(bare_kib(place, jails)?);
        Ok::<(), Error>(())
    });
    #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
    let each = |values: &[f64]| figure(values).map(|f| f.median / jails as f64);
    let beyond = match (measured, each(&jailed).zip(each(&bare))) {
        (Ok(()), Some((jailed, bare))) => {
            section.say(&format!(
                "{jails} sessions, each with a jail of its own around the static C server: the machine's available \
                 memory (kernel memory included) fell by {} KiB for each; for {jails} of the same servers as plain \
                 processes by {} KiB for each; medians of {rounds}.",
                short(jailed),
                short(bare)
            ));
            Some(jailed - bare)
        }
        (Err(error), _) => {
            section.say(&format!("The memory of {jails} jails could not be measured: {}.", explain(&error)));
            None
        }
        (Ok(()), None) => None,
    };
    let what = format!("memory of a jail beyond its server's own, of {jails}");
    section.verdicts.push(Verdict::at_most(what, 1024.0, beyond, "KiB"));
}

fn jailed_kib(place: &Place, jails: usize) -> Result<f64> {
    let port = free_port()?;
    let served = Served::start(place, &bridges::gaoler(place, Mode::Isolated, port, 0), port)?;
    let before = available_kib()?;
    open_idle(&served.target, jails)?;
    Ok(before - available_kib()?)
}

fn bare_kib(place: &Place, servers: usize) -> Result<f64> {
    let before = available_kib()?;
    let mut running = Vec::new();
    for _ in 0..servers {
        running.push(Bare::start(place)?);
    }
    let used = before - available_kib()?;
    drop(running);
    Ok(used)
}

fn available_kib() -> Result<f64> {
    process::meminfo_kib("MemAvailable")
        .ok_or_else(|| Error::Answer("/proc/meminfo has no MemAvailable".into()))
}

/// The model server as a plain process, spoken to through its pipes: no bridge, no jail.
#[derive(Debug)]
pub(crate) struct Bare {
    child: Child,
}

impl Bare {
    /// Starts it and opens its session.
    pub(crate) fn start(place: &Place) -> Result<Self> {
        let mut command = Command::new(&place.echo);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut bare = Self { child: child.map_err(Error::io("starting the model server"))? };
        bare.lines(mcp::INITIALIZE, 1)?;
        Ok(bare)
    }

    /// Writes a line and reads this many messages, as the load generator reads those that come through a bridge.
    pub(crate) fn lines(&mut self, line: &str, count: usize) -> Result<()> {
        let gone = || Error::Answer("the model server has no pipes".into());
        let stdin = self.child.stdin.as_mut().ok_or_else(gone)?;
        stdin.write_all(format!("{line}\n").as_bytes()).map_err(Error::io("writing to the model server"))?;
        let stdout = self.child.stdout.as_mut().ok_or_else(gone)?;
        let mut reader = BufReader::new(stdout);
        let mut text = Vec::new();
        for _ in 0..count {
            text.clear();
            reader.read_until(b'\n', &mut text).map_err(Error::io("reading from the model server"))?;
            mcp::read(&text)?;
        }
        Ok(())
    }
}

impl Drop for Bare {
    /// Its end is the end of its input.
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It exits by itself; a failure to wait leaves only a zombie until this program ends.
        let _ = self.child.wait();
    }
}
