//! What a legacy session has sent on its event streams lately, for `Last-Event-ID`.
//!
//! Promises: at most the given number of bytes; the oldest events go first; nothing is allocated before the first event.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::outlet::{EventId, Item};

/// What one event costs beside its frame, in bytes.
const OVERHEAD: usize = 64;

/// The buffer.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    events: VecDeque<(EventId, Bytes, bool)>,
    bytes: usize,
}

impl Replay {
    /// Keeps one event; forgets old ones beyond `limit` bytes.
    pub(crate) fn keep(&mut self, id: EventId, frame: Bytes, last: bool, limit: usize) {
        self.bytes += frame.len() + OVERHEAD;
        self.events.push_back((id, frame, last));
        while self.bytes > limit {
            let Some((_, frame, _)) = self.events.pop_front() else { break };
            self.bytes -= frame.len() + OVERHEAD;
        }
    }

    /// What is kept, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The events of one stream after the named one, in order.
    pub(crate) fn after(&self, id: EventId) -> impl Iterator<Item = Item> + '_ {
        self.events
            .iter()
            .filter(move |(event, ..)| event.stream == id.stream && event.number > id.number)
            .map(|(event, frame, last)| Item { frame: frame.clone(), event: Some(*event), last: *last })
    }

    /// Whether the answer of this stream has been sent.
    pub(crate) fn is_finished(&self, stream: u64) -> bool {
        self.events.iter().any(|(event, _, last)| event.stream == stream && *last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(stream: u64, number: u64) -> EventId {
        EventId { stream, number }
    }

    #[test]
    fn only_later_events_of_the_same_stream_come_again() {
        let mut replay = Replay::default();
        for (stream, number) in [(1, 1), (2, 1), (1, 2), (1, 3)] {
            replay.keep(id(stream, number), Bytes::from(format!("{stream}.{number}")), number == 3, 10_000);
        }
        let again: Vec<_> = replay.after(id(1, 1)).map(|item| item.frame).collect();
        assert_eq!(again, ["1.2", "1.3"]);
        assert!(replay.is_finished(1) && !replay.is_finished(2));
    }

    #[test]
    fn the_bytes_are_bounded() {
        let mut replay = Replay::default();
        for number in 0..1000 {
            replay.keep(id(0, number), Bytes::from(vec![0; 36]), false, 1000);
        }
        assert_eq!((replay.events.len(), replay.bytes), (10, 1000));
        replay.keep(id(0, 1000), Bytes::from(vec![0; 5000]), false, 1000);
        assert_eq!((replay.events.len(), replay.bytes), (0, 0));
    }
}
