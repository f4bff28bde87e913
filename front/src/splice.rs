//! Replaces byte ranges of a frame; everything else stays byte for byte.
//!
//! Promises: a frame for a pipe or an event stream is one line. JSON has raw line breaks only between its tokens, so that
//! they can become spaces without changing a value.

use std::ops::Range;

/// Byte ranges to replace, in any order, not overlapping.
#[derive(Debug, Default)]
pub struct Edits<'a> {
    list: Vec<(Range<usize>, &'a str)>,
}

impl<'a> Edits<'a> {
    /// Replaces `part`, which must be a slice of `whole`, by `with`.
    ///
    /// A part that is not inside is ignored: the range is found by address, never guessed.
    pub fn replace(&mut self, whole: &[u8], part: &str, with: &'a str) {
        if let Some(range) = range_of(whole, part) {
            self.list.push((range, with));
        }
    }

    /// Whether nothing is to be replaced.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Appends `frame` with the replacements to `out`, as one line without its end.
    pub fn write(&mut self, frame: &[u8], out: &mut Vec<u8>) {
        self.list.sort_unstable_by_key(|(range, _)| range.start);
        let mut at = 0;
        for (range, with) in &self.list {
            if range.start < at {
                continue;
            }
            write_line(&frame[at..range.start], out);
            out.extend_from_slice(with.as_bytes());
            at = range.end;
        }
        write_line(&frame[at..], out);
    }

    /// The frame with the replacements.
    #[must_use]
    pub fn apply(&mut self, frame: &[u8]) -> Vec<u8> {
        let grow: usize = self.list.iter().map(|(_, with)| with.len()).sum();
        let mut out = Vec::with_capacity(frame.len() + grow);
        self.write(frame, &mut out);
        out
    }
}

/// Where `part` lies in `whole`, if it is a slice of it.
fn range_of(whole: &[u8], part: &str) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}

/// Appends bytes; line breaks become spaces.
pub fn write_line(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        out.extend_from_slice(&rest[..at]);
        out.push(b' ');
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_are_replaced_in_place() {
        let frame = br#"{"id":1,"a":"x"}"#;
        let text = std::str::from_utf8(frame).unwrap();
        let mut edits = Edits::default();
        edits.replace(frame, &text[12..15], "22");
        edits.replace(frame, &text[6..7], "\"long\"");
        assert_eq!(edits.apply(frame), br#"{"id":"long","a":22}"#);
    }

    #[test]
    fn a_foreign_part_changes_nothing() {
        let mut edits = Edits::default();
        let other = String::from("abc");
        edits.replace(b"abc", &other, "x");
        assert!(edits.is_empty());
    }

    #[test]
    fn a_frame_is_one_line() {
        assert_eq!(Edits::default().apply(b"{\r\n\"a\":1}\n"), b"{  \"a\":1} ");
    }

    proptest! {
        #[test]
        fn only_the_parts_change(text in "[a-z\u{e9}]{0,40}", a in 0usize..40, b in 0usize..40, with in "[0-9]{0,5}") {
            let cut = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
            let (start, end) = (cut(a.min(b)), cut(a.max(b)));
            let mut edits = Edits::default();
            edits.replace(text.as_bytes(), &text[start..end], &with);
            let expected = format!("{}{with}{}", &text[..start], &text[end..]);
            prop_assert_eq!(edits.apply(text.as_bytes()), expected.into_bytes());
        }
    }
}
