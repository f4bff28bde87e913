//! Which members change between a legacy client and a modern server. Pure functions on raw JSON.
//!
//! Promises: what is not named in `docs/eras.md` stays as it is; a message that needs no change keeps its bytes.

use serde_json::value::RawValue;

use crate::mcp::translate::capabilities::{
    CLIENT_CAPABILITIES, CLIENT_INFO, Capabilities, Features, LOG_LEVEL, Level, PROTOCOL_VERSION,
    SERVER_INFO, SUBSCRIPTION_ID, TASKS_EXTENSION,
};
use crate::mcp::translate::object::{Object, quote};
use crate::mcp::translate::{LEGACY, LEGACY_ALL, MODERN, is_cacheable};

/// What the client said once, in `initialize` and `logging/setLevel`, and each modern request has to repeat.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// the revision that was agreed on
    pub(super) version: String,
    /// raw `clientInfo`
    client_info: Option<String>,
    /// raw `capabilities` without what the modern era does not know
    declared: String,
    /// what of them a server can use
    pub(super) capabilities: Capabilities,
    /// the least severe log message that it wants
    pub(super) level: Option<Level>,
}

impl Session {
    /// Reads the parameters of `initialize`.
    ///
    /// # Errors
    /// One sentence when they are malformed.
    pub(super) fn read(params: &Object<'_>) -> Result<Self, &'static str> {
        let wanted = params.text("protocolVersion").ok_or("params.protocolVersion is not a string")?;
        let known = LEGACY_ALL.contains(&wanted.as_str());
        let mut capabilities = params.object("capabilities").ok_or("params.capabilities is not an object")?;
        capabilities.remove("tasks");
        let declared = capabilities.write();
        Ok(Self {
            version: if known { wanted } else { LEGACY.to_owned() },
            client_info: params.object("clientInfo").map(|info| info.write()),
            capabilities: Capabilities::read(&declared),
            declared,
            level: None,
        })
    }

    /// Writes into a request what the modern era wants to know with each of them.
    pub(super) fn add_meta(&self, params: &mut Object<'_>) {
        let mut meta = params.object("_meta").unwrap_or_default();
        meta.set(PROTOCOL_VERSION, format!("\"{MODERN}\""));
        meta.set(CLIENT_CAPABILITIES, self.declared.as_str());
        match &self.client_info {
            Some(info) => meta.set(CLIENT_INFO, info.as_str()),
            None => {
                meta.remove(CLIENT_INFO);
            }
        }
        match self.level {
            Some(level) => meta.set(LOG_LEVEL, quote(level.name())),
            None => {
                meta.remove(LOG_LEVEL);
            }
        }
        let text = meta.write();
        params.set("_meta", text);
    }

    /// The parameters of a request of this side's own.
    pub(super) fn own_params(&self) -> Object<'static> {
        let mut params = Object::default();
        self.add_meta(&mut params);
        params
    }
}

/// The answer to `initialize`, made from a `server/discover` result, and what the server can do.
///
/// # Errors
/// One sentence when the result is unusable.
pub(super) fn initialize_result(discover: &str, version: &str) -> Result<(String, Features), String> {
    let result =
        Object::parse(discover).map_err(|_| "its server/discover result is not an object".to_owned())?;
    let supported: Vec<String> = result
        .get("supportedVersions")
        .and_then(|raw| serde_json::from_str(raw).ok())
        .ok_or("its server/discover result names no revisions")?;
    if !supported.iter().any(|version| version == MODERN) {
        return Err(format!("it does not serve revision {MODERN}"));
    }
    let mut capabilities =
        result.object("capabilities").ok_or("its server/discover result has no capabilities")?;
    let features = Features::read(&capabilities);
    let extensions = capabilities.object("extensions").and_then(|mut extensions| {
        extensions.remove(TASKS_EXTENSION).then(|| (!extensions.is_empty()).then(|| extensions.write()))
    });
    match extensions {
        None => {}
        Some(Some(rest)) => capabilities.set("extensions", rest),
        Some(None) => {
            capabilities.remove("extensions");
        }
    }
    let mut meta = result.object("_meta").unwrap_or_default();
    let info = meta.object(SERVER_INFO).map(|info| info.write());
    meta.remove(SERVER_INFO);
    let mut initialize = Object::default();
    initialize.set("protocolVersion", quote(version));
    initialize.set("capabilities", capabilities.write());
    initialize.set("serverInfo", info.unwrap_or_else(|| r#"{"name":"unnamed","version":"0"}"#.to_owned()));
    if let Some(instructions) = result.get("instructions") {
        initialize.set("instructions", instructions);
    }
    if !meta.is_empty() {
        initialize.set("_meta", meta.write());
    }
    Ok((initialize.write(), features))
}

/// What a modern result means to a legacy client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// the raw result
    Complete(String),
    /// the client has to be asked first
    Input {
        /// key, method and raw parameters of each question
        questions: Vec<(String, String, String)>,
        /// to be given back with the answers
        state: Option<String>,
    },
    /// a result that the legacy era has no word for; one sentence
    Unknown(String),
}

/// Reads a modern result to a request of this method.
pub(super) fn outcome(method: &str, raw: &str) -> Outcome {
    let unknown = |why: &str| Outcome::Unknown(why.to_owned());
    let Ok(mut result) = Object::parse(raw) else {
        return unknown("the hosted server's result is not an object");
    };
    match (result.get("resultType"), result.text("resultType").as_deref()) {
        (None, _) | (_, Some("complete")) => {}
        (_, Some("input_required")) => return questions(&result),
        (_, Some(other)) => {
            return Outcome::Unknown(format!(
                "the hosted server answered with a {other:?} result, which revision {LEGACY} does not know"
            ));
        }
        (_, None) => return unknown("the hosted server's resultType is not a string"),
    }
    let mut changed = result.remove("resultType");
    match method {
        name if is_cacheable(name) => {
            changed |= result.remove("ttlMs");
            changed |= result.remove("cacheScope");
        }
        // The legacy era allows only objects here; the same content stands in `content` as text.
        "tools/call" if result.get("structuredContent").is_some_and(|raw| !raw.starts_with('{')) => {
            changed |= result.remove("structuredContent");
        }
        _ => {}
    }
    let tools = if method == "tools/list" { result.get("tools").and_then(legacy_tools) } else { None };
    if let Some(tools) = tools {
        result.set("tools", tools);
        changed = true;
    }
    Outcome::Complete(if changed { result.write() } else { raw.to_owned() })
}

/// The list of tools without output schemas that are not about objects; none when there are no such.
fn legacy_tools(raw: &str) -> Option<String> {
    let tools: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    let mut changed = false;
    let mut legacy = |tool: &RawValue| {
        let Ok(mut object) = Object::parse(tool.get()) else { return tool.get().to_owned() };
        let schema = object.get("outputSchema");
        let about_objects =
            |raw| Object::parse(raw).is_ok_and(|s| s.text("type").as_deref() == Some("object"));
        if schema.is_none_or(about_objects) {
            return tool.get().to_owned();
        }
        object.remove("outputSchema");
        changed = true;
        object.write()
    };
    let tools: Vec<String> = tools.into_iter().map(&mut legacy).collect();
    changed.then(|| format!("[{}]", tools.join(",")))
}

fn questions(result: &Object<'_>) -> Outcome {
    let read = || {
        let Some(requests) = result.object("inputRequests") else { return Some(Vec::new()) };
        let question = |(key, raw): (&str, &str)| {
            let request = Object::parse(raw).ok()?;
            let params = request.get("params").unwrap_or("{}").to_owned();
            Some((key.to_owned(), request.text("method")?, params))
        };
        requests.iter().map(question).collect::<Option<Vec<_>>>()
    };
    let state = result.text("requestState");
    match read() {
        Some(questions) if !questions.is_empty() || state.is_some() => Outcome::Input { questions, state },
        _ => Outcome::Unknown("the hosted server asks for input, and its questions are malformed".to_owned()),
    }
}

/// The parameters of a question as the legacy era has them.
pub(super) fn to_legacy_question(method: &str, params: &mut Object<'_>, id: u64) {
    if method == "elicitation/create" && params.text("mode").as_deref() == Some("url") {
        params.set("elicitationId", format!("\"gaoler-{id}\""));
    }
}

/// The stream that a notification names, canonical only as far as this side's own ids go.
pub(super) fn subscription(message: &Object<'_>) -> Option<String> {
    message.object("params")?.object("_meta")?.get(SUBSCRIPTION_ID).map(str::to_owned)
}

/// A notification without the name of its stream.
pub(super) fn untagged(mut message: Object<'_>) -> String {
    let params = message.object("params").map(|mut params| {
        let meta = params.object("_meta").map(|mut meta| {
            meta.remove(SUBSCRIPTION_ID);
            (!meta.is_empty()).then(|| meta.write())
        });
        match meta {
            Some(Some(rest)) => params.set("_meta", rest),
            Some(None) => {
                params.remove("_meta");
            }
            None => {}
        }
        (!params.is_empty()).then(|| params.write())
    });
    match params {
        Some(Some(rest)) => message.set("params", rest),
        Some(None) => {
            message.remove("params");
        }
        None => {}
    }
    message.write()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(method: &str, raw: &str) -> String {
        match outcome(method, raw) {
            Outcome::Complete(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_result_loses_what_only_the_modern_era_knows() {
        assert_eq!(
            complete("tools/call", r#"{"resultType":"complete","content":[],"v":1.0}"#),
            r#"{"content":[],"v":1.0}"#
        );
        assert_eq!(
            complete(
                "tools/list",
                r#"{"tools":[],"ttlMs":0,"cacheScope":"private","resultType":"complete"}"#
            ),
            r#"{"tools":[]}"#
        );
        assert_eq!(complete("tools/call", r#"{"content":[],"structuredContent":[1]}"#), r#"{"content":[]}"#);
        let same = r#"{ "content": [], "structuredContent": {} , "ttlMs": 3 }"#;
        assert_eq!(complete("tools/call", same), same);
    }

    #[test]
    fn an_output_schema_that_is_not_about_objects_is_left_out() {
        let raw = r#"{"tools":[{"name":"a","outputSchema":{"type":"array"},"x":1},{"name":"b","outputSchema":{"type":"object"}}]}"#;
        assert_eq!(
            complete("tools/list", raw),
            r#"{"tools":[{"name":"a","x":1},{"name":"b","outputSchema":{"type":"object"}}]}"#
        );
    }

    #[test]
    fn other_results_are_named() {
        assert!(matches!(outcome("tools/call", r#"{"resultType":"task"}"#), Outcome::Unknown(_)));
        assert!(matches!(outcome("tools/call", r#"{"resultType":1}"#), Outcome::Unknown(_)));
        assert!(matches!(outcome("tools/call", r#"{"resultType":"input_required"}"#), Outcome::Unknown(_)));
        assert!(matches!(
            outcome("tools/call", r#"{"resultType":"input_required","inputRequests":{"a":1}}"#),
            Outcome::Unknown(_)
        ));
        assert_eq!(
            outcome(
                "tools/call",
                r#"{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}}}"#
            ),
            Outcome::Input {
                questions: vec![("a".to_owned(), "roots/list".to_owned(), "{}".to_owned())],
                state: None
            }
        );
    }

    #[test]
    fn a_session_repeats_what_was_said_once() {
        let text = r#"{"protocolVersion":"1999-01-01","capabilities":{"roots":{"listChanged":true},"tasks":{}},"clientInfo":{"name":"c","version":"1"}}"#;
        let mut session = Session::read(&Object::parse(text).unwrap()).unwrap();
        session.level = Level::read("info");
        let mut params = Object::parse(r#"{"name":"x","_meta":{"progressToken":"t"}}"#).unwrap();
        session.add_meta(&mut params);
        assert_eq!(session.version, LEGACY);
        assert_eq!(
            params.write(),
            r#"{"name":"x","_meta":{"progressToken":"t","io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{"listChanged":true}},"io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/logLevel":"info"}}"#
        );
    }

    #[test]
    fn initialize_is_made_from_discover() {
        let text = r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}},"instructions":"do","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},"resultType":"complete","ttlMs":0,"cacheScope":"public"}"#;
        assert_eq!(
            initialize_result(text, "2025-06-18").unwrap().0,
            r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"},"instructions":"do"}"#
        );
        assert!(initialize_result(r#"{"supportedVersions":["2025-11-25"],"capabilities":{}}"#, "x").is_err());
    }

    #[test]
    fn a_notification_loses_the_name_of_its_stream() {
        let untag = |text| untagged(Object::parse(text).unwrap());
        assert_eq!(
            untag(r#"{"method":"m","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":1}}}"#),
            r#"{"method":"m"}"#
        );
        assert_eq!(
            untag(
                r#"{"method":"m","params":{"uri":"u","_meta":{"a":1,"io.modelcontextprotocol/subscriptionId":1}}}"#
            ),
            r#"{"method":"m","params":{"uri":"u","_meta":{"a":1}}}"#
        );
    }
}
