//! What client and server declare, in both eras' spelling.
//!
//! Promises: an absent or malformed declaration is read as "not declared".

use super::LEGACY;
use super::envelope::Message;
use super::object::Object;

/// What a client can be asked for. Everything else that it may declare has no meaning in the other era.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capabilities {
    /// `roots`
    pub roots: bool,
    /// `sampling`
    pub sampling: bool,
    /// `sampling.tools`
    pub sampling_tools: bool,
    /// `sampling.context`
    pub sampling_context: bool,
    /// `elicitation`, `elicitation.form`
    pub form: bool,
    /// `elicitation.url`
    pub url: bool,
}

impl Capabilities {
    /// Everything that can be translated.
    pub const ALL: Self = Self {
        roots: true,
        sampling: true,
        sampling_tools: true,
        sampling_context: true,
        form: true,
        url: true,
    };

    /// Reads a raw `capabilities` object of either era.
    pub(super) fn read(raw: &str) -> Self {
        let Ok(object) = Object::parse(raw) else { return Self::default() };
        let sampling = object.object("sampling");
        let elicitation = object.object("elicitation");
        let within =
            |outer: &Option<Object<'_>>, name| outer.as_ref().is_some_and(|o| o.object(name).is_some());
        let url = within(&elicitation, "url");
        Self {
            roots: object.object("roots").is_some(),
            sampling: sampling.is_some(),
            sampling_tools: within(&sampling, "tools"),
            sampling_context: within(&sampling, "context"),
            // An empty declaration means forms: it is older than the distinction.
            form: elicitation.is_some() && (within(&elicitation, "form") || !url),
            url,
        }
    }

    /// The declaration as JSON, valid in both eras.
    pub(super) fn write(self) -> String {
        let mut parts = Vec::new();
        if self.roots {
            parts.push(r#""roots":{}"#.to_owned());
        }
        if self.sampling {
            let inner = [(self.sampling_tools, r#""tools":{}"#), (self.sampling_context, r#""context":{}"#)];
            parts.push(format!(r#""sampling":{{{}}}"#, chosen(&inner)));
        }
        if self.form || self.url {
            let inner = [(self.form, r#""form":{}"#), (self.url, r#""url":{}"#)];
            parts.push(format!(r#""elicitation":{{{}}}"#, chosen(&inner)));
        }
        format!("{{{}}}", parts.join(","))
    }

    /// Whether the client may be asked for this.
    pub(super) fn has(self, need: Need) -> bool {
        match need {
            Need::Roots => self.roots,
            Need::Sampling => self.sampling,
            Need::SamplingTools => self.sampling && self.sampling_tools,
            Need::Form => self.form,
            Need::Url => self.url,
        }
    }
}

fn chosen(parts: &[(bool, &str)]) -> String {
    parts.iter().filter(|(wanted, _)| *wanted).map(|(_, text)| *text).collect::<Vec<_>>().join(",")
}

/// What a question to the client needs of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// `roots/list`
    Roots,
    /// `sampling/createMessage`
    Sampling,
    /// `sampling/createMessage` with tools
    SamplingTools,
    /// `elicitation/create` with a form
    Form,
    /// `elicitation/create` with a URL
    Url,
}

impl Need {
    /// What this question needs; none when a client cannot be asked it.
    pub(super) fn of(method: &str, params: &Object<'_>) -> Option<Self> {
        match method {
            "roots/list" => Some(Self::Roots),
            "sampling/createMessage"
                if params.get("tools").is_some() || params.get("toolChoice").is_some() =>
            {
                Some(Self::SamplingTools)
            }
            "sampling/createMessage" => Some(Self::Sampling),
            "elicitation/create" if params.text("mode").as_deref() == Some("url") => Some(Self::Url),
            "elicitation/create" => Some(Self::Form),
            _ => None,
        }
    }

    /// The capability's name for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Roots => "roots",
            Self::Sampling => "sampling",
            Self::SamplingTools => "sampling.tools",
            Self::Form => "elicitation.form",
            Self::Url => "elicitation.url",
        }
    }

    /// The `data` of error -32021.
    pub(super) fn data(self) -> String {
        let inner = match self {
            Self::Roots => r#""roots":{}"#,
            Self::Sampling => r#""sampling":{}"#,
            Self::SamplingTools => r#""sampling":{"tools":{}}"#,
            Self::Form => r#""elicitation":{"form":{}}"#,
            Self::Url => r#""elicitation":{"url":{}}"#,
        };
        format!(r#"{{"requiredCapabilities":{{{inner}}}}}"#)
    }
}

/// How a modern client presents itself in one request: what a legacy child has to be told once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Introduction {
    /// what it declares
    pub capabilities: Capabilities,
    /// its raw `clientInfo`, if it gives one
    pub client_info: Option<String>,
}

impl Introduction {
    /// Reads the `_meta` of a request of revision 2026-07-28; what is missing or malformed reads as not declared.
    #[must_use]
    pub fn of(frame: &[u8]) -> Self {
        let read = || {
            let message = Message::parse(frame).ok()?;
            let params = message.params_object().ok()?;
            let meta = params.object("_meta")?;
            Some(Self {
                capabilities: meta.get(CLIENT_CAPABILITIES).map(Capabilities::read).unwrap_or_default(),
                client_info: meta.object(CLIENT_INFO).map(|info| info.write()),
            })
        };
        read().unwrap_or_default()
    }

    /// The parameters of `initialize` for a legacy child.
    pub(super) fn initialize(&self) -> String {
        let own = || format!(r#"{{"name":"gaoler","version":"{}"}}"#, env!("CARGO_PKG_VERSION"));
        let info = self.client_info.clone().unwrap_or_else(own);
        let capabilities = self.capabilities.write();
        format!(r#"{{"protocolVersion":"{LEGACY}","capabilities":{capabilities},"clientInfo":{info}}}"#)
    }
}

/// Where a modern request declares the client's capabilities.
pub(super) const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// Where a modern request names the client.
pub(super) const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// Where a modern request names its revision.
pub(super) const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// Where a modern request asks for log messages.
pub(super) const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// Where a modern message names its subscription stream.
pub(super) const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
/// Where a modern result names the server.
pub(super) const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// The modern era's tasks, which have no counterpart.
pub(super) const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// What of a server's declaration decides how it is treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Features {
    /// `tools.listChanged`
    pub(super) tools_changed: bool,
    /// `prompts.listChanged`
    pub(super) prompts_changed: bool,
    /// `resources.listChanged`
    pub(super) resources_changed: bool,
    /// `resources.subscribe`
    pub(super) subscribe: bool,
    /// `logging`
    pub(super) logging: bool,
}

impl Features {
    /// Reads a server's `capabilities`.
    pub(super) fn read(capabilities: &Object<'_>) -> Self {
        let flag = |group, name| capabilities.object(group).is_some_and(|o| o.is_true(name));
        Self {
            tools_changed: flag("tools", "listChanged"),
            prompts_changed: flag("prompts", "listChanged"),
            resources_changed: flag("resources", "listChanged"),
            subscribe: flag("resources", "subscribe"),
            logging: capabilities.object("logging").is_some(),
        }
    }
}

/// The severities of log messages from the least to the most severe (RFC 5424, as the protocol spells them).
const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// A severity; a greater one is more severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Level(usize);

impl Level {
    /// Reads a level's name.
    pub(super) fn read(name: &str) -> Option<Self> {
        LEVELS.iter().position(|level| *level == name).map(Self)
    }

    /// The level's name.
    pub(super) fn name(self) -> &'static str {
        LEVELS[self.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_survives_the_way_through_both_eras() {
        for bits in 0..64u8 {
            let bit = |n: u8| bits & (1 << n) != 0;
            let sampling = bit(1);
            let wanted = Capabilities {
                roots: bit(0),
                sampling,
                sampling_tools: sampling && bit(2),
                sampling_context: sampling && bit(3),
                form: bit(4),
                url: bit(5),
            };
            assert_eq!(Capabilities::read(&wanted.write()), wanted, "{}", wanted.write());
        }
    }

    #[test]
    fn an_empty_elicitation_means_forms() {
        let read = Capabilities::read(r#"{"elicitation":{}}"#);
        assert!(read.form && !read.url);
        assert!(!Capabilities::read(r#"{"elicitation":{"url":{}}}"#).form);
        assert_eq!(Capabilities::read("[]"), Capabilities::default());
    }

    #[test]
    fn a_question_names_what_it_needs() {
        let need = |method, params| Need::of(method, &Object::parse(params).unwrap());
        assert_eq!(need("elicitation/create", r#"{"mode":"url"}"#), Some(Need::Url));
        assert_eq!(need("elicitation/create", "{}"), Some(Need::Form));
        assert_eq!(need("sampling/createMessage", r#"{"tools":[]}"#), Some(Need::SamplingTools));
        assert_eq!(need("sampling/createMessage", "{}"), Some(Need::Sampling));
        assert_eq!(need("roots/list", "{}"), Some(Need::Roots));
        assert_eq!(need("tasks/get", "{}"), None);
    }

    #[test]
    fn levels_are_ordered() {
        assert!(Level::read("debug") < Level::read("warning"));
        assert_eq!(Level::read("loud"), None);
    }

    #[test]
    fn an_introduction_reads_the_meta_of_a_request() {
        let frame = br#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{
            "io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},
            "io.modelcontextprotocol/clientCapabilities":{"roots":{}}}}}"#;
        let introduction = Introduction::of(frame);
        assert!(introduction.capabilities.roots);
        assert_eq!(
            introduction.initialize(),
            r#"{"protocolVersion":"2025-11-25","capabilities":{"roots":{}},"clientInfo":{"name":"c","version":"1"}}"#
        );
        assert_eq!(Introduction::of(b"junk"), Introduction::default());
    }
}
