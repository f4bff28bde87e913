//! What is seen from outside while it serves: who listens, what a server sees, whom a wait holds up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use gaoler_tests::mcp::{PROMPT, Session};
use gaoler_tests::{Launch, Run, proc, wait};
use serde_json::{Value, json};

use super::assert_served;

#[test]
fn nothing_of_the_supervisors_environment_reaches_a_server() {
    let run = Launch::server("hostile")
        .env("GAOLER_TEST_SECRET", "do-not-pass")
        .env("GAOLER_TEST_GIVEN", "taken")
        .flags(["--env", "MODE=test", "--env", "GAOLER_TEST_GIVEN"])
        .start();
    let mut session = Session::open(&run);
    let env: BTreeMap<String, String> =
        serde_json::from_str(session.call("env", json!({})).tool_text()).unwrap();
    assert!(!env.values().any(|value| value.contains("do-not-pass")), "{env:?}");
    assert_eq!((env["MODE"].as_str(), env["GAOLER_TEST_GIVEN"].as_str()), ("test", "taken"));
    let fixed =
        ["PATH", "HOME", "LANG", "TERM", "USER", "LOGNAME", "SHELL", "TMPDIR", "MODE", "GAOLER_TEST_GIVEN"];
    assert!(env.keys().all(|name| fixed.contains(&name.as_str())), "{env:?}");
    run.stop();
}

#[test]
fn a_jail_holds_one_server_and_nothing_else() {
    let run = Launch::server("hostile").isolated().start().settled();
    let mut session = Session::open(&run);
    assert_served(&mut session);
    let jails = run.instances();
    assert_eq!((jails.len(), jails[0].members.len()), (1, 1), "{jails:?}");
    run.stop();
}

#[test]
fn a_call_that_waits_holds_nobody_up() {
    for launch in [Launch::server("hostile").isolated(), Launch::server("hostile").shared()] {
        let run = launch.start();
        let (mut slow, mut quick) = (Session::open(&run), Session::open(&run));
        let waiting = std::thread::spawn(move || slow.call("sleep", json!({"ms": 2000, "text": "slept"})));
        let start = Instant::now();
        (0..20).for_each(|_| assert_served(&mut quick));
        assert!(start.elapsed() < Duration::from_millis(1500), "twenty echoes took {:?}", start.elapsed());
        assert!(!waiting.is_finished(), "the slow call still waits");
        assert_eq!(waiting.join().unwrap().tool_text(), "slept");
        run.stop();
    }
}

#[test]
fn it_listens_on_the_named_address_only() {
    let run = Launch::server("hostile").start();
    let listening: BTreeSet<String> = [run.pid(), run.front_pid()].into_iter().flat_map(listeners).collect();
    let port = run.addr().port();
    assert_eq!(listening, BTreeSet::from([format!("0100007F:{port:04X}")]));
    run.stop();
}

/// The local addresses on which a process listens for TCP, as `/proc/net/tcp` writes them.
fn listeners(pid: i32) -> Vec<String> {
    let sockets: BTreeSet<String> = proc::descriptors(pid)
        .values()
        .filter_map(|target| Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let tables = ["tcp", "tcp6"].map(|kind| std::fs::read_to_string(format!("/proc/{pid}/net/{kind}")));
    tables
        .iter()
        .flatten()
        .flat_map(|table| table.lines())
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        // Columns of proc_pid_net: local address 1, state 3 (0A is listening), inode 9.
        .filter(|f| f.get(3) == Some(&"0A") && f.get(9).is_some_and(|inode| sockets.contains(*inode)))
        .map(|f| f[1].to_owned())
        .collect()
}

#[test]
fn health_says_what_it_serves() {
    let run = Launch::server("hostile").flags(["--name", "tests/hostile"]).start();
    assert!(run.path().starts_with("/hosted/tests/hostile/mcp"), "{}", run.url());
    let _session = Session::open(&run);
    let health = wait::until_some(PROMPT, "a ready server with its tools counted", || {
        let health = run.client().get("/healthz", &[]).ok()?.json();
        (health.pointer("/servers/0/phase") == Some(&json!("ready"))).then_some(health)
    });
    assert_eq!(health["ok"], json!(true));
    assert_eq!(health["service"], json!("gaoler"));
    assert!(health["version"].is_string() && health["uptimeSeconds"].is_number());
    assert_eq!(health["activeSessions"], json!(1));
    assert_eq!(health.pointer("/servers/0/name"), Some(&json!("tests/hostile")));
    assert_eq!(health.pointer("/servers/0/toolCount"), Some(&json!(32)));
    run.stop();
}

#[test]
fn metrics_are_prometheus_text() {
    let run = Launch::server("hostile").start();
    assert_served(&mut Session::open(&run));
    let metrics = run.client().get("/metrics", &[]).unwrap();
    assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    let text = metrics.text();
    let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert!(samples.len() > 5, "{text}");
    assert!(
        samples.iter().all(|line| line.rsplit_once(' ').is_some_and(|(_, v)| v.parse::<f64>().is_ok())),
        "{text}"
    );
    run.stop();
}

#[test]
fn sampling_and_elicitation_reach_the_client() {
    for (tool, method) in
        [("sample", "sampling/createMessage"), ("elicit", "elicitation/create"), ("roots", "roots/list")]
    {
        let run = Launch::server("hostile").isolated().start();
        let capabilities = json!({"sampling": {}, "elicitation": {}, "roots": {}});
        let mut session =
            Session::open_with(run.client(), run.path(), gaoler_tests::mcp::LEGACY, &capabilities);
        assert_eq!(answer_question(&run, &mut session, tool), method);
        run.stop();
    }
}

/// Calls a tool that asks the client, answers, and gives the method that was asked.
fn answer_question(run: &Run, session: &mut Session, tool: &str) -> String {
    let call = super::tool_call(5, tool, &json!({"text": "question"}));
    let mut events = session.open_post(&call).expect("an event stream");
    let question = events.next_data(PROMPT).expect("the question").json();
    let reply = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"marker": "from the client"}});
    assert_eq!(session.post(&reply).expect("an answer").status, 202, "{}", run.log());
    let answer = events.next_data(PROMPT).expect("the tool's answer").json();
    let text = answer.pointer("/result/content/0/text").and_then(Value::as_str).unwrap_or_default();
    assert!(text.contains("from the client"), "{answer}");
    question["method"].as_str().unwrap_or_default().to_owned()
}
