//! Subscription streams of modern clients over a legacy child: list changes as the child sends them, resources through
//! `resources/subscribe`, shared by all streams that want the same one.
//!
//! Promises: the acknowledgement is the first message and names what the child really confirmed; a stream gets only what
//! it asked for; the last stream that leaves a resource ends the child's subscription.

use std::collections::BTreeSet;

use super::members::{self, Fault};
use super::{Adapter, Own, invalid};
use crate::mcp::translate::capabilities::SUBSCRIPTION_ID;
use crate::mcp::translate::envelope::{self, INTERNAL, Message, Out};
use crate::mcp::translate::object::{Object, quote};
use crate::mcp::translate::{CallId, NAME_MAX};

/// One open stream.
#[derive(Debug)]
pub(super) struct Listen {
    /// the client's id, which names the stream
    id: String,
    tools: bool,
    prompts: bool,
    resources: bool,
    uris: BTreeSet<String>,
    /// resources that the child has not confirmed yet, and until when it may; none after the acknowledgement
    pending: Option<(BTreeSet<String>, u64)>,
}

impl Listen {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        self.pending.as_ref().map(|(_, deadline)| *deadline)
    }

    fn wants(&self, method: &str, uri: Option<&str>) -> bool {
        self.pending.is_none()
            && match method {
                "notifications/tools/list_changed" => self.tools,
                "notifications/prompts/list_changed" => self.prompts,
                "notifications/resources/list_changed" => self.resources,
                _ => uri.is_some_and(|uri| self.uris.iter().any(|wanted| is_within(uri, wanted))),
            }
    }

    /// What was agreed to, as the acknowledgement's parameters.
    fn acknowledgement(&self) -> String {
        let mut agreed = Object::default();
        let flags = [
            ("toolsListChanged", self.tools),
            ("promptsListChanged", self.prompts),
            ("resourcesListChanged", self.resources),
        ];
        for (name, _) in flags.iter().filter(|(_, wanted)| *wanted) {
            agreed.set(name, "true");
        }
        if !self.uris.is_empty() {
            let uris: Vec<String> = self.uris.iter().map(|uri| quote(uri)).collect();
            agreed.set("resourceSubscriptions", format!("[{}]", uris.join(",")));
        }
        format!(r#"{{"_meta":{{"{SUBSCRIPTION_ID}":{}}},"notifications":{}}}"#, self.id, agreed.write())
    }
}

/// A resource that the child was asked to watch.
#[derive(Debug, Default)]
pub(super) struct Resource {
    /// how many streams want it
    users: usize,
    /// the request that has no answer yet
    asked: Option<u64>,
}

/// Whether an updated resource is the one subscribed to or lies below it.
fn is_within(uri: &str, wanted: &str) -> bool {
    uri.strip_prefix(wanted)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '#', '?']) || wanted.ends_with('/'))
}

impl Adapter {
    pub(super) fn open_listen(
        &mut self,
        call: CallId,
        message: &Message<'_>,
        now: u64,
        out: &mut Out,
    ) -> Result<(), Fault> {
        let params = message.params_object().map_err(invalid)?;
        members::read_meta(&params)?;
        let filter =
            params.object("notifications").ok_or_else(|| invalid("params.notifications is not an object"))?;
        let uris: BTreeSet<String> = match filter.get("resourceSubscriptions") {
            Some(raw) if self.features.subscribe => serde_json::from_str(raw).map_err(|_| {
                invalid("params.notifications.resourceSubscriptions is not a list of strings")
            })?,
            _ => BTreeSet::new(),
        };
        if uris.iter().any(|uri| uri.len() > NAME_MAX) {
            return Err(invalid("a URI to subscribe to is too long"));
        }
        let new = uris.iter().filter(|uri| !self.resources.contains_key(*uri)).count();
        // Every stream counts what it watches, so that many streams on one list are bounded as well.
        let watched: usize = self.listens.values().map(|listen| listen.uris.len()).sum();
        if self.listens.len() >= self.limits.listens
            || self.resources.len() + new > self.limits.resources
            || watched + uris.len() > self.limits.resources
        {
            return Err(Fault::new(INTERNAL, "too many subscriptions are open"));
        }
        let mut pending = BTreeSet::new();
        for uri in &uris {
            if self.watch(uri, out) {
                pending.insert(uri.clone());
            }
        }
        let listen = Listen {
            id: message.id.clone(),
            tools: filter.is_true("toolsListChanged") && self.features.tools_changed,
            prompts: filter.is_true("promptsListChanged") && self.features.prompts_changed,
            resources: filter.is_true("resourcesListChanged") && self.features.resources_changed,
            uris,
            pending: Some((pending, now.saturating_add(self.limits.server_ms))),
        };
        self.listens.insert(call, listen);
        self.acknowledge(call, out);
        Ok(())
    }

    /// One more stream wants this resource; says whether the child has yet to confirm it.
    fn watch(&mut self, uri: &str, out: &mut Out) -> bool {
        if !self.resources.contains_key(uri) {
            let params = format!(r#"{{"uri":{}}}"#, quote(uri));
            let id = self.ask_server(Own::Subscribe(uri.to_owned()), "resources/subscribe", &params, out);
            self.resources.insert(uri.to_owned(), Resource { users: 0, asked: Some(id) });
        }
        let resource = self.resources.entry(uri.to_owned()).or_default();
        resource.users += 1;
        resource.asked.is_some()
    }

    /// One stream less wants this resource.
    fn unwatch(&mut self, uri: &str, tell: bool, out: &mut Out) {
        let Some(resource) = self.resources.get_mut(uri) else { return };
        resource.users = resource.users.saturating_sub(1);
        if resource.users > 0 {
            return;
        }
        if let Some(id) = self.resources.remove(uri).and_then(|resource| resource.asked) {
            self.own.remove(&id);
        }
        if tell {
            let params = format!(r#"{{"uri":{}}}"#, quote(uri));
            self.tell_server("resources/unsubscribe", &params, out);
        }
    }

    /// Sends the acknowledgement when nothing is pending any more.
    fn acknowledge(&mut self, call: CallId, out: &mut Out) {
        let Some(listen) = self.listens.get_mut(&call) else { return };
        if listen.pending.as_ref().is_some_and(|(uris, _)| uris.is_empty()) {
            listen.pending = None;
            let params = listen.acknowledgement();
            out.client(
                Some(call),
                envelope::notification("notifications/subscriptions/acknowledged", &params),
            );
        }
    }

    /// The child has confirmed or refused to watch a resource.
    pub(super) fn subscribed(&mut self, uri: &str, good: bool, out: &mut Out) {
        if let Some(resource) = self.resources.get_mut(uri) {
            resource.asked = None;
        }
        let waits = |listen: &Listen| listen.pending.as_ref().is_some_and(|(uris, _)| uris.contains(uri));
        let calls: Vec<CallId> =
            self.listens.iter().filter(|(_, listen)| waits(listen)).map(|(call, _)| *call).collect();
        for call in calls {
            if let Some(listen) = self.listens.get_mut(&call) {
                if let Some((pending, _)) = &mut listen.pending {
                    pending.remove(uri);
                }
                if !good {
                    listen.uris.remove(uri);
                    self.unwatch(uri, false, out);
                }
            }
            self.acknowledge(call, out);
        }
    }

    pub(super) fn tell_listeners(&mut self, message: &Message<'_>, line: &[u8], out: &mut Out) {
        let uri = message.params_object().ok().and_then(|params| params.text("uri"));
        for (call, listen) in &self.listens {
            if !listen.wants(&message.method, uri.as_deref()) {
                continue;
            }
            let object = std::str::from_utf8(line).ok().and_then(|text| Object::parse(text).ok());
            if let Some(object) = object {
                out.client(Some(*call), members::tagged(object, &listen.id));
            }
        }
    }

    /// Resources that the child has not confirmed in time are left out.
    pub(super) fn listen_time(&mut self, now: u64, out: &mut Out) {
        let late = |listen: &Listen| listen.deadline().is_some_and(|deadline| deadline <= now);
        let calls: Vec<CallId> =
            self.listens.iter().filter(|(_, listen)| late(listen)).map(|(call, _)| *call).collect();
        for call in calls {
            let Some(listen) = self.listens.get_mut(&call) else { continue };
            let missing = listen.pending.as_mut().map(|(uris, _)| std::mem::take(uris)).unwrap_or_default();
            for uri in &missing {
                listen.uris.remove(uri);
            }
            for uri in &missing {
                self.unwatch(uri, true, out);
            }
            self.acknowledge(call, out);
        }
    }

    /// The client has closed its stream.
    pub(super) fn close_listen(&mut self, call: CallId, out: &mut Out) {
        if let Some(listen) = self.listens.remove(&call) {
            for uri in &listen.uris {
                self.unwatch(uri, true, out);
            }
        }
    }

    /// Ends a stream in good order.
    pub(super) fn finish_listen(&mut self, call: CallId, out: &mut Out) {
        let Some(listen) = self.listens.get(&call) else { return };
        let id = listen.id.clone();
        let result = format!(r#"{{"resultType":"complete","_meta":{{"{SUBSCRIPTION_ID}":{id}}}}}"#);
        self.close_listen(call, out);
        out.answer(call, envelope::result(&id, &result));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_below_the_one_subscribed_to_counts() {
        for (uri, wanted, yes) in [
            ("file:///a", "file:///a", true),
            ("file:///a/b", "file:///a", true),
            ("file:///a/b", "file:///a/", true),
            ("file:///ab", "file:///a", false),
            ("file:///", "file:///a", false),
        ] {
            assert_eq!(is_within(uri, wanted), yes, "{uri} within {wanted}");
        }
    }
}
