//! Servers that do not go away: stopped, silent, deaf to signals, with daemons, with bombs.

use std::time::{Duration, Instant};

use gaoler_tests::mcp::{PROMPT, Session};
use gaoler_tests::{Launch, exclusive, wait};
use serde_json::json;

use super::{assert_error_names, assert_served, tool_call};

/// How long a jail may live on after its session: the grace period and the kernel's work.
const GONE: Duration = Duration::from_secs(15);

#[test]
fn a_stopped_server_is_a_timeout_for_its_caller_only() {
    let run = Launch::server("hostile").isolated().flags(["--request-timeout", "1s"]).start();
    let (mut stopped, mut other) = (Session::open(&run), Session::open(&run));
    let start = Instant::now();
    let answer = stopped.call("stop", json!({}));
    assert_error_names(&answer, &["1"]);
    assert!(start.elapsed() < Duration::from_secs(5), "the request's time is bounded");
    assert_served(&mut other);
    assert!((200..300).contains(&stopped.delete().unwrap().status));
    wait::until(GONE, "the end of a stopped server", || run.instances().len() == 1);
    run.stop();
}

#[test]
fn a_stopped_server_does_not_hold_up_the_end() {
    let run = Launch::server("hostile").isolated().start();
    let mut session = Session::open(&run);
    let stop = tool_call(1, "stop", &json!({}));
    let call = std::thread::spawn(move || session.post(&stop).map(|answer| answer.text));
    wait::until(PROMPT, "a stopped server", || run.instances().iter().any(|jail| jail.server.state == 'T'));
    run.stop();
    // The client is told or disconnected; it does not wait for ever.
    let _ = call.join().unwrap();
}

#[test]
fn a_server_that_never_answers_initialize_is_given_up() {
    let run =
        Launch::server("hostile").args(["--mute"]).isolated().flags(["--request-timeout", "1s"]).start();
    let client = run.client().deadline(Duration::from_secs(70));
    let hello = gaoler_tests::mcp::initialize(1, gaoler_tests::mcp::LEGACY, &json!({}));
    let mut client = client;
    let answer = gaoler_tests::mcp::post(&mut client, run.path(), &[], &hello).expect("an answer");
    assert!(answer.response().get("error").is_some(), "{}", answer.text);
    wait::until(GONE, "the end of the mute server", || run.instances().is_empty());
    run.stop();
}

#[test]
fn a_server_that_closes_its_output_and_lives_on_is_replaced() {
    for launch in [Launch::server("hostile").isolated(), Launch::server("hostile").shared()] {
        let run = launch.start();
        let mut session = Session::open(&run);
        let answer = session.call("close_stdout", json!({}));
        assert!(answer.response().get("error").is_some(), "{}", answer.text);
        session.client().set_deadline(Duration::from_secs(60));
        assert_served(&mut session);
        wait::until(GONE, "the end of the silent server", || run.instances().len() == 1);
        run.stop();
    }
}

#[test]
fn a_deaf_server_is_killed_after_the_grace_period() {
    let run = Launch::server("hostile").args(["--deaf"]).isolated().start();
    let mut session = Session::open(&run);
    assert!((200..300).contains(&session.delete().unwrap().status));
    wait::until(GONE, "the end of a deaf server", || run.instances().is_empty());
    run.stop();
}

#[test]
fn a_deaf_server_does_not_outlive_the_supervisor() {
    let run = Launch::server("hostile").args(["--deaf"]).isolated().start();
    let _session = Session::open(&run);
    run.stop();
}

#[test]
fn daemons_die_with_their_session() {
    let run = Launch::server("hostile").isolated().start();
    let mut session = Session::open(&run);
    assert!(session.call("daemon", json!({})).tool_text().starts_with("daemon started"));
    let grown = || run.instances().iter().any(|jail| jail.members.len() > 1);
    wait::until(PROMPT, "a daemon in the jail", grown);
    assert!((200..300).contains(&session.delete().unwrap().status));
    wait::until(GONE, "the end of the jail", || run.instances().is_empty());
    run.stop();
}

#[test]
fn daemons_die_with_their_server_and_do_not_hold_its_output_open() {
    let run = Launch::server("hostile").isolated().start();
    let mut session = Session::open(&run);
    session.call("daemon", json!({}));
    let start = Instant::now();
    assert_error_names(&session.call("exit", json!({"code": 4})), &["status 4"]);
    assert!(start.elapsed() < PROMPT, "a daemon that holds the pipe delays the error");
    assert_served(&mut session);
    wait::until(PROMPT, "the end of the daemons", || {
        run.instances().iter().all(|jail| jail.members.len() == 1)
    });
    run.stop();
}

#[test]
fn daemons_do_not_outlive_the_supervisor() {
    let run = Launch::server("hostile").shared().start();
    let mut session = Session::open(&run);
    session.call("daemon", json!({}));
    run.stop();
}

#[test]
fn a_fork_bomb_meets_its_limit_and_leaves_the_neighbour_alone() {
    let _alone = exclusive();
    let run = Launch::server("hostile").isolated().flags(["--pids", "32"]).start();
    let (mut bomb, mut other) = (Session::open(&run), Session::open(&run));
    let text = bomb.call("fork_bomb", json!({})).tool_text().to_owned();
    let count: u32 = text.trim_end_matches(" daemons").parse().unwrap();
    assert!((1..32).contains(&count), "{text}");
    assert_served(&mut other);
    assert!((200..300).contains(&bomb.delete().unwrap().status));
    wait::until(GONE, "the end of the bomb", || run.instances().len() == 1);
    run.stop();
}

#[test]
fn a_server_that_burns_its_processor_leaves_the_neighbour_alone() {
    let run =
        Launch::server("hostile").isolated().flags(["--cpus", "0.5", "--request-timeout", "2s"]).start();
    let (mut hot, mut other) = (Session::open(&run), Session::open(&run));
    let burning = std::thread::spawn(move || hot.call("spin", json!({})).response().get("error").is_some());
    while !burning.is_finished() {
        assert_served(&mut other);
    }
    assert!(burning.join().unwrap(), "the burning call ends in an error");
    run.stop();
}
