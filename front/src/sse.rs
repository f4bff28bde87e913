//! Frames as server-sent events, and the HTTP body that carries them.
//!
//! Promises: queued events leave together in few writes, big frames are not copied, a quiet stream gets a comment line so
//! that dead connections are noticed, and a reader that goes away is told to whoever asked.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use crate::outlet::{EventId, Item, Outlet};

/// Frames from this size on are handed over without a copy, in bytes.
const BIG: usize = 16 * 1024;

/// Small events are gathered up to this size, in bytes.
const GATHER: usize = 64 * 1024;

/// How long a client should wait before it comes back to a stream, in milliseconds (SEP-1699).
const RETRY_MS: u32 = 1000;

/// Told when the reader of a stream has gone before its end.
pub(crate) trait Hangup {
    /// Nobody reads the answers of this call any more.
    fn hung_up(&self, call: u64);
}

/// The event that gives a client something to come back with before anything has happened.
pub(crate) fn priming(id: EventId) -> Bytes {
    Bytes::from(format!("id: {id}\nretry: {RETRY_MS}\ndata: \n\n"))
}

/// One stream of events.
pub(crate) struct Events {
    outlet: Rc<Outlet>,
    first: Option<Bytes>,
    pending: Option<Item>,
    tail: Option<Bytes>,
    big: Option<Bytes>,
    /// answers still to come; 0 for a stream without an end of its own
    remaining: usize,
    endless: bool,
    done: bool,
    quiet: Duration,
    timer: Pin<Box<Sleep>>,
    hangup: Option<(Rc<dyn Hangup>, u64)>,
}

impl Events {
    /// A stream that ends after `remaining` answers, or never by itself when that is 0.
    pub(crate) fn new(outlet: Rc<Outlet>, remaining: usize, quiet: Duration) -> Self {
        Self {
            outlet,
            first: None,
            pending: None,
            tail: None,
            big: None,
            remaining,
            endless: remaining == 0,
            done: false,
            quiet,
            timer: Box::pin(tokio::time::sleep(quiet)),
            hangup: None,
        }
    }

    /// The same with bytes that go first.
    pub(crate) fn with_first(mut self, first: Option<Bytes>) -> Self {
        self.first = first;
        self
    }

    /// The same with a frame that was taken from the outlet already.
    pub(crate) fn with_item(mut self, item: Option<Item>) -> Self {
        self.pending = item;
        self
    }

    /// The same, telling `who` when the reader goes away early.
    pub(crate) fn with_hangup(mut self, who: Option<(Rc<dyn Hangup>, u64)>) -> Self {
        self.hangup = who;
        self
    }

    /// The next bytes; `None` at the end.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(bytes) = self.first.take().or_else(|| self.big.take()).or_else(|| self.tail.take()) {
            return Poll::Ready(Some(bytes));
        }
        if self.done {
            return Poll::Ready(None);
        }
        let mut out = Vec::new();
        while out.len() < GATHER && !self.done {
            let item = match self.pending.take() {
                Some(item) => item,
                None => match self.outlet.poll(cx) {
                    Poll::Ready(Some(item)) => item,
                    Poll::Ready(None) => {
                        self.done = true;
                        break;
                    }
                    Poll::Pending => break,
                },
            };
            if self.append(item, &mut out) {
                break;
            }
        }
        if !out.is_empty() {
            self.timer.as_mut().reset(Instant::now() + self.quiet);
            return Poll::Ready(Some(out.into()));
        }
        if self.done {
            return Poll::Ready(None);
        }
        self.keep_alive(cx)
    }

    /// Adds one event; true when the rest of it is set aside.
    fn append(&mut self, item: Item, out: &mut Vec<u8>) -> bool {
        if item.last && !self.endless {
            self.remaining = self.remaining.saturating_sub(1);
            self.done = self.remaining == 0;
        }
        if let Some(id) = item.event {
            out.extend_from_slice(format!("id: {id}\n").as_bytes());
        }
        out.extend_from_slice(b"data: ");
        if item.frame.len() < BIG {
            out.extend_from_slice(&item.frame);
            out.extend_from_slice(b"\n\n");
            return false;
        }
        self.big = Some(item.frame);
        self.tail = Some(Bytes::from_static(b"\n\n"));
        true
    }

    fn keep_alive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.timer.as_mut().reset(Instant::now() + self.quiet);
        // Registers the new deadline; a comment line follows in any case.
        let _ = self.timer.as_mut().poll(cx);
        Poll::Ready(Some(Bytes::from_static(b": keep-alive\n\n")))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.outlet.leave();
        if let Some((who, call)) = self.hangup.take()
            && !self.done
        {
            who.hung_up(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Budget;

    fn text(events: &mut Events) -> (String, bool) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut all = Vec::new();
        loop {
            match events.poll(&mut cx) {
                Poll::Ready(Some(bytes)) => all.extend_from_slice(&bytes),
                Poll::Ready(None) => return (String::from_utf8(all).unwrap(), true),
                Poll::Pending => return (String::from_utf8(all).unwrap(), false),
            }
        }
    }

    fn item(frame: Vec<u8>, number: u64, last: bool) -> Item {
        Item { frame: frame.into(), event: Some(EventId { stream: 1, number }), last }
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_gathered_and_the_answer_ends_the_stream() {
        let outlet = Outlet::new(&Rc::new(Budget::new(1 << 20)));
        let mut events = Events::new(outlet.clone(), 1, Duration::from_secs(9));
        outlet.push(item(b"{}".to_vec(), 1, false)).unwrap();
        assert_eq!(text(&mut events), ("id: 1-1\ndata: {}\n\n".to_owned(), false));
        outlet.push(item(b"[1]".to_vec(), 2, true)).unwrap();
        outlet.push(item(b"late".to_vec(), 3, false)).unwrap();
        assert_eq!(text(&mut events), ("id: 1-2\ndata: [1]\n\n".to_owned(), true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_big_frame_is_whole() {
        let outlet = Outlet::new(&Rc::new(Budget::new(1 << 20)));
        let mut events = Events::new(outlet.clone(), 1, Duration::from_secs(9));
        outlet.push(item(vec![b'x'; BIG], 1, true)).unwrap();
        let (text, end) = text(&mut events);
        assert_eq!((text.len(), end), ("id: 1-1\ndata: ".len() + BIG + 2, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_stream_gets_a_comment() {
        let outlet = Outlet::new(&Rc::new(Budget::new(1 << 20)));
        let mut events = Events::new(outlet, 0, Duration::from_secs(9));
        assert_eq!(text(&mut events).0, "");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(text(&mut events).0, ": keep-alive\n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_early_end_of_the_reader_is_told() {
        struct Seen(std::cell::Cell<u64>);
        impl Hangup for Seen {
            fn hung_up(&self, call: u64) {
                self.0.set(call);
            }
        }
        let seen = Rc::new(Seen(std::cell::Cell::new(0)));
        let outlet = Outlet::new(&Rc::new(Budget::new(1 << 20)));
        let new = |call| {
            Events::new(outlet.clone(), 1, Duration::from_secs(9)).with_hangup(Some((seen.clone(), call)))
        };
        let mut whole = new(4).with_item(Some(item(b"1".to_vec(), 1, true)));
        let _ = text(&mut whole);
        drop(whole);
        assert_eq!(seen.0.get(), 0);
        drop(new(5));
        assert_eq!(seen.0.get(), 5);
    }
}
