//! `mirror`: a hosted server for differential tests. It shows what reached it and says what it is told to say.
//!
//! Promises, one JSON-RPC frame a line in either protocol era:
//! - a request without orders is answered with `{"resultType":"complete","received":LINE}`, where LINE is the very
//!   line that came in, as a string;
//! - a request whose params hold `say` writes those strings as lines of their own, then answers with the JSON text in
//!   `params.answer`; in both, `"%TOKEN%"` stands for the progress token and `"%REQUEST%"` for the id of this request;
//! - notifications and responses are kept, at most [`KEPT`], and `vendor/log` hands them over and forgets them.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// How many lines are kept for `vendor/log`; later ones push out the oldest.
const KEPT: usize = 10_000;

/// The members of a frame that matter here; numbers and spelling stay as they came.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<String>,
    #[serde(default)]
    params: Params<'a>,
}

#[derive(Deserialize, Default)]
struct Params<'a> {
    #[serde(default)]
    say: Vec<String>,
    answer: Option<String>,
    #[serde(rename = "protocolVersion")]
    revision: Option<Value>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "progressToken")]
    token: Option<&'a RawValue>,
}

fn main() -> ExitCode {
    match serve(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("mirror: {cause}");
            ExitCode::FAILURE
        }
    }
}

fn serve(input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let mut kept: Vec<String> = Vec::new();
    for line in input.lines() {
        let line = line?;
        let frame: Frame = match serde_json::from_str(&line) {
            Ok(frame) => frame,
            Err(cause) => {
                eprintln!("mirror: a line is no frame ({cause}): {}", &line[..line.len().min(200)]);
                continue;
            }
        };
        match (&frame.id, &frame.method) {
            (Some(id), Some(method)) => {
                for said in &frame.params.say {
                    writeln!(output, "{}", fill(said, &frame))?;
                }
                let result = result(method, &frame, &line, &mut kept);
                writeln!(output, r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, id.get())?;
                output.flush()?;
            }
            _ => {
                if kept.len() == KEPT {
                    kept.remove(0);
                }
                kept.push(line);
            }
        }
    }
    Ok(())
}

/// Puts this request's token and id where the placeholders stand.
fn fill(text: &str, frame: &Frame<'_>) -> String {
    let token = frame.params.meta.as_ref().and_then(|meta| meta.token).map_or("null", RawValue::get);
    let id = frame.id.map_or("null", RawValue::get);
    text.replace(r#""%TOKEN%""#, token).replace(r#""%REQUEST%""#, id)
}

fn result(method: &str, frame: &Frame<'_>, line: &str, kept: &mut Vec<String>) -> String {
    let capabilities =
        json!({ "logging": {}, "tools": { "listChanged": true }, "x-vendor": { "mirror": true } });
    let name = json!({ "name": "mirror", "version": "1" });
    if let Some(answer) = &frame.params.answer {
        return fill(answer, frame);
    }
    let value = match method {
        "initialize" => json!({
            "protocolVersion": frame.params.revision, "capabilities": capabilities, "serverInfo": name
        }),
        "server/discover" => json!({
            "resultType": "complete", "supportedVersions": ["2025-06-18", "2025-11-25", "2026-07-28"],
            "capabilities": capabilities, "ttlMs": 0, "cacheScope": "private",
            "_meta": { "io.modelcontextprotocol/serverInfo": name }
        }),
        "tools/list" => json!({
            "resultType": "complete", "ttlMs": 0, "cacheScope": "private",
            "tools": [{ "name": "mirror", "inputSchema": { "type": "object" }, "x-vendor": 1 }]
        }),
        "vendor/log" => json!({ "resultType": "complete", "frames": std::mem::take(kept) }),
        _ => json!({ "resultType": "complete", "received": line }),
    };
    value.to_string()
}
