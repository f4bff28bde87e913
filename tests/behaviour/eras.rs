//! The stateless era under the same misbehaviour: requests of many clients on one shared jail.

use std::time::Duration;

use gaoler_tests::mcp::{self, PROMPT};
use gaoler_tests::{Launch, Run, wait};
use serde_json::{Value, json};

use super::{assert_error_names, send_signal, server_pid};

fn modern_server() -> Launch {
    Launch::server("hostile").args(["--modern"])
}

fn call(run: &Run, id: u64, tool: &str, arguments: &Value) -> mcp::Answer {
    let params = json!({"name": tool, "arguments": arguments});
    mcp::modern(&mut run.client(), run.path(), &json!(id), "tools/call", &params).expect("an answer")
}

/// Of one published bridge, 206 of these 400 calls were answered with another's text.
#[test]
fn eight_clients_with_equal_ids_get_their_own_answers() {
    let run = modern_server().start().settled();
    std::thread::scope(|scope| {
        for client in 0..8 {
            let run = &run;
            scope.spawn(move || {
                for id in 0..50 {
                    let text = format!("client {client}, call {id}");
                    let ms = (client * 7 + id) % 5;
                    assert_eq!(call(run, id, "sleep", &json!({"text": text, "ms": ms})).tool_text(), text);
                }
            });
        }
    });
    assert_eq!(run.instances().len(), 1, "one jail for one principal");
    run.stop();
}

#[test]
fn a_modern_call_in_which_the_server_dies_says_how_and_the_next_call_works() {
    let run = modern_server().start();
    for (tool, arguments, words) in
        [("crash", json!({"signal": 11}), "signal 11"), ("exit", json!({"code": 3}), "status 3")]
    {
        assert_error_names(&call(&run, 1, tool, &arguments), &[words]);
        assert_eq!(call(&run, 2, "echo", &json!({"text": "back"})).tool_text(), "back");
    }
    run.stop();
}

#[test]
fn a_modern_server_killed_when_idle_is_started_again() {
    let run = modern_server().start().settled();
    assert_eq!(call(&run, 1, "count", &json!({})).tool_text(), "1");
    let pid = server_pid(&run);
    send_signal(pid, rustix::process::Signal::KILL);
    assert!(wait::ended(pid, PROMPT));
    let answered = || (call(&run, 2, "count", &json!({})).response().get("result").is_some()).then_some(());
    wait::until_some(PROMPT, "an answer of the next server", answered);
    run.stop();
}

#[test]
fn closing_a_modern_stream_cancels_its_request() {
    let run = modern_server().start();
    let params = json!({"name": "sleep", "arguments": {"ms": 60_000, "ticks": 600},
        "_meta": {"progressToken": "t"}});
    let mut client = run.client();
    let mut events =
        mcp::modern_open(&mut client, run.path(), &json!(1), "tools/call", &params).expect("an event stream");
    events.next_data(PROMPT).expect("the call is under way");
    drop(events);
    wait::until(PROMPT, "the cancellation at the server", || {
        call(&run, 2, "cancelled", &json!({})).tool_text() == "1"
    });
    run.stop();
}

#[test]
fn a_modern_request_has_a_time_limit() {
    let run = modern_server().flags(["--request-timeout", "1s"]).start();
    let mut client = run.client().deadline(Duration::from_secs(10));
    let params = json!({"name": "hold", "arguments": {}});
    let answer = mcp::modern(&mut client, run.path(), &json!(1), "tools/call", &params).expect("an answer");
    assert!(answer.response().get("error").is_some(), "{}", answer.text);
    assert_eq!(call(&run, 2, "echo", &json!({"text": "ok"})).tool_text(), "ok");
    run.stop();
}

#[test]
fn a_legacy_server_answers_a_modern_client_and_the_other_way_round() {
    let legacy_only = Launch::server("hostile").start();
    assert_eq!(call(&legacy_only, 1, "echo", &json!({"text": "across"})).tool_text(), "across");
    legacy_only.stop();
}
