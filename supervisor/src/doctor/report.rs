//! The doctor's findings, and how they are shown: aligned text, or JSON as docs/doctor.md describes it.

use serde::Serialize;

/// The version of the JSON layout; changed only when a reader of the old one would fail.
const SCHEMA: u32 = 1;

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// as Gaoler wants it
    Ok,
    /// hosting works; the jail has a layer less, or a feature cannot be used
    Weaker,
    /// hosting is impossible
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// stable, for scripts
    pub name: &'static str,
    /// how it stands
    pub state: State,
    /// what was seen
    pub found: String,
    /// what Gaoler needs it for
    pub needed_for: &'static str,
    /// the command, or the one thing to do, that mends it; nothing when it is well
    pub fix: Option<String>,
}

/// All findings about one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// in a fixed order
    pub findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    version: &'static str,
    hosting: &'static str,
    findings: &'a [Finding],
}

impl Report {
    /// Whether nothing that every jail needs is missing.
    #[must_use]
    pub fn hosting_possible(&self) -> bool {
        self.findings.iter().all(|finding| finding.state != State::Missing)
    }

    /// One line for each finding, the verdict last.
    #[must_use]
    pub fn to_text(&self) -> String {
        let width = self.findings.iter().map(|f| f.name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for finding in &self.findings {
            let state = match finding.state {
                State::Ok => "ok",
                State::Weaker => "weaker",
                State::Missing => "missing",
            };
            text.push_str(&format!("{state:<8} {:<width$}  {}", finding.name, finding.found));
            if let Some(fix) = &finding.fix {
                text.push_str(&format!("; needed for {}; fix: {fix}", finding.needed_for));
            }
            text.push('\n');
        }
        text.push_str(&self.verdict());
        text.push('\n');
        text
    }

    /// One JSON object on one line.
    ///
    /// # Errors
    /// Never for these types; the encoder's signature has one.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let hosting = if self.hosting_possible() { "possible" } else { "impossible" };
        let version = env!("CARGO_PKG_VERSION");
        serde_json::to_string(&Document { schema: SCHEMA, version, hosting, findings: &self.findings })
    }

    fn verdict(&self) -> String {
        let count = |state| self.findings.iter().filter(|f| f.state == state).count();
        match (count(State::Missing), count(State::Weaker)) {
            (0, 0) => "verdict: hosting is possible, with every layer".into(),
            (0, weaker) => {
                format!("verdict: hosting is possible, weaker in {weaker} of {}", self.findings.len())
            }
            (missing, _) => {
                format!("verdict: hosting is impossible, {missing} of {} missing", self.findings.len())
            }
        }
    }
}
