//! `load`: the load generator by hand, for profiling: `load URL MODE [N] [SECONDS]`.
//!
//! Modes: `calls N SECONDS` (N sessions, one call in flight each), `open N`, `big BYTES`, `flood N`, `slow N`.
//! It promises: exit 0 only when every answer was the right one, 1 with the reason otherwise, 2 on bad usage.

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use gaoler_bench::client::Client;
use gaoler_bench::crowd::{SlowReaders, open_idle};
use gaoler_bench::mcp::Target;
use gaoler_bench::{Result, drive, explain};

const USAGE: &str = "usage: load URL calls N SECONDS | open N | big BYTES | flood N | slow N";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |nth: usize| arguments.get(nth).and_then(|text| text.parse::<u32>().ok());
    let (Some(url), Some(mode), Some(count)) = (arguments.first(), arguments.get(1), number(2)) else {
        return end(2, USAGE);
    };
    match Target::parse(url).and_then(|target| measure(&target, mode, count, number(3).unwrap_or(2))) {
        Ok(Some(line)) => end(0, &line),
        Ok(None) => end(2, USAGE),
        Err(error) => end(1, &explain(&error)),
    }
}

fn end(code: u8, line: &str) -> ExitCode {
    // Nothing is left to do when the terminal is gone.
    let _ = writeln!(std::io::stdout(), "{line}");
    ExitCode::from(code)
}

fn measure(target: &Target, mode: &str, count: u32, seconds: u32) -> Result<Option<String>> {
    let start = Instant::now();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(Some(match mode {
        "calls" => {
            let mut clients = drive::open(target, count as usize)?;
            let round = drive::run(&mut clients, Duration::from_secs(u64::from(seconds)))?;
            for client in &mut clients {
                client.close_session()?;
            }
            let drive::Round { calls, rate, p50_us, p99_us } = round;
            format!("{calls} calls, {rate:.0} calls/s, p50 {p50_us:.0} us, p99 {p99_us:.0} us")
        }
        "open" => format!("{count} sessions in {:.1} ms", milliseconds(open_idle(target, count as usize)?)),
        "big" => {
            let mut client = Client::with_session(target)?;
            client.send_big(count as usize)?;
            client.finish_big(count as usize)?;
            format!("{count} bytes in {:.1} ms", milliseconds(start.elapsed()))
        }
        "flood" => {
            let seen = Client::with_session(target)?.flood(count)?;
            format!("{seen} of {count} notifications in {:.1} ms", milliseconds(start.elapsed()))
        }
        "slow" => {
            let whole = SlowReaders::start(target, count as usize, 256 * 1024)?.finish();
            format!("{whole} of {count} slow readers got their answer")
        }
        _ => return Ok(None),
    }))
}
