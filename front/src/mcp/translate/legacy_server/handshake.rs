//! The legacy handshake with the child, done once on behalf of all its modern clients.
//!
//! Promises: requests that come earlier wait in order and are served or refused when it ends; it ends within
//! `Limits::server_ms`.

use super::{Adapter, Own};
use crate::mcp::translate::envelope::{self, INTERNAL, Kind, Message, Out};
use crate::mcp::translate::{Action, CallId};

use super::members::{self, Fault};

/// How far the handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// not begun
    New,
    /// `initialize` was sent
    Handshake {
        /// when it is given up, in milliseconds
        deadline: u64,
    },
    /// requests are served
    Ready,
    /// the child is gone or unusable
    Dead,
}

impl Phase {
    pub(super) fn deadline(self) -> Option<u64> {
        match self {
            Self::Handshake { deadline } => Some(deadline),
            Self::New | Self::Ready | Self::Dead => None,
        }
    }
}

/// A request that came before the end of the handshake.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) call: CallId,
    pub(super) id: String,
    pub(super) frame: Vec<u8>,
}

impl Adapter {
    /// Whether the handshake has ended well.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    pub(super) fn begin_handshake(&mut self, now: u64, out: &mut Out) {
        if self.phase != Phase::New {
            return;
        }
        self.phase = Phase::Handshake { deadline: now.saturating_add(self.limits.server_ms) };
        let params = self.introduction.initialize();
        self.ask_server(Own::Initialize, "initialize", &params, out);
    }

    /// Keeps a request until the handshake is over.
    pub(super) fn wait_for_handshake(&mut self, call: CallId, id: &str, frame: &[u8]) -> Result<(), Fault> {
        if self.held + frame.len() > self.limits.held_bytes {
            return Err(Fault::new(INTERNAL, "too much waits for the hosted server to start"));
        }
        self.held += frame.len();
        self.waiting.push_back(Waiting { call, id: id.to_owned(), frame: frame.to_vec() });
        Ok(())
    }

    /// Its client has gone.
    pub(super) fn forget_waiting(&mut self, call: CallId) {
        let size: usize = self.waiting.iter().filter(|w| w.call == call).map(|w| w.frame.len()).sum();
        self.held = self.held.saturating_sub(size);
        self.waiting.retain(|waiting| waiting.call != call);
    }

    pub(super) fn finish_handshake(&mut self, message: &Message<'_>, now: u64, out: &mut Out) {
        let made = match (message.kind, message.object.get("result")) {
            (Kind::Result, Some(result)) => members::discover_result(result),
            _ => {
                let (code, text) = message.error();
                Err(format!("it refused initialize with error {code}: {text}"))
            }
        };
        match made {
            Err(why) => self.give_up(&format!("the hosted server cannot be used: {why}"), out),
            Ok((discover, features)) => {
                self.discover = discover;
                self.features = features;
                self.phase = Phase::Ready;
                out.server(envelope::notification("notifications/initialized", "{}"));
                for waiting in std::mem::take(&mut self.waiting) {
                    self.held = self.held.saturating_sub(waiting.frame.len());
                    let served = self.on_client(waiting.call, &waiting.frame, now);
                    out.0.extend(served);
                }
            }
        }
    }

    pub(super) fn handshake_time(&mut self, now: u64, out: &mut Out) {
        if self.phase.deadline().is_some_and(|deadline| deadline <= now) {
            self.give_up("the hosted server did not answer initialize in time", out);
        }
    }

    fn give_up(&mut self, why: &str, out: &mut Out) {
        out.0.extend(self.fail_all(why));
        out.0.push(Action::Unusable(why.to_owned()));
    }
}
