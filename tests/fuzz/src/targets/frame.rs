//! One JSON-RPC message from a client or a hosted server.
//!
//! Asserts: the envelope agrees with a full parser; a rewritten frame is one line and equal apart from the rewritten
//! members; ids that are told apart are different, and each accepted one can be remembered.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::frame::{Envelope, Key, Kind, batch, string};
use crate::mcp::view::View;
use crate::splice::Edits;

/// What the identifiers are rewritten to; no input of a seed holds them.
const ID: &str = "90071992547";
const TOKEN: &str = "\"its own token\"";

pub(super) fn run(data: &[u8]) {
    if let Some(parts) = batch(data) {
        // A full parser stops at a depth and at halves of characters; this one does not.
        if let Ok(full) = serde_json::from_slice::<Vec<Value>>(data) {
            let read = |part: &&RawValue| serde_json::from_str(part.get()).ok();
            assert_eq!(parts.iter().map(read).collect::<Option<Vec<Value>>>(), Some(full));
        }
        for part in parts.iter().take(8) {
            message(part.get().as_bytes());
        }
    }
    message(data);
}

fn message(data: &[u8]) {
    let Ok(envelope) = Envelope::parse(data) else { return };
    let full = serde_json::from_slice::<Value>(data).ok();
    if let Some(full) = &full {
        agrees(&envelope, full);
    }
    if let Some(id) = envelope.id.filter(|id| *id != "null") {
        assert!(Key::of(id).is_some(), "the id {id} is accepted and cannot be remembered");
        own(id);
    }
    let Ok(view) = View::of(data) else { return };
    rewritten(data, &view, full);
}

fn agrees(envelope: &Envelope<'_>, full: &Value) {
    let has = |name: &str| full.get(name).is_some();
    let kind = match (has("method"), has("id"), has("result"), has("error")) {
        (true, true, false, false) => Kind::Request,
        (true, false, false, false) => Kind::Notification,
        (false, true, true, false) => Kind::Result,
        (false, _, false, true) => Kind::Error,
        shape => panic!("accepted with the shape {shape:?}"),
    };
    assert_eq!(envelope.kind, kind);
    assert_eq!(full.get("method").map_or(Some(""), Value::as_str), Some(envelope.method.as_ref()));
    let raws = [
        ("id", envelope.id),
        ("params", envelope.params),
        ("result", envelope.result),
        ("error", envelope.error),
    ];
    for (name, raw) in raws {
        assert_eq!(raw.and_then(|raw| serde_json::from_str(raw).ok()).as_ref(), full.get(name), "{name}");
    }
    if let Some(code) = full.pointer("/error/code").and_then(Value::as_i64)
        && envelope.kind == Kind::Error
    {
        // Zero is what an error with its code twice reads as.
        assert!([code, 0].contains(&envelope.error_code()));
    }
}

/// A number of this side's own is recognised by its value alone.
fn own(id: &str) {
    let Some(number) = Key::own(id) else { return };
    let value: Value = serde_json::from_str(id).unwrap_or_default();
    let as_text = value.as_str().and_then(|text| text.parse().ok());
    let as_number = value.as_u64().or_else(|| value.as_f64().filter(|f| f.fract() == 0.0).map(|f| f as u64));
    assert_eq!(as_text.or(as_number), Some(number), "{id}");
    assert_eq!(string(id).is_some(), value.is_string());
}

fn rewritten(data: &[u8], view: &View<'_>, full: Option<Value>) {
    let mut edits = Edits::default();
    let (id, token) = (view.envelope.id, view.token());
    let cancelled = view.cancels().map(|(raw, _)| raw);
    let progress = view.look.params.progress_token.map(RawValue::get).filter(|_| cancelled.is_none());
    for (raw, with) in [(id, ID), (token, TOKEN), (cancelled, ID), (progress, TOKEN)] {
        if let Some(raw) = raw {
            edits.replace(data, raw, with);
        }
    }
    let out = edits.apply(data);
    assert!(!out.iter().any(|byte| matches!(byte, b'\n' | b'\r')), "a frame in two lines");
    let grown = |raw: Option<&str>, with: &str| raw.map_or(0, |raw| with.len() as isize - raw.len() as isize);
    let change = grown(id, ID) + grown(token, TOKEN) + grown(cancelled, ID) + grown(progress, TOKEN);
    assert_eq!(out.len() as isize, data.len() as isize + change);
    let Some(mut full) = full else { return };
    let places = [
        ("/id", id, ID),
        ("/params/_meta/progressToken", token, TOKEN),
        ("/params/requestId", cancelled, ID),
        ("/params/progressToken", progress, TOKEN),
    ];
    for (place, raw, with) in places {
        if raw.is_some() {
            let Some(member) = full.pointer_mut(place) else { panic!("{place} is found and not there") };
            *member = serde_json::from_str(with).unwrap_or_default();
        }
    }
    assert_eq!(serde_json::from_slice::<Value>(&out).ok(), Some(full));
}
