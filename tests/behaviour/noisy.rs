//! Servers that say what they should not: garbage, giants, floods, foreign ids.

use std::time::Duration;

use gaoler_tests::mcp::{PROMPT, Session};
use gaoler_tests::{Launch, exclusive, wait};
use serde_json::json;

use super::{assert_error_names, assert_served, front_peak, tool_call};

const MIB: u64 = 1 << 20;

#[test]
fn stray_lines_are_logged_and_skipped() {
    for launch in [Launch::server("hostile").isolated(), Launch::server("hostile").shared()] {
        let run = launch.args(["--garbage-at-start"]).start();
        let mut session = Session::open(&run);
        assert_eq!(session.call("stray", json!({"text": "right"})).tool_text(), "right");
        assert_eq!(session.call("garbage", json!({"count": 1000, "text": "right"})).tool_text(), "right");
        assert_served(&mut session);
        wait::until(PROMPT, "the stray line in the log", || run.log().contains("Debugger attached"));
        run.stop();
    }
}

#[test]
fn a_line_of_64_mib_ends_its_own_session_with_a_clear_error() {
    let _alone = exclusive();
    let run = Launch::server("hostile").isolated().start();
    let (mut loud, mut quiet) = (Session::open(&run), Session::open(&run));
    let answer = loud.call("line", json!({"bytes": 64 * MIB}));
    assert_error_names(&answer, &["line"]);
    assert_eq!(quiet.call("count", json!({})).tool_text(), "1");
    assert!(front_peak(&run) < 160 * MIB, "the front's peak is {} MiB", front_peak(&run) / MIB);
    run.stop();
}

#[test]
fn a_gigabyte_of_stderr_is_drained_and_slows_nobody() {
    let _alone = exclusive();
    let run = Launch::server("hostile").isolated().start();
    let (mut loud, mut quiet) = (Session::open(&run), Session::open(&run));
    loud.client().set_deadline(Duration::from_secs(120));
    let shout =
        std::thread::spawn(move || loud.call("stderr", json!({"bytes": 1024 * MIB})).tool_text().to_owned());
    while !shout.is_finished() {
        assert_served(&mut quiet);
    }
    assert_eq!(shout.join().unwrap(), "done");
    assert!(front_peak(&run) < 64 * MIB, "the front's peak is {} MiB", front_peak(&run) / MIB);
    assert!(run.log().len() < 1 << 20, "the log of a shouting server is rate-limited");
    run.stop();
}

#[test]
fn large_answers_pass_whole() {
    let _alone = exclusive();
    for launch in [Launch::server("hostile").isolated(), Launch::server("hostile").shared()] {
        let run = launch.start();
        let mut session = Session::open(&run);
        for bytes in [64 * 1024, MIB, 16 * MIB] {
            let answer = session.call("answer", json!({"bytes": bytes}));
            assert_eq!(answer.tool_text().len() as u64, bytes);
        }
        run.stop();
    }
}

#[test]
fn a_reader_that_does_not_read_is_bounded_and_alone() {
    let _alone = exclusive();
    let run = Launch::server("hostile").shared().start();
    let mut lazy = Session::open(&run);
    let flood = tool_call(1, "flood", &json!({"count": 100_000, "bytes": 10_000}));
    let _unread = lazy.open_post(&flood).expect("an event stream");
    let mut quiet = Session::open(&run);
    quiet.client().set_deadline(Duration::from_secs(60));
    (0..50).for_each(|_| assert_served(&mut quiet));
    assert!(front_peak(&run) < 256 * MIB, "the front's peak is {} MiB", front_peak(&run) / MIB);
    run.stop();
}

#[test]
fn a_flood_that_is_read_arrives_whole_and_in_order() {
    let _alone = exclusive();
    let run = Launch::server("hostile").isolated().start();
    let mut session = Session::open(&run);
    let flood = tool_call(1, "flood", &json!({"count": 20_000, "bytes": 10}));
    let mut events = session.open_post(&flood).expect("an event stream");
    for n in 0..20_000 {
        let event = events.next_data(PROMPT).expect("the next notification").json();
        let data = event.pointer("/params/data").and_then(|d| d.as_str()).unwrap_or_default();
        assert!(data.starts_with(&format!("{n} ")), "expected number {n}: {event}");
    }
    assert_eq!(events.next_data(PROMPT).expect("the answer").json()["id"], json!(1));
    run.stop();
}

#[test]
fn answers_that_nobody_asked_for_reach_nobody() {
    for launch in [Launch::server("hostile").isolated(), Launch::server("hostile").shared()] {
        let run = launch.start();
        let (mut first, mut second) = (Session::open(&run), Session::open(&run));
        for tool in ["unknown", "duplicate"] {
            let answer = first.call(tool, json!({"text": tool}));
            assert_eq!((answer.tool_text(), answer.messages.len()), (tool, 1), "{}", answer.text);
            assert_eq!(second.call("echo", json!({"text": "mine"})).tool_text(), "mine");
        }
        // Ids that other sessions use, and ids that the front itself may use towards the server.
        for id in
            [json!(0), json!(1), json!(2), json!("1"), json!(-1), json!(null), json!(1e300), json!({"a": 1})]
        {
            let answer = first.call("steal", json!({"id": id, "text": "mine"}));
            assert!(answer.messages.iter().all(|m| m["id"].is_u64()), "{}", answer.text);
            assert_served(&mut second);
        }
        run.stop();
    }
}

#[test]
fn a_clients_notifications_come_on_its_own_stream() {
    let run = Launch::server("hostile").isolated().start();
    let mut session = Session::open(&run);
    let answer = session.call("notify", json!({"count": 5, "text": "x"}));
    assert_eq!(answer.with_method("notifications/message").len(), 5, "{}", answer.text);
    run.stop();
}

#[test]
fn progress_keeps_the_clients_own_token_in_both_modes() {
    for launch in [Launch::server("hostile").isolated(), Launch::server("hostile").shared()] {
        let run = launch.start();
        let mut sessions: Vec<Session> = (0..3).map(|_| Session::open(&run)).collect();
        for (session, token) in sessions.iter_mut().zip([json!(1), json!("1"), json!(1)]) {
            let params =
                json!({"name": "progress", "arguments": {"count": 5}, "_meta": {"progressToken": token}});
            let answer = session.request("tools/call", &params).expect("an answer");
            let progress = answer.with_method("notifications/progress");
            assert_eq!(progress.len(), 5, "{}", answer.text);
            assert!(progress.iter().all(|p| p["params"]["progressToken"] == token), "{}", answer.text);
        }
        run.stop();
    }
}
