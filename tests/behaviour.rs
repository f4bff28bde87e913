//! What happens when hosted servers and clients misbehave: one clear error, within a bound, for the one concerned;
//! everyone else notices nothing, and nothing is left behind. Every test ends in `Run::stop`, which proves the last.
//!
//! The cases are those that published bridges were seen to fail at, and those that the design names.

#[path = "behaviour/clients.rs"]
mod clients;
#[path = "behaviour/dying.rs"]
mod dying;
#[path = "behaviour/eras.rs"]
mod eras;
#[path = "behaviour/hosted_http.rs"]
mod hosted_http;
#[path = "behaviour/noisy.rs"]
mod noisy;
#[path = "behaviour/outside.rs"]
mod outside;
#[path = "behaviour/stubborn.rs"]
mod stubborn;

use std::time::{Duration, Instant};

use gaoler_tests::mcp::{Answer, Session};
use gaoler_tests::{Run, proc};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// The in-flight call of a dead server fails within this time (issue: 50 ms).
const FAILS_WITHIN: Duration = Duration::from_millis(50);

/// How often a time is taken on a machine that does other things too; the best counts.
const TRIES: usize = 5;

/// Asserts that a session is served.
fn assert_served(session: &mut Session) {
    assert_eq!(session.call("echo", json!({"text": "still here"})).tool_text(), "still here");
}

/// Asserts that an answer is an error whose message or data names all of `words`.
fn assert_error_names(answer: &Answer, words: &[&str]) {
    let error = answer.error().to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error}");
    }
}

/// The shortest time of several tries, each of which makes its own call.
fn best_time(mut call: impl FnMut()) -> Duration {
    let time = |_| {
        let start = Instant::now();
        call();
        start.elapsed()
    };
    (0..TRIES).map(time).min().unwrap_or_default()
}

/// The host process id of the one hosted server.
fn server_pid(run: &Run) -> i32 {
    let instances = run.instances();
    assert_eq!(instances.len(), 1, "{instances:?}");
    instances[0].server.pid
}

fn send_signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("a process id"), signal).expect("the process is there");
}

/// A number of kB in `/proc/PID/status`, in bytes.
fn status_bytes(pid: i32, field: &str) -> u64 {
    let status = proc::status(pid).expect("the process is there");
    let text = status.get(field).and_then(|value| value.split_whitespace().next().map(str::to_owned));
    text.and_then(|kb| kb.parse::<u64>().ok()).expect("a number of kB") * 1024
}

/// The peak of the front's own memory, in bytes.
fn front_peak(run: &Run) -> u64 {
    status_bytes(run.front_pid(), "VmHWM")
}

/// The frame of a tool call that wants progress, which always belongs to its caller; a log message need not.
fn tool_call(id: u64, tool: &str, arguments: &Value) -> Value {
    let params = json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": format!("t{id}")}});
    gaoler_tests::mcp::request(&json!(id), "tools/call", &params)
}
