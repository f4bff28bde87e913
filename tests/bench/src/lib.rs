//! What the load generator and the benchmark driver share: a small HTTP client, closed-loop load, statistics, readings.
//!
//! # Layout
//! - [`http`]: an incremental decoder of HTTP/1.1 responses
//! - [`mcp`]: requests and answers of the benchmarks' own traffic; every answer is compared with what was asked
//! - [`client`]: one blocking keep-alive connection: sessions, big results, floods
//! - [`drive`]: many sessions on one thread, each with one call in flight
//! - [`crowd`]: many sessions, idle or slow to read
//! - [`stats`]: quantiles and medians
//! - [`process`]: process trees, processor time and memory as `/proc` tells them
//!
//! It promises: traffic stays on loopback, every wait and count is bounded, and a wrong answer is an error.

#![forbid(unsafe_code)]

pub mod client;
pub mod crowd;
pub mod drive;
pub mod http;
pub mod mcp;
pub mod process;
pub mod stats;

/// Why a measurement was given up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused a step.
    #[error("{step} failed")]
    Io {
        /// what was tried, with its object
        step: String,
        /// why not
        #[source]
        source: std::io::Error,
    },
    /// The other side answered something else than it should.
    #[error("{0}")]
    Answer(String),
    /// A response was not HTTP.
    #[error("a response could not be read")]
    Http(#[from] http::HttpError),
}

impl Error {
    /// Wraps a refused step.
    pub fn io(step: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let step = step.into();
        move |source| Self::Io { step, source }
    }
}

/// The result of a measurement's step.
pub type Result<T> = std::result::Result<T, Error>;

/// An error with its causes, on one line.
#[must_use]
pub fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
