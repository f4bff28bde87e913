//! Many callers on one child: ids, progress tokens and subscription ids are rewritten on the way in and restored on the
//! way out.
//!
//! Promises: each request has an id of this side's own, so that equal ids of different callers never meet; an answer goes
//! to who asked; what belongs to nobody is handed to the owner of the mux, never to a guess.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::isolated::cancelled;
use super::session::{Call, Session};
use super::view::View;
use crate::error::{self, INTERNAL};
use crate::frame::{Key, Kind, Look};
use crate::instance::{Consumer, Instance, Surroundings, WriteError};
use crate::lines::Line;
use crate::metrics::Metrics;
use crate::outlet::{Item, Outlet};
use crate::splice::{Edits, write_line};

/// Where the answer to a request goes.
pub(crate) enum Sink {
    /// a modern client's own stream
    Stream(Rc<Outlet>),
    /// a call of a legacy session
    Session(Rc<Session>, Rc<Call>),
    /// this front itself
    Own(oneshot::Sender<Bytes>),
}

/// One request that waits for its answer.
pub(crate) struct Entry {
    /// where to
    pub(crate) sink: Sink,
    /// the asker's id, as it wrote it
    pub(crate) raw_id: Box<str>,
    /// the asker's progress token, as it wrote it
    pub(crate) raw_token: Option<Box<str>>,
    /// what was asked
    pub(crate) method: Box<str>,
    /// what it was asked about, for the owner's books
    pub(crate) subject: Option<Box<str>>,
    /// whether the asker wants log messages
    pub(crate) logs: bool,
    /// when it was asked
    pub(crate) started: Instant,
}

impl Entry {
    /// A subscription stream has no time limit.
    fn is_endless(&self) -> bool {
        &*self.method == "subscriptions/listen"
    }
}

/// Who owns a mux and knows what to do with what belongs to no request.
pub(crate) trait Owner {
    /// A request or notification of the child that names no request in flight.
    fn stray(&self, mux: &Mux, view: &View<'_>, line: Bytes);
    /// A request was answered; `result` is its raw result, if it has one.
    fn answered(&self, entry: &Entry, result: Option<&str>);
    /// A notification that was passed to the request that it names.
    fn named(&self, mux: &Mux, view: &View<'_>);
    /// The child has ended.
    fn ended(&self);
}

/// One child and the requests on it.
pub(crate) struct Mux {
    /// the child
    pub(crate) instance: Rc<Instance>,
    around: Rc<Surroundings>,
    entries: RefCell<HashMap<u64, Entry>>,
    next: Cell<u64>,
    owner: Rc<dyn Owner>,
}

impl Mux {
    /// Takes over a child.
    pub(crate) fn new(instance: Rc<Instance>, around: &Rc<Surroundings>, owner: Rc<dyn Owner>) -> Rc<Self> {
        let mux = Rc::new(Self {
            instance: instance.clone(),
            around: around.clone(),
            entries: RefCell::default(),
            next: Cell::new(1),
            owner,
        });
        instance.attach(mux.clone());
        mux
    }

    fn metrics(&self) -> &Metrics {
        &self.around.metrics
    }

    /// Sends a request under an id of its own; that id.
    ///
    /// # Errors
    /// One sentence when the child did not get it.
    pub(crate) fn request(&self, entry: Entry, frame: &[u8], view: &View<'_>) -> Result<u64, String> {
        let number = self.next.get();
        let own = number.to_string();
        let mut edits = Edits::default();
        if let Some(id) = view.envelope.id {
            edits.replace(frame, id, &own);
        }
        if let Some(token) = view.token() {
            edits.replace(frame, token, &own);
        }
        self.write(|out| edits.write(frame, out))?;
        self.next.set(number + 1);
        self.entries.borrow_mut().insert(number, entry);
        Ok(number)
    }

    /// Asks something for this front itself; the answer, or nothing when the child ends.
    pub(crate) async fn ask(&self, method: &str, params: &str) -> Option<Bytes> {
        self.ask_later(method, params)?.await.ok()
    }

    /// Asks something for this front itself; where the answer will arrive.
    pub(crate) fn ask_later(&self, method: &str, params: &str) -> Option<oneshot::Receiver<Bytes>> {
        let text = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"{method}","params":{params}}}"#);
        let (tell, answer) = oneshot::channel();
        let entry = Entry {
            sink: Sink::Own(tell),
            raw_id: "0".into(),
            raw_token: None,
            method: method.into(),
            subject: None,
            logs: false,
            started: Instant::now(),
        };
        let view = View::of(text.as_bytes()).ok()?;
        self.request(entry, text.as_bytes(), &view).ok()?;
        Some(answer)
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// One sentence when the child did not get it.
    pub(crate) fn pass(&self, frame: &[u8]) -> Result<(), String> {
        self.write(|out| write_line(frame, out))
    }

    fn write(&self, fill: impl FnOnce(&mut Vec<u8>)) -> Result<(), String> {
        self.instance.write(fill).map_err(|e| match e {
            WriteError::Ended => self.instance.why(),
            WriteError::Full => "the hosted server does not read its input".to_owned(),
        })
    }

    /// Forgets a request and tells the child.
    pub(crate) fn cancel(&self, number: u64, reason: &str) -> Option<Entry> {
        let entry = self.entries.borrow_mut().remove(&number)?;
        let _ = self.pass(&cancelled(number, reason));
        Some(entry)
    }

    /// The numbers of the entries that `wanted` picks.
    pub(crate) fn find(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<u64> {
        self.entries.borrow().iter().filter(|(_, entry)| wanted(entry)).map(|(number, _)| *number).collect()
    }

    /// Looks at each entry.
    pub(crate) fn each(&self, look: impl FnMut(&Entry)) {
        self.entries.borrow().values().for_each(look);
    }

    /// How many requests wait.
    pub(crate) fn in_flight(&self) -> usize {
        self.entries.borrow().len()
    }

    /// How many of them will have an answer.
    pub(crate) fn pending(&self) -> usize {
        self.entries.borrow().values().filter(|entry| !entry.is_endless()).count()
    }

    /// Fails the streams that have waited since before `limit`.
    pub(crate) fn expire(&self, limit: Instant, message: &str) {
        let late = self.find(|entry| {
            entry.started <= limit
                && !entry.is_endless()
                && matches!(entry.sink, Sink::Stream(_) | Sink::Own(_))
        });
        for number in late {
            if let Some(entry) = self.cancel(number, "the request took too long") {
                self.fail(entry, message);
            }
        }
    }

    /// Sends a message in the course of a request.
    pub(crate) fn during(&self, number: u64, frame: Bytes) {
        let entries = self.entries.borrow();
        let Some(entry) = entries.get(&number) else { return };
        match &entry.sink {
            Sink::Stream(outlet) => {
                if outlet.push(Item { frame, event: None, last: false }).is_err() {
                    drop(entries);
                    self.too_slow(number);
                }
            }
            Sink::Session(session, call) => {
                // Ending a slow session cancels its calls here: nothing may be borrowed then.
                let (session, call) = (session.clone(), call.clone());
                drop(entries);
                session.during(&call, frame);
            }
            Sink::Own(_) => {}
        }
    }

    fn too_slow(&self, number: u64) {
        let why = "the client does not read what is sent to it";
        self.metrics().slow_readers.add(1);
        if let Some(Entry { sink: Sink::Stream(outlet), raw_id, .. }) = self.cancel(number, why) {
            outlet.fail(error::answer(Some(&raw_id), INTERNAL, why, None).into());
        }
    }

    fn fail(&self, entry: Entry, message: &str) {
        match entry.sink {
            Sink::Stream(outlet) => {
                self.metrics().failed_calls.add(1);
                let frame = error::answer(Some(&entry.raw_id), INTERNAL, message, None).into();
                let _ = outlet.push(Item { frame, event: None, last: true });
                outlet.close();
            }
            Sink::Session(session, call) => session.fail(&call, INTERNAL, message),
            Sink::Own(tell) => drop(tell),
        }
    }

    fn answer(&self, view: &View<'_>, line: &Line<'_>) {
        let number = view.envelope.id.and_then(Key::own);
        let entry = number.and_then(|number| self.entries.borrow_mut().remove(&number));
        let Some(entry) = entry else {
            self.metrics().withheld.add(1);
            return;
        };
        let bytes = line.bytes();
        let mut edits = Edits::default();
        if let Some(id) = view.envelope.id {
            edits.replace(bytes, id, &entry.raw_id);
        }
        let subscription = if entry.is_endless() { subscription(view.envelope.result) } else { None };
        if let Some(raw) = subscription {
            edits.replace(bytes, raw, &entry.raw_id);
        }
        let frame = Bytes::from(edits.apply(bytes));
        self.owner.answered(&entry, view.envelope.result);
        match entry.sink {
            Sink::Stream(outlet) => {
                if outlet.push(Item { frame, event: None, last: true }).is_err() {
                    let why = "the client does not read what is sent to it";
                    outlet.fail(error::answer(Some(&entry.raw_id), INTERNAL, why, None).into());
                }
                outlet.close();
            }
            Sink::Session(session, call) => {
                session.answer(&call.key, frame);
            }
            Sink::Own(tell) => drop(tell.send(frame)),
        }
    }

    /// The request that a message names, and the bytes that name it.
    fn named<'a>(&self, view: &View<'a>) -> Option<(u64, &'a str)> {
        let raw = match view.envelope.method.as_ref() {
            "notifications/progress" => view.look.params.progress_token?,
            "notifications/cancelled" => view.look.params.request_id?,
            _ => view.look.meta.subscription_id?,
        };
        let number = Key::own(raw.get())?;
        self.entries.borrow().contains_key(&number).then_some((number, raw.get()))
    }

    /// A message that names a request in flight, with the asker's own id or token in place of this side's.
    fn named_message(&self, number: u64, raw: &str, view: &View<'_>, line: &Line<'_>) {
        let is_progress = view.envelope.method == "notifications/progress";
        let restored = {
            let entries = self.entries.borrow();
            let Some(entry) = entries.get(&number) else { return };
            let with = if is_progress { entry.raw_token.as_deref() } else { Some(&*entry.raw_id) };
            // Progress that nobody asked for has nobody to go to.
            let Some(with) = with else { return self.metrics().withheld.add(1) };
            let mut edits = Edits::default();
            edits.replace(line.bytes(), raw, with);
            Bytes::from(edits.apply(line.bytes()))
        };
        self.during(number, restored);
        if view.envelope.method == "notifications/cancelled"
            && let Some(Entry { sink: Sink::Stream(outlet), .. }) = self.entries.borrow_mut().remove(&number)
        {
            outlet.close();
        }
    }
}

/// The raw `subscriptionId` in the metadata of a result.
fn subscription(result: Option<&str>) -> Option<&str> {
    Look::into(result).ok()?.meta.subscription_id.map(RawValue::get)
}

/// A message for a client: a carriage return between its members would end a line of an event stream.
fn one_line(line: &Line<'_>) -> Bytes {
    let mut out = Vec::with_capacity(line.bytes().len());
    write_line(line.bytes(), &mut out);
    out.into()
}

impl Consumer for Mux {
    fn line(&self, line: Line<'_>) {
        let view = match View::of(line.bytes()) {
            Ok(view) => view,
            Err(e) => return self.instance.skip(line.bytes(), &e.message),
        };
        match view.envelope.kind {
            Kind::Result | Kind::Error => self.answer(&view, &line),
            Kind::Request => self.owner.stray(self, &view, one_line(&line)),
            Kind::Notification => match self.named(&view) {
                Some((number, raw)) => {
                    self.named_message(number, raw, &view, &line);
                    self.owner.named(self, &view);
                }
                None => self.owner.stray(self, &view, one_line(&line)),
            },
        }
    }

    fn ended(&self, why: &str) {
        let entries: Vec<Entry> = self.entries.borrow_mut().drain().map(|(_, entry)| entry).collect();
        for entry in entries {
            self.fail(entry, why);
        }
        self.owner.ended();
    }
}
