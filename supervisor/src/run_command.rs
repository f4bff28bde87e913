//! `gaoler run`: hosts one server in the foreground, with a supervisor and a front of its own.

use std::net::TcpListener;
use std::time::Instant;

use gaoler_wire::message::{McpConfig, ServedServer};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::Hosting;
use crate::data;
use crate::host::{self, Host};
use crate::server::Server;
use crate::supervisor::{Parts, Supervisor};
use crate::{log, recover};

/// Connections that wait to be accepted, also while a front is restarted.
const BACKLOG: i32 = 4096;

/// Runs until it is told to end. Returns this process's exit status.
///
/// # Errors
/// One sentence when hosting could not begin or the event loop failed.
pub fn run(hosting: &Hosting, secrets: &[(String, Vec<u8>)]) -> Result<u8, String> {
    let host = Host::look().map_err(|e| e.to_string())?;
    let spawner = host::spawner()?;
    let front = host::helper("gaoler-front")?;
    let front_executable =
        front.canonicalize().map_err(|e| format!("cannot find {}: {e}", front.display()))?;
    let left = recover::recover(&host).map_err(|e| e.to_string())?;
    if left > 0 {
        log::line(&format!("cleaned up after {left} jails of a process that was killed"));
    }
    raise_files().map_err(|e| format!("cannot raise the limit of open files: {e}"))?;
    let listener = listen(hosting)?;
    let volume = hosting.data_bytes.map(|bytes| data::open(&hosting.name, bytes)).transpose()?;
    let address =
        listener.local_addr().map_err(|e| format!("cannot ask for the address of --listen: {e}"))?;
    let config = McpConfig {
        servers: vec![ServedServer {
            name: hosting.name.clone(),
            session_mode: hosting.session_mode,
            transport: hosting.transport.clone(),
            warm: hosting.warm,
        }],
        allowed_hosts: hosting.allow_hosts.clone(),
        allowed_origins: hosting.allow_origins.clone(),
        limits: hosting.front,
    };
    let parts = Parts {
        server: Server::new(hosting.clone(), secrets.to_vec(), volume),
        url: format!("http://{address}/hosted/{}/mcp", hosting.name),
        ends_at: hosting.timeout.map(|time| Instant::now() + time),
        host,
        spawner,
        front_executable,
        config,
        listener,
    };
    Supervisor::new(parts)?.run()
}

/// Each jail takes some descriptors, and the usual soft limit of 1024 is there for programs that use select(2).
fn raise_files() -> rustix::io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
}

fn listen(hosting: &Hosting) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(hosting.listen)
        .map_err(|e| format!("--listen {}: {e}; choose another address or port", hosting.listen))?;
    // The standard library's own backlog is short of what 10,000 clients need.
    rustix::net::listen(&listener, BACKLOG).map_err(|e| format!("--listen {}: {e}", hosting.listen))?;
    Ok(listener)
}
