//! The light envelope of one JSON-RPC message: which bytes are its id, method, params, result and error.
//!
//! Promises: nothing is copied, nothing outside the named members is looked into, a message that could be read in two
//! ways (a member twice, a method beside a result) is refused, and no bytes make it panic.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The longest id or progress token that is accepted, in bytes of its JSON text.
pub const ID_MAX: usize = 1024;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// has a method and an id
    Request,
    /// has a method and no id
    Notification,
    /// has an id and a result
    Result,
    /// has an error
    Error,
}

/// One message, borrowed from its bytes.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// what it is
    pub kind: Kind,
    /// the decoded method; empty for an answer
    pub method: Cow<'a, str>,
    /// the raw id; `None` for a notification
    pub id: Option<&'a str>,
    /// the raw params
    pub params: Option<&'a str>,
    /// the raw result
    pub result: Option<&'a str>,
    /// the raw error
    pub error: Option<&'a str>,
}

/// Why bytes are not one message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// not UTF-8
    #[error("the message is not UTF-8")]
    Utf8,
    /// not one JSON object, or a member stands in it twice
    #[error("the message is not one JSON object with each member once")]
    Json(#[source] serde_json::Error),
    /// neither request, notification nor answer
    #[error("the message is neither request, notification nor answer")]
    Shape,
    /// an id that is no string or number, or too long
    #[error("the id is not a string or number of at most {ID_MAX} bytes")]
    Id,
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// Keeps `null` apart from absence.
fn present<'de: 'a, 'a, D: serde::Deserializer<'de>>(d: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(d).map(Some)
}

impl<'a> Envelope<'a> {
    /// Reads one message.
    ///
    /// # Errors
    /// [`FrameError`] says what is wrong with the bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let text = std::str::from_utf8(bytes).map_err(|_| FrameError::Utf8)?;
        let m: Members<'a> = object(text).map_err(FrameError::Json)?;
        let kind = match (m.method, m.id, m.result, m.error) {
            (Some(_), Some(_), None, None) => Kind::Request,
            (Some(_), None, None, None) => Kind::Notification,
            (None, Some(_), Some(_), None) => Kind::Result,
            (None, _, None, Some(_)) => Kind::Error,
            _ => return Err(FrameError::Shape),
        };
        let method = match m.method {
            Some(raw) => string(raw.get()).ok_or(FrameError::Shape)?,
            None => Cow::Borrowed(""),
        };
        let id = m.id.map(RawValue::get);
        // An error that answers an unreadable request has the id null; nothing else may have one.
        let answers_unreadable = kind == Kind::Error && id == Some("null");
        if !answers_unreadable && id.is_some_and(|id| !is_id(id)) {
            return Err(FrameError::Id);
        }
        let get = |raw: Option<&'a RawValue>| raw.map(RawValue::get);
        Ok(Self { kind, method, id, params: get(m.params), result: get(m.result), error: get(m.error) })
    }

    /// The code of an error answer; 0 when it has none.
    #[must_use]
    pub fn error_code(&self) -> i64 {
        #[derive(Deserialize)]
        struct Code {
            code: i64,
        }
        self.error.and_then(|raw| object::<Code>(raw).ok()).map_or(0, |e| e.code)
    }
}

/// The members of `params` that routing needs; each raw.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Params<'a> {
    /// the request's metadata
    #[serde(borrow, default, rename = "_meta")]
    pub meta: Option<&'a RawValue>,
    /// of `notifications/cancelled`
    #[serde(borrow, default, rename = "requestId")]
    pub request_id: Option<&'a RawValue>,
    /// of `notifications/progress`
    #[serde(borrow, default, rename = "progressToken")]
    pub progress_token: Option<&'a RawValue>,
    /// of `tools/call` and `prompts/get`
    #[serde(borrow, default)]
    pub name: Option<&'a RawValue>,
    /// of `resources/…`
    #[serde(borrow, default)]
    pub uri: Option<&'a RawValue>,
    /// of `tasks/…`
    #[serde(borrow, default, rename = "taskId")]
    pub task_id: Option<&'a RawValue>,
    /// of `tools/call`
    #[serde(borrow, default)]
    pub arguments: Option<&'a RawValue>,
    /// of `initialize`
    #[serde(borrow, default, rename = "protocolVersion")]
    pub protocol_version: Option<&'a RawValue>,
}

/// The members of `_meta` that routing needs; each raw. Names from revision 2026-07-28.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Meta<'a> {
    /// the token that progress notifications repeat
    #[serde(borrow, default, rename = "progressToken")]
    pub progress_token: Option<&'a RawValue>,
    /// the revision of this one request
    #[serde(borrow, default, rename = "io.modelcontextprotocol/protocolVersion")]
    pub protocol_version: Option<&'a RawValue>,
    /// who asks
    #[serde(borrow, default, rename = "io.modelcontextprotocol/clientInfo")]
    pub client_info: Option<&'a RawValue>,
    /// what the client can do
    #[serde(borrow, default, rename = "io.modelcontextprotocol/clientCapabilities")]
    pub client_capabilities: Option<&'a RawValue>,
    /// which log messages the client wants
    #[serde(borrow, default, rename = "io.modelcontextprotocol/logLevel")]
    pub log_level: Option<&'a RawValue>,
    /// which stream a message belongs to
    #[serde(borrow, default, rename = "io.modelcontextprotocol/subscriptionId")]
    pub subscription_id: Option<&'a RawValue>,
}

/// Params and their metadata in one look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look<'a> {
    /// members of `params`
    pub params: Params<'a>,
    /// members of `params._meta`
    pub meta: Meta<'a>,
}

impl<'a> Look<'a> {
    /// Looks into a raw object; absent or non-object values read as empty.
    ///
    /// # Errors
    /// When one of the named members stands there twice, or `_meta` is no object.
    pub fn into(raw: Option<&'a str>) -> Result<Self, serde_json::Error> {
        let Some(raw) = raw.filter(|raw| raw.starts_with('{')) else { return Ok(Self::default()) };
        let params: Params<'a> = object(raw)?;
        let meta = params.meta.map(|raw| object(raw.get())).transpose()?.unwrap_or_default();
        Ok(Self { params, meta })
    }
}

/// Reads an object; unlike serde's derive it does not take an array for one.
pub(crate) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, serde_json::Error> {
    if !text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{') {
        return Err(serde::de::Error::custom("not an object"));
    }
    serde_json::from_str(text)
}

/// Decodes a raw JSON string; none for other values.
#[must_use]
pub fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(raw).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

/// Whether a raw value may be an id or a progress token.
#[must_use]
pub fn is_id(raw: &str) -> bool {
    // A string with half a character is JSON, but no text: it could not be told apart from others.
    raw.len() <= ID_MAX
        && match raw.as_bytes().first() {
            Some(b'"') => string(raw).is_some(),
            Some(b'-' | b'0'..=b'9') => true,
            _ => false,
        }
}

/// An id or progress token by value, so that one spelling equals another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// a whole number
    Number(i64),
    /// a text
    Text(Box<str>),
    /// a number that is not a 64-bit whole one, by its spelling
    Other(Box<str>),
}

impl Key {
    /// Reads a raw id or token; none for what may not be one.
    #[must_use]
    pub fn of(raw: &str) -> Option<Self> {
        if !is_id(raw) {
            return None;
        }
        if raw.starts_with('"') {
            return string(raw).map(|text| Self::Text(text.into()));
        }
        if let Ok(number) = raw.parse() {
            return Some(Self::Number(number));
        }
        // A peer may write 1.0 for 1: equal by value as long as a double is exact.
        let value: f64 = raw.parse().ok()?;
        if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
            return format!("{value:.0}").parse().ok().map(Self::Number);
        }
        Some(Self::Other(raw.into()))
    }

    /// The number that the multiplexer gave, also when the peer made a string of it.
    #[must_use]
    pub fn own(raw: &str) -> Option<u64> {
        match Self::of(raw)? {
            Self::Number(n) => u64::try_from(n).ok(),
            Self::Text(text) => text.parse().ok(),
            Self::Other(_) => None,
        }
    }
}

/// The members of a JSON array, each raw; none when it is no array.
#[must_use]
pub fn batch(bytes: &[u8]) -> Option<Vec<&RawValue>> {
    serde_json::from_str(std::str::from_utf8(bytes).ok()?).ok()
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
