//! The legacy era over HTTP (2025-03-26 to 2025-11-25): POST, GET and DELETE of one session.
//!
//! Promises: a session that is unknown, dead or another caller's is 404 alike; what is wrong with a request is said before
//! the server sees it.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use gaoler_wire::policy::SessionMode;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};

use super::answer::{self, Exchange};
use super::backend::Backend;
use super::entropy;
use super::headers::{self, Accepted};
use super::isolated::Isolated;
use super::server::Server;
use super::session::{Post, Principal, Session};
use super::translated::Translated;
use super::version;
use super::view::View;
use crate::body::Body;
use crate::error::{
    Failure, INTERNAL, INVALID_REQUEST, METHOD_NOT_FOUND, NO_SESSION, REFUSED, UNSUPPORTED_VERSION,
};
use crate::frame::{Envelope, Key, Kind, Look, batch, string};
use crate::outlet::{EventId, Outlet};
use crate::sse::Events;

/// The most messages in one body at revision 2025-03-26.
const BATCH_MAX: usize = 256;

/// Whose session, and what was said about it.
pub(crate) struct Caller<'a> {
    /// who asks
    pub(crate) principal: &'a Principal,
    /// the request's headers
    pub(crate) headers: &'a HeaderMap,
    /// what it takes as an answer
    pub(crate) accepted: Accepted,
}

/// A POST of a session, or one that opens it.
///
/// # Errors
/// What is wrong with it.
pub(crate) async fn post(
    server: &Rc<Server>,
    caller: &Caller<'_>,
    body: &Bytes,
    view: &View<'_>,
) -> Result<Response<Body>, Failure> {
    let id = view.envelope.id;
    if view.envelope.kind == Kind::Request && view.envelope.method == "initialize" {
        return open(server, caller, body, view).await.map_err(|failure| failure.to(id));
    }
    let session = find(server, caller).map_err(|failure| failure.to(id))?;
    match view.envelope.kind {
        Kind::Request => {
            let post = session.post();
            if caller.accepted.prefers_events {
                post.name_events();
            }
            one(&session, &post, body, view).await?;
            Ok(exchange(&session, post, 1).respond(&server.around, caller.accepted.prefers_events).await)
        }
        Kind::Notification | Kind::Result | Kind::Error => {
            session.backend.pass(&session, body, view);
            Ok(answer::bare(StatusCode::ACCEPTED))
        }
    }
}

fn exchange(session: &Rc<Session>, post: Rc<Post>, answers: usize) -> Exchange {
    let prime = version::has_priming(&session.version());
    Exchange { outlet: post.outlet(), answers, post: Some(post), prime, hangup: None, modern: false }
}

/// Passes on one request; its answer arrives on the post's stream.
async fn one(session: &Rc<Session>, post: &Rc<Post>, frame: &Bytes, view: &View<'_>) -> Result<(), Failure> {
    let id = view.envelope.id.unwrap_or("null");
    session.backend.ensure(session).await.map_err(|failure| failure.to(Some(id)))?;
    let call = session.begin(post, id, view.token())?;
    if let Err(why) = session.backend.request(session, &call, frame, view) {
        session.fail(&call, INTERNAL, &why);
    }
    Ok(())
}

/// Several messages in one body.
///
/// # Errors
/// What is wrong with them.
pub(crate) async fn many(
    server: &Server,
    caller: &Caller<'_>,
    body: &Bytes,
) -> Result<Response<Body>, Failure> {
    let session = &find(server, caller)?;
    let refuse = |why: &str| Failure::new(400, INVALID_REQUEST, why);
    if !version::has_batches(&session.version()) {
        return Err(refuse("only revision 2025-03-26 allows several messages in one body"));
    }
    let parts = batch(body).filter(|parts| !parts.is_empty() && parts.len() <= BATCH_MAX);
    let parts = parts.ok_or_else(|| refuse("the body is not an array of 1 to 256 messages"))?;
    let frames: Vec<Bytes> = parts.iter().map(|part| body.slice_ref(part.get().as_bytes())).collect();
    let mut views = Vec::with_capacity(frames.len());
    for frame in &frames {
        views.push(View::of(frame)?);
    }
    if views.iter().any(|view| view.envelope.method == "initialize") {
        return Err(refuse("initialize must not be part of a batch"));
    }
    let post = session.post();
    let mut answers = 0;
    for (frame, view) in frames.iter().zip(&views) {
        if view.envelope.kind != Kind::Request {
            session.backend.pass(session, frame, view);
            continue;
        }
        answers += 1;
        if let Err(failure) = one(session, &post, frame, view).await {
            let frame = failure.body().into();
            // The stream is fresh: what does not fit here fits nowhere.
            let _ = post.outlet().push(crate::outlet::Item { frame, event: None, last: true });
        }
    }
    if answers == 0 {
        return Ok(answer::bare(StatusCode::ACCEPTED));
    }
    Ok(exchange(session, post, answers).respond(&session.server.around, caller.accepted.prefers_events).await)
}

/// The session that the headers name.
fn find(server: &Server, caller: &Caller<'_>) -> Result<Rc<Session>, Failure> {
    let refuse = |why: String| Failure::new(400, REFUSED, why);
    let id = headers::text(caller.headers, headers::SESSION_ID).map_err(refuse)?;
    let id =
        id.ok_or_else(|| refuse("the header Mcp-Session-Id is missing; start with initialize".to_owned()))?;
    let session = server.session(id).filter(|session| session.principal == *caller.principal);
    let session = session
        .ok_or_else(|| Failure::new(404, NO_SESSION, "there is no such session; start with initialize"))?;
    if let Some(version) = headers::text(caller.headers, headers::PROTOCOL_VERSION).map_err(refuse)?
        && !version::is_known(version)
    {
        return Err(refuse("the header MCP-Protocol-Version names a revision that is not served".to_owned()));
    }
    session.touch();
    Ok(session)
}

/// Ends a session that was not handed to its client.
struct Unfinished(Option<Rc<Session>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(session) = self.0.take() {
            session.end("the session was not opened");
        }
    }
}

/// `initialize`: a new session.
async fn open(
    server: &Rc<Server>,
    caller: &Caller<'_>,
    frame: &Bytes,
    view: &View<'_>,
) -> Result<Response<Body>, Failure> {
    let wanted = view.text(view.look.params.protocol_version).unwrap_or_default();
    if let Some(header) = headers::text(caller.headers, headers::PROTOCOL_VERSION)
        .map_err(|why| Failure::new(400, INVALID_REQUEST, why))?
        && header != wanted
    {
        let why = "the header MCP-Protocol-Version does not match protocolVersion in the body";
        return Err(Failure::new(400, INVALID_REQUEST, why));
    }
    let _opening = server.make_room(caller.principal)?;
    let raw_id = view.envelope.id.unwrap_or("null");
    let (session, welcome) = connect(server, caller, frame, raw_id, &wanted).await?;
    let mut unfinished = Unfinished(Some(session.clone()));
    if !is_welcome(&welcome) {
        return Ok(answer::json(200, welcome));
    }
    if let Some(version) = version_of(&welcome) {
        session.set_version(&version);
    }
    let id = HeaderValue::from_str(&session.id)
        .map_err(|_| Failure::new(500, INTERNAL, "the session id cannot be a header"))?;
    server.admit(session);
    unfinished.0.take();
    let mut response = answer::json(200, welcome);
    response.headers_mut().insert(HeaderName::from_static(headers::SESSION_ID), id);
    Ok(response)
}

type Opened = (Rc<Session>, Bytes);

/// A session and its server's answer to `initialize`.
async fn connect(
    server: &Rc<Server>,
    caller: &Caller<'_>,
    frame: &Bytes,
    raw_id: &str,
    wanted: &str,
) -> Result<Opened, Failure> {
    if server.modern_only.get() {
        return open_translated(server, caller, frame).await;
    }
    let result = match server.mode {
        SessionMode::Isolated => open_isolated(server, caller, frame, raw_id).await,
        SessionMode::Shared => open_shared(server, caller, raw_id, wanted).await,
    };
    // A server that only knows the modern era says so, or dies of it. Only what it says is remembered for other callers:
    // a client could make a server die, and must not change how others reach it.
    let code = match &result {
        Ok((_, welcome)) => Envelope::parse(welcome).map_or(0, |envelope| envelope.error_code()),
        Err(failure) => failure.code,
    };
    let said = matches!(code, METHOD_NOT_FOUND | UNSUPPORTED_VERSION);
    let died = result.as_ref().is_err_and(|failure| failure.retry_after.is_none());
    if !((said || died) && server.is_modern_only().await) {
        return result;
    }
    let opened = open_translated(server, caller, frame).await?;
    server.modern_only.set(said && is_welcome(&opened.1));
    Ok(opened)
}

async fn open_isolated(
    server: &Rc<Server>,
    caller: &Caller<'_>,
    hello: &Bytes,
    raw_id: &str,
) -> Result<Opened, Failure> {
    let key =
        Key::of(raw_id).ok_or_else(|| Failure::new(400, INVALID_REQUEST, "initialize has no usable id"))?;
    let session = Session::new(entropy::session_id(), caller.principal.clone(), server.clone(), |me| {
        Backend::Isolated(Isolated::new(me.clone(), server.clone(), hello.clone(), key))
    });
    let mut unfinished = Unfinished(Some(session.clone()));
    let Backend::Isolated(isolated) = &session.backend else {
        return Err(Failure::new(500, INTERNAL, "the session has no jail"));
    };
    let welcome = isolated.greet().await?;
    unfinished.0.take();
    Ok((session, welcome))
}

async fn open_shared(
    server: &Rc<Server>,
    caller: &Caller<'_>,
    raw_id: &str,
    wanted: &str,
) -> Result<Opened, Failure> {
    server.shared.child().await?;
    let (welcome, _) = server.shared.welcome(raw_id, wanted).ok_or_else(|| {
        Failure::new(502, INTERNAL, "the hosted server's answer to initialize names no revision")
    })?;
    let session = Session::new(entropy::session_id(), caller.principal.clone(), server.clone(), |_| {
        Backend::Shared(server.shared.clone())
    });
    Ok((session, welcome))
}

async fn open_translated(server: &Rc<Server>, caller: &Caller<'_>, hello: &Bytes) -> Result<Opened, Failure> {
    let session = Session::new(entropy::session_id(), caller.principal.clone(), server.clone(), |me| {
        Backend::Translated(Translated::new(me.clone(), server.clone(), hello.clone()))
    });
    let mut unfinished = Unfinished(Some(session.clone()));
    let Backend::Translated(translated) = &session.backend else {
        return Err(Failure::new(500, INTERNAL, "the session has no jail"));
    };
    let welcome = translated.greet().await?;
    unfinished.0.take();
    Ok((session, welcome))
}

fn is_welcome(frame: &[u8]) -> bool {
    Envelope::parse(frame).is_ok_and(|envelope| envelope.kind == Kind::Result)
}

fn version_of(welcome: &[u8]) -> Option<String> {
    let envelope = Envelope::parse(welcome).ok()?;
    let raw = Look::into(envelope.result).ok()?.params.protocol_version?;
    string(raw.get()).map(std::borrow::Cow::into_owned)
}

/// A GET: the standalone stream, or one that broke.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn get(server: &Server, caller: &Caller<'_>) -> Result<Response<Body>, Failure> {
    if !caller.accepted.events {
        return Err(Failure::new(406, REFUSED, "a GET must accept text/event-stream"));
    }
    let session = find(server, caller)?;
    let quiet = Duration::from_millis(server.around.limits.keep_alive_ms);
    let bad = |why: String| Failure::new(400, REFUSED, why);
    let last = headers::text(caller.headers, "last-event-id").map_err(bad)?.filter(|last| !last.is_empty());
    let after = match last {
        None => None,
        Some(text) => Some(
            text.parse::<EventId>().map_err(|()| bad("Last-Event-ID is none of this session".to_owned()))?,
        ),
    };
    if let Some(after) = after.filter(|after| after.stream != 0) {
        let again = session.resume(after);
        let (outlet, answers) =
            again.ok_or_else(|| bad("the stream of Last-Event-ID is not known any more".to_owned()))?;
        return Ok(answer::events(Events::new(outlet, answers, quiet)));
    }
    let outlet: Rc<Outlet> = session.listen(after);
    let prime = after.is_none() && version::has_priming(&session.version());
    let first = prime.then(|| crate::sse::priming(session.position()));
    Ok(answer::events(Events::new(outlet, 0, quiet).with_first(first)))
}

/// A DELETE: the end of a session.
///
/// # Errors
/// There is none.
pub(crate) fn delete(server: &Server, caller: &Caller<'_>) -> Result<Response<Body>, Failure> {
    find(server, caller)?.end("the client ended the session");
    Ok(answer::bare(StatusCode::NO_CONTENT))
}
