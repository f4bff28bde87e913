//! Real servers, each jailed and reached through its URL by three independent clients in every mode they have.
//!
//! The servers are npm's and PyPI's as published (tests/parties); each is listed and called by the Python client
//! (auto, legacy, modern), by rmcp's client (the same) and by the inspector's command line (legacy, modern). The
//! three clients work at the same time, so each server also has several sessions at once.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use gaoler_tests::{Launch, bin, exclusive, paths, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Where a jail sees target/parties.
const INSIDE: &str = "/opt/parties";

/// How long a client may take from its start to its end; alone it takes about a second.
const PATIENCE: Duration = Duration::from_secs(90);

/// A call and what its answer must contain; in both, `%CLIENT%` stands for the client and its mode.
struct Party {
    name: &'static str,
    launch: Launch,
    tool: &'static str,
    arguments: Value,
    expected: String,
}

fn parties() -> PathBuf {
    paths::target().join("parties")
}

fn bound(launch: Launch) -> Launch {
    launch.flags(["--bind", &format!("{}:{INSIDE}:ro", parties().display())])
}

/// A server on the Node that came with it.
fn node(package: &str, more: &[&str]) -> Launch {
    let node = format!("{INSIDE}/node_modules/node/bin/node");
    let script = format!("{INSIDE}/node_modules/@modelcontextprotocol/{package}/dist/index.js");
    bound(Launch::command([node, script]).args(more.iter().copied()))
}

/// A server on the host's Python with the parties' environment.
fn python(module: &str, more: &[&str]) -> Launch {
    let python = format!("{INSIDE}/venv/bin/python");
    bound(Launch::command([python.as_str(), "-m", module]).args(more.iter().copied()))
}

#[test]
fn server_everything() {
    check(&Party {
        name: "server-everything",
        launch: node("server-everything", &["stdio"]),
        tool: "echo",
        arguments: json!({ "message": "grüße" }),
        expected: "Echo: grüße".into(),
    });
}

#[test]
fn server_filesystem() {
    let place = workplace("files");
    fs::write(place.join("note.txt"), "kept in a bound directory")
        .unwrap_or_else(|e| panic!("write a note: {e}"));
    check(&Party {
        name: "server-filesystem",
        launch: node("server-filesystem", &["/srv/files"])
            .flags(["--bind", &format!("{}:/srv/files:ro", place.display())]),
        tool: "read_text_file",
        arguments: json!({ "path": "/srv/files/note.txt" }),
        expected: "kept in a bound directory".into(),
    });
}

#[test]
fn server_memory() {
    check(&Party {
        name: "server-memory",
        launch: node("server-memory", &[]).flags(["--env", "MEMORY_FILE_PATH=/tmp/memory.jsonl"]),
        tool: "create_entities",
        arguments: json!({ "entities": [{ "name": "known to %CLIENT%", "entityType": "role", "observations": ["watches"] }] }),
        expected: "known to %CLIENT%".into(),
    });
}

#[test]
fn server_sequential_thinking() {
    check(&Party {
        name: "server-sequential-thinking",
        launch: node("server-sequential-thinking", &[]),
        tool: "sequentialthinking",
        arguments: json!({ "thought": "one", "nextThoughtNeeded": false, "thoughtNumber": 1, "totalThoughts": 1 }),
        expected: "thoughtHistoryLength".into(),
    });
}

#[test]
fn mcp_server_time() {
    check(&Party {
        name: "mcp-server-time",
        launch: python("mcp_server_time", &[]),
        tool: "get_current_time",
        arguments: json!({ "timezone": "Europe/Paris" }),
        expected: "Europe/Paris".into(),
    });
}

#[test]
fn mcp_server_git() {
    let repository = workplace("repository");
    git(&repository, &["init", "--quiet", "--initial-branch", "main"]);
    fs::write(repository.join("a"), "a").unwrap_or_else(|e| panic!("write a file: {e}"));
    git(&repository, &["add", "a"]);
    let who = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org"];
    git(&repository, &[&who[..], &["commit", "--quiet", "--message", "the first commit"]].concat());
    // The repository belongs to another user than the jail's, which git refuses unless it is told.
    let trust =
        ["GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=/srv/repository"];
    check(&Party {
        name: "mcp-server-git",
        launch: python("mcp_server_git", &[])
            .flags(["--bind", &format!("{}:/srv/repository:ro", repository.display())])
            .flags(trust.iter().flat_map(|variable| ["--env", variable])),
        tool: "git_log",
        arguments: json!({ "repo_path": "/srv/repository" }),
        expected: "the first commit".into(),
    });
}

#[test]
fn mcp_server_fetch_has_no_network() {
    // A page that the host itself could fetch: the jail's loopback is another one.
    let page = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("listen: {e}"));
    let address = page.local_addr().unwrap_or_else(|e| panic!("own address: {e}"));
    check(&Party {
        name: "mcp-server-fetch",
        launch: python("mcp_server_fetch", &["--allow-private-ips", "--ignore-robots-txt"]),
        tool: "fetch",
        arguments: json!({ "url": format!("http://{address}/") }),
        expected: format!("Failed to fetch http://{address}/"),
    });
    page.set_nonblocking(true).unwrap_or_else(|e| panic!("set non-blocking: {e}"));
    assert!(page.accept().is_err(), "a jailed server reached the host's loopback");
}

/// Serves the party and has every client list and call it.
fn check(party: &Party) {
    let _machine = exclusive();
    let run = party.launch.clone().start();
    let url = run.url();
    let calls = thread::scope(|scope| {
        let clients = [scope.spawn(|| by_python(party, url)), scope.spawn(|| by_rmcp(party, url))];
        let inspected = by_inspector(party, url);
        clients
            .into_iter()
            .map(|client| client.join().unwrap_or_else(|_| panic!("a client failed")))
            .sum::<usize>()
            + inspected
    });
    println!("parties: {} listed and called {calls} times", party.name);
    run.stop();
}

fn by_python(party: &Party, url: &str) -> usize {
    let script = paths::workspace().join("tests/parties/client.py");
    for mode in ["auto", "legacy", "modern"] {
        let client = format!("Python client, {mode}");
        let mut command = Command::new(parties().join("venv/bin/python"));
        command.arg(&script).args([url, mode, party.tool]).arg(party.arguments_of(&client).to_string());
        let output = party.run(command, &client);
        party.expect_report(&output, &client);
    }
    3
}

fn by_rmcp(party: &Party, url: &str) -> usize {
    for mode in ["auto", "legacy", "modern"] {
        let client = format!("rmcp client, {mode}");
        let mut command = Command::new(bin("rmcp-client"));
        command.args([url, "--mode", mode, "--tool", party.tool, "--arguments"]);
        command.arg(party.arguments_of(&client).to_string());
        let output = party.run(command, &client);
        party.expect_report(&output, &client);
    }
    3
}

fn by_inspector(party: &Party, url: &str) -> usize {
    for era in ["legacy", "modern"] {
        let client = format!("inspector, {era}");
        let inspector = |method: &str| {
            let mut command = Command::new(parties().join("node_modules/node/bin/node"));
            command.arg(parties().join("node_modules/.bin/mcp-inspector"));
            command.args(["--cli", url, "--transport", "http", "--protocol-era", era, "--method", method]);
            command
        };
        let listed = party.run(inspector("tools/list"), &client);
        party.expect(&listed, party.tool, &client);
        let mut call = inspector("tools/call");
        call.args(["--tool-name", party.tool]);
        for (name, value) in party.arguments_of(&client).as_object().into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            call.arg("--tool-arg").arg(format!("{name}={value}"));
        }
        let called = party.run(call, &client);
        party.expect(&called, &party.expected_of(&client), &client);
    }
    2
}

impl Party {
    /// The arguments, where a call must be told from another client's.
    fn arguments_of(&self, client: &str) -> Value {
        let text = self.arguments.to_string().replace("%CLIENT%", client);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("arguments for the {client}: {e}"))
    }

    fn expected_of(&self, client: &str) -> String {
        self.expected.replace("%CLIENT%", client)
    }

    fn run(&self, mut command: Command, client: &str) -> Output {
        let node = parties().join("node_modules/node/bin");
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", node.display()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap_or_else(|e| panic!("{}: start the {client}: {e}", self.name));
        let pid = child.id().cast_signed();
        let (output, in_time) = thread::scope(|scope| {
            let clock = scope.spawn(move || {
                let in_time = wait::ended(pid, PATIENCE);
                if let (false, Some(pid)) = (in_time, Pid::from_raw(pid)) {
                    let _ = kill_process(pid, Signal::KILL);
                }
                in_time
            });
            (child.wait_with_output(), clock.join().unwrap_or(false))
        });
        let output = output.unwrap_or_else(|e| panic!("{}: wait for the {client}: {e}", self.name));
        assert!(in_time, "{}: the {client} did not end within {PATIENCE:?}\n{}", self.name, stderr(&output));
        output
    }

    /// The client's report names the tool among the listed ones, and its result holds what is expected.
    fn expect_report(&self, output: &Output, client: &str) {
        let text = String::from_utf8_lossy(&output.stdout);
        let report: Value = serde_json::from_str(&text).unwrap_or_else(|e| {
            panic!("{}: {client}: no report ({e})\n{text}\n{}", self.name, stderr(output))
        });
        let tools = report["tools"].as_array().cloned().unwrap_or_default();
        assert!(
            tools.contains(&json!(self.tool)),
            "{}: {client}: {} is not in {tools:?}",
            self.name,
            self.tool
        );
        let result = &report["result"];
        let expected = self.expected_of(client);
        assert!(holds(result, &expected), "{}: {client}: no {expected:?} in {result}", self.name);
    }

    fn expect(&self, output: &Output, expected: &str, client: &str) {
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains(expected),
            "{}: {client}: no {expected:?} in the output\n{text}\n{}",
            self.name,
            stderr(output)
        );
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether any string within a value contains the text.
fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::String(string) => string.contains(text),
        Value::Array(items) => items.iter().any(|item| holds(item, text)),
        Value::Object(members) => members.iter().any(|(key, item)| key.contains(text) || holds(item, text)),
        _ => false,
    }
}

/// An empty directory that a jail can be shown.
fn workplace(name: &str) -> PathBuf {
    let place = paths::target().join("party-files").join(name);
    if place.exists() {
        fs::remove_dir_all(&place).unwrap_or_else(|e| panic!("remove {}: {e}", place.display()));
    }
    fs::create_dir_all(&place).unwrap_or_else(|e| panic!("create {}: {e}", place.display()));
    place
}

fn git(place: &Path, args: &[&str]) {
    let status = Command::new("git").arg("-C").arg(place).args(args).status();
    let status = status.unwrap_or_else(|e| panic!("start git: {e}"));
    assert!(status.success(), "git {args:?} ended with {status}");
}
