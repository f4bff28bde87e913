//! Servers that die: in a call, between calls, at the start, for memory, by a stranger's hand.

use std::time::Duration;

use gaoler_tests::Launch;
use gaoler_tests::leftovers::Snapshot;
use gaoler_tests::mcp::{LEGACY, PROMPT, Session};
use gaoler_tests::wait;
use rustix::process::Signal;
use serde_json::json;

use super::{FAILS_WITHIN, assert_error_names, assert_served, best_time, send_signal, server_pid, tool_call};

/// The ways to die in a call: tool, arguments, and what the error must say.
fn deaths() -> [(&'static str, serde_json::Value, &'static str); 4] {
    [
        ("crash", json!({"signal": 11, "stderr": "last words"}), "signal 11"),
        ("crash", json!({"signal": 9, "stderr": "last words"}), "signal 9"),
        ("exit", json!({"code": 3, "stderr": "last words"}), "status 3"),
        ("exit", json!({"code": 0, "stderr": "last words"}), "status 0"),
    ]
}

fn dies_in_a_call(launch: fn() -> Launch) {
    let run = launch().start();
    let mut session = Session::open(&run);
    for (tool, arguments, words) in deaths() {
        let answer = session.call(tool, arguments);
        assert_error_names(&answer, &[words, "last words"]);
        assert_served(&mut session);
    }
    assert_served(&mut Session::open(&run));
    run.stop();
}

#[test]
fn a_call_in_which_the_server_dies_says_how_and_the_next_call_works() {
    dies_in_a_call(|| Launch::server("hostile").isolated());
}

#[test]
fn a_shared_server_that_dies_comes_back_for_everyone() {
    dies_in_a_call(|| Launch::server("hostile").shared());
}

#[test]
fn the_call_in_flight_fails_at_once() {
    let run = Launch::server("hostile").isolated().start();
    let time = best_time(|| {
        let mut session = Session::open(&run);
        let start = std::time::Instant::now();
        assert_error_names(&session.call("crash", json!({"signal": 11})), &["signal 11"]);
        eprintln!("failed after {:?}", start.elapsed());
    });
    let alone = best_time(|| drop(Session::open(&run)));
    let failing = time.saturating_sub(alone);
    assert!(failing < FAILS_WITHIN, "a dead server's call fails after {failing:?} (best of several)");
    run.stop();
}

#[test]
fn every_call_in_flight_of_a_shared_server_fails() {
    let run = Launch::server("hostile").shared().start();
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let mut session = Session::open(&run);
            let mut events = session
                .open_post(&tool_call(1, "sleep", &json!({"ms": 60_000, "ticks": 600})))
                .expect("an event stream");
            events.next_data(PROMPT).expect("the call is under way");
            (session, events)
        })
        .collect();
    assert_error_names(&Session::open(&run).call("exit", json!({"code": 7})), &["status 7"]);
    for (_session, mut events) in waiting {
        let last = std::iter::from_fn(|| events.next_data(PROMPT).ok()).last().expect("a last event").json();
        assert!(last["error"]["message"].as_str().is_some_and(|m| m.contains("status 7")), "{last}");
    }
    run.stop();
}

#[test]
fn an_idle_server_that_is_killed_is_started_again_by_the_next_call() {
    for launch in [Launch::server("hostile").isolated(), Launch::server("hostile").shared()] {
        let run = launch.start().settled();
        let mut session = Session::open(&run);
        let pid = server_pid(&run);
        send_signal(pid, Signal::KILL);
        assert!(wait::ended(pid, PROMPT));
        wait::until(PROMPT, "the jail's end", || run.instances().iter().all(|jail| jail.server.pid != pid));
        assert_served(&mut session);
        assert_served(&mut Session::open(&run));
        run.stop();
    }
}

#[test]
fn a_server_killed_in_a_call_says_so() {
    let run = Launch::server("hostile").isolated().start().settled();
    let mut session = Session::open(&run);
    let mut events = session
        .open_post(&tool_call(1, "sleep", &json!({"ms": 60_000, "ticks": 600})))
        .expect("an event stream");
    events.next_data(PROMPT).expect("the call is under way");
    send_signal(server_pid(&run), Signal::KILL);
    let last = std::iter::from_fn(|| events.next_data(PROMPT).ok()).last().expect("a last event").json();
    assert!(last["error"]["message"].as_str().is_some_and(|m| m.contains("signal 9")), "{last}");
    assert_served(&mut session);
    run.stop();
}

#[test]
fn a_server_that_eats_memory_dies_alone_and_says_so() {
    let run = Launch::server("hostile").isolated().flags(["--memory", "64M"]).start();
    let (mut greedy, mut modest) = (Session::open(&run), Session::open(&run));
    assert_error_names(&greedy.call("eat", json!({})), &["memory"]);
    assert_eq!(modest.call("count", json!({})).tool_text(), "1", "the neighbour kept its state");
    assert_served(&mut greedy);
    run.stop();
}

#[test]
fn a_server_that_exits_at_the_start_is_a_clear_error() {
    let launch =
        Launch::server("hostile").args(["--exit-at-start", "5", "--stderr-at-start", "no configuration"]);
    for launch in [launch.clone().isolated(), launch.shared()] {
        // Either it is said before anything is served, or at the first request; never by silence.
        match launch.try_start() {
            Err(refused) => assert!(refused.stderr.contains("status 5"), "{refused:?}"),
            Ok(run) => {
                let client = run.client().deadline(Duration::from_secs(20));
                let answer = Session::try_open_with(client, run.path(), LEGACY, &json!({}))
                    .expect_err("a server that exits opens no session");
                assert_error_names(&answer, &["status 5", "no configuration"]);
                run.stop();
            }
        }
    }
}

#[test]
fn a_command_that_does_not_exist_ends_the_run_as_in_a_shell() {
    let before = Snapshot::take();
    let (status, log) = match Launch::command(["/srv/no-such-server"]).try_start() {
        Err(refused) => (refused.status, refused.stderr),
        Ok(mut run) => (Some(run.wait(PROMPT)), run.log()),
    };
    assert_eq!(status.and_then(|status| status.code()), Some(127), "{log}");
    assert!(log.contains("/srv/no-such-server"), "{log}");
    before.assert_none();
}

#[test]
fn half_a_line_and_the_end_is_a_death_like_another() {
    let run = Launch::server("hostile").isolated().start();
    let mut session = Session::open(&run);
    assert_error_names(&session.call("half_line", json!({})), &["status 0"]);
    assert_served(&mut session);
    run.stop();
}

#[test]
fn a_server_that_dies_again_and_again_is_not_started_without_pause() {
    let run = Launch::server("hostile").isolated().start();
    let mut session = Session::open(&run);
    for _ in 0..20 {
        // Back-off may delay or refuse a start, but every call is answered.
        let answer = session.call("exit", json!({"code": 1}));
        assert!(answer.response().get("error").is_some(), "{}", answer.text);
    }
    let served = || (session.try_call("echo", json!({"text": "back"})).ok()?.status == 200).then_some(());
    wait::until_some(Duration::from_secs(60), "service after twenty deaths", served);
    run.stop();
}

/// One client's crashes are its own: they must not keep others from getting a server of their own.
#[test]
fn a_client_that_makes_its_server_die_again_and_again_does_not_keep_others_out() {
    let run = Launch::server("hostile").isolated().start();
    let mut villain = Session::open(&run);
    for _ in 0..6 {
        villain.call("exit", json!({"code": 1}));
    }
    let client = run.client().deadline(PROMPT);
    let mut other = Session::open_with(client, run.path(), LEGACY, &json!({}));
    assert_served(&mut other);
    run.stop();
}
