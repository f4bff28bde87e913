//! A legacy session with a jail of its own: frames pass unchanged in both directions.
//!
//! Promises: a server that dies fails the calls in flight and is started again by the next message, behind the same
//! session id, with the client's own `initialize`; when that fails, the session is over.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::server::Server;
use super::session::{Call, Session};
use super::view::View;
use crate::error::{self, Failure, INTERNAL, NO_SESSION};
use crate::frame::{Envelope, Key, Kind, Look};
use crate::instance::{Consumer, Instance, WriteError};
use crate::lines::Line;
use crate::splice::write_line;

/// The jail and what it takes to start it again.
pub(crate) struct Isolated {
    session: Weak<Session>,
    server: Rc<Server>,
    instance: RefCell<Option<Rc<Instance>>>,
    /// the client's `initialize`
    hello: Bytes,
    hello_id: Key,
    /// the client's `notifications/initialized`, once it came
    initialized: RefCell<Option<Bytes>>,
    /// gets the answer to `hello`
    greeting: RefCell<Option<oneshot::Sender<Result<Bytes, String>>>>,
    starting: tokio::sync::Mutex<()>,
    stopped: Cell<bool>,
}

impl Isolated {
    /// No jail yet; `hello` is the client's `initialize` with this id.
    pub(crate) fn new(session: Weak<Session>, server: Rc<Server>, hello: Bytes, hello_id: Key) -> Rc<Self> {
        Rc::new(Self {
            session,
            server,
            instance: RefCell::default(),
            hello,
            hello_id,
            initialized: RefCell::default(),
            greeting: RefCell::default(),
            starting: tokio::sync::Mutex::new(()),
            stopped: Cell::new(false),
        })
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
        *self.instance.borrow_mut() = Some(instance.clone());
        instance.attach(self.clone());
        let failed = |why: String| Failure::new(502, INTERNAL, why);
        self.write(&self.hello).map_err(failed)?;
        let wait = Duration::from_millis(self.server.around.limits.start_ms);
        match tokio::time::timeout(wait, answer).await {
            Ok(Ok(Ok(frame))) => Ok(frame),
            Ok(Ok(Err(why))) => Err(failed(why)),
            Ok(Err(_)) => Err(failed("the session has ended".to_owned())),
            Err(_) => {
                instance.stop();
                Err(Failure::new(
                    504,
                    INTERNAL,
                    "the hosted server did not answer initialize in time and was stopped",
                ))
            }
        }
    }

    /// Starts the jail again if it has died.
    ///
    /// # Errors
    /// Why that is not possible; the session is over then, or a later try makes sense.
    pub(crate) async fn ensure(self: &Rc<Self>, session: &Rc<Session>) -> Result<(), Failure> {
        if self.is_live() {
            return Ok(());
        }
        let _one = self.starting.lock().await;
        if self.is_live() {
            return Ok(());
        }
        if session.is_ended() {
            return Err(Failure::new(404, NO_SESSION, "the session has ended"));
        }
        let answer = self.greet().await;
        let welcome = answer
            .as_ref()
            .is_ok_and(|frame| Envelope::parse(frame).is_ok_and(|envelope| envelope.kind == Kind::Result));
        if !welcome {
            if let Err(failure) = &answer
                && failure.retry_after.is_some()
            {
                return Err(failure.clone());
            }
            session.end("the hosted server did not come back");
            let why = answer.err().map_or_else(|| "it refused to initialize again".to_owned(), |f| f.message);
            let message = format!("the hosted server did not come back, start a new session: {why}");
            return Err(Failure::new(404, NO_SESSION, message));
        }
        self.server.around.metrics.restarts.add(1);
        let initialized = self.initialized.borrow().clone();
        if let Some(frame) = initialized {
            self.write(&frame).map_err(|why| Failure::new(502, INTERNAL, why))?;
        }
        Ok(())
    }

    fn is_live(&self) -> bool {
        self.instance.borrow().as_ref().is_some_and(|instance| instance.is_live())
    }

    /// Gives the server a frame.
    ///
    /// # Errors
    /// One sentence when it did not get it.
    pub(crate) fn write(&self, frame: &Bytes) -> Result<(), String> {
        let Some(instance) = self.instance.borrow().clone() else {
            return Err("the hosted server is not running".to_owned());
        };
        instance.write(|out| write_line(frame, out)).map_err(|e| match e {
            WriteError::Ended => instance.why(),
            WriteError::Full => "the hosted server does not read its input".to_owned(),
        })
    }

    /// A notification or answer of the client.
    pub(crate) fn pass(&self, session: &Rc<Session>, frame: &Bytes, view: &View<'_>) {
        if view.envelope.method == "notifications/initialized" {
            *self.initialized.borrow_mut() = Some(frame.clone());
        }
        // A server that died meanwhile has no use for it; the next request says what happened.
        let _ = self.write(frame);
        if let Some((_, key)) = view.cancels() {
            session.drop_call(&key);
        }
    }

    /// Tells the server that nobody waits for this call.
    pub(crate) fn give_up(&self, call: &Call, reason: &str) {
        let _ = self.write(&cancelled(&call.raw_id, reason));
    }

    /// Ends the jail.
    pub(crate) fn stop(&self) {
        self.stopped.set(true);
        self.greeting.borrow_mut().take();
        if let Some(instance) = self.instance.borrow_mut().take() {
            instance.stop();
        }
    }

    fn answer(&self, session: &Session, id: Option<&str>, frame: Bytes) {
        let key = id.and_then(Key::of);
        if key.as_ref() == Some(&self.hello_id)
            && let Some(tell) = self.greeting.borrow_mut().take()
        {
            let _ = tell.send(Ok(frame));
            return;
        }
        if !key.is_some_and(|key| session.answer(&key, frame)) {
            self.server.around.metrics.withheld.add(1);
        }
    }
}

/// `notifications/cancelled` for a raw id.
pub(crate) fn cancelled(raw_id: impl std::fmt::Display, reason: &str) -> Bytes {
    let reason = error::quote(reason);
    let text = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{raw_id},"reason":{reason}}}}}"#
    );
    text.into()
}

impl Consumer for Isolated {
    fn line(&self, line: Line<'_>) {
        let Some(session) = self.session.upgrade() else { return };
        let (kind, id, place) = match Envelope::parse(line.bytes()) {
            Ok(envelope) => {
                let key = envelope.id.map(str::to_owned);
                (envelope.kind, key, Place::of(&envelope, &session))
            }
            Err(e) => {
                if let Some(instance) = self.instance.borrow().as_ref() {
                    instance.skip(line.bytes(), &e.to_string());
                }
                return;
            }
        };
        let frame = line.into_bytes();
        match (kind, place) {
            (Kind::Result | Kind::Error, _) => self.answer(&session, id.as_deref(), frame),
            (_, Place::Call(call)) => session.during(&call, frame),
            (_, Place::Newest) => session.during_newest(frame),
            (_, Place::Apart) => session.apart(frame),
        }
    }

    fn ended(&self, why: &str) {
        if let Some(tell) = self.greeting.borrow_mut().take() {
            let _ = tell.send(Err(why.to_owned()));
        }
        if let Some(session) = self.session.upgrade() {
            session.fail_all(why);
        }
    }
}

/// Where a message that is no answer belongs.
enum Place {
    /// to the call with its progress token
    Call(Rc<Call>),
    /// to the work in hand
    Newest,
    /// to the session as a whole
    Apart,
}

impl Place {
    fn of(envelope: &Envelope<'_>, session: &Session) -> Self {
        match (envelope.kind, envelope.method.as_ref()) {
            (_, "notifications/progress") => {
                let token = Look::into(envelope.params).ok().and_then(|look| look.params.progress_token);
                let call =
                    token.and_then(|raw| Key::of(raw.get())).and_then(|key| session.call_of_token(&key));
                call.map_or(Self::Apart, Self::Call)
            }
            (Kind::Request, _) | (_, "notifications/message" | "notifications/cancelled") => Self::Newest,
            (Kind::Notification | Kind::Result | Kind::Error, _) => Self::Apart,
        }
    }
}
