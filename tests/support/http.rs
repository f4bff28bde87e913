//! A small HTTP/1.1 client on a blocking socket, for requests that a well-behaved library would not send too.
//!
//! It promises: every read has a deadline, bodies are read by `Content-Length`, chunks or until the end, and a
//! whole body is at most [`BODY_MAX`] bytes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The largest body that is read as a whole, in bytes.
pub const BODY_MAX: usize = 256 << 20;

/// The largest response head, in bytes.
const HEAD_MAX: usize = 64 * 1024;

/// The deadline of an exchange unless another is set.
const DEADLINE: Duration = Duration::from_secs(30);

/// One connection at a time, kept alive, made anew when it was closed.
#[derive(Debug)]
pub struct Client {
    addr: SocketAddr,
    deadline: Duration,
    idle: Option<Connection>,
}

/// The head of a response and its body.
#[derive(Debug, Clone)]
pub struct Response {
    /// the status code
    pub status: u16,
    /// the headers, names in lower case
    pub headers: Vec<(String, String)>,
    /// the whole body
    pub body: Vec<u8>,
}

/// A head whose body is still to be read.
#[derive(Debug)]
pub struct Opened {
    /// the status code
    pub status: u16,
    /// the headers, names in lower case
    pub headers: Vec<(String, String)>,
    /// the rest
    pub body: Body,
}

impl Response {
    /// A header's first value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("body is not JSON ({e}): {}", self.text()))
    }
}

impl Opened {
    /// A header's first value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

impl Client {
    /// A client of this address; connects at the first request.
    #[must_use]
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, deadline: DEADLINE, idle: None }
    }

    /// Sets the deadline of one whole exchange.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Changes the deadline of one whole exchange.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Sends one request and reads the whole response.
    ///
    /// # Errors
    /// What the socket says; `TimedOut` at the deadline; `InvalidData` for what is not HTTP.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        let end = Instant::now() + self.deadline;
        let Opened { status, headers, mut body } = self.open(method, path, headers, body)?;
        let bytes = body.read_all(end)?;
        if body.may_be_reused(&headers) {
            self.idle = Some(body.connection);
        }
        Ok(Response { status, headers, body: bytes })
    }

    /// Sends one request and reads the head; the body stays open and owns the connection.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn open(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Opened> {
        let end = Instant::now() + self.deadline;
        let request = render(self.addr, method, path, headers, body);
        if let Some(mut connection) = self.idle.take() {
            // A kept connection may have been closed meanwhile; only then is the request sent again.
            if connection.stream.write_all(&request).is_ok()
                && let Ok(opened) = connection.read_head(method, end)
            {
                return opened.attach(connection);
            }
        }
        let mut connection = Connection::new(self.addr, self.deadline)?;
        connection.stream.write_all(&request)?;
        connection.read_head(method, end)?.attach(connection)
    }

    /// GET.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> io::Result<Response> {
        self.send("GET", path, headers, b"")
    }
}

fn render(addr: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if find_given(headers, "host").is_none() {
        head.push_str(&format!("Host: {addr}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if (!body.is_empty() || method == "POST") && find_given(headers, "transfer-encoding").is_none() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut request = head.into_bytes();
    request.extend(body);
    request
}

fn find_given<'a>(headers: &[(&str, &'a str)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

struct Head {
    status: u16,
    headers: Vec<(String, String)>,
    length: Length,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunked,
    UntilEnd,
}

impl Head {
    fn attach(self, connection: Connection) -> io::Result<Opened> {
        let body =
            Body { connection, length: self.length, chunk_left: 0, done: self.length == Length::Known(0) };
        Ok(Opened { status: self.status, headers: self.headers, body })
    }
}

impl Connection {
    fn new(addr: SocketAddr, deadline: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, deadline)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(deadline))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    fn fill(&mut self, end: Instant) -> io::Result<usize> {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within the deadline"));
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut chunk = [0; 64 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(n) => {
                self.buffer.extend(&chunk[..n]);
                Ok(n)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within the deadline"))
            }
            Err(e) => Err(e),
        }
    }

    fn read_line(&mut self, end: Instant) -> io::Result<String> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=searched + at).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            searched = self.buffer.len();
            if searched > HEAD_MAX {
                return Err(invalid("a line is too long"));
            }
            if self.fill(end)? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the connection ended inside a line",
                ));
            }
        }
    }

    fn read_head(&mut self, method: &str, end: Instant) -> io::Result<Head> {
        loop {
            let first = self.read_line(end)?;
            let status: u16 = first
                .strip_prefix("HTTP/1.1 ")
                .and_then(|rest| rest.get(..3)?.parse().ok())
                .ok_or_else(|| invalid(&format!("not a status line: {first:?}")))?;
            let mut headers = Vec::new();
            loop {
                let line = self.read_line(end)?;
                if line.is_empty() {
                    break;
                }
                let (name, value) =
                    line.split_once(':').ok_or_else(|| invalid("a header without a colon"))?;
                headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
            if status >= 200 {
                let length = length_of(method, status, &headers)?;
                return Ok(Head { status, headers, length });
            }
        }
    }
}

fn length_of(method: &str, status: u16, headers: &[(String, String)]) -> io::Result<Length> {
    if method == "HEAD" || status == 204 || status == 304 {
        return Ok(Length::Known(0));
    }
    if find(headers, "transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        return Ok(Length::Chunked);
    }
    match find(headers, "content-length") {
        Some(text) => text.parse().map(Length::Known).map_err(|_| invalid("a bad Content-Length")),
        None => Ok(Length::UntilEnd),
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// A body that is still being received; dropping it closes the connection.
#[derive(Debug)]
pub struct Body {
    connection: Connection,
    length: Length,
    chunk_left: usize,
    done: bool,
}

impl Body {
    /// Reads what has arrived, at least one byte unless the body ended (0).
    ///
    /// # Errors
    /// `TimedOut` when nothing came before `end`, or what the socket says.
    pub fn read(&mut self, into: &mut [u8], end: Instant) -> io::Result<usize> {
        if self.done {
            return Ok(0);
        }
        let room = match self.length {
            Length::Known(left) => left,
            Length::UntilEnd => usize::MAX,
            Length::Chunked => self.next_chunk(end)?,
        };
        if room == 0 {
            self.done = true;
            return Ok(0);
        }
        if self.connection.buffer.is_empty() && self.connection.fill(end)? == 0 {
            self.done = true;
            return if self.length == Length::UntilEnd { Ok(0) } else { Err(cut()) };
        }
        let n = self.connection.buffer.len().min(into.len()).min(room);
        into[..n].copy_from_slice(&self.connection.buffer[..n]);
        self.connection.buffer.drain(..n);
        self.took(n, end)?;
        Ok(n)
    }

    fn next_chunk(&mut self, end: Instant) -> io::Result<usize> {
        if self.chunk_left == 0 {
            let line = self.connection.read_line(end)?;
            let size = line.split(';').next().unwrap_or("").trim();
            self.chunk_left = usize::from_str_radix(size, 16).map_err(|_| invalid("a bad chunk size"))?;
            if self.chunk_left == 0 {
                while !self.connection.read_line(end)?.is_empty() {}
            }
        }
        Ok(self.chunk_left)
    }

    fn took(&mut self, n: usize, end: Instant) -> io::Result<()> {
        match &mut self.length {
            Length::Known(left) => {
                *left -= n;
                self.done = *left == 0;
            }
            Length::Chunked => {
                self.chunk_left -= n;
                if self.chunk_left == 0 {
                    self.connection.read_line(end)?;
                }
            }
            Length::UntilEnd => {}
        }
        Ok(())
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// As [`Body::read`]; `InvalidData` for more than [`BODY_MAX`] bytes.
    pub fn read_all(&mut self, end: Instant) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut chunk = vec![0; 256 * 1024];
        loop {
            match self.read(&mut chunk, end)? {
                0 => return Ok(bytes),
                n if bytes.len() + n > BODY_MAX => return Err(invalid("a body is too large")),
                n => bytes.extend(&chunk[..n]),
            }
        }
    }

    fn may_be_reused(&self, headers: &[(String, String)]) -> bool {
        self.done
            && self.length != Length::UntilEnd
            && !find(headers, "connection").is_some_and(|v| v.eq_ignore_ascii_case("close"))
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the body was cut off")
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
