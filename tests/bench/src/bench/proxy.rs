//! Proxying: one `tools/call` echo of 100 bytes per call, like against like, in turn.

use std::time::Duration;

use gaoler_bench::drive::{self, Round};
use gaoler_bench::stats::{figure, paired_ratio};
use gaoler_bench::{Result, explain};

use crate::bridges::{self, Bridge, Mode};
use crate::place::Place;
use crate::report::{Section, Verdict, short, spread};
use crate::served::{Served, free_port};

/// Sessions, each on a connection of its own with one call in flight; and what agentgateway 1.3.1 did at that number,
/// divided by [`SCALE`] in the same run, as recorded on a machine of this kind: 3,901 / 5,105, 16,169 / 26,228 and
/// 14,874 / 28,042 calls/s.
const CROWDS: [(usize, f64); 3] = [(1, 0.764), (16, 0.616), (64, 0.530)];
/// The peer in both runs.
const SCALE: &str = "crates.io mcp-proxy 0.6.0";

/// One contestant that serves.
struct Contestant {
    served: Served,
    /// whether it has a child; the upper bound has none
    proxies: bool,
}

/// What was measured of one contestant at one number of sessions.
#[derive(Debug, Default)]
struct Measured {
    name: &'static str,
    proxies: bool,
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
            Ok(served) => running.push(Contestant { served, proxies: bridge.proxies }),
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
    for (crowd, share) in CROWDS {
        let measured = crowd_of(&mut section, &running, crowd, rounds, time);
        table(&mut section, &measured, crowd);
        let share = (mode == Mode::Isolated).then_some(share);
        section.verdicts.extend(verdicts(&measured, crowd, share));
    }
    for line in absent {
        section.say(&format!("Not measured: {line}."));
    }
    if mode == Mode::Isolated {
        section.say(
            "crates.io mcp-proxy has one child for all and is here as a scale: agentgateway, the best recorded with a \
             child for each session, is in no package registry that this benchmark installs from. Its rate is \
             estimated from that recording, in which its 1.3.1 reached 3,901 / 16,169 / 14,874 calls/s at 1 / 16 / 64 \
             sessions and crates.io mcp-proxy 0.6.0 5,105 / 26,228 / 28,042.",
        );
    }
    Ok(section)
}

fn contestants(place: &Place, mode: Mode) -> Result<Vec<(Bridge, u16)>> {
    let port = free_port()?;
    let mut all = vec![(bridges::gaoler(place, mode, port, 0), port)];
    let port = free_port()?;
    all.push((bridges::upper_bound(place, port), port));
    let port = free_port()?;
    all.push((bridges::crates_io(place, port)?, port));
    let others: &[fn(&Place, u16) -> Bridge] = match mode {
        Mode::Shared => &[bridges::npm, bridges::pypi],
        Mode::Isolated => &[bridges::supergateway],
    };
    for make in others {
        let port = free_port()?;
        all.push((make(place, port), port));
    }
    Ok(all)
}

/// All rounds at one number of sessions; a contestant that fails is left out from then on, with a note.
fn crowd_of(
    section: &mut Section,
    running: &[Contestant],
    crowd: usize,
    rounds: usize,
    time: Duration,
) -> Vec<Measured> {
    let named = |c: &Contestant| Measured { name: c.served.name, proxies: c.proxies, ..Measured::default() };
    let mut measured: Vec<Measured> = running.iter().map(named).collect();
    let mut clients: Vec<_> = running
        .iter()
        .map(|Contestant { served, .. }| {
            let mut clients = drive::open(&served.target, crowd)?;
            drive::run(&mut clients, time / 4).map(|_warm_up| clients)
        })
        .collect();
    for _ in 0..rounds {
        for (at, Contestant { served, .. }) in running.iter().enumerate() {
            let Ok(own) = &mut clients[at] else { continue };
            let before = served.cpu_us();
            match drive::run(own, time) {
                Ok(round) => measured[at].add(round, served.cpu_us() - before),
                Err(error) => clients[at] = Err(error),
            }
        }
    }
    for (clients, Contestant { served, .. }) in clients.into_iter().zip(running) {
        let ended = clients.and_then(|mut clients| clients.iter_mut().try_for_each(|c| c.close_session()));
        if let Err(error) = ended {
            section.say(&format!("{} failed at {}: {}.", served.name, sessions(crowd), explain(&error)));
        }
    }
    measured
}

fn sessions(crowd: usize) -> String {
    format!("{crowd} session{}", if crowd == 1 { "" } else { "s" })
}

fn median(values: &[f64]) -> Option<f64> {
    figure(values).map(|f| f.median)
}

fn table(section: &mut Section, measured: &[Measured], crowd: usize) {
    let ours = measured.iter().find(|m| m.name == "gaoler");
    let rows: Vec<Vec<String>> = measured
        .iter()
        .map(|m| {
            let middle = |values: &[f64]| median(values).map_or_else(|| "–".into(), short);
            let ratio = ours.and_then(|ours| paired_ratio(&ours.rate, &m.rate));
            let rate = spread(figure(&m.rate));
            vec![m.name.to_owned(), rate, middle(&m.p50), middle(&m.p99), middle(&m.cpu), spread(ratio)]
        })
        .collect();
    section.say(&format!("**{}**", sessions(crowd)));
    section.table(&["contestant", "calls/s", "p50 µs", "p99 µs", "CPU µs/call", "gaoler / it"], &rows);
}

/// What this number of sessions decides; `share` is there when each session has its own child.
fn verdicts(measured: &[Measured], crowd: usize, share: Option<f64>) -> Vec<Verdict> {
    let Some(ours) = measured.iter().find(|m| m.name == "gaoler") else { return Vec::new() };
    let ratio = |theirs: &Measured| paired_ratio(&ours.rate, &theirs.rate).map(|f| f.median);
    let mode = if share.is_some() { "isolated" } else { "shared" };
    let what = |rest: &str| format!("{mode}, {}: {rest}", sessions(crowd));
    let peers = || measured.iter().filter(|m| m.proxies && m.name != "gaoler" && !m.rate.is_empty());
    let like = peers().filter(|m| share.is_none() || m.name != SCALE);
    let best = like.max_by(|a, b| median(&a.rate).unwrap_or(0.0).total_cmp(&median(&b.rate).unwrap_or(0.0)));
    let name = best.map_or("the best bridge", |m| m.name);
    let mut verdicts =
        vec![Verdict::at_least(what(&format!("calls/s / {name}")), 1.5, best.and_then(ratio), "×")];
    if let Some(share) = share {
        let got = peers().find(|m| m.name == SCALE).and_then(ratio).map(|ratio| ratio / share);
        verdicts.push(Verdict::at_least(what("calls/s / agentgateway (estimated)"), 1.5, got, "×"));
    }
    let bare = measured.iter().find(|m| !m.proxies).and_then(ratio);
    verdicts.push(Verdict::at_least(what("calls/s / bare hyper"), 0.7, bare, "×"));
    if crowd == 16 {
        let tail = paired_ratio(&ours.p99, &ours.p50).map(|f| f.median);
        verdicts.push(Verdict::at_most(what("p99 / p50"), 2.0, tail, "×"));
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(name: &'static str, proxies: bool, rate: f64) -> Measured {
        let (p50, p99) = (vec![1.0], vec![1.5]);
        Measured { name, proxies, rate: vec![rate], p50, p99, cpu: vec![1.0] }
    }

    #[test]
    fn the_best_peer_of_the_same_child_model_decides() {
        let all = [
            measured("gaoler", true, 30.0),
            measured("bare hyper", false, 40.0),
            measured(SCALE, true, 20.0),
            measured("slow", true, 1.0),
        ];
        let met = |share| verdicts(&all, 16, share).iter().map(|v| v.met).collect::<Vec<_>>();
        assert_eq!(met(None), [Some(true), Some(true), Some(true)]);
        let isolated = verdicts(&all, 16, Some(0.616));
        assert!(isolated[0].what.ends_with("/ slow"), "{:?}", isolated[0]);
        assert_eq!(isolated[1].met, Some(true));
        assert_eq!(verdicts(&all[1..], 16, None), []);
    }

    #[test]
    fn a_peer_without_figures_is_no_best() {
        let absent = Measured { rate: Vec::new(), ..measured("absent", true, 0.0) };
        let decided = verdicts(&[measured("gaoler", true, 30.0), absent], 1, None);
        assert_eq!(decided[0].met, None);
    }
}
