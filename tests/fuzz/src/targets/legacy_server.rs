//! Modern clients on a child of the legacy era: see `script` for what an input is and what must hold.

use crate::mcp::translate::legacy_server::Adapter;
use crate::mcp::translate::{Action, CallId, Capabilities, Introduction};
use crate::script::{self, LIMITS};

/// An input with this first line begins after the handshake.
const READY: &[u8] = b"ready\n";
const HELLO: &[u8] = br#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true,"listChanged":true},"logging":{}},"serverInfo":{"name":"s","version":"1"}}}"#;

pub(super) fn run(data: &[u8]) {
    // What nobody can guess counts up here, so that a script can know it.
    let mut count = 0;
    let random = move || {
        count += 1;
        [count; 16]
    };
    let first = data.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"c "));
    let introduction = match first {
        Some(frame) if !data.starts_with(READY) => Introduction::of(frame),
        _ => Introduction { capabilities: Capabilities::ALL, client_info: None },
    };
    let adapter = Adapter::new(LIMITS, introduction, Box::new(random));
    let ready = data.starts_with(READY);
    script::run(&mut Driven { adapter, ready }, data.strip_prefix(READY).unwrap_or(data));
}

struct Driven {
    adapter: Adapter,
    ready: bool,
}

impl script::Adapter for Driven {
    const LEGACY_CLIENT: bool = false;

    fn start(&mut self, now: u64) -> Vec<Action> {
        let mut actions = self.adapter.start(now);
        if self.ready {
            actions.extend(self.adapter.on_server(HELLO, now));
            assert!(self.adapter.is_ready());
        }
        actions
    }
    fn client(&mut self, call: CallId, frame: &[u8], now: u64) -> Vec<Action> {
        self.adapter.on_client(call, frame, now)
    }
    fn server(&mut self, line: &[u8], now: u64) -> Vec<Action> {
        self.adapter.on_server(line, now)
    }
    fn closed(&mut self, call: CallId) -> Vec<Action> {
        self.adapter.on_closed(call)
    }
    fn time(&mut self, now: u64) -> Vec<Action> {
        self.adapter.on_time(now)
    }
    fn next_time(&self) -> Option<u64> {
        self.adapter.next_time()
    }
    fn fail_all(&mut self) -> Vec<Action> {
        self.adapter.fail_all("over")
    }
    fn drain(&mut self) -> Vec<Action> {
        self.adapter.end_listens()
    }
}
