//! Large and many: a 10 MiB result, 100,000 notifications in one stream, clients that do not read.

use std::time::{Duration, Instant};

use gaoler_bench::client::Client;
use gaoler_bench::crowd::SlowReaders;
use gaoler_bench::mcp::{self, Target};
use gaoler_bench::stats::figure;
use gaoler_bench::{Error, Result, drive, explain};

use crate::bridges::{self, Bridge, Mode};
use crate::place::Place;
use crate::report::{Section, Verdict, short};
use crate::served::{Served, free_port};
use crate::sessions::Bare;

const BIG: usize = 10 << 20;
const SLOW_BYTES: usize = 256 * 1024;
/// What 1,000 slow readers may cost the front: a quarter of a mebibyte each is asked for, and twice that is a bound.
const SLOW_KIB_MOST: f64 = 512.0;

/// How many of each; smaller in a quick run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    /// notifications in one stream
    pub(crate) flood: u32,
    /// clients that do not read
    pub(crate) slow: usize,
    /// repetitions
    pub(crate) rounds: usize,
}

/// What one contestant did.
#[derive(Debug)]
struct Stream {
    big_ms: Result<f64>,
    /// the time, and how many notifications arrived
    flood: Result<(f64, u32)>,
    grown_kib: f64,
}

/// Measures the pipe itself, the product and the peers.
pub(crate) fn measure(place: &Place, counts: Counts) -> Result<Section> {
    let mut section = Section::new("Large and many");
    section.say(&format!(
        "A result of 10 MiB, and {} progress notifications before one answer, each through one session; medians of {}. \
         \"The pipe\" is the server read directly. Growth is that of the resident peak of the front (of the whole \
         bridge, for peers) over all of it.",
        counts.flood, counts.rounds
    ));
    let (pipe_big, pipe_flood) = pipe(place, counts)?;
    let mut rows = vec![vec![
        "the pipe".into(),
        short(pipe_big),
        short(pipe_flood),
        counts.flood.to_string(),
        "–".into(),
    ]];
    for (bridge, port) in contestants(place)? {
        match through(place, &bridge, port, counts) {
            Ok(stream) => {
                if bridge.name == "gaoler" {
                    verdicts(&mut section, &stream, pipe_big, pipe_flood);
                }
                rows.push(row(bridge.name, &stream));
            }
            Err(error) => {
                rows.push(vec![bridge.name.into(), explain(&error), "–".into(), "–".into(), "–".into()]);
            }
        }
    }
    section.table(&["", "10 MiB, ms", "notifications, ms", "arrived", "growth, MiB"], &rows);
    slow(place, counts.slow, &mut section);
    Ok(section)
}

fn row(name: &str, stream: &Stream) -> Vec<String> {
    let big = stream.big_ms.as_ref().map_or_else(|error| explain(error), |ms| short(*ms));
    let (flood, seen) = match &stream.flood {
        Ok((ms, seen)) => (short(*ms), seen.to_string()),
        Err(error) => (explain(error), "–".into()),
    };
    vec![name.to_owned(), big, flood, seen, short(stream.grown_kib / 1024.0)]
}

fn verdicts(section: &mut Section, ours: &Stream, pipe_big: f64, pipe_flood: f64) {
    // "Near the pipe's own" in figures: not over four times its time, with HTTP framing and two more copies between.
    let near = |what: &str, ratio: Option<f64>| Verdict::at_most(what, 4.0, ratio, "×");
    let big = ours.big_ms.as_ref().ok().map(|ms| ms / pipe_big);
    let flood = ours.flood.as_ref().ok().map(|(ms, _)| ms / pipe_flood);
    section.verdicts.push(near("10 MiB result, time / the pipe's own", big));
    section.verdicts.push(near("notifications, time / the pipe's own", flood));
    let grown = Some(ours.grown_kib / 1024.0);
    section.verdicts.push(Verdict::at_most("front's growth over large and many", 128.0, grown, "MiB"));
}

fn contestants(place: &Place) -> Result<Vec<(Bridge, u16)>> {
    let port = free_port()?;
    let mut all = vec![(bridges::gaoler(place, Mode::Shared, port, 0), port)];
    let port = free_port()?;
    all.push((bridges::crates_io(place, port)?, port));
    for make in [bridges::npm, bridges::pypi, bridges::supergateway] {
        let port = free_port()?;
        all.push((make(place, port), port));
    }
    Ok(all)
}

fn median_ms(rounds: usize, mut once: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        once()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(figure(&times).map_or(0.0, |f| f.median))
}

fn pipe(place: &Place, counts: Counts) -> Result<(f64, f64)> {
    let mut bare = Bare::start(place)?;
    // No bridge, so no prefix; the address is not used.
    let nowhere = Target::parse("http://127.0.0.1:1/")?;
    let big = mcp::call(1, &nowhere, "big", &format!(r#"{{"bytes":{BIG}}}"#));
    let flood = mcp::call(1, &nowhere, "flood", &format!(r#"{{"count":{}}}"#, counts.flood));
    let big_ms = median_ms(counts.rounds, || bare.lines(&big, 1))?;
    let lines = counts.flood as usize + 1;
    Ok((big_ms, median_ms(counts.rounds, || bare.lines(&flood, lines))?))
}

fn through(place: &Place, bridge: &Bridge, port: u16, counts: Counts) -> Result<Stream> {
    let served = Served::start(place, bridge, port)?;
    let mut client = Client::with_session(&served.target)?;
    let before = served.front_kib();
    let big_ms = median_ms(counts.rounds, || {
        client.send_big(BIG)?;
        client.finish_big(BIG)
    });
    let mut seen = counts.flood;
    // A bridge that a big result has killed gets a session that it can refuse.
    let flood = Client::with_session(&served.target).and_then(|mut client| {
        median_ms(counts.rounds, || {
            seen = seen.min(client.flood(counts.flood)?);
            Ok(())
        })
    });
    let flood = flood.map(|ms| (ms, seen));
    Ok(Stream { big_ms, flood, grown_kib: served.front_peak_kib() - before })
}

/// Clients that ask for 256 KiB each and do not read: what the front grows by, and what a neighbour notices.
fn slow(place: &Place, count: usize, section: &mut Section) {
    let grown = slow_readers(place, count).map_err(|error| explain(&error));
    let each = match grown {
        Ok(Slow { grown_kib, calm_us, held_us, served }) => {
            #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
            let each = grown_kib / count as f64;
            section.say(&format!(
                "{count} sessions asked for 256 KiB each and did not read: the front grew by {} KiB for each; a \
                 neighbour's call took {} µs (median) before and {} µs meanwhile; {served} of {count} got their whole \
                 answer when they read after all.",
                short(each),
                short(calm_us),
                short(held_us)
            ));
            let ratio = Some(held_us / calm_us);
            section.verdicts.push(Verdict::at_most(
                "a neighbour's call beside slow readers / before",
                2.0,
                ratio,
                "×",
            ));
            Some(each)
        }
        Err(why) => {
            section.say(&format!("Slow readers could not be measured: {why}."));
            None
        }
    };
    let what = format!("front's growth for each of {count} slow readers");
    section.verdicts.push(Verdict::at_most(what, SLOW_KIB_MOST, each, "KiB"));
}

#[derive(Debug)]
struct Slow {
    grown_kib: f64,
    calm_us: f64,
    held_us: f64,
    served: usize,
}

fn slow_readers(place: &Place, count: usize) -> Result<Slow> {
    let port = free_port()?;
    let served = Served::start(place, &bridges::gaoler(place, Mode::Shared, port, 0), port)?;
    let mut neighbour = drive::open(&served.target, 1)?;
    let time = Duration::from_millis(500);
    let calm_us = drive::run(&mut neighbour, time)?.p50_us;
    let before = served.front_kib();
    let readers = SlowReaders::start(&served.target, count, SLOW_BYTES)?;
    // The neighbour's own answer comes after theirs through the one child, so from here on theirs are all in the front.
    neighbour.first_mut().ok_or_else(|| Error::Answer("no neighbour".into()))?.echo(0)?;
    let held_us = drive::run(&mut neighbour, time)?.p50_us;
    let grown_kib = served.front_kib() - before;
    Ok(Slow { grown_kib, calm_us, held_us, served: readers.finish() })
}
