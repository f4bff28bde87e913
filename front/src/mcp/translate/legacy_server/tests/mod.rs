//! One transcript for each row of docs/eras.md with a legacy-only server.

mod calls;
mod hostile;
mod input;
mod listen;

use super::*;
use crate::mcp::translate::Capabilities;
use crate::mcp::translate::transcript::{lines, request, result};

const CAPABILITIES: &str = r#"{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true,"listChanged":true},"logging":{},"tasks":{"list":{}}}"#;
const ALL: &str = r#"{"sampling":{},"elicitation":{"form":{},"url":{}},"roots":{}}"#;
const STATE: &str = "01010101010101010101010101010101";

/// The `_meta` of a modern request that declares these capabilities, with more members.
fn meta(capabilities: &str, more: &str) -> String {
    format!(
        r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{capabilities}{more}}}"#
    )
}

fn tool(name: &str, capabilities: &str, more: &str) -> String {
    format!(r#"{{"name":"{name}",{}{more}}}"#, meta(capabilities, ""))
}

/// An adapter whose requestStates count up.
fn new(limits: Limits) -> Adapter {
    let mut count = 0;
    let random = move || {
        count += 1;
        [count; 16]
    };
    let introduction = Introduction { capabilities: Capabilities::ALL, client_info: None };
    Adapter::new(limits, introduction, Box::new(random))
}

/// An adapter after the handshake: the next id for the child is 2.
fn ready() -> Adapter {
    ready_with(Limits::default())
}

fn ready_with(limits: Limits) -> Adapter {
    let mut adapter = new(limits);
    adapter.start(0);
    let answer = format!(
        r#"{{"protocolVersion":"2025-11-25","capabilities":{CAPABILITIES},"serverInfo":{{"name":"s","version":"1"}},"instructions":"do"}}"#
    );
    adapter.on_server(result("1", &answer).as_bytes(), 0);
    assert!(adapter.is_ready());
    adapter
}

impl Adapter {
    fn c(&mut self, call: u64, frame: &str) -> Vec<String> {
        lines(self.on_client(CallId(call), frame.as_bytes(), 0))
    }

    fn s(&mut self, frame: &str) -> Vec<String> {
        lines(self.on_server(frame.as_bytes(), 0))
    }

    /// A tools/call from a client that declares everything.
    fn call(&mut self, call: u64, id: &str) {
        self.c(call, &request(id, "tools/call", &tool("t", ALL, "")));
    }
}

fn to_client(call: u64, frame: &str) -> Vec<String> {
    vec![format!("<{call}. {frame}")]
}

fn code_of(lines: &[String]) -> i64 {
    let text = lines[0].split_once(' ').unwrap().1;
    serde_json::from_str::<serde_json::Value>(text).unwrap()["error"]["code"].as_i64().unwrap()
}
