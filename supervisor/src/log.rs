//! The log: one line on standard error for each thing that happened, at the edge only.

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The longest line, in bytes; also the longest that is relayed from a front.
pub const LINE_MAX: usize = 8192;

/// Writes one line. Control characters become `\u{..}`, so that no hosted server can forge lines or drive a terminal.
pub fn line(text: &str) {
    let mut line = String::with_capacity(text.len() + 16);
    line.push_str("gaoler: ");
    for c in text.chars().take(LINE_MAX) {
        match c {
            '\t' => line.push(' '),
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line.push('\n');
    write(&line);
}

/// How long a reader of the log may let this process wait; one that did once is not waited for again until it reads.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What a pipe that polls writable takes at once (pipe(7), `PIPE_BUF`).
const PIECE: usize = 4096;

/// Lines that nobody took.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Writes a line piece by piece, and gives up on it rather than wait for a reader that does not read.
fn write(line: &str) {
    let stderr = std::io::stderr();
    for piece in line.as_bytes().chunks(PIECE) {
        let patience =
            if LOST.load(Ordering::Relaxed) == 0 { PATIENCE } else { Timespec { tv_sec: 0, tv_nsec: 0 } };
        let fd = stderr.as_fd();
        let taken =
            matches!(poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], Some(&patience)), Ok(1..));
        // There is nowhere to report a log that cannot be written.
        if !taken || stderr.lock().write_all(piece).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
    let lost = LOST.swap(0, Ordering::Relaxed);
    if lost > 0 {
        line_of_loss(lost);
    }
}

fn line_of_loss(lost: u64) {
    line(&format!("{lost} lines before the last one were lost, because nobody read them"));
}
