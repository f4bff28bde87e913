//! The header rules of the streamable HTTP transport: what a client accepts and sends, and at revision 2026-07-28 whether
//! the headers that intermediaries route on say the same as the body.
//!
//! Promises: pure; a header that stands there twice or is no text never counts as equal to the body.

use std::borrow::Cow;

use hyper::HeaderMap;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use serde_json::value::RawValue;

use super::tools::Tools;
use super::view::View;
use crate::frame::string;

/// The legacy session id.
pub(crate) const SESSION_ID: &str = "mcp-session-id";
/// The revision.
pub(crate) const PROTOCOL_VERSION: &str = "mcp-protocol-version";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";
const PARAM_PREFIX: &str = "mcp-param-";

/// What a client takes as an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Accepted {
    /// application/json
    pub(crate) json: bool,
    /// text/event-stream
    pub(crate) events: bool,
    /// event streams weigh more than JSON, or as much and stand first
    pub(crate) prefers_events: bool,
}

/// Reads `Accept` (RFC 9110, section 12.5.1).
pub(crate) fn accepted(headers: &HeaderMap) -> Accepted {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut json, mut events) = (None, None);
    for (place, range) in values.flat_map(|value| value.split(',')).enumerate() {
        let mut parts = range.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default();
        let q =
            parts.find_map(|parameter| parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q=")));
        let weight = q.map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0));
        if weight <= 0.0 {
            continue;
        }
        let is = |media: &str| essence.eq_ignore_ascii_case(media);
        if is("application/json") || is("application/*") || is("*/*") {
            json.get_or_insert((weight, place));
        }
        if is("text/event-stream") || is("text/*") || is("*/*") {
            events.get_or_insert((weight, place));
        }
    }
    let prefers_events = match (json, events) {
        (Some((json, json_place)), Some((events, place))) => {
            events > json || (events == json && place < json_place)
        }
        (json, events) => json.is_none() && events.is_some(),
    };
    Accepted { json: json.is_some(), events: events.is_some(), prefers_events }
}

/// Whether the body is said to be JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// A header's only value as text.
///
/// # Errors
/// One sentence when it stands there twice or is no text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, String> {
    let mut all = headers.get_all(name).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(format!("the header {name} stands there twice"));
    }
    value.to_str().map(Some).map_err(|_| format!("the header {name} has characters that are not allowed"))
}

/// Compares `Mcp-Method`, `Mcp-Name` and `Mcp-Param-*` with the body of a request (SEP-2243).
///
/// # Errors
/// One sentence that names the header.
pub(crate) fn mirror(headers: &HeaderMap, view: &View<'_>, tools: &Tools) -> Result<(), String> {
    let method = view.envelope.method.as_ref();
    match text(headers, METHOD)? {
        None => return Err("the header Mcp-Method is missing".to_owned()),
        Some(value) if value != method => {
            return Err("the header Mcp-Method does not match the method in the body".to_owned());
        }
        Some(_) => {}
    }
    if let Some(expected) = name_in_body(view) {
        let value =
            text(headers, NAME)?.ok_or_else(|| format!("the header Mcp-Name is missing for {method}"))?;
        if decode(value).ok_or("the header Mcp-Name has broken base64")? != expected {
            return Err("the header Mcp-Name does not match the name in the body".to_owned());
        }
    }
    if method != "tools/call" {
        return Ok(());
    }
    let Some(name) = view.text(view.look.params.name) else { return Ok(()) };
    for annotation in tools.annotations(&name) {
        param(headers, &annotation.header, argument(view, &annotation.path))?;
    }
    Ok(())
}

/// One `Mcp-Param-*` header against the argument that it mirrors.
fn param(headers: &HeaderMap, header: &str, argument: Option<Argument>) -> Result<(), String> {
    let name = format!("{PARAM_PREFIX}{}", header.to_ascii_lowercase());
    match (text(headers, &name)?, argument) {
        (None, None) => Ok(()),
        (Some(_), None) => Err(format!("the header {name} mirrors an argument that is not in the body")),
        (None, Some(_)) => Err(format!("the header {name} is missing")),
        (Some(value), Some(expected)) => {
            let value = decode(value).ok_or_else(|| format!("the header {name} has broken base64"))?;
            if value == expected.text.as_str() || (expected.is_number && same_number(&value, &expected.text))
            {
                return Ok(());
            }
            Err(format!("the header {name} does not match the argument in the body"))
        }
    }
}

/// 1.0 and 1 are one number; a client and its JSON library may write it either way. Whole numbers are compared in full,
/// since a double takes neighbours beyond 2^53 for one.
fn same_number(a: &str, b: &str) -> bool {
    if let (Ok(a), Ok(b)) = (a.parse::<i128>(), b.parse::<i128>()) {
        return a == b;
    }
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.is_finite() && a.total_cmp(&b).is_eq(),
        _ => false,
    }
}

/// An argument as a header carries it.
struct Argument {
    text: String,
    /// a number may be written in several ways, a text or a truth in one
    is_number: bool,
}

/// What `Mcp-Name` has to say for this request, if anything.
fn name_in_body<'a>(view: &View<'a>) -> Option<Cow<'a, str>> {
    let params = &view.look.params;
    let member = match view.envelope.method.as_ref() {
        "tools/call" | "prompts/get" => params.name,
        "resources/read" => params.uri,
        "tasks/get" | "tasks/update" | "tasks/cancel" => params.task_id,
        _ => None,
    };
    string(member?.get())
}

/// The argument at a path; none when it is absent, null or no primitive.
fn argument(view: &View<'_>, path: &[String]) -> Option<Argument> {
    let mut raw: &RawValue = view.look.params.arguments?;
    let mut members: std::collections::HashMap<String, &RawValue>;
    for key in path {
        members = serde_json::from_str(raw.get()).ok()?;
        raw = members.get(key.as_str()).copied()?;
    }
    match raw.get().as_bytes().first()? {
        b'"' => string(raw.get()).map(|text| Argument { text: text.into_owned(), is_number: false }),
        b't' | b'f' => Some(Argument { text: raw.get().to_owned(), is_number: false }),
        b'-' | b'0'..=b'9' => Some(Argument { text: raw.get().to_owned(), is_number: true }),
        _ => None,
    }
}

/// Undoes `=?base64?…?=`; other values are as they are. None when the base64 or its UTF-8 is broken.
fn decode(value: &str) -> Option<Cow<'_, str>> {
    let Some(inner) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Some(Cow::Borrowed(value));
    };
    String::from_utf8(base64(inner)?).ok().map(Cow::Owned)
}

/// Standard base64 with padding (RFC 4648, section 4); none for anything else.
fn base64(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let chunks = text.len() / 4;
    for (index, chunk) in text.as_bytes().chunks(4).enumerate() {
        let padding = chunk.iter().rev().take_while(|b| **b == b'=').count();
        if padding > 2 || (padding > 0 && index + 1 != chunks) {
            return None;
        }
        let mut bits = 0u32;
        for byte in &chunk[..4 - padding] {
            bits = (bits << 6) | sextet(*byte)?;
        }
        bits <<= 6 * padding;
        let bytes = bits.to_be_bytes();
        // What the padding cuts off must be zero, so that each text has one spelling.
        if bytes[4 - padding..].iter().any(|byte| *byte != 0) {
            return None;
        }
        out.extend_from_slice(&bytes[1..4 - padding]);
    }
    Some(out)
}

fn sextet(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
