//! Frames on their way to a client as server-sent events.
//!
//! Asserts: a reader that follows the event stream's grammar gets exactly the frames, in order and with their names, and
//! the stream ends with the last answer.

use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::limits::Budget;
use crate::outlet::{EventId, Item, Outlet};
use crate::sse::{Events, priming};

/// What this byte stands for at the start of a frame: more than is gathered with others.
const RUN: u8 = 0xf8;
const RUN_BYTES: usize = 17_000;

thread_local! {
    static CLOCK: Runtime = Builder::new_current_thread().enable_time().build().unwrap_or_else(|e| panic!("{e}"));
}

#[derive(Debug, PartialEq, Eq)]
struct Event {
    id: Option<String>,
    data: Vec<u8>,
}

/// Frames end with a line feed; the first byte of each chooses its name and whether it is an answer.
pub(super) fn run(data: &[u8]) {
    let Some((answers, rest)) = data.split_first() else { return };
    let answers = usize::from(answers % 4);
    CLOCK.with(|clock| {
        let _entered = clock.enter();
        stream(answers, rest);
    });
}

fn stream(answers: usize, rest: &[u8]) {
    let outlet = Outlet::new(&Rc::new(Budget::new(1 << 20)));
    let start = EventId { stream: 1, number: 0 };
    let mut events =
        Events::new(outlet.clone(), answers, Duration::from_secs(3600)).with_first(Some(priming(start)));
    let mut expected = vec![Event { id: Some(start.to_string()), data: Vec::new() }];
    let mut open = answers;
    let mut bytes = Vec::new();
    for (number, frame) in (1..).zip(rest.split(|byte| *byte == b'\n').take(32)) {
        let (how, frame) = frame.split_first().map_or((0, frame), |(how, frame)| (*how, frame));
        let item = Item {
            frame: one_line(frame).into(),
            event: (how & 1 == 1).then_some(EventId { stream: u64::from(how), number }),
            last: how & 2 == 2,
        };
        let over = answers > 0 && open == 0;
        if outlet.push(item.clone()).is_ok() && !over {
            open -= usize::from(item.last && open > 0);
            expected.push(Event { id: item.event.map(|id| id.to_string()), data: item.frame.to_vec() });
        }
        if how & 4 == 4 {
            drain(&mut events, &mut bytes);
        }
    }
    let ended = drain(&mut events, &mut bytes);
    assert_eq!(ended, answers > 0 && open == 0);
    assert_eq!(read(&bytes), expected);
}

fn one_line(frame: &[u8]) -> Vec<u8> {
    let run = frame.first() == Some(&RUN);
    let mut out = vec![b'x'; if run { RUN_BYTES } else { 0 }];
    crate::splice::write_line(frame, &mut out);
    out
}

fn drain(events: &mut Events, bytes: &mut Vec<u8>) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match events.poll(&mut cx) {
            Poll::Ready(Some(more)) => bytes.extend_from_slice(&more),
            Poll::Ready(None) => return true,
            Poll::Pending => return false,
        }
    }
}

/// Reads an event stream by its grammar (the HTML standard, "server-sent events"): LF, CR or both end a line.
fn read(bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut current = Event { id: None, data: Vec::new() };
    let mut has_data = false;
    let mut at = 0;
    while at < bytes.len() {
        let length = bytes[at..].iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap_or(bytes.len() - at);
        let line = &bytes[at..at + length];
        at += length + if bytes[at + length..].starts_with(b"\r\n") { 2 } else { 1 };
        if line.is_empty() {
            if has_data {
                events.push(std::mem::replace(&mut current, Event { id: None, data: Vec::new() }));
            }
            has_data = false;
            continue;
        }
        let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"data" => {
                assert!(!has_data, "a frame is in two lines");
                has_data = true;
                current.data.extend_from_slice(value);
            }
            b"id" => current.id = Some(String::from_utf8_lossy(value).into_owned()),
            b"retry" => {}
            other => panic!("a field {:?}", String::from_utf8_lossy(other)),
        }
    }
    assert!(!has_data, "the stream stops within an event");
    events
}
