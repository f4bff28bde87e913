//! One transcript for each row of docs/eras.md with a modern-only server.

mod calls;
mod hostile;
mod input;
mod listen;

use super::*;
use crate::mcp::translate::transcript::{lines, request, result};

const ALL: &str = r#"{"sampling":{},"elicitation":{"form":{},"url":{}},"roots":{"listChanged":true}}"#;
const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"sampling":{},"elicitation":{"form":{},"url":{}},"roots":{"listChanged":true}},"io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"}"#;
const SERVER: &str = r#"{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{}}"#;

fn initialize(capabilities: &str) -> String {
    request(
        "0",
        "initialize",
        &format!(
            r#"{{"protocolVersion":"2025-11-25","capabilities":{capabilities},"clientInfo":{{"name":"c","version":"1"}}}}"#
        ),
    )
}

fn discover(capabilities: &str) -> String {
    format!(
        r#"{{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{capabilities},"ttlMs":0,"cacheScope":"public"}}"#
    )
}

fn ready_with(limits: Limits, client: &str) -> Adapter {
    let mut adapter = Adapter::new(limits);
    adapter.start(0);
    adapter.c(100, &initialize(client));
    adapter.s(&result("1", &discover(SERVER)));
    assert!(adapter.is_ready());
    adapter
}

/// An adapter after `initialize`: the next id for the child is 2.
fn ready() -> Adapter {
    ready_with(Limits::default(), ALL)
}

impl Adapter {
    fn c(&mut self, call: u64, frame: &str) -> Vec<String> {
        lines(self.on_client(CallId(call), frame.as_bytes(), 0))
    }

    fn s(&mut self, frame: &str) -> Vec<String> {
        lines(self.on_server(frame.as_bytes(), 0))
    }

    fn call(&mut self, call: u64, id: &str) -> Vec<String> {
        self.c(call, &request(id, "tools/call", r#"{"name":"t"}"#))
    }
}

fn code_of(lines: &[String]) -> i64 {
    let text = lines[0].split_once(' ').unwrap().1;
    serde_json::from_str::<serde_json::Value>(text).unwrap()["error"]["code"].as_i64().unwrap()
}
