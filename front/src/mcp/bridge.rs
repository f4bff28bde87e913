//! Modern clients on a server of the legacy era: wires [`legacy_server::Adapter`] to a jail and to the clients' streams.
//!
//! Promises: each request has a number of its own; one that is given up or fails is forgotten on both sides.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use tokio::time::Instant;

use super::answer::Exchange;
use super::entropy::random;
use super::modern::exchange;
use super::server::Server;
use super::translate::{Action, CallId, Capabilities, Introduction, Limits, legacy_server::Adapter};
use super::view::View;
use crate::error::{self, Failure, INTERNAL};
use crate::instance::{Consumer, Instance, WriteError};
use crate::lines::Line;
use crate::outlet::{Item, Outlet};
use crate::splice::write_line;
use crate::sse::Hangup;

/// One request on the bridge.
struct Stream {
    outlet: Rc<Outlet>,
    raw_id: Box<str>,
    started: Instant,
    endless: bool,
}

/// The jail, the translation and the streams.
pub(crate) struct Bridge {
    instance: Rc<Instance>,
    server: Rc<Server>,
    adapter: RefCell<Adapter>,
    streams: RefCell<HashMap<u64, Stream>>,
    next: Cell<u64>,
    born: Instant,
}

/// Bounds of an adapter from those of the front.
pub(crate) fn limits_of(server: &Server) -> Limits {
    let limits = &server.around.limits;
    Limits { calls: limits.in_flight as usize, server_ms: limits.start_ms, ..Limits::default() }
}

impl Bridge {
    /// Takes over a fresh jail and begins the handshake with it.
    pub(crate) fn new(instance: Rc<Instance>, server: &Rc<Server>) -> Rc<Self> {
        let introduction = Introduction { capabilities: Capabilities::ALL, client_info: None };
        let adapter = Adapter::new(limits_of(server), introduction, Box::new(random));
        let bridge = Rc::new(Self {
            instance: instance.clone(),
            server: server.clone(),
            adapter: RefCell::new(adapter),
            streams: RefCell::default(),
            next: Cell::new(1),
            born: Instant::now(),
        });
        instance.attach(bridge.clone());
        let actions = bridge.adapter.borrow_mut().start(0);
        bridge.act(actions);
        bridge
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether it can be used.
    pub(crate) fn is_live(&self) -> bool {
        self.instance.is_live()
    }

    /// Requests in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.streams.borrow().len()
    }

    /// How many of them will have an answer.
    pub(crate) fn pending(&self) -> usize {
        self.streams.borrow().values().filter(|stream| !stream.endless).count()
    }

    /// Passes on one request.
    ///
    /// # Errors
    /// None today; the signature is that of the unbridged way.
    pub(crate) fn call(self: &Rc<Self>, frame: &Bytes, view: &View<'_>) -> Result<Exchange, Failure> {
        let number = self.next.get();
        self.next.set(number + 1);
        let outlet = Outlet::new(&self.server.around.budget);
        let stream = Stream {
            outlet: outlet.clone(),
            raw_id: view.envelope.id.unwrap_or("null").into(),
            started: Instant::now(),
            endless: view.envelope.method == "subscriptions/listen",
        };
        self.streams.borrow_mut().insert(number, stream);
        let actions = self.adapter.borrow_mut().on_client(CallId(number), frame, self.now());
        self.act(actions);
        let hangup: Rc<dyn Hangup> = self.clone();
        Ok(exchange(outlet, hangup, number))
    }

    /// Carries out what the translation asks for.
    fn act(&self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::ToServer(frame) => {
                    // A server that has ended fails its calls by itself.
                    if self.instance.write(|out| write_line(&frame, out)) == Err(WriteError::Full) {
                        self.instance.stop();
                        return self.fail("the hosted server does not read its input and was stopped");
                    }
                }
                Action::ToClient { call: Some(call), frame, last } => {
                    self.to_client(call, frame.into(), last)
                }
                Action::ToClient { call: None, .. } => self.server.around.metrics.withheld.add(1),
                Action::Close(call) => {
                    if let Some(stream) = self.streams.borrow_mut().remove(&call.0) {
                        stream.outlet.close();
                    }
                }
                Action::Unusable(why) => {
                    crate::log::line(format_args!(
                        "{}: cannot be bridged: {}",
                        self.server.name,
                        crate::log::quote(why.as_bytes())
                    ));
                    self.instance.stop();
                }
            }
        }
    }

    fn to_client(&self, call: CallId, frame: Bytes, last: bool) {
        let outlet = match self.streams.borrow().get(&call.0) {
            Some(stream) => stream.outlet.clone(),
            None => return,
        };
        let slow = outlet.push(Item { frame, event: None, last }).is_err();
        if !(last || slow) {
            return;
        }
        let Some(stream) = self.streams.borrow_mut().remove(&call.0) else { return };
        if slow {
            let why = "the client does not read what is sent to it";
            stream.outlet.fail(error::answer(Some(&stream.raw_id), INTERNAL, why, None).into());
            self.server.around.metrics.slow_readers.add(1);
            self.closed(call);
        }
        stream.outlet.close();
    }

    fn closed(&self, call: CallId) {
        let actions = self.adapter.borrow_mut().on_closed(call);
        self.act(actions);
    }

    /// Time passes: what waits too long ends.
    pub(crate) fn sweep(&self, late: Option<Instant>, message: &str) {
        if !self.is_live() {
            return;
        }
        let now = self.now();
        let due = self.adapter.borrow().next_time().is_some_and(|at| at <= now);
        if due {
            let actions = self.adapter.borrow_mut().on_time(now);
            self.act(actions);
        }
        let is_late = |stream: &Stream| !stream.endless && late.is_some_and(|late| stream.started <= late);
        let expired: Vec<u64> =
            self.streams.borrow().iter().filter(|(_, s)| is_late(s)).map(|(number, _)| *number).collect();
        for number in expired {
            if let Some(stream) = self.streams.borrow_mut().remove(&number) {
                self.server.around.metrics.failed_calls.add(1);
                stream.outlet.fail(error::answer(Some(&stream.raw_id), INTERNAL, message, None).into());
            }
            self.closed(CallId(number));
        }
    }

    fn fail(&self, why: &str) {
        let actions = self.adapter.borrow_mut().fail_all(why);
        self.act(actions);
        let rest: Vec<Stream> = self.streams.borrow_mut().drain().map(|(_, stream)| stream).collect();
        for stream in rest {
            stream.outlet.fail(error::answer(Some(&stream.raw_id), INTERNAL, why, None).into());
        }
    }
}

impl Consumer for Bridge {
    fn line(&self, line: Line<'_>) {
        if let Err(e) = crate::frame::Envelope::parse(line.bytes()) {
            return self.instance.skip(line.bytes(), &e.to_string());
        }
        let actions = self.adapter.borrow_mut().on_server(line.bytes(), self.now());
        self.act(actions);
    }

    fn ended(&self, why: &str) {
        self.fail(why);
    }
}

impl Hangup for Bridge {
    fn hung_up(&self, call: u64) {
        if self.streams.borrow_mut().remove(&call).is_some() {
            self.closed(CallId(call));
        }
    }
}
