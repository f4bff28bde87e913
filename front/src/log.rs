//! Log lines on standard error, one per event, in the order they happen.
//!
//! Promises: control characters of strangers never reach the operator's terminal, and a line is bounded.

use std::fmt::Write as _;
use std::io::Write as _;

/// The longest piece of a stranger's text in one line, in bytes.
const QUOTE_MAX: usize = 400;

/// Writes one line. A log that cannot be written is no reason to stop serving.
pub(crate) fn line(text: std::fmt::Arguments<'_>) {
    let mut out = String::with_capacity(128);
    if writeln!(out, "gaoler-front: {text}").is_ok() {
        let _ = std::io::stderr().write_all(out.as_bytes());
    }
}

/// A stranger's bytes as bounded, printable text.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(QUOTE_MAX)];
    let mut text: String =
        String::from_utf8_lossy(cut).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if cut.len() < bytes.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_text_is_tamed() {
        assert_eq!(quote(b"a\x1b[2Jb\xff"), "a [2Jb\u{fffd}");
        assert_eq!(quote(&[b'x'; 500]).len(), QUOTE_MAX + '…'.len_utf8());
    }
}
