//! One client message, looked at once: its envelope and the members that routing needs.

use serde_json::value::RawValue;

use crate::error::{Failure, INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR};
use crate::frame::{Envelope, FrameError, Key, Look, string};

/// The message.
pub(crate) struct View<'a> {
    /// what it is
    pub(crate) envelope: Envelope<'a>,
    /// members of its params
    pub(crate) look: Look<'a>,
}

impl<'a> View<'a> {
    /// Looks at a message.
    ///
    /// # Errors
    /// What is wrong with it, for its sender.
    pub(crate) fn of(frame: &'a [u8]) -> Result<Self, Failure> {
        let envelope = Envelope::parse(frame).map_err(|e| match e {
            FrameError::Json(_) | FrameError::Utf8 => Failure::new(400, PARSE_ERROR, e.to_string()),
            FrameError::Shape | FrameError::Id => Failure::new(400, INVALID_REQUEST, e.to_string()),
        })?;
        let look = Look::into(envelope.params).map_err(|_| {
            Failure::new(
                400,
                INVALID_PARAMS,
                "a member of params that routing needs is malformed or there twice",
            )
            .to(envelope.id)
        })?;
        Ok(Self { envelope, look })
    }

    /// The raw progress token, when it may be one.
    pub(crate) fn token(&self) -> Option<&'a str> {
        self.look.meta.progress_token.map(RawValue::get).filter(|raw| crate::frame::is_id(raw))
    }

    /// The request that a `notifications/cancelled` names.
    pub(crate) fn cancels(&self) -> Option<(&'a str, Key)> {
        if self.envelope.method != "notifications/cancelled" {
            return None;
        }
        let raw = self.look.params.request_id?.get();
        Key::of(raw).map(|key| (raw, key))
    }

    /// A string member of params.
    pub(crate) fn text(&self, member: Option<&'a RawValue>) -> Option<std::borrow::Cow<'a, str>> {
        string(member?.get())
    }
}
