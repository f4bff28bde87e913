//! Questions of the child.

use super::*;
use crate::mcp::translate::transcript::{error, lines, notification, request, result};

#[test]
fn a_question_becomes_a_result_and_the_repetition_its_answer() {
    for (method, params) in [
        ("sampling/createMessage", r#"{"maxTokens":1.0,"messages":[]}"#),
        ("elicitation/create", r#"{"message":"m","requestedSchema":{}}"#),
    ] {
        let mut adapter = ready();
        adapter.call(1, "\"a\"");
        let asked = adapter.s(&request("\"q\"", method, params));
        let question = format!(
            r#"{{"resultType":"input_required","inputRequests":{{"question-1-1":{{"method":"{method}","params":{params}}}}},"requestState":"{STATE}"}}"#
        );
        assert_eq!(asked, to_client(1, &result("\"a\"", &question)));
        let more =
            format!(r#","inputResponses":{{"question-1-1":{{"action":"accept"}}}},"requestState":"{STATE}""#);
        let told = adapter.c(2, &request("\"b\"", "tools/call", &tool("t", ALL, &more)));
        assert_eq!(told, [format!("> {}", result("\"q\"", r#"{"action":"accept"}"#))]);
        let done = adapter.s(&result("2", "{}"));
        assert_eq!(done, to_client(2, &result("\"b\"", r#"{"resultType":"complete"}"#)));
        assert_eq!(adapter.held, 0);
        let again = adapter.c(3, &request("\"b\"", "tools/call", &tool("t", ALL, &more)));
        assert_eq!(code_of(&again), envelope::INVALID_PARAMS, "a requestState is good once");
    }
}

#[test]
fn roots_are_asked_like_anything_else() {
    let mut adapter = ready();
    adapter.call(1, "1");
    let asked = adapter.s(r#"{"jsonrpc":"2.0","id":5,"method":"roots/list"}"#);
    assert!(asked[0].contains(r#""inputRequests":{"question-1-1":{"method":"roots/list"}}"#), "{asked:?}");
}

#[test]
fn a_repetition_has_to_be_of_the_same_request() {
    let mut adapter = ready();
    adapter.call(1, "1");
    adapter.s(&request("5", "roots/list", "{}"));
    let more = format!(r#","requestState":"{STATE}""#);
    let other = adapter.c(2, &request("1", "tools/call", &tool("u", ALL, &more)));
    assert_eq!(code_of(&other), envelope::INVALID_PARAMS);
    let bad = format!(r#","inputResponses":{{"question-1-1":5}},"requestState":"{STATE}""#);
    assert_eq!(
        code_of(&adapter.c(3, &request("1", "tools/call", &tool("t", ALL, &bad)))),
        envelope::INVALID_PARAMS
    );
    let empty = adapter.c(4, &request("1", "tools/call", &tool("t", ALL, &more)));
    assert!(empty[0].contains("input_required"), "what was not answered is asked again: {empty:?}");
}

#[test]
fn questions_that_come_meanwhile_are_asked_next() {
    let mut adapter = ready();
    adapter.call(1, "1");
    adapter.s(&request("5", "roots/list", "{}"));
    assert_eq!(adapter.s(&request("6", "sampling/createMessage", "{}")), [""; 0]);
    let more = format!(r#","inputResponses":{{"question-1-1":{{}}}},"requestState":"{STATE}""#);
    let told = adapter.c(2, &request("1", "tools/call", &tool("t", ALL, &more)));
    assert_eq!(told[0], format!("> {}", result("5", "{}")));
    assert!(told[1].contains(r#""question-2-1":{"method":"sampling/createMessage""#), "{told:?}");
}

#[test]
fn an_answer_that_comes_meanwhile_is_kept() {
    let mut adapter = ready();
    adapter.call(1, "1");
    adapter.s(&request("5", "roots/list", "{}"));
    assert_eq!(adapter.s(&result("2", r#"{"x":1}"#)), [""; 0]);
    let more = format!(r#","inputResponses":{{"question-1-1":{{}}}},"requestState":"{STATE}""#);
    let told = adapter.c(2, &request("9", "tools/call", &tool("t", ALL, &more)));
    assert_eq!(told[1], to_client(2, &result("9", r#"{"x":1,"resultType":"complete"}"#))[0]);
    assert_eq!(adapter.held, 0);
}

#[test]
fn a_question_that_nobody_declared_to_answer_is_refused() {
    let mut adapter = ready();
    assert!(adapter.s(&request("5", "roots/list", "{}"))[0].contains("-32600"), "no call is in flight");
    adapter.c(1, &request("1", "tools/call", &tool("t", r#"{"roots":{}}"#, "")));
    let told = adapter.s(&request("6", "sampling/createMessage", "{}"));
    assert_eq!(told, [format!("> {}", error("6", -32601, "the client has not declared sampling"))]);
    let failed = adapter.s(&error("2", -32603, "no model"));
    assert_eq!(code_of(&failed), envelope::MISSING_CAPABILITY);
    assert!(failed[0].contains(r#""data":{"requiredCapabilities":{"sampling":{}}}"#), "{failed:?}");
    assert!(adapter.s(&request("7", "tasks/get", "{}"))[0].contains("-32601"));
    adapter.call(2, "1");
    assert!(adapter.s(&request("8", "roots/list", r#"{"task":{}}"#))[0].contains("-32602"));
}

#[test]
fn a_question_goes_to_the_youngest_call_that_declared_it() {
    let mut adapter = ready();
    adapter.call(1, "1");
    adapter.c(2, &request("2", "tools/call", &tool("t", "{}", "")));
    assert!(adapter.s(&request("5", "sampling/createMessage", "{}"))[0].starts_with("<1. "));
}

#[test]
fn a_call_without_its_client_is_given_up() {
    let mut adapter = ready_with(Limits { input_ms: 100, ..Limits::default() });
    adapter.call(1, "1");
    adapter.s(&request("5", "roots/list", "{}"));
    assert_eq!(adapter.next_time(), Some(100));
    assert_eq!(lines(adapter.on_time(99)), [""; 0]);
    let told = lines(adapter.on_time(100));
    assert_eq!(told[0], format!("> {}", error("5", INTERNAL, "the client did not answer in time")));
    assert!(told[1].contains(r#"notifications/cancelled","params":{"requestId":2"#), "{told:?}");
    assert_eq!((adapter.held, adapter.next_time(), adapter.parked.len()), (0, None, 0));
}

#[test]
fn what_waits_for_input_is_bounded() {
    let mut adapter = ready_with(Limits { parked: 1, inputs: 2, rounds: 1, ..Limits::default() });
    adapter.call(1, "1");
    adapter.s(&request("5", "roots/list", "{}"));
    adapter.call(2, "2");
    assert!(adapter.s(&request("6", "roots/list", "{}"))[0].contains("too many calls wait for input"));
    adapter.s(&result("3", "{}"));
    assert_eq!(adapter.s(&request("7", "roots/list", "{}")), [""; 0]);
    assert!(adapter.s(&request("8", "roots/list", "{}"))[0].contains("too many open questions"));
    let more = format!(r#","inputResponses":{{"question-1-1":{{}}}},"requestState":"{STATE}""#);
    let told = adapter.c(3, &request("1", "tools/call", &tool("t", ALL, &more)));
    assert!(told[1].contains("asked its client too often"), "{told:?}");
}

#[test]
fn a_withdrawn_question_is_not_answered() {
    let mut adapter = ready();
    adapter.call(1, "1");
    adapter.s(&request("5", "roots/list", "{}"));
    adapter.s(&notification("notifications/cancelled", r#"{"requestId":5}"#));
    let more = format!(r#","inputResponses":{{"question-1-1":{{}}}},"requestState":"{STATE}""#);
    assert_eq!(adapter.c(2, &request("1", "tools/call", &tool("t", ALL, &more))), [""; 0]);
    assert_eq!(adapter.held, 0);
}

#[test]
fn urls_to_open_first_become_a_question_and_the_call_is_made_anew() {
    let mut adapter = ready();
    adapter.call(1, "1");
    let needed = r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url","elicitationId":"e","url":"u","message":"m"}]}}}"#;
    let asked = adapter.s(needed);
    let question =
        r#"{"url-1":{"method":"elicitation/create","params":{"mode":"url","url":"u","message":"m"}}}"#;
    assert!(asked[0].contains(question), "{asked:?}");
    let retry = |action| {
        let more =
            format!(r#","inputResponses":{{"url-1":{{"action":"{action}"}}}},"requestState":"{STATE}""#);
        request("2", "tools/call", &tool("t", ALL, &more))
    };
    assert_eq!(code_of(&adapter.c(2, &retry("decline"))), envelope::INVALID_PARAMS);
    assert_eq!(
        adapter.c(3, &retry("accept")),
        [format!("> {}", request("3", "tools/call", r#"{"name":"t"}"#))]
    );
    adapter.c(4, &request("1", "tools/call", &tool("t", "{}", "")));
    let missing = adapter.s(&needed.replace("\"id\":2", "\"id\":4"));
    assert_eq!(code_of(&missing), envelope::MISSING_CAPABILITY);
}
