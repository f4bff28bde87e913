//! Asks a hosted server once what it speaks and offers, in a jail of its own that is stopped afterwards.
//!
//! Promises: bounded in time and pages; a server that does not know the question is of the legacy era.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use gaoler_wire::policy::Transport;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::server::Server;
use super::version::{LEGACY, MODERN};
use crate::error::{Failure, INTERNAL};
use crate::frame::{Envelope, Key, Kind, object};
use crate::instance::{Consumer, Instance};
use crate::lines::Line;
use crate::splice::write_line;

/// How long a server may take to say that it knows the modern era, in milliseconds. A server that ignores the question is
/// asked in the legacy way then.
const DISCOVER_MS: u64 = 10_000;

/// Pages of a tool list that are read.
const PAGES_MAX: usize = 32;

/// What was found out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// whether it speaks revision 2026-07-28
    pub(crate) modern: bool,
    /// how many tools it offers
    pub(crate) tools: Option<usize>,
}

/// One server being asked.
struct Asker {
    instance: Rc<Instance>,
    answers: RefCell<HashMap<i64, oneshot::Sender<Bytes>>>,
}

impl Consumer for Asker {
    fn line(&self, line: Line<'_>) {
        let Ok(envelope) = Envelope::parse(line.bytes()) else {
            return self.instance.skip(line.bytes(), "not a message");
        };
        let key = envelope.id.and_then(Key::of);
        match (envelope.kind, key) {
            (Kind::Result | Kind::Error, Some(Key::Number(number))) => {
                if let Some(tell) = self.answers.borrow_mut().remove(&number) {
                    let _ = tell.send(line.into_bytes());
                }
            }
            (Kind::Request, _) => {
                let no = crate::error::answer(
                    envelope.id,
                    crate::error::METHOD_NOT_FOUND,
                    "nobody is here yet",
                    None,
                );
                let _ = self.instance.write(|out| write_line(&no, out));
            }
            _ => {}
        }
    }

    fn ended(&self, _why: &str) {
        self.answers.borrow_mut().clear();
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// The jail does not outlive the questions.
struct Stop(Rc<Instance>);

impl Asker {
    async fn new(server: &Server) -> Result<(Rc<Self>, Stop), Failure> {
        let instance = server.start().await?;
        let asker = Rc::new(Self { instance: instance.clone(), answers: RefCell::default() });
        instance.attach(asker.clone());
        Ok((asker, Stop(instance)))
    }

    async fn ask(&self, number: i64, method: &str, params: &str, wait_ms: u64) -> Option<Bytes> {
        let (tell, answer) = oneshot::channel();
        self.answers.borrow_mut().insert(number, tell);
        let text = format!(r#"{{"jsonrpc":"2.0","id":{number},"method":"{method}","params":{params}}}"#);
        self.instance.write(|out| out.extend_from_slice(text.as_bytes())).ok()?;
        tokio::time::timeout(Duration::from_millis(wait_ms), answer).await.ok()?.ok()
    }

    /// Counts the tools, page by page; none when there is no list.
    async fn tools(&self, server: &Server, meta: &str) -> Option<usize> {
        let (mut count, mut cursor) = (0, String::new());
        for page in 0..PAGES_MAX {
            let params =
                format!("{{{meta}{}{cursor}}}", if meta.is_empty() || cursor.is_empty() { "" } else { "," });
            let number = 10 + i64::try_from(page).unwrap_or_default();
            let frame = self.ask(number, "tools/list", &params, server.around.limits.start_ms).await?;
            let result = Envelope::parse(&frame).ok()?.result?;
            count += server.tools.borrow_mut().learn(result);
            match next_cursor(result) {
                Some(next) => cursor = format!("\"cursor\":{next}"),
                None => break,
            }
        }
        Some(count)
    }
}

/// The raw cursor of the next page.
pub(crate) fn next_cursor(result: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(rename = "nextCursor")]
        next: Option<String>,
    }
    object::<Page>(result).ok()?.next.map(|next| crate::error::quote(&next))
}

/// The metadata of this front's own modern requests.
pub(crate) fn own_meta() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"{MODERN}","io.modelcontextprotocol/clientInfo":{{"name":"gaoler","version":"{version}"}},"io.modelcontextprotocol/clientCapabilities":{{}}}}"#
    )
}

/// The parameters of this front's own `initialize`.
fn own_hello() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        r#"{{"protocolVersion":"{LEGACY}","capabilities":{{}},"clientInfo":{{"name":"gaoler","version":"{version}"}}}}"#
    )
}

/// Asks.
///
/// # Errors
/// The server did not start, or answered in neither way.
pub(crate) async fn run(server: &Server) -> Result<Found, Failure> {
    if server.transport != Transport::Stdio {
        return server.upstreams.probe().await;
    }
    let (mut asker, mut stop) = Asker::new(server).await?;
    let wait = server.around.limits.start_ms.min(DISCOVER_MS);
    let meta = own_meta();
    let answer = asker.ask(1, "server/discover", &format!("{{{meta}}}"), wait).await;
    let modern = answer.as_ref().is_some_and(|frame| knows_modern(frame));
    if modern {
        let tools = asker.tools(server, &meta).await;
        return Ok(Found { modern, tools });
    }
    if !asker.instance.is_live() {
        // Some legacy servers give up when the first message is not initialize.
        drop(stop);
        (asker, stop) = Asker::new(server).await?;
    }
    let hello = asker.ask(2, "initialize", &own_hello(), server.around.limits.start_ms).await;
    let failed =
        |why: String| Failure::new(502, INTERNAL, format!("the hosted server does not answer: {why}"));
    let Some(frame) = hello else {
        let live = asker.instance.is_live();
        let why = if live { "it is silent".to_owned() } else { asker.instance.why() };
        return Err(failed(why));
    };
    if Envelope::parse(&frame).map_or(true, |envelope| envelope.kind != Kind::Result) {
        return Err(failed(crate::log::quote(&frame)));
    }
    let ready = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let _ = asker.instance.write(|out| out.extend_from_slice(ready));
    let tools = asker.tools(server, "").await;
    drop(stop);
    Ok(Found { modern, tools })
}

/// Whether an answer to `server/discover` offers the modern revision.
pub(crate) fn knows_modern(frame: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Discovered {
        #[serde(rename = "supportedVersions")]
        versions: Vec<String>,
    }
    let result = Envelope::parse(frame)
        .ok()
        .and_then(|envelope| envelope.result.and_then(|r| object::<Discovered>(r).ok()));
    result.is_some_and(|discovered| discovered.versions.iter().any(|version| version == MODERN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_offer_of_the_revision_counts() {
        assert!(knows_modern(br#"{"id":1,"result":{"supportedVersions":["2025-11-25","2026-07-28"]}}"#));
        assert!(!knows_modern(br#"{"id":1,"result":{"supportedVersions":["2025-11-25"]}}"#));
        assert!(!knows_modern(br#"{"id":1,"error":{"code":-32601,"message":"no"}}"#));
        assert!(!knows_modern(br#"{"id":1,"result":{}}"#));
    }

    #[test]
    fn own_parameters_are_json() {
        for text in [own_hello(), format!("{{{}}}", own_meta())] {
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
        }
        assert_eq!(next_cursor(r#"{"nextCursor":"a\"b"}"#).as_deref(), Some(r#""a\"b""#));
        assert_eq!(next_cursor(r#"{"tools":[]}"#), None);
    }
}
