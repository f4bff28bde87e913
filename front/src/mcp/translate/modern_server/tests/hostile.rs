//! Any order of sensible, senseless and hostile messages: no panic, one answer at most, every bound held.

use std::collections::HashSet;

use proptest::prelude::*;
use proptest::sample::select;

use super::input::QUESTIONS;
use super::*;
use crate::mcp::translate::object::quote;
use crate::mcp::translate::transcript::{error, notification};

/// One thing that happens to an adapter.
#[derive(Clone, Debug)]
enum Step {
    Client(String),
    Server(String),
    /// the child answers what it works on, or ends a stream
    Answer(usize, String),
    /// the client answers what it was asked
    Reply(usize),
    Junk(Vec<u8>),
    Closed(u64),
    Time,
}

fn client() -> impl Strategy<Value = Step> {
    let requests = select(vec![
        initialize(ALL),
        request("1", "tools/call", r#"{"name":"t","_meta":{"progressToken":"p"}}"#),
        request("2", "tools/call", r#"{"name":"t"}"#),
        request("3", "tools/list", "{}"),
        request("4", "resources/subscribe", r#"{"uri":"u"}"#),
        request("5", "resources/subscribe", r#"{"uri":"v"}"#),
        request("6", "resources/unsubscribe", r#"{"uri":"u"}"#),
        request("7", "logging/setLevel", r#"{"level":"error"}"#),
        notification("notifications/initialized", "{}"),
        notification("notifications/cancelled", r#"{"requestId":1}"#),
    ]);
    let refusals = (2..9u64).prop_map(|id| error(&id.to_string(), -1, "no"));
    prop_oneof![6 => requests, 1 => refusals].prop_map(Step::Client)
}

fn answer() -> impl Strategy<Value = Step> {
    let results = select(vec![
        QUESTIONS.to_owned(),
        r#"{"resultType":"input_required","requestState":"s"}"#.to_owned(),
        r#"{"resultType":"complete"}"#.to_owned(),
        r#"{"resultType":"task"}"#.to_owned(),
        discover(SERVER),
    ]);
    (any::<usize>(), results).prop_map(|(index, text)| Step::Answer(index, text))
}

fn server() -> impl Strategy<Value = Step> {
    let changes = (2..6u64, select(vec!["subscriptions/acknowledged", "resources/updated", "tools/list_changed"]))
        .prop_map(|(id, method)| {
            let params = format!(
                r#"{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}},"notifications":{{"resourceSubscriptions":["u"]}},"uri":"u"}}"#
            );
            notification(&format!("notifications/{method}"), &params)
        });
    let others = select(vec![
        notification("notifications/progress", r#"{"progressToken":"p"}"#),
        notification("notifications/message", r#"{"level":"error","data":1}"#),
        notification("notifications/cancelled", r#"{"requestId":3}"#),
        request("1", "roots/list", "{}"),
        error("2", -32000, "no"),
    ]);
    prop_oneof![2 => changes, 1 => others].prop_map(Step::Server)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let odd = (select(vec!["id", "method", "params", "result", "error"]), ".{0,12}")
        .prop_map(|(name, value)| format!(r#"{{"id":2,"method":"tools/call","{name}":{}}}"#, quote(&value)));
    let step = prop_oneof![
        6 => client(),
        6 => answer(),
        3 => any::<usize>().prop_map(Step::Reply),
        3 => server(),
        1 => odd.clone().prop_map(Step::Client),
        1 => odd.prop_map(Step::Server),
        1 => any::<Vec<u8>>().prop_map(Step::Junk),
        1 => (0..40u64).prop_map(Step::Closed),
        1 => Just(Step::Time),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn no_order_of_hostile_messages_panics_or_answers_twice(begun in any::<bool>(), steps in steps()) {
        let limits = Limits {
            calls: 8, parked: 2, rounds: 2, inputs: 2, held_bytes: 4096, listens: 2, resources: 2, input_ms: 20,
            server_ms: 20,
        };
        let mut adapter = if begun { ready_with(limits, ALL) } else { Adapter::new(limits) };
        let mut answered = HashSet::new();
        for (now, step) in (0u64..).zip(steps) {
            let actions = match step {
                Step::Client(frame) => adapter.on_client(CallId(now), frame.as_bytes(), now),
                Step::Server(frame) => adapter.on_server(frame.as_bytes(), now),
                Step::Answer(index, text) => {
                    let mut ids: Vec<u64> = adapter.working.keys().chain(adapter.listens.keys()).copied().collect();
                    ids.sort_unstable();
                    let id = ids.get(index % ids.len().max(1)).copied().unwrap_or(1);
                    adapter.on_server(result(&id.to_string(), &text).as_bytes(), now)
                }
                Step::Reply(index) => {
                    let id = adapter.questions.keys().nth(index % adapter.questions.len().max(1)).copied();
                    let text = result(&id.unwrap_or(1).to_string(), r#"{"action":"accept"}"#);
                    adapter.on_client(CallId(now), text.as_bytes(), now)
                }
                Step::Junk(bytes) => adapter.on_server(&bytes, now),
                Step::Closed(call) => adapter.on_closed(CallId(call)),
                Step::Time => adapter.on_time(now),
            };
            for action in actions {
                let (call, last) = match action {
                    Action::ToServer(frame) => {
                        prop_assert!(!frame.contains(&b'\n'));
                        continue;
                    }
                    Action::ToClient { call: Some(call), frame, last } => {
                        prop_assert!(Message::parse(&frame).is_ok() || frame.windows(9).any(|w| w == b"\"id\":null"));
                        (call, last)
                    }
                    Action::Close(call) => (call, true),
                    Action::ToClient { .. } | Action::Unusable(_) => continue,
                };
                prop_assert!(!answered.contains(&call), "{call:?} was answered already");
                if last {
                    answered.insert(call);
                }
            }
            let sizes: usize = adapter.calls.values().map(Call::size).sum();
            prop_assert_eq!(adapter.held, sizes);
            prop_assert!(adapter.held <= 4096 && adapter.calls.len() <= 8 && adapter.questions.len() <= 16);
            prop_assert!(adapter.listens.len() <= 3 && adapter.progress.len() <= 8);
            prop_assert!(adapter.working.len() <= adapter.calls.len());
        }
        adapter.fail_all("over");
        prop_assert!(adapter.calls.is_empty() && adapter.questions.is_empty() && adapter.held == 0);
    }
}
