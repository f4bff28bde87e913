//! When two JSON texts say the same: members in any order, strings by what they spell, numbers by their digits.
//!
//! Promises: `1` and `1.0` differ, as do `1e2` and `100`; white space and the order of members do not matter.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A JSON value whose numbers keep their spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// null, true, false or a number, as spelled
    Plain(String),
    /// a string, unescaped
    Text(String),
    /// an array
    List(Vec<Tree>),
    /// an object
    Object(BTreeMap<String, Tree>),
}

impl Tree {
    /// Reads a JSON text.
    ///
    /// # Panics
    /// When it is not JSON: shows it.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let text = text.trim();
        let parsed = match text.as_bytes().first() {
            Some(b'{') => serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(text).map(|members| {
                Self::Object(members.into_iter().map(|(k, v)| (k, Self::read(v.get()))).collect())
            }),
            Some(b'[') => serde_json::from_str::<Vec<Box<RawValue>>>(text)
                .map(|items| Self::List(items.iter().map(|item| Self::read(item.get())).collect())),
            Some(b'"') => serde_json::from_str(text).map(Self::Text),
            _ => serde_json::from_str::<Box<RawValue>>(text).map(|plain| Self::Plain(plain.get().to_owned())),
        };
        parsed.unwrap_or_else(|e| panic!("not JSON ({e}): {}", text.chars().take(300).collect::<String>()))
    }

    /// The member of an object.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.get(key),
            _ => None,
        }
    }

    /// The string, when it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Puts a value at a path of members that are all there; does nothing when one is missing.
    pub fn replace(&mut self, path: &[&str], value: &Self) {
        let Self::Object(members) = self else { return };
        match path {
            [] => {}
            [last] => {
                if let Some(member) = members.get_mut(*last) {
                    *member = value.clone();
                }
            }
            [first, rest @ ..] => {
                if let Some(member) = members.get_mut(*first) {
                    member.replace(rest, value);
                }
            }
        }
    }
}

#[test]
fn numbers_are_compared_as_spelled_and_the_rest_by_meaning() {
    assert_ne!(Tree::read("1"), Tree::read("1.0"));
    assert_ne!(Tree::read(r#"{"a":18446744073709551617}"#), Tree::read(r#"{"a":18446744073709551616}"#));
    assert_eq!(Tree::read(r#"{"a":"\u00e9", "b":[1, 2]}"#), Tree::read("{\"b\":[1,2],\n\"a\":\"é\"}"));
    assert_ne!(Tree::read("[1,2]"), Tree::read("[2,1]"));
}

#[test]
fn replacing_reaches_into_members_that_exist() {
    let mut tree = Tree::read(r#"{"id":7,"params":{"_meta":{"progressToken":3}}}"#);
    tree.replace(&["params", "_meta", "progressToken"], &Tree::read("9"));
    tree.replace(&["params", "absent"], &Tree::read("1"));
    assert_eq!(tree, Tree::read(r#"{"id":7,"params":{"_meta":{"progressToken":9}}}"#));
}
