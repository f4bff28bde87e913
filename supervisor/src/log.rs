//! The log: one line on standard error for each thing that happened, at the edge only.

use std::io::Write;

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
    // There is nowhere to report a log that cannot be written.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
