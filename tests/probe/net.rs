//! Reaching somebody over IP. Every verb gets its address from the test, which runs it only in a network namespace
//! of its own; a conversation counts only when the other side answered.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::outcome::{Outcome, Verb, attempt, flatten, held, need, stopped, succeeded, unsupported, verb};
use crate::sys::{self, addr, call, fd};

/// The verbs of this file. The first two are called once for each destination.
pub const VERBS: &[Verb] = &[
    verb("tcp", |args| with_address(args, tcp)),
    verb("udp", |args| with_address(args, udp)),
    verb("udp-unconnected", |args| with_address(args, udp_unconnected)),
    verb("tcp-fast-open", |args| with_address(args, fast_open)),
    verb("broadcast", |args| with_address(args, broadcast)),
    verb("ping-socket", |_| {
        attempt(libc::SYS_socket, &[libc::AF_INET as usize, libc::SOCK_DGRAM as usize, 1])
    }),
    verb("raw-icmp", |_| attempt(libc::SYS_socket, &[libc::AF_INET as usize, libc::SOCK_RAW as usize, 1])),
    verb("raw-icmp6", |_| attempt(libc::SYS_socket, &[libc::AF_INET6 as usize, libc::SOCK_RAW as usize, 58])),
    verb("raw-ip", |_| attempt(libc::SYS_socket, &[libc::AF_INET as usize, libc::SOCK_RAW as usize, 255])),
    verb("packet", |_| {
        attempt(libc::SYS_socket, &[libc::AF_PACKET as usize, libc::SOCK_RAW as usize, 0x0300])
    }),
    verb("packet-datagram", |_| {
        attempt(libc::SYS_socket, &[libc::AF_PACKET as usize, libc::SOCK_DGRAM as usize, 0x0300])
    }),
    verb("sctp", |_| attempt(libc::SYS_socket, &[libc::AF_INET as usize, libc::SOCK_STREAM as usize, 132])),
    verb("mptcp", |_| attempt(libc::SYS_socket, &[libc::AF_INET as usize, libc::SOCK_STREAM as usize, 262])),
    verb("listen", |args| with_address(args, listen)),
    verb("see-interfaces", |_| interfaces()),
    verb("interface-down", |_| interface_down()),
    verb("interface-make", |_| interface_make()),
    verb("mark-packets", |_| mark()),
    verb("transparent-socket", |_| option(libc::SOL_IP, libc::IP_TRANSPARENT)),
    verb("bind-low-port", |args| with_address(args, listen)),
];

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

fn with_address(arguments: &[String], run: fn(SocketAddr) -> Outcome) -> Outcome {
    flatten(need(arguments, 0).map(|word| match word.parse() {
        Ok(address) => run(address),
        Err(_) => unsupported(format!("{word:?} is not an address and a port")),
    }))
}

fn failure(error: &std::io::Error) -> Outcome {
    match error.raw_os_error() {
        Some(errno) => stopped(errno),
        None => held(error.to_string()),
    }
}

fn answered(result: std::io::Result<usize>) -> Outcome {
    match result {
        Ok(0) => held("closed without an answer"),
        Ok(_) => succeeded("an answer came"),
        Err(error) => failure(&error),
    }
}

fn tcp(address: SocketAddr) -> Outcome {
    answered(TcpStream::connect_timeout(&address, PATIENCE).and_then(|mut stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"?")?;
        stream.read(&mut [0u8; 16])
    }))
}

fn any_local(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" })?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn udp(address: SocketAddr) -> Outcome {
    answered(any_local(address).and_then(|socket| {
        socket.connect(address)?;
        socket.send(b"?")?;
        socket.recv(&mut [0u8; 16])
    }))
}

fn udp_unconnected(address: SocketAddr) -> Outcome {
    answered(any_local(address).and_then(|socket| {
        socket.send_to(b"?", address)?;
        socket.recv_from(&mut [0u8; 16]).map(|(count, _)| count)
    }))
}

fn broadcast(address: SocketAddr) -> Outcome {
    answered(any_local(address).and_then(|socket| {
        socket.set_broadcast(true)?;
        socket.send_to(b"?", address)
    }))
}

/// A connection made by sending, which filters on `connect` alone do not see.
fn fast_open(address: SocketAddr) -> Outcome {
    let SocketAddr::V4(v4) = address else { return unsupported("an IPv4 address is needed") };
    let mut raw = [0u8; 16];
    raw[0] = libc::AF_INET as u8;
    raw[2..4].copy_from_slice(&v4.port().to_be_bytes());
    raw[4..8].copy_from_slice(&v4.ip().octets());
    let socket = match call(libc::SYS_socket, &[libc::AF_INET as usize, libc::SOCK_STREAM as usize, 0]) {
        Ok(number) => TcpStream::from(sys::own(number)),
        Err(errno) => return stopped(errno),
    };
    let list = [fd(&socket), addr(b"?"), 1, libc::MSG_FASTOPEN as usize, addr(&raw), raw.len()];
    if let Err(errno) = call(libc::SYS_sendto, &list) {
        return stopped(errno);
    }
    let _ = socket.set_read_timeout(Some(PATIENCE));
    answered((&socket).read(&mut [0u8; 16]))
}

fn listen(address: SocketAddr) -> Outcome {
    match TcpListener::bind(address) {
        Ok(_) => succeeded("it listens"),
        Err(error) => failure(&error),
    }
}

fn interfaces() -> Outcome {
    let table = std::fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    let names = table.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim);
    let others: Vec<&str> = names.filter(|name| *name != "lo").collect();
    if others.is_empty() { held("only loopback") } else { succeeded(others.join(" ")) }
}

/// A route netlink request: header, then the body.
fn netlink(kind: u16, flags: u16, body: &[u8]) -> Outcome {
    let socket = match call(libc::SYS_socket, &[libc::AF_NETLINK as usize, libc::SOCK_RAW as usize, 0]) {
        Ok(number) => sys::own(number),
        Err(errno) => return stopped(errno),
    };
    let length = u32::try_from(16 + body.len()).unwrap_or(0);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((flags | 5).to_ne_bytes()); // request, acknowledge
    message.extend([0u8; 8]);
    message.extend(body);
    if let Err(errno) =
        call(libc::SYS_sendto, &[fd(&socket), message.as_ptr() as usize, message.len(), 0, 0, 0])
    {
        return stopped(errno);
    }
    let mut answer = [0u8; 1024];
    match call(libc::SYS_recvfrom, &[fd(&socket), sys::addr_mut(&mut answer), answer.len(), 0, 0, 0]) {
        Ok(count) if count >= 20 => {
            let error = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
            if error == 0 { succeeded("the kernel did it") } else { stopped(-error) }
        }
        Ok(_) => unsupported("a short answer"),
        Err(errno) => stopped(errno),
    }
}

/// Takes loopback (interface 1) down.
fn interface_down() -> Outcome {
    let mut body = [0u8; 16];
    body[4] = 1;
    body[12] = 1; // change only the up flag, to off
    netlink(16, 0, &body)
}

/// Makes an interface of kind `bridge`.
fn interface_make() -> Outcome {
    let mut body = [0u8; 16].to_vec();
    body.extend([16u8, 0, 18, 0]); // link info, 16 bytes
    body.extend([11u8, 0, 1, 0]); // kind, 11 bytes and padding
    body.extend(*b"bridge\0\0");
    netlink(16, 0x600, &body)
}

fn option(level: i32, name: i32) -> Outcome {
    let socket = match call(libc::SYS_socket, &[libc::AF_INET as usize, libc::SOCK_DGRAM as usize, 0]) {
        Ok(number) => sys::own(number),
        Err(errno) => return stopped(errno),
    };
    attempt(libc::SYS_setsockopt, &[fd(&socket), level as usize, name as usize, addr(&1u32), 4])
}

/// A packet mark steers routing and firewalls.
fn mark() -> Outcome {
    option(libc::SOL_SOCKET, libc::SO_MARK)
}
