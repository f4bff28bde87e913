//! Closed-loop load from one thread: each session has exactly one call in flight.
//!
//! It promises: every answer is checked, and between two rounds no call is in flight.

use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use crate::client::{Client, PATIENCE};
use crate::mcp::Target;
use crate::stats::quantile;
use crate::{Error, Result};

/// What a round of load saw.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// calls answered in the time of the round
    pub calls: usize,
    /// calls a second
    pub rate: f64,
    /// microseconds within which half of the calls were answered
    pub p50_us: f64,
    /// microseconds within which 99 of 100 calls were answered
    pub p99_us: f64,
}

/// Opens `count` sessions, each on a connection of its own.
///
/// # Errors
/// When one is refused.
pub fn open(target: &Target, count: usize) -> Result<Vec<Client>> {
    (0..count).map(|_| Client::with_session(target)).collect()
}

/// Calls `echo` from every session for this long.
///
/// # Errors
/// When a call fails, is answered wrongly, or not within the patience of a client.
pub fn run(clients: &mut [Client], time: Duration) -> Result<Round> {
    let set =
        epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| Error::io("making an epoll")(e.into()))?;
    for (asker, client) in clients.iter_mut().enumerate() {
        client.refresh()?;
        epoll::add(&set, client.socket(), epoll::EventData::new_u64(asker as u64), epoll::EventFlags::IN)
            .map_err(|e| Error::io("watching a connection")(e.into()))?;
    }
    let start = Instant::now();
    let mut sent = vec![start; clients.len()];
    let mut latencies = Vec::with_capacity(1 << 17);
    for (asker, client) in clients.iter_mut().enumerate() {
        sent[asker] = Instant::now();
        client.send_echo(asker)?;
    }
    let mut in_flight = clients.len();
    let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    let mut space = [const { MaybeUninit::uninit() }; 64];
    while in_flight > 0 {
        let (events, _) = epoll::wait(&set, &mut space, Some(&patience))
            .map_err(|e| Error::io("waiting for an answer")(e.into()))?;
        if events.is_empty() {
            return Err(Error::Answer(format!(
                "{in_flight} calls were not answered in {} s",
                PATIENCE.as_secs()
            )));
        }
        for event in events {
            let Some(asker) = usize::try_from(event.data.u64()).ok().filter(|&a| a < clients.len()) else {
                continue;
            };
            if !clients[asker].on_readable()? {
                continue;
            }
            clients[asker].verify_echo(asker)?;
            let now = Instant::now();
            if now - start < time {
                latencies.push((now - sent[asker]).as_secs_f64() * 1e6);
                sent[asker] = now;
                clients[asker].send_echo(asker)?;
            } else {
                in_flight -= 1;
            }
        }
    }
    Ok(summary(latencies, time))
}

#[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
fn summary(mut latencies: Vec<f64>, time: Duration) -> Round {
    latencies.sort_by(f64::total_cmp);
    Round {
        calls: latencies.len(),
        rate: latencies.len() as f64 / time.as_secs_f64(),
        p50_us: quantile(&latencies, 0.5),
        p99_us: quantile(&latencies, 0.99),
    }
}
