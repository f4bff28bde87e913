//! How cost grows with jails: the start of one more, and the latency of a call, beside 1 to 300 others.

use std::time::Duration;

use gaoler_bench::client::Client;
use gaoler_bench::stats::figure;
use gaoler_bench::{Error, Result, drive};

use crate::bridges::{self, Mode};
use crate::launchers;
use crate::place::Place;
use crate::plot::{self, Series};
use crate::report::{Section, Verdict, short};
use crate::served::{Served, free_port};
use crate::start;

/// A machine that does other things too disturbs some of these, hardly most.
const WINDOWS: usize = 5;
const WINDOW: Duration = Duration::from_millis(300);

/// Measures at each of these numbers of jails, and writes the plot to `docs/growth.svg`.
pub(crate) fn measure(place: &Place, steps: &[usize], repeats: usize) -> Result<Section> {
    let mut section = Section::new("How cost grows");
    section.say(&format!(
        "Beside N jails of the static server, each with a session: `gaoler jail -- /bin/true` as a whole process \
         (median of {repeats}), and one session's `echo` call (median of {WINDOWS} medians of {} ms).",
        WINDOW.as_millis()
    ));
    let port = free_port()?;
    let served = Served::start(place, &bridges::gaoler(place, Mode::Isolated, port, 0), port)?;
    let ours = launchers::product(place);
    let mut open: Vec<Client> = Vec::new();
    let (mut starts, mut calls, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for &jails in steps {
        while open.len() < jails {
            open.push(Client::with_session(&served.target)?);
        }
        let mut times = Vec::new();
        for _ in 0..repeats {
            times.push(start::once(&ours)?.as_secs_f64() * 1e3);
        }
        let start_ms = figure(&times).map_or(0.0, |f| f.median);
        let mut windows = Vec::new();
        for _ in 0..WINDOWS {
            windows.push(drive::run(&mut open[..1], WINDOW)?.p50_us);
        }
        let call_us = figure(&windows).map_or(0.0, |f| f.median);
        rows.push(vec![jails.to_string(), short(start_ms), short(call_us)]);
        #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
        let at = jails as f64;
        starts.push((at, start_ms));
        calls.push((at, call_us));
    }
    section.table(&["jails", "start, ms", "call, µs"], &rows);
    section.say("![start time and call latency by number of jails](growth.svg)");
    for (what, series) in [("start of a jail", &starts), ("call latency", &calls)] {
        let ratio = series.first().zip(series.last()).map(|(first, last)| last.1 / first.1);
        let most = series.last().map_or(0.0, |last| last.0);
        section.verdicts.push(Verdict::at_most(
            format!("{what} beside {most} jails / beside 1"),
            1.5,
            ratio,
            "×",
        ));
    }
    let svg = plot::svg(&[
        Series { label: "start of one more jail", unit: "ms", points: starts },
        Series { label: "one call", unit: "µs", points: calls },
    ]);
    let path = place.repository.join("docs/growth.svg");
    std::fs::write(&path, svg).map_err(Error::io(format!("writing {}", path.display())))?;
    open.iter_mut().try_for_each(Client::close_session)?;
    Ok(section)
}
