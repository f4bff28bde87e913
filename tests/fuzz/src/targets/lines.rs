//! A hosted server's output, in any pieces.
//!
//! Asserts: the lines are those that a plain split finds, up to the first that is too long, and nothing of a line that is
//! kept can end a line of an event stream.

use crate::lines::{Line, Splitter, TooLong};

/// What this byte stands for in an input: more than a line that is borrowed, so that short inputs have long lines.
const RUN: u8 = 0xf8;
const RUN_BYTES: usize = 17_000;
const RUNS_MAX: usize = 4;

/// The first byte chooses the limit, the second the size of the pieces.
pub(super) fn run(data: &[u8]) {
    let [limit, piece, stream @ ..] = data else { return };
    let limit = [8, 300, 16_383, 16_384, 16_385, 40_000][usize::from(*limit) % 6];
    let piece = [1, 7, 64, 4096, 16_384, 65_536][usize::from(*piece) % 6];
    let mut whole = Vec::new();
    let mut runs = 0;
    for byte in stream.iter().take(256) {
        runs += usize::from(*byte == RUN);
        let times = if *byte == RUN && runs <= RUNS_MAX { RUN_BYTES } else { 1 };
        whole.extend(std::iter::repeat_n(*byte, times));
    }
    // A run in pieces of one byte would only cost time.
    let piece = if whole.len() > 4096 { piece.max(4096) } else { piece };
    let mut splitter = Splitter::new(limit);
    let mut expected = Plain { start: 0, end: 0, limit };
    for chunk in whole.chunks(piece) {
        splitter.buffer.extend_from_slice(chunk);
        expected.end += chunk.len();
        let mut got = Vec::new();
        let result = splitter.split(|line| got.push(kept(line)));
        let (lines, end) = expected.split(&whole);
        assert_eq!((got, result.is_err()), (lines, end));
        if result == Err(TooLong) {
            return;
        }
    }
}

fn kept(line: Line<'_>) -> Vec<u8> {
    let bytes = line.bytes().to_vec();
    let spaced: Vec<u8> = bytes.iter().map(|b| if *b == b'\r' { b' ' } else { *b }).collect();
    assert_eq!(line.into_bytes(), spaced);
    bytes
}

/// The same by the plainest means.
struct Plain {
    start: usize,
    end: usize,
    limit: usize,
}

impl Plain {
    fn split(&mut self, whole: &[u8]) -> (Vec<Vec<u8>>, bool) {
        let mut lines = Vec::new();
        while let Some(length) = whole[self.start..self.end].iter().position(|byte| *byte == b'\n') {
            if length > self.limit {
                return (lines, true);
            }
            lines.push(whole[self.start..self.start + length].to_vec());
            self.start += length + 1;
        }
        (lines, self.end - self.start > self.limit)
    }
}
