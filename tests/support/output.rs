//! What a started process writes, collected by threads so that it never waits for its reader. Bounded by [`LOG_MAX`].

use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// The most of the log that is kept, in bytes.
const LOG_MAX: usize = 4 << 20;

/// Standard error, collected while it runs.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    text: Arc<Mutex<Vec<u8>>>,
}

impl Log {
    /// Collects until the end, in a thread.
    pub(crate) fn follow(child: &mut Child) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&text);
        let mut stderr = child.stderr.take().unwrap_or_else(|| panic!("stderr is a pipe"));
        std::thread::spawn(move || {
            let mut chunk = [0; 16 * 1024];
            while let Ok(n @ 1..) = stderr.read(&mut chunk) {
                let mut text = shared.lock().unwrap_or_else(PoisonError::into_inner);
                text.extend(&chunk[..n]);
                let excess = text.len().saturating_sub(LOG_MAX);
                text.drain(..excess);
            }
        });
        Self { text }
    }

    /// What was collected so far.
    pub(crate) fn read(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Standard output, line by line; disconnected at its end.
pub(crate) fn follow_stdout(child: &mut Child) -> Receiver<String> {
    let stdout = child.stdout.take().unwrap_or_else(|| panic!("stdout is a pipe"));
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
