//! `/healthz`: whether this front serves, and how far each hosted server has come.

use serde::Serialize;

use crate::app::Front;
use crate::mcp::server::Phase;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    ok: bool,
    service: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    active_sessions: usize,
    servers: Vec<ServerHealth>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServerHealth {
    name: String,
    tool_count: Option<usize>,
    phase: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    isolation: Option<Isolation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// What the check from inside the latest jail saw before the server's first instruction.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Isolation {
    host_uid: u32,
    landlock_abi: u32,
    checks: u32,
    weakened: Vec<String>,
}

/// The JSON text.
pub(crate) fn render(front: &Front) -> Vec<u8> {
    let servers = front.servers.iter().map(|server| {
        let status = server.status.borrow().clone();
        ServerHealth {
            name: server.name.to_string(),
            tool_count: status.tools,
            phase: match status.phase {
                Phase::Starting => "starting",
                Phase::Ready => "ready",
                Phase::Failed => "failed",
            },
            isolation: status.evidence.map(|evidence| Isolation {
                host_uid: evidence.host_uid,
                landlock_abi: evidence.landlock_abi,
                checks: evidence.checks,
                weakened: evidence.weakened,
            }),
            problem: status.problem,
        }
    });
    let health = Health {
        ok: !front.is_draining(),
        service: "gaoler",
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: front.started.elapsed().as_secs(),
        active_sessions: front.servers.iter().map(|server| server.session_count()).sum(),
        servers: servers.collect(),
    };
    serde_json::to_vec(&health).unwrap_or_default()
}
