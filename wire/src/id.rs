//! Names and numbers that cross the boundary: checked when they are made, trusted ever after.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest namespace or name, in bytes: both appear in URLs, cgroup names and log fields.
const PART_MAX: usize = 63;

/// A hosted server's `namespace/name`, the pair that stands in its URL.
///
/// Each part is 1–63 bytes of `a-z 0-9 . _ -` and starts with a letter or digit, so that it is the same text
/// in a URL path, a file name and a metric label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerName {
    text: String,
    slash: usize,
}

/// Why a text is not a server name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is not exactly one slash.
    #[error("server name {0:?} is not NAMESPACE/NAME")]
    Shape(String),
    /// A part is empty, too long or has a character that a name may not have.
    #[error(
        "{part:?} in server name {name:?} is not 1-{PART_MAX} characters of a-z, 0-9, '.', '_' or '-' starting with a letter or digit"
    )]
    Part {
        /// the whole text
        name: String,
        /// the part that is wrong
        part: String,
    },
}

impl ServerName {
    /// `local/` and `base` in lower case, with `-` for what a name may not have and cut to its length;
    /// `local/server` when nothing is left of it. Always a valid name.
    #[must_use]
    pub fn local(base: &str) -> Self {
        let lower = base.chars().map(|c| c.to_ascii_lowercase());
        let clean: String =
            lower.map(|c| if c.is_ascii() && is_name_byte(c as u8) { c } else { '-' }).collect();
        let clean = clean.trim_start_matches(['.', '_', '-']);
        let clean = if clean.is_empty() { "server" } else { &clean[..clean.len().min(PART_MAX)] };
        Self { text: format!("local/{clean}"), slash: "local".len() }
    }

    /// The part before the slash.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.text[..self.slash]
    }

    /// The part after the slash.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.text[self.slash + 1..]
    }

    /// The whole, as in the URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Whether `part` may be a namespace or a name.
fn is_name_part(part: &str) -> bool {
    part.len() <= PART_MAX
        && part.as_bytes().first().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && part.bytes().all(is_name_byte)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
}

impl FromStr for ServerName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let shape = || NameError::Shape(text.chars().take(2 * PART_MAX).collect());
        let (namespace, name) = text.split_once('/').ok_or_else(shape)?;
        if name.contains('/') {
            return Err(shape());
        }
        for part in [namespace, name] {
            if !is_name_part(part) {
                let clip = |s: &str| s.chars().take(PART_MAX + 1).collect();
                return Err(NameError::Part { name: clip(text), part: clip(part) });
            }
        }
        Ok(Self { text: text.to_owned(), slash: namespace.len() })
    }
}

impl TryFrom<String> for ServerName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ServerName> for String {
    fn from(name: ServerName) -> Self {
        name.text
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One running jail of a hosted server; never reused while the supervisor lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstanceId(pub u64);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A front's own number for a question, repeated in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ticket(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_name_keeps_its_parts() {
        let name: ServerName = "local/server-everything".parse().unwrap();
        assert_eq!((name.namespace(), name.name()), ("local", "server-everything"));
    }

    #[test]
    fn a_local_name_is_made_from_any_text() {
        for (base, name) in [
            ("node", "local/node"),
            ("Server_Everything", "local/server_everything"),
            ("my server", "local/my-server"),
            ("-x", "local/x"),
            ("", "local/server"),
            ("é", "local/server"),
        ] {
            assert_eq!(ServerName::local(base).as_str(), name);
            assert_eq!(name.parse(), Ok(ServerName::local(base)));
        }
        assert_eq!(ServerName::local(&"x".repeat(500)).name().len(), PART_MAX);
    }

    #[test]
    fn bad_names_are_refused() {
        for bad in
            ["", "a", "/", "a/", "/b", "a/b/c", "A/b", "a/B", ".a/b", "a/-b", "a/b c", "a/é", "a/..", "a/\n"]
        {
            assert!(bad.parse::<ServerName>().is_err(), "{bad:?}");
        }
        assert!(format!("a/{}", "x".repeat(PART_MAX + 1)).parse::<ServerName>().is_err());
    }

    #[test]
    fn a_name_that_arrives_is_checked_too() {
        let bytes = postcard::to_allocvec("A/../../etc").unwrap();
        assert!(postcard::from_bytes::<ServerName>(&bytes).is_err());
    }
}
