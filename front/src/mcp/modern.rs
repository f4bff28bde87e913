//! The modern era's side of one server for one caller: stateless requests on one shared jail.
//!
//! Promises: the jail is started by the first request and again after its death; a log message reaches a caller only when
//! no other request in flight asked for log messages; a server that only knows the legacy era is bridged.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::answer::Exchange;
use super::bridge::Bridge;
use super::mux::{Entry, Mux, Owner, Sink};
use super::server::Server;
use super::view::View;
use crate::error::{self, Failure, INTERNAL, METHOD_NOT_FOUND, REFUSED};
use crate::frame::Kind;
use crate::outlet::Outlet;
use crate::sse::Hangup;

/// The side.
pub(crate) struct Modern {
    server: Rc<Server>,
    mux: RefCell<Option<Rc<Mux>>>,
    bridge: RefCell<Option<Rc<Bridge>>>,
    starting: tokio::sync::Mutex<()>,
}

impl Modern {
    /// No jail yet.
    pub(crate) fn new(server: Rc<Server>) -> Rc<Self> {
        Rc::new(Self {
            server,
            mux: RefCell::default(),
            bridge: RefCell::default(),
            starting: tokio::sync::Mutex::new(()),
        })
    }

    /// Requests in flight.
    pub(crate) fn in_flight(&self) -> usize {
        let mux = self.mux.borrow().as_ref().map_or(0, |mux| mux.in_flight());
        mux + self.bridge.borrow().as_ref().map_or(0, |bridge| bridge.in_flight())
    }

    /// Requests in flight that will have an answer.
    pub(crate) fn pending(&self) -> usize {
        let mux = self.mux.borrow().as_ref().map_or(0, |mux| mux.pending());
        mux + self.bridge.borrow().as_ref().map_or(0, |bridge| bridge.pending())
    }

    /// Passes on one request.
    ///
    /// # Errors
    /// Why it was not passed on.
    pub(crate) async fn call(self: &Rc<Self>, frame: &Bytes, view: &View<'_>) -> Result<Exchange, Failure> {
        if self.in_flight() >= self.server.around.limits.in_flight as usize {
            let why = "too many requests of this caller are in flight; wait for answers";
            return Err(Failure::new(503, REFUSED, why).retry_after_ms(1000));
        }
        if !self.server.speaks_modern().await? {
            return self.bridge().await?.call(frame, view);
        }
        let mux = self.child().await?;
        let outlet = Outlet::new(&self.server.around.budget);
        let entry = Entry {
            sink: Sink::Stream(outlet.clone()),
            raw_id: view.envelope.id.unwrap_or("null").into(),
            raw_token: view.token().map(Into::into),
            method: view.envelope.method.as_ref().into(),
            subject: None,
            logs: view.look.meta.log_level.is_some(),
            started: Instant::now(),
        };
        let number = mux.request(entry, frame, view).map_err(|why| Failure::new(502, INTERNAL, why))?;
        let hangup: Rc<dyn Hangup> = mux;
        Ok(exchange(outlet, hangup, number))
    }

    /// A notification: the only one that has a meaning names a request to cancel.
    pub(crate) fn notify(&self, view: &View<'_>) {
        let Some((raw, _)) = view.cancels() else { return };
        let Some(mux) = self.live() else { return };
        // Without sessions an id may be in flight for several clients of one caller: then it names none of them.
        let named = mux.find(|entry| &*entry.raw_id == raw);
        if let [number] = named[..]
            && let Some(Entry { sink: Sink::Stream(outlet), .. }) =
                mux.cancel(number, "the client cancelled the request")
        {
            outlet.close();
        }
    }

    fn live(&self) -> Option<Rc<Mux>> {
        self.mux.borrow().clone().filter(|mux| mux.instance.is_live())
    }

    async fn child(self: &Rc<Self>) -> Result<Rc<Mux>, Failure> {
        if let Some(mux) = self.live() {
            return Ok(mux);
        }
        let _one = self.starting.lock().await;
        if let Some(mux) = self.live() {
            return Ok(mux);
        }
        let instance = self.server.start().await?;
        let mux = Mux::new(instance, &self.server.around, self.clone());
        if self.mux.borrow_mut().replace(mux.clone()).is_some() {
            self.server.around.metrics.restarts.add(1);
        }
        Ok(mux)
    }

    async fn bridge(self: &Rc<Self>) -> Result<Rc<Bridge>, Failure> {
        let live = || self.bridge.borrow().clone().filter(|bridge| bridge.is_live());
        if let Some(bridge) = live() {
            return Ok(bridge);
        }
        let _one = self.starting.lock().await;
        if let Some(bridge) = live() {
            return Ok(bridge);
        }
        let bridge = Bridge::new(self.server.start().await?, &self.server);
        if self.bridge.borrow_mut().replace(bridge.clone()).is_some() {
            self.server.around.metrics.restarts.add(1);
        }
        Ok(bridge)
    }

    /// Ends what has waited since before `late`.
    pub(crate) fn sweep(&self, late: Option<Instant>, message: &str) {
        if let (Some(mux), Some(late)) = (self.live(), late) {
            mux.expire(late, message);
        }
        let bridge = self.bridge.borrow().clone();
        if let Some(bridge) = bridge {
            bridge.sweep(late, message);
        }
    }

    fn learn_again(mux: &Mux, server: &Rc<Server>) {
        // The list itself is learned where every answer passes.
        let params = format!("{{{}}}", super::probe::own_meta());
        let (asked, server) = (mux.ask_later("tools/list", &params), server.clone());
        if let Some(answer) = asked {
            tokio::task::spawn_local(async move {
                if answer.await.is_err() {
                    crate::log::line(format_args!(
                        "{}: the changed tool list could not be read",
                        server.name
                    ));
                }
            });
        }
    }
}

/// What a modern request waits for.
pub(crate) fn exchange(outlet: Rc<Outlet>, who: Rc<dyn Hangup>, call: u64) -> Exchange {
    Exchange { outlet, answers: 1, post: None, prime: false, hangup: Some((who, call)), modern: true }
}

impl Owner for Modern {
    fn stray(&self, mux: &Mux, view: &View<'_>, line: Bytes) {
        let withheld = || self.server.around.metrics.withheld.add(1);
        match (view.envelope.kind, view.envelope.method.as_ref()) {
            (Kind::Request, _) => {
                withheld();
                let why = "revision 2026-07-28 has no requests to clients";
                let _ = mux.pass(&error::answer(view.envelope.id, METHOD_NOT_FOUND, why, None));
            }
            (_, "notifications/message") => match mux.find(|entry| entry.logs)[..] {
                [number] => mux.during(number, line),
                _ => withheld(),
            },
            _ => withheld(),
        }
    }

    fn named(&self, mux: &Mux, view: &View<'_>) {
        if view.envelope.method == "notifications/tools/list_changed" {
            Self::learn_again(mux, &self.server);
        }
    }

    fn answered(&self, entry: &Entry, result: Option<&str>) {
        if &*entry.method == "tools/list"
            && let Some(result) = result
        {
            self.server.tools.borrow_mut().learn(result);
        }
    }

    fn ended(&self) {}
}

impl Hangup for Mux {
    fn hung_up(&self, call: u64) {
        self.cancel(call, "the client closed its stream");
    }
}

/// The declared revision of a request, decoded.
pub(crate) fn declared_version(view: &View<'_>) -> Option<String> {
    let raw = view.look.meta.protocol_version.map(RawValue::get)?;
    crate::frame::string(raw).map(std::borrow::Cow::into_owned)
}
