//! Subscription streams on a modern child, in place of what a legacy client gets unasked or by `resources/subscribe`: one
//! stream for list changes, and one for each resource.
//!
//! Promises: `resources/subscribe` is answered when the child has confirmed it; the number of streams is bounded.

use super::members::{subscription, untagged};
use super::{Adapter, Fault};
use crate::mcp::translate::envelope::{self, INTERNAL, INVALID_PARAMS, Kind, METHOD_NOT_FOUND, Message, Out};
use crate::mcp::translate::object::quote;
use crate::mcp::translate::{CallId, NAME_MAX};

/// One open stream.
#[derive(Debug)]
pub(super) enum Listen {
    /// changes of the lists
    Lists,
    /// one resource
    Resource {
        uri: String,
        /// who waits for the confirmation; empty when it has come
        askers: Vec<(CallId, String)>,
        /// until when they wait, in milliseconds
        deadline: u64,
    },
}

impl Listen {
    pub(super) fn deadline(&self) -> Option<u64> {
        match self {
            Self::Resource { askers, deadline, .. } if !askers.is_empty() => Some(*deadline),
            Self::Resource { .. } | Self::Lists => None,
        }
    }

    pub(super) fn askers(self) -> Vec<(CallId, String)> {
        match self {
            Self::Lists => Vec::new(),
            Self::Resource { askers, .. } => askers,
        }
    }

    fn is_of(&self, wanted: &str) -> bool {
        matches!(self, Self::Resource { uri, .. } if uri == wanted)
    }
}

/// The child has ended a stream, or refused it.
pub(super) fn ended(listen: Listen, message: &Message<'_>, out: &mut Out) {
    let why = match message.kind {
        Kind::Error => message.error(),
        _ => (INTERNAL, "the hosted server ended the subscription".to_owned()),
    };
    for (call, id) in listen.askers() {
        out.answer(call, envelope::error(&id, why.0, &why.1, None));
    }
}

fn uri_of(message: &Message<'_>) -> Result<String, Fault> {
    let uri = message.params_object().ok().and_then(|params| params.text("uri"));
    uri.ok_or_else(|| Fault::new(INVALID_PARAMS, "params.uri is not a string"))
}

impl Adapter {
    fn open_stream(&mut self, filter: &str, listen: Listen, out: &mut Out) {
        let id = self.fresh_id();
        let mut params = self.session.own_params();
        params.push("notifications".to_owned(), filter.to_owned());
        out.server(envelope::request(id, "subscriptions/listen", &params.write()));
        self.listens.insert(id, listen);
    }

    /// Asks for the list changes that the child has announced, which a legacy client gets unasked.
    pub(super) fn open_lists(&mut self, out: &mut Out) {
        let wanted = [
            (self.features.tools_changed, r#""toolsListChanged":true"#),
            (self.features.prompts_changed, r#""promptsListChanged":true"#),
            (self.features.resources_changed, r#""resourcesListChanged":true"#),
        ];
        let filter: Vec<&str> = wanted.iter().filter(|(yes, _)| *yes).map(|(_, name)| *name).collect();
        if !filter.is_empty() {
            self.open_stream(&format!("{{{}}}", filter.join(",")), Listen::Lists, out);
        }
    }

    pub(super) fn subscribe(
        &mut self,
        call: CallId,
        message: &Message<'_>,
        now: u64,
        out: &mut Out,
    ) -> Result<(), Fault> {
        if !self.features.subscribe {
            return Err(Fault::new(METHOD_NOT_FOUND, "the hosted server has no subscriptions to resources"));
        }
        let uri = uri_of(message)?;
        if uri.len() > NAME_MAX {
            return Err(Fault::new(INVALID_PARAMS, "params.uri is too long"));
        }
        let asker = (call, message.id.clone());
        let waiting: usize = self.listens.values().filter(|listen| listen.deadline().is_some()).count();
        if let Some(Listen::Resource { askers, .. }) =
            self.listens.values_mut().find(|listen| listen.is_of(&uri))
        {
            if askers.is_empty() {
                out.answer(call, envelope::result(&message.id, "{}"));
            } else if askers.len() < self.limits.calls {
                askers.push(asker);
            } else {
                return Err(Fault::new(INTERNAL, "too many calls are in flight"));
            }
            return Ok(());
        }
        if self.listens.len() >= self.limits.resources || waiting >= self.limits.listens {
            return Err(Fault::new(INTERNAL, "too many subscriptions are open"));
        }
        let filter = format!(r#"{{"resourceSubscriptions":[{}]}}"#, quote(&uri));
        let deadline = now.saturating_add(self.limits.server_ms);
        self.open_stream(&filter, Listen::Resource { uri, askers: vec![asker], deadline }, out);
        Ok(())
    }

    pub(super) fn unsubscribe(
        &mut self,
        call: CallId,
        message: &Message<'_>,
        out: &mut Out,
    ) -> Result<(), Fault> {
        let uri = uri_of(message)?;
        let found = self.listens.iter().find(|(_, listen)| listen.is_of(&uri)).map(|(id, _)| *id);
        if let Some(id) = found {
            self.close_stream(id, "the client has unsubscribed", out);
        }
        out.answer(call, envelope::result(&message.id, "{}"));
        Ok(())
    }

    /// Ends a stream from this side; who waits for it is told why.
    fn close_stream(&mut self, id: u64, why: &str, out: &mut Out) {
        let Some(listen) = self.listens.remove(&id) else { return };
        out.server(envelope::cancelled(id, why));
        for (call, asker) in listen.askers() {
            out.answer(call, envelope::error(&asker, INTERNAL, why, None));
        }
    }

    pub(super) fn acknowledged(&mut self, message: &Message<'_>, out: &mut Out) {
        let id = subscription(&message.object).and_then(|raw| raw.parse::<u64>().ok());
        let Some(id) = id else { return };
        let Some(Listen::Resource { uri, askers, .. }) = self.listens.get_mut(&id) else { return };
        let agreed = || {
            let params = message.params_object().ok()?;
            let notifications = params.object("notifications")?;
            serde_json::from_str::<Vec<String>>(notifications.get("resourceSubscriptions")?).ok()
        };
        if agreed().unwrap_or_default().contains(uri) {
            for (call, asker) in std::mem::take(askers) {
                out.answer(call, envelope::result(&asker, "{}"));
            }
        } else {
            self.close_stream(id, "the hosted server does not report changes of this resource", out);
        }
    }

    /// On standard output a server ends a stream by cancelling the request that opened it.
    pub(super) fn listen_cancelled(&mut self, message: &Message<'_>, out: &mut Out) {
        let id = message.params_object().ok().and_then(|params| params.get("requestId")?.parse::<u64>().ok());
        if let Some(listen) = id.and_then(|id| self.listens.remove(&id)) {
            ended(listen, message, out);
        }
    }

    /// A change on one of the streams, as the legacy client knows it.
    pub(super) fn pass_change(&mut self, message: Message<'_>, line: &[u8], out: &mut Out) {
        match subscription(&message.object) {
            None => out.client(None, line),
            Some(raw) => {
                let known = raw.parse::<u64>().is_ok_and(|id| self.listens.contains_key(&id));
                if known {
                    out.client(None, untagged(message.object));
                }
            }
        }
    }

    /// A subscription that the child does not confirm in time has failed.
    pub(super) fn listen_time(&mut self, now: u64, out: &mut Out) {
        let late = |listen: &Listen| listen.deadline().is_some_and(|deadline| deadline <= now);
        let ids: Vec<u64> =
            self.listens.iter().filter(|(_, listen)| late(listen)).map(|(id, _)| *id).collect();
        for id in ids {
            self.close_stream(id, "the hosted server did not confirm the subscription in time", out);
        }
    }

    /// Nobody waits for this confirmation any more.
    pub(super) fn forget_asker(&mut self, call: CallId, out: &mut Out) {
        let mut left = None;
        for (id, listen) in &mut self.listens {
            if let Listen::Resource { askers, .. } = listen
                && askers.iter().any(|(asker, _)| *asker == call)
            {
                askers.retain(|(asker, _)| *asker != call);
                left = askers.is_empty().then_some(*id);
            }
        }
        if let Some(id) = left {
            self.close_stream(id, "nobody waits for the subscription any more", out);
        }
    }
}
