//! The whole privileged surface: what a front may ask of the supervisor, and what it is told.
//!
//! Both enums are closed and matched without a wildcard; which request is permitted when is decided in
//! `supervisor/src/permit.rs`. A message that is malformed, too large or not permitted ends its front.

use serde::{Deserialize, Serialize};

use crate::id::{InstanceId, ServerName, Ticket};
use crate::policy::{SessionMode, Transport};

/// What a front of role `mcp` may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum McpRequest {
    /// I have my configuration and accept connections; asked once.
    Ready,
    /// Start one jail of this server; answered by [`McpEvent::Started`] or [`McpEvent::StartFailed`].
    Start {
        /// repeated in the answer
        ticket: Ticket,
        /// a server named in the configuration
        server: ServerName,
    },
    /// End this jail: its standard input is closed already, then SIGTERM, a grace period, SIGKILL.
    /// [`McpEvent::Exited`] follows in any case.
    Stop {
        /// an instance that this front started
        instance: InstanceId,
    },
    /// Open a connection to the HTTP port inside this jail; answered by [`McpEvent::Dialed`] or
    /// [`McpEvent::DialFailed`].
    Dial {
        /// repeated in the answer
        ticket: Ticket,
        /// an instance of a server with an HTTP transport
        instance: InstanceId,
    },
    /// Nothing is in flight any more; asked once, after [`McpEvent::Drain`].
    Drained,
}

/// What the supervisor tells a front of role `mcp`. Descriptors travel beside the message, in the order named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum McpEvent {
    /// The first message: what to serve. Descriptors: one listening TCP socket.
    Configure(McpConfig),
    /// A jail runs. Descriptors: its standard input (write end), output and error (read ends).
    Started {
        /// of the request
        ticket: Ticket,
        /// the new instance
        instance: InstanceId,
        /// what the check from inside the jail saw
        evidence: Evidence,
    },
    /// No jail was started.
    StartFailed {
        /// of the request
        ticket: Ticket,
        /// one sentence for the caller and the log
        reason: String,
        /// milliseconds until another try makes sense; 0 when at once
        retry_after_ms: u32,
    },
    /// A jail has ended and nothing is left of it.
    Exited {
        /// the instance
        instance: InstanceId,
        /// why
        cause: ExitCause,
    },
    /// A connection into the jail. Descriptors: the connected socket.
    Dialed {
        /// of the request
        ticket: Ticket,
    },
    /// No connection could be opened.
    DialFailed {
        /// of the request
        ticket: Ticket,
        /// one sentence for the caller and the log
        reason: String,
    },
    /// What a jail uses now; sent every few seconds while it runs.
    Usage {
        /// the instance
        instance: InstanceId,
        /// readings of its cgroup
        usage: Usage,
    },
    /// Take no new sessions, finish what is in flight within this time, then ask [`McpRequest::Drained`].
    Drain {
        /// milliseconds
        grace_ms: u32,
    },
}

/// What a front of role `mcp` serves, and its bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpConfig {
    /// the servers behind `/hosted/{namespace}/{name}/mcp`
    pub servers: Vec<ServedServer>,
    /// what `Host` may say besides loopback names: `host` or `host:port`
    pub allowed_hosts: Vec<String>,
    /// what `Origin` may say besides loopback origins: `scheme://host[:port]`
    pub allowed_origins: Vec<String>,
    /// bounds of every queue, buffer and wait
    pub limits: FrontLimits,
}

/// One server as the front sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedServer {
    /// its name in the URL
    pub name: ServerName,
    /// how legacy sessions map to jails
    pub session_mode: SessionMode,
    /// how it speaks
    pub transport: Transport,
    /// jails kept started ahead of the first session that needs them
    pub warm: u32,
}

/// The front's bounds. Sizes in bytes, times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontLimits {
    /// one line of a hosted server's standard output
    pub line_bytes: u64,
    /// one HTTP request body
    pub body_bytes: u64,
    /// what may wait for one slow reader before its session ends
    pub queue_bytes: u64,
    /// events kept for one session's `Last-Event-ID`
    pub replay_bytes: u64,
    /// sessions of one server
    pub sessions_per_server: u32,
    /// sessions of one caller on one server
    pub sessions_per_principal: u32,
    /// connections of the whole front
    pub connections: u32,
    /// requests waiting for an answer in one session
    pub in_flight: u32,
    /// a session without traffic ends
    pub idle_ms: u64,
    /// a request without its answer fails
    pub request_ms: u64,
    /// a jail that has not answered its first request is given up
    pub start_ms: u64,
    /// between two comment lines on a quiet event stream
    pub keep_alive_ms: u64,
}

impl Default for FrontLimits {
    fn default() -> Self {
        Self {
            line_bytes: 32 << 20,
            body_bytes: 16 << 20,
            queue_bytes: 64 << 20,
            replay_bytes: 1 << 20,
            sessions_per_server: 16_384,
            sessions_per_principal: 16_384,
            connections: 16_384,
            in_flight: 1024,
            idle_ms: 30 * 60 * 1000,
            request_ms: 5 * 60 * 1000,
            start_ms: 60 * 1000,
            keep_alive_ms: 15 * 1000,
        }
    }
}

/// Why a jail ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitCause {
    /// the server called exit
    Exited(u8),
    /// a signal ended it
    Signalled(u8),
    /// the group went over its memory limit and was killed
    OutOfMemory,
    /// a system call that the profile kills for
    Seccomp,
    /// it was asked to stop and did
    Stopped,
    /// it was asked to stop, did not within the grace period, and was killed
    KilledAfterGrace,
    /// the set-up or the jail's own process 1 failed; one sentence
    Broken(String),
}

impl std::fmt::Display for ExitCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with status {code}"),
            Self::Signalled(signal) => write!(f, "ended by signal {signal}"),
            Self::OutOfMemory => f.write_str("ran out of memory and was killed"),
            Self::Seccomp => f.write_str("made a forbidden system call and was killed"),
            Self::Stopped => f.write_str("was stopped"),
            Self::KilledAfterGrace => f.write_str("was told to stop, did not, and was killed"),
            Self::Broken(why) => f.write_str(why),
        }
    }
}

/// What the check from inside the jail saw and was compared with the plan before the server's first instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// the host user id that the server runs as
    pub host_uid: u32,
    /// the running kernel's Landlock version
    pub landlock_abi: u32,
    /// how many single facts were compared
    pub checks: u32,
    /// layers that the node's configuration gave up by name
    pub weakened: Vec<String>,
}

/// Readings of one jail's cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// bytes charged now
    pub memory_bytes: u64,
    /// the most that were ever charged, in bytes
    pub memory_peak_bytes: u64,
    /// processor time so far, in microseconds
    pub cpu_us: u64,
    /// tasks now
    pub pids: u32,
    /// processes killed for memory so far
    pub oom_kills: u64,
}
