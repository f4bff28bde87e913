//! One JSON object as an ordered list of members whose values stay raw text.
//!
//! Promises: values that are not replaced are written byte for byte as they came (numbers keep their digits, strings
//! their escapes); hostile text is an error, never a panic; the list is bounded by [`MEMBERS_MAX`].

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The most members of one object that is taken apart; each costs some 50 bytes while it is.
pub(super) const MEMBERS_MAX: usize = 65_536;

/// An object's members in their order. A name that occurs twice is kept twice until it is written to.
#[derive(Debug, Default)]
pub(super) struct Object<'a> {
    members: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Object<'a> {
    /// Takes a text apart.
    ///
    /// # Errors
    /// When it is not one JSON object, or has more than [`MEMBERS_MAX`] members.
    pub(super) fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The raw value of a member; of the last one when the name occurs twice, as most readers have it.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.members.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_ref())
    }

    /// The value of a member that is a JSON string, decoded.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?).ok()
    }

    /// The member as an object, if it is one.
    pub(super) fn object(&self, name: &str) -> Option<Object<'_>> {
        Object::parse(self.get(name)?).ok()
    }

    /// Whether the member is there and `true`.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// Whether the name occurs more than once: two readers could then see two different values.
    pub(super) fn is_ambiguous(&self, name: &str) -> bool {
        self.members.iter().filter(|(n, _)| n == name).nth(1).is_some()
    }

    /// Takes every member of this name out; says whether there was one.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let before = self.members.len();
        self.members.retain(|(n, _)| n != name);
        before != self.members.len()
    }

    /// Puts a raw value at the place of the member, or at the end when there is none.
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<Cow<'a, str>>) {
        let Some(at) = self.members.iter().position(|(n, _)| n == name) else {
            self.members.push((Cow::Borrowed(name), value.into()));
            return;
        };
        self.members[at].1 = value.into();
        let mut index = 0;
        self.members.retain(|(n, _)| {
            index += 1;
            index - 1 <= at || n != name
        });
    }

    /// Puts a raw value at the end under a name that is not known beforehand.
    pub(super) fn push(&mut self, name: String, value: String) {
        self.members.push((Cow::Owned(name), Cow::Owned(value)));
    }

    /// Whether there is no member.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Names and raw values, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// The object as JSON text.
    pub(super) fn write(&self) -> String {
        let size: usize = self.members.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let mut text = String::with_capacity(size + 2);
        text.push('{');
        for (index, (name, value)) in self.members.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(&quote(name));
            text.push(':');
            text.push_str(value);
        }
        text.push('}');
        text
    }
}

/// A text as a JSON string with its quotation marks.
pub(super) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A name in a member, borrowed where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    if members.len() == MEMBERS_MAX {
                        return Err(A::Error::custom("an object has too many members"));
                    }
                    members.push((name, Cow::Borrowed(value.get())));
                }
                Ok(Object { members })
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_keep_their_bytes() {
        let text = r#"{"a": 1.0, "b\u0041":"\u00e9", "n":123456789012345678901234567890, "o":{"x" : [ ]}}"#;
        let object = Object::parse(text).unwrap();
        assert_eq!(
            object.write(),
            r#"{"a":1.0,"bA":"\u00e9","n":123456789012345678901234567890,"o":{"x" : [ ]}}"#
        );
    }

    #[test]
    fn writing_to_a_name_leaves_one_of_it() {
        let mut object = Object::parse(r#"{"id":1,"m":2,"id":3}"#).unwrap();
        assert!(object.is_ambiguous("id"));
        assert_eq!(object.get("id"), Some("3"));
        object.set("id", "7");
        assert_eq!(object.write(), r#"{"id":7,"m":2}"#);
        assert!(object.remove("m") && !object.remove("m"));
        assert_eq!(object.write(), r#"{"id":7}"#);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in ["", "1", "[]", "null", "{", "{}x", "{\"a\"}", "{\"a\":\"\n\"}", "{1:2}"] {
            assert!(Object::parse(bad).is_err(), "{bad:?}");
        }
        let many = format!("{{{}\"a\":1}}", "\"a\":1,".repeat(MEMBERS_MAX));
        assert!(Object::parse(&many).is_err());
    }

    #[test]
    fn deep_nesting_inside_a_value_is_not_entered() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Object::parse(&deep).unwrap().write(), deep);
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics(text in ".{0,200}") {
            if let Ok(object) = Object::parse(&text) {
                prop_assert!(Object::parse(&object.write()).is_ok());
            }
        }

        #[test]
        fn what_is_written_is_equal(map in proptest::collection::btree_map(".{0,8}", any::<f64>(), 0..8)) {
            let text = serde_json::to_string(&map).unwrap();
            let again = Object::parse(&text).unwrap().write();
            prop_assert_eq!(
                serde_json::from_str::<serde_json::Value>(&again).unwrap(),
                serde_json::from_str::<serde_json::Value>(&text).unwrap()
            );
        }
    }
}
