//! A client session of the legacy era on a modern child: see `script` for what an input is and what must hold.

use crate::mcp::translate::modern_server::Adapter;
use crate::mcp::translate::{Action, CallId};
use crate::script::{self, LIMITS};

pub(super) fn run(data: &[u8]) {
    script::run(&mut Driven(Adapter::new(LIMITS)), data);
}

struct Driven(Adapter);

impl script::Adapter for Driven {
    const LEGACY_CLIENT: bool = true;

    fn start(&mut self, now: u64) -> Vec<Action> {
        self.0.start(now)
    }
    fn client(&mut self, call: CallId, frame: &[u8], now: u64) -> Vec<Action> {
        self.0.on_client(call, frame, now)
    }
    fn server(&mut self, line: &[u8], now: u64) -> Vec<Action> {
        self.0.on_server(line, now)
    }
    fn closed(&mut self, call: CallId) -> Vec<Action> {
        self.0.on_closed(call)
    }
    fn time(&mut self, now: u64) -> Vec<Action> {
        self.0.on_time(now)
    }
    fn next_time(&self) -> Option<u64> {
        self.0.next_time()
    }
    fn fail_all(&mut self) -> Vec<Action> {
        self.0.fail_all("over")
    }
    fn drain(&mut self) -> Vec<Action> {
        Vec::new()
    }
}
