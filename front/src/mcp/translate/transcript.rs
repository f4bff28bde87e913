//! Transcripts for the tests of both adapters: each action as one line of text.

use super::Action;

/// `>` to the child, `<N` to call N, `<N.` its answer, `<-` to the session, `xN` a closed stream, `!` unusable.
pub(super) fn lines(actions: Vec<Action>) -> Vec<String> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let line = |action| match action {
        Action::ToServer(frame) => format!("> {}", text(frame)),
        Action::ToClient { call: Some(call), frame, last: false } => format!("<{} {}", call.0, text(frame)),
        Action::ToClient { call: Some(call), frame, last: true } => format!("<{}. {}", call.0, text(frame)),
        Action::ToClient { call: None, frame, .. } => format!("<- {}", text(frame)),
        Action::Close(call) => format!("x{}", call.0),
        Action::Unusable(why) => format!("! {why}"),
    };
    actions.into_iter().map(line).collect()
}

/// A JSON-RPC request as text.
pub(super) fn request(id: &str, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

/// A JSON-RPC notification as text.
pub(super) fn notification(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#)
}

/// A JSON-RPC result as text.
pub(super) fn result(id: &str, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

/// A JSON-RPC error as text.
pub(super) fn error(id: &str, code: i64, message: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#)
}
