//! Asks a hosted server that speaks HTTP what it speaks and offers.
//!
//! Promises: bounded answers; what cannot be read counts as not offered.

use std::time::Duration;

use bytes::Bytes;
use gaoler_wire::policy::Transport;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Request, Response};

use super::headers::{PROTOCOL_VERSION, SESSION_ID};
use super::probe::{Found, knows_modern, own_meta};
use super::server::Server;
use super::target::Target;
use super::version::{LEGACY, MODERN};
use crate::error::{Failure, INTERNAL};
use crate::frame::{Envelope, Kind};

/// The most bytes of an answer.
const ANSWER_MAX: usize = 4 << 20;

/// How long an answer may take.
const WAIT: Duration = Duration::from_secs(10);

/// Asks.
///
/// # Errors
/// The server answers in neither way.
pub(crate) async fn run(server: &Server, target: &Target) -> Result<Found, Failure> {
    let meta = own_meta();
    let ask = |method: &str, params: String| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
    };
    let modern = [(PROTOCOL_VERSION, MODERN), ("mcp-method", "server/discover")];
    let (answer, _) = post(server, target, ask("server/discover", format!("{{{meta}}}")), &modern).await?;
    if answer.as_ref().is_some_and(|frame| knows_modern(frame)) {
        let listing = [(PROTOCOL_VERSION, MODERN), ("mcp-method", "tools/list")];
        let (list, _) = post(server, target, ask("tools/list", format!("{{{meta}}}")), &listing).await?;
        return Ok(Found { modern: true, tools: count(server, list.as_ref()) });
    }
    let hello = format!(
        r#"{{"protocolVersion":"{LEGACY}","capabilities":{{}},"clientInfo":{{"name":"gaoler","version":"{}"}}}}"#,
        env!("CARGO_PKG_VERSION")
    );
    let (answer, session) = post(server, target, ask("initialize", hello), &[]).await?;
    let welcome =
        answer.as_ref().and_then(|frame| Envelope::parse(frame).ok()).is_some_and(|e| e.kind == Kind::Result);
    if !welcome {
        return Err(Failure::new(
            502,
            INTERNAL,
            "the hosted server answers neither server/discover nor initialize",
        ));
    }
    let mut own = vec![(PROTOCOL_VERSION, LEGACY)];
    if let Some(session) = &session {
        own.push((SESSION_ID, session));
    }
    let ready = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned();
    let _ = post(server, target, ready, &own).await?;
    let (list, _) = post(server, target, ask("tools/list", "{}".to_owned()), &own).await?;
    Ok(Found { modern: false, tools: count(server, list.as_ref()) })
}

fn count(server: &Server, frame: Option<&Bytes>) -> Option<usize> {
    let envelope = Envelope::parse(frame?).ok()?;
    Some(server.tools.borrow_mut().learn(envelope.result?))
}

/// One POST; its message, and the session id that came with it.
async fn post(
    server: &Server,
    target: &Target,
    body: String,
    headers: &[(&'static str, &str)],
) -> Result<(Option<Bytes>, Option<String>), Failure> {
    let Transport::Http { port, path } = &server.transport else {
        return Err(Failure::new(500, INTERNAL, "the server does not speak HTTP"));
    };
    let mut request = Request::post(path.as_str())
        .header(header::HOST, format!("127.0.0.1:{port}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream")
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| Failure::new(500, INTERNAL, format!("the request cannot be made: {e}")))?;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    let late = || Failure::new(504, INTERNAL, "the hosted server did not answer the first questions in time");
    let answer = tokio::time::timeout(WAIT, target.send(request)).await.map_err(|_| late())??;
    let session = answer.headers().get(SESSION_ID).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let message = tokio::time::timeout(WAIT, message(answer)).await.map_err(|_| late())?;
    Ok((message, session))
}

/// The first answer in a body, be it plain or an event stream.
async fn message(answer: Response<Incoming>) -> Option<Bytes> {
    let mut body = answer.into_body();
    let mut all: Vec<u8> = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > ANSWER_MAX {
            return None;
        }
        all.extend_from_slice(&data);
        if let Some(found) = first_answer(&all) {
            return Some(found);
        }
    }
    None
}

fn first_answer(all: &[u8]) -> Option<Bytes> {
    let is_answer = |bytes: &[u8]| {
        Envelope::parse(bytes).is_ok_and(|envelope| matches!(envelope.kind, Kind::Result | Kind::Error))
    };
    if is_answer(all) {
        return Some(Bytes::copy_from_slice(all));
    }
    // Only events that are complete: each ends with an empty line.
    let whole = &all[..memchr::memmem::rfind(all, b"\n\n")?];
    let data = whole.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:"));
    data.map(<[u8]>::trim_ascii).find(|data| is_answer(data)).map(Bytes::copy_from_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_in_both_kinds_of_body() {
        let plain = br#"{"id":1,"result":{}}"#;
        assert_eq!(first_answer(plain).as_deref(), Some(&plain[..]));
        let events = b"id: 1\ndata: \n\ndata: {\"method\":\"x\"}\n\ndata: {\"id\":1,\"result\":{}}\n\n";
        assert_eq!(first_answer(events).as_deref(), Some(&plain[..]));
        assert_eq!(first_answer(&events[..events.len() - 1]), None);
        assert_eq!(first_answer(b"junk"), None);
    }
}
