//! One keep-alive connection to a served MCP endpoint, blocking, with one request at a time.
//!
//! It promises: no wait is longer than [`PATIENCE`], and every answer was compared with its question.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::http::{Decoder, Head};
use crate::mcp::{self, Seen, Target};
use crate::{Error, Result};

/// The longest silence of a server that is borne.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A connection, the session opened over it if any, and the response that is being read.
#[derive(Debug)]
pub struct Client {
    target: Target,
    stream: TcpStream,
    session: Option<String>,
    decoder: Decoder,
    body: Vec<u8>,
    out: Vec<u8>,
    inbox: Vec<u8>,
    calls: u64,
}

impl Client {
    /// Opens a connection.
    ///
    /// # Errors
    /// When it is refused.
    pub fn connect(target: &Target) -> Result<Self> {
        Ok(Self {
            target: target.clone(),
            stream: open_stream(target)?,
            session: None,
            decoder: Decoder::default(),
            body: Vec::new(),
            out: Vec::new(),
            inbox: vec![0; 64 * 1024],
            calls: 0,
        })
    }

    /// Opens a connection and a session on it.
    ///
    /// # Errors
    /// As [`Self::connect`] and [`Self::open_session`].
    pub fn with_session(target: &Target) -> Result<Self> {
        let mut client = Self::connect(target)?;
        client.open_session()?;
        Ok(client)
    }

    /// The connection's socket, to wait on.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Connects again when the server has closed the idle connection, as servers with short keep-alive times do.
    ///
    /// # Errors
    /// When the new connection is refused.
    pub fn refresh(&mut self) -> Result<()> {
        let mut byte = [0u8; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match rustix::net::recv(&self.stream, &mut byte, flags) {
            Err(Errno::AGAIN) => Ok(()),
            _ => open_stream(&self.target).map(|stream| self.stream = stream),
        }
    }

    /// Opens a session (the handshake of the revisions before 2026-07-28) and makes it this connection's.
    ///
    /// # Errors
    /// When it is not granted.
    pub fn open_session(&mut self) -> Result<()> {
        self.initialize()?;
        let head = self.exchange(mcp::INITIALIZED)?;
        if head.status >= 300 {
            return Err(Error::Answer(format!(
                "notifications/initialized was answered with status {}",
                head.status
            )));
        }
        Ok(())
    }

    /// Only the first request of a session, and its answer.
    ///
    /// # Errors
    /// When it is not granted.
    pub fn initialize(&mut self) -> Result<()> {
        self.session = None;
        let head = self.exchange(mcp::INITIALIZE)?;
        mcp::verify(&head, &self.body, 0, None)?;
        self.session = head.session;
        Ok(())
    }

    /// Ends the session.
    ///
    /// # Errors
    /// When the connection fails; any status is accepted, since some bridges know no DELETE.
    pub fn close_session(&mut self) -> Result<()> {
        if let Some(session) = self.session.take() {
            self.refresh()?;
            let request = format!(
                "DELETE {} HTTP/1.1\r\nHost: {}\r\nMcp-Session-Id: {session}\r\n\r\n",
                self.target.path, self.target.address
            );
            self.out.clear();
            self.out.extend_from_slice(request.as_bytes());
            self.send_out()?;
            while !self.on_readable()? {}
        }
        Ok(())
    }

    /// Sends an echo call and does not wait.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn send_echo(&mut self, asker: usize) -> Result<()> {
        self.calls += 1;
        let body = mcp::echo(self.calls, &self.target, &mcp::echo_text(asker, self.calls));
        self.send(&body)
    }

    /// Sends a call of `big` and does not wait.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn send_big(&mut self, bytes: usize) -> Result<()> {
        self.calls += 1;
        self.send(&mcp::call(self.calls, &self.target, "big", &format!(r#"{{"bytes":{bytes}}}"#)))
    }

    /// Reads once from a readable socket; true when the response is whole.
    ///
    /// # Errors
    /// When the connection ends early or the bytes are not HTTP.
    pub fn on_readable(&mut self) -> Result<bool> {
        let size = self.stream.read(&mut self.inbox).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => Error::Answer(format!("no answer within {} s", PATIENCE.as_secs())),
            _ => Error::io("reading a response")(error),
        })?;
        if size == 0 {
            self.decoder.end()?;
            self.stream = open_stream(&self.target)?;
        } else {
            self.decoder.feed(&self.inbox[..size], &mut self.body)?;
        }
        Ok(self.decoder.is_done())
    }

    /// Compares the whole response with the last echo call.
    ///
    /// # Errors
    /// When it is another's answer or none.
    pub fn verify_echo(&self, asker: usize) -> Result<()> {
        mcp::verify(self.decoder.head(), &self.body, self.calls, Some(&mcp::echo_text(asker, self.calls)))
    }

    /// Waits for the answer to [`Self::send_big`] and checks its size.
    ///
    /// # Errors
    /// When it does not come or is too small.
    pub fn finish_big(&mut self, bytes: usize) -> Result<()> {
        while !self.on_readable()? {}
        mcp::verify(self.decoder.head(), &self.body, self.calls, None)?;
        let size = self.body.len();
        self.body = Vec::new();
        if size < bytes {
            return Err(Error::Answer(format!("a result of {bytes} bytes came as {size}")));
        }
        Ok(())
    }

    /// One echo call.
    ///
    /// # Errors
    /// When it fails or is answered wrongly.
    pub fn echo(&mut self, asker: usize) -> Result<()> {
        self.send_echo(asker)?;
        while !self.on_readable()? {}
        self.verify_echo(asker)
    }

    /// Calls `flood` and reads its stream; returns how many notifications came, which were checked to be in order.
    ///
    /// # Errors
    /// When they are out of order or the answer is missing.
    pub fn flood(&mut self, count: u32) -> Result<u32> {
        self.calls += 1;
        self.send(&mcp::call(self.calls, &self.target, "flood", &format!(r#"{{"count":{count}}}"#)))?;
        let (mut seen, mut answered) = (0, false);
        loop {
            let done = self.on_readable()?;
            let whole =
                if done { self.body.len() } else { self.body.iter().rposition(|&b| b == b'\n').unwrap_or(0) };
            for json in mcp::messages(self.decoder.head().event_stream, &self.body[..whole]) {
                match mcp::read(json)? {
                    Seen::Progress(n) if n > f64::from(seen) => seen += 1,
                    Seen::Progress(n) => {
                        return Err(Error::Answer(format!("notification {n} came after {seen}")));
                    }
                    Seen::Answer(id, _) => answered |= id == self.calls,
                    Seen::Other => {}
                }
            }
            self.body.drain(..whole);
            if done {
                return answered.then_some(seen).ok_or_else(|| Error::Answer("a flood had no answer".into()));
            }
        }
    }

    fn exchange(&mut self, body: &str) -> Result<Head> {
        self.send(body)?;
        while !self.on_readable()? {}
        Ok(self.decoder.head().clone())
    }

    fn send(&mut self, body: &str) -> Result<()> {
        mcp::post(&mut self.out, &self.target, self.session.as_deref(), body);
        self.send_out()
    }

    fn send_out(&mut self) -> Result<()> {
        self.decoder.reset();
        self.body.clear();
        self.stream.write_all(&self.out).map_err(Error::io("sending a request"))
    }
}

fn open_stream(target: &Target) -> Result<TcpStream> {
    let step = || format!("connecting to {}", target.address);
    let stream = TcpStream::connect_timeout(&target.address, PATIENCE).map_err(Error::io(step()))?;
    stream.set_nodelay(true).map_err(Error::io(step()))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(Error::io(step()))?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(Error::io(step()))?;
    Ok(stream)
}
