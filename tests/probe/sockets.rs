//! Sockets that do not speak IP: families with a history, netlink's protocols, Unix sockets of the host, and
//! descriptors passed over standard streams.

use crate::outcome::{
    Outcome, Verb, attempt, flatten, held, need, past, stopped, succeeded, unsupported, verb, words,
};
use crate::sys::{self, addr, call, fd};

/// The verbs of this file.
pub const VERBS: &[Verb] = &[
    verb("vsock", |_| vsock()),
    verb("vsock-high-bits", |_| socket(1 << 32 | libc::AF_VSOCK as usize, libc::SOCK_STREAM as usize, 0)),
    verb("af-alg", |_| socket(libc::AF_ALG as usize, libc::SOCK_SEQPACKET as usize, 0)),
    verb("af-xdp", |_| socket(libc::AF_XDP as usize, libc::SOCK_RAW as usize, 0)),
    verb("af-key", |_| socket(libc::AF_KEY as usize, libc::SOCK_RAW as usize, 2)),
    verb("other-families", |_| other_families()),
    verb("netlink-audit", |_| netlink(libc::NETLINK_AUDIT)),
    verb("netlink-netfilter", |_| netlink(libc::NETLINK_NETFILTER)),
    verb("netlink-generic", |_| netlink(libc::NETLINK_GENERIC)),
    verb("netlink-uevent", |_| netlink(libc::NETLINK_KOBJECT_UEVENT)),
    verb("netlink-sock-diag", |_| netlink(libc::NETLINK_SOCK_DIAG)),
    verb("netlink-xfrm", |_| netlink(libc::NETLINK_XFRM)),
    verb("netlink-connector", |_| netlink(libc::NETLINK_CONNECTOR)),
    verb("netlink-crypto", |_| netlink(libc::NETLINK_CRYPTO)),
    verb("netlink-high-bits", |_| {
        socket(libc::AF_NETLINK as usize, libc::SOCK_RAW as usize, 1 << 32 | libc::NETLINK_NETFILTER as usize)
    }),
    verb("abstract-socket", |args| flatten(need(args, 0).map(|name| unix(&format!("\0{name}"))))),
    verb("path-socket", |args| flatten(need(args, 0).map(unix))),
    verb("pass-descriptor-by-stdout", |_| pass_descriptor()),
    verb("receive-descriptor-by-stdin", |_| receive_descriptor()),
];

fn socket(family: usize, kind: usize, protocol: usize) -> Outcome {
    attempt(libc::SYS_socket, &[family, kind, protocol])
}

fn netlink(protocol: i32) -> Outcome {
    socket(libc::AF_NETLINK as usize, libc::SOCK_RAW as usize, protocol as usize)
}

fn vsock() -> Outcome {
    socket(libc::AF_VSOCK as usize, libc::SOCK_STREAM as usize, 0)
}

/// Every family but Unix, IPv4, IPv6 and netlink, in every kind.
fn other_families() -> Outcome {
    let kinds = [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_SEQPACKET, libc::SOCK_RDM];
    let plain = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let mut last = 0;
    for family in (0..64).filter(|family| !plain.contains(family)) {
        for kind in kinds {
            match call(libc::SYS_socket, &[family as usize, kind as usize, 0]) {
                Ok(_) => return succeeded(format!("family {family}, kind {kind}")),
                Err(errno) => last = errno,
            }
        }
    }
    stopped(last)
}

/// Connects to a Unix socket; an abstract name starts with a NUL byte.
fn unix(name: &str) -> Outcome {
    let mut address = [0u8; 110];
    address[0] = libc::AF_UNIX as u8;
    let Some(room) = address.get_mut(2..2 + name.len()) else { return unsupported("the name is too long") };
    room.copy_from_slice(name.as_bytes());
    let length = 2 + name.len() + usize::from(!name.starts_with('\0'));
    match call(libc::SYS_socket, &[libc::AF_UNIX as usize, libc::SOCK_STREAM as usize, 0]) {
        Ok(number) => attempt(libc::SYS_connect, &[fd(&sys::own(number)), addr(&address), length]),
        Err(errno) => stopped(errno),
    }
}

/// A control message with one descriptor, as `sendmsg` wants it.
#[repr(C)]
struct Rights {
    length: usize,
    level: i32,
    kind: i32,
    descriptor: i32,
    padding: i32,
}

impl Rights {
    const fn of(descriptor: i32) -> Self {
        Self { length: 20, level: libc::SOL_SOCKET, kind: libc::SCM_RIGHTS, descriptor, padding: 0 }
    }
}

/// name, its length, vector, its count, control, its length, flags
fn header(vector: &[usize; 2], control: usize) -> [usize; 7] {
    [0, 0, addr(vector), 1, control, size_of::<Rights>(), 0]
}

/// Hands a descriptor of the jail's to whoever reads standard output.
fn pass_descriptor() -> Outcome {
    use std::os::fd::AsRawFd;
    let root = match sys::open("/usr", libc::O_RDONLY) {
        Ok(root) => root,
        Err(errno) => return unsupported(words(errno)),
    };
    let rights = Rights::of(root.as_raw_fd());
    let vector = [addr(b"\n"), 1];
    attempt(libc::SYS_sendmsg, &[1, addr(&header(&vector, addr(&rights))), 0])
}

/// Takes a descriptor that somebody outside queued on standard input and uses it.
fn receive_descriptor() -> Outcome {
    let mut rights = Rights::of(-1);
    let mut byte = [0u8; 1];
    let vector = [sys::addr_mut(&mut byte), 1];
    let list = header(&vector, sys::addr_mut(&mut rights));
    match call(libc::SYS_recvmsg, &[0, addr(&list), libc::MSG_DONTWAIT as usize]) {
        Ok(_) if rights.descriptor >= 0 => {
            let reached = sys::open_at(rights.descriptor, "etc/shadow", libc::O_RDONLY, 0);
            past(reached, &[])
        }
        Ok(_) => held(format!("no descriptor came (padding {})", rights.padding)),
        Err(errno) => stopped(errno),
    }
}
