//! One MCP request's life: which era it is of, whether its headers are right, and where it goes.
//!
//! - [`legacy`] and [`session`]: the eras with sessions; behind them [`isolated`], [`shared`] or [`translated`]
//! - [`modern`]: revision 2026-07-28; behind it [`mux`] or [`bridge`]
//! - [`upstream`]: servers that speak HTTP themselves
//! - [`server`]: what all of them share for one hosted server
//! - [`translate`]: pure translation between the eras
//!
//! A request decides its era by itself (the revision's rule for servers of both): modern metadata or header, else
//! `initialize` or a session id.

mod answer;
mod backend;
mod bridge;
mod entropy;
mod headers;
mod isolated;
mod legacy;
mod modern;
mod mux;
mod origin;
mod probe;
mod replay;
pub(crate) mod server;
mod session;
mod shared;
mod subscriptions;
mod target;
mod tools;
pub mod translate;
mod translated;
mod upstream;
mod upstream_probe;
mod version;
mod view;

pub(crate) use answer::{bare, failure};
pub(crate) use origin::Access;
pub(crate) use session::Principal;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use gaoler_wire::policy::Transport;
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::value::RawValue;

use crate::body::{self, Body, ReadError};
use crate::error::{
    Failure, HEADER_MISMATCH, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, REFUSED, UNSUPPORTED_VERSION,
};
use crate::frame::Kind;
use legacy::Caller;
use server::Server;
use view::View;

/// How long a request's body may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(60);

/// Seconds after which a client may come back to a front that is being replaced.
const DRAIN_RETRY_MS: u32 = 2000;

/// Serves one request on a server's endpoint.
pub(crate) async fn serve(
    server: &Rc<Server>,
    principal: &Principal,
    request: Request<Incoming>,
    draining: bool,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let caller = Caller { principal, headers: &head.headers, accepted: headers::accepted(&head.headers) };
    let is_modern = head
        .headers
        .get(headers::PROTOCOL_VERSION)
        .is_some_and(|v| v.as_bytes() == version::MODERN.as_bytes());
    let answer = match head.method {
        Method::POST => post(server, &caller, body, draining).await,
        Method::GET | Method::DELETE if is_modern => return not_allowed("POST"),
        Method::GET | Method::DELETE if server.transport != Transport::Stdio => {
            server.upstreams.pass(&caller, &head.method, Bytes::new()).await
        }
        Method::GET => legacy::get(server, &caller),
        Method::DELETE => legacy::delete(server, &caller),
        _ => return not_allowed("GET, POST, DELETE, OPTIONS"),
    };
    answer.unwrap_or_else(|failed| failure(&failed))
}

fn not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = bare(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

async fn post(
    server: &Rc<Server>,
    caller: &Caller<'_>,
    body: Incoming,
    draining: bool,
) -> Result<Response<Body>, Failure> {
    if !caller.accepted.json || !caller.accepted.events {
        return Err(Failure::new(406, REFUSED, "a POST must accept application/json and text/event-stream"));
    }
    if !headers::is_json(caller.headers) {
        return Err(Failure::new(415, REFUSED, "the body must be application/json"));
    }
    let limit = server.around.limits.body_bytes;
    let body = body::read(body, limit, BODY_WAIT, &server.around.budget).await.map_err(|e| match e {
        ReadError::TooLarge => Failure::new(413, REFUSED, format!("the body is larger than {limit} bytes")),
        ReadError::TooSlow => Failure::new(408, REFUSED, "the body did not arrive in time"),
        ReadError::Full => {
            Failure::new(503, REFUSED, "too many large requests arrive at once").retry_after_ms(1000)
        }
        ReadError::Broken => Failure::new(400, REFUSED, "the body did not arrive whole"),
    })?;
    let is_batch = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if is_batch && server.transport == Transport::Stdio {
        if draining {
            return Err(drained());
        }
        return legacy::many(server, caller, &body).await;
    }
    if server.transport != Transport::Stdio {
        return if draining {
            Err(drained())
        } else {
            server.upstreams.pass(caller, &Method::POST, body).await
        };
    }
    let view = View::of(&body)?;
    if draining && view.envelope.kind == Kind::Request {
        return Err(drained().to(view.envelope.id));
    }
    if is_modern(caller.headers, &view) {
        return modern_post(server, caller, &body, &view).await.map_err(|failed| failed.to(view.envelope.id));
    }
    legacy::post(server, caller, &body, &view).await
}

fn drained() -> Failure {
    Failure::new(503, REFUSED, "this front is about to stop; come back in a moment")
        .retry_after_ms(DRAIN_RETRY_MS)
}

/// Whether a message is of the modern era.
fn is_modern(headers: &HeaderMap, view: &View<'_>) -> bool {
    let (kind, method) = (view.envelope.kind, view.envelope.method.as_ref());
    // Without its version it is no handshake of any revision: the headers decide then.
    if kind == Kind::Request && method == "initialize" && view.look.params.protocol_version.is_some() {
        return false;
    }
    if kind == Kind::Request && method == "server/discover" {
        return true;
    }
    let declared = modern::declared_version(view).filter(|_| kind == Kind::Request);
    if let Some(declared) = declared {
        return !version::is_legacy(&declared) || view.look.meta.client_capabilities.is_some();
    }
    headers.get(headers::PROTOCOL_VERSION).is_some_and(|v| v.as_bytes() == version::MODERN.as_bytes())
}

/// A message of revision 2026-07-28.
async fn modern_post(
    server: &Rc<Server>,
    caller: &Caller<'_>,
    body: &Bytes,
    view: &View<'_>,
) -> Result<Response<Body>, Failure> {
    match view.envelope.kind {
        Kind::Result | Kind::Error => {
            return Err(Failure::new(400, INVALID_REQUEST, "revision 2026-07-28 has no answers of clients"));
        }
        Kind::Notification => {
            let mirrored = headers::mirror(caller.headers, view, &server.tools.borrow());
            mirrored.map_err(|why| Failure::new(400, HEADER_MISMATCH, why))?;
            server.modern(caller.principal)?.notify(view);
            return Ok(bare(StatusCode::ACCEPTED));
        }
        Kind::Request => {}
    }
    check_version(caller.headers, view)?;
    let mirrored = headers::mirror(caller.headers, view, &server.tools.borrow());
    mirrored.map_err(|why| Failure::new(400, HEADER_MISMATCH, why))?;
    if version::is_removed(&view.envelope.method) {
        let why = "revision 2026-07-28 does not have this method";
        return Err(Failure::new(404, METHOD_NOT_FOUND, why));
    }
    let exchange = server.modern(caller.principal)?.call(body, view).await?;
    Ok(exchange.respond(&server.around, caller.accepted.prefers_events).await)
}

/// The revision in header and body: both there, equal, and served.
fn check_version(headers: &HeaderMap, view: &View<'_>) -> Result<(), Failure> {
    let header = headers::text(headers, headers::PROTOCOL_VERSION)
        .map_err(|why| Failure::new(400, HEADER_MISMATCH, why))?;
    let Some(declared) = modern::declared_version(view) else {
        let why = "_meta lacks io.modelcontextprotocol/protocolVersion";
        return Err(Failure::new(400, INVALID_PARAMS, why));
    };
    let mismatch = |why: &str| Err(Failure::new(400, HEADER_MISMATCH, why));
    match header {
        None => return mismatch("the header MCP-Protocol-Version is missing"),
        Some(header) if header != declared => {
            return mismatch("the header MCP-Protocol-Version does not match protocolVersion in _meta");
        }
        Some(_) => {}
    }
    if declared != version::MODERN {
        let mut failed = Failure::new(400, UNSUPPORTED_VERSION, "this revision is not served");
        let requested = crate::error::quote(&declared);
        failed.data = Some(format!(r#"{{"supported":["{}"],"requested":{requested}}}"#, version::MODERN));
        return Err(failed);
    }
    let capabilities = view.look.meta.client_capabilities.map(RawValue::get);
    if !capabilities.is_some_and(|raw| raw.starts_with('{')) {
        let why = "_meta lacks io.modelcontextprotocol/clientCapabilities";
        return Err(Failure::new(400, INVALID_PARAMS, why));
    }
    Ok(())
}
