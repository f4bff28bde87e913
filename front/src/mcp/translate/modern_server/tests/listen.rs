//! Subscription streams, and what ends everything.

use super::*;
use crate::mcp::translate::transcript::{error, lines, notification, request, result};

#[test]
fn list_changes_come_through_a_stream() {
    let mut adapter = ready();
    let opened = adapter.c(1, &notification("notifications/initialized", "{}"));
    let params = format!(r#"{{"_meta":{{{META}}},"notifications":{{"toolsListChanged":true}}}}"#);
    assert_eq!(opened, [format!("> {}", request("2", "subscriptions/listen", &params))]);
    assert_eq!(adapter.c(2, &notification("notifications/initialized", "{}")), [""; 0]);
    let tag = r#""_meta":{"io.modelcontextprotocol/subscriptionId":2}"#;
    let ack = format!(r#"{{{tag},"notifications":{{"toolsListChanged":true}}}}"#);
    assert_eq!(adapter.s(&notification("notifications/subscriptions/acknowledged", &ack)), [""; 0]);
    let changed = adapter.s(&notification("notifications/tools/list_changed", &format!("{{{tag}}}")));
    assert_eq!(changed, [r#"<- {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#]);
    let other = notification("notifications/tools/list_changed", &format!("{{{}}}", tag.replace('2', "5")));
    assert_eq!(adapter.s(&other), [""; 0]);
    adapter.s(&notification("notifications/cancelled", r#"{"requestId":2}"#));
    assert!(adapter.listens.is_empty());
}

fn subscribe(id: &str) -> String {
    request(id, "resources/subscribe", r#"{"uri":"u"}"#)
}

fn acknowledge(id: &str, uris: &str) -> String {
    let params = format!(
        r#"{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}},"notifications":{{"resourceSubscriptions":{uris}}}}}"#
    );
    notification("notifications/subscriptions/acknowledged", &params)
}

#[test]
fn a_resource_is_watched_through_a_stream_of_its_own() {
    let mut adapter = ready();
    let opened = adapter.c(1, &subscribe("7"));
    assert!(opened[0].contains(r#""notifications":{"resourceSubscriptions":["u"]}"#), "{opened:?}");
    assert_eq!(adapter.c(2, &subscribe("8")), [""; 0]);
    assert_eq!(
        adapter.s(&acknowledge("2", r#"["u"]"#)),
        [format!("<1. {}", result("7", "{}")), format!("<2. {}", result("8", "{}"))]
    );
    assert_eq!(adapter.c(3, &subscribe("9")), [format!("<3. {}", result("9", "{}"))]);
    let update = r#"{"uri":"u","_meta":{"io.modelcontextprotocol/subscriptionId":2}}"#;
    assert_eq!(
        adapter.s(&notification("notifications/resources/updated", update)),
        [format!("<- {}", notification("notifications/resources/updated", r#"{"uri":"u"}"#))]
    );
    let ended = adapter.c(4, &request("1", "resources/unsubscribe", r#"{"uri":"u"}"#));
    assert!(ended[0].contains(r#"notifications/cancelled","params":{"requestId":2"#));
    assert_eq!(ended[1], format!("<4. {}", result("1", "{}")));
}

#[test]
fn a_subscription_that_the_child_does_not_confirm_fails() {
    let mut adapter = ready_with(Limits { server_ms: 10, ..Limits::default() }, ALL);
    adapter.c(1, &subscribe("7"));
    let told = adapter.s(&acknowledge("2", "[]"));
    assert_eq!(told.len(), 2, "{told:?}");
    adapter.c(2, &subscribe("7"));
    assert_eq!(code_of(&adapter.s(&error("3", -32601, "no"))), METHOD_NOT_FOUND);
    adapter.c(3, &subscribe("7"));
    assert_eq!(adapter.next_time(), Some(10));
    assert_eq!(lines(adapter.on_time(10)).len(), 2);
    adapter.c(4, &subscribe("7"));
    assert_eq!(lines(adapter.on_closed(CallId(4))).len(), 1, "the stream is ended");
    assert!(adapter.listens.is_empty());
}

#[test]
fn the_child_may_not_ask() {
    let mut adapter = ready();
    assert_eq!(code_of(&adapter.s(&request("1", "roots/list", "{}"))), INVALID_REQUEST);
    assert_eq!(adapter.s(&request("\"p\"", "ping", "{}")), [format!("> {}", result("\"p\"", "{}"))]);
}

#[test]
fn notifications_without_a_counterpart_are_dropped_and_others_pass() {
    let mut adapter = ready();
    for method in ["notifications/roots/list_changed", "notifications/progress", "notifications/tasks/status"]
    {
        assert_eq!(adapter.c(1, &notification(method, "{}")), [""; 0]);
    }
    assert_eq!(adapter.s(&notification("notifications/tasks", "{}")), [""; 0]);
    let odd = r#"{ "method":"vendor/x", "params":{"a":1.0,"a":2}}"#;
    assert_eq!(adapter.c(2, odd), [format!("> {odd}")]);
    assert_eq!(adapter.s(odd), [format!("<- {odd}")]);
}

#[test]
fn a_dead_child_fails_every_open_call() {
    let mut adapter = ready();
    adapter.call(1, "1");
    adapter.c(2, &subscribe("2"));
    assert_eq!(
        lines(adapter.fail_all("it died")),
        [
            format!("<1. {}", error("1", INTERNAL, "it died")),
            format!("<2. {}", error("2", INTERNAL, "it died"))
        ]
    );
}
