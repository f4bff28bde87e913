//! Which request a front may make in which state. Pure and exhaustive: a new request does not compile until somebody
//! decides here. What is not permitted ends the front that asked.

use gaoler_wire::id::{InstanceId, ServerName};
use gaoler_wire::message::McpRequest;

/// Where a front of role `mcp` is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontState {
    /// it has its configuration and has not said that it serves
    Configured,
    /// it serves
    Serving,
    /// it was told to finish
    Draining,
}

impl FrontState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Configured, Self::Serving, Self::Draining];
}

/// What the supervisor knows that a decision needs.
pub trait Known {
    /// Whether this server is in the front's configuration.
    fn serves(&self, server: &ServerName) -> bool;
    /// Whether this front started this instance and it has not ended.
    fn owns(&self, instance: InstanceId) -> bool;
    /// Whether this instance's server listens on a port.
    fn listens(&self, instance: InstanceId) -> bool;
}

/// A request that may be carried out.
#[derive(Debug)]
pub struct Permit(McpRequest);

impl Permit {
    /// The request.
    #[must_use]
    pub fn into_request(self) -> McpRequest {
        self.0
    }
}

/// Why a request ends its front.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("front asked for {verb} while {state:?}: {why}")]
pub struct Unpermitted {
    verb: &'static str,
    state: FrontState,
    why: &'static str,
}

/// Decides about one request.
///
/// # Errors
/// [`Unpermitted`] when the front must be ended for asking.
pub fn mcp(state: FrontState, request: McpRequest, known: &impl Known) -> Result<Permit, Unpermitted> {
    let verb = verb(&request);
    let refused = |why| Err(Unpermitted { verb, state, why });
    match (&request, state) {
        (McpRequest::Ready, FrontState::Configured) => {}
        (McpRequest::Ready, FrontState::Serving | FrontState::Draining) => {
            return refused("it said so already");
        }
        // Before it is ready a front may learn what its servers can do; while draining a dead server may be needed again.
        (
            McpRequest::Start { server, .. },
            FrontState::Configured | FrontState::Serving | FrontState::Draining,
        ) => {
            if !known.serves(server) {
                return refused("the server is not in its configuration");
            }
        }
        // Ended a moment ago is no offence: the two sides cross.
        (McpRequest::Stop { .. }, FrontState::Configured | FrontState::Serving | FrontState::Draining) => {}
        (
            McpRequest::Dial { instance, .. },
            FrontState::Configured | FrontState::Serving | FrontState::Draining,
        ) => {
            if known.owns(*instance) && !known.listens(*instance) {
                return refused("the instance listens on no port");
            }
        }
        (McpRequest::Drained, FrontState::Draining) => {}
        (McpRequest::Drained, FrontState::Configured | FrontState::Serving) => {
            return refused("it was not told to finish");
        }
    }
    Ok(Permit(request))
}

/// The request's name, for logs and the table of the test.
#[must_use]
pub fn verb(request: &McpRequest) -> &'static str {
    match request {
        McpRequest::Ready => "ready",
        McpRequest::Start { .. } => "start",
        McpRequest::Stop { .. } => "stop",
        McpRequest::Dial { .. } => "dial",
        McpRequest::Drained => "drained",
    }
}

#[cfg(test)]
mod tests {
    use gaoler_wire::id::Ticket;

    use super::*;

    struct World;

    impl Known for World {
        fn serves(&self, server: &ServerName) -> bool {
            server.as_str() == "local/known"
        }
        fn owns(&self, instance: InstanceId) -> bool {
            instance.0 < 10
        }
        fn listens(&self, instance: InstanceId) -> bool {
            instance.0 == 1
        }
    }

    fn requests() -> Vec<(&'static str, McpRequest)> {
        let ticket = Ticket(1);
        let server = |name: &str| name.parse().unwrap();
        vec![
            ("ready", McpRequest::Ready),
            ("start a known server", McpRequest::Start { ticket, server: server("local/known") }),
            ("start an unknown server", McpRequest::Start { ticket, server: server("local/other") }),
            ("stop its instance", McpRequest::Stop { instance: InstanceId(1) }),
            ("stop an ended instance", McpRequest::Stop { instance: InstanceId(99) }),
            ("dial its listening instance", McpRequest::Dial { ticket, instance: InstanceId(1) }),
            ("dial its silent instance", McpRequest::Dial { ticket, instance: InstanceId(2) }),
            ("dial an ended instance", McpRequest::Dial { ticket, instance: InstanceId(99) }),
            ("drained", McpRequest::Drained),
        ]
    }

    /// Role × verb × state, as a table that a reviewer sees change. `GAOLER_GOLDEN=write` writes it anew.
    #[test]
    fn the_table_of_requests_is_as_reviewed() {
        let mut table = String::from("# role mcp: request × state; what is refused ends the front\n");
        for (what, request) in requests() {
            for state in FrontState::ALL {
                let decision = match mcp(state, request.clone(), &World) {
                    Ok(_) => "permitted".to_owned(),
                    Err(refusal) => format!("refused: {}", refusal.why),
                };
                table.push_str(&format!("{what:28} {state:?}: {decision}\n"));
            }
        }
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/requests.txt");
        if std::env::var_os("GAOLER_GOLDEN").is_some_and(|v| v == "write") {
            std::fs::write(golden, &table).unwrap();
        }
        assert_eq!(table, std::fs::read_to_string(golden).unwrap());
    }
}
