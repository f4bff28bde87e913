//! Server-sent events as bytes arrive. It promises: comments are counted, not shown; events come in order.

use std::io;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http::Body;

/// One event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// the `id` field
    pub id: Option<String>,
    /// the `event` field
    pub name: Option<String>,
    /// the `retry` field in milliseconds
    pub retry: Option<u64>,
    /// the `data` lines, joined
    pub data: String,
}

impl Event {
    /// The data as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data)
            .unwrap_or_else(|e| panic!("event data is not JSON ({e}): {:?}", self.data))
    }
}

/// Splits the bytes of a whole stream into events.
#[must_use]
pub fn parse(text: &str) -> Vec<Event> {
    let text = text.replace("\r\n", "\n");
    text.split("\n\n").filter_map(parse_one).collect()
}

fn parse_one(block: &str) -> Option<Event> {
    let mut event = Event::default();
    let mut data: Vec<&str> = Vec::new();
    let mut fields = 0;
    for line in block.lines().filter(|line| !line.is_empty() && !line.starts_with(':')) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        fields += 1;
        match field {
            "id" => event.id = Some(value.to_owned()),
            "event" => event.name = Some(value.to_owned()),
            "retry" => event.retry = value.parse().ok(),
            "data" => data.push(value),
            _ => {}
        }
    }
    event.data = data.join("\n");
    (fields > 0).then_some(event)
}

/// An open event stream.
#[derive(Debug)]
pub struct Events {
    body: Body,
    text: Vec<u8>,
    /// comment lines seen so far
    pub comments: usize,
}

impl Events {
    /// Reads events from a response's body.
    #[must_use]
    pub fn new(body: Body) -> Self {
        Self { body, text: Vec::new(), comments: 0 }
    }

    /// The next event; `None` when the stream ended.
    ///
    /// # Errors
    /// `TimedOut` when none came within `limit`, or what the socket says.
    pub fn next(&mut self, limit: Duration) -> io::Result<Option<Event>> {
        let end = Instant::now() + limit;
        loop {
            if let Some(block) = self.take_block() {
                self.comments += block.lines().filter(|line| line.starts_with(':')).count();
                if let Some(event) = parse_one(&block) {
                    return Ok(Some(event));
                }
                continue;
            }
            let mut chunk = [0; 16 * 1024];
            match self.body.read(&mut chunk, end)? {
                0 => return Ok(None),
                n => self.text.extend(&chunk[..n]),
            }
        }
    }

    /// The next event that carries data.
    ///
    /// # Errors
    /// As [`Events::next`]; `UnexpectedEof` when the stream ended first.
    pub fn next_data(&mut self, limit: Duration) -> io::Result<Event> {
        let end = Instant::now() + limit;
        loop {
            match self.next(end.saturating_duration_since(Instant::now()))? {
                Some(event) if event.data.is_empty() => {}
                Some(event) => return Ok(event),
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the event stream ended")),
            }
        }
    }

    fn take_block(&mut self) -> Option<String> {
        let at = self.text.windows(2).position(|pair| pair == b"\n\n");
        let crlf = self.text.windows(4).position(|four| four == b"\r\n\r\n");
        let (end, skip) = match (at, crlf) {
            (Some(at), Some(crlf)) if crlf < at => (crlf, 4),
            (Some(at), _) => (at, 2),
            (None, Some(crlf)) => (crlf, 4),
            (None, None) => return None,
        };
        let block = String::from_utf8_lossy(&self.text[..end]).replace("\r\n", "\n");
        self.text.drain(..end + skip);
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_comments_are_not_events() {
        let events = parse(": hi\n\nid: 1\nretry: 5\ndata:\n\nevent: message\ndata: a\ndata: b\n\n");
        assert_eq!(events.len(), 2);
        assert_eq!((events[0].id.as_deref(), events[0].retry), (Some("1"), Some(5)));
        assert_eq!(events[1].data, "a\nb");
    }
}
