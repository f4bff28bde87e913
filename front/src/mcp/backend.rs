//! The server's half of a legacy session: a jail of its own, a place on a shared one, or a translation.

use std::rc::Rc;

use bytes::Bytes;

use super::isolated::Isolated;
use super::session::{Call, Session};
use super::shared::Shared;
use super::translated::Translated;
use super::view::View;
use crate::error::Failure;

/// Which of them.
pub(crate) enum Backend {
    /// a jail of its own; frames pass unchanged
    Isolated(Rc<Isolated>),
    /// one of many on a shared jail; ids are rewritten
    Shared(Rc<Shared>),
    /// a server of revision 2026-07-28 only
    Translated(Rc<Translated>),
}

impl Backend {
    /// Makes sure that a server is there, starting it again if it has died.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn ensure(&self, session: &Rc<Session>) -> Result<(), Failure> {
        match self {
            Self::Isolated(isolated) => isolated.ensure(session).await,
            Self::Shared(shared) => shared.child().await.map(drop),
            Self::Translated(translated) => translated.ensure(session).await,
        }
    }

    /// One request of the client; its answer arrives at the session.
    ///
    /// # Errors
    /// One sentence when the server did not get it.
    pub(crate) fn request(
        &self,
        session: &Rc<Session>,
        call: &Rc<Call>,
        frame: &Bytes,
        view: &View<'_>,
    ) -> Result<(), String> {
        match self {
            Self::Isolated(isolated) => isolated.write(frame),
            Self::Shared(shared) => shared.request(session, call, frame, view),
            Self::Translated(translated) => translated.request(call, frame),
        }
    }

    /// One notification or answer of the client.
    pub(crate) fn pass(&self, session: &Rc<Session>, frame: &Bytes, view: &View<'_>) {
        match self {
            Self::Isolated(isolated) => isolated.pass(session, frame, view),
            Self::Shared(shared) => shared.pass(session, frame, view),
            Self::Translated(translated) => translated.pass(session, frame, view),
        }
    }

    /// Nobody waits for the answer to this call any more.
    pub(crate) fn give_up(&self, session: &Rc<Session>, call: &Call, reason: &str) {
        match self {
            Self::Isolated(isolated) => isolated.give_up(call, reason),
            Self::Shared(shared) => shared.give_up(session, call, reason),
            Self::Translated(translated) => translated.give_up(call),
        }
    }

    /// Time passes.
    pub(crate) fn sweep(&self) {
        if let Self::Translated(translated) = self {
            translated.sweep();
        }
    }

    /// The session is over.
    pub(crate) fn stop(&self, session: &Rc<Session>) {
        match self {
            Self::Isolated(isolated) => isolated.stop(),
            Self::Shared(shared) => shared.leave(session),
            Self::Translated(translated) => translated.stop(),
        }
    }
}
