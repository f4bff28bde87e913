//! A legacy client's request on a modern child, and what comes back in its course.
//!
//! Promises: the child sees this side's id; the client gets its own back; progress goes to the stream of its request.

use super::input::Round;
use super::members::{self, Outcome};
use super::{Adapter, Fault};
use crate::mcp::translate::capabilities::Level;
use crate::mcp::translate::envelope::{self, INTERNAL, INVALID_PARAMS, Message, Out, canonical};
use crate::mcp::translate::{CallId, is_interactive};

/// One request of the client that has no answer yet.
#[derive(Debug)]
pub(super) struct Call {
    /// the client's id
    pub(super) id: String,
    pub(super) method: String,
    /// the raw parameters as the child got them, kept where they may be needed again
    pub(super) params: Option<String>,
    /// the client's progress token
    progress: Option<String>,
    /// how often the child asked for input
    pub(super) rounds: u32,
    pub(super) stage: Stage,
}

/// Whom a call waits for.
#[derive(Debug)]
pub(super) enum Stage {
    /// the child, under this id
    Child(u64),
    /// the client's answers
    Client(Round),
    /// the time to repeat it with this `requestState`
    Pause {
        /// in milliseconds
        until: u64,
        /// decoded
        state: String,
    },
}

impl Call {
    /// Bytes kept for it.
    pub(super) fn size(&self) -> usize {
        let stage = match &self.stage {
            Stage::Child(_) => 0,
            Stage::Client(round) => round.size(),
            Stage::Pause { state, .. } => state.len(),
        };
        stage + self.params.as_ref().map_or(0, String::len)
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        match &self.stage {
            Stage::Child(_) => None,
            Stage::Client(round) => Some(round.deadline),
            Stage::Pause { until, .. } => Some(*until),
        }
    }
}

impl Adapter {
    pub(super) fn start_call(
        &mut self,
        call: CallId,
        mut message: Message<'_>,
        out: &mut Out,
    ) -> Result<(), Fault> {
        let wrong = |why: &str| Fault::new(INVALID_PARAMS, why);
        if self.calls.len() >= self.limits.calls {
            return Err(Fault::new(INTERNAL, "too many calls are in flight"));
        }
        let mut params = message.params_object().map_err(wrong)?;
        let interactive = is_interactive(&message.method);
        if interactive {
            if params.get("task").is_some() {
                return Err(wrong("the hosted server has no tasks of this revision; leave params.task out"));
            }
            params.remove("inputResponses");
            params.remove("requestState");
        }
        let progress = params.object("_meta").and_then(|meta| canonical(meta.get("progressToken")?));
        self.session.add_meta(&mut params);
        let params = params.write();
        // Without room the call is still made; it only cannot be repeated with the client's input.
        let keep = interactive && self.held + params.len() <= self.limits.held_bytes;
        let kept = keep.then(|| params.clone());
        self.held += kept.as_ref().map_or(0, String::len);
        if let Some(token) = &progress {
            self.progress.insert(token.clone(), call);
        }
        let id = self.fresh_id();
        self.working.insert(id, call);
        let open = Call {
            id: message.id.clone(),
            method: message.method.clone(),
            params: kept,
            progress,
            rounds: 0,
            stage: Stage::Child(id),
        };
        self.calls.insert(call, open);
        message.object.set("id", id.to_string());
        message.object.set("params", params);
        out.server(message.object.write());
        Ok(())
    }

    /// The child has answered.
    pub(super) fn finish_work(&mut self, call: CallId, mut message: Message<'_>, now: u64, out: &mut Out) {
        let Some(open) = self.calls.get(&call) else { return };
        let outcome = message.object.get("result").map(|raw| members::outcome(&open.method, raw));
        match outcome {
            Some(Outcome::Input { questions, state }) => {
                return self.ask_client(call, questions, state, now, out);
            }
            Some(Outcome::Unknown(why)) => return self.fail_call(call, INTERNAL, &why, out),
            Some(Outcome::Complete(result)) => message.object.set("result", result),
            None => {}
        }
        let Some(open) = self.end_call(call) else { return };
        message.object.set("id", open.id);
        out.answer(call, message.object.write());
    }

    /// Puts a call into another stage and keeps account of its size.
    pub(super) fn set_stage(&mut self, call: CallId, stage: Stage) {
        if let Some(open) = self.calls.get_mut(&call) {
            let before = open.size();
            open.stage = stage;
            self.held = (self.held + open.size()).saturating_sub(before);
        }
    }

    /// Takes a call out of every list.
    pub(super) fn end_call(&mut self, call: CallId) -> Option<Call> {
        let open = self.calls.remove(&call)?;
        self.held = self.held.saturating_sub(open.size());
        if let Some(token) = &open.progress
            && self.progress.get(token) == Some(&call)
        {
            self.progress.remove(token);
        }
        Some(open)
    }

    /// Answers a call with an error of this side's own.
    pub(super) fn fail_call(&mut self, call: CallId, code: i64, why: &str, out: &mut Out) {
        if let Some(open) = self.end_call(call) {
            self.take_back(&open, why, out);
            out.answer(call, envelope::error(&open.id, code, why, None));
        }
    }

    /// Ends a call that nobody waits for.
    pub(super) fn give_up_call(&mut self, call: CallId, why: &str, out: &mut Out) {
        if let Some(open) = self.end_call(call) {
            self.take_back(&open, why, out);
        }
    }

    /// Tells whoever works on a call to stop.
    fn take_back(&mut self, open: &Call, why: &str, out: &mut Out) {
        match &open.stage {
            Stage::Child(id) => {
                if self.working.remove(id).is_some() {
                    out.server(envelope::cancelled(id, why));
                }
            }
            Stage::Client(round) => self.withdraw_questions(round, why, out),
            Stage::Pause { .. } => {}
        }
    }

    pub(super) fn pass_progress(&mut self, message: &Message<'_>, line: &[u8], out: &mut Out) {
        let token = message.params_object().ok().and_then(|params| canonical(params.get("progressToken")?));
        if let Some(call) = token.and_then(|token| self.progress.get(&token)) {
            out.client(Some(*call), line);
        }
    }

    pub(super) fn log_message(&mut self, message: &Message<'_>, line: &[u8], out: &mut Out) {
        let level = message.params_object().ok().and_then(|params| Level::read(&params.text("level")?));
        let Some(level) = level else { return };
        if self.session.level.is_some_and(|wanted| level < wanted) {
            return;
        }
        // Nothing on standard output says which call a log message is about: the youngest that the child works on.
        let newest = self.working.iter().max_by_key(|(id, _)| **id).map(|(_, call)| *call);
        out.client(newest, line);
    }
}
