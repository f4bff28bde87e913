//! A legacy session on a server of revision 2026-07-28 only: wires [`modern_server::Adapter`] to a jail of its own.
//!
//! Promises: a server that dies is started again by the next message, with the client's own `initialize`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::bridge::limits_of;
use super::server::Server;
use super::session::{Call, Session};
use super::translate::{Action, CallId, modern_server::Adapter};
use super::view::View;
use crate::error::{Failure, INTERNAL, NO_SESSION};
use crate::frame::{Envelope, Kind};
use crate::instance::{Consumer, Instance, WriteError};
use crate::lines::Line;
use crate::splice::write_line;

/// The number of the client's `initialize`; requests count from the next one.
const HELLO: u64 = 0;

/// The session's server half.
pub(crate) struct Translated {
    session: Weak<Session>,
    server: Rc<Server>,
    hello: Bytes,
    initialized: RefCell<Option<Bytes>>,
    instance: RefCell<Option<Rc<Instance>>>,
    adapter: RefCell<Adapter>,
    calls: RefCell<HashMap<u64, Rc<Call>>>,
    next: Cell<u64>,
    greeting: RefCell<Option<oneshot::Sender<Bytes>>>,
    starting: tokio::sync::Mutex<()>,
    stopped: Cell<bool>,
    born: Instant,
}

impl Translated {
    /// No jail yet; `hello` is the client's `initialize`.
    pub(crate) fn new(session: Weak<Session>, server: Rc<Server>, hello: Bytes) -> Rc<Self> {
        let adapter = Adapter::new(limits_of(&server));
        Rc::new(Self {
            session,
            server,
            hello,
            initialized: RefCell::default(),
            instance: RefCell::default(),
            adapter: RefCell::new(adapter),
            calls: RefCell::default(),
            next: Cell::new(HELLO + 1),
            greeting: RefCell::default(),
            starting: tokio::sync::Mutex::new(()),
            stopped: Cell::new(false),
            born: Instant::now(),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_live(&self) -> bool {
        self.instance.borrow().as_ref().is_some_and(|instance| instance.is_live())
    }

    /// Starts a jail and gives it `hello`; its answer.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn greet(self: &Rc<Self>) -> Result<Bytes, Failure> {
        let instance = self.server.take().await?;
        if self.stopped.get() {
            instance.stop();
            return Err(Failure::new(404, NO_SESSION, "the session has ended"));
        }
        let (tell, answer) = oneshot::channel();
        *self.greeting.borrow_mut() = Some(tell);
        *self.adapter.borrow_mut() = Adapter::new(limits_of(&self.server));
        *self.instance.borrow_mut() = Some(instance.clone());
        instance.attach(self.clone());
        let actions = self.adapter.borrow_mut().on_client(CallId(HELLO), &self.hello, self.now());
        self.act(actions);
        let wait = Duration::from_millis(self.server.around.limits.start_ms);
        match tokio::time::timeout(wait, answer).await {
            Ok(Ok(frame)) => Ok(frame),
            Ok(Err(_)) => Err(Failure::new(502, INTERNAL, instance.why())),
            Err(_) => {
                instance.stop();
                Err(Failure::new(504, INTERNAL, "the hosted server did not answer in time and was stopped"))
            }
        }
    }

    /// Starts the jail again if it has died.
    ///
    /// # Errors
    /// Why that is not possible.
    pub(crate) async fn ensure(self: &Rc<Self>, session: &Rc<Session>) -> Result<(), Failure> {
        if self.is_live() {
            return Ok(());
        }
        let _one = self.starting.lock().await;
        if self.is_live() {
            return Ok(());
        }
        let answer = self.greet().await;
        let refused = match &answer {
            Ok(frame) => Envelope::parse(frame).map_or(true, |envelope| envelope.kind != Kind::Result),
            Err(failure) if failure.retry_after.is_some() => return Err(failure.clone()),
            Err(_) => true,
        };
        if refused {
            session.end("the hosted server did not come back");
            return Err(Failure::new(
                404,
                NO_SESSION,
                "the hosted server did not come back, start a new session",
            ));
        }
        self.server.around.metrics.restarts.add(1);
        let initialized = self.initialized.borrow().clone();
        if let Some(frame) = initialized {
            self.client(HELLO, &frame);
        }
        Ok(())
    }

    fn client(&self, number: u64, frame: &[u8]) {
        let actions = self.adapter.borrow_mut().on_client(CallId(number), frame, self.now());
        self.act(actions);
    }

    /// One request of the client.
    ///
    /// # Errors
    /// The server is not running.
    pub(crate) fn request(&self, call: &Rc<Call>, frame: &Bytes) -> Result<(), String> {
        if !self.is_live() {
            return Err("the hosted server is not running".to_owned());
        }
        let number = self.next.get();
        self.next.set(number + 1);
        self.calls.borrow_mut().insert(number, call.clone());
        self.client(number, frame);
        Ok(())
    }

    /// A notification or answer of the client.
    pub(crate) fn pass(&self, session: &Rc<Session>, frame: &Bytes, view: &View<'_>) {
        if view.envelope.method == "notifications/initialized" {
            *self.initialized.borrow_mut() = Some(frame.clone());
        }
        if self.is_live() {
            self.client(HELLO, frame);
        }
        if let Some((_, key)) = view.cancels() {
            session.drop_call(&key);
        }
    }

    /// Nobody waits for this call any more.
    pub(crate) fn give_up(&self, call: &Call) {
        let number = self.calls.borrow().iter().find(|(_, c)| c.key == call.key).map(|(number, _)| *number);
        if let Some(number) = number {
            self.calls.borrow_mut().remove(&number);
            let actions = self.adapter.borrow_mut().on_closed(CallId(number));
            self.act(actions);
        }
    }

    /// Time passes.
    pub(crate) fn sweep(&self) {
        let now = self.now();
        let due = self.adapter.borrow().next_time().is_some_and(|at| at <= now);
        if due && self.is_live() {
            let actions = self.adapter.borrow_mut().on_time(now);
            self.act(actions);
        }
    }

    /// Ends the jail.
    pub(crate) fn stop(&self) {
        self.stopped.set(true);
        self.greeting.borrow_mut().take();
        if let Some(instance) = self.instance.borrow_mut().take() {
            instance.stop();
        }
    }

    fn act(&self, actions: Vec<Action>) {
        let instance = self.instance.borrow().clone();
        let (Some(instance), Some(session)) = (instance, self.session.upgrade()) else { return };
        for action in actions {
            match action {
                Action::ToServer(frame) => {
                    if instance.write(|out| write_line(&frame, out)) == Err(WriteError::Full) {
                        session.end("the hosted server does not read its input");
                        return;
                    }
                }
                Action::ToClient { call: Some(CallId(HELLO)), frame, .. } => {
                    if let Some(tell) = self.greeting.borrow_mut().take() {
                        let _ = tell.send(frame.into());
                    }
                }
                Action::ToClient { call: Some(call), frame, last } => {
                    self.to_client(&session, call, frame, last)
                }
                Action::ToClient { call: None, frame, .. } => session.apart(frame.into()),
                Action::Close(call) => {
                    if let Some(call) = self.calls.borrow_mut().remove(&call.0) {
                        session.drop_call(&call.key);
                    }
                }
                Action::Unusable(why) => {
                    crate::log::line(format_args!(
                        "{}: {}",
                        self.server.name,
                        crate::log::quote(why.as_bytes())
                    ));
                    instance.stop();
                }
            }
        }
    }

    fn to_client(&self, session: &Session, call: CallId, frame: Vec<u8>, last: bool) {
        let known = if last {
            self.calls.borrow_mut().remove(&call.0)
        } else {
            self.calls.borrow().get(&call.0).cloned()
        };
        match known {
            Some(call) if last => drop(session.answer(&call.key, frame.into())),
            Some(call) => session.during(&call, frame.into()),
            None => self.server.around.metrics.withheld.add(1),
        }
    }
}

impl Consumer for Translated {
    fn line(&self, line: Line<'_>) {
        if let Err(e) = Envelope::parse(line.bytes()) {
            if let Some(instance) = self.instance.borrow().as_ref() {
                instance.skip(line.bytes(), &e.to_string());
            }
            return;
        }
        let actions = self.adapter.borrow_mut().on_server(line.bytes(), self.now());
        self.act(actions);
    }

    fn ended(&self, why: &str) {
        let actions = self.adapter.borrow_mut().fail_all(why);
        self.act(actions);
        self.greeting.borrow_mut().take();
        self.calls.borrow_mut().clear();
        if let Some(session) = self.session.upgrade() {
            session.fail_all(why);
        }
    }
}
