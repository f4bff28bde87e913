//! Many legacy sessions on one jail.
//!
//! Promises: the child is initialized once, by this front; what the child sends without naming a request goes to a session
//! only when no other can be meant, otherwise it is refused or withheld and counted; a subscription lasts as long as one
//! session wants it; after the child's death the next message starts it again and subscribes anew.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::mux::{Entry, Mux, Owner, Sink};
use super::server::Server;
use super::session::{Call, Session};
use super::subscriptions::Subscriptions;
use super::version::LEGACY;
use super::view::View;
use crate::error::{self, Failure, INTERNAL, METHOD_NOT_FOUND, REFUSED};
use crate::frame::{Envelope, Key, Kind};
use crate::splice::Edits;

/// For so long after its last answer a late message may still be meant for a session.
const SETTLE: Duration = Duration::from_secs(2);

/// Questions of the child to clients that are open at once.
const ASKED_MAX: usize = 1024;

/// Why a question of the child is not passed on.
const AMBIGUOUS: &str = "this request cannot be told to belong to one of the sessions that share this server";

/// When a session was answered last.
type Recent = (Instant, Weak<Session>);

/// The child and the books about its sessions.
pub(crate) struct Shared {
    server: Weak<Server>,
    me: Weak<Shared>,
    mux: RefCell<Option<Rc<Mux>>>,
    starting: tokio::sync::Mutex<()>,
    /// the child's answer to `initialize`
    welcome: RefCell<Option<Bytes>>,
    subscriptions: RefCell<Subscriptions>,
    /// which session was asked which question of the child
    asked: RefCell<HashMap<Key, Weak<Session>>>,
    /// sessions that were answered lately
    recent: RefCell<HashMap<Box<str>, Recent>>,
}

impl Shared {
    /// No child yet.
    pub(crate) fn new(server: Weak<Server>) -> Rc<Self> {
        Rc::new_cyclic(|me| Self {
            server,
            me: me.clone(),
            mux: RefCell::default(),
            starting: tokio::sync::Mutex::new(()),
            welcome: RefCell::default(),
            subscriptions: RefCell::default(),
            asked: RefCell::default(),
            recent: RefCell::default(),
        })
    }

    fn live(&self) -> Option<Rc<Mux>> {
        self.mux.borrow().clone().filter(|mux| mux.instance.is_live())
    }

    /// The child, started and initialized if need be.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn child(&self) -> Result<Rc<Mux>, Failure> {
        if let Some(mux) = self.live() {
            return Ok(mux);
        }
        let _one = self.starting.lock().await;
        if let Some(mux) = self.live() {
            return Ok(mux);
        }
        let gone = || Failure::new(503, INTERNAL, "the server is not hosted any more");
        let (server, me) = (self.server.upgrade().ok_or_else(gone)?, self.me.upgrade().ok_or_else(gone)?);
        let instance = server.take().await?;
        let guard = StopUnlessDone(Some(instance.clone()));
        let mux = Mux::new(instance.clone(), &server.around, me);
        let capabilities = r#"{"roots":{"listChanged":true},"sampling":{},"elicitation":{}}"#;
        let info = format!(r#"{{"name":"gaoler","version":"{}"}}"#, env!("CARGO_PKG_VERSION"));
        let hello =
            format!(r#"{{"protocolVersion":"{LEGACY}","capabilities":{capabilities},"clientInfo":{info}}}"#);
        let wait = Duration::from_millis(server.around.limits.start_ms);
        let answer = tokio::time::timeout(wait, mux.ask("initialize", &hello)).await;
        let failed = |status, why: String| Failure::new(status, INTERNAL, why);
        let answer = answer
            .map_err(|_| failed(504, "the hosted server did not answer initialize in time".to_owned()))?
            .ok_or_else(|| failed(502, instance.why()))?;
        let refusal = match Envelope::parse(&answer) {
            Ok(envelope) if envelope.kind == Kind::Result => None,
            Ok(envelope) => Some(envelope.error_code()),
            Err(_) => Some(INTERNAL),
        };
        if let Some(code) = refusal {
            let quoted = crate::log::quote(&answer);
            let why = format!("the hosted server refused to initialize: {quoted}");
            return Err(Failure::new(502, code, why));
        }
        let ready = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        mux.pass(ready).map_err(|why| failed(502, why))?;
        if self.mux.borrow().is_some() {
            server.around.metrics.restarts.add(1);
        }
        *self.welcome.borrow_mut() = Some(answer);
        *self.mux.borrow_mut() = Some(mux.clone());
        self.subscribe_again(&mux);
        guard.done();
        Ok(mux)
    }

    fn subscribe_again(&self, mux: &Rc<Mux>) {
        for uri in self.subscriptions.borrow().uris() {
            let mux = mux.clone();
            tokio::task::spawn_local(async move {
                let params = format!(r#"{{"uri":{}}}"#, error::quote(&uri));
                let _ = mux.ask("resources/subscribe", &params).await;
            });
        }
    }

    /// The recorded answer to `initialize`, for a client with this raw id that asked for this revision; and the revision.
    pub(crate) fn welcome(&self, raw_id: &str, wanted: &str) -> Option<(Bytes, Box<str>)> {
        let welcome = self.welcome.borrow().clone()?;
        let view = View::of(&welcome).ok()?;
        let result = crate::frame::Look::into(view.envelope.result).ok()?;
        let raw_version = result.params.protocol_version?.get();
        let offered = crate::frame::string(raw_version)?;
        let chosen =
            if super::version::is_legacy(wanted) && wanted <= offered.as_ref() { wanted } else { &offered };
        let quoted = error::quote(chosen);
        let mut edits = Edits::default();
        edits.replace(&welcome, view.envelope.id?, raw_id);
        edits.replace(&welcome, raw_version, &quoted);
        Some((edits.apply(&welcome).into(), chosen.into()))
    }

    /// One request of a session.
    ///
    /// # Errors
    /// One sentence when the child did not get it.
    pub(crate) fn request(
        &self,
        session: &Rc<Session>,
        call: &Rc<Call>,
        frame: &Bytes,
        view: &View<'_>,
    ) -> Result<(), String> {
        let mux = self.live().ok_or("the hosted server is not running")?;
        let method = view.envelope.method.as_ref();
        if method == "tasks/list" {
            let why = "tasks/list is not offered in shared mode: it would show the tasks of other sessions";
            session.fail(call, METHOD_NOT_FOUND, why);
            return Ok(());
        }
        let subject = matches!(method, "resources/subscribe" | "resources/unsubscribe")
            .then(|| view.text(view.look.params.uri).map(|uri| Box::from(uri.as_ref())))
            .flatten();
        if let Some(uri) = subject.as_deref()
            && !self.concerns_child(session, method, uri)
        {
            let frame = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, call.raw_id);
            session.answer(&call.key, frame.into());
            return Ok(());
        }
        let entry = Entry {
            sink: Sink::Session(session.clone(), call.clone()),
            raw_id: call.raw_id.clone(),
            raw_token: call.raw_token.clone(),
            method: method.into(),
            subject,
            logs: false,
            started: call.started,
        };
        mux.request(entry, frame, view).map(drop)
    }

    /// Whether the child has to know: an unsubscription while another session is subscribed is none of its business.
    fn concerns_child(&self, session: &Session, method: &str, uri: &str) -> bool {
        let mut subscriptions = self.subscriptions.borrow_mut();
        match method {
            "resources/subscribe" => !subscriptions.has(&session.id, uri),
            _ => subscriptions.remove(&session.id, uri),
        }
    }

    /// A notification or answer of a session.
    pub(crate) fn pass(&self, session: &Rc<Session>, frame: &Bytes, view: &View<'_>) {
        let Some(mux) = self.live() else { return };
        if let Some((_, key)) = view.cancels() {
            self.cancel(&mux, session, &key);
            session.drop_call(&key);
            return;
        }
        let allowed = match (view.envelope.kind, view.envelope.method.as_ref()) {
            (Kind::Result | Kind::Error, _) => {
                let key = view.envelope.id.and_then(Key::of);
                key.is_some_and(|key| self.was_asked(session, &key))
            }
            (_, "notifications/initialized") => return,
            (_, "notifications/progress") => {
                self.asked.borrow().values().any(|who| who.ptr_eq(&Rc::downgrade(session)))
            }
            _ => true,
        };
        if allowed {
            let _ = mux.pass(frame);
        } else {
            self.count_withheld();
        }
    }

    fn was_asked(&self, session: &Rc<Session>, key: &Key) -> bool {
        let mut asked = self.asked.borrow_mut();
        let mine = asked.get(key).is_some_and(|who| who.ptr_eq(&Rc::downgrade(session)));
        if mine {
            asked.remove(key);
        }
        mine
    }

    fn cancel(&self, mux: &Mux, session: &Rc<Session>, key: &Key) {
        let mine = |entry: &Entry| match &entry.sink {
            Sink::Session(other, call) => Rc::ptr_eq(other, session) && call.key == *key,
            Sink::Stream(_) | Sink::Own(_) => false,
        };
        for number in mux.find(mine) {
            mux.cancel(number, "the client cancelled the request");
        }
    }

    /// Nobody waits for this call any more.
    pub(crate) fn give_up(&self, session: &Rc<Session>, call: &Call, _reason: &str) {
        if let Some(mux) = self.live() {
            self.cancel(&mux, session, &call.key);
        }
    }

    /// A session is over: what only it wanted is undone.
    pub(crate) fn leave(&self, session: &Rc<Session>) {
        let unwanted = self.subscriptions.borrow_mut().leave(&session.id);
        self.recent.borrow_mut().remove(&session.id);
        let Some(mux) = self.live() else { return };
        for uri in unwanted {
            let mux = mux.clone();
            tokio::task::spawn_local(async move {
                let params = format!(r#"{{"uri":{}}}"#, error::quote(&uri));
                let _ = mux.ask("resources/unsubscribe", &params).await;
            });
        }
    }

    /// The child, if it runs.
    pub(crate) fn running(&self) -> Option<Rc<Mux>> {
        self.live()
    }

    fn count_withheld(&self) {
        if let Some(server) = self.server.upgrade() {
            server.around.metrics.withheld.add(1);
        }
    }

    /// The one session that works on something now; a child asks its client in the course of a request.
    fn only_busy(&self, mux: &Mux) -> Option<Rc<Session>> {
        let mut found: Option<Rc<Session>> = None;
        let mut several = false;
        mux.each(|entry| {
            if let Sink::Session(session, _) = &entry.sink {
                several |= found.as_ref().is_some_and(|other| !Rc::ptr_eq(other, session));
                found = Some(session.clone());
            }
        });
        if several { None } else { found.or_else(|| self.only_one(mux)) }
    }

    /// The one session that a message without an address can be meant for, be it late.
    fn only_one(&self, mux: &Mux) -> Option<Rc<Session>> {
        let now = Instant::now();
        let mut recent = self.recent.borrow_mut();
        recent.retain(|_, (at, _)| now.saturating_duration_since(*at) < SETTLE);
        let mut found: HashMap<Box<str>, Rc<Session>> =
            recent.values().filter_map(|(_, who)| who.upgrade()).map(|who| (who.id.clone(), who)).collect();
        mux.each(|entry| {
            if let Sink::Session(session, _) = &entry.sink {
                found.entry(session.id.clone()).or_insert_with(|| session.clone());
            }
        });
        if found.is_empty() {
            return self.server.upgrade()?.only_session();
        }
        let mut all = found.into_values();
        let first = all.next();
        if all.next().is_some() { None } else { first }
    }

    fn stray_request(&self, mux: &Mux, view: &View<'_>, line: Bytes) {
        let key = view.envelope.id.and_then(Key::of);
        let room = self.asked.borrow().len() < ASKED_MAX;
        match (self.only_busy(mux), key) {
            (Some(session), Some(key)) if room => {
                self.asked.borrow_mut().insert(key, Rc::downgrade(&session));
                session.during_newest(line);
            }
            _ => {
                self.count_withheld();
                let _ = mux.pass(&error::answer(view.envelope.id, REFUSED, AMBIGUOUS, None));
            }
        }
    }

    fn updated(&self, uri: &str, line: &Bytes) {
        let Some(server) = self.server.upgrade() else { return };
        let who = self.subscriptions.borrow().concerned(uri);
        for id in who {
            if let Some(session) = server.session(&id) {
                session.apart(line.clone());
            }
        }
    }
}

impl Owner for Shared {
    fn stray(&self, mux: &Mux, view: &View<'_>, line: Bytes) {
        match (view.envelope.kind, view.envelope.method.as_ref()) {
            (Kind::Request, _) => self.stray_request(mux, view, line),
            (_, "notifications/resources/updated") => {
                if let Some(uri) = view.text(view.look.params.uri) {
                    self.updated(&uri, &line);
                }
            }
            (_, method) if method.ends_with("/list_changed") => {
                for session in self.server.upgrade().map(|server| server.sessions()).unwrap_or_default() {
                    session.apart(line.clone());
                }
            }
            (_, "notifications/cancelled") => {
                let key = view.cancels().map(|(_, key)| key);
                let who =
                    key.and_then(|key| self.asked.borrow_mut().remove(&key)).and_then(|who| who.upgrade());
                if let Some(session) = who {
                    session.during_newest(line);
                }
            }
            _ => match self.only_one(mux) {
                Some(session) => session.during_newest(line),
                None => self.count_withheld(),
            },
        }
    }

    fn answered(&self, entry: &Entry, result: Option<&str>) {
        let Sink::Session(session, _) = &entry.sink else { return };
        let mut recent = self.recent.borrow_mut();
        match recent.get_mut(&session.id) {
            Some((at, _)) => *at = Instant::now(),
            None => {
                recent.insert(session.id.clone(), (Instant::now(), Rc::downgrade(session)));
            }
        }
        drop(recent);
        if let Some(uri) = &entry.subject
            && &*entry.method == "resources/subscribe"
            && result.is_some()
        {
            self.subscriptions.borrow_mut().add(&session.id, uri);
        }
    }

    fn named(&self, _mux: &Mux, _view: &View<'_>) {}

    fn ended(&self) {
        self.asked.borrow_mut().clear();
    }
}

/// Stops a child whose start was not finished.
struct StopUnlessDone(Option<Rc<crate::instance::Instance>>);

impl StopUnlessDone {
    fn done(mut self) {
        self.0.take();
    }
}

impl Drop for StopUnlessDone {
    fn drop(&mut self) {
        if let Some(instance) = self.0.take() {
            instance.stop();
        }
    }
}
