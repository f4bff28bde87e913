//! Subscription streams, and what ends everything.

use super::*;
use crate::mcp::translate::transcript::{error, lines, notification, request, result};

fn listen(filter: &str) -> String {
    request("\"l\"", "subscriptions/listen", &format!(r#"{{"notifications":{filter},{}}}"#, meta("{}", "")))
}

#[test]
fn a_stream_is_acknowledged_with_what_the_child_can_do() {
    let mut adapter = ready();
    let filter = r#"{"toolsListChanged":true,"promptsListChanged":true,"resourceSubscriptions":["u","v"]}"#;
    let sent = adapter.c(1, &listen(filter));
    assert_eq!(
        sent,
        [
            format!("> {}", request("2", "resources/subscribe", r#"{"uri":"u"}"#)),
            format!("> {}", request("3", "resources/subscribe", r#"{"uri":"v"}"#))
        ]
    );
    assert_eq!(adapter.s(&result("2", "{}")), [""; 0]);
    let acknowledged = adapter.s(&error("3", -32602, "no such"));
    let params = r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":"l"},"notifications":{"toolsListChanged":true,"resourceSubscriptions":["u"]}}"#;
    assert_eq!(
        acknowledged,
        [format!("<1 {}", notification("notifications/subscriptions/acknowledged", params))]
    );
}

#[test]
fn a_stream_gets_only_what_it_asked_for_under_its_name() {
    let mut adapter = ready();
    adapter.c(1, &listen(r#"{"toolsListChanged":true,"resourceSubscriptions":["u"]}"#));
    adapter.s(&result("2", "{}"));
    let tag = r#""_meta":{"io.modelcontextprotocol/subscriptionId":"l"}"#;
    assert_eq!(
        adapter.s(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#),
        [format!("<1 {}", notification("notifications/tools/list_changed", &format!("{{{tag}}}")))]
    );
    assert_eq!(
        adapter.s(&notification("notifications/resources/updated", r#"{"uri":"u"}"#)),
        [format!(
            "<1 {}",
            notification("notifications/resources/updated", &format!(r#"{{"uri":"u",{tag}}}"#))
        )]
    );
    for other in ["notifications/prompts/list_changed", "notifications/resources/list_changed"] {
        assert_eq!(adapter.s(&notification(other, "{}")), [""; 0]);
    }
    assert_eq!(adapter.s(&notification("notifications/resources/updated", r#"{"uri":"v"}"#)), [""; 0]);
}

#[test]
fn the_last_stream_that_leaves_ends_the_subscription() {
    let mut adapter = ready();
    adapter.c(1, &listen(r#"{"resourceSubscriptions":["u"]}"#));
    adapter.s(&result("2", "{}"));
    assert_eq!(
        adapter.c(2, &listen(r#"{"resourceSubscriptions":["u"]}"#)).len(),
        1,
        "shared, acknowledged at once"
    );
    assert_eq!(lines(adapter.on_closed(CallId(1))), [""; 0]);
    let told = lines(adapter.on_closed(CallId(2)));
    assert_eq!(told, [format!("> {}", request("3", "resources/unsubscribe", r#"{"uri":"u"}"#))]);
    assert!(adapter.resources.is_empty() && adapter.own.is_empty());
}

#[test]
fn a_subscription_that_is_not_confirmed_in_time_is_left_out() {
    let mut adapter = ready_with(Limits { server_ms: 10, ..Limits::default() });
    adapter.c(1, &listen(r#"{"resourceSubscriptions":["u"]}"#));
    assert_eq!(adapter.next_time(), Some(10));
    let told = lines(adapter.on_time(10));
    assert!(
        told[0].contains("resources/unsubscribe") && told[1].contains(r#""notifications":{}"#),
        "{told:?}"
    );
}

#[test]
fn streams_are_bounded_and_end_in_good_order() {
    let mut adapter = ready_with(Limits { listens: 1, resources: 1, ..Limits::default() });
    assert_eq!(code_of(&adapter.c(1, &listen(r#"{"resourceSubscriptions":["u","v"]}"#))), INTERNAL);
    adapter.c(2, &listen("{}"));
    assert_eq!(code_of(&adapter.c(3, &listen("{}"))), INTERNAL);
    let end = r#"{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":"l"}}"#;
    assert_eq!(lines(adapter.end_listens()), to_client(2, &result("\"l\"", end)));
}

#[test]
fn notifications_without_a_counterpart_are_dropped() {
    let mut adapter = ready();
    adapter.call(1, "1");
    for method in ["notifications/elicitation/complete", "notifications/tasks/status"] {
        assert_eq!(adapter.s(&notification(method, "{}")), [""; 0]);
    }
    for method in ["notifications/cancelled", "notifications/initialized", "notifications/roots/list_changed"]
    {
        assert_eq!(adapter.c(9, &notification(method, "{}")), [""; 0]);
    }
}

#[test]
fn other_notifications_pass_byte_for_byte() {
    let mut adapter = ready();
    adapter.call(1, "1");
    let odd = r#"{ "method" : "vendor/x", "params":{"a":1.0, "a":2} ,"jsonrpc":"2.0"}"#;
    assert_eq!(adapter.s(odd), [format!("<1 {odd}")]);
    assert_eq!(adapter.c(2, odd), [format!("> {odd}")]);
}

#[test]
fn a_dead_child_fails_every_open_call() {
    let mut adapter = ready();
    adapter.call(1, "1");
    adapter.c(2, &listen("{}"));
    assert_eq!(
        lines(adapter.fail_all("it died")),
        [
            format!("<1. {}", error("1", INTERNAL, "it died")),
            format!("<2. {}", error("\"l\"", INTERNAL, "it died"))
        ]
    );
}

#[test]
fn calls_are_bounded() {
    let mut adapter = ready_with(Limits { calls: 1, ..Limits::default() });
    adapter.call(1, "1");
    assert_eq!(code_of(&adapter.c(2, &request("2", "tools/list", "{}"))), INTERNAL);
}
