//! A hosted server that speaks streamable HTTP itself: requests are passed on, sessions are mapped one to one.
//!
//! Promises: the server's own session ids never leave, hop-by-hop headers, credentials and `Origin` never go in; in isolated
//! mode each session has a jail of its own, which ends with it; bodies of answers are streamed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use gaoler_wire::policy::{SessionMode, Transport};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::Instant;

use super::entropy;
use super::headers::SESSION_ID;
use super::legacy::Caller;
use super::probe::Found;
use super::server::Server;
use super::session::Principal;
use super::target::Target;
use super::upstream_probe;
use super::view::View;
use crate::body::{Body, Passed};
use crate::error::{self, Failure, INTERNAL, NO_SESSION, REFUSED};

/// One mapped session.
struct Mapped {
    principal: Principal,
    target: Rc<Target>,
    /// the server's own session id, if it gave one
    theirs: Option<HeaderValue>,
    used: Cell<Instant>,
}

/// All jails and sessions of one such server.
pub(crate) struct Upstreams {
    server: Weak<Server>,
    sessions: RefCell<HashMap<Box<str>, Rc<Mapped>>>,
    common: RefCell<Option<Rc<Target>>>,
    starting: tokio::sync::Mutex<()>,
    answering: Rc<Cell<usize>>,
}

/// Headers of a client that a hosted server does not get: hop-by-hop (RFC 9110, section 7.6.1), what is set anew, and what
/// was meant for this front.
fn is_kept_back(name: &HeaderName) -> bool {
    matches!(
        name,
        &header::CONNECTION
            | &header::TE
            | &header::TRAILER
            | &header::TRANSFER_ENCODING
            | &header::UPGRADE
            | &header::HOST
            | &header::CONTENT_LENGTH
            | &header::ORIGIN
            | &header::AUTHORIZATION
            | &header::COOKIE
            | &header::EXPECT
    ) || ["keep-alive", SESSION_ID].contains(&name.as_str())
        || name.as_str().starts_with("proxy-")
}

/// Headers of a hosted server that a client does not get.
fn is_not_told(name: &HeaderName) -> bool {
    is_kept_back(name)
        || name == header::SET_COOKIE
        || name.as_str().starts_with("access-control-")
        || name == header::DATE
}

impl Upstreams {
    /// No jails yet.
    pub(crate) fn new(server: Weak<Server>) -> Self {
        Self {
            server,
            sessions: RefCell::default(),
            common: RefCell::default(),
            starting: tokio::sync::Mutex::new(()),
            answering: Rc::default(),
        }
    }

    fn server(&self) -> Result<Rc<Server>, Failure> {
        self.server.upgrade().ok_or_else(|| Failure::new(503, INTERNAL, "the server is not hosted any more"))
    }

    /// How many sessions there are.
    pub(crate) fn count(&self) -> usize {
        self.sessions.borrow().len()
    }

    /// Requests in flight that will have an answer.
    pub(crate) fn in_flight(&self) -> usize {
        self.answering.get()
    }

    /// Passes on one request.
    ///
    /// # Errors
    /// Why it was not, or why there is no answer.
    pub(crate) async fn pass(
        &self,
        caller: &Caller<'_>,
        method: &Method,
        body: Bytes,
    ) -> Result<Response<Body>, Failure> {
        let view = if method == Method::POST { View::of(&body).ok() } else { None };
        let id = view.as_ref().and_then(|view| view.envelope.id);
        let opens = view.as_ref().is_some_and(|view| view.envelope.method == "initialize");
        let own = super::headers::text(caller.headers, SESSION_ID)
            .map_err(|why| Failure::new(400, REFUSED, why))?;
        let mapped = match own.filter(|_| !opens) {
            Some(own) => Some(self.find(own, caller.principal).map_err(|failure| failure.to(id))?),
            None => None,
        };
        let target = match &mapped {
            Some(mapped) => mapped.target.clone(),
            None => self.target(opens, caller.principal).await.map_err(|failure| failure.to(id))?,
        };
        let ends = view.as_ref().is_some_and(|view| view.envelope.method != "subscriptions/listen");
        let guard = InUse::new(&target, mapped.clone(), ends.then(|| self.answering.clone()));
        let fresh = FreshJail {
            target: target.clone(),
            armed: opens && self.server()?.mode == SessionMode::Isolated,
        };
        let request = self.request(caller.headers, method, body.clone(), mapped.as_deref())?;
        let answer =
            target.send(request).await.map_err(|failure| self.broken(own, &target, failure).to(id))?;
        self.reply(caller, method, answer, Asked { own, opens, id, fresh, guard })
    }

    fn find(&self, own: &str, principal: &Principal) -> Result<Rc<Mapped>, Failure> {
        let found = self.sessions.borrow().get(own).cloned();
        let found = found.filter(|mapped| mapped.principal == *principal && mapped.target.is_live());
        let found = found.ok_or_else(|| {
            Failure::new(404, NO_SESSION, "there is no such session; start with initialize")
        })?;
        found.used.set(Instant::now());
        Ok(found)
    }

    /// The jail for a request without a session.
    async fn target(&self, opens: bool, principal: &Principal) -> Result<Rc<Target>, Failure> {
        let server = self.server()?;
        if opens {
            self.make_room(&server, principal)?;
            if server.mode == SessionMode::Isolated {
                return Target::start(&server).await;
            }
        }
        let live = || self.common.borrow().clone().filter(|target| target.is_live());
        if let Some(target) = live() {
            return Ok(target);
        }
        let _one = self.starting.lock().await;
        if let Some(target) = live() {
            return Ok(target);
        }
        let target = Target::start(&server).await?;
        *self.common.borrow_mut() = Some(target.clone());
        Ok(target)
    }

    fn make_room(&self, server: &Server, principal: &Principal) -> Result<(), Failure> {
        let limits = &server.around.limits;
        let victim = {
            let sessions = self.sessions.borrow();
            let mine = sessions.values().filter(|mapped| mapped.principal == *principal).count();
            if mine < limits.sessions_per_principal as usize
                && sessions.len() < limits.sessions_per_server as usize
            {
                return Ok(());
            }
            let idle =
                sessions.iter().filter(|(_, m)| m.principal == *principal && m.target.in_use.get() == 0);
            idle.min_by_key(|(_, mapped)| mapped.used.get()).map(|(own, _)| own.clone())
        };
        let why = "all sessions of this server are in use; end one or come back later";
        let victim = victim.ok_or_else(|| Failure::new(503, REFUSED, why).retry_after_ms(5000))?;
        server.around.metrics.sessions_evicted.add(1);
        self.end(&victim);
        Ok(())
    }

    fn request(
        &self,
        headers: &HeaderMap,
        method: &Method,
        body: Bytes,
        mapped: Option<&Mapped>,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let server = self.server()?;
        let Transport::Http { port, path } = &server.transport else {
            return Err(Failure::new(500, INTERNAL, "the server does not speak HTTP"));
        };
        let broken = |e: hyper::http::Error| {
            Failure::new(500, INTERNAL, format!("the request cannot be passed on: {e}"))
        };
        let host = format!("127.0.0.1:{port}");
        let builder = Request::builder().method(method).uri(path.as_str()).header(header::HOST, host);
        let mut request = builder.body(Full::new(body)).map_err(broken)?;
        for (name, value) in headers.iter().filter(|(name, _)| !is_kept_back(name)) {
            request.headers_mut().append(name, value.clone());
        }
        if let Some(theirs) = mapped.and_then(|mapped| mapped.theirs.clone()) {
            request.headers_mut().insert(HeaderName::from_static(SESSION_ID), theirs);
        }
        Ok(request)
    }

    /// A session whose jail has ended is over.
    fn broken(&self, own: Option<&str>, target: &Target, failure: Failure) -> Failure {
        if let Some(own) = own.filter(|_| !target.is_live()) {
            self.end(own);
        }
        failure
    }

    fn reply(
        &self,
        caller: &Caller<'_>,
        method: &Method,
        answer: Response<Incoming>,
        asked: Asked<'_>,
    ) -> Result<Response<Body>, Failure> {
        let (head, body) = answer.into_parts();
        let theirs = head.headers.get(SESSION_ID).cloned();
        let mut own = asked.own.map(str::to_owned);
        if asked.opens && head.status.is_success() {
            own = Some(self.admit(caller.principal, &asked.fresh.target, theirs)?);
            asked.fresh.keep();
        }
        if let Some(own) = &own
            && (method == Method::DELETE || head.status == StatusCode::NOT_FOUND && !asked.opens)
        {
            self.end(own);
        }
        let id: Option<Box<str>> = asked.id.map(Into::into);
        let is_events = head
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|v| v.as_bytes().starts_with(b"text/event-stream"));
        let target = asked.guard.target.clone();
        let epilogue = move || {
            let frame = error::answer(id.as_deref(), INTERNAL, &target.instance.why(), None);
            [b"data: ", &frame[..], b"\n\n"].concat().into()
        };
        let epilogue: Option<Box<dyn FnOnce() -> Bytes>> =
            if is_events { Some(Box::new(epilogue)) } else { None };
        let passed = Passed { body, epilogue, done: false, _guard: Box::new(asked.guard) };
        let mut response = Response::new(Body::Passed(Box::new(passed)));
        *response.status_mut() = head.status;
        for (name, value) in head.headers.iter().filter(|(name, _)| !is_not_told(name)) {
            response.headers_mut().append(name, value.clone());
        }
        if let Some(value) = own.and_then(|own| HeaderValue::from_str(&own).ok()) {
            response.headers_mut().insert(HeaderName::from_static(SESSION_ID), value);
        }
        Ok(response)
    }

    fn admit(
        &self,
        principal: &Principal,
        target: &Rc<Target>,
        theirs: Option<HeaderValue>,
    ) -> Result<String, Failure> {
        self.server()?.around.metrics.sessions_opened.add(1);
        let own = entropy::session_id();
        let used = Cell::new(Instant::now());
        let mapped = Mapped { principal: principal.clone(), target: target.clone(), theirs, used };
        self.sessions.borrow_mut().insert(own.clone(), Rc::new(mapped));
        Ok(own.into())
    }

    fn end(&self, own: &str) {
        let Some(mapped) = self.sessions.borrow_mut().remove(own) else { return };
        let common = self.common.borrow().as_ref().is_some_and(|common| Rc::ptr_eq(common, &mapped.target));
        if !common {
            mapped.target.stop();
        }
    }

    /// Ends sessions that were not used for this long.
    pub(crate) fn sweep(&self, now: Instant, idle: Duration) {
        let old: Vec<Box<str>> = self
            .sessions
            .borrow()
            .iter()
            .filter(|(_, m)| {
                let unused =
                    now.saturating_duration_since(m.used.get()) >= idle && m.target.in_use.get() == 0;
                unused || !m.target.is_live()
            })
            .map(|(own, _)| own.clone())
            .collect();
        for own in old {
            self.end(&own);
        }
    }

    /// Asks the server what it speaks and offers.
    ///
    /// # Errors
    /// Why it could not be asked.
    pub(crate) async fn probe(&self) -> Result<Found, Failure> {
        let server = self.server()?;
        let target = Target::start(&server).await?;
        let found = upstream_probe::run(&server, &target).await;
        target.stop();
        found
    }
}

/// What a reply has to know about its request.
struct Asked<'a> {
    own: Option<&'a str>,
    opens: bool,
    id: Option<&'a str>,
    fresh: FreshJail,
    guard: InUse,
}

/// A jail that was started for a session which does not come to be must not stay.
struct FreshJail {
    target: Rc<Target>,
    armed: bool,
}

impl FreshJail {
    fn keep(mut self) {
        self.armed = false;
    }
}

impl Drop for FreshJail {
    fn drop(&mut self) {
        if self.armed {
            self.target.stop();
        }
    }
}

/// Counts a request or stream as open.
struct InUse {
    target: Rc<Target>,
    mapped: Option<Rc<Mapped>>,
    /// counts what will have an answer
    answering: Option<Rc<Cell<usize>>>,
}

impl InUse {
    fn new(target: &Rc<Target>, mapped: Option<Rc<Mapped>>, answering: Option<Rc<Cell<usize>>>) -> Self {
        target.in_use.set(target.in_use.get() + 1);
        if let Some(answering) = &answering {
            answering.set(answering.get() + 1);
        }
        Self { target: target.clone(), mapped, answering }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.target.in_use.set(self.target.in_use.get().saturating_sub(1));
        if let Some(answering) = &self.answering {
            answering.set(answering.get().saturating_sub(1));
        }
        if let Some(mapped) = &self.mapped {
            mapped.used.set(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_for_this_front_stays_here() {
        for name in [
            "authorization",
            "cookie",
            "origin",
            "host",
            "connection",
            "proxy-authorization",
            "mcp-session-id",
        ] {
            assert!(is_kept_back(&HeaderName::from_static(name)), "{name}");
        }
        for name in ["accept", "content-type", "mcp-param-region", "last-event-id", "mcp-protocol-version"] {
            assert!(!is_kept_back(&HeaderName::from_static(name)), "{name}");
        }
        assert!(is_not_told(&header::ACCESS_CONTROL_ALLOW_ORIGIN) && is_not_told(&header::SET_COOKIE));
        assert!(!is_not_told(&header::CONTENT_TYPE));
    }
}
