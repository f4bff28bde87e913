//! What happens to a translation adapter, read from an input, and what must hold after each of it.
//!
//! One step on each line: `c FRAME` from a client, `s FRAME` from the child, `a RESULT` and `e CODE` the child's answer to
//! its oldest open request, `r RESULT` the client's answer to its oldest, `x N` the stream of the N-th call is closed,
//! `t N` time passes in milliseconds, `d` the front drains. Promises: each step is bounded, junk is a step too.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::frame::{Envelope, Key, Kind};
use crate::mcp::translate::{Action, CallId, Limits};

/// Bounds that short scripts reach.
pub(crate) const LIMITS: Limits = Limits {
    calls: 8,
    parked: 2,
    input_ms: 20,
    rounds: 2,
    inputs: 2,
    held_bytes: 4096,
    listens: 2,
    resources: 2,
    server_ms: 20,
};

/// More steps than this teach nothing new.
const STEPS_MAX: usize = 64;

/// An adapter of either direction.
pub(crate) trait Adapter {
    /// Whether its clients are of the legacy era: they can be sent requests and what belongs to no call.
    const LEGACY_CLIENT: bool;
    fn start(&mut self, now: u64) -> Vec<Action>;
    fn client(&mut self, call: CallId, frame: &[u8], now: u64) -> Vec<Action>;
    fn server(&mut self, line: &[u8], now: u64) -> Vec<Action>;
    fn closed(&mut self, call: CallId) -> Vec<Action>;
    fn time(&mut self, now: u64) -> Vec<Action>;
    fn next_time(&self) -> Option<u64>;
    fn fail_all(&mut self) -> Vec<Action>;
    fn drain(&mut self) -> Vec<Action>;
}

/// What is known of the adapter from outside.
#[derive(Default)]
struct World {
    now: u64,
    next_call: u64,
    /// open calls by number, with the id that their answer must have; none when the request had none
    open: HashMap<CallId, Option<Key>>,
    /// the ids that the child was sent
    ids: HashSet<u64>,
    /// requests that the child has not answered
    to_child: VecDeque<u64>,
    /// requests that the client has not answered, by their raw ids
    to_client: VecDeque<String>,
}

/// Runs a script.
pub(crate) fn run<A: Adapter>(adapter: &mut A, script: &[u8]) {
    let mut world = World::default();
    let actions = adapter.start(0);
    world.check::<A>(actions);
    for step in script.split(|byte| *byte == b'\n').take(STEPS_MAX) {
        let (verb, rest) = step.split_first().map_or((b'?', step), |(verb, rest)| (*verb, rest));
        let rest = rest.strip_prefix(b" ").unwrap_or(rest);
        let actions = world.step(adapter, verb, rest);
        world.check::<A>(actions);
    }
    // Time ends everything that waits for it, and each look at the clock makes some progress.
    for _ in 0..64 {
        let Some(next) = adapter.next_time() else { break };
        world.now = world.now.max(next);
        let actions = adapter.time(world.now);
        world.check::<A>(actions);
        assert!(adapter.next_time().is_none_or(|next| next > world.now), "time stands still");
    }
    let actions = adapter.fail_all();
    world.check::<A>(actions);
    assert!(world.open.is_empty(), "{:?} were never answered", world.open);
    assert_eq!(adapter.next_time(), None);
}

impl World {
    fn step<A: Adapter>(&mut self, adapter: &mut A, verb: u8, rest: &[u8]) -> Vec<Action> {
        let text = String::from_utf8_lossy(rest);
        match verb {
            b'c' => self.client(adapter, rest),
            b's' => adapter.server(rest, self.now),
            b'a' | b'e' => {
                let id = self.to_child.pop_front().unwrap_or(1);
                let answer = if verb == b'a' {
                    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{text}}}"#)
                } else {
                    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{text},"message":"no"}}}}"#)
                };
                adapter.server(answer.as_bytes(), self.now)
            }
            b'r' => {
                let id = self.to_client.pop_front().unwrap_or_else(|| "1".to_owned());
                let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{text}}}"#);
                self.client(adapter, answer.as_bytes())
            }
            b'x' => {
                let call = CallId(text.parse().unwrap_or(0));
                // What was asked in its course may still be taken back; an answer has no reader any more.
                let actions = adapter.closed(call);
                let answer = |a: &Action| matches!(a, Action::ToClient { call: Some(c), last: true, .. } if *c == call);
                assert!(!actions.iter().any(answer), "{call:?} is answered after its end");
                self.check::<A>(actions);
                self.open.remove(&call);
                Vec::new()
            }
            b't' => {
                self.now += text.parse::<u16>().map_or(1, u64::from);
                adapter.time(self.now)
            }
            b'd' => adapter.drain(),
            _ => Vec::new(),
        }
    }

    fn client<A: Adapter>(&mut self, adapter: &mut A, frame: &[u8]) -> Vec<Action> {
        let call = CallId(self.next_call);
        self.next_call += 1;
        let envelope = Envelope::parse(frame);
        if envelope.as_ref().is_ok_and(|envelope| envelope.kind == Kind::Request) {
            self.open.insert(call, envelope.ok().and_then(|envelope| Key::of(envelope.id?)));
            return adapter.client(call, frame, self.now);
        }
        // Only what is no message at all may be answered, and then at once.
        self.open.insert(call, None);
        let actions = adapter.client(call, frame, self.now);
        let answered =
            actions.iter().any(|a| matches!(a, Action::ToClient { call: Some(c), .. } if *c == call));
        if !answered {
            self.open.remove(&call);
        }
        actions
    }

    fn check<A: Adapter>(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::ToServer(frame) => self.child_gets(&frame),
                Action::ToClient { call: Some(call), frame, last } => {
                    let expected = self.open.get(&call).cloned();
                    let Some(expected) = expected else { panic!("{call:?} is not open: {}", show(&frame)) };
                    self.client_gets::<A>(&frame, last.then_some(expected));
                    if last {
                        self.open.remove(&call);
                    }
                }
                Action::ToClient { call: None, frame, last } => {
                    assert!(A::LEGACY_CLIENT && !last, "a modern client has no stream for {}", show(&frame));
                    self.client_gets::<A>(&frame, None);
                }
                Action::Close(call) => {
                    assert!(A::LEGACY_CLIENT && self.open.remove(&call).is_some(), "{call:?} is closed");
                }
                Action::Unusable(why) => assert!(!why.is_empty()),
            }
        }
    }

    fn child_gets(&mut self, frame: &[u8]) {
        one_line(frame);
        let Ok(envelope) = Envelope::parse(frame) else { panic!("the child gets {}", show(frame)) };
        if envelope.kind == Kind::Request {
            let id = envelope.id.and_then(|id| id.parse().ok());
            let Some(id) = id else { panic!("the child gets the id of {}", show(frame)) };
            assert!(self.ids.insert(id), "the child gets the id {id} again");
            self.to_child.push_back(id);
        }
    }

    /// `answers` is what the id of an answer must be.
    fn client_gets<A: Adapter>(&mut self, frame: &[u8], answers: Option<Option<Key>>) {
        one_line(frame);
        let Ok(envelope) = Envelope::parse(frame) else { panic!("a client gets {}", show(frame)) };
        match (envelope.kind, answers) {
            (Kind::Result | Kind::Error, Some(expected)) => {
                assert_eq!(envelope.id.and_then(Key::of), expected, "{}", show(frame));
            }
            (Kind::Request, None) if A::LEGACY_CLIENT => {
                self.to_client.push_back(envelope.id.unwrap_or_default().to_owned());
            }
            (Kind::Notification, None) => {}
            (kind, answers) => panic!("a {kind:?} where {answers:?} is awaited: {}", show(frame)),
        }
    }
}

fn one_line(frame: &[u8]) {
    assert!(!frame.iter().any(|byte| matches!(byte, b'\n' | b'\r')), "in two lines: {}", show(frame));
}

fn show(frame: &[u8]) -> String {
    String::from_utf8_lossy(frame).into_owned()
}
