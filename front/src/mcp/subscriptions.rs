//! Which sessions of a shared server are subscribed to which resource.
//!
//! Promises: pure; bounded; the child is subscribed as long as one session is.

use std::collections::{HashMap, HashSet};

/// Subscribed resources over all sessions.
const SUBSCRIPTIONS_MAX: usize = 16_384;

/// Session ids by the URI of the resource.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    by_uri: HashMap<Box<str>, HashSet<Box<str>>>,
}

impl Subscriptions {
    /// The child has confirmed this session's subscription.
    pub(crate) fn add(&mut self, session: &str, uri: &str) {
        if self.by_uri.len() < SUBSCRIPTIONS_MAX || self.by_uri.contains_key(uri) {
            self.by_uri.entry(uri.into()).or_default().insert(session.into());
        }
    }

    /// Ends this session's subscription; whether the child has to know, because nobody else has one.
    pub(crate) fn remove(&mut self, session: &str, uri: &str) -> bool {
        let Some(who) = self.by_uri.get_mut(uri) else { return true };
        who.remove(session);
        if who.is_empty() {
            self.by_uri.remove(uri);
            return true;
        }
        false
    }

    /// Whether this session is subscribed already.
    pub(crate) fn has(&self, session: &str, uri: &str) -> bool {
        self.by_uri.get(uri).is_some_and(|who| who.contains(session))
    }

    /// Forgets a session; the resources that nobody is subscribed to any more.
    pub(crate) fn leave(&mut self, session: &str) -> Vec<Box<str>> {
        let mut unwanted = Vec::new();
        self.by_uri.retain(|uri, who| {
            let last = who.remove(session) && who.is_empty();
            if last {
                unwanted.push(uri.clone());
            }
            !last
        });
        unwanted
    }

    /// All resources.
    pub(crate) fn uris(&self) -> Vec<Box<str>> {
        self.by_uri.keys().cloned().collect()
    }

    /// The sessions to tell of a change. A subscription also covers what lies below its resource.
    pub(crate) fn concerned(&self, uri: &str) -> HashSet<Box<str>> {
        let covers =
            |root: &str| uri.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.by_uri.iter().filter(|(root, _)| covers(root)).flat_map(|(_, who)| who.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_child_hears_only_of_the_last_end() {
        let mut all = Subscriptions::default();
        all.add("a", "file:///x");
        all.add("b", "file:///x");
        assert!(all.has("a", "file:///x") && !all.has("c", "file:///x"));
        assert!(!all.remove("a", "file:///x"));
        assert!(all.remove("b", "file:///x"));
        assert!(all.remove("b", "file:///never"), "the child answers what this side does not know");
    }

    #[test]
    fn a_session_that_ends_takes_its_subscriptions_along() {
        let mut all = Subscriptions::default();
        all.add("a", "u:1");
        all.add("a", "u:2");
        all.add("b", "u:2");
        assert_eq!(all.leave("a"), ["u:1".into()]);
        assert_eq!(all.uris(), ["u:2".into()]);
    }

    #[test]
    fn a_subscription_covers_what_lies_below() {
        let mut all = Subscriptions::default();
        all.add("a", "file:///dir");
        assert_eq!(all.concerned("file:///dir/x").len(), 1);
        assert_eq!(all.concerned("file:///dir").len(), 1);
        assert!(all.concerned("file:///dirt").is_empty());
    }
}
