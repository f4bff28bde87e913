//! Results that real servers gave: started here without any jail or proxy, asked over their standard streams.
//!
//! Promises: texts as they came from the server, and every wait bounded.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use gaoler_tests::paths;
use serde_json::value::RawValue;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(serde::Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

/// Every result of a fixed conversation with each server: its name and the JSON text.
pub fn results() -> Vec<(&'static str, String)> {
    let parties = paths::target().join("parties");
    let node = parties.join("node_modules/node/bin/node");
    let server =
        |name: &str| parties.join(format!("node_modules/@modelcontextprotocol/{name}/dist/index.js"));
    let python = parties.join("venv/bin/python");
    let mut fixture = Command::new(paths::bin("fixture"));
    fixture.arg("--stdio");
    let mut commands = vec![("fixture", fixture)];
    for name in ["server-everything", "server-filesystem", "server-memory", "server-sequential-thinking"] {
        let mut command = Command::new(&node);
        command.arg(server(name)).args((name == "server-filesystem").then_some("/usr/share"));
        commands.push((name, command));
    }
    let mut time = Command::new(python);
    time.args(["-m", "mcp_server_time"]);
    commands.push(("mcp-server-time", time));
    commands
        .into_iter()
        .flat_map(|(name, command)| converse(command).into_iter().map(move |r| (name, r)))
        .collect()
}

/// The requests that are put to each server; an error to one that it does not know is skipped.
fn script() -> Vec<String> {
    let hello = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    let mut lines =
        vec![hello.to_owned(), r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned()];
    let calls = [
        ("tools/list", "{}"),
        ("resources/list", "{}"),
        ("resources/templates/list", "{}"),
        ("prompts/list", "{}"),
        ("tools/call", r#"{"name":"echo","arguments":{"message":"é \u0000 1.0"}}"#),
        ("tools/call", r#"{"name":"get-sum","arguments":{"a":1.5,"b":2}}"#),
        ("tools/call", r#"{"name":"test_multiple_content_types","arguments":{}}"#),
        ("tools/call", r#"{"name":"read_graph","arguments":{}}"#),
        ("tools/call", r#"{"name":"list_allowed_directories","arguments":{}}"#),
        ("tools/call", r#"{"name":"get_current_time","arguments":{"timezone":"Europe/Paris"}}"#),
        ("tools/call", r#"{"name":"no such tool","arguments":{}}"#),
        ("resources/read", r#"{"uri":"test://static-binary"}"#),
        ("prompts/get", r#"{"name":"test_prompt_with_image"}"#),
        ("ping", "{}"),
    ];
    let call = |(n, (method, params))| {
        format!(r#"{{"jsonrpc":"2.0","id":{n},"method":"{method}","params":{params}}}"#)
    };
    lines.extend((2..).zip(calls).map(call));
    lines
}

fn converse(mut command: Command) -> Vec<String> {
    let name = format!("{:?}", command.get_program());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("start {name}: {e}"));
    let lines = follow(&mut child);
    let mut stdin = child.stdin.take().unwrap_or_else(|| panic!("stdin is a pipe"));
    let mut results = Vec::new();
    for line in script() {
        writeln!(stdin, "{line}").unwrap_or_else(|e| panic!("write to {name}: {e}"));
        if line.contains("\"id\":") {
            let answer = answer(&lines).unwrap_or_else(|| panic!("{name} did not answer {line}"));
            results.extend(result_of(&answer));
        }
    }
    // server-everything does not end with its input, so it is killed; its end is of no interest here.
    child.kill().unwrap_or_else(|e| panic!("kill {name}: {e}"));
    child.wait().unwrap_or_else(|e| panic!("wait for {name}: {e}"));
    results
}

/// The next response; notifications and requests of the server are passed over.
fn answer(lines: &Receiver<String>) -> Option<String> {
    loop {
        let line = lines.recv_timeout(PATIENCE).ok()?;
        if line.contains("\"id\":") && !line.contains("\"method\":") {
            return Some(line);
        }
    }
}

fn result_of(line: &str) -> Option<String> {
    let response: Response = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"));
    response.result.map(|result| result.get().to_owned())
}

fn follow(child: &mut Child) -> Receiver<String> {
    let stdout = child.stdout.take().unwrap_or_else(|| panic!("stdout is a pipe"));
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
