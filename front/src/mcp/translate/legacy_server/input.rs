//! The child's questions to the client. The modern era has no requests to clients: the call's answer stream ends with a
//! result that asks for input, and the client repeats its request with the answers (multi round-trip requests).
//!
//! Promises: while a call waits, the child's call stays open; it waits under a `requestState` that nobody can guess, is
//! used once, and is good for this adapter only; the number, the size and the time of what waits are bounded.

use std::collections::BTreeMap;

use super::calls::{Call, Caller};
use super::members::{self, Fault};
use super::{Adapter, invalid};
use crate::mcp::translate::capabilities::{Capabilities, Need};
use crate::mcp::translate::envelope::{
    self, INTERNAL, INVALID_PARAMS, INVALID_REQUEST, LEGACY_URL_NEEDED, METHOD_NOT_FOUND, MISSING_CAPABILITY,
    Message, Out, canonical,
};
use crate::mcp::translate::is_interactive;
use crate::mcp::translate::object::{Object, quote};

/// What a call without a stream waits for.
#[derive(Debug, Default)]
pub(super) struct Parked {
    /// the `requestState`
    pub(super) state: String,
    /// when it is given up, in milliseconds
    pub(super) deadline: u64,
    /// questions by the child's id, in the order they came
    pub(super) questions: Vec<Question>,
    /// the child's answer, when it came before the client's
    pub(super) early: Option<Vec<u8>>,
}

/// One question of the child.
#[derive(Debug)]
pub(super) struct Question {
    /// the name in `inputRequests`; none before the client was asked
    key: Option<String>,
    /// the child's id
    id: String,
    /// the raw request for the client
    request: String,
}

/// A call that the child has ended until its client has opened some URLs.
#[derive(Debug)]
pub(super) struct Repetition {
    /// when it is given up, in milliseconds
    pub(super) deadline: u64,
    keys: Vec<String>,
    fingerprint: u64,
}

impl Adapter {
    /// A question of the child: asked in the course of a call, or refused.
    pub(super) fn ask(&mut self, message: &Message<'_>, now: u64, out: &mut Out) -> Result<(), Fault> {
        let params = message.params_object().map_err(invalid)?;
        let Some(need) = Need::of(&message.method, &params) else {
            return Err(Fault::new(
                METHOD_NOT_FOUND,
                format!("{:?} cannot be asked of this client", message.method),
            ));
        };
        if params.get("task").is_some() {
            return Err(invalid("a client of revision 2026-07-28 runs no tasks; leave params.task out"));
        }
        let Some(id) = self.whom_to_ask(need) else { return Err(self.refuse(need)) };
        let request = members::to_modern_question(&message.method, params);
        if self.held + request.len() > self.limits.held_bytes {
            return Err(Fault::new(INTERNAL, "too much is waiting for input"));
        }
        let full = self.parked.len() + self.repetitions.len() >= self.limits.parked;
        let Some(call) = self.calls.get_mut(&id) else { return Err(self.refuse(need)) };
        let caller = call.caller.take();
        let asked = call.parked.as_ref().map_or(0, |parked| parked.questions.len());
        let why = if caller.is_some() && full {
            Some("too many calls wait for input")
        } else if caller.is_some() && call.rounds >= self.limits.rounds {
            Some("this call has asked its client too often")
        } else if asked >= self.limits.inputs {
            Some("this call has too many open questions")
        } else {
            None
        };
        if let Some(why) = why {
            call.caller = caller;
            return Err(Fault::new(INTERNAL, why));
        }
        self.held += request.len();
        let parked = call.parked.get_or_insert_default();
        parked.questions.push(Question { key: None, id: message.id.clone(), request });
        if let Some(caller) = caller {
            self.park(id, caller, now, out);
        }
        Ok(())
    }

    /// The call in whose course a question is asked. Nothing on standard output says which call asks, so it is the youngest
    /// that may ask and whose client has declared to answer; one with a stream before one that waits already.
    fn whom_to_ask(&self, need: Need) -> Option<u64> {
        let fits = |call: &&Call| is_interactive(&call.method) && call.capabilities.has(need);
        let able = || self.calls.iter().filter(|(_, call)| fits(call));
        let on_stream = able().filter_map(|(id, call)| Some((call.caller.as_ref()?.since, *id))).max();
        on_stream.map(|(_, id)| id).or_else(|| able().map(|(id, _)| *id).next_back())
    }

    /// Why the child's question has no one to answer it.
    fn refuse(&mut self, need: Need) -> Fault {
        let mut open = self.calls.values_mut().filter(|call| is_interactive(&call.method));
        match (open.next(), open.next()) {
            (None, _) => {
                return Fault::new(
                    INVALID_REQUEST,
                    "a client can be asked only in the course of one of its calls",
                );
            }
            // With one call there is no doubt who asked: if it fails now, its client learns what was missing.
            (Some(call), None) => call.refused = Some(need),
            (Some(_), Some(_)) => {}
        }
        Fault::new(METHOD_NOT_FOUND, format!("the client has not declared {}", need.name()))
    }

    /// Ends the stream of a call with a result that asks all its open questions.
    fn park(&mut self, id: u64, caller: Caller, now: u64, out: &mut Out) {
        let state = self.fresh_state();
        let deadline = now.saturating_add(self.limits.input_ms);
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.rounds += 1;
        let parked = call.parked.get_or_insert_default();
        parked.state.clone_from(&state);
        parked.deadline = deadline;
        for (index, question) in parked.questions.iter_mut().enumerate() {
            question.key = Some(format!("question-{}-{}", call.rounds, index + 1));
        }
        let asked = parked.questions.iter().filter_map(|q| Some((q.key.as_deref()?, q.request.as_str())));
        let result = members::input_required(asked, &state);
        self.parked.insert(state, id);
        self.streams.remove(&caller.call);
        out.answer(caller.call, envelope::result(&caller.id, &result));
    }

    /// A client has come back with its answers.
    pub(super) fn resume(
        &mut self,
        state: &str,
        responses: &Object<'_>,
        (caller, capabilities, print): (Caller, Capabilities, u64),
        now: u64,
        out: &mut Out,
    ) -> Result<(), Fault> {
        let unknown = || invalid("params.requestState is unknown or has expired; make the call without it");
        let id = self.parked.get(state).copied().ok_or_else(unknown)?;
        let call = self.calls.get_mut(&id).ok_or_else(unknown)?;
        if call.fingerprint != print {
            return Err(invalid("params.requestState belongs to another request; repeat that one unchanged"));
        }
        let parked = call.parked.take().ok_or_else(unknown)?;
        let answer = |question: &Question| responses.get(question.key.as_deref()?).map(str::to_owned);
        if parked.questions.iter().filter_map(answer).any(|raw| !raw.starts_with('{')) {
            call.parked = Some(parked);
            return Err(invalid("a member of params.inputResponses is not an object"));
        }
        self.parked.remove(state);
        call.capabilities = capabilities;
        let mut open = Vec::new();
        for question in parked.questions {
            match answer(&question) {
                Some(raw) => {
                    self.held = self.held.saturating_sub(question.request.len());
                    out.server(envelope::result(&question.id, &raw));
                }
                None => open.push(question),
            }
        }
        if let Some(level) = caller.level {
            self.lower_level(level, out);
        }
        self.go_on(id, caller, open, parked.early, now, out);
        Ok(())
    }

    /// A call with a stream again: its answer is there already, or questions are left, or the child works on.
    fn go_on(
        &mut self,
        id: u64,
        caller: Caller,
        open: Vec<Question>,
        early: Option<Vec<u8>>,
        now: u64,
        out: &mut Out,
    ) {
        if let Some(line) = early {
            self.held = self.held.saturating_sub(line.len());
            self.drop_questions(open, "the call has ended", out);
            if let (Some(call), Ok(message)) = (self.calls.remove(&id), Message::parse(&line)) {
                self.answer(&call, caller, message, now, out);
            }
            return;
        }
        let rounds = self.limits.rounds;
        let Some(call) = self.calls.get_mut(&id) else { return };
        if !open.is_empty() && call.rounds < rounds {
            call.parked = Some(Parked { questions: open, ..Parked::default() });
            return self.park(id, caller, now, out);
        }
        self.streams.insert(caller.call, id);
        call.caller = Some(caller);
        self.drop_questions(open, "this call has asked its client too often", out);
    }

    fn drop_questions(&mut self, questions: Vec<Question>, why: &str, out: &mut Out) {
        for question in questions {
            self.held = self.held.saturating_sub(question.request.len());
            out.server(envelope::error(&question.id, INTERNAL, why, None));
        }
    }

    /// The child has answered a call while its client was away.
    pub(super) fn keep_early(&mut self, id: u64, line: &[u8]) {
        let fits = self.held + line.len() <= self.limits.held_bytes;
        let Some(parked) = self.calls.get_mut(&id).and_then(|call| call.parked.as_mut()) else { return };
        if parked.early.is_some() {
            return;
        }
        let why = "the answer came while the client was asked, and was too large to keep";
        let kept = if fits { line.to_vec() } else { envelope::error("0", INTERNAL, why, None).into_bytes() };
        self.held += kept.len();
        parked.early = Some(kept);
    }

    /// The child does not want the answer to a question any more.
    pub(super) fn withdraw(&mut self, message: &Message<'_>) {
        let id = message.params_object().ok().and_then(|params| canonical(params.get("requestId")?));
        let Some(id) = id else { return };
        for parked in self.calls.values_mut().filter_map(|call| call.parked.as_mut()) {
            let size: usize = parked.questions.iter().filter(|q| q.id == id).map(|q| q.request.len()).sum();
            parked.questions.retain(|question| question.id != id);
            self.held = self.held.saturating_sub(size);
        }
    }

    /// Gives up what has waited too long for its client.
    pub(super) fn input_time(&mut self, now: u64, out: &mut Out) {
        self.repetitions.retain(|_, repetition| repetition.deadline > now);
        let late = |call: &Call| call.deadline().is_some_and(|deadline| deadline <= now);
        let ids: Vec<u64> = self.calls.iter().filter(|(_, call)| late(call)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(parked) = self.calls.remove(&id).and_then(|call| call.parked) else { continue };
            self.parked.remove(&parked.state);
            self.drop_questions(parked.questions, "the client did not answer in time", out);
            match parked.early {
                Some(line) => self.held = self.held.saturating_sub(line.len()),
                None => out.server(envelope::cancelled(id, "the client did not answer in time")),
            }
        }
    }

    /// The legacy error that wants URLs opened first: asked as a question, after which the call is made anew.
    pub(super) fn url_needed(
        &mut self,
        call: &Call,
        caller: &Caller,
        message: &Message<'_>,
        now: u64,
    ) -> String {
        if !call.capabilities.has(Need::Url) {
            let data = Need::Url.data();
            let (_, text) = message.error();
            return envelope::error(&caller.id, MISSING_CAPABILITY, &text, Some(&data));
        }
        let asked = elicitations(message, self.limits.inputs);
        if asked.is_empty() || !is_interactive(&call.method) {
            let why = format!("the hosted server's error {LEGACY_URL_NEEDED} names no URL to open");
            return envelope::error(&caller.id, INTERNAL, &why, None);
        }
        if self.parked.len() + self.repetitions.len() >= self.limits.parked {
            return envelope::error(&caller.id, INTERNAL, "too many calls wait for input", None);
        }
        let state = self.fresh_state();
        let questions = asked.iter().map(|(key, request)| (key.as_str(), request.as_str()));
        let result = members::input_required(questions, &state);
        let deadline = now.saturating_add(self.limits.input_ms);
        let keys = asked.into_keys().collect();
        self.repetitions.insert(state, Repetition { deadline, keys, fingerprint: call.fingerprint });
        envelope::result(&caller.id, &result)
    }

    /// A client has come back after opening URLs: the call may be made anew.
    pub(super) fn repeat(&mut self, state: &str, responses: &Object<'_>, print: u64) -> Result<(), Fault> {
        let Some(repetition) = self.repetitions.get(state) else {
            return Err(invalid("params.requestState is unknown or has expired; make the call without it"));
        };
        if repetition.fingerprint != print {
            return Err(invalid("params.requestState belongs to another request; repeat that one unchanged"));
        }
        let accepted = |key: &String| {
            responses.object(key).and_then(|response| response.text("action")).as_deref() == Some("accept")
        };
        if !repetition.keys.iter().all(accepted) {
            return Err(Fault::new(
                INVALID_PARAMS,
                "the call needs every URL opened, and not all were accepted",
            ));
        }
        self.repetitions.remove(state);
        Ok(())
    }
}

/// The URL questions of error -32042 as entries of `inputRequests`.
fn elicitations(message: &Message<'_>, most: usize) -> BTreeMap<String, String> {
    let read = || {
        let error = message.object.object("error")?;
        let data = error.object("data")?;
        serde_json::from_str::<Vec<&serde_json::value::RawValue>>(data.get("elicitations")?).ok().map(
            |list| {
                list.iter()
                    .filter_map(|raw| Object::parse(raw.get()).ok().map(|o| o.write()))
                    .collect::<Vec<_>>()
            },
        )
    };
    let list = read().unwrap_or_default();
    let entry = |(index, text): (usize, &String)| {
        let mut params = Object::parse(text).ok()?;
        params.set("mode", quote("url"));
        let request = members::to_modern_question("elicitation/create", params);
        Some((format!("url-{}", index + 1), request))
    };
    list.iter().take(most).enumerate().filter_map(entry).collect()
}
