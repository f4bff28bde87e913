//! Clients that misbehave: vanish, delete in a call, send what is not JSON or too much.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use gaoler_tests::mcp::{self, LEGACY, PROMPT, Session};
use gaoler_tests::{Launch, wait};
use serde_json::json;

use super::{assert_served, tool_call};

#[test]
fn ten_clients_vanish_in_a_call_and_nobody_waits_for_them() {
    for launch in [Launch::server("hostile").isolated(), Launch::server("hostile").shared()] {
        let run = launch.start();
        for _ in 0..10 {
            let mut session = Session::open(&run);
            let call = tool_call(1, "sleep", &json!({"ms": 3000, "ticks": 30}));
            let mut events = session.open_post(&call).expect("an event stream");
            events.next_data(PROMPT).expect("the call is under way");
        }
        let mut client = run.client();
        client.set_deadline(PROMPT);
        let mut fresh = Session::open_with(client, run.path(), LEGACY, &json!({}));
        assert_served(&mut fresh);
        run.stop();
    }
}

#[test]
fn a_vanished_client_is_no_cancellation_in_the_legacy_era() {
    let run = Launch::server("hostile").isolated().start();
    let mut session = Session::open(&run);
    let call = tool_call(9, "sleep", &json!({"ms": 500, "ticks": 5}));
    let mut events = session.open_post(&call).expect("an event stream");
    events.next_data(PROMPT).expect("the call is under way");
    drop(events);
    session.call("sleep", json!({"ms": 700}));
    assert_eq!(session.call("cancelled", json!({})).result()["content"][0]["text"], json!("0"));
    run.stop();
}

#[test]
fn a_session_deleted_in_a_call_ends_the_call() {
    let run = Launch::server("hostile").isolated().start();
    let mut session = Session::open(&run);
    let call = tool_call(1, "sleep", &json!({"ms": 60_000, "ticks": 600}));
    let mut events = session.open_post(&call).expect("an event stream");
    events.next_data(PROMPT).expect("the call is under way");
    assert!((200..300).contains(&session.delete().unwrap().status));
    // An error or the stream's end, but not a wait of a minute.
    let last = std::iter::from_fn(|| match events.next(PROMPT) {
        Ok(event) => event,
        Err(e) => panic!("the stream of a deleted session stays open: {e}"),
    });
    assert!(last.count() < 600);
    wait::until(Duration::from_secs(15), "the jail's end", || run.instances().is_empty());
    run.stop();
}

#[test]
fn a_request_cancelled_by_the_client_reaches_the_server() {
    for launch in [Launch::server("hostile").isolated(), Launch::server("hostile").shared()] {
        let run = launch.start();
        let mut session = Session::open(&run);
        let mut other = Session::open(&run);
        let hold = tool_call(77, "hold", &json!({}));
        let (id, path, addr) = (session.id().to_owned(), run.path().to_owned(), run.addr());
        let held = std::thread::spawn(move || {
            let mut client = gaoler_tests::http::Client::new(addr).deadline(Duration::from_secs(2));
            mcp::post(&mut client, &path, &[("mcp-session-id", &id), ("mcp-protocol-version", LEGACY)], &hold)
        });
        let cancelled = |session: &mut Session| session.call("cancelled", json!({})).tool_text().to_owned();
        wait::until(PROMPT, "the cancellation at the server", || {
            let note =
                json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 77}});
            assert_eq!(session.post(&note).unwrap().status, 202);
            cancelled(&mut session) != "0"
        });
        let _ = held.join().unwrap();
        assert_served(&mut other);
        run.stop();
    }
}

#[test]
fn what_is_not_a_request_is_refused_by_name() {
    let run = Launch::server("hostile").start();
    let path = run.path().to_owned();
    let mut client = run.client();
    let mut post = |kind: &str, accept: &str, body: &[u8]| {
        client.send("POST", &path, &[("content-type", kind), ("accept", accept)], body).unwrap().status
    };
    assert_eq!(post("application/json", mcp::ACCEPT, b"{not json"), 400);
    assert_eq!(post("application/json", mcp::ACCEPT, b""), 400);
    assert_eq!(post("application/json", mcp::ACCEPT, b"[]"), 400);
    assert_eq!(post("text/plain", mcp::ACCEPT, b"{}"), 415);
    assert_eq!(post("application/json", "text/html", b"{}"), 406);
    assert_eq!(client.send("PUT", &path, &[], b"").unwrap().status, 405);
    assert_eq!(client.get("/hosted/no/such/mcp", &[]).unwrap().status, 404);
    assert_eq!(client.get("/", &[]).unwrap().status, 404);
    run.stop();
}

#[test]
fn a_body_over_the_limit_is_refused_and_the_session_lives() {
    let run = Launch::server("hostile").isolated().start();
    let mut session = Session::open(&run);
    let huge = "x".repeat(17 << 20);
    // The refusal may come, and the connection close, before the whole body was sent.
    match session.try_call("echo", json!({"text": huge})) {
        Ok(answer) => assert_eq!(answer.status, 413, "{}", answer.text),
        Err(e) => eprintln!("the connection was closed: {e}"),
    }
    assert_served(&mut session);
    run.stop();
}

#[test]
fn a_body_just_under_the_limit_reaches_the_server() {
    let run = Launch::server("hostile").isolated().start();
    let mut session = Session::open(&run);
    let large = "y".repeat(15 << 20);
    assert_eq!(session.call("echo", json!({"text": large})).tool_text().len(), 15 << 20);
    run.stop();
}

#[test]
fn connections_that_say_nothing_do_not_stop_others() {
    let run = Launch::server("hostile").isolated().start();
    let silent: Vec<TcpStream> = (0..200)
        .map(|n| {
            let mut stream = TcpStream::connect(run.addr()).expect("a connection");
            if n % 2 == 0 {
                stream.write_all(b"POST / HTTP/1.1\r\nHost: x").expect("a partial head");
            }
            stream
        })
        .collect();
    assert_served(&mut Session::open(&run));
    for stream in &silent {
        let _ = stream.shutdown(Shutdown::Write);
    }
    run.stop();
}
