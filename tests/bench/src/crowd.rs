//! Many sessions at once: opened fast, left idle, or held by clients that do not read.

use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::mcp::Target;
use crate::{Error, Result};

/// Connections over which a crowd of sessions is opened.
const LANES: usize = 16;

/// Opens `sessions` sessions over 16 connections in parallel and leaves them; returns the time it took.
///
/// # Errors
/// When one is refused.
pub fn open_idle(target: &Target, sessions: usize) -> Result<Duration> {
    let start = Instant::now();
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| {
            let target = target.clone();
            let share = sessions / LANES + usize::from(lane < sessions % LANES);
            thread::spawn(move || -> Result<()> {
                let mut client = Client::connect(&target)?;
                (0..share).try_for_each(|_| client.open_session())
            })
        })
        .collect();
    for lane in lanes {
        lane.join().map_err(|_| Error::Answer("a thread of the load generator panicked".into()))??;
    }
    Ok(start.elapsed())
}

/// Clients that asked for a result and do not read it.
#[derive(Debug)]
pub struct SlowReaders {
    clients: Vec<Client>,
    bytes: usize,
}

impl SlowReaders {
    /// Opens `count` sessions, each of which asks for a result of `bytes` and reads nothing.
    ///
    /// # Errors
    /// When a session is refused.
    pub fn start(target: &Target, count: usize, bytes: usize) -> Result<Self> {
        let mut clients = crate::drive::open(target, count)?;
        for client in &mut clients {
            client.send_big(bytes)?;
        }
        Ok(Self { clients, bytes })
    }

    /// Lets them read after all; returns how many got their whole answer. The others were cut off.
    #[must_use]
    pub fn finish(self) -> usize {
        let bytes = self.bytes;
        self.clients.into_iter().map(|mut client| client.finish_big(bytes)).filter(Result::is_ok).count()
    }
}
