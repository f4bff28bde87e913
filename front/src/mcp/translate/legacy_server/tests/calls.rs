//! Handshake, calls, notifications.

use super::*;
use crate::mcp::translate::transcript::{error, lines, notification, request, result};

#[test]
fn the_handshake_is_done_for_the_client() {
    let mut adapter = new(Limits::default());
    let started = lines(adapter.start(0));
    assert!(
        started[0].contains(r#""method":"initialize","params":{"protocolVersion":"2025-11-25""#),
        "{started:?}"
    );
    assert_eq!(adapter.c(1, &request("7", "server/discover", &format!("{{{}}}", meta("{}", "")))), [""; 0]);
    let answer = format!(
        r#"{{"protocolVersion":"2025-06-18","capabilities":{CAPABILITIES},"serverInfo":{{"name":"s"}}}}"#
    );
    let lines = adapter.s(&result("1", &answer));
    assert_eq!(lines[0], format!("> {}", notification("notifications/initialized", "{}")));
    assert!(lines[1].starts_with(r#"<1. {"jsonrpc":"2.0","id":7,"result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools""#));
    assert!(!lines[1].contains("tasks"));
}

#[test]
fn a_refused_handshake_fails_what_waits() {
    let mut adapter = new(Limits::default());
    adapter.start(0);
    adapter.c(1, &request("7", "tools/list", "{}"));
    let lines = adapter.s(&error("1", -32000, "no"));
    assert_eq!(code_of(&lines), INTERNAL);
    assert!(lines[1].starts_with("! the hosted server cannot be used"));
    assert_eq!(code_of(&adapter.c(2, &request("8", "tools/list", "{}"))), INTERNAL);
}

#[test]
fn a_handshake_without_answer_ends() {
    let mut adapter = new(Limits { server_ms: 50, ..Limits::default() });
    adapter.start(10);
    adapter.c(1, &request("7", "tools/list", "{}"));
    assert_eq!(adapter.next_time(), Some(60));
    let lines = lines(adapter.on_time(60));
    assert!(lines[1].contains("did not answer initialize in time"), "{lines:?}");
    assert_eq!(adapter.next_time(), None);
}

#[test]
fn a_list_gets_cache_hints() {
    let mut adapter = ready();
    for (n, method) in (2u64..).zip([
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
    ]) {
        let sent =
            adapter.c(n, &request("\"a\"", method, &format!(r#"{{"cursor":"c",{}}}"#, meta("{}", ""))));
        assert_eq!(sent, [format!("> {}", request(&n.to_string(), method, r#"{"cursor":"c"}"#))]);
        assert_eq!(
            adapter.s(&result(&n.to_string(), r#"{"x":[1.0]}"#)),
            to_client(
                n,
                &result("\"a\"", r#"{"x":[1.0],"resultType":"complete","ttlMs":0,"cacheScope":"private"}"#)
            )
        );
    }
}

#[test]
fn other_results_are_complete() {
    let mut adapter = ready();
    for (n, method) in (2u64..).zip(["tools/call", "prompts/get", "completion/complete", "vendor/thing"]) {
        adapter.c(n, &request("1", method, &format!("{{{}}}", meta("{}", ""))));
        assert_eq!(
            adapter.s(&result(&n.to_string(), "{}")),
            to_client(n, &result("1", r#"{"resultType":"complete"}"#))
        );
    }
}

#[test]
fn members_outside_the_protocol_pass() {
    let mut adapter = ready();
    let frame = format!(
        r#"{{"jsonrpc":"2.0","vendor":1,"id":1,"method":"m","params":{{{},"x":1.0}}}}"#,
        meta("{}", "")
    );
    assert_eq!(
        adapter.c(1, &frame),
        [r#"> {"jsonrpc":"2.0","vendor":1,"id":2,"method":"m","params":{"x":1.0}}"#]
    );
    assert_eq!(
        adapter.s(r#"{"jsonrpc":"2.0","id":2,"result":{"resultType":"x"},"vendor":2}"#),
        [r#"<1. {"jsonrpc":"2.0","id":1,"result":{"resultType":"x"},"vendor":2}"#]
    );
}

#[test]
fn removed_methods_and_tasks_are_refused() {
    let mut adapter = ready();
    let methods = [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "tasks/get",
    ];
    for (n, method) in (1u64..).zip(methods) {
        let lines = adapter.c(n, &request("1", method, &format!("{{{}}}", meta("{}", ""))));
        assert_eq!(code_of(&lines), METHOD_NOT_FOUND, "{method}");
    }
    let task = request("1", "tools/call", &tool("t", "{}", r#","task":{}"#));
    assert_eq!(code_of(&adapter.c(9, &task)), envelope::INVALID_PARAMS);
}

#[test]
fn a_request_without_the_modern_meta_is_refused() {
    let mut adapter = ready();
    assert_eq!(code_of(&adapter.c(1, &request("1", "tools/list", "{}"))), envelope::INVALID_PARAMS);
    assert_eq!(code_of(&adapter.c(2, "[]")), INVALID_REQUEST);
    let old =
        request("1", "tools/list", r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2025-11-25"}}"#);
    let lines = adapter.c(3, &old);
    assert_eq!(code_of(&lines), envelope::UNSUPPORTED_VERSION);
    assert!(lines[0].contains(r#""data":{"supported":["2026-07-28"],"requested":"2025-11-25"}"#));
}

#[test]
fn progress_goes_to_its_own_call() {
    let mut adapter = ready();
    let ask = |token| format!(r#"{{"name":"t",{}}}"#, meta("{}", &format!(r#","progressToken":{token}"#)));
    let sent = adapter.c(1, &request("1", "tools/call", &ask("\"x\"")));
    assert_eq!(
        sent,
        [format!("> {}", request("2", "tools/call", r#"{"name":"t","_meta":{"progressToken":2}}"#))]
    );
    adapter.c(2, &request("1", "tools/call", &ask("\"x\"")));
    let told = adapter.s(&notification("notifications/progress", r#"{"progressToken":3,"progress":1.0}"#));
    assert_eq!(
        told,
        [format!("<2 {}", notification("notifications/progress", r#"{"progressToken":"x","progress":1.0}"#))]
    );
    assert_eq!(adapter.s(&notification("notifications/progress", r#"{"progressToken":9}"#)), [""; 0]);
}

#[test]
fn log_messages_are_filtered_by_the_level_of_the_call() {
    let mut adapter = ready();
    let ask = |level| {
        let level = format!(r#","io.modelcontextprotocol/logLevel":"{level}""#);
        request("1", "tools/call", &format!("{{{}}}", meta("{}", &level)))
    };
    let sent = adapter.c(1, &ask("warning"));
    assert!(sent[0].contains(r#""method":"logging/setLevel","params":{"level":"warning"}"#), "{sent:?}");
    let log = |level| notification("notifications/message", &format!(r#"{{"level":"{level}","data":1}}"#));
    assert_eq!(adapter.s(&log("error")), [format!("<1 {}", log("error"))]);
    assert_eq!(adapter.s(&log("info")), [""; 0]);
    assert_eq!(adapter.c(2, &ask("error")).len(), 1, "the child tells enough already");
    assert!(adapter.c(3, &ask("debug"))[0].contains("setLevel"));
    adapter.call(4, "9");
    assert_eq!(adapter.s(&log("info")), [format!("<3 {}", log("info"))], "the youngest that wants it");
}

#[test]
fn a_closed_stream_cancels() {
    let mut adapter = ready();
    adapter.call(1, "1");
    let told = lines(adapter.on_closed(CallId(1)));
    assert_eq!(
        told,
        [format!(
            "> {}",
            notification(
                "notifications/cancelled",
                r#"{"requestId":2,"reason":"the client closed its stream"}"#
            )
        )]
    );
    assert_eq!(adapter.s(&result("2", "{}")), [""; 0]);
    assert_eq!(lines(adapter.on_closed(CallId(1))), [""; 0]);
}

#[test]
fn error_codes_of_the_legacy_era_are_replaced() {
    let mut adapter = ready();
    adapter.call(1, "1");
    assert_eq!(adapter.s(&error("2", -32002, "gone")), to_client(1, &error("1", -32602, "gone")));
    adapter.call(2, "1");
    assert_eq!(adapter.s(&error("3", -32001, "as it is")), to_client(2, &error("1", -32001, "as it is")));
}

#[test]
fn the_childs_ping_is_answered() {
    assert_eq!(ready().s(&request("\"p\"", "ping", "{}")), [format!("> {}", result("\"p\"", "{}"))]);
}
