//! What a front and the supervisor say to each other, as bytes from a peer that was taken over.
//!
//! Asserts: the channel accepts exactly what decodes whole; what is accepted survives the way back; a request for a server
//! that the front does not serve is never permitted.

use std::fmt::Debug;
use std::os::fd::{AsFd, OwnedFd};

use gaoler_supervisor::permit::{self, FrontState, Known};
use gaoler_wire::channel::{self, ChannelError, MESSAGE_MAX};
use gaoler_wire::id::{InstanceId, ServerName};
use gaoler_wire::message::{McpEvent, McpRequest};
use rustix::net::{SendFlags, send};
use serde::Serialize;
use serde::de::DeserializeOwned;

thread_local! {
    static PAIR: (OwnedFd, OwnedFd) = channel::pair().unwrap_or_else(|e| panic!("no socket pair: {e}"));
}

/// The first byte chooses the direction.
pub(super) fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    // Nothing at all is the end of a channel and no message.
    if bytes.is_empty() || bytes.len() > MESSAGE_MAX {
        return;
    }
    if kind % 2 == 1 {
        let _ = check::<McpEvent>(bytes);
    } else if let Some(request) = check::<McpRequest>(bytes) {
        permits(&request);
    }
}

fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let received = PAIR.with(|(ours, theirs)| {
        let sent = send(ours, bytes, SendFlags::NOSIGNAL);
        assert_eq!(sent, Ok(bytes.len()));
        channel::receive::<T>(theirs.as_fd())
    });
    match (postcard::take_from_bytes::<T>(bytes), received) {
        (Ok((decoded, [])), Ok((message, fds))) => {
            assert_eq!((&decoded, fds.len()), (&message, 0));
            again(&message);
            Some(message)
        }
        (Ok((_, rest)), Err(ChannelError::Trailing(count))) if rest.len() == count => None,
        (Err(_), Err(ChannelError::Malformed(_))) => None,
        (decoded, received) => panic!("decoded to {decoded:?}, received {received:?}"),
    }
}

fn again<T: Serialize + DeserializeOwned + PartialEq + Debug>(message: &T) {
    let back = PAIR.with(|(ours, theirs)| {
        channel::send(ours.as_fd(), message, &[])
            .unwrap_or_else(|e| panic!("{message:?} cannot be sent: {e}"));
        channel::receive::<T>(theirs.as_fd())
    });
    assert_eq!(back.ok().map(|(back, _)| back).as_ref(), Some(message));
}

struct World;

impl Known for World {
    fn serves(&self, server: &ServerName) -> bool {
        server.as_str() == "local/known"
    }
    fn owns(&self, instance: InstanceId) -> bool {
        instance.0 < 2
    }
    fn listens(&self, instance: InstanceId) -> bool {
        instance.0 == 1
    }
}

fn permits(request: &McpRequest) {
    for state in FrontState::ALL {
        let permitted = permit::mcp(state, request.clone(), &World).ok().map(permit::Permit::into_request);
        let foreign = match request {
            McpRequest::Start { server, .. } => server.as_str() != "local/known",
            McpRequest::Dial { instance, .. } => instance.0 == 0,
            McpRequest::Ready | McpRequest::Stop { .. } | McpRequest::Drained => false,
        };
        assert!(!(foreign && permitted.is_some()), "{request:?} is permitted");
        assert!(permitted.is_none_or(|permitted| permitted == *request));
    }
}
