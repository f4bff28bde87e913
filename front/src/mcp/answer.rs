//! HTTP answers: single JSON bodies, event streams, errors.
//!
//! Promises: a call whose first frame is its answer is answered by plain JSON; everything else is an event stream.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use tokio::time::Instant;

use super::session::Post;
use crate::body::Body;
use crate::error::{Failure, modern_status};
use crate::frame::{Envelope, Kind};
use crate::instance::Surroundings;
use crate::outlet::{Item, Outlet};
use crate::sse::{Events, Hangup, priming};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// A JSON body.
pub(crate) fn json(status: u16, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(bytes));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// An error body.
pub(crate) fn failure(failure: &Failure) -> Response<Body> {
    let mut response = json(failure.status, failure.body());
    if let Some(seconds) = failure.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A status without a body.
pub(crate) fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An event stream.
pub(crate) fn events(events: Events) -> Response<Body> {
    let mut response = Response::new(Body::Events(Box::new(events)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, EVENTS);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// Calls that were passed on, and who reads their answers.
pub(crate) struct Exchange {
    /// where the answers arrive
    pub(crate) outlet: Rc<Outlet>,
    /// how many
    pub(crate) answers: usize,
    /// the legacy stream that they belong to
    pub(crate) post: Option<Rc<Post>>,
    /// whether the client understands an event that only primes
    pub(crate) prime: bool,
    /// who is told when the client goes away first
    pub(crate) hangup: Option<(Rc<dyn Hangup>, u64)>,
    /// whether an error decides the HTTP status
    pub(crate) modern: bool,
}

/// Tells that the client went away while nothing had been sent yet.
struct Waiting(Option<Exchange>);

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(exchange) = self.0.take() {
            exchange.outlet.leave();
            if let Some((who, call)) = exchange.hangup {
                who.hung_up(call);
            }
        }
    }
}

impl Exchange {
    /// Waits for the first frame and answers, by an event stream in any case if the client prefers one.
    pub(crate) async fn respond(self, around: &Surroundings, prefers_events: bool) -> Response<Body> {
        let started = Instant::now();
        let quiet = Duration::from_millis(around.limits.keep_alive_ms);
        let (outlet, answers) = (self.outlet.clone(), self.answers);
        let mut waiting = Waiting(Some(self));
        let first = tokio::time::timeout(quiet, outlet.next()).await;
        let Some(exchange) = waiting.0.take() else { return bare(StatusCode::INTERNAL_SERVER_ERROR) };
        match first {
            Ok(Some(Item { frame, last: true, event })) if answers == 1 => {
                around.metrics.answered(started.elapsed());
                let status = if exchange.modern { status_of(&frame) } else { 200 };
                if prefers_events && status == 200 {
                    return exchange.stream(Some(Item { frame, last: true, event }), quiet);
                }
                json(status, frame)
            }
            Ok(item) => exchange.stream(item, quiet),
            Err(_) => exchange.stream(None, quiet),
        }
    }

    fn stream(self, item: Option<Item>, quiet: Duration) -> Response<Body> {
        let first = self.post.as_ref().filter(|_| self.prime).map(|post| priming(post.beginning()));
        if let Some(post) = &self.post {
            post.name_events();
        }
        let stream = Events::new(self.outlet, self.answers, quiet);
        events(stream.with_first(first).with_item(item).with_hangup(self.hangup))
    }
}

/// At revision 2026-07-28 the code of an error answer decides the HTTP status.
fn status_of(frame: &[u8]) -> u16 {
    // Almost every answer is a result: the error member is looked for only where it can be.
    if memchr::memmem::find(frame, b"\"error\"").is_none() {
        return 200;
    }
    match Envelope::parse(frame) {
        Ok(envelope) if envelope.kind == Kind::Error => modern_status(envelope.error_code()),
        _ => 200,
    }
}
