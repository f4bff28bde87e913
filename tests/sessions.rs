//! The map from sessions to transports: every client its own session, every answer to its own asker, every session
//! ended once and for all. It promises what design section 7 says about the legacy era's sessions.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use gaoler_tests::http::Client;
use gaoler_tests::mcp::{self, LEGACY, PROMPT, Session};
use gaoler_tests::{Launch, Run, exclusive, wait};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Connections of the many-sessions tests.
const CONNECTIONS: usize = 16;

fn status_of_ping(session: &mut Session) -> u16 {
    session.request("ping", &json!({})).unwrap().status
}

fn health(run: &Run) -> Value {
    run.client().get("/healthz", &[]).unwrap().json()
}

/// "Server already initialized" is what a singleton transport says to the second client.
#[test]
fn a_second_client_gets_a_session_and_a_jail_of_its_own() {
    let run = Launch::server("hostile").isolated().start().settled();
    let (mut first, mut second) = (Session::open(&run), Session::open(&run));
    assert_ne!(first.id(), second.id());
    assert_eq!(first.call("count", json!({})).tool_text(), "1");
    assert_eq!(first.call("count", json!({})).tool_text(), "2");
    assert_eq!(second.call("count", json!({})).tool_text(), "1");
    let jails = run.instances();
    assert_eq!(jails.len(), 2, "{jails:?}");
    assert_ne!(jails[0].server.uid, jails[1].server.uid);
    run.stop();
}

#[test]
fn in_shared_mode_a_second_client_gets_a_session_on_the_same_jail() {
    let run = Launch::server("hostile").shared().start().settled();
    let (mut first, mut second) = (Session::open(&run), Session::open(&run));
    assert_ne!(first.id(), second.id());
    assert_eq!(first.call("count", json!({})).tool_text(), "1");
    assert_eq!(second.call("count", json!({})).tool_text(), "2");
    assert_eq!(run.instances().len(), 1);
    run.stop();
}

#[test]
fn five_hundred_sessions_share_a_jail_and_every_answer_finds_its_asker() {
    let _alone = exclusive();
    let run = Launch::server("hostile").shared().start().settled();
    many(&run, 500, 4);
    assert_eq!(run.instances().len(), 1);
    run.stop();
}

#[test]
fn fifty_sessions_have_a_jail_each_and_every_answer_finds_its_asker() {
    let _alone = exclusive();
    let run = Launch::server("hostile").isolated().start().settled();
    many(&run, 50, 10);
    wait::until(PROMPT, "the end of every jail whose session was deleted", || run.instances().is_empty());
    run.stop();
}

/// Opens, uses and closes `total` sessions from sixteen connections; all are open at the same moment, and each
/// uses the request ids 1, 2, 3, … as every other does.
fn many(run: &Run, total: usize, rounds: usize) {
    let barrier = Arc::new(Barrier::new(CONNECTIONS + 1));
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|thread| {
            let (client, path, barrier) = (run.client(), run.path().to_owned(), Arc::clone(&barrier));
            let own = total / CONNECTIONS + usize::from(thread < total % CONNECTIONS);
            std::thread::spawn(move || one_connection(client, &path, &barrier, (thread, own, rounds)))
        })
        .collect();
    barrier.wait();
    assert_eq!(health(run)["activeSessions"], json!(total));
    barrier.wait();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(health(run)["activeSessions"], json!(0));
}

fn one_connection(
    client: Client,
    path: &str,
    barrier: &Barrier,
    (thread, own, rounds): (usize, usize, usize),
) {
    let mut client = Some(client.deadline(Duration::from_secs(60)));
    let mut sessions: Vec<Session> = (0..own)
        .map(|_| {
            let mut session = Session::open_with(client.take().unwrap(), path, LEGACY, &json!({}));
            client = Some(session.swap_client(Client::new(([127, 0, 0, 1], 1).into())));
            session
        })
        .collect();
    barrier.wait();
    barrier.wait();
    let mut client = client.unwrap();
    for round in 0..rounds {
        for (n, session) in sessions.iter_mut().enumerate() {
            let own_client = session.swap_client(client);
            let text = format!("thread {thread}, session {n}, round {round}");
            assert_eq!(session.call("echo", json!({"text": text})).tool_text(), text);
            client = session.swap_client(own_client);
        }
    }
    for session in &mut sessions {
        let own_client = session.swap_client(client);
        assert!((200..300).contains(&session.delete().unwrap().status));
        assert_eq!(status_of_ping(session), 404);
        client = session.swap_client(own_client);
    }
}

#[test]
fn a_deleted_session_answers_404_once_and_for_all() {
    let run = Launch::server("hostile").isolated().start().settled();
    let mut session = Session::open(&run);
    assert!((200..300).contains(&session.delete().unwrap().status));
    for _ in 0..3 {
        let answer = session.request("ping", &json!({})).unwrap();
        assert_eq!(answer.status, 404, "{}", answer.text);
        assert!(answer.error()["message"].is_string(), "{}", answer.text);
        assert_eq!(session.delete().unwrap().status, 404);
        assert!(session.open_get(run.addr(), None).is_err_and(|e| e.to_string().contains("404")));
    }
    wait::until(PROMPT, "the jail's end", || run.instances().is_empty());
    run.stop();
}

#[test]
fn a_session_must_be_named_and_known() {
    let run = Launch::server("hostile").start();
    let mut client = run.client();
    let ping = mcp::request(&json!(1), "ping", &json!({}));
    let mut status =
        |headers: &[(&str, &str)]| mcp::post(&mut client, run.path(), headers, &ping).unwrap().status;
    assert_eq!(status(&[("mcp-protocol-version", LEGACY)]), 400, "no session id");
    assert_eq!(status(&[("mcp-session-id", "made-up"), ("mcp-protocol-version", LEGACY)]), 404);
    let session = Session::open(&run);
    assert_eq!(status(&[("mcp-session-id", session.id()), ("mcp-protocol-version", "1999-01-01")]), 400);
    assert_eq!(status(&[("mcp-session-id", session.id())]), 200, "no version header is allowed");
    run.stop();
}

#[test]
fn clients_that_never_delete_are_reaped_when_idle() {
    let run = Launch::server("hostile").isolated().flags(["--idle", "1s"]).start().settled();
    let mut sessions: Vec<Session> = (0..20).map(|_| Session::open(&run)).collect();
    assert_eq!(run.instances().len(), 20);
    for session in &mut sessions {
        drop(session.swap_client(run.client()));
    }
    wait::until(Duration::from_secs(15), "the end of twenty idle jails", || run.instances().is_empty());
    assert_eq!(health(&run)["activeSessions"], json!(0));
    assert!(sessions.iter_mut().all(|session| status_of_ping(session) == 404));
    run.stop();
}

#[test]
fn a_session_in_use_outlives_the_idle_limit() {
    let run = Launch::server("hostile").isolated().flags(["--idle", "1s"]).start();
    let mut session = Session::open(&run);
    let answer = session.call("sleep", json!({"ms": 2500, "text": "awake"}));
    assert_eq!(answer.tool_text(), "awake", "a call in flight is traffic");
    run.stop();
}

#[test]
fn the_cap_evicts_the_least_recently_used() {
    for flag in ["--max-sessions", "--max-sessions-per-caller"] {
        let run = Launch::server("hostile").isolated().flags([flag, "3"]).start().settled();
        let mut sessions: Vec<Session> = (0..3).map(|_| Session::open(&run)).collect();
        assert_eq!(status_of_ping(&mut sessions[0]), 200);
        sessions.push(Session::open(&run));
        let seen: Vec<u16> = sessions.iter_mut().map(status_of_ping).collect();
        assert_eq!(seen, [200, 404, 200, 200], "{flag}");
        wait::until(PROMPT, "the evicted jail's end", || run.instances().len() == 3);
        run.stop();
    }
}

#[test]
fn a_foreign_origin_or_host_is_refused() {
    let run = Launch::server("hostile").flags(["--allow-origin", "https://app.example"]).start();
    let mut client = run.client();
    let hello = mcp::initialize(1, LEGACY, &json!({}));
    let mut status =
        |header, value| mcp::post(&mut client, run.path(), &[(header, value)], &hello).unwrap().status;
    for foreign in
        ["http://evil.example", "null", "http://localhost.evil.example", "https://app.example:8443"]
    {
        assert_eq!(status("origin", foreign), 403, "Origin: {foreign}");
    }
    for own in ["http://localhost:3000", "http://127.0.0.1", "https://app.example"] {
        assert_eq!(status("origin", own), 200, "Origin: {own}");
    }
    let refused = status("host", "evil.example");
    assert!(refused == 403 || refused == 421, "Host: evil.example was answered {refused}");
    run.stop();
}

#[test]
fn a_broken_stream_is_resumed_by_last_event_id() {
    let run = Launch::server("hostile").isolated().start();
    let mut session = Session::open(&run);
    let params = json!({"name": "sleep", "arguments": {"ms": 1200, "ticks": 5, "text": "whole"}});
    let mut events = session.open_post(&mcp::request(&json!(7), "tools/call", &params)).unwrap();
    let mut seen = vec![events.next_data(PROMPT).unwrap(), events.next_data(PROMPT).unwrap()];
    drop(events);
    let last = seen[1].id.clone().expect("an event that can be resumed has an id");
    let mut resumed = session.open_get(run.addr(), Some(&last)).unwrap();
    while seen.last().is_some_and(|event| event.json().get("result").is_none()) {
        seen.push(resumed.next_data(PROMPT).unwrap());
    }
    let ticks: Vec<Value> = seen.iter().filter_map(|e| e.json().pointer("/params/data").cloned()).collect();
    assert_eq!(ticks, [0, 1, 2, 3, 4].map(Value::from));
    assert_eq!(seen.last().unwrap().json()["id"], json!(7));
    run.stop();
}

#[test]
fn events_that_nobody_heard_are_replayed_on_the_standalone_stream() {
    let run = Launch::server("hostile").isolated().start();
    let mut session = Session::open(&run);
    let mut stream = session.open_get(run.addr(), None).unwrap();
    session.call("list_changed", json!({}));
    let first = stream.next_data(PROMPT).unwrap();
    assert_eq!(first.json()["method"], json!("notifications/tools/list_changed"));
    drop(stream);
    let mut resumed = session.open_get(run.addr(), first.id.as_deref()).unwrap();
    session.call("list_changed", json!({}));
    let second = resumed.next_data(PROMPT).unwrap();
    assert_eq!(second.json()["method"], first.json()["method"]);
    assert_ne!(second.id, first.id);
    run.stop();
}

#[test]
fn sigterm_drains_what_is_in_flight_and_refuses_new_sessions() {
    let mut run = Launch::server("hostile").isolated().start();
    let (mut session, mut late) = (Session::open(&run), run.client());
    // The connection stands before the drain, so that its request is answered and not merely not accepted.
    assert_eq!(late.get("/healthz", &[]).unwrap().status, 200);
    let params = json!({"name": "sleep", "arguments": {"ms": 3000, "ticks": 30, "text": "finished"}});
    let mut call = session.open_post(&mcp::request(&json!(1), "tools/call", &params)).unwrap();
    call.next_data(PROMPT).unwrap();
    run.signal(Signal::TERM);
    let hello = mcp::initialize(1, LEGACY, &json!({}));
    let refused = wait::until_some(PROMPT, "a refusal of new sessions", || {
        let answer = mcp::post(&mut late, run.path(), &[], &hello).unwrap();
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert!(refused.header("retry-after").is_some(), "{:?}", refused.headers);
    let last = std::iter::from_fn(|| call.next_data(PROMPT).ok()).last().unwrap().json();
    assert_eq!(last.pointer("/result/content/0/text"), Some(&json!("finished")), "{last}");
    assert!(run.wait(Duration::from_secs(10)).success());
    run.assert_nothing_left();
}

#[test]
fn a_second_signal_ends_what_is_in_flight_too() {
    let mut run = Launch::server("hostile").args(["--deaf"]).isolated().start();
    let mut session = Session::open(&run);
    let params = json!({"name": "sleep", "arguments": {"ms": 60_000, "ticks": 600}});
    let mut call = session.open_post(&mcp::request(&json!(1), "tools/call", &params)).unwrap();
    call.next_data(PROMPT).unwrap();
    run.signal(Signal::INT);
    call.next_data(PROMPT).unwrap();
    run.signal(Signal::INT);
    assert!(run.wait(Duration::from_secs(9)).success(), "the drain alone would take ten seconds");
    run.assert_nothing_left();
}
