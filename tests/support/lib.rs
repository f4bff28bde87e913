//! What every black-box test needs: the built binaries, a running `gaoler`, a small HTTP and MCP client, bounded
//! waits for a state, and the proof that nothing is left behind.
//!
//! # Layout
//! - [`paths`]: where the product and the test servers were built
//! - [`run`]: `gaoler run` as a guard; [`jail`]: `gaoler jail` as a function
//! - [`http`], [`sse`]: HTTP/1.1 and event streams on a blocking socket
//! - [`mcp`]: sessions of the legacy era, requests of the modern era
//! - [`wait`]: the only place that lets time pass; [`proc`]: what `/proc` says
//! - [`leftovers`]: processes, cgroups, mounts, interfaces, rules and leases that a run must not leave
//! - [`random`]: reproducible choices from a printed seed
//!
//! It promises: blocking std only, every wait has a limit, and a failed expectation panics with what was seen.

pub mod http;
pub mod jail;
pub mod leftovers;
pub mod mcp;
mod output;
pub mod paths;
pub mod proc;
pub mod random;
pub mod run;
pub mod sse;
pub mod wait;

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{FlockOperation, flock};

pub use jail::Jail;
pub use paths::bin;
pub use run::{Launch, Run};

/// Holds the machine for one test: no other test that asks for it runs until this is dropped.
#[must_use = "the lock is released when this is dropped"]
pub struct Exclusive {
    _lock: OwnedFd,
}

/// Waits until no other test, of this process or another, holds the machine, and takes it.
///
/// The lock belongs to an open file, so it is released also when the test process is killed.
///
/// # Panics
/// When the lock file cannot be opened or locked.
pub fn exclusive() -> Exclusive {
    let path = paths::target().join(".serial");
    let file = File::create(&path).unwrap_or_else(|e| panic!("create {}: {e}", path.display()));
    let lock = OwnedFd::from(file);
    flock(&lock, FlockOperation::LockExclusive).unwrap_or_else(|e| panic!("lock {}: {e}", path.display()));
    Exclusive { _lock: lock }
}
