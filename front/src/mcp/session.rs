//! The client's half of one legacy session: its calls in flight, its event streams, and what binds it to its caller.
//!
//! Promises: an answer goes to the call that asked and to no other; a client that goes away does not cancel its calls;
//! what a client that comes back has missed is kept within a bound; a reader that does not keep up ends its session.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use tokio::time::Instant;

use super::backend::Backend;
use super::replay::Replay;
use super::server::Server;
use crate::error::{self, Failure, INTERNAL, INVALID_REQUEST, REFUSED};
use crate::frame::Key;
use crate::log;
use crate::outlet::{EventId, Item, Outlet};

/// Above this many bytes over all sessions, what is kept for clients that come back is cut to [`KEPT_FAIR`] for each.
const KEPT_MAX: usize = 256 << 20;

/// What a session may keep when all together keep much, in bytes.
const KEPT_FAIR: usize = 16 << 10;

/// Whose session it is. Without authentication everyone is the same caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Principal(pub(crate) Rc<str>);

/// One POST with calls in flight, and the stream that answers it.
#[derive(Debug)]
pub(crate) struct Post {
    /// the stream's number in event names
    pub(crate) stream: u64,
    number: Cell<u64>,
    /// whether the answer is an event stream, whose events have names and are kept
    named: Cell<bool>,
    outlet: RefCell<Rc<Outlet>>,
}

impl Post {
    /// From now on the answer is an event stream.
    pub(crate) fn name_events(&self) {
        self.named.set(true);
    }

    /// The event that stands for the stream's beginning.
    pub(crate) fn beginning(&self) -> EventId {
        EventId { stream: self.stream, number: 0 }
    }

    /// Where frames go now.
    pub(crate) fn outlet(&self) -> Rc<Outlet> {
        self.outlet.borrow().clone()
    }
}

/// One request of a client that waits for its answer.
#[derive(Debug)]
pub(crate) struct Call {
    /// the client's id, as it wrote it
    pub(crate) raw_id: Box<str>,
    /// the client's id by value
    pub(crate) key: Key,
    /// the client's progress token, by value
    pub(crate) token: Option<Key>,
    /// the progress token, as the client wrote it
    pub(crate) raw_token: Option<Box<str>>,
    /// when it arrived
    pub(crate) started: Instant,
    post: Rc<Post>,
}

/// The session.
pub(crate) struct Session {
    /// what stands in `Mcp-Session-Id`
    pub(crate) id: Box<str>,
    /// whose it is
    pub(crate) principal: Principal,
    /// what it talks to
    pub(crate) server: Rc<Server>,
    /// the server's half
    pub(crate) backend: Backend,
    /// the negotiated revision
    version: RefCell<Box<str>>,
    calls: RefCell<HashMap<Key, Rc<Call>>>,
    streams: Cell<u64>,
    standalone: RefCell<Option<Rc<Outlet>>>,
    sent: Cell<u64>,
    delivered: Cell<u64>,
    /// where the standalone stream began when it was opened last
    opened: Cell<u64>,
    replay: RefCell<Replay>,
    used: Cell<Instant>,
    ended: Cell<bool>,
    me: Weak<Session>,
}

impl Session {
    /// A session without calls; `backend` makes its server's half.
    pub(crate) fn new(
        id: Box<str>,
        principal: Principal,
        server: Rc<Server>,
        backend: impl FnOnce(&Weak<Session>) -> Backend,
    ) -> Rc<Self> {
        Rc::new_cyclic(|me| Self {
            id,
            principal,
            server,
            backend: backend(me),
            version: RefCell::new("2025-03-26".into()),
            calls: RefCell::default(),
            streams: Cell::new(0),
            standalone: RefCell::default(),
            sent: Cell::new(0),
            delivered: Cell::new(0),
            opened: Cell::new(0),
            replay: RefCell::default(),
            used: Cell::new(Instant::now()),
            ended: Cell::new(false),
            me: me.clone(),
        })
    }

    /// The negotiated revision.
    pub(crate) fn version(&self) -> Box<str> {
        self.version.borrow().clone()
    }

    /// Notes the negotiated revision.
    pub(crate) fn set_version(&self, version: &str) {
        *self.version.borrow_mut() = version.into();
    }

    /// The client has shown itself.
    pub(crate) fn touch(&self) {
        self.used.set(Instant::now());
    }

    /// When the client showed itself last, if nothing is in flight and no stream is open.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let listening = self.standalone.borrow().as_ref().is_some_and(|outlet| outlet.is_open());
        (self.calls.borrow().is_empty() && !listening).then(|| self.used.get())
    }

    /// Calls in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.calls.borrow().len()
    }

    /// Whether it has ended.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.get()
    }

    /// A stream for the answers to one POST.
    pub(crate) fn post(&self) -> Rc<Post> {
        self.streams.set(self.streams.get() + 1);
        Rc::new(Post {
            stream: self.streams.get(),
            number: Cell::new(0),
            named: Cell::new(false),
            outlet: RefCell::new(Outlet::new(&self.server.around.budget)),
        })
    }

    /// Notes a request that will be answered on this stream.
    ///
    /// # Errors
    /// The id is in flight already, or too much is.
    pub(crate) fn begin(&self, post: &Rc<Post>, id: &str, token: Option<&str>) -> Result<Rc<Call>, Failure> {
        let refuse = |code, why: &str| Failure::new(200, code, why).to(Some(id));
        let key = Key::of(id).ok_or_else(|| refuse(INVALID_REQUEST, "the id is not a string or number"))?;
        let mut calls = self.calls.borrow_mut();
        if calls.contains_key(&key) {
            return Err(refuse(INVALID_REQUEST, "a request with this id is in flight in this session"));
        }
        if calls.len() >= self.server.around.limits.in_flight as usize {
            return Err(refuse(REFUSED, "too many requests of this session are in flight; wait for answers"));
        }
        let call = Rc::new(Call {
            raw_id: id.into(),
            key: key.clone(),
            token: token.and_then(Key::of),
            raw_token: token.map(Into::into),
            started: Instant::now(),
            post: post.clone(),
        });
        calls.insert(key, call.clone());
        Ok(call)
    }

    /// The call with this progress token.
    pub(crate) fn call_of_token(&self, token: &Key) -> Option<Rc<Call>> {
        self.calls.borrow().values().find(|call| call.token.as_ref() == Some(token)).cloned()
    }

    /// The answer to a call; false when there is no such call.
    pub(crate) fn answer(&self, key: &Key, frame: Bytes) -> bool {
        let Some(call) = self.calls.borrow_mut().remove(key) else { return false };
        self.used.set(Instant::now());
        self.push(&call.post, frame, true);
        true
    }

    /// An error of this front as the answer to a call.
    pub(crate) fn fail(&self, call: &Call, code: i64, message: &str) {
        self.server.around.metrics.failed_calls.add(1);
        self.answer(&call.key, error::answer(Some(&call.raw_id), code, message, None).into());
    }

    /// Ends a call without an answer: its client has cancelled it.
    pub(crate) fn drop_call(&self, key: &Key) {
        if let Some(call) = self.calls.borrow_mut().remove(key) {
            call.post.outlet().close();
        }
    }

    /// A message in the course of a call.
    pub(crate) fn during(&self, call: &Call, frame: Bytes) {
        self.push(&call.post, frame, false);
    }

    /// A message that belongs to a call, but not known to which: the newest one, else the standalone stream.
    pub(crate) fn during_newest(&self, frame: Bytes) {
        let newest = self.calls.borrow().values().max_by_key(|call| call.post.stream).cloned();
        match newest {
            Some(call) => self.push(&call.post, frame, false),
            None => self.apart(frame),
        }
    }

    /// A message that belongs to no call: on the standalone stream, now or when the client opens it.
    pub(crate) fn apart(&self, frame: Bytes) {
        let id = EventId { stream: 0, number: self.sent.get() + 1 };
        self.sent.set(id.number);
        self.keep(id, &frame, false);
        let outlet = self.standalone.borrow().clone();
        if let Some(outlet) = outlet.filter(|outlet| outlet.is_open()) {
            self.delivered.set(id.number);
            if outlet.push(Item { frame, event: Some(id), last: false }).is_err() {
                self.too_slow();
            }
        }
    }

    fn push(&self, post: &Post, frame: Bytes, last: bool) {
        let named = !last || post.named.get();
        post.named.set(named);
        let event = named.then(|| {
            post.number.set(post.number.get() + 1);
            EventId { stream: post.stream, number: post.number.get() }
        });
        if let Some(id) = event {
            self.keep(id, &frame, last);
        }
        if post.outlet().push(Item { frame, event, last }).is_err() {
            self.too_slow();
        }
    }

    fn keep(&self, id: EventId, frame: &Bytes, last: bool) {
        let around = &self.server.around;
        let own = usize::try_from(around.limits.replay_bytes).unwrap_or(usize::MAX);
        let limit = if around.kept.get() > KEPT_MAX { own.min(KEPT_FAIR) } else { own };
        let mut replay = self.replay.borrow_mut();
        let before = replay.bytes();
        replay.keep(id, frame.clone(), last, limit);
        around.kept.set((around.kept.get() + replay.bytes()).saturating_sub(before));
    }

    fn too_slow(&self) {
        self.server.around.metrics.slow_readers.add(1);
        log::line(format_args!("{}: ended a session whose client does not read", self.server.name));
        self.end("the client does not read what is sent to it; the session has ended");
    }

    /// Opens the standalone stream, with what was sent since the client had it last, or since `after`.
    pub(crate) fn listen(&self, after: Option<EventId>) -> Rc<Outlet> {
        let outlet = Outlet::new(&self.server.around.budget);
        let from = after.unwrap_or(EventId { stream: 0, number: self.delivered.get() });
        for item in self.replay.borrow().after(from) {
            // What fits the replay buffer fits an empty queue; if not, the rest comes with the next try.
            if outlet.push(item).is_err() {
                break;
            }
        }
        self.opened.set(from.number);
        self.delivered.set(self.sent.get());
        if let Some(old) = self.standalone.borrow_mut().replace(outlet.clone()) {
            old.close();
        }
        outlet
    }

    /// The event before those that the standalone stream will bring next, for a client that just opened it.
    pub(crate) fn position(&self) -> EventId {
        EventId { stream: 0, number: self.opened.get() }
    }

    /// Opens the stream of a POST again; with it how many answers are to come. None when it is not known any more.
    pub(crate) fn resume(&self, after: EventId) -> Option<(Rc<Outlet>, usize)> {
        let post = self
            .calls
            .borrow()
            .values()
            .find(|call| call.post.stream == after.stream)
            .map(|c| c.post.clone());
        let again: Vec<Item> = self.replay.borrow().after(after).collect();
        if post.is_none() && again.is_empty() && !self.replay.borrow().is_finished(after.stream) {
            return None;
        }
        let outlet = Outlet::new(&self.server.around.budget);
        let mut answers =
            self.calls.borrow().values().filter(|call| call.post.stream == after.stream).count();
        for item in again {
            answers += usize::from(item.last);
            if outlet.push(item).is_err() {
                break;
            }
        }
        match post {
            Some(post) => *post.outlet.borrow_mut() = outlet.clone(),
            None => outlet.close(),
        }
        Some((outlet, answers.max(1)))
    }

    /// Fails every call in flight; the session goes on.
    pub(crate) fn fail_all(&self, message: &str) {
        let calls: Vec<Rc<Call>> = self.calls.borrow().values().cloned().collect();
        for call in calls {
            self.fail(&call, INTERNAL, message);
        }
    }

    /// Fails the calls that have waited since before `limit`; tells the server.
    pub(crate) fn expire(&self, limit: Instant, message: &str) {
        let late: Vec<_> =
            self.calls.borrow().values().filter(|call| call.started <= limit).cloned().collect();
        for call in late {
            if let Some(me) = self.me.upgrade() {
                self.backend.give_up(&me, &call, "the request took too long");
            }
            self.fail(&call, INTERNAL, message);
        }
    }

    /// Ends the session: its calls fail with `message`, its streams end, its jail goes.
    pub(crate) fn end(&self, message: &str) {
        if self.ended.replace(true) {
            return;
        }
        let calls: Vec<Rc<Call>> = self.calls.borrow_mut().drain().map(|(_, call)| call).collect();
        if let Some(me) = self.me.upgrade() {
            for call in &calls {
                self.backend.give_up(&me, call, "the session has ended");
            }
            self.server.forget(&me);
            self.backend.stop(&me);
        }
        for call in calls {
            call.post.outlet().fail(error::answer(Some(&call.raw_id), REFUSED, message, None).into());
        }
        if let Some(outlet) = self.standalone.borrow_mut().take() {
            outlet.close();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let around = &self.server.around;
        around.kept.set(around.kept.get().saturating_sub(self.replay.borrow().bytes()));
    }
}
