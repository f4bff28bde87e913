//! Proxying: one `tools/call` echo of 100 bytes per call, like against like, in turn.

use std::time::Duration;

use gaoler_bench::drive::{self, Round};
use gaoler_bench::stats::{Figure, figure, paired_ratio};
use gaoler_bench::{Result, explain};

use crate::bridges::{self, Bridge, Mode};
use crate::place::Place;
use crate::report::{Section, Verdict, short, spread};
use crate::served::{Served, free_port};

/// Sessions, each on a connection of its own with one call in flight.
const CROWDS: [usize; 3] = [1, 16, 64];

/// What was measured of one contestant at one number of sessions.
#[derive(Debug, Default)]
struct Measured {
    rate: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    cpu: Vec<f64>,
}

impl Measured {
    fn add(&mut self, round: Round, cpu_us: f64) {
        self.rate.push(round.rate);
        self.p50.push(round.p50_us);
        self.p99.push(round.p99_us);
        #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
        self.cpu.push(cpu_us / round.calls.max(1) as f64);
    }
}

/// Measures one mode: the product, its peers of the same child model, and bare hyper.
pub(crate) fn measure(place: &Place, mode: Mode, rounds: usize, time: Duration) -> Result<Section> {
    let title = match mode {
        Mode::Shared => "Proxying, one child for all sessions",
        Mode::Isolated => "Proxying, one child for each session",
    };
    let mut section = Section::new(title);
    let mut running = Vec::new();
    let mut absent = Vec::new();
    for (bridge, port) in contestants(place, mode)? {
        match Served::start(place, &bridge, port) {
            Ok(served) => running.push((served, bridge.proxies)),
            Err(error) => absent.push(format!("{}: {}", bridge.name, explain(&error))),
        }
    }
    section.say(&format!(
        "Calls of `echo` with 100 bytes over keep-alive connections, every answer checked; median (smallest–largest) of \
         {rounds} rounds of {} ms; each round measures every contestant once. Client, bridge and server share this \
         machine's processors. CPU is that of the bridge and all its processes but the server. The ratio is the median \
         over the rounds of gaoler's rate divided by that contestant's.",
        time.as_millis()
    ));
    for crowd in CROWDS {
        let measured = crowd_of(&mut section, &running, crowd, rounds, time);
        table(&mut section, &running, &measured, crowd);
        verdicts(&mut section, mode, &running, &measured, crowd);
    }
    for line in absent {
        section.say(&format!("Not measured: {line}."));
    }
    if mode == Mode::Isolated {
        section.say(
            "agentgateway is in no package registry that this benchmark installs from; on a machine of this kind its \
             1.3.1 was recorded with 3,900 / 16,200 / 14,900 calls/s at 1 / 16 / 64 sessions, in a run in which \
             crates.io mcp-proxy reached 5,100 / 26,200 / 28,000.",
        );
    }
    Ok(section)
}

fn contestants(place: &Place, mode: Mode) -> Result<Vec<(Bridge, u16)>> {
    let port = free_port()?;
    let mut all = vec![(bridges::gaoler(place, mode, port, 0), port)];
    let port = free_port()?;
    all.push((bridges::upper_bound(place, port), port));
    if mode == Mode::Shared {
        let port = free_port()?;
        all.push((bridges::crates_io(place, port)?, port));
        for make in [bridges::npm, bridges::pypi] {
            let port = free_port()?;
            all.push((make(place, port), port));
        }
    } else {
        let port = free_port()?;
        all.push((bridges::supergateway(place, port), port));
    }
    Ok(all)
}

/// All rounds at one number of sessions; a contestant that fails is left out from then on, with a note.
fn crowd_of(
    section: &mut Section,
    running: &[(Served, bool)],
    crowd: usize,
    rounds: usize,
    time: Duration,
) -> Vec<Measured> {
    let mut measured: Vec<Measured> = running.iter().map(|_| Measured::default()).collect();
    let mut clients: Vec<_> = running
        .iter()
        .map(|(served, _)| {
            let mut clients = drive::open(&served.target, crowd)?;
            drive::run(&mut clients, time / 4).map(|_warm_up| clients)
        })
        .collect();
    for _ in 0..rounds {
        for (at, (served, _)) in running.iter().enumerate() {
            let Ok(own) = &mut clients[at] else { continue };
            let before = served.cpu_us();
            match drive::run(own, time) {
                Ok(round) => measured[at].add(round, served.cpu_us() - before),
                Err(error) => clients[at] = Err(error),
            }
        }
    }
    for (clients, (served, _)) in clients.into_iter().zip(running) {
        let ended = clients.and_then(|mut clients| clients.iter_mut().try_for_each(|c| c.close_session()));
        if let Err(error) = ended {
            section.say(&format!("{} failed at {crowd} sessions: {}.", served.name, explain(&error)));
        }
    }
    measured
}

fn table(section: &mut Section, running: &[(Served, bool)], measured: &[Measured], crowd: usize) {
    let ours = running.iter().position(|(served, _)| served.name == "gaoler");
    let rows: Vec<Vec<String>> = running
        .iter()
        .zip(measured)
        .map(|((served, _), m)| {
            let ratio = ours.and_then(|at| paired_ratio(&measured[at].rate, &m.rate));
            let median = |values: &[f64]| figure(values).map_or_else(|| "–".into(), |f| short(f.median));
            vec![
                served.name.to_owned(),
                spread(figure(&m.rate)),
                median(&m.p50),
                median(&m.p99),
                median(&m.cpu),
                spread(ratio),
            ]
        })
        .collect();
    section.say(&format!("**{crowd} session{}**", if crowd == 1 { "" } else { "s" }));
    section.table(&["contestant", "calls/s", "p50 µs", "p99 µs", "CPU µs/call", "gaoler / it"], &rows);
}

fn verdicts(
    section: &mut Section,
    mode: Mode,
    running: &[(Served, bool)],
    measured: &[Measured],
    crowd: usize,
) {
    let mode = match mode {
        Mode::Shared => "shared",
        Mode::Isolated => "isolated",
    };
    let median = |values: &[f64]| figure(values).map(|f| f.median);
    let Some(ours) = running.iter().position(|(served, _)| served.name == "gaoler").map(|at| &measured[at])
    else {
        return;
    };
    let ratio = |theirs: &Measured| paired_ratio(&ours.rate, &theirs.rate).map(|f: Figure| f.median);
    let peers = running
        .iter()
        .zip(measured)
        .filter(|((s, proxies), m)| *proxies && s.name != "gaoler" && !m.rate.is_empty());
    let best = peers
        .max_by(|(_, a), (_, b)| median(&a.rate).unwrap_or(0.0).total_cmp(&median(&b.rate).unwrap_or(0.0)));
    let what = |rest: &str| format!("{mode}, {crowd} sessions: {rest}");
    let name = best.as_ref().map_or("the best bridge", |((served, _), _)| served.name);
    let got = best.and_then(|(_, theirs)| ratio(theirs));
    section.verdicts.push(Verdict::at_least(what(&format!("calls/s / {name}")), 1.5, got, "×"));
    let bare = running.iter().zip(measured).find(|((_, proxies), _)| !proxies).and_then(|(_, m)| ratio(m));
    section.verdicts.push(Verdict::at_least(what("calls/s / bare hyper"), 0.7, bare, "×"));
    if crowd == 16 {
        let tail = paired_ratio(&ours.p99, &ours.p50).map(|f| f.median);
        section.verdicts.push(Verdict::at_most(what("p99 / p50"), 2.0, tail, "×"));
    }
}
