//! A hosted MCP server that misbehaves on request, over standard input and output.
//!
//! Its tools are the ways in which servers fail: each is named after what it does. Flags change what happens at
//! the start and the end: `--exit-at-start CODE`, `--stderr-at-start TEXT`, `--garbage-at-start`, `--mute` (never
//! answers), `--deaf` (ignores SIGTERM and the end of its input), `--modern` (speaks 2026-07-28 too).
//! It promises: what is not asked for does not happen, and every tool but those that end it answers in the end.

#[path = "hostile/process.rs"]
mod process;

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use process::{daemon, eat, forever, ignore_signals, raise};
use serde_json::{Value, json};

/// How long a request to the client may stay without an answer.
const CLIENT_ANSWER: Duration = Duration::from_secs(20);

/// The tools, in the order of `tools/list`.
const TOOLS: [&str; 32] = [
    "echo",
    "sleep",
    "crash",
    "exit",
    "garbage",
    "line",
    "answer",
    "stderr",
    "close_stdout",
    "deaf",
    "daemon",
    "eat",
    "stop",
    "env",
    "pid",
    "sample",
    "elicit",
    "roots",
    "notify",
    "progress",
    "count",
    "duplicate",
    "unknown",
    "steal",
    "stray",
    "hold",
    "cancelled",
    "list_changed",
    "flood",
    "fork_bomb",
    "half_line",
    "spin",
];

/// What the threads share.
#[derive(Default)]
struct Server {
    modern: bool,
    counter: AtomicU64,
    asked: AtomicU64,
    cancelled: Mutex<Vec<Value>>,
    waiting: Mutex<BTreeMap<String, Sender<Value>>>,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| args.iter().any(|a| a == flag);
    let value = |flag: &str| args.iter().position(|a| a == flag).and_then(|at| args.get(at + 1)).cloned();
    if has("--daemon") {
        daemon(has("--first"));
    }
    if let Some(text) = value("--stderr-at-start") {
        eprintln!("{text}");
    }
    if let Some(code) = value("--exit-at-start") {
        std::process::exit(code.parse().unwrap_or(1));
    }
    if has("--garbage-at-start") {
        say("Welcome to the hostile server!\n{not json\n\u{fffd}\n[1,2\n");
    }
    if has("--deaf") {
        ignore_signals();
    }
    let server = Arc::new(Server { modern: has("--modern"), ..Server::default() });
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        if !has("--mute") {
            receive(&server, &line);
        }
    }
    if has("--deaf") {
        forever();
    }
}

fn receive(server: &Arc<Server>, line: &str) {
    let Ok(frame) = serde_json::from_str::<Value>(line) else {
        eprintln!("hostile: not JSON: {line}");
        return;
    };
    let id = frame.get("id").cloned();
    match (frame.get("method").and_then(Value::as_str), id) {
        (Some(method), Some(id)) => request(server, method, &id, frame.get("params").unwrap_or(&Value::Null)),
        (Some("notifications/cancelled"), None) => {
            lock(&server.cancelled).push(frame.pointer("/params/requestId").cloned().unwrap_or_default());
        }
        (None, Some(id)) => {
            if let Some(waiter) = lock(&server.waiting).remove(&id.to_string()) {
                let _ = waiter.send(frame);
            }
        }
        _ => {}
    }
}

fn request(server: &Arc<Server>, method: &str, id: &Value, params: &Value) {
    match method {
        "initialize" => {
            let revision = params.get("protocolVersion").cloned().unwrap_or_else(|| json!("2025-11-25"));
            let result = json!({"protocolVersion": revision, "capabilities": {"tools": {"listChanged": true}, "logging": {}},
                "serverInfo": {"name": "hostile", "version": "1"}});
            send(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
        }
        "server/discover" if server.modern => {
            let result = json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {"listChanged": true}},
                "serverInfo": {"name": "hostile", "version": "1"}, "ttlMs": 0, "cacheScope": "private"});
            answer(server, id, result);
        }
        "ping" | "logging/setLevel" => answer(server, id, json!({})),
        "tools/list" => {
            let tools: Vec<Value> =
                TOOLS.iter().map(|name| json!({"name": name, "inputSchema": {"type": "object"}})).collect();
            let mut result = json!({ "tools": tools });
            if server.modern {
                result["ttlMs"] = json!(0);
                result["cacheScope"] = json!("private");
            }
            answer(server, id, result);
        }
        "tools/call" => call(server, id, params),
        _ => {
            let error = json!({"code": -32601, "message": format!("hostile has no method {method}")});
            send(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
        }
    }
}

fn call(server: &Arc<Server>, id: &Value, params: &Value) {
    let tool = params.get("name").and_then(Value::as_str).unwrap_or("").to_owned();
    // Those that wait get a thread of their own, so that the server reads on.
    if ["sleep", "hold", "sample", "elicit", "roots", "stderr", "flood"].contains(&tool.as_str()) {
        let (server, id, params) = (Arc::clone(server), id.clone(), params.clone());
        std::thread::spawn(move || waiting_tool(&server, &tool, &id, &params));
        return;
    }
    if let Some(text) = ending_tool(&tool, params).or_else(|| talking_tool(server, &tool, id, params)) {
        answer_text(server, id, &text);
    } else {
        let error = json!({"code": -32602, "message": format!("hostile has no tool {tool:?}")});
        send(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
    }
}

fn waiting_tool(server: &Server, tool: &str, id: &Value, params: &Value) {
    match tool {
        "sleep" => {
            let (time, ticks) = (number(params, "ms", 1000), number(params, "ticks", 0));
            for n in 0..ticks {
                std::thread::sleep(Duration::from_millis(time / (ticks + 1)));
                send(&tick(params, n));
            }
            std::thread::sleep(Duration::from_millis(time / (ticks + 1)));
            answer_text(server, id, &text(params));
        }
        "hold" => {
            let cancelled = || lock(&server.cancelled).contains(id);
            while !cancelled() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        "sample" => {
            let message = json!({"role": "user", "content": {"type": "text", "text": text(params)}});
            let reply =
                ask(server, "sampling/createMessage", json!({"messages": [message], "maxTokens": 10}));
            answer_text(server, id, &reply.to_string());
        }
        "elicit" => {
            let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}});
            let reply = ask(
                server,
                "elicitation/create",
                json!({"message": text(params), "requestedSchema": schema}),
            );
            answer_text(server, id, &reply.to_string());
        }
        "roots" => answer_text(server, id, &ask(server, "roots/list", json!({})).to_string()),
        "stderr" => {
            let line = [b"e".repeat(1023), b"\n".to_vec()].concat();
            let block = line.repeat(64);
            let mut left = number(params, "bytes", 0);
            while left > 0 {
                let n = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
                if std::io::stderr().write_all(&block[..n]).is_err() {
                    break;
                }
                left -= n as u64;
            }
            answer_text(server, id, "done");
        }
        _ => {
            let data = "f".repeat(size(params, "bytes", 100));
            for n in 0..number(params, "count", 1000) {
                send(&note(&json!(format!("{n} {data}"))));
            }
            answer_text(server, id, "done");
        }
    }
}

/// The tools that end or damage the process; `None` for the others.
fn ending_tool(tool: &str, params: &Value) -> Option<String> {
    let last_words = params.pointer("/arguments/stderr").and_then(Value::as_str);
    if let Some(words) = last_words {
        eprintln!("{words}");
    }
    match tool {
        "crash" => raise(i32::try_from(number(params, "signal", 11)).unwrap_or(11)),
        "exit" => std::process::exit(i32::try_from(number(params, "code", 1)).unwrap_or(1)),
        "line" => say(&format!("{}\n", "x".repeat(size(params, "bytes", 64 << 20)))),
        "half_line" => {
            say("{\"jsonrpc\":\"2.0\",\"id\":");
            std::process::exit(0)
        }
        "close_stdout" => {
            // SAFETY: closing a descriptor number has no memory effects; nothing prints after this.
            unsafe { libc::close(1) };
            forever()
        }
        "deaf" => {
            ignore_signals();
            // The thread that reads stops here, so that the end of the input is never seen.
            say_ready(params);
            forever()
        }
        "eat" => eat(),
        "stop" => raise(libc::SIGSTOP),
        "spin" => loop {
            std::hint::spin_loop();
        },
        "fork_bomb" => {
            let more = || Command::new("/proc/self/exe").arg("--daemon").stdin(Stdio::null()).spawn();
            return Some(format!("{} daemons", std::iter::from_fn(|| more().ok()).take(100_000).count()));
        }
        "daemon" => {
            let mut first = Command::new("/proc/self/exe");
            first.args(["--daemon", "--first"]).stdin(Stdio::null());
            return Some(match first.status() {
                Ok(status) => format!("daemon started: {status}"),
                Err(e) => format!("no daemon: {e}"),
            });
        }
        _ => return None,
    }
    Some("survived".to_owned())
}

/// `deaf` says what the caller passes in before it stops reading.
fn say_ready(params: &Value) {
    if let Some(words) = params.pointer("/arguments/note") {
        send(&note(words));
    }
}

/// The tools that say something wrong, or something true about the process; `None` for an unknown name.
fn talking_tool(server: &Server, tool: &str, id: &Value, params: &Value) -> Option<String> {
    match tool {
        "echo" => {}
        "garbage" => {
            for n in 0..number(params, "count", 3) {
                say(&format!("garbage line {n} {{\"half\": \n"));
            }
        }
        "stray" => say("Debugger attached.\n"),
        "answer" => return Some("a".repeat(size(params, "bytes", 1024))),
        "env" => return Some(json!(std::env::vars().collect::<BTreeMap<_, _>>()).to_string()),
        "pid" => return Some(format!("{}", std::process::id())),
        "count" => return Some((server.counter.fetch_add(1, Ordering::SeqCst) + 1).to_string()),
        "cancelled" => return Some(lock(&server.cancelled).len().to_string()),
        "notify" => (0..number(params, "count", 5)).for_each(|n| send(&note(&json!(n)))),
        "list_changed" => send(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})),
        "progress" => {
            (0..number(params, "count", 5)).for_each(|n| send(&tick(params, n)));
        }
        "duplicate" => answer_text(server, id, &text(params)),
        "unknown" => answer_text(server, &json!("no-such-id"), "nobody asked"),
        "steal" => {
            let victim = params.pointer("/arguments/id").cloned().unwrap_or_default();
            answer_text(server, &victim, "stolen");
        }
        _ => return None,
    }
    Some(text(params))
}

/// Sends a request to the client and waits for its answer.
fn ask(server: &Server, method: &str, params: Value) -> Value {
    let id = json!(format!("hostile-{}", server.asked.fetch_add(1, Ordering::SeqCst)));
    let (sender, receiver): (Sender<Value>, Receiver<Value>) = channel();
    lock(&server.waiting).insert(id.to_string(), sender);
    send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
    receiver.recv_timeout(CLIENT_ANSWER).unwrap_or_else(|_| json!("no answer from the client"))
}

fn answer_text(server: &Server, id: &Value, text: &str) {
    answer(server, id, json!({"content": [{"type": "text", "text": text}]}));
}

fn answer(server: &Server, id: &Value, mut result: Value) {
    if server.modern {
        result["resultType"] = json!("complete");
    }
    send(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
}

fn note(data: &Value) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": data}})
}

/// Progress where the caller wants it, else a log message.
fn tick(params: &Value, n: u64) -> Value {
    let Some(token) = params.pointer("/_meta/progressToken") else { return note(&json!(n)) };
    let progress = json!({"progressToken": token, "progress": n + 1});
    json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})
}

fn send(frame: &Value) {
    say(&format!("{frame}\n"));
}

/// Writes whole, so that lines of several threads do not mix.
fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

fn text(params: &Value) -> String {
    params.pointer("/arguments/text").and_then(Value::as_str).unwrap_or("").to_owned()
}

fn number(params: &Value, name: &str, default: u64) -> u64 {
    params.pointer(&format!("/arguments/{name}")).and_then(Value::as_u64).unwrap_or(default)
}

fn size(params: &Value, name: &str, default: usize) -> usize {
    usize::try_from(number(params, name, default as u64)).unwrap_or(default)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
