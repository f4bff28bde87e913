//! A modern-only child (revision 2026-07-28) behind one session of a legacy client.
//!
//! - this file: the verbs, `initialize`, and who handles which message
//! - `calls`: a client's request and its answer
//! - `input`: results that ask for input as requests to the client, and the repetition that brings its answers
//! - `listen`: subscription streams in place of `resources/subscribe` and unasked list changes
//! - `members`: which members change
//!
//! Promises: every call is answered at most once and under the stream it came on; the child sees only ids of this side's
//! own; nothing is kept without a bound, in number, size and time.

mod calls;
mod input;
mod listen;
mod members;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use calls::Call;
use input::Question;
use listen::Listen;
use members::Session;

use super::capabilities::{Features, Level};
use super::envelope::{
    self, INTERNAL, INVALID_PARAMS, INVALID_REQUEST, Kind, METHOD_NOT_FOUND, Message, Out, canonical,
};
use super::{Action, CallId, LEGACY, Limits};

/// One modern child and one legacy session on it. The verbs are described in the module above.
pub struct Adapter {
    limits: Limits,
    phase: Phase,
    session: Session,
    features: Features,
    next_id: u64,
    calls: BTreeMap<CallId, Call>,
    /// what the child works on, by the id that it knows
    working: HashMap<u64, CallId>,
    /// which call a progress token belongs to
    progress: HashMap<String, CallId>,
    /// requests that the client has not answered, by this side's id
    questions: BTreeMap<u64, Question>,
    /// open streams by the id that the child knows
    listens: BTreeMap<u64, Listen>,
    /// bytes kept for calls that may have to be repeated
    held: usize,
}

/// How far the session is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// no `initialize` yet
    New,
    /// the child was asked `server/discover` on behalf of an `initialize`
    Asking { call: CallId, id: String, asked: u64, deadline: u64 },
    /// requests are served; whether `notifications/initialized` was seen
    Ready { opened: bool },
    /// the child is gone or unusable
    Dead,
}

/// An error for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    code: i64,
    message: String,
}

impl Fault {
    fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl Adapter {
    /// An adapter for one session on a child.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            phase: Phase::New,
            session: Session::default(),
            features: Features::default(),
            next_id: 1,
            calls: BTreeMap::new(),
            working: HashMap::new(),
            progress: HashMap::new(),
            questions: BTreeMap::new(),
            listens: BTreeMap::new(),
            held: 0,
        }
    }

    /// Nothing is asked of a modern child before the client's `initialize`.
    pub fn start(&mut self, _now: u64) -> Vec<Action> {
        Vec::new()
    }

    /// Whether `initialize` was answered well.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready { .. })
    }

    /// One message of the client.
    pub fn on_client(&mut self, call: CallId, frame: &[u8], now: u64) -> Vec<Action> {
        let mut out = Out::default();
        match Message::parse(frame) {
            Err(why) => out.answer(call, envelope::error("null", INVALID_REQUEST, why, None)),
            Ok(message) => match message.kind {
                Kind::Request => {
                    let id = message.id.clone();
                    if let Err(fault) = self.client_request(call, message, now, &mut out) {
                        out.answer(call, envelope::error(&id, fault.code, &fault.message, None));
                    }
                }
                Kind::Notification => self.client_notification(&message, frame, &mut out),
                Kind::Result | Kind::Error => self.client_answer(&message, &mut out),
            },
        }
        out.0
    }

    /// Nobody waits for this answer any more: child and client are told to stop.
    pub fn on_closed(&mut self, call: CallId) -> Vec<Action> {
        let mut out = Out::default();
        self.give_up_call(call, "nobody waits for the answer any more", &mut out);
        self.forget_asker(call, &mut out);
        if let Phase::Asking { call: asker, .. } = &self.phase
            && *asker == call
        {
            self.phase = Phase::New;
        }
        out.0
    }

    /// One line of the child.
    pub fn on_server(&mut self, line: &[u8], now: u64) -> Vec<Action> {
        let mut out = Out::default();
        // A line that is no message was the caller's to log; it means nothing here.
        let Ok(message) = Message::parse(line) else { return out.0 };
        match message.kind {
            Kind::Request => self.server_request(&message, &mut out),
            Kind::Notification => self.server_notification(message, line, &mut out),
            Kind::Result | Kind::Error => self.server_answer(message, now, &mut out),
        }
        out.0
    }

    /// Lets go of what has waited too long, and repeats what was to be repeated later.
    pub fn on_time(&mut self, now: u64) -> Vec<Action> {
        let mut out = Out::default();
        if matches!(&self.phase, Phase::Asking { deadline, .. } if *deadline <= now) {
            self.unusable("the hosted server did not answer server/discover in time", &mut out);
        }
        self.input_time(now, &mut out);
        self.listen_time(now, &mut out);
        out.0
    }

    /// When [`Self::on_time`] is to be called, if ever.
    #[must_use]
    pub fn next_time(&self) -> Option<u64> {
        let asking = match &self.phase {
            Phase::Asking { deadline, .. } => Some(*deadline),
            Phase::New | Phase::Ready { .. } | Phase::Dead => None,
        };
        let calls = self.calls.values().filter_map(Call::deadline);
        let listens = self.listens.values().filter_map(Listen::deadline);
        calls.chain(listens).chain(asking).min()
    }

    /// The child is gone: every open call gets an error that says why.
    pub fn fail_all(&mut self, why: &str) -> Vec<Action> {
        let mut out = Out::default();
        if let Phase::Asking { call, id, .. } = std::mem::replace(&mut self.phase, Phase::Dead) {
            out.answer(call, envelope::error(&id, INTERNAL, why, None));
        }
        for id in std::mem::take(&mut self.questions).into_keys() {
            out.client(None, envelope::cancelled(id, why));
        }
        for (call, open) in std::mem::take(&mut self.calls) {
            out.answer(call, envelope::error(&open.id, INTERNAL, why, None));
        }
        for (call, id) in std::mem::take(&mut self.listens).into_values().flat_map(Listen::askers) {
            out.answer(call, envelope::error(&id, INTERNAL, why, None));
        }
        self.working.clear();
        self.progress.clear();
        self.held = 0;
        out.0
    }

    fn unusable(&mut self, why: &str, out: &mut Out) {
        out.0.extend(self.fail_all(why));
        out.0.push(Action::Unusable(why.to_owned()));
    }

    fn client_request(
        &mut self,
        call: CallId,
        message: Message<'_>,
        now: u64,
        out: &mut Out,
    ) -> Result<(), Fault> {
        if message.method == "ping" {
            out.answer(call, envelope::result(&message.id, "{}"));
            return Ok(());
        }
        match (&self.phase, message.method.as_str()) {
            (Phase::New, "initialize") => self.initialize(call, &message, now, out),
            (Phase::New | Phase::Asking { .. }, _) => {
                Err(Fault::new(INVALID_REQUEST, "the session is not initialized yet"))
            }
            (Phase::Dead, _) => Err(Fault::new(INTERNAL, "the hosted server is gone")),
            (Phase::Ready { .. }, "initialize") => {
                Err(Fault::new(INVALID_REQUEST, "the session is initialized already"))
            }
            (Phase::Ready { .. }, "logging/setLevel") => self.set_level(call, &message, out),
            (Phase::Ready { .. }, "resources/subscribe") => self.subscribe(call, &message, now, out),
            (Phase::Ready { .. }, "resources/unsubscribe") => self.unsubscribe(call, &message, out),
            (Phase::Ready { .. }, name @ ("server/discover" | "subscriptions/listen")) => {
                Err(Fault::new(METHOD_NOT_FOUND, format!("{name:?} does not exist in revision {LEGACY}")))
            }
            (Phase::Ready { .. }, tasks) if tasks.starts_with("tasks/") => Err(Fault::new(
                METHOD_NOT_FOUND,
                format!("{tasks:?} is not served: the hosted server has no tasks of revision {LEGACY}"),
            )),
            (Phase::Ready { .. }, _) => self.start_call(call, message, out),
        }
    }

    fn initialize(
        &mut self,
        call: CallId,
        message: &Message<'_>,
        now: u64,
        out: &mut Out,
    ) -> Result<(), Fault> {
        let wrong = |why: &str| Fault::new(INVALID_PARAMS, why);
        let params = message.params_object().map_err(wrong)?;
        self.session = Session::read(&params).map_err(wrong)?;
        let asked = self.fresh_id();
        let deadline = now.saturating_add(self.limits.server_ms);
        self.phase = Phase::Asking { call, id: message.id.clone(), asked, deadline };
        out.server(envelope::request(asked, "server/discover", &self.session.own_params().write()));
        Ok(())
    }

    fn finish_initialize(&mut self, call: CallId, id: &str, message: &Message<'_>, out: &mut Out) {
        let made = match (message.kind, message.object.get("result")) {
            (Kind::Result, Some(result)) => members::initialize_result(result, &self.session.version),
            _ => {
                let (code, text) = message.error();
                Err(format!("it refused server/discover with error {code}: {text}"))
            }
        };
        match made {
            Err(why) => self.unusable(&format!("the hosted server cannot be used: {why}"), out),
            Ok((result, features)) => {
                self.features = features;
                self.phase = Phase::Ready { opened: false };
                out.answer(call, envelope::result(id, &result));
            }
        }
    }

    fn initialized(&mut self, out: &mut Out) {
        if self.phase == (Phase::Ready { opened: false }) {
            self.phase = Phase::Ready { opened: true };
            self.open_lists(out);
        }
    }

    fn set_level(&mut self, call: CallId, message: &Message<'_>, out: &mut Out) -> Result<(), Fault> {
        if !self.features.logging {
            return Err(Fault::new(METHOD_NOT_FOUND, "the hosted server does not log"));
        }
        let level = message.params_object().ok().and_then(|params| Level::read(&params.text("level")?));
        self.session.level =
            Some(level.ok_or_else(|| Fault::new(INVALID_PARAMS, "params.level is not a log level"))?);
        out.answer(call, envelope::result(&message.id, "{}"));
        Ok(())
    }

    fn client_notification(&mut self, message: &Message<'_>, frame: &[u8], out: &mut Out) {
        match message.method.as_str() {
            "notifications/initialized" => self.initialized(out),
            "notifications/cancelled" => {
                let id = message.params_object().ok().and_then(|params| canonical(params.get("requestId")?));
                let found =
                    self.calls.iter().find(|(_, open)| Some(&open.id) == id.as_ref()).map(|(call, _)| *call);
                if let Some(call) = found {
                    self.give_up_call(call, "the client cancelled its request", out);
                    out.0.push(Action::Close(call));
                }
            }
            // The modern era has no word for these: roots are asked for anew each time, and progress of a question ends
            // at this side.
            "notifications/roots/list_changed" | "notifications/progress" | "notifications/tasks/status" => {}
            _ if self.is_ready() => out.server(frame),
            _ => {}
        }
    }

    fn server_request(&mut self, message: &Message<'_>, out: &mut Out) {
        if message.method == "ping" {
            return out.server(envelope::result(&message.id, "{}"));
        }
        let why = "a server of revision 2026-07-28 sends no requests; answer with resultType input_required";
        out.server(envelope::error(&message.id, INVALID_REQUEST, why, None));
    }

    fn server_notification(&mut self, message: Message<'_>, line: &[u8], out: &mut Out) {
        match message.method.as_str() {
            "notifications/progress" => self.pass_progress(&message, line, out),
            "notifications/message" => self.log_message(&message, line, out),
            "notifications/subscriptions/acknowledged" => self.acknowledged(&message, out),
            "notifications/cancelled" => self.listen_cancelled(&message, out),
            "notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed"
            | "notifications/resources/updated" => self.pass_change(message, line, out),
            "notifications/tasks" => {}
            _ => out.client(None, line),
        }
    }

    fn server_answer(&mut self, message: Message<'_>, now: u64, out: &mut Out) {
        let Some(answered) = message.own_id() else { return };
        if let Phase::Asking { call, id, asked, .. } = &self.phase
            && *asked == answered
        {
            let (call, id) = (*call, id.clone());
            return self.finish_initialize(call, &id, &message, out);
        }
        if let Some(listen) = self.listens.remove(&answered) {
            return listen::ended(listen, &message, out);
        }
        if let Some(call) = self.working.remove(&answered) {
            self.finish_work(call, message, now, out);
        }
    }

    fn fresh_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }
}
