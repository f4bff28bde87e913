//! The header rules, row by row.

use hyper::header::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

fn map(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers
            .append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn check(pairs: &[(&str, &str)], body: &str) -> Result<(), String> {
    let mut tools = Tools::default();
    tools.learn(
        r#"{"tools":[{"name":"t","inputSchema":{"type":"object","properties":{
            "region":{"type":"string","x-mcp-header":"Region"},
            "deep":{"properties":{"n":{"type":"integer","x-mcp-header":"N"}}}}}}]}"#,
    );
    mirror(&map(pairs), &View::of(body.as_bytes()).unwrap(), &tools)
}

#[test]
fn accept_is_read_with_ranges_and_weights() {
    let read = |accept: &str| accepted(&map(&[("accept", accept)]));
    for yes in ["text/event-stream", "application/json, TEXT/Event-Stream;q=0.5", "*/*", "text/*"] {
        assert!(read(yes).events, "{yes}");
    }
    for no in ["application/json", "text/event-stream;q=0", "", "text/event-streams"] {
        assert!(!read(no).events, "{no}");
    }
    assert!(read("*/*").json && !read("text/*").json);
}

#[test]
fn the_client_says_what_it_prefers() {
    let prefers = |accept: &str| accepted(&map(&[("accept", accept)])).prefers_events;
    for events in ["text/event-stream, application/json", "application/json;q=0.5, text/event-stream"] {
        assert!(prefers(events), "{events}");
    }
    for json in ["application/json, text/event-stream", "*/*", "text/event-stream;q=0.1, application/json"] {
        assert!(!prefers(json), "{json}");
    }
}

#[test]
fn only_json_is_json() {
    assert!(is_json(&map(&[("content-type", "Application/JSON; charset=utf-8")])));
    assert!(!is_json(&map(&[("content-type", "text/plain")])) && !is_json(&map(&[])));
}

#[test]
fn method_and_name_must_match() {
    let body = r#"{"id":1,"method":"tools/call","params":{"name":"é"}}"#;
    assert_eq!(check(&[("mcp-method", "tools/call"), ("mcp-name", "=?base64?w6k=?=")], body), Ok(()));
    for bad in [
        vec![],
        vec![("mcp-method", "tools/list"), ("mcp-name", "=?base64?w6k=?=")],
        vec![("mcp-method", "tools/call")],
        vec![("mcp-method", "tools/call"), ("mcp-name", "x")],
        vec![("mcp-method", "tools/call"), ("mcp-name", "=?base64?w6k?=")],
        vec![("mcp-method", "tools/call"), ("mcp-method", "tools/call"), ("mcp-name", "=?base64?w6k=?=")],
    ] {
        assert!(check(&bad, body).is_err(), "{bad:?}");
    }
    assert_eq!(check(&[("mcp-method", "x/y")], r#"{"id":1,"method":"x/y"}"#), Ok(()));
}

#[test]
fn annotated_arguments_must_match() {
    let call = |arguments: &str, pairs: &[(&str, &str)]| {
        let mut all = vec![("mcp-method", "tools/call"), ("mcp-name", "t")];
        all.extend_from_slice(pairs);
        let body =
            format!(r#"{{"id":1,"method":"tools/call","params":{{"name":"t","arguments":{arguments}}}}}"#);
        check(&all, &body).is_ok()
    };
    assert!(call(r#"{"region":"eu"}"#, &[("Mcp-Param-Region", "eu")]));
    assert!(call(r#"{"region":null}"#, &[]));
    assert!(call(r#"{"deep":{"n":1.0}}"#, &[("mcp-param-n", "1")]));
    assert!(!call(r#"{"region":"1.0"}"#, &[("mcp-param-region", "1")]), "a text is not a number");
    assert!(!call(r#"{"deep":{"n":9007199254740992}}"#, &[("mcp-param-n", "9007199254740993")]));
    assert!(!call(r#"{"deep":{"n":1e999}}"#, &[("mcp-param-n", "inf")]));
    assert!(call("{}", &[("mcp-param-unknown", "x")]));
    assert!(!call(r#"{"region":"eu"}"#, &[]));
    assert!(!call(r#"{"region":"eu"}"#, &[("mcp-param-region", "us")]));
    assert!(!call("{}", &[("mcp-param-region", "us")]));
    assert!(!call(r#"{"region":"eu"}"#, &[("mcp-param-region", "eu"), ("mcp-param-region", "eu")]));
}

#[test]
fn base64_has_one_spelling() {
    assert_eq!(base64("aGVsbG8=").as_deref(), Some(&b"hello"[..]));
    assert_eq!(base64("").as_deref(), Some(&b""[..]));
    for bad in ["a", "ab", "====", "aGVsbG9=", "a===", "aG=s", "aGVs bG8=", "aGVsbG8=aGVs"] {
        assert_eq!(base64(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn hostile_values_never_panic(value in ".{0,40}", inner in "[A-Za-z0-9+/=]{0,20}") {
        let _ = (decode(&value), base64(&value), base64(&inner));
        let _ = decode(&format!("=?base64?{inner}?="));
    }
}
