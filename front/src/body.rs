//! HTTP bodies: one type for all answers, and bounded reading of requests.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use crate::limits::{Budget, Held};
use crate::sse::Events;

/// The body of an answer.
pub(crate) enum Body {
    /// nothing, or what is left of one piece
    Full(Option<Bytes>),
    /// server-sent events
    Events(Box<Events>),
    /// passed through from a server that speaks HTTP, with a guard that lives as long
    Passed(Box<Passed>),
}

/// A body of a hosted HTTP server, and what must stay alive while it is read.
pub(crate) struct Passed {
    /// the server's body
    pub(crate) body: Incoming,
    /// what to say when the server breaks off
    pub(crate) epilogue: Option<Box<dyn FnOnce() -> Bytes>>,
    /// whether the epilogue was said
    pub(crate) done: bool,
    /// what is told when the body has been read or given up
    pub(crate) _guard: Box<dyn std::any::Any>,
}

impl Passed {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.done {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Err(e))) => {
                self.done = true;
                match self.epilogue.take() {
                    Some(epilogue) => Poll::Ready(Some(Ok(Frame::data(epilogue())))),
                    None => Poll::Ready(Some(Err(e))),
                }
            }
            other => other,
        }
    }
}

impl Body {
    /// A body without bytes.
    pub(crate) fn empty() -> Self {
        Self::Full(None)
    }

    /// A body of one piece.
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self::Full(Some(bytes.into()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Events(events) => events.poll(cx).map(|next| next.map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passed(passed) => passed.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Events(_) => SizeHint::default(),
            Self::Passed(passed) => passed.body.size_hint(),
        }
    }
}

/// Why a request's body was not read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// more bytes than allowed
    TooLarge,
    /// it did not arrive in time
    TooSlow,
    /// too much waits in this process already
    Full,
    /// the connection broke
    Broken,
}

/// Reads a whole body of at most `limit` bytes, in at most `wait`. What has arrived counts against `budget` meanwhile.
pub(crate) async fn read(
    mut body: Incoming,
    limit: u64,
    wait: Duration,
    budget: &Rc<Budget>,
) -> Result<Bytes, ReadError> {
    if body.size_hint().lower() > limit {
        return Err(ReadError::TooLarge);
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let gather = async {
        let mut first: Option<Bytes> = None;
        let mut rest: Vec<u8> = Vec::new();
        let mut held = Held::new(budget);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| ReadError::Broken)?.into_data() else { continue };
            let have = if rest.is_empty() { first.as_ref().map_or(0, Bytes::len) } else { rest.len() };
            if data.len() > limit.saturating_sub(have) {
                return Err(ReadError::TooLarge);
            }
            if !held.set(have + data.len()) {
                return Err(ReadError::Full);
            }
            match first.take() {
                None if rest.is_empty() => first = Some(data),
                taken => {
                    rest.extend_from_slice(taken.as_deref().unwrap_or_default());
                    rest.extend_from_slice(&data);
                }
            }
        }
        Ok(first.unwrap_or_else(|| rest.into()))
    };
    tokio::time::timeout(wait, gather).await.map_err(|_| ReadError::TooSlow)?
}
