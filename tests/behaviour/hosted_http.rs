//! Hosted servers that speak HTTP themselves, on the loopback of their jail.

use std::time::Duration;

use gaoler_tests::mcp::{LEGACY, PROMPT, Session};
use gaoler_tests::{Launch, wait};
use rustix::process::Signal;
use serde_json::json;

use super::{assert_error_names, send_signal};

fn http_server() -> Launch {
    Launch::server("fixture").args(["--http", "127.0.0.1:9000"]).flags(["--transport", "http:9000/mcp"])
}

#[test]
fn each_session_has_a_server_of_its_own_and_dies_with_it_once_and_for_all() {
    let run = http_server().isolated().start().settled();
    let (mut first, mut second) = (Session::open(&run), Session::open(&run));
    assert_ne!(first.id(), second.id());
    let jails = run.instances();
    assert_eq!(jails.len(), 2, "{jails:?}");
    jails.iter().for_each(|jail| send_signal(jail.server.pid, Signal::KILL));
    jails.iter().for_each(|jail| assert!(wait::ended(jail.server.pid, PROMPT)));
    for session in [&mut first, &mut second] {
        session.client().set_deadline(PROMPT);
        wait::until(PROMPT, "404 for the session of a dead server", || {
            session.request("ping", &json!({})).expect("an answer in time").status == 404
        });
        assert_eq!(session.request("ping", &json!({})).unwrap().status, 404);
    }
    let answer = Session::open(&run).call("test_simple_text", json!({}));
    assert!(!answer.tool_text().is_empty());
    run.stop();
}

#[test]
fn a_deleted_session_takes_its_jail_with_it() {
    let run = http_server().isolated().start().settled();
    let mut session = Session::open(&run);
    assert!(!session.call("test_simple_text", json!({})).tool_text().is_empty());
    assert!((200..300).contains(&session.delete().unwrap().status));
    assert_eq!(session.request("ping", &json!({})).unwrap().status, 404);
    wait::until(Duration::from_secs(15), "the jail's end", || run.instances().is_empty());
    run.stop();
}

#[test]
fn a_server_that_never_listens_is_a_clear_error_within_its_time() {
    let flags = ["--transport", "http:9000/mcp", "--request-timeout", "2s"];
    let run = Launch::server("hostile").flags(flags).start();
    let client = run.client().deadline(Duration::from_secs(20));
    let answer = Session::try_open_with(client, run.path(), LEGACY, &json!({}))
        .expect_err("nobody listens, so no session is opened");
    assert_error_names(&answer, &["does not listen"]);
    run.stop();
}
