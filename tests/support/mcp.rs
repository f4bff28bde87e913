//! MCP from a client's side: sessions of the legacy era and single requests of the modern one.
//!
//! It promises: frames are sent as given, and everything that came back is shown, in order.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{Client, Response};
use crate::run::Run;
use crate::sse::{self, Events};

/// The newest revision of the legacy era.
pub const LEGACY: &str = "2025-11-25";

/// The revision of the modern era.
pub const MODERN: &str = "2026-07-28";

/// What a client must accept on a POST.
pub const ACCEPT: &str = "application/json, text/event-stream";

/// What one POST brought back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// the HTTP status
    pub status: u16,
    /// the HTTP headers, names in lower case
    pub headers: Vec<(String, String)>,
    /// every JSON-RPC message, in order
    pub messages: Vec<Value>,
    /// the body as it came
    pub text: String,
}

impl Answer {
    fn new(response: Response) -> Self {
        let text = response.text();
        let kind = response.header("content-type").unwrap_or("").to_owned();
        let messages = if kind.starts_with("text/event-stream") {
            sse::parse(&text).iter().filter(|e| !e.data.is_empty()).map(sse::Event::json).collect()
        } else {
            match serde_json::from_str(&text) {
                Ok(Value::Array(batch)) => batch,
                Ok(message) => vec![message],
                Err(_) => Vec::new(),
            }
        };
        Self { status: response.status, headers: response.headers, messages, text }
    }

    /// A header's first value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The last message: the response.
    ///
    /// # Panics
    /// When nothing came.
    #[must_use]
    pub fn response(&self) -> &Value {
        self.messages
            .last()
            .unwrap_or_else(|| panic!("HTTP {} without a message: {:?}", self.status, self.text))
    }

    /// The response's `result`.
    ///
    /// # Panics
    /// When it is an error.
    #[must_use]
    pub fn result(&self) -> &Value {
        let response = self.response();
        response.get("result").unwrap_or_else(|| panic!("HTTP {}: no result in {response}", self.status))
    }

    /// The response's `error`.
    ///
    /// # Panics
    /// When it is a result.
    #[must_use]
    pub fn error(&self) -> &Value {
        let response = self.response();
        response.get("error").unwrap_or_else(|| panic!("HTTP {}: no error in {response}", self.status))
    }

    /// The text of a tool's first content block.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn tool_text(&self) -> &str {
        let text = self.result().pointer("/content/0/text").and_then(Value::as_str);
        text.unwrap_or_else(|| panic!("no text content in {}", self.response()))
    }

    /// The messages with this method, such as notifications before the response.
    #[must_use]
    pub fn with_method(&self, method: &str) -> Vec<&Value> {
        self.messages.iter().filter(|m| m.get("method").and_then(Value::as_str) == Some(method)).collect()
    }
}

/// A session of the legacy era over one kept connection.
#[derive(Debug)]
pub struct Session {
    client: Client,
    path: String,
    id: String,
    revision: String,
    next: u64,
    /// the answer to `initialize`
    pub initialized: Value,
}

impl Session {
    /// Opens a session: `initialize` and `notifications/initialized`, with no client capabilities.
    ///
    /// # Panics
    /// When the server refuses.
    #[must_use]
    pub fn open(run: &Run) -> Self {
        Self::open_with(run.client(), run.path(), LEGACY, &json!({}))
    }

    /// Opens a session with client capabilities, at a revision, over a given client.
    ///
    /// # Panics
    /// When the server refuses.
    #[must_use]
    pub fn open_with(client: Client, path: &str, revision: &str, capabilities: &Value) -> Self {
        Self::try_open_with(client, path, revision, capabilities).unwrap_or_else(|answer| {
            panic!("initialize was refused: HTTP {}: {}", answer.status, answer.text)
        })
    }

    /// Opens a session, or gives the refusal.
    ///
    /// # Errors
    /// The answer to `initialize` when it opened no session.
    ///
    /// # Panics
    /// When the connection fails, or the answer opens a session and yet is an error.
    pub fn try_open_with(
        client: Client,
        path: &str,
        revision: &str,
        capabilities: &Value,
    ) -> Result<Self, Answer> {
        Self::shake_hands(client, path, revision, capabilities).unwrap_or_else(|e| panic!("initialize: {e}"))
    }

    /// Opens a session if anyone answers, for clients that try until someone does.
    ///
    /// # Errors
    /// What the socket says, or `ConnectionRefused` with the answer's text.
    pub fn reach(client: Client, path: &str) -> io::Result<Self> {
        let refused = |answer: Answer| io::Error::new(io::ErrorKind::ConnectionRefused, answer.text);
        Self::shake_hands(client, path, LEGACY, &json!({}))?.map_err(refused)
    }

    fn shake_hands(
        mut client: Client,
        path: &str,
        revision: &str,
        wants: &Value,
    ) -> io::Result<Result<Self, Answer>> {
        let answer = post(&mut client, path, &[], &initialize(0, revision, wants))?;
        if answer.status != 200 || answer.messages.last().is_none_or(|m| m.get("result").is_none()) {
            return Ok(Err(answer));
        }
        let id = answer.header("mcp-session-id").unwrap_or("").to_owned();
        let (initialized, path) = (answer.result().clone(), path.to_owned());
        let revision =
            initialized.get("protocolVersion").and_then(Value::as_str).unwrap_or(revision).to_owned();
        let mut session = Self { client, path, id, revision, next: 1, initialized };
        let told = session.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
        if told.status == 202 { Ok(Ok(session)) } else { Ok(Err(told)) }
    }

    /// The session's id; empty when the server gave none.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The connection, to set deadlines.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Sends the session's further requests over another connection, and gives back this one.
    pub fn swap_client(&mut self, client: Client) -> Client {
        std::mem::replace(&mut self.client, client)
    }

    /// Posts one frame as it is.
    ///
    /// # Errors
    /// What the socket says.
    pub fn post(&mut self, frame: &Value) -> io::Result<Answer> {
        let headers =
            [("mcp-session-id", self.id.as_str()), ("mcp-protocol-version", self.revision.as_str())];
        post(&mut self.client, &self.path, &headers, frame)
    }

    /// Posts one frame and leaves its event stream open.
    ///
    /// # Errors
    /// What the socket says; `InvalidData` when the answer is not an event stream.
    pub fn open_post(&mut self, frame: &Value) -> io::Result<Events> {
        let headers = self.headers();
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        events(self.client.open("POST", &self.path, &headers, frame.to_string().as_bytes())?)
    }

    /// Opens the session's GET stream, from an event on when one is given.
    ///
    /// # Errors
    /// What the socket says; `InvalidData` when the answer is not an event stream.
    pub fn open_get(&self, addr: SocketAddr, last_event_id: Option<&str>) -> io::Result<Events> {
        let mut headers = self.headers();
        if let Some(id) = last_event_id {
            headers.push(("last-event-id", id.to_owned()));
        }
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        events(Client::new(addr).open("GET", &self.path, &headers, b"")?)
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        vec![
            ("accept", ACCEPT.to_owned()),
            ("content-type", "application/json".to_owned()),
            ("mcp-session-id", self.id.clone()),
            ("mcp-protocol-version", self.revision.clone()),
        ]
    }

    /// Sends one request under the next id.
    ///
    /// # Errors
    /// What the socket says.
    pub fn request(&mut self, method: &str, params: &Value) -> io::Result<Answer> {
        let id = self.next;
        self.next += 1;
        self.post(&request(&json!(id), method, params))
    }

    /// Calls a tool.
    ///
    /// # Panics
    /// When the connection fails.
    pub fn call(&mut self, tool: &str, arguments: Value) -> Answer {
        self.try_call(tool, arguments).unwrap_or_else(|e| panic!("tools/call {tool}: {e}"))
    }

    /// Calls a tool.
    ///
    /// # Errors
    /// What the socket says.
    pub fn try_call(&mut self, tool: &str, arguments: Value) -> io::Result<Answer> {
        self.request("tools/call", &json!({"name": tool, "arguments": arguments}))
    }

    /// DELETE: ends the session.
    ///
    /// # Errors
    /// What the socket says.
    pub fn delete(&mut self) -> io::Result<Response> {
        let headers =
            [("mcp-session-id", self.id.as_str()), ("mcp-protocol-version", self.revision.as_str())];
        self.client.send("DELETE", &self.path, &headers, b"")
    }
}

fn events(opened: crate::http::Opened) -> io::Result<Events> {
    let kind = opened.header("content-type").unwrap_or("").to_owned();
    if opened.status != 200 || !kind.starts_with("text/event-stream") {
        let why = format!("HTTP {} with {kind:?} is not an event stream", opened.status);
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(Events::new(opened.body))
}

/// The frame of an `initialize` request.
#[must_use]
pub fn initialize(id: u64, revision: &str, capabilities: &Value) -> Value {
    let params = json!({
        "protocolVersion": revision,
        "capabilities": capabilities,
        "clientInfo": {"name": "gaoler-tests", "version": "1"}
    });
    request(&json!(id), "initialize", &params)
}

/// The frame of a request.
#[must_use]
pub fn request(id: &Value, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

/// Posts one frame with the usual headers and some more.
///
/// # Errors
/// What the socket says.
pub fn post(client: &mut Client, path: &str, more: &[(&str, &str)], frame: &Value) -> io::Result<Answer> {
    let mut headers = vec![("accept", ACCEPT), ("content-type", "application/json")];
    headers.extend(more.iter().filter(|(_, value)| !value.is_empty()));
    client.send("POST", path, &headers, frame.to_string().as_bytes()).map(Answer::new)
}

/// The headers and frame of one request of the modern era.
#[must_use]
pub fn modern_request(id: &Value, method: &str, params: &Value) -> (Vec<(&'static str, String)>, Value) {
    let mut params = params.clone();
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
    params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({"name": "gaoler-tests", "version": "1"});
    if params["_meta"].get("io.modelcontextprotocol/clientCapabilities").is_none() {
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    }
    let mut headers = vec![
        ("accept", ACCEPT.to_owned()),
        ("content-type", "application/json".to_owned()),
        ("mcp-protocol-version", MODERN.to_owned()),
        ("mcp-method", method.to_owned()),
    ];
    let name = match method {
        "tools/call" | "prompts/get" => params.get("name"),
        "resources/read" => params.get("uri"),
        _ => None,
    };
    if let Some(name) = name.and_then(Value::as_str) {
        headers.push(("mcp-name", name.to_owned()));
    }
    (headers, request(id, method, &params))
}

/// Sends one request of the modern era and reads everything that comes.
///
/// # Errors
/// What the socket says.
pub fn modern(
    client: &mut Client,
    path: &str,
    id: &Value,
    method: &str,
    params: &Value,
) -> io::Result<Answer> {
    let (headers, frame) = modern_request(id, method, params);
    let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    client.send("POST", path, &headers, frame.to_string().as_bytes()).map(Answer::new)
}

/// Sends one request of the modern era and leaves its event stream open.
///
/// # Errors
/// What the socket says; `InvalidData` when the answer is not an event stream.
pub fn modern_open(
    client: &mut Client,
    path: &str,
    id: &Value,
    method: &str,
    params: &Value,
) -> io::Result<Events> {
    let (headers, frame) = modern_request(id, method, params);
    let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    events(client.open("POST", path, &headers, frame.to_string().as_bytes())?)
}

/// How long an exchange that must fail fast may take.
pub const PROMPT: Duration = Duration::from_secs(5);
