//! A modern client's request on a legacy child, and what comes back in its course.
//!
//! Promises: the child sees this side's id and progress token; the client gets its own back, letter for letter in meaning.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::input::Parked;
use super::members::{self, Fault};
use super::{Adapter, invalid};
use crate::mcp::translate::CallId;
use crate::mcp::translate::capabilities::{Capabilities, Level, Need};
use crate::mcp::translate::envelope::{
    self, INTERNAL, INVALID_PARAMS, Kind, LEGACY_NO_RESOURCE, LEGACY_URL_NEEDED, MISSING_CAPABILITY, Message,
    Out,
};
use crate::mcp::translate::object::{Object, quote};

/// One request that the child works on.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: String,
    /// which request this is, so that a repetition of another one is noticed
    pub(super) fingerprint: u64,
    /// what its client declared
    pub(super) capabilities: Capabilities,
    /// who waits on an open stream; none while the call waits for input
    pub(super) caller: Option<Caller>,
    /// what it waits for when nobody is on a stream
    pub(super) parked: Option<Parked>,
    /// how often its client was asked
    pub(super) rounds: u32,
    /// a question of the child that its client had not declared to answer
    pub(super) refused: Option<Need>,
}

impl Call {
    pub(super) fn deadline(&self) -> Option<u64> {
        self.parked.as_ref().map(|parked| parked.deadline)
    }
}

/// A client's open stream.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) call: CallId,
    /// the client's id
    pub(super) id: String,
    /// the client's progress token
    pub(super) progress: Option<String>,
    /// the least severe log message that it wants
    pub(super) level: Option<Level>,
    /// a greater one came later
    pub(super) since: u64,
}

/// A number for what is asked, whatever the order of members and the space between tokens.
pub(super) fn fingerprint(method: &str, params: &Object<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    method.hash(&mut hasher);
    let changing = ["_meta", "inputResponses", "requestState"];
    let members: BTreeSet<_> = params.iter().filter(|(name, _)| !changing.contains(name)).collect();
    for (name, value) in members {
        name.hash(&mut hasher);
        let (mut quoted, mut escaped) = (false, false);
        for byte in value.bytes() {
            if quoted || !byte.is_ascii_whitespace() {
                hasher.write_u8(byte);
            }
            if byte == b'"' && !escaped {
                quoted = !quoted;
            }
            escaped = byte == b'\\' && !escaped;
        }
    }
    hasher.finish()
}

impl Adapter {
    pub(super) fn start_call(
        &mut self,
        call: CallId,
        mut message: Message<'_>,
        now: u64,
        out: &mut Out,
    ) -> Result<(), Fault> {
        let mut params = message.params_object().map_err(invalid)?;
        let meta = members::read_meta(&params)?;
        if message.method == "tools/call" && params.get("task").is_some() {
            return Err(invalid(
                "tasks of the hosted server's revision do not map to this one; leave params.task out",
            ));
        }
        self.clock += 1;
        let caller = Caller {
            call,
            id: message.id.clone(),
            progress: meta.progress,
            level: meta.level,
            since: self.clock,
        };
        let print = fingerprint(&message.method, &params);
        if params.get("requestState").is_some() || params.get("inputResponses").is_some() {
            let state =
                params.text("requestState").ok_or_else(|| invalid("params.requestState is missing"))?;
            let responses = match params.get("inputResponses") {
                None => Object::default(),
                Some(raw) => {
                    Object::parse(raw).map_err(|_| invalid("params.inputResponses is not an object"))?
                }
            };
            if self.parked.contains_key(&state) {
                return self.resume(&state, &responses, (caller, meta.capabilities, print), now, out);
            }
            self.repeat(&state, &responses, print)?;
        }
        let id = self.fresh_id();
        members::to_legacy_params(&mut params, caller.progress.is_some().then_some(id));
        let params = message.params().is_some().then(|| params.write());
        if let Some(params) = params {
            message.object.set("params", params);
        }
        message.object.set("id", id.to_string());
        if let Some(level) = caller.level {
            self.lower_level(level, out);
        }
        self.streams.insert(call, id);
        self.calls.insert(
            id,
            Call {
                method: message.method,
                fingerprint: print,
                capabilities: meta.capabilities,
                caller: Some(caller),
                parked: None,
                rounds: 0,
                refused: None,
            },
        );
        out.server(message.object.write());
        Ok(())
    }

    /// The child's answer to a call.
    pub(super) fn finish_call(
        &mut self,
        id: u64,
        message: Message<'_>,
        line: &[u8],
        now: u64,
        out: &mut Out,
    ) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(caller) = call.caller.take() else {
            return self.keep_early(id, line);
        };
        self.streams.remove(&caller.call);
        let Some(call) = self.calls.remove(&id) else { return };
        self.answer(&call, caller, message, now, out);
    }

    /// Gives the child's answer to the client in the modern era's terms.
    pub(super) fn answer(
        &mut self,
        call: &Call,
        caller: Caller,
        mut message: Message<'_>,
        now: u64,
        out: &mut Out,
    ) {
        let stream = caller.call;
        if message.kind == Kind::Error && message.error().0 == LEGACY_URL_NEEDED {
            let answer = self.url_needed(call, &caller, &message, now);
            return out.answer(stream, answer);
        }
        let changed = match message.kind {
            Kind::Result => {
                message.object.get("result").map(|raw| members::to_modern_result(&call.method, raw))
            }
            _ => None,
        };
        match changed {
            Some(Ok(result)) => message.object.set("result", result),
            Some(Err(why)) => return out.answer(stream, envelope::error(&caller.id, INTERNAL, why, None)),
            None => {
                let error = modern_error(call, &message);
                if let Some(error) = error {
                    message.object.set("error", error);
                }
            }
        }
        message.object.set("id", caller.id);
        out.answer(stream, message.object.write());
    }

    /// The stream of the youngest call that fits.
    fn newest(&self, fits: impl Fn(&Caller) -> bool) -> Option<CallId> {
        let callers = self.calls.values().filter_map(|call| call.caller.as_ref());
        callers.filter(|caller| fits(caller)).max_by_key(|caller| caller.since).map(|caller| caller.call)
    }

    pub(super) fn progress(&mut self, mut message: Message<'_>, out: &mut Out) {
        let Ok(mut params) = message.params_object() else { return };
        let token = params.get("progressToken").and_then(|raw| raw.parse::<u64>().ok());
        let call = token.and_then(|id| self.calls.get(&id));
        let Some(caller) = call.and_then(|call| call.caller.as_ref()) else { return };
        let Some(progress) = caller.progress.clone() else { return };
        params.set("progressToken", progress);
        let params = params.write();
        message.object.set("params", params);
        out.client(Some(caller.call), message.object.write());
    }

    pub(super) fn log_message(&mut self, message: &Message<'_>, line: &[u8], out: &mut Out) {
        let level = message.params_object().ok().and_then(|params| Level::read(&params.text("level")?));
        let Some(level) = level else { return };
        // Nothing on standard output says which call a log message is about.
        let wants = |caller: &Caller| caller.level.is_some_and(|wanted| wanted <= level);
        if let Some(call) = self.newest(wants) {
            out.client(Some(call), line);
        }
    }

    pub(super) fn unknown_notification(&mut self, line: &[u8], out: &mut Out) {
        if let Some(call) = self.newest(|_| true) {
            out.client(Some(call), line);
        }
    }
}

/// The error member where the modern era wants another one.
fn modern_error(call: &Call, message: &Message<'_>) -> Option<String> {
    let (code, text) = message.error();
    let mut error = message.object.object("error")?;
    match (code, call.refused) {
        (_, Some(need)) => {
            error.set("code", MISSING_CAPABILITY.to_string());
            error.set("message", quote(&format!("the client did not declare {}: {text}", need.name())));
            error.set("data", need.data());
        }
        (LEGACY_NO_RESOURCE, None) => error.set("code", INVALID_PARAMS.to_string()),
        (_, None) => return None,
    }
    Some(error.write())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_ignores_space_and_order_but_not_values() {
        let print = |text| fingerprint("tools/call", &Object::parse(text).unwrap());
        let first = print(r#"{"name":"a","arguments":{"x":"b c\" "},"_meta":{"a":1}}"#);
        assert_eq!(first, print(r#"{ "arguments": { "x": "b c\" " }, "name":"a", "requestState":"s" }"#));
        assert_ne!(first, print(r#"{"name":"a","arguments":{"x":"bc\" "}}"#));
        assert_ne!(first, print(r#"{"name":"b","arguments":{"x":"b c\" "}}"#));
    }
}
