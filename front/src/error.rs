//! What a caller is told when something fails: a JSON-RPC error, and the HTTP status that carries it.

use serde::Serialize;

/// JSON-RPC: the body is not JSON.
pub(crate) const PARSE_ERROR: i64 = -32700;
/// JSON-RPC: the message is no valid request.
pub(crate) const INVALID_REQUEST: i64 = -32600;
/// JSON-RPC: the method is not offered.
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
/// JSON-RPC: wrong parameters.
pub(crate) const INVALID_PARAMS: i64 = -32602;
/// JSON-RPC: a failure behind this front.
pub(crate) const INTERNAL: i64 = -32603;
/// The transport refuses the message (from the range that JSON-RPC leaves to implementations).
pub(crate) const REFUSED: i64 = -32000;
/// There is no such session; the code that the TypeScript SDK uses beside status 404.
pub(crate) const NO_SESSION: i64 = -32001;
/// Revision 2026-07-28: a header contradicts the body.
pub(crate) const HEADER_MISMATCH: i64 = -32020;
/// Revision 2026-07-28: the client lacks a capability.
pub(crate) const MISSING_CAPABILITY: i64 = -32021;
/// Revision 2026-07-28: the revision is not served.
pub(crate) const UNSUPPORTED_VERSION: i64 = -32022;

/// A failure as the caller sees it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// the HTTP status
    pub(crate) status: u16,
    /// the JSON-RPC code
    pub(crate) code: i64,
    /// one sentence
    pub(crate) message: String,
    /// the raw id of the request, if it is known
    pub(crate) id: Option<Box<str>>,
    /// raw additional data
    pub(crate) data: Option<String>,
    /// seconds for a `Retry-After` header
    pub(crate) retry_after: Option<u32>,
}

impl Failure {
    /// A failure without an id.
    pub(crate) fn new(status: u16, code: i64, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), id: None, data: None, retry_after: None }
    }

    /// The same, answering the request with this raw id.
    pub(crate) fn to(mut self, id: Option<&str>) -> Self {
        self.id = id.map(Into::into);
        self
    }

    /// The same, asking to come back after `ms` milliseconds.
    pub(crate) fn retry_after_ms(mut self, ms: u32) -> Self {
        self.retry_after = Some(ms.div_ceil(1000).max(1));
        self
    }

    /// The JSON-RPC body.
    pub(crate) fn body(&self) -> Vec<u8> {
        answer(self.id.as_deref(), self.code, &self.message, self.data.as_deref())
    }
}

#[derive(Serialize)]
struct Text<'a>(&'a str);

/// A JSON string.
pub(crate) fn quote(text: &str) -> String {
    serde_json::to_string(&Text(text)).unwrap_or_else(|_| "\"\"".to_owned())
}

/// A JSON-RPC error answer to a raw id; `data` is raw.
pub(crate) fn answer(id: Option<&str>, code: i64, message: &str, data: Option<&str>) -> Vec<u8> {
    let data = data.map(|data| format!(",\"data\":{data}")).unwrap_or_default();
    let (id, message) = (id.unwrap_or("null"), quote(message));
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}{data}}}}}"#)
        .into_bytes()
}

/// The HTTP status of a single answer at revision 2026-07-28, from its error code.
pub(crate) fn modern_status(code: i64) -> u16 {
    match code {
        METHOD_NOT_FOUND => 404,
        HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION | INVALID_REQUEST | PARSE_ERROR => 400,
        _ => 200,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_well_formed() {
        let failure = Failure::new(400, -1, "a \"b\"\n").to(Some("\"x\""));
        let value: serde_json::Value = serde_json::from_slice(&failure.body()).unwrap();
        assert_eq!(value["id"], "x");
        assert_eq!(value["error"]["message"], "a \"b\"\n");
    }

    #[test]
    fn statuses_follow_the_revision() {
        assert_eq!(
            [-32601, -32020, -32021, -32022, -32602, 5].map(modern_status),
            [404, 400, 400, 400, 200, 200]
        );
    }
}
