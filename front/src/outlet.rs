//! A bounded queue of frames from a hosted server to one HTTP answer.
//!
//! Promises: one reader, any number of writers, all on one thread; a push never waits: what is too much for a slow reader
//! is refused, and the writer decides what ends.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::limits::Budget;

/// The name of one event of a legacy session, as the client sees it in `id:` and gives back in `Last-Event-ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventId {
    /// which stream of the session; 0 is the standalone stream
    pub(crate) stream: u64,
    /// which event of that stream, from 1; 0 is the priming event
    pub(crate) number: u64,
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.stream, self.number)
    }
}

impl std::str::FromStr for EventId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (stream, number) = text.split_once('-').ok_or(())?;
        Ok(Self { stream: stream.parse().map_err(drop)?, number: number.parse().map_err(drop)? })
    }
}

/// One frame on its way to a client.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// one JSON-RPC message on one line
    pub(crate) frame: Bytes,
    /// its event name, on streams that can be resumed
    pub(crate) event: Option<EventId>,
    /// whether it is the answer to a request of this stream
    pub(crate) last: bool,
}

/// The reader does not keep up.
#[derive(Debug)]
pub(crate) struct TooSlow;

/// The queue.
#[derive(Debug)]
pub(crate) struct Outlet {
    state: RefCell<State>,
    budget: Rc<Budget>,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Item>,
    bytes: usize,
    waker: Option<Waker>,
    closed: bool,
    gone: bool,
}

impl Outlet {
    /// An empty queue that counts against `budget`.
    pub(crate) fn new(budget: &Rc<Budget>) -> Rc<Self> {
        let state = State { queue: VecDeque::new(), bytes: 0, waker: None, closed: false, gone: false };
        Rc::new(Self { state: RefCell::new(state), budget: budget.clone() })
    }

    /// Adds a frame. After the end, or when the reader has gone, it is dropped.
    pub(crate) fn push(&self, item: Item) -> Result<(), TooSlow> {
        let mut state = self.state.borrow_mut();
        if state.closed || state.gone {
            return Ok(());
        }
        let size = item.frame.len();
        if !self.budget.take(state.bytes, size) {
            return Err(TooSlow);
        }
        state.bytes += size;
        state.queue.push_back(item);
        wake(state);
        Ok(())
    }

    /// Ends the stream after what is queued.
    pub(crate) fn close(&self) {
        let mut state = self.state.borrow_mut();
        state.closed = true;
        wake(state);
    }

    /// Drops what is queued and ends the stream with one last frame.
    pub(crate) fn fail(&self, frame: Bytes) {
        let mut state = self.state.borrow_mut();
        self.budget.give(state.bytes);
        state.bytes = 0;
        state.queue.clear();
        state.queue.push_back(Item { frame, event: None, last: true });
        state.closed = true;
        wake(state);
    }

    /// The next frame; `None` at the end.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        let mut state = self.state.borrow_mut();
        if let Some(item) = state.queue.pop_front() {
            let size = item.frame.len().min(state.bytes);
            state.bytes -= size;
            self.budget.give(size);
            return Poll::Ready(Some(item));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The next frame; `None` at the end.
    pub(crate) async fn next(&self) -> Option<Item> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// The reader has gone: what is queued is dropped, later frames too.
    pub(crate) fn leave(&self) {
        let mut state = self.state.borrow_mut();
        state.gone = true;
        self.budget.give(state.bytes);
        state.bytes = 0;
        state.queue = VecDeque::new();
        state.waker = None;
    }

    /// Whether a reader is there and the stream is open.
    pub(crate) fn is_open(&self) -> bool {
        let state = self.state.borrow();
        !state.closed && !state.gone
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.budget.give(self.state.borrow().bytes);
    }
}

fn wake(mut state: std::cell::RefMut<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &'static str) -> Item {
        Item { frame: Bytes::from_static(text.as_bytes()), event: None, last: false }
    }

    fn drain(outlet: &Outlet) -> Vec<Bytes> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut out = Vec::new();
        while let Poll::Ready(Some(item)) = outlet.poll(&mut cx) {
            out.push(item.frame);
        }
        out
    }

    #[test]
    fn frames_arrive_in_order_and_the_end_is_told() {
        let outlet = Outlet::new(&Rc::new(Budget::new(100)));
        outlet.push(item("a")).unwrap();
        outlet.push(item("b")).unwrap();
        outlet.close();
        outlet.push(item("late")).unwrap();
        assert_eq!(drain(&outlet), ["a", "b"]);
        assert!(!outlet.is_open());
    }

    #[test]
    fn a_slow_reader_is_told_apart_and_ended_with_a_reason() {
        let budget = Rc::new(Budget::new(4));
        let outlet = Outlet::new(&budget);
        outlet.push(item("abc")).unwrap();
        assert!(outlet.push(item("de")).is_err());
        outlet.fail(Bytes::from_static(b"why"));
        assert_eq!(drain(&outlet), ["why"]);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_is_left_is_given_back() {
        let budget = Rc::new(Budget::new(4));
        let outlet = Outlet::new(&budget);
        outlet.push(item("abc")).unwrap();
        outlet.leave();
        assert_eq!(budget.used(), 0);
        outlet.push(item("abc")).unwrap();
        assert_eq!(drain(&outlet).len(), 0);
        let other = Outlet::new(&budget);
        other.push(item("ab")).unwrap();
        drop(other);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn event_names_survive_the_way_to_the_client_and_back() {
        let id = EventId { stream: 7, number: 12 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "1", "1-", "-1", "1-x", "1-2-3"] {
            assert!(bad.parse::<EventId>().is_err(), "{bad}");
        }
    }
}
