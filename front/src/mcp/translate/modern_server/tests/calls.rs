//! `initialize`, calls, notifications.

use super::*;
use crate::mcp::translate::transcript::{error, lines, notification, request, result};

#[test]
fn initialize_is_answered_from_discover() {
    let mut adapter = Adapter::new(Limits::default());
    assert_eq!(lines(adapter.start(0)), [""; 0]);
    assert_eq!(adapter.c(1, &request("9", "ping", "{}")), [format!("<1. {}", result("9", "{}"))]);
    assert_eq!(code_of(&adapter.c(2, &request("9", "tools/list", "{}"))), INVALID_REQUEST);
    let sent = adapter.c(3, &initialize(ALL));
    assert_eq!(
        sent,
        [format!("> {}", request("1", "server/discover", &format!(r#"{{"_meta":{{{META}}}}}"#)))]
    );
    let answer = format!(
        r#"{{"protocolVersion":"2025-11-25","capabilities":{SERVER},"serverInfo":{{"name":"unnamed","version":"0"}}}}"#
    );
    assert_eq!(adapter.s(&result("1", &discover(SERVER))), [format!("<3. {}", result("0", &answer))]);
    assert_eq!(code_of(&adapter.c(4, &initialize(ALL))), INVALID_REQUEST);
}

#[test]
fn a_child_that_cannot_be_used_says_why() {
    for answer in
        [error("1", -32601, "no"), result("1", r#"{"supportedVersions":["2025-11-25"],"capabilities":{}}"#)]
    {
        let mut adapter = Adapter::new(Limits::default());
        adapter.c(1, &initialize("{}"));
        let told = adapter.s(&answer);
        assert_eq!(code_of(&told), INTERNAL);
        assert!(told[1].starts_with("! "), "{told:?}");
    }
    let mut adapter = Adapter::new(Limits { server_ms: 5, ..Limits::default() });
    adapter.c(1, &initialize("{}"));
    assert_eq!(adapter.next_time(), Some(5));
    assert!(lines(adapter.on_time(5))[1].starts_with("! "));
    assert_eq!(code_of(&adapter.c(2, &request("1", "tools/list", "{}"))), INTERNAL);
}

#[test]
fn a_malformed_initialize_is_refused_and_another_one_may_follow() {
    let mut adapter = Adapter::new(Limits::default());
    assert_eq!(code_of(&adapter.c(1, &request("1", "initialize", "{}"))), INVALID_PARAMS);
    adapter.c(2, &initialize("{}"));
    adapter.on_closed(CallId(2));
    assert!(adapter.c(3, &initialize("{}"))[0].starts_with("> "));
}

#[test]
fn every_request_says_what_was_said_once() {
    let mut adapter = ready();
    let sent = adapter.c(1, r#"{"jsonrpc":"2.0","vendor":1,"id":"a","method":"tools/list"}"#);
    assert_eq!(
        sent,
        [format!(
            r#"> {{"jsonrpc":"2.0","vendor":1,"id":2,"method":"tools/list","params":{{"_meta":{{{META}}}}}}}"#
        )]
    );
    let told =
        adapter.s(&result("2", r#"{"resultType":"complete","tools":[],"ttlMs":0,"cacheScope":"public"}"#));
    assert_eq!(told, [format!("<1. {}", result("\"a\"", r#"{"tools":[]}"#))]);
}

#[test]
fn every_kind_of_result_loses_its_type() {
    let mut adapter = ready();
    let methods = [
        "tools/call",
        "prompts/list",
        "prompts/get",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "completion/complete",
        "vendor/thing",
    ];
    for (n, method) in (2u64..).zip(methods) {
        adapter.c(n, &request("7", method, "{}"));
        let told = adapter.s(&result(&n.to_string(), r#"{"resultType":"complete","x":1.0}"#));
        assert_eq!(told, [format!("<{n}. {}", result("7", r#"{"x":1.0}"#))], "{method}");
    }
    assert!(adapter.calls.is_empty() && adapter.working.is_empty() && adapter.held == 0);
}

#[test]
fn errors_pass() {
    let mut adapter = ready();
    adapter.call(1, "7");
    assert_eq!(adapter.s(&error("2", -32021, "x")), [format!("<1. {}", error("7", -32021, "x"))]);
}

#[test]
fn a_result_of_another_type_is_an_error() {
    let mut adapter = ready();
    adapter.call(1, "7");
    assert_eq!(code_of(&adapter.s(&result("2", r#"{"resultType":"task","taskId":"x"}"#))), INTERNAL);
}

#[test]
fn methods_of_the_other_era_and_tasks_are_refused() {
    let mut adapter = ready();
    for (n, method) in (1u64..).zip(["server/discover", "subscriptions/listen", "tasks/list", "tasks/get"]) {
        assert_eq!(code_of(&adapter.c(n, &request("1", method, "{}"))), METHOD_NOT_FOUND, "{method}");
    }
    let task = request("1", "tools/call", r#"{"name":"t","task":{"ttl":1}}"#);
    assert_eq!(code_of(&adapter.c(9, &task)), INVALID_PARAMS);
}

#[test]
fn what_the_child_has_not_announced_is_refused() {
    let mut adapter = Adapter::new(Limits::default());
    adapter.c(1, &initialize(ALL));
    adapter.s(&result("1", &discover("{}")));
    assert_eq!(
        code_of(&adapter.c(2, &request("1", "logging/setLevel", r#"{"level":"info"}"#))),
        METHOD_NOT_FOUND
    );
    assert_eq!(
        code_of(&adapter.c(3, &request("1", "resources/subscribe", r#"{"uri":"u"}"#))),
        METHOD_NOT_FOUND
    );
    assert_eq!(adapter.c(4, &notification("notifications/initialized", "{}")), [""; 0]);
}

#[test]
fn the_log_level_goes_with_every_later_request() {
    let mut adapter = ready();
    let level = |name| request("1", "logging/setLevel", &format!(r#"{{"level":"{name}"}}"#));
    assert_eq!(adapter.c(1, &level("warning")), [format!("<1. {}", result("1", "{}"))]);
    assert_eq!(code_of(&adapter.c(2, &level("loud"))), INVALID_PARAMS);
    assert!(adapter.call(3, "1")[0].contains(r#""io.modelcontextprotocol/logLevel":"warning""#));
    let log = |level| notification("notifications/message", &format!(r#"{{"level":"{level}","data":1.0}}"#));
    assert_eq!(adapter.s(&log("error")), [format!("<3 {}", log("error"))]);
    assert_eq!(adapter.s(&log("info")), [""; 0]);
    adapter.s(&result("2", "{}"));
    assert_eq!(adapter.s(&log("error")), [format!("<- {}", log("error"))]);
}

#[test]
fn progress_goes_to_its_own_call_byte_for_byte() {
    let mut adapter = ready();
    let sent =
        adapter.c(1, &request("1", "tools/call", r#"{"name":"t","_meta":{"progressToken":"p","x":1}}"#));
    assert!(sent[0].contains(r#""_meta":{"progressToken":"p","x":1,"#), "{sent:?}");
    let progress = r#"{"jsonrpc":"2.0", "method":"notifications/progress","params":{"progressToken":"\u0070","progress":1.0}}"#;
    assert_eq!(adapter.s(progress), [format!("<1 {progress}")]);
    adapter.s(&result("2", "{}"));
    assert_eq!(adapter.s(progress), [""; 0]);
}

#[test]
fn a_cancelled_call_is_cancelled_at_the_child_and_closed() {
    let mut adapter = ready();
    adapter.call(1, "\"a\"");
    let told = adapter.c(2, &notification("notifications/cancelled", r#"{"requestId":"a"}"#));
    assert!(
        told[0].starts_with("> ") && told[0].contains(r#"notifications/cancelled","params":{"requestId":2"#)
    );
    assert_eq!(told[1], "x1");
    assert_eq!(adapter.s(&result("2", "{}")), [""; 0]);
    adapter.call(3, "1");
    assert!(lines(adapter.on_closed(CallId(3)))[0].contains(r#""requestId":3"#));
}
