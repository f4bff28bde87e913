//! One bounded message, with descriptors, over a `SOCK_SEQPACKET` socket.
//!
//! The socket keeps message boundaries, so a message is decoded whole or not at all. Both directions refuse what
//! is larger than [`MESSAGE_MAX`]; a receiver refuses truncated data, truncated descriptors and trailing bytes.
//! Received descriptors are close-on-exec and owned by the caller, also when decoding fails.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest message, in bytes.
pub const MESSAGE_MAX: usize = 64 * 1024;

/// The most descriptors in one message.
pub const FDS_MAX: usize = 4;

/// Why a message was not sent or received.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other end is gone.
    #[error("the other end of the channel is closed")]
    Closed,
    /// A non-blocking channel has no room, or nothing to read.
    #[error("the channel would block")]
    WouldBlock,
    /// More than [`MESSAGE_MAX`] bytes.
    #[error("a message is larger than {MESSAGE_MAX} bytes")]
    TooLarge,
    /// More than [`FDS_MAX`] descriptors.
    #[error("a message carries more than {FDS_MAX} descriptors")]
    TooManyFds,
    /// The bytes are not a message of the expected type.
    #[error("a message could not be decoded")]
    Malformed(#[source] postcard::Error),
    /// Bytes follow the message.
    #[error("{0} bytes follow a message")]
    Trailing(usize),
    /// The kernel refused.
    #[error("the channel failed")]
    Io(#[source] Errno),
}

/// Makes a connected pair, both ends close-on-exec.
///
/// # Errors
/// [`ChannelError::Io`] when the kernel has no more descriptors or memory.
pub fn pair() -> Result<(OwnedFd, OwnedFd), ChannelError> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(ChannelError::Io)
}

/// Sends one message and copies of `fds`. Never raises SIGPIPE.
///
/// # Errors
/// [`ChannelError::WouldBlock`] only on a non-blocking socket, and then nothing was sent.
pub fn send<T: Serialize>(
    channel: BorrowedFd<'_>,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> Result<(), ChannelError> {
    if fds.len() > FDS_MAX {
        return Err(ChannelError::TooManyFds);
    }
    let bytes = postcard::to_allocvec(message).map_err(ChannelError::Malformed)?;
    if bytes.len() > MESSAGE_MAX {
        return Err(ChannelError::TooLarge);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(ChannelError::TooManyFds);
    }
    loop {
        match sendmsg(channel, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Err(ChannelError::WouldBlock),
            Err(Errno::PIPE | Errno::CONNRESET) => return Err(ChannelError::Closed),
            Err(e) => return Err(ChannelError::Io(e)),
        }
    }
}

/// Receives one message and its descriptors.
///
/// # Errors
/// [`ChannelError::Closed`] at the end, [`ChannelError::WouldBlock`] only on a non-blocking socket; any other error
/// says that the peer broke the protocol and must be ended.
pub fn receive<T: DeserializeOwned>(channel: BorrowedFd<'_>) -> Result<(T, Vec<OwnedFd>), ChannelError> {
    let mut bytes = vec![0u8; MESSAGE_MAX];
    let (length, flags, fds) = receive_bytes(channel, &mut bytes)?;
    if flags.contains(ReturnFlags::CTRUNC) || fds.len() > FDS_MAX {
        return Err(ChannelError::TooManyFds);
    }
    if flags.contains(ReturnFlags::TRUNC) {
        return Err(ChannelError::TooLarge);
    }
    if length == 0 {
        return Err(ChannelError::Closed);
    }
    let (message, rest) = postcard::take_from_bytes(&bytes[..length]).map_err(ChannelError::Malformed)?;
    if !rest.is_empty() {
        return Err(ChannelError::Trailing(rest.len()));
    }
    Ok((message, fds))
}

fn receive_bytes(
    channel: BorrowedFd<'_>,
    bytes: &mut [u8],
) -> Result<(usize, ReturnFlags, Vec<OwnedFd>), ChannelError> {
    // Room for more than FDS_MAX, so that too many are seen (and closed) and not cut off in silence.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2 * FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(channel, &mut [IoSliceMut::new(bytes)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received,
            // A peer that ended with something unread resets the connection; this is told once, and before what it
            // had sent. Its last words still wait behind it.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(Errno::AGAIN) => return Err(ChannelError::WouldBlock),
            Err(e) => return Err(ChannelError::Io(e)),
        }
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok((received.bytes, received.flags, fds))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use proptest::prelude::*;
    use rustix::net::send as send_bytes;

    use super::*;
    use crate::id::{InstanceId, Ticket};
    use crate::message::{McpEvent, McpRequest};

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (a, b) = pair().unwrap();
        let (x, _y) = pair().unwrap();
        let sent = McpEvent::Dialed { ticket: Ticket(7) };
        send(a.as_fd(), &sent, &[x.as_fd()]).unwrap();
        let (got, fds): (McpEvent, _) = receive(b.as_fd()).unwrap();
        assert_eq!((got, fds.len()), (sent, 1));
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let (a, b) = pair().unwrap();
        let mut bytes = postcard::to_allocvec(&McpRequest::Stop { instance: InstanceId(1) }).unwrap();
        bytes.push(0);
        send_bytes(&a, &bytes, SendFlags::NOSIGNAL).unwrap();
        assert!(matches!(receive::<McpRequest>(b.as_fd()), Err(ChannelError::Trailing(1))));
    }

    #[test]
    fn too_many_descriptors_are_refused() {
        let (a, b) = pair().unwrap();
        let fds = [a.as_fd(); FDS_MAX + 1];
        let sent = send(a.as_fd(), &McpRequest::Ready, &fds);
        assert!(matches!(sent, Err(ChannelError::TooManyFds)));
        drop(b);
    }

    #[test]
    fn the_end_is_told() {
        let (a, b) = pair().unwrap();
        drop(a);
        assert!(matches!(receive::<McpRequest>(b.as_fd()), Err(ChannelError::Closed)));
        assert!(matches!(send(b.as_fd(), &McpRequest::Ready, &[]), Err(ChannelError::Closed)));
    }

    #[test]
    fn the_last_words_of_a_peer_that_did_not_listen_are_heard() {
        let (a, b) = pair().unwrap();
        send(a.as_fd(), &McpRequest::Ready, &[]).unwrap();
        send(b.as_fd(), &McpRequest::Drained, &[]).unwrap();
        drop(b);
        assert_eq!(receive::<McpRequest>(a.as_fd()).unwrap().0, McpRequest::Drained);
        assert!(matches!(receive::<McpRequest>(a.as_fd()), Err(ChannelError::Closed)));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 1..512)) {
            let (a, b) = pair().unwrap();
            send_bytes(&a, &bytes, SendFlags::NOSIGNAL).unwrap();
            let _ = receive::<McpRequest>(b.as_fd());
            send_bytes(&a, &bytes, SendFlags::NOSIGNAL).unwrap();
            let _ = receive::<McpEvent>(b.as_fd());
        }
    }
}
