//! One client's connection to the mirror, in one of the three ways that Gaoler serves: frames as text, both ways.
//!
//! Promises: what is posted is sent byte for byte, and what comes back is shown as text, in order.

use std::time::Duration;

use gaoler_tests::http::Client;
use gaoler_tests::mcp::{ACCEPT, LEGACY, MODERN};
use gaoler_tests::run::Run;
use gaoler_tests::sse::{self, Events};

use crate::equal::Tree;

/// How long a frame on the standalone stream may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the mirror is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// 2025-11-25, a jail for the session: nothing is rewritten
    Isolated,
    /// 2025-11-25, one jail for all: ids and progress tokens are rewritten
    Shared,
    /// 2026-07-28, one jail for the principal: ids and progress tokens are rewritten
    Modern,
}

/// A connection, and the session if the era has one.
pub struct Link {
    pub era: Era,
    client: Client,
    path: String,
    session: Option<String>,
    /// the stream for what belongs to no call
    standalone: Option<Events>,
}

/// A request before it is written: the members that the test decides about.
pub struct Request {
    /// the id as spelled
    pub id: String,
    pub method: &'static str,
    /// the progress token as spelled
    pub token: String,
    /// members of params beside `_meta` and `name`, as JSON text
    pub params: String,
}

impl Request {
    /// The frame in the era's form, with a vendor member at each level.
    pub fn frame(&self, era: Era) -> String {
        let Self { id, method, token, params } = self;
        let own = if era == Era::Modern {
            format!(
                r#""io.modelcontextprotocol/protocolVersion":"{MODERN}","io.modelcontextprotocol/clientInfo":{{"name":"t","version":"1"}},"io.modelcontextprotocol/clientCapabilities":{{"x-vendor":1.0}},"io.modelcontextprotocol/logLevel":"debug","#
            )
        } else {
            String::new()
        };
        let name = self.name().map(|name| format!(r#""name":"{name}","#)).unwrap_or_default();
        format!(
            r#"{{"x-top":1.0,"method":"{method}","params":{{{name}{params},"_meta":{{{own}"progressToken":{token},"vendor.example/trace":[1,1.0]}}}},"id":{id},"jsonrpc":"2.0"}}"#
        )
    }

    fn name(&self) -> Option<&'static str> {
        (self.method == "tools/call").then_some("mirror")
    }
}

impl Link {
    /// Connects; opens a session where the era has one.
    pub fn open(run: &Run, era: Era) -> Self {
        let mut link =
            Self { era, client: run.client(), path: run.path().to_owned(), session: None, standalone: None };
        if era != Era::Modern {
            let hello = format!(
                r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{LEGACY}","capabilities":{{"sampling":{{}},"elicitation":{{}},"roots":{{}}}},"clientInfo":{{"name":"t","version":"1"}}}}}}"#
            );
            link.send(&[], &hello);
            assert!(link.session.is_some(), "initialize gave no session");
            assert_eq!(link.tell(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), 202);
            link.standalone = Some(link.listen(run));
        }
        link
    }

    /// Sends a request and gives everything that came back.
    pub fn ask(&mut self, request: &Request, frame: &str) -> Vec<String> {
        let headers: Vec<(&str, &str)> = match self.era {
            Era::Modern => {
                let name = request.name().map(|name| ("mcp-name", name));
                [("mcp-protocol-version", MODERN), ("mcp-method", request.method)]
                    .into_iter()
                    .chain(name)
                    .collect()
            }
            Era::Isolated | Era::Shared => vec![("mcp-protocol-version", LEGACY)],
        };
        let (status, messages) = self.send(&headers, frame);
        assert_eq!(status, 200, "{frame}\nwas answered {messages:?}");
        messages
    }

    fn listen(&self, run: &Run) -> Events {
        let session = self.session.as_deref().unwrap_or_default();
        let headers =
            [("accept", "text/event-stream"), ("mcp-session-id", session), ("mcp-protocol-version", LEGACY)];
        let opened = run.client().open("GET", &self.path, &headers, b"");
        let opened = opened.unwrap_or_else(|e| panic!("open the standalone stream: {e}"));
        assert_eq!(opened.status, 200, "the standalone stream was refused");
        Events::new(opened.body)
    }

    /// The next frame on the standalone stream.
    pub fn overhear(&mut self) -> String {
        let Some(events) = &mut self.standalone else {
            panic!("a stateless client has no standalone stream")
        };
        events.next_data(PATIENCE).unwrap_or_else(|e| panic!("the standalone stream: {e}")).data
    }

    /// Sends a notification or a response and gives the HTTP status.
    pub fn tell(&mut self, frame: &str) -> u16 {
        self.send(&[("mcp-protocol-version", LEGACY)], frame).0
    }

    fn send(&mut self, more: &[(&str, &str)], frame: &str) -> (u16, Vec<String>) {
        let session = self.session.clone().unwrap_or_default();
        let mut headers = vec![("accept", ACCEPT), ("content-type", "application/json")];
        headers.extend(more);
        if !session.is_empty() {
            headers.push(("mcp-session-id", &session));
        }
        let response = self.client.send("POST", &self.path, &headers, frame.as_bytes());
        let response = response.unwrap_or_else(|e| panic!("{e} after {}", head(frame)));
        if let Some(id) = response.header("mcp-session-id") {
            self.session = Some(id.to_owned());
        }
        let text = response.text();
        let stream =
            response.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        let messages = if stream {
            sse::parse(&text).into_iter().map(|event| event.data).filter(|data| !data.is_empty()).collect()
        } else if text.is_empty() {
            Vec::new()
        } else {
            vec![text]
        };
        (response.status, messages)
    }

    /// What the mirror kept since the last look.
    pub fn kept(&mut self) -> Vec<String> {
        let log = Request {
            id: "\"log\"".into(),
            method: "vendor/log",
            token: "0".into(),
            params: "\"x\":0".into(),
        };
        let frame = log.frame(self.era);
        let answer = self.ask(&log, &frame);
        let tree = Tree::read(answer.last().map_or("null", String::as_str));
        match tree.get("result").and_then(|result| result.get("frames")) {
            Some(Tree::List(frames)) => frames.iter().filter_map(Tree::text).map(str::to_owned).collect(),
            other => panic!("vendor/log gave {other:?}"),
        }
    }
}

/// The beginning of a long text.
pub fn head(text: &str) -> String {
    text.chars().take(400).collect()
}
