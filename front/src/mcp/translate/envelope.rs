//! One JSON-RPC message: what it is, and how the translation's own messages are written.
//!
//! Promises: the kind is decided by the members that are there (a method, an id, a result or an error) and a message that
//! could be read in two ways is refused; whatever else it holds stays where it is.

use super::object::{Object, quote};
use super::{Action, CallId};

/// The longest id, progress token or cursor of a peer that is remembered, in bytes.
const ID_MAX: usize = 4096;

/// The JSON-RPC code for a message that is no request.
pub(super) const INVALID_REQUEST: i64 = -32600;
/// The JSON-RPC code for a method that is not offered.
pub(super) const METHOD_NOT_FOUND: i64 = -32601;
/// The JSON-RPC code for wrong parameters.
pub(super) const INVALID_PARAMS: i64 = -32602;
/// The JSON-RPC code for a failure on this side.
pub(super) const INTERNAL: i64 = -32603;
/// Revision 2026-07-28: the request needs a capability that the client did not declare.
pub(super) const MISSING_CAPABILITY: i64 = -32021;
/// Revision 2026-07-28: the request names a revision that is not served.
pub(super) const UNSUPPORTED_VERSION: i64 = -32022;
/// Revisions up to 2025-11-25: a resource does not exist. Not to be sent at 2026-07-28.
pub(super) const LEGACY_NO_RESOURCE: i64 = -32002;
/// Revision 2025-11-25: the client has to open a URL first. Not to be sent at 2026-07-28.
pub(super) const LEGACY_URL_NEEDED: i64 = -32042;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// has a method and an id
    Request,
    /// has a method and no id
    Notification,
    /// has an id and a result
    Result,
    /// has an id and an error
    Error,
}

/// One message with its members.
#[derive(Debug)]
pub(super) struct Message<'a> {
    /// what it is
    pub(super) kind: Kind,
    /// the decoded method; empty for an answer
    pub(super) method: String,
    /// the id as [`canonical`] text; empty for a notification
    pub(super) id: String,
    /// all members
    pub(super) object: Object<'a>,
}

impl<'a> Message<'a> {
    /// Reads one message.
    ///
    /// # Errors
    /// One sentence when it is no JSON-RPC message, or an ambiguous one.
    pub(super) fn parse(frame: &'a [u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(frame).map_err(|_| "a message is not UTF-8")?;
        let object = Object::parse(text).map_err(|_| "a message is not one JSON object")?;
        if ["id", "method", "params", "result", "error"].iter().any(|name| object.is_ambiguous(name)) {
            return Err("a message has a member twice");
        }
        let method = match object.get("method") {
            Some(_) => Some(object.text("method").ok_or("a method is not a string")?),
            None => None,
        };
        let id = match object.get("id") {
            Some(raw) => Some(canonical(raw).ok_or("an id is not a short string or number")?),
            None => None,
        };
        let kind = match (&method, &id, object.get("result"), object.get("error")) {
            (Some(_), Some(_), None, None) => Kind::Request,
            (Some(_), None, None, None) => Kind::Notification,
            (None, Some(_), Some(_), None) => Kind::Result,
            (None, Some(_), None, Some(_)) => Kind::Error,
            _ => return Err("a message is neither request, notification nor answer"),
        };
        Ok(Self { kind, method: method.unwrap_or_default(), id: id.unwrap_or_default(), object })
    }

    /// The raw parameters, if there are any.
    pub(super) fn params(&self) -> Option<&str> {
        self.object.get("params")
    }

    /// The parameters as an object; empty when there are none.
    ///
    /// # Errors
    /// One sentence when they are something else.
    pub(super) fn params_object(&self) -> Result<Object<'_>, &'static str> {
        match self.params() {
            None => Ok(Object::default()),
            Some(raw) => Object::parse(raw).map_err(|_| "params is not an object"),
        }
    }

    /// The id as the number that this side gave, if it is one.
    pub(super) fn own_id(&self) -> Option<u64> {
        self.id.parse().ok()
    }

    /// Code and message of an error answer; a malformed error reads as an internal one.
    pub(super) fn error(&self) -> (i64, String) {
        let Some(error) = self.object.object("error") else {
            return (INTERNAL, "malformed error".to_owned());
        };
        let code = error.get("code").and_then(|raw| raw.parse().ok()).unwrap_or(INTERNAL);
        (code, error.text("message").unwrap_or_else(|| "malformed error".to_owned()))
    }
}

/// An id or progress token in one spelling, so that equal values are equal texts; none for what may not be one.
pub(super) fn canonical(raw: &str) -> Option<String> {
    if raw.len() > ID_MAX {
        return None;
    }
    match raw.as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(raw).ok().map(|text| quote(&text)),
        b'-' | b'0'..=b'9' => Some(raw.to_owned()),
        _ => None,
    }
}

/// A request of this side's own.
pub(super) fn request(id: u64, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{},"params":{params}}}"#, quote(method))
}

/// A notification of this side's own.
pub(super) fn notification(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":{},"params":{params}}}"#, quote(method))
}

/// An answer with a raw result to a raw id.
pub(super) fn result(id: &str, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

/// An error to a raw id; `data` is raw.
pub(super) fn error(id: &str, code: i64, message: &str, data: Option<&str>) -> String {
    let data = data.map(|data| format!(r#","data":{data}"#)).unwrap_or_default();
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{}{data}}}}}"#, quote(message))
}

/// The cancellation of a request with a raw id.
pub(super) fn cancelled(id: impl std::fmt::Display, reason: &str) -> String {
    let params = format!(r#"{{"requestId":{id},"reason":{}}}"#, quote(reason));
    notification("notifications/cancelled", &params)
}

/// The actions of one step, in order.
#[derive(Debug, Default)]
pub(super) struct Out(pub(super) Vec<Action>);

impl Out {
    /// A frame to the child.
    pub(super) fn server(&mut self, frame: impl Into<Vec<u8>>) {
        self.0.push(Action::ToServer(one_line(frame.into())));
    }

    /// A message in the course of a call, or of the whole session.
    pub(super) fn client(&mut self, call: Option<CallId>, frame: impl Into<Vec<u8>>) {
        self.0.push(Action::ToClient { call, frame: one_line(frame.into()), last: false });
    }

    /// The answer of a call.
    pub(super) fn answer(&mut self, call: CallId, frame: impl Into<Vec<u8>>) {
        self.0.push(Action::ToClient { call: Some(call), frame: one_line(frame.into()), last: true });
    }
}

/// Line breaks between members become spaces: one message is one line to the child, and on a client's event stream,
/// where a carriage return ends a line too.
fn one_line(mut frame: Vec<u8>) -> Vec<u8> {
    for byte in &mut frame {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind(text: &str) -> Result<Kind, &'static str> {
        Message::parse(text.as_bytes()).map(|message| message.kind)
    }

    #[test]
    fn the_members_decide_the_kind() {
        assert_eq!(kind(r#"{"id":1,"method":"a"}"#), Ok(Kind::Request));
        assert_eq!(kind(r#"{"method":"a","params":[1]}"#), Ok(Kind::Notification));
        assert_eq!(kind(r#"{"id":"x","result":null}"#), Ok(Kind::Result));
        assert_eq!(kind(r#"{"id":-1,"error":{}}"#), Ok(Kind::Error));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for bad in [
            r#"{"id":1}"#,
            r#"{"id":null,"method":"a"}"#,
            r#"{"id":true,"method":"a"}"#,
            r#"{"id":1,"id":2,"method":"a"}"#,
            r#"{"id":1,"method":"a","result":{}}"#,
            r#"{"id":1,"error":{},"result":{}}"#,
            r#"{"method":1}"#,
            r#"[{"method":"a"}]"#,
        ] {
            assert!(kind(bad).is_err(), "{bad}");
        }
        let long = format!(r#"{{"id":"{}","method":"a"}}"#, "x".repeat(ID_MAX));
        assert!(kind(&long).is_err());
    }

    #[test]
    fn an_id_has_one_spelling() {
        assert_eq!(canonical(r#""\u0061""#), canonical(r#""a""#));
        assert_ne!(canonical("1"), canonical(r#""1""#));
        assert_eq!(canonical("1.50").as_deref(), Some("1.50"));
    }

    #[test]
    fn a_frame_is_one_line() {
        let mut out = Out::default();
        let frame = b"{  \"a\":1}".to_vec();
        out.server("{\r\n\"a\":1}".to_owned());
        out.client(None, "{\r\n\"a\":1}".to_owned());
        out.answer(CallId(1), "{\r\n\"a\":1}".to_owned());
        assert_eq!(
            out.0,
            [
                Action::ToServer(frame.clone()),
                Action::ToClient { call: None, frame: frame.clone(), last: false },
                Action::ToClient { call: Some(CallId(1)), frame, last: true },
            ]
        );
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::parse(&bytes);
        }

        #[test]
        fn any_text_can_stand_in_an_error(text in ".{0,64}", code in any::<i64>()) {
            let frame = error("1", code, &text, None);
            let message = Message::parse(frame.as_bytes()).unwrap();
            prop_assert_eq!(message.error(), (code, text));
        }
    }
}
