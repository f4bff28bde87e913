//! The headers of one HTTP request, its body, and the tool list that says which headers mirror an argument.
//!
//! Asserts: a `Host` or `Origin` that passes names this machine or what was allowed, by another reading; headers that
//! pass for the mirror of a body say what the body says.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use serde_json::Value;

use crate::mcp::headers::{self, PROTOCOL_VERSION, SESSION_ID};
use crate::mcp::origin::Access;
use crate::mcp::tools::{Annotation, Tools};
use crate::mcp::view::View;

const ALLOWED_HOSTS: [&str; 2] = ["mcp.example", "b.example:9"];
const ALLOWED_ORIGIN: &str = "https://app.example";

/// Headers, an empty line, the body, an empty line, the result of `tools/list`.
pub(super) fn run(data: &[u8]) {
    let (head, rest) = super::halves(data);
    let (body, list) = super::halves(rest);
    let headers = parse(head);
    access(&headers);
    accepted(&headers);
    assert!(headers.contains_key("content-type") || !headers::is_json(&headers));
    for name in [SESSION_ID, PROTOCOL_VERSION] {
        if let Ok(Some(value)) = headers::text(&headers, name) {
            assert_eq!(only(&headers, name), Some(value));
        }
    }
    let mut tools = Tools::default();
    tools.learn(&String::from_utf8_lossy(list));
    let Ok(view) = View::of(body) else { return };
    if headers::mirror(&headers, &view, &tools).is_ok()
        && let Ok(full) = serde_json::from_slice::<Value>(body)
    {
        mirrored(&headers, &full, &tools);
    }
}

fn accepted(headers: &HeaderMap) {
    let values: Vec<String> = headers
        .get_all("accept")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .map(str::to_ascii_lowercase)
        .collect();
    let named = |subtype: &str| values.iter().any(|value| value.contains(subtype) || value.contains("/*"));
    let accepted = headers::accepted(headers);
    assert!(named("/json") || !accepted.json);
    assert!(named("/event-stream") || !accepted.events);
    assert!(accepted.events || !accepted.prefers_events);
}

fn parse(head: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let value = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(value)
}

fn access(headers: &HeaderMap) {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    for allowed in [false, true] {
        let (hosts, origins) =
            if allowed { (&ALLOWED_HOSTS[..], &[ALLOWED_ORIGIN][..]) } else { (&[][..], &[][..]) };
        let Ok(origin) = Access::new(&owned(hosts), &owned(origins)).check(headers) else { continue };
        let Some(host) = only(headers, HOST.as_str()) else { panic!("a request without one Host passes") };
        let host = host.to_ascii_lowercase();
        let named = hosts.iter().any(|name| *name == host || host.split(':').next() == Some(name));
        assert!(named || is_here(&host), "the host {host:?} passes");
        assert_eq!(origin.is_some(), headers.contains_key(ORIGIN));
        if let Some(origin) = origin {
            assert_eq!(only(headers, ORIGIN.as_str()), Some(origin));
            let origin = origin.to_ascii_lowercase();
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            assert!(
                origins.contains(&origin.as_str()) || authority.is_some_and(is_here),
                "the origin {origin:?} passes"
            );
        }
    }
}

/// Whether this authority is this machine by the URL grammar's reading.
fn is_here(authority: &str) -> bool {
    let Ok(uri) = authority.parse::<hyper::http::uri::Authority>() else { return false };
    let host = uri.host();
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let local = host == "localhost" || host.ends_with(".localhost");
    !authority.contains('@') && (local || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
}

fn mirrored(headers: &HeaderMap, full: &Value, tools: &Tools) {
    let method = full["method"].as_str().unwrap_or_default();
    assert_eq!(only(headers, "mcp-method"), Some(method));
    let name = match method {
        "tools/call" | "prompts/get" => &full["params"]["name"],
        "resources/read" => &full["params"]["uri"],
        _ => &Value::Null,
    };
    if let Some(name) = name.as_str() {
        assert_eq!(only(headers, "mcp-name").and_then(decoded).as_deref(), Some(name));
    }
    if method != "tools/call" {
        return;
    }
    for Annotation { path, header } in tools.annotations(name.as_str().unwrap_or_default()) {
        let argument = path.iter().fold(&full["params"]["arguments"], |value, key| &value[key.as_str()]);
        let value = only(headers, &format!("mcp-param-{}", header.to_ascii_lowercase())).and_then(decoded);
        match (argument, value) {
            (Value::String(text), value) => assert_eq!(value.as_ref(), Some(text)),
            (Value::Bool(known), value) => assert_eq!(value, Some(known.to_string())),
            (Value::Number(number), Some(value)) => same_number(&number.to_string(), &value),
            (Value::Number(number), None) => panic!("no header says {number}"),
            (Value::Null | Value::Array(_) | Value::Object(_), value) => assert_eq!(value, None),
        }
    }
}

/// Whole numbers are compared in full: a double would take neighbours beyond 2^53 for one.
fn same_number(number: &str, value: &str) {
    match (number.parse::<i128>(), value.parse::<i128>()) {
        (Ok(number), Ok(value)) => assert_eq!(number, value),
        _ => assert_eq!(number.parse::<f64>().ok(), value.parse::<f64>().ok(), "{number} and {value}"),
    }
}

/// Undoes `=?base64?…?=` bit by bit.
fn decoded(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Some(value.to_owned());
    };
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = Vec::new();
    for byte in inner.trim_end_matches('=').bytes() {
        let sextet = letters.iter().position(|letter| *letter == byte)?;
        bits.extend((0..6).rev().map(|bit| sextet >> bit & 1));
    }
    let octets =
        bits.chunks_exact(8).map(|octet| octet.iter().fold(0u8, |byte, bit| byte << 1 | u8::from(*bit == 1)));
    String::from_utf8(octets.collect()).ok()
}
