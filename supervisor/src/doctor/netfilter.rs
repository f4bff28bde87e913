//! Asks the kernel's nf_tables for its generation: the smallest question of its netlink subsystem. Changes nothing.

use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

use super::facts::Tried;

/// `NFNL_SUBSYS_NFTABLES` (`linux/netfilter/nfnetlink.h`) and `NFT_MSG_GETGEN` (`linux/netfilter/nf_tables.h`).
const GET_GENERATION: u16 = (10 << 8) | 16;

/// `NLM_F_REQUEST` (`linux/netlink.h`).
const REQUEST: u16 = 1;

/// `NLMSG_ERROR` (`linux/netlink.h`).
const ERROR: u16 = 2;

/// How long the kernel may take, in seconds; it answers in microseconds, or after loading its module.
const WAIT_SECONDS: i64 = 5;

/// Tries it.
pub(super) fn probe() -> Tried {
    match ask() {
        Ok(()) => Tried::Works,
        Err(e) => Tried::Refused(e.to_string()),
    }
}

fn ask() -> io::Result<()> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))?;
    sendto(&socket, &request(), SendFlags::NOSIGNAL, &SocketAddrNetlink::new(0, 0))?;
    let limit = Timespec { tv_sec: WAIT_SECONDS, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(&socket.as_fd(), PollFlags::IN)], Some(&limit))?;
    if ready == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut bytes = [0u8; 4096];
    let (length, _) = recv(&socket, &mut bytes[..], RecvFlags::DONTWAIT)?;
    answer(&bytes[..length])
}

/// `nlmsghdr` of 16 bytes, then `nfgenmsg`: family unspecified, version 0, resource 0.
fn request() -> [u8; 20] {
    let mut bytes = [0u8; 20];
    bytes[0..4].copy_from_slice(&20u32.to_ne_bytes());
    bytes[4..6].copy_from_slice(&GET_GENERATION.to_ne_bytes());
    bytes[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
    bytes
}

/// Any message but an error is an answer.
fn answer(bytes: &[u8]) -> io::Result<()> {
    let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (_, rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
    let (kind, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    if u16::from_ne_bytes(*kind) != ERROR {
        return Ok(());
    }
    let code = rest.get(10..14).and_then(|b| b.first_chunk::<4>()).ok_or_else(short)?;
    match i32::from_ne_bytes(*code) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(code: i32) -> Vec<u8> {
        let mut bytes = vec![0u8; 36];
        bytes[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        bytes[16..20].copy_from_slice(&code.to_ne_bytes());
        bytes
    }

    #[test]
    fn errors_and_answers_are_told_apart() {
        assert!(answer(&request()).is_ok());
        assert!(answer(&error(0)).is_ok());
        assert_eq!(answer(&error(-1)).unwrap_err().raw_os_error(), Some(1));
        assert_eq!(answer(&error(-95)).unwrap_err().raw_os_error(), Some(95));
    }

    proptest! {
        #[test]
        fn odd_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = answer(&bytes);
        }

        #[test]
        fn odd_codes_never_panic(code in any::<i32>()) {
            let _ = answer(&error(code));
        }
    }
}
