//! `gaoler doctor`: what this host offers, what is missing, how to get it.
//!
//! # Layout
//! - [`facts`]: what was seen, as plain values
//! - [`gather`]: looks at the host; [`probe`] and [`netfilter`] try what can only be tried
//! - [`judge`]: facts to findings, pure
//! - [`report`]: findings to text and JSON
//! - [`preflight`]: the few checks before every `run` and `jail`
//!
//! It changes nothing: what must be tried is tried in a child process that ends at once.

pub mod facts;
mod gather;
mod judge;
mod netfilter;
mod parse;
pub mod preflight;
pub mod probe;
pub mod report;

use std::io::{self, Write};

pub use gather::gather;
pub use judge::judge;
pub use preflight::preflight;

/// Looks, judges and writes the report to `out`. Returns the exit status: 0 when hosting is possible, 1 when not.
///
/// # Errors
/// What writing to `out` fails with.
pub fn run(json: bool, out: &mut dyn Write) -> io::Result<u8> {
    let report = judge(&gather());
    if json {
        writeln!(out, "{}", report.to_json()?)?;
    } else {
        out.write_all(report.to_text().as_bytes())?;
    }
    out.flush()?;
    Ok(u8::from(!report.hosting_possible()))
}

#[cfg(test)]
mod tests;
