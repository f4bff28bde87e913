//! Results that ask for input: a legacy client gets the questions as requests, and the call is repeated with its answers.
//!
//! Promises: a client is asked only for what it declared; rounds, questions and the time to answer are bounded; when the
//! call fails, the open questions are withdrawn.

use std::collections::BTreeMap;

use super::calls::Stage;
use super::{Adapter, Fault};
use crate::mcp::translate::capabilities::Need;
use crate::mcp::translate::envelope::{self, INTERNAL, Kind, Message, Out};
use crate::mcp::translate::object::{Object, quote};
use crate::mcp::translate::{CallId, NAME_MAX};

use super::members;

/// The shortest pause before a call is repeated without questions, in milliseconds; it doubles up to [`PAUSE_MAX_MS`].
const PAUSE_MS: u64 = 100;
/// The longest such pause, in milliseconds.
const PAUSE_MAX_MS: u64 = 1000;

/// The questions of one result.
#[derive(Debug)]
pub(super) struct Round {
    /// this side's ids of the open ones
    open: Vec<u64>,
    /// raw answers by key
    answers: BTreeMap<String, String>,
    /// to be given back to the child, decoded
    state: Option<String>,
    /// when it is given up, in milliseconds
    pub(super) deadline: u64,
}

impl Round {
    /// Bytes kept for it.
    pub(super) fn size(&self) -> usize {
        self.answers.values().chain(&self.state).map(String::len).sum()
    }
}

/// One request to the client.
#[derive(Debug)]
pub(super) struct Question {
    call: CallId,
    /// the child's name for it
    key: String,
}

impl Adapter {
    /// The child needs input before it can answer a call.
    pub(super) fn ask_client(
        &mut self,
        call: CallId,
        questions: Vec<(String, String, String)>,
        state: Option<String>,
        now: u64,
        out: &mut Out,
    ) {
        if let Err(fault) = self.try_ask(call, questions, state, now, out) {
            self.fail_call(call, fault.code, &fault.message, out);
        }
    }

    fn try_ask(
        &mut self,
        call: CallId,
        questions: Vec<(String, String, String)>,
        state: Option<String>,
        now: u64,
        out: &mut Out,
    ) -> Result<(), Fault> {
        let refuse = |why: String| Err(Fault::new(INTERNAL, why));
        let Some(open) = self.calls.get_mut(&call) else { return Ok(()) };
        open.rounds += 1;
        if open.rounds > self.limits.rounds {
            return refuse("the hosted server asked for input too often".to_owned());
        }
        if open.params.is_none() {
            return refuse("the hosted server asked for input to a call that cannot be repeated".to_owned());
        }
        if questions.len() > self.limits.inputs || questions.iter().any(|(key, ..)| key.len() > NAME_MAX) {
            return refuse(
                "the hosted server asked too many questions at once, or gave them too long names".to_owned(),
            );
        }
        if self.held + state.as_ref().map_or(0, String::len) > self.limits.held_bytes {
            return refuse("too much is waiting for input".to_owned());
        }
        if let (true, Some(state)) = (questions.is_empty(), &state) {
            let pause = PAUSE_MS.saturating_mul(1 << (open.rounds - 1).min(16)).min(PAUSE_MAX_MS);
            self.set_stage(call, Stage::Pause { until: now.saturating_add(pause), state: state.clone() });
            return Ok(());
        }
        for (_, method, params) in &questions {
            let need = Object::parse(params).ok().and_then(|params| Need::of(method, &params));
            match need {
                Some(need) if self.session.capabilities.has(need) => {}
                Some(need) => {
                    return refuse(format!(
                        "the hosted server needs {}, which the client has not declared",
                        need.name()
                    ));
                }
                None => return refuse(format!("the hosted server asks {method:?}, which no client answers")),
            }
        }
        let deadline = now.saturating_add(self.limits.input_ms);
        let mut round = Round { open: Vec::new(), answers: BTreeMap::new(), state, deadline };
        for (key, method, params) in questions {
            let id = self.fresh_id();
            let mut params = Object::parse(&params).unwrap_or_default();
            members::to_legacy_question(&method, &mut params, id);
            out.client(Some(call), envelope::request(id, &method, &params.write()));
            self.questions.insert(id, Question { call, key });
            round.open.push(id);
        }
        self.set_stage(call, Stage::Client(round));
        Ok(())
    }

    /// The client has answered a question.
    pub(super) fn client_answer(&mut self, message: &Message<'_>, out: &mut Out) {
        let Some(id) = message.own_id() else { return };
        let Some(Question { call, key }) = self.questions.remove(&id) else { return };
        let Some(Stage::Client(round)) = self.calls.get_mut(&call).map(|open| &mut open.stage) else {
            return;
        };
        round.open.retain(|open| *open != id);
        let answer = message.object.get("result").filter(|raw| raw.starts_with('{'));
        let Some(answer) = answer.map(str::to_owned) else {
            let why = match message.kind {
                Kind::Error => format!("the client did not answer the hosted server: {}", message.error().1),
                _ => "the client answered the hosted server with something that is not an object".to_owned(),
            };
            return self.fail_call(call, INTERNAL, &why, out);
        };
        if self.held + answer.len() > self.limits.held_bytes {
            return self.fail_call(call, INTERNAL, "the client's answers are too large to keep", out);
        }
        self.held += answer.len();
        round.answers.insert(key, answer);
        if round.open.is_empty() {
            let (answers, state) = (std::mem::take(&mut round.answers), round.state.take());
            let size = answers.values().chain(&state).map(String::len).sum();
            self.held = self.held.saturating_sub(size);
            self.repeat(call, Some(answers), state, out);
        }
    }

    /// Makes a call again with what the client answered.
    fn repeat(
        &mut self,
        call: CallId,
        answers: Option<BTreeMap<String, String>>,
        state: Option<String>,
        out: &mut Out,
    ) {
        let id = self.fresh_id();
        let Some(open) = self.calls.get_mut(&call) else { return };
        let Some(Ok(mut params)) = open.params.as_deref().map(Object::parse) else { return };
        if let Some(answers) = answers {
            let mut responses = Object::default();
            for (key, raw) in answers {
                responses.push(key, raw);
            }
            params.set("inputResponses", responses.write());
        }
        if let Some(state) = state {
            params.set("requestState", quote(&state));
        }
        out.server(envelope::request(id, &open.method, &params.write()));
        self.set_stage(call, Stage::Child(id));
        self.working.insert(id, call);
    }

    /// Takes back what the client has not answered.
    pub(super) fn withdraw_questions(&mut self, round: &Round, why: &str, out: &mut Out) {
        for id in &round.open {
            if let Some(question) = self.questions.remove(id) {
                out.client(Some(question.call), envelope::cancelled(id, why));
            }
        }
    }

    /// Gives up what the client has not answered in time; repeats what has paused.
    pub(super) fn input_time(&mut self, now: u64, out: &mut Out) {
        let due = |deadline: Option<u64>| deadline.is_some_and(|deadline| deadline <= now);
        let calls: Vec<CallId> =
            self.calls.iter().filter(|(_, open)| due(open.deadline())).map(|(call, _)| *call).collect();
        for call in calls {
            let paused = match self.calls.get(&call).map(|open| &open.stage) {
                Some(Stage::Pause { state, .. }) => Some(state.clone()),
                _ => None,
            };
            match paused {
                Some(state) => self.repeat(call, None, Some(state), out),
                None => self.fail_call(call, INTERNAL, "the client did not answer in time", out),
            }
        }
    }
}
