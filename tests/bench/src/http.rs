//! An incremental decoder of HTTP/1.1 responses: pure, bounded, and blind to everything that the benchmarks do not need.
//!
//! It promises: any bytes give progress, an end or an error, never a panic, and no line is kept beyond [`LINE_MAX`].

/// The longest status, header or chunk-size line, in bytes.
pub const LINE_MAX: usize = 16 * 1024;

/// Why bytes are not a response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// A line is longer than [`LINE_MAX`].
    #[error("a line of a response is longer than {LINE_MAX} bytes")]
    LineTooLong,
    /// The first line is not a status line.
    #[error("not a status line: {0:?}")]
    Status(String),
    /// A length is not a number.
    #[error("not a length: {0:?}")]
    Length(String),
    /// The connection ended inside a response.
    #[error("the connection ended inside a response")]
    Ended,
}

/// What the head of a response said.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Head {
    /// the status code
    pub status: u16,
    /// `Mcp-Session-Id`
    pub session: Option<String>,
    /// whether the body is a stream of server-sent events
    pub event_stream: bool,
    pub(crate) length: Option<usize>,
    pub(crate) chunked: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    StatusLine,
    Header,
    Body(usize),
    ChunkSize,
    Chunk(usize),
    ChunkEnd,
    Trailer,
    UntilEnd,
    Done,
}

/// Decodes one response after another.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    head: Head,
    line: Vec<u8>,
}

impl Decoder {
    /// Makes ready for the next response.
    pub fn reset(&mut self) {
        self.state = State::StatusLine;
        self.head = Head::default();
        self.line.clear();
    }

    /// Whether a response is complete.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The head of the current response, whole once body bytes appear.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Takes bytes in, appends body bytes to `body`, and tells how many bytes belonged to this response.
    ///
    /// # Errors
    /// When the bytes are not a response.
    pub fn feed(&mut self, bytes: &[u8], body: &mut Vec<u8>) -> Result<usize, HttpError> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            at += match self.state {
                State::Body(left) => self.copy(&bytes[at..], left, body, State::Body, State::Done),
                State::Chunk(left) => self.copy(&bytes[at..], left, body, State::Chunk, State::ChunkEnd),
                State::UntilEnd => {
                    body.extend_from_slice(&bytes[at..]);
                    bytes.len() - at
                }
                _ => self.take_line(&bytes[at..])?,
            };
        }
        Ok(at)
    }

    /// Tells that the connection has ended.
    ///
    /// # Errors
    /// [`HttpError::Ended`] unless that was the body's end.
    pub fn end(&mut self) -> Result<(), HttpError> {
        match self.state {
            State::UntilEnd | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(HttpError::Ended),
        }
    }

    fn copy(
        &mut self,
        bytes: &[u8],
        left: usize,
        body: &mut Vec<u8>,
        more: fn(usize) -> State,
        then: State,
    ) -> usize {
        let part = left.min(bytes.len());
        body.extend_from_slice(&bytes[..part]);
        self.state = if part == left { then } else { more(left - part) };
        part
    }

    fn take_line(&mut self, bytes: &[u8]) -> Result<usize, HttpError> {
        let end = bytes.iter().position(|&b| b == b'\n');
        let part = end.unwrap_or(bytes.len());
        if self.line.len() + part > LINE_MAX {
            return Err(HttpError::LineTooLong);
        }
        self.line.extend_from_slice(&bytes[..part]);
        if end.is_none() {
            return Ok(part);
        }
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        self.state = self.next(&line)?;
        line.clear();
        self.line = line;
        Ok(part + 1)
    }

    fn next(&mut self, line: &[u8]) -> Result<State, HttpError> {
        let text = || String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
        Ok(match self.state {
            State::StatusLine => {
                self.head.status = status(line).ok_or_else(|| HttpError::Status(text()))?;
                State::Header
            }
            State::Header if line.is_empty() => self.after_head(),
            State::Header => {
                self.header(line)?;
                State::Header
            }
            State::ChunkSize => match chunk_size(line).ok_or_else(|| HttpError::Length(text()))? {
                0 => State::Trailer,
                size => State::Chunk(size),
            },
            State::ChunkEnd => State::ChunkSize,
            State::Trailer if line.is_empty() => State::Done,
            other => other,
        })
    }

    fn after_head(&self) -> State {
        match (self.head.status, self.head.length) {
            (100..=199, _) => State::StatusLine,
            (204 | 304, _) | (_, Some(0)) => State::Done,
            _ if self.head.chunked => State::ChunkSize,
            (_, Some(length)) => State::Body(length),
            (202, None) => State::Done,
            (_, None) => State::UntilEnd,
        }
    }

    fn header(&mut self, line: &[u8]) -> Result<(), HttpError> {
        let Some(colon) = line.iter().position(|&b| b == b':') else { return Ok(()) };
        let name = &line[..colon];
        let value = line[colon + 1..].trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            let text = String::from_utf8_lossy(value);
            self.head.length = Some(text.parse().map_err(|_| HttpError::Length(text.into_owned()))?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.head.chunked = value.eq_ignore_ascii_case(b"chunked");
        } else if name.eq_ignore_ascii_case(b"content-type") {
            self.head.event_stream = value.starts_with(b"text/event-stream");
        } else if name.eq_ignore_ascii_case(b"mcp-session-id") {
            self.head.session = Some(String::from_utf8_lossy(value).into_owned());
        }
        Ok(())
    }
}

fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    std::str::from_utf8(rest.get(2..5)?).ok()?.parse().ok()
}

fn chunk_size(line: &[u8]) -> Option<usize> {
    let digits = line.split(|&b| b == b';').next()?.trim_ascii();
    if digits.len() > 8 {
        return None;
    }
    usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nmcp-session-id: s1\r\n\
        Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\nHTTP/1.1 202 Accepted\r\n";

    #[test]
    fn any_cut_of_a_chunked_response_gives_the_same_body() {
        for cut in 1..CHUNKED.len() {
            let (mut decoder, mut body, mut used) = (Decoder::default(), Vec::new(), 0);
            for part in CHUNKED.chunks(cut) {
                used += decoder.feed(part, &mut body).unwrap();
            }
            assert!(decoder.is_done(), "cut {cut}");
            assert_eq!((body.as_slice(), used), (b"hello world".as_slice(), CHUNKED.len() - 23));
            assert_eq!(decoder.head().session.as_deref(), Some("s1"));
            assert!(decoder.head().event_stream);
        }
    }

    #[test]
    fn a_body_without_length_lasts_until_the_end() {
        let (mut decoder, mut body) = (Decoder::default(), Vec::new());
        decoder.feed(b"HTTP/1.0 200 OK\r\n\r\nabc", &mut body).unwrap();
        assert!(!decoder.is_done());
        decoder.end().unwrap();
        assert_eq!((decoder.is_done(), body.as_slice()), (true, b"abc".as_slice()));
    }

    #[test]
    fn a_cut_connection_is_an_error() {
        let (mut decoder, mut body) = (Decoder::default(), Vec::new());
        decoder.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", &mut body).unwrap();
        assert_eq!(decoder.end(), Err(HttpError::Ended));
    }

    #[test]
    fn what_is_not_http_is_refused() {
        for bad in ["GET / HTTP/1.1\r\n", "HTTP/1.1 x\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"] {
            assert!(Decoder::default().feed(bad.as_bytes(), &mut Vec::new()).is_err(), "{bad:?}");
        }
        let long = vec![b'a'; LINE_MAX + 1];
        assert_eq!(Decoder::default().feed(&long, &mut Vec::new()), Err(HttpError::LineTooLong));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), head in any::<bool>()) {
            let (mut decoder, mut body) = (Decoder::default(), Vec::new());
            if head {
                decoder.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &mut body).unwrap();
            }
            let _ = decoder.feed(&bytes, &mut body);
            prop_assert!(body.len() <= bytes.len());
        }
    }
}
