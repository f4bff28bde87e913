//! What an operator may ask for one server: values that need no look at the host to be valid.
//!
//! The supervisor resolves a policy into a plan (`supervisor/src/plan.rs`); nothing here is a path that was
//! opened or a number that was looked up. Units are in the names.

use serde::{Deserialize, Serialize};

/// How sessions of the legacy protocol era map to jails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionMode {
    /// one jail for each session
    Isolated,
    /// all sessions on one jail, with ids rewritten
    Shared,
}

/// How the hosted server speaks MCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// newline-delimited JSON on its standard input and output
    Stdio,
    /// streamable HTTP on its own loopback inside the jail
    Http {
        /// the TCP port it listens on
        port: u16,
        /// the path of its endpoint, starting with `/`
        path: String,
    },
}

/// What one jail may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// memory and swap together, in bytes
    pub memory_bytes: u64,
    /// processor time in thousandths of one processor
    pub cpu_milli: u32,
    /// processes and threads
    pub pids: u32,
}

impl Default for Limits {
    /// The defaults of the command's contract: 512 MiB, one processor, 128 tasks.
    fn default() -> Self {
        Self { memory_bytes: 512 << 20, cpu_milli: 1000, pids: 128 }
    }
}

/// A host path shown inside the jail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// absolute path on the host
    pub host: String,
    /// absolute path in the jail
    pub jail: String,
    /// whether the jail may write there
    pub writable: bool,
}
