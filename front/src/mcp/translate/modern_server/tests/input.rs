//! Results that ask for input.

use super::*;
use crate::mcp::translate::transcript::{error, lines, request, result};

pub(super) const QUESTIONS: &str = r#"{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{"message":"m"}},"r":{"method":"roots/list"}},"requestState":"s\u0041"}"#;

#[test]
fn questions_become_requests_and_their_answers_a_repetition() {
    let mut adapter = ready();
    adapter.call(1, "7");
    let asked = adapter.s(&result("2", QUESTIONS));
    assert_eq!(
        asked,
        [
            format!("<1 {}", request("3", "elicitation/create", r#"{"message":"m"}"#)),
            format!("<1 {}", request("4", "roots/list", "{}"))
        ]
    );
    assert_eq!(adapter.c(9, &result("4", r#"{"roots":[]}"#)), [""; 0]);
    let repeated = adapter.c(9, &result("3", r#"{"action":"accept","content":{"n":1.0}}"#));
    let responses = r#"{"k":{"action":"accept","content":{"n":1.0}},"r":{"roots":[]}}"#;
    let params =
        format!(r#"{{"name":"t","_meta":{{{META}}},"inputResponses":{responses},"requestState":"sA"}}"#);
    assert_eq!(repeated, [format!("> {}", request("5", "tools/call", &params))]);
    assert_eq!(adapter.s(&result("5", "{}")), [format!("<1. {}", result("7", "{}"))]);
    assert!(adapter.questions.is_empty() && adapter.held == 0);
}

#[test]
fn sampling_is_asked_and_a_url_gets_its_id() {
    let mut adapter = ready();
    adapter.call(1, "7");
    let questions = r#"{"resultType":"input_required","inputRequests":{"a":{"method":"sampling/createMessage","params":{"maxTokens":1}},"u":{"method":"elicitation/create","params":{"mode":"url","url":"x","message":"m"}}}}"#;
    let asked = adapter.s(&result("2", questions));
    assert_eq!(asked[0], format!("<1 {}", request("3", "sampling/createMessage", r#"{"maxTokens":1}"#)));
    assert!(asked[1].contains(r#""elicitationId":"gaoler-4""#), "{asked:?}");
}

#[test]
fn a_question_that_the_client_did_not_declare_fails_the_call() {
    let mut adapter = ready_with(Limits::default(), "{}");
    adapter.call(1, "7");
    let told = adapter.s(&result("2", QUESTIONS));
    assert_eq!(code_of(&told), INTERNAL);
    assert!(told[0].contains("elicitation.form"), "{told:?}");
    adapter.call(2, "7");
    let odd = r#"{"resultType":"input_required","inputRequests":{"k":{"method":"tasks/get"}}}"#;
    assert_eq!(code_of(&adapter.s(&result("3", odd))), INTERNAL);
}

#[test]
fn a_refused_question_fails_the_call_and_withdraws_the_others() {
    let mut adapter = ready();
    adapter.call(1, "7");
    adapter.s(&result("2", QUESTIONS));
    let told = adapter.c(9, &error("3", -1, "no"));
    assert!(
        told[0].starts_with("<1 ") && told[0].contains(r#"notifications/cancelled","params":{"requestId":4"#)
    );
    assert!(
        told[1].starts_with("<1. ") && told[1].contains("did not answer the hosted server: no"),
        "{told:?}"
    );
    adapter.call(2, "7");
    adapter.s(&result("5", QUESTIONS));
    assert_eq!(adapter.c(9, &result("6", "[]")).len(), 2, "an answer that is no object");
}

#[test]
fn a_result_with_a_state_alone_is_repeated_after_a_pause() {
    let mut adapter = ready();
    adapter.call(1, "7");
    assert_eq!(adapter.s(&result("2", r#"{"resultType":"input_required","requestState":"s"}"#)), [""; 0]);
    assert_eq!(adapter.next_time(), Some(100));
    let repeated = lines(adapter.on_time(100));
    assert!(repeated[0].contains(r#""requestState":"s""#) && !repeated[0].contains("inputResponses"));
    assert_eq!(adapter.s(&result("3", "{}")), [format!("<1. {}", result("7", "{}"))]);
}

#[test]
fn rounds_questions_and_waits_are_bounded() {
    let mut adapter = ready_with(Limits { rounds: 1, inputs: 2, input_ms: 30, ..Limits::default() }, ALL);
    adapter.call(1, "7");
    adapter.s(&result("2", QUESTIONS));
    assert_eq!(adapter.next_time(), Some(30));
    let told = lines(adapter.on_time(30));
    assert_eq!((told.len(), adapter.questions.len(), adapter.held), (3, 0, 0));
    assert!(told[2].contains("did not answer in time"), "{told:?}");
    adapter.call(2, "7");
    adapter
        .s(&result("5", r#"{"resultType":"input_required","inputRequests":{"r":{"method":"roots/list"}}}"#));
    adapter.c(9, &result("6", "{}"));
    assert!(adapter.s(&result("7", QUESTIONS))[0].contains("too often"));
    adapter.call(3, "7");
    let three = QUESTIONS.replace(r#""r":"#, r#""q":{"method":"roots/list"},"r":"#);
    assert!(adapter.s(&result("8", &three))[0].contains("too many questions"));
}

#[test]
fn a_call_too_large_to_keep_is_made_but_not_repeated() {
    let mut adapter = ready_with(Limits { held_bytes: 10, ..Limits::default() }, ALL);
    assert_eq!(adapter.call(1, "7").len(), 1);
    assert!(adapter.s(&result("2", QUESTIONS))[0].contains("cannot be repeated"));
}
