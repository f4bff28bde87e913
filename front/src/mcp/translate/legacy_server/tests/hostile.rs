//! Any order of sensible, senseless and hostile messages: no panic, one answer at most, every bound held.

use std::collections::HashSet;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::mcp::translate::transcript::{error, notification};

/// One thing that happens to an adapter.
#[derive(Clone, Debug)]
enum Step {
    Client(String),
    Server(String),
    Junk(Vec<u8>),
    Closed(u64),
    Time,
}

fn retry(state: &str) -> String {
    let responses = r#"{"question-1-1":{"action":"accept"},"url-1":{"action":"accept"}}"#;
    let more = format!(r#","inputResponses":{responses},"requestState":"{}""#, state.repeat(16));
    request("7", "tools/call", &tool("t", ALL, &more))
}

fn client() -> impl Strategy<Value = Step> {
    let listen = format!(
        r#"{{"notifications":{{"toolsListChanged":true,"resourceSubscriptions":["u","v"]}},{}}}"#,
        meta("{}", "")
    );
    let level = meta("{}", r#","io.modelcontextprotocol/logLevel":"info","progressToken":"p""#);
    select(vec![
        request("1", "tools/call", &tool("t", ALL, "")),
        request("2", "tools/call", &tool("t", ALL, "")),
        request("3", "tools/call", &tool("t", "{}", "")),
        request("4", "prompts/get", &format!("{{{level}}}")),
        request("\"l\"", "subscriptions/listen", &listen),
        request("5", "server/discover", &format!("{{{}}}", meta("{}", ""))),
        retry("01"),
        retry("02"),
        retry("03"),
        notification("notifications/cancelled", r#"{"requestId":1}"#),
    ])
    .prop_map(Step::Client)
}

fn server() -> impl Strategy<Value = Step> {
    let question = |id| {
        select(vec!["roots/list", "sampling/createMessage", "elicitation/create", "ping", "tasks/get"])
            .prop_map(move |method| request(id, method, r#"{"mode":"url","url":"u"}"#))
    };
    let id = || select(vec!["1", "2", "3", "4", "5", "6"]);
    let answer = id().prop_map(|id| {
        result(id, r#"{"protocolVersion":"2025-11-25","capabilities":{"resources":{"subscribe":true}}}"#)
    });
    let needed = id().prop_map(|id| {
        let data = r#"{"elicitations":[{"url":"u"}]}"#;
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32042,"message":"m","data":{data}}}}}"#)
    });
    let told = select(vec![
        notification("notifications/cancelled", r#"{"requestId":"q"}"#),
        notification("notifications/progress", r#"{"progressToken":2,"progress":1}"#),
        notification("notifications/message", r#"{"level":"error","data":1}"#),
        notification("notifications/tools/list_changed", "{}"),
        notification("notifications/resources/updated", r#"{"uri":"u"}"#),
    ]);
    prop_oneof![
        4 => question("\"q\""),
        4 => question("9"),
        2 => answer,
        1 => needed,
        1 => id().prop_map(|id| error(id, -32000, "no")),
        2 => told,
    ]
    .prop_map(Step::Server)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let odd = (select(vec!["id", "method", "params", "result", "error"]), ".{0,12}")
        .prop_map(|(name, value)| format!(r#"{{"id":2,"method":"tools/call","{name}":{}}}"#, quote(&value)));
    let step = prop_oneof![
        6 => client(),
        6 => server(),
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
        let mut adapter = if begun { ready_with(limits) } else { new(limits) };
        let mut answered = HashSet::new();
        let mut actions = adapter.start(0);
        for (now, step) in (0u64..).zip(steps) {
            actions.extend(match step {
                Step::Client(frame) => adapter.on_client(CallId(now), frame.as_bytes(), now),
                Step::Server(frame) => adapter.on_server(frame.as_bytes(), now),
                Step::Junk(bytes) => adapter.on_server(&bytes, now),
                Step::Closed(call) => adapter.on_closed(CallId(call)),
                Step::Time => adapter.on_time(now),
            });
            for action in actions.drain(..) {
                match action {
                    Action::ToServer(frame) => prop_assert!(!frame.contains(&b'\n')),
                    Action::ToClient { call: Some(call), frame, last } => {
                        prop_assert!(Message::parse(&frame).is_ok() || frame.windows(9).any(|w| w == b"\"id\":null"));
                        prop_assert!(!answered.contains(&call), "{call:?} was answered already");
                        if last {
                            answered.insert(call);
                        }
                    }
                    Action::ToClient { .. } | Action::Close(_) => prop_assert!(false, "not for modern clients"),
                    Action::Unusable(_) => {}
                }
            }
            let parked = adapter.calls.values().filter(|call| call.caller.is_none()).count();
            prop_assert_eq!(parked, adapter.parked.len());
            prop_assert!(parked + adapter.repetitions.len() <= 2 && adapter.calls.len() <= 10);
            prop_assert!(adapter.held <= 4096 + 256 && adapter.own.len() <= 3 && adapter.listens.len() <= 2);
            if adapter.parked.is_empty() && adapter.waiting.is_empty() {
                prop_assert_eq!(adapter.held, 0);
            }
        }
        adapter.fail_all("over");
        prop_assert!(adapter.calls.is_empty() && adapter.streams.is_empty() && adapter.held == 0);
    }

    #[test]
    fn notifications_of_other_kinds_are_byte_equal(name in "[a-z/]{1,12}", value in any::<f64>(), text in ".{0,20}") {
        let mut adapter = ready();
        adapter.call(1, "1");
        let params = format!(r#"{{ "v" : {}, "t": {} }}"#, serde_json::json!(value), quote(&text));
        let frame = notification(&format!("vendor/{name}"), &params);
        prop_assert_eq!(adapter.s(&frame), [format!("<1 {}", frame)]);
    }
}
