//! Names that cross a boundary as text, and a stranger's text in the log.
//!
//! Asserts: a name that parses is written as it was read, an event's name comes back equal, and a name can be made of any
//! text; nothing of a stranger's text controls a terminal.

use gaoler_wire::id::ServerName;

use crate::outlet::EventId;

pub(super) fn run(data: &[u8]) {
    let quoted = crate::log::quote(data);
    assert!(!quoted.chars().any(char::is_control) && quoted.chars().count() <= 401);
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(name) = text.parse::<ServerName>() {
        assert_eq!(name.to_string(), text);
        assert_eq!(format!("{}/{}", name.namespace(), name.name()), text);
        let safe = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/".contains(&b);
        assert!(
            text.bytes().all(safe) && text.len() <= 127 && !text.starts_with('.') && !text.contains("/.")
        );
    }
    let local = ServerName::local(text);
    assert_eq!(local.as_str().parse(), Ok(local));
    if let Ok(event) = text.parse::<EventId>() {
        assert_eq!(event.to_string().parse(), Ok(event));
    }
}
