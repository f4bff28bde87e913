//! A hosted server's standard error: always drained, its last lines kept, some of it logged.
//!
//! Promises: however much a server writes, the memory is [`KEEP`] bytes and the log gets a bounded number of lines.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::time::Instant;

use crate::limits::Bucket;
use crate::log;

/// What is kept for error messages, in bytes.
const KEEP: usize = 2048;

/// The most lines in an error message.
const LINES: usize = 8;

/// Log lines of one server at once, and per second in the long run.
const LOG_BURST: u32 = 60;
const LOG_PER_SECOND: u32 = 10;

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// The last bytes of a stream.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    /// Adds bytes, forgets old ones.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let new = &bytes[bytes.len().saturating_sub(KEEP)..];
        let drop = (self.bytes.len() + new.len()).saturating_sub(KEEP);
        self.bytes.drain(..drop);
        self.bytes.extend_from_slice(new);
    }

    /// The last lines, joined by `; `; empty when nothing was written.
    pub(crate) fn lines(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let joined = lines[lines.len().saturating_sub(LINES)..].join("; ");
        joined.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

/// Reads until the end.
pub(crate) async fn drain(mut pipe: Receiver, name: String, tail: Rc<RefCell<Tail>>) {
    let mut bucket = Bucket::new(LOG_BURST, LOG_PER_SECOND, Instant::now());
    let mut chunk = vec![0u8; CHUNK];
    loop {
        let length = match pipe.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(length) => length,
        };
        tail.borrow_mut().add(&chunk[..length]);
        log_lines(&chunk[..length], &name, &mut bucket);
        // A flood must leave the thread to others after every chunk.
        tokio::task::yield_now().await;
    }
}

fn log_lines(chunk: &[u8], name: &str, bucket: &mut Bucket) {
    let now = Instant::now();
    for line in chunk.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        match bucket.pass(now) {
            Some(0) => log::line(format_args!("{name} stderr: {}", log::quote(line))),
            Some(n) => log::line(format_args!("{name} stderr ({n} lines not shown): {}", log::quote(line))),
            // The rest of a chunk is not worth looking at; what is kept for errors is kept already.
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut tail = Tail::default();
        for n in 0..10_000 {
            tail.add(format!("line {n}\r\n").as_bytes());
        }
        assert!(tail.bytes.len() <= KEEP);
        assert_eq!(tail.lines().split("; ").count(), LINES);
        assert!(tail.lines().ends_with("line 9999"));
        tail.add(&vec![b'x'; 10 * KEEP]);
        assert_eq!(tail.bytes.len(), KEEP);
    }

    #[test]
    fn control_characters_do_not_reach_the_message() {
        let mut tail = Tail::default();
        tail.add(b"a\x1b[31m\n");
        assert_eq!(tail.lines(), "a [31m");
    }
}
