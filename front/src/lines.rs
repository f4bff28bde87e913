//! Splits a byte stream into lines, with a bound.
//!
//! Promises: each byte is looked at once, small lines are borrowed, big ones are handed over without a copy, and a line
//! beyond the bound is an error before it is held.

use bytes::{Buf as _, Bytes, BytesMut};

/// Lines from this size on are handed over instead of borrowed, in bytes.
const BIG: usize = 16 * 1024;

/// A line is longer than allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// One line without its end.
#[derive(Debug)]
pub(crate) enum Line<'a> {
    /// borrowed from the reader's buffer
    Small(&'a [u8]),
    /// a buffer of its own
    Big(Bytes),
}

impl Line<'_> {
    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Small(bytes) => bytes,
            Self::Big(bytes) => bytes,
        }
    }

    /// The bytes to keep, without a carriage return, which would end a line of an event stream.
    pub(crate) fn into_bytes(self) -> Bytes {
        if memchr::memchr(b'\r', self.bytes()).is_some() {
            let mut out = Vec::with_capacity(self.bytes().len());
            crate::splice::write_line(self.bytes(), &mut out);
            return out.into();
        }
        match self {
            Self::Small(bytes) => Bytes::copy_from_slice(bytes),
            Self::Big(bytes) => bytes,
        }
    }
}

/// The bytes that have arrived and are not handed over yet.
#[derive(Debug)]
pub(crate) struct Splitter {
    /// where the reader appends
    pub(crate) buffer: BytesMut,
    searched: usize,
    limit: usize,
}

impl Splitter {
    /// Lines of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, limit }
    }

    /// Hands over each complete line.
    ///
    /// # Errors
    /// [`TooLong`] when a line, complete or not, is longer than the limit.
    pub(crate) fn split(&mut self, mut each: impl FnMut(Line<'_>)) -> Result<(), TooLong> {
        let mut start = 0;
        let mut from = self.searched;
        while let Some(at) = memchr::memchr(b'\n', &self.buffer[from..]) {
            let end = from + at;
            if end - start > self.limit {
                return Err(TooLong);
            }
            if end - start < BIG {
                each(Line::Small(&self.buffer[start..end]));
                start = end + 1;
            } else {
                self.buffer.advance(start);
                let line = self.buffer.split_to(end - start);
                each(Line::Big(line.freeze()));
                self.buffer.advance(1);
                start = 0;
            }
            from = start;
        }
        self.buffer.advance(start);
        self.searched = self.buffer.len();
        if self.buffer.len() > self.limit { Err(TooLong) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn feed(splitter: &mut Splitter, bytes: &[u8]) -> Result<Vec<Vec<u8>>, TooLong> {
        splitter.buffer.extend_from_slice(bytes);
        let mut out = Vec::new();
        splitter.split(|line| out.push(line.bytes().to_vec())).map(|()| out)
    }

    #[test]
    fn a_line_may_arrive_in_pieces() {
        let mut splitter = Splitter::new(100);
        assert_eq!(feed(&mut splitter, b"a"), Ok(vec![]));
        assert_eq!(feed(&mut splitter, b"b\nc\n\nd"), Ok(vec![b"ab".to_vec(), b"c".to_vec(), vec![]]));
        assert_eq!(feed(&mut splitter, b"\n"), Ok(vec![b"d".to_vec()]));
    }

    #[test]
    fn a_long_line_is_refused_complete_or_not() {
        assert_eq!(feed(&mut Splitter::new(3), b"abcd"), Err(TooLong));
        assert_eq!(feed(&mut Splitter::new(3), b"abcd\n"), Err(TooLong));
        assert_eq!(feed(&mut Splitter::new(3), b"abc\n").unwrap().len(), 1);
    }

    #[test]
    fn carriage_returns_do_not_survive() {
        assert_eq!(Line::Small(b"{}\r").into_bytes(), "{} ");
    }

    proptest! {
        #[test]
        fn any_chunks_give_the_same_lines(lines in proptest::collection::vec("[a-z]{0,9}", 0..20),
            big in proptest::bool::ANY, cut in 1usize..50) {
            let mut lines = lines;
            if big {
                lines.push("x".repeat(BIG + 7));
                lines.push("after".to_owned());
            }
            let whole: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let mut splitter = Splitter::new(1 << 20);
            let mut got = Vec::new();
            for chunk in whole.as_bytes().chunks(if big { cut * 97 } else { cut }) {
                got.extend(feed(&mut splitter, chunk).unwrap());
            }
            prop_assert_eq!(got, lines.into_iter().map(String::into_bytes).collect::<Vec<_>>());
        }
    }
}
