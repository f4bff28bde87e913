//! What the envelope accepts, refuses and never does.

use proptest::prelude::*;

use super::*;

fn kind(text: &str) -> Option<Kind> {
    Envelope::parse(text.as_bytes()).ok().map(|e| e.kind)
}

#[test]
fn the_members_decide_the_kind() {
    assert_eq!(kind(r#"{"id":1,"method":"a"}"#), Some(Kind::Request));
    assert_eq!(kind(r#" {"method":"a","params":null}"#), Some(Kind::Notification));
    assert_eq!(kind(r#"{"id":"x","result":null}"#), Some(Kind::Result));
    assert_eq!(kind(r#"{"id":null,"error":{}}"#), Some(Kind::Error));
    assert_eq!(kind(r#"{"error":{}}"#), Some(Kind::Error));
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    for bad in [
        r#"{"id":1}"#,
        r#"{"id":null,"method":"a"}"#,
        r#"{"id":[],"method":"a"}"#,
        r#"{"id":"\ud800","method":"a"}"#,
        r#"{"id":1,"id":2,"method":"a"}"#,
        r#"{"id":1,"\u0069d":2,"method":"a"}"#,
        r#"{"id":1,"method":"a","result":{}}"#,
        r#"{"id":1,"error":{},"result":{}}"#,
        r#"{"method":1}"#,
        r#"[1,"a",{},{},{}]"#,
        "",
        "7",
        "{\"method\":\"a\",\"x\":\"\u{1}\"}",
    ] {
        assert_eq!(kind(bad), None, "{bad}");
    }
    assert!(Envelope::parse(b"{\"method\":\"a\",\"x\":\"\xff\"}").is_err());
}

#[test]
fn an_escaped_method_is_decoded() {
    assert_eq!(Envelope::parse(br#"{"method":"\u0061"}"#).unwrap().method, "a");
}

#[test]
fn deep_nesting_is_passed_over() {
    let text = format!(r#"{{"method":"a","params":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    assert_eq!(kind(&text), Some(Kind::Notification));
}

#[test]
fn keys_compare_by_value() {
    assert_eq!(Key::of("1.0"), Key::of("1"));
    assert_eq!(Key::of(r#""\u0061""#), Key::of(r#""a""#));
    assert_ne!(Key::of("1"), Key::of(r#""1""#));
    assert_eq!(Key::own(r#""12""#), Some(12));
    assert_eq!(Key::own("-1"), None);
    assert_eq!(Key::of("true"), None);
    assert!(Key::of("18446744073709551615").is_some());
}

#[test]
fn metadata_is_found() {
    let look = Look::into(Some(r#"{"_meta":{"progressToken":"t"},"name":"n"}"#)).unwrap();
    assert_eq!(look.meta.progress_token.map(RawValue::get), Some(r#""t""#));
    assert_eq!(look.params.name.map(RawValue::get), Some(r#""n""#));
    assert!(Look::into(Some(r#"{"_meta":{"progressToken":1,"progressToken":2}}"#)).is_err());
    assert!(Look::into(Some("[1]")).unwrap().params.meta.is_none());
}

#[test]
fn the_error_code_is_read() {
    let frame = br#"{"id":1,"error":{"code":-32601,"message":"x"}}"#;
    assert_eq!(Envelope::parse(frame).unwrap().error_code(), -32601);
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Envelope::parse(&bytes);
        let _ = batch(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = (Look::into(Some(&text)).is_ok(), Key::of(&text), string(&text));
    }

    #[test]
    fn what_parses_is_what_a_full_parser_reads(
        id in prop_oneof![Just("1".to_owned()), "\"[a-z\\\\\"]{0,3}\""], method in ".{0,8}", tail in ".{0,8}") {
        let method = serde_json::to_string(&method).unwrap();
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method},"v":{}}}"#,
            serde_json::to_string(&tail).unwrap());
        let full: Result<serde_json::Value, _> = serde_json::from_str(&text);
        let light = Envelope::parse(text.as_bytes());
        prop_assert_eq!(full.is_ok(), light.is_ok());
        if let (Ok(full), Ok(light)) = (full, light) {
            prop_assert_eq!(full["method"].as_str().unwrap(), light.method.as_ref());
        }
    }
}
