//! A legacy-only child behind modern clients (revision 2026-07-28) of one principal.
//!
//! - this file: the verbs and who handles which message
//! - `handshake`: `initialize` with the child, what waits for it, `server/discover`
//! - `calls`: a client's request and its answer
//! - `input`: the child's questions as results that ask for input, and the repetitions that bring it
//! - `listen`: subscription streams
//! - `members`: which members change
//!
//! Promises: every call is answered at most once and under the stream it came on; the child sees only ids of this side's
//! own; nothing is kept without a bound; a question that nobody can be asked is answered at once.

mod calls;
mod handshake;
mod input;
mod listen;
mod members;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};

use calls::Call;
use handshake::{Phase, Waiting};
use input::Repetition;
use listen::{Listen, Resource};
use members::Fault;

use super::capabilities::{Features, Introduction, Level};
use super::envelope::{self, INTERNAL, INVALID_REQUEST, Kind, METHOD_NOT_FOUND, Message, Out};
use super::object::quote;
use super::{Action, CallId, Limits};

/// One legacy child and the modern requests on it. The verbs are described in the module above.
pub struct Adapter {
    limits: Limits,
    introduction: Introduction,
    /// makes the unguessable part of a `requestState`
    random: Box<dyn FnMut() -> [u8; 16]>,
    phase: Phase,
    features: Features,
    /// the raw answer to `server/discover`
    discover: String,
    next_id: u64,
    /// calls that wait for the handshake
    waiting: VecDeque<Waiting>,
    /// calls that the child works on, by the id that it knows; a greater id is a younger call
    calls: BTreeMap<u64, Call>,
    /// which child id an open stream belongs to
    streams: HashMap<CallId, u64>,
    /// the call that waits under a `requestState`
    parked: HashMap<String, u64>,
    /// calls to be made anew when the client comes back under a `requestState`
    repetitions: HashMap<String, Repetition>,
    listens: BTreeMap<CallId, Listen>,
    resources: BTreeMap<String, Resource>,
    /// requests of this side's own to the child
    own: BTreeMap<u64, Own>,
    /// the severity that the child was told
    level: Option<Level>,
    /// bytes kept for calls that wait
    held: usize,
    /// counts the streams of calls, for "the newest"
    clock: u64,
}

/// What this side asked of the child.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Own {
    Initialize,
    /// `resources/subscribe` for this URI
    Subscribe(String),
}

impl Adapter {
    /// An adapter for a fresh child that is told of the client what `introduction` says. `random` gives bytes that
    /// nobody can guess.
    #[must_use]
    pub fn new(limits: Limits, introduction: Introduction, random: Box<dyn FnMut() -> [u8; 16]>) -> Self {
        Self {
            limits,
            introduction,
            random,
            phase: Phase::New,
            features: Features::default(),
            discover: String::new(),
            next_id: 1,
            waiting: VecDeque::new(),
            calls: BTreeMap::new(),
            streams: HashMap::new(),
            parked: HashMap::new(),
            repetitions: HashMap::new(),
            listens: BTreeMap::new(),
            resources: BTreeMap::new(),
            own: BTreeMap::new(),
            level: None,
            held: 0,
            clock: 0,
        }
    }

    /// Begins the handshake with the child.
    pub fn start(&mut self, now: u64) -> Vec<Action> {
        let mut out = Out::default();
        self.begin_handshake(now, &mut out);
        out.0
    }

    /// One message of a client.
    pub fn on_client(&mut self, call: CallId, frame: &[u8], now: u64) -> Vec<Action> {
        let mut out = Out::default();
        match Message::parse(frame) {
            Err(why) => out.answer(call, envelope::error("null", INVALID_REQUEST, why, None)),
            Ok(message) => match message.kind {
                Kind::Request => self.client_request(call, message, frame, now, &mut out),
                Kind::Notification => self.client_notification(&message, frame, &mut out),
                // The modern era has no requests to clients, so these answer nothing.
                Kind::Result | Kind::Error => {}
            },
        }
        out.0
    }

    /// Nobody waits for this answer any more: the child is told to stop.
    pub fn on_closed(&mut self, call: CallId) -> Vec<Action> {
        let mut out = Out::default();
        self.forget_waiting(call);
        self.close_listen(call, &mut out);
        if let Some(id) = self.streams.remove(&call) {
            self.calls.remove(&id);
            out.server(envelope::cancelled(id, "the client closed its stream"));
        }
        out.0
    }

    /// One line of the child.
    pub fn on_server(&mut self, line: &[u8], now: u64) -> Vec<Action> {
        let mut out = Out::default();
        // A line that is no message was the caller's to log; it means nothing here.
        let Ok(message) = Message::parse(line) else { return out.0 };
        match message.kind {
            Kind::Request => self.server_request(&message, now, &mut out),
            Kind::Notification => self.server_notification(message, line, &mut out),
            Kind::Result | Kind::Error => self.server_answer(message, line, now, &mut out),
        }
        out.0
    }

    /// Lets go of what has waited too long.
    pub fn on_time(&mut self, now: u64) -> Vec<Action> {
        let mut out = Out::default();
        self.handshake_time(now, &mut out);
        self.input_time(now, &mut out);
        self.listen_time(now, &mut out);
        out.0
    }

    /// When [`Self::on_time`] is to be called, if ever.
    #[must_use]
    pub fn next_time(&self) -> Option<u64> {
        let handshake = self.phase.deadline();
        let parked = self.calls.values().filter_map(Call::deadline);
        let repetitions = self.repetitions.values().map(|repetition| repetition.deadline);
        let listens = self.listens.values().filter_map(Listen::deadline);
        parked.chain(repetitions).chain(listens).chain(handshake).min()
    }

    /// The child is gone: every open stream gets an error that says why.
    pub fn fail_all(&mut self, why: &str) -> Vec<Action> {
        let mut out = Out::default();
        self.phase = Phase::Dead;
        for Waiting { call, id, .. } in self.waiting.drain(..) {
            out.answer(call, envelope::error(&id, INTERNAL, why, None));
        }
        for caller in std::mem::take(&mut self.calls).into_values().filter_map(|call| call.caller) {
            out.answer(caller.call, envelope::error(&caller.id, INTERNAL, why, None));
        }
        for (call, listen) in std::mem::take(&mut self.listens) {
            out.answer(call, envelope::error(listen.id(), INTERNAL, why, None));
        }
        self.streams.clear();
        self.parked.clear();
        self.repetitions.clear();
        self.resources.clear();
        self.own.clear();
        self.held = 0;
        out.0
    }

    /// Ends the subscription streams in good order, for a shutdown; calls in flight go on.
    pub fn end_listens(&mut self) -> Vec<Action> {
        let mut out = Out::default();
        let open: Vec<CallId> = self.listens.keys().copied().collect();
        for call in open {
            self.finish_listen(call, &mut out);
        }
        out.0
    }

    fn client_request(&mut self, call: CallId, message: Message<'_>, frame: &[u8], now: u64, out: &mut Out) {
        let id = message.id.clone();
        if self.streams.len() + self.waiting.len() + self.listens.len() >= self.limits.calls {
            return out.answer(call, envelope::error(&id, INTERNAL, "too many calls are in flight", None));
        }
        let handled = match &self.phase {
            Phase::New | Phase::Handshake { .. } => self.wait_for_handshake(call, &id, frame),
            Phase::Dead => Err(Fault::new(INTERNAL, "the hosted server is gone")),
            Phase::Ready => self.serve(call, message, now, out),
        };
        if let Err(fault) = handled {
            out.answer(call, envelope::error(&id, fault.code, &fault.message, fault.data.as_deref()));
        }
    }

    fn serve(&mut self, call: CallId, message: Message<'_>, now: u64, out: &mut Out) -> Result<(), Fault> {
        let not_found = |why: String| Err(Fault::new(METHOD_NOT_FOUND, why));
        match message.method.as_str() {
            "server/discover" => {
                members::read_meta(&message.params_object().map_err(invalid)?)?;
                out.answer(call, envelope::result(&message.id, &self.discover));
                Ok(())
            }
            "subscriptions/listen" => self.open_listen(call, &message, now, out),
            "initialize" | "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" => {
                not_found(format!("{:?} does not exist in revision {}", message.method, super::MODERN))
            }
            tasks if tasks.starts_with("tasks/") => not_found(format!(
                "{tasks:?} is not served: the hosted server speaks {}, whose tasks do not map to {}",
                super::LEGACY,
                super::MODERN
            )),
            _ => self.start_call(call, message, now, out),
        }
    }

    fn client_notification(&mut self, message: &Message<'_>, frame: &[u8], out: &mut Out) {
        // Over HTTP a modern client cancels by closing its stream; the others belong to the legacy handshake.
        let dropped = matches!(
            message.method.as_str(),
            "notifications/cancelled"
                | "notifications/initialized"
                | "notifications/progress"
                | "notifications/roots/list_changed"
        );
        if !dropped && self.phase == Phase::Ready {
            out.server(frame);
        }
    }

    fn server_request(&mut self, message: &Message<'_>, now: u64, out: &mut Out) {
        if message.method == "ping" {
            return out.server(envelope::result(&message.id, "{}"));
        }
        if let Err(fault) = self.ask(message, now, out) {
            out.server(envelope::error(&message.id, fault.code, &fault.message, None));
        }
    }

    fn server_notification(&mut self, message: Message<'_>, line: &[u8], out: &mut Out) {
        match message.method.as_str() {
            "notifications/progress" => self.progress(message, out),
            "notifications/message" => self.log_message(&message, line, out),
            "notifications/cancelled" => self.withdraw(&message),
            "notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed"
            | "notifications/resources/updated" => self.tell_listeners(&message, line, out),
            // No counterpart: the modern era ends an elicitation by the client's repetition and has other tasks.
            "notifications/elicitation/complete" | "notifications/tasks/status" => {}
            _ => self.unknown_notification(line, out),
        }
    }

    fn server_answer(&mut self, message: Message<'_>, line: &[u8], now: u64, out: &mut Out) {
        let Some(id) = message.own_id() else { return };
        match self.own.remove(&id) {
            Some(Own::Initialize) => self.finish_handshake(&message, now, out),
            Some(Own::Subscribe(uri)) => self.subscribed(&uri, message.kind == Kind::Result, out),
            None => self.finish_call(id, message, line, now, out),
        }
    }

    fn fresh_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Sends a request of this side's own.
    fn ask_server(&mut self, own: Own, method: &str, params: &str, out: &mut Out) -> u64 {
        let id = self.fresh_id();
        self.own.insert(id, own);
        out.server(envelope::request(id, method, params));
        id
    }

    /// Sends a request whose answer nothing depends on.
    fn tell_server(&mut self, method: &str, params: &str, out: &mut Out) {
        let id = self.fresh_id();
        out.server(envelope::request(id, method, params));
    }

    /// Makes the child send log messages down to this severity; what is too much for a call is filtered.
    fn lower_level(&mut self, wanted: Level, out: &mut Out) {
        if self.features.logging && self.level.is_none_or(|told| wanted < told) {
            self.level = Some(wanted);
            let params = format!(r#"{{"level":{}}}"#, quote(wanted.name()));
            self.tell_server("logging/setLevel", &params, out);
        }
    }

    /// A text that nobody can guess, for a `requestState`.
    fn fresh_state(&mut self) -> String {
        (self.random)().iter().fold(String::with_capacity(32), |mut text, byte| {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
            text
        })
    }
}

/// A sentence about wrong parameters as an error.
fn invalid(why: &str) -> Fault {
    Fault::new(envelope::INVALID_PARAMS, why)
}
