//! The benchmarks' own MCP traffic: requests as bytes, answers compared with what was asked.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::SocketAddr;

use serde::Deserialize;

use crate::http::Head;
use crate::{Error, Result};

/// The text of every measured `echo` call, in bytes.
pub const ECHO_BYTES: usize = 100;

/// Where a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// a loopback address
    pub address: SocketAddr,
    /// the endpoint's path
    pub path: String,
    /// what a bridge puts before the names of tools
    pub tool_prefix: String,
}

impl Target {
    /// Reads `http://127.0.0.1:PORT/PATH`.
    ///
    /// # Errors
    /// When it is another shape, or not loopback.
    pub fn parse(url: &str) -> Result<Self> {
        let bad = || Error::Answer(format!("{url:?} is not http://127.0.0.1:PORT/PATH"));
        let rest = url.strip_prefix("http://").ok_or_else(bad)?;
        let (host, path) = rest.split_once('/').ok_or_else(bad)?;
        let address: SocketAddr = host.parse().map_err(|_| bad())?;
        if !address.ip().is_loopback() {
            return Err(Error::Answer(format!("{address} is not loopback, and load stays there")));
        }
        Ok(Self { address, path: format!("/{path}"), tool_prefix: String::new() })
    }
}

/// Replaces `out` by a POST of `body`, within `session` when there is one.
pub fn post(out: &mut Vec<u8>, target: &Target, session: Option<&str>, body: &str) {
    let mut head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n",
        target.path,
        target.address,
        body.len()
    );
    if let Some(session) = session {
        // Writing to a String does not fail.
        let _ = write!(head, "Mcp-Session-Id: {session}\r\nMCP-Protocol-Version: 2025-06-18\r\n");
    }
    head.push_str("\r\n");
    out.clear();
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(body.as_bytes());
}

/// The first request of a session.
pub const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"gaoler-bench","version":"1"}}}"#;

/// What a client sends after the answer to [`INITIALIZE`].
pub const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// A tool call; `arguments` is a JSON object.
#[must_use]
pub fn call(id: u64, target: &Target, tool: &str, arguments: &str) -> String {
    let prefix = &target.tool_prefix;
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{prefix}{tool}","arguments":{arguments},"_meta":{{"progressToken":{id}}}}}}}"#
    )
}

/// An `echo` call whose text names its asker, so that a crossed answer is seen.
#[must_use]
pub fn echo(id: u64, target: &Target, text: &str) -> String {
    let prefix = &target.tool_prefix;
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{prefix}echo","arguments":{{"text":"{text}"}}}}}}"#
    )
}

/// A text of [`ECHO_BYTES`] that belongs to one call of one asker.
#[must_use]
pub fn echo_text(asker: usize, nth: u64) -> String {
    format!("{asker:08}-{nth:012}-{}", "abcdefghij".repeat(8)).chars().take(ECHO_BYTES).collect()
}

#[derive(Deserialize)]
struct Message<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    result: Option<ToolResult<'a>>,
    method: Option<Cow<'a, str>>,
    params: Option<Progress>,
}

#[derive(Deserialize)]
struct ToolResult<'a> {
    #[serde(borrow, default)]
    content: Vec<Content<'a>>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Progress {
    progress: Option<f64>,
}

/// One message of a response.
#[derive(Debug, PartialEq)]
pub enum Seen<'a> {
    /// the answer to this id, with the text of its first content block
    Answer(u64, Option<Cow<'a, str>>),
    /// a progress notification with its number
    Progress(f64),
    /// anything else
    Other,
}

/// Reads one JSON-RPC message.
///
/// # Errors
/// When it is not JSON of the expected shape.
pub fn read(json: &[u8]) -> Result<Seen<'_>> {
    let message: Message<'_> = serde_json::from_slice(json).map_err(|error| {
        let shown = String::from_utf8_lossy(&json[..json.len().min(200)]).into_owned();
        Error::Answer(format!("a message could not be read ({error}): {shown}"))
    })?;
    Ok(match message {
        Message { id: Some(id), result: Some(result), .. } => {
            Seen::Answer(id, result.content.into_iter().next().map(|content| content.text))
        }
        Message { method: Some(method), params: Some(Progress { progress: Some(n) }), .. }
            if method == "notifications/progress" =>
        {
            Seen::Progress(n)
        }
        _ => Seen::Other,
    })
}

/// The JSON messages of a whole body: itself, or the `data:` lines of an event stream.
pub fn messages(event_stream: bool, body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(move |&b| event_stream && b == b'\n').filter_map(move |line| {
        let data = if event_stream { line.strip_prefix(b"data:")? } else { line };
        let data = data.trim_ascii();
        (!data.is_empty()).then_some(data)
    })
}

/// Checks that a response answers `id`, with `text` when one is expected.
///
/// # Errors
/// When the status is not 200, no message answers `id`, or the text is another.
pub fn verify(head: &Head, body: &[u8], id: u64, text: Option<&str>) -> Result<()> {
    let shown = || String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
    if head.status != 200 {
        return Err(Error::Answer(format!("a call was answered with status {}: {}", head.status, shown())));
    }
    for json in messages(head.event_stream, body) {
        if let Seen::Answer(answered, got) = read(json)? {
            return if answered == id && (text.is_none() || got.as_deref() == text) {
                Ok(())
            } else {
                Err(Error::Answer(format!("the answer to call {id} is another's: {}", shown())))
            };
        }
    }
    Err(Error::Answer(format!("no message answers call {id}: {}", shown())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(event_stream: bool) -> Head {
        Head { status: 200, event_stream, ..Head::default() }
    }

    #[test]
    fn an_echo_text_has_the_measured_size() {
        assert_eq!(echo_text(7, 123).len(), ECHO_BYTES);
    }

    #[test]
    fn the_right_answer_passes_in_both_forms() {
        let json = r#"{"jsonrpc":"2.0","id":4,"result":{"content":[{"type":"text","text":"hi"}]}}"#;
        verify(&head(false), json.as_bytes(), 4, Some("hi")).unwrap();
        let stream = format!(": ping\n\nevent: message\ndata: {{\"method\":\"x\"}}\n\ndata: {json}\n\n");
        verify(&head(true), stream.as_bytes(), 4, Some("hi")).unwrap();
    }

    #[test]
    fn wrong_answers_fail() {
        let json = br#"{"jsonrpc":"2.0","id":4,"result":{"content":[{"type":"text","text":"hi"}]}}"#;
        assert!(verify(&head(false), json, 5, Some("hi")).is_err());
        assert!(verify(&head(false), json, 4, Some("ho")).is_err());
        assert!(verify(&head(false), br#"{"id":4,"error":{"code":1}}"#, 4, None).is_err());
        assert!(verify(&Head { status: 500, ..Head::default() }, json, 4, Some("hi")).is_err());
    }

    #[test]
    fn only_loopback_is_a_target() {
        assert!(Target::parse("http://127.0.0.1:8750/hosted/a/b/mcp").is_ok());
        for bad in
            ["http://192.0.2.1:80/mcp", "https://127.0.0.1:1/", "http://127.0.0.1/mcp", "http://127.0.0.1:80"]
        {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }
}
