//! Which members change between a modern client and a legacy server. Pure functions on raw JSON.
//!
//! Promises: what is not named in `docs/eras.md` stays as it is.

use crate::mcp::translate::capabilities::{
    CLIENT_CAPABILITIES, CLIENT_INFO, Capabilities, Features, LOG_LEVEL, Level, PROTOCOL_VERSION,
    SERVER_INFO, SUBSCRIPTION_ID,
};
use crate::mcp::translate::envelope::{INVALID_PARAMS, UNSUPPORTED_VERSION, canonical};
use crate::mcp::translate::object::{Object, quote};
use crate::mcp::translate::{LEGACY_ALL, MODERN, is_cacheable};

/// An error for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// JSON-RPC code
    pub(super) code: i64,
    /// one sentence
    pub(super) message: String,
    /// raw JSON
    pub(super) data: Option<String>,
}

impl Fault {
    /// An error without data.
    pub(super) fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }
}

/// What a modern request says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestMeta {
    /// what the client can be asked for in the course of this request
    pub(super) capabilities: Capabilities,
    /// the least severe log message it wants; none when it wants none
    pub(super) level: Option<Level>,
    /// its progress token, canonical
    pub(super) progress: Option<String>,
}

/// Reads and checks the `_meta` of a modern request.
///
/// # Errors
/// -32602 when a required member is missing or malformed, -32022 for another revision.
pub(super) fn read_meta(params: &Object<'_>) -> Result<RequestMeta, Fault> {
    let wrong = |what: &str| Fault::new(INVALID_PARAMS, format!("params._meta {what}"));
    let meta = params.object("_meta").ok_or_else(|| wrong("is missing"))?;
    let version =
        meta.text(PROTOCOL_VERSION).ok_or_else(|| wrong(&format!("has no {PROTOCOL_VERSION:?} string")))?;
    if version != MODERN {
        let data = format!(r#"{{"supported":["{MODERN}"],"requested":{}}}"#, quote(&version));
        let message = format!("revision {version:?} is not served here without initialize");
        return Err(Fault { code: UNSUPPORTED_VERSION, message, data: Some(data) });
    }
    if meta.object(CLIENT_CAPABILITIES).is_none() {
        return Err(wrong(&format!("has no {CLIENT_CAPABILITIES:?} object")));
    }
    let level = match meta.get(LOG_LEVEL) {
        None => None,
        Some(_) => {
            let name = meta.text(LOG_LEVEL).and_then(|name| Level::read(&name));
            Some(name.ok_or_else(|| wrong(&format!("has an unknown {LOG_LEVEL:?}")))?)
        }
    };
    let progress = match meta.get("progressToken") {
        None => None,
        Some(raw) => Some(canonical(raw).ok_or_else(|| wrong("has a progressToken of the wrong type"))?),
    };
    let capabilities = meta.get(CLIENT_CAPABILITIES).map(Capabilities::read).unwrap_or_default();
    Ok(RequestMeta { capabilities, level, progress })
}

/// Takes what only the modern era knows out of a request's parameters and puts this side's progress token in.
pub(super) fn to_legacy_params(params: &mut Object<'_>, progress: Option<u64>) {
    params.remove("inputResponses");
    params.remove("requestState");
    let Some(mut meta) = params.object("_meta") else { return };
    for name in [PROTOCOL_VERSION, CLIENT_INFO, CLIENT_CAPABILITIES, LOG_LEVEL, "progressToken"] {
        meta.remove(name);
    }
    if let Some(token) = progress {
        meta.set("progressToken", token.to_string());
    }
    let text = (!meta.is_empty()).then(|| meta.write());
    match text {
        Some(text) => params.set("_meta", text),
        None => {
            params.remove("_meta");
        }
    }
}

/// A legacy result as a modern one: complete, not to be cached.
///
/// # Errors
/// One sentence when it is not an object.
pub(super) fn to_modern_result(method: &str, result: &str) -> Result<String, &'static str> {
    let mut result = Object::parse(result).map_err(|_| "the hosted server's result is not an object")?;
    let mut add = |name: &'static str, value: &'static str| {
        if result.get(name).is_none() {
            result.set(name, value);
        }
    };
    add("resultType", r#""complete""#);
    if is_cacheable(method) {
        // The legacy era says nothing of freshness or of other callers: nothing may be kept or shared.
        add("ttlMs", "0");
        add("cacheScope", r#""private""#);
    }
    Ok(result.write())
}

/// The answer to `server/discover`, made from a legacy `initialize` result, and what the server can do.
///
/// # Errors
/// One sentence when the result is unusable.
pub(super) fn discover_result(initialize: &str) -> Result<(String, Features), String> {
    let result =
        Object::parse(initialize).map_err(|_| "its initialize result is not an object".to_owned())?;
    let version = result.text("protocolVersion").ok_or("its initialize result names no revision")?;
    if !LEGACY_ALL.contains(&version.as_str()) {
        return Err(format!("it answered initialize with the unknown revision {version:?}"));
    }
    let mut capabilities =
        result.object("capabilities").ok_or("its initialize result has no capabilities")?;
    let features = Features::read(&capabilities);
    capabilities.remove("tasks");
    let mut discover = Object::default();
    discover.set("resultType", r#""complete""#);
    discover.set("supportedVersions", format!(r#"["{MODERN}"]"#));
    discover.set("capabilities", capabilities.write());
    if let Some(instructions) = result.get("instructions") {
        discover.set("instructions", instructions.to_owned());
    }
    discover.set("ttlMs", "0");
    discover.set("cacheScope", r#""private""#);
    let mut meta = result.object("_meta").unwrap_or_default();
    if let Some(info) = result.get("serverInfo") {
        meta.set(SERVER_INFO, info.to_owned());
    }
    if !meta.is_empty() {
        discover.set("_meta", meta.write());
    }
    Ok((discover.write(), features))
}

/// A legacy server's question as one entry of `inputRequests`.
pub(super) fn to_modern_question(method: &str, mut params: Object<'_>) -> String {
    params.remove("elicitationId");
    if let Some(mut meta) = params.object("_meta") {
        // Progress of a question cannot be told at 2026-07-28.
        meta.remove("progressToken");
        let text = (!meta.is_empty()).then(|| meta.write());
        params.remove("_meta");
        if let Some(text) = text {
            params.set("_meta", text);
        }
    }
    if params.is_empty() && method == "roots/list" {
        return format!(r#"{{"method":{}}}"#, quote(method));
    }
    format!(r#"{{"method":{},"params":{}}}"#, quote(method), params.write())
}

/// A modern result that asks the client for input; `questions` are keys and raw requests.
pub(super) fn input_required<'a>(questions: impl Iterator<Item = (&'a str, &'a str)>, state: &str) -> String {
    let mut requests = Object::default();
    for (key, request) in questions {
        requests.push(key.to_owned(), request.to_owned());
    }
    let requests = requests.write();
    format!(r#"{{"resultType":"input_required","inputRequests":{requests},"requestState":{}}}"#, quote(state))
}

/// A notification with the name of the subscription stream that it goes out on.
pub(super) fn tagged(mut message: Object<'_>, subscription: &str) -> String {
    let mut params = message.object("params").unwrap_or_default();
    let mut meta = params.object("_meta").unwrap_or_default();
    meta.set(SUBSCRIPTION_ID, subscription.to_owned());
    let meta = meta.write();
    params.set("_meta", meta);
    let params = params.write();
    message.set("params", params);
    message.write()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn legacy(text: &str, progress: Option<u64>) -> String {
        let mut params = Object::parse(text).unwrap();
        to_legacy_params(&mut params, progress);
        params.write()
    }

    #[test]
    fn the_modern_meta_is_taken_out_and_the_rest_stays() {
        let text = r#"{"name":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","traceparent":"00","progressToken":"t","io.modelcontextprotocol/clientCapabilities":{}},"requestState":"s","vendor":1.0}"#;
        assert_eq!(
            legacy(text, Some(7)),
            r#"{"name":"x","_meta":{"traceparent":"00","progressToken":7},"vendor":1.0}"#
        );
        assert_eq!(legacy(r#"{"_meta":{"io.modelcontextprotocol/logLevel":"debug"}}"#, None), "{}");
        assert_eq!(legacy(r#"{"a":1}"#, None), r#"{"a":1}"#);
    }

    #[test]
    fn a_result_says_what_the_modern_era_requires() {
        assert_eq!(
            to_modern_result("tools/call", r#"{"content":[]}"#).unwrap(),
            r#"{"content":[],"resultType":"complete"}"#
        );
        assert_eq!(
            to_modern_result("tools/list", r#"{"tools":[],"ttlMs":5}"#).unwrap(),
            r#"{"tools":[],"ttlMs":5,"resultType":"complete","cacheScope":"private"}"#
        );
        assert!(to_modern_result("x", "[]").is_err());
    }

    #[test]
    fn the_meta_of_a_request_is_checked() {
        let check = |text| read_meta(&Object::parse(text).unwrap()).map_err(|fault| fault.code);
        assert_eq!(check("{}"), Err(INVALID_PARAMS));
        assert_eq!(check(r#"{"_meta":{}}"#), Err(INVALID_PARAMS));
        assert_eq!(
            check(r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2027-01-01"}}"#),
            Err(UNSUPPORTED_VERSION)
        );
        let good = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"progressToken":1}}"#;
        assert_eq!(check(good).unwrap().progress.as_deref(), Some("1"));
        let bad = good.replace("\"progressToken\":1", "\"io.modelcontextprotocol/logLevel\":\"loud\"");
        assert_eq!(check(&bad), Err(INVALID_PARAMS));
    }

    #[test]
    fn discover_is_made_from_initialize() {
        let text = r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"tasks":{},"x":1},"serverInfo":{"name":"s","version":"1"},"instructions":"do"}"#;
        let (discover, features) = discover_result(text).unwrap();
        assert_eq!(
            discover,
            r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"x":1},"instructions":"do","ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}}}"#
        );
        assert!(features.tools_changed && !features.subscribe);
        assert!(discover_result(r#"{"protocolVersion":"2026-07-28","capabilities":{}}"#).is_err());
        assert!(discover_result("[]").is_err());
    }

    #[test]
    fn a_question_loses_what_the_modern_era_removed() {
        let params =
            Object::parse(r#"{"mode":"url","elicitationId":"e","_meta":{"progressToken":1}}"#).unwrap();
        assert_eq!(
            to_modern_question("elicitation/create", params),
            r#"{"method":"elicitation/create","params":{"mode":"url"}}"#
        );
        assert_eq!(to_modern_question("roots/list", Object::default()), r#"{"method":"roots/list"}"#);
    }

    #[test]
    fn a_notification_names_its_stream() {
        let message = Object::parse(r#"{"jsonrpc":"2.0","method":"m","params":{"uri":"u"}}"#).unwrap();
        assert_eq!(
            tagged(message, r#""l1""#),
            r#"{"jsonrpc":"2.0","method":"m","params":{"uri":"u","_meta":{"io.modelcontextprotocol/subscriptionId":"l1"}}}"#
        );
    }
}
