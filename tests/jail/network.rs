//! Two network namespaces of the test's own, joined by a cable: one stands for the host that Gaoler runs on, one for
//! strangers. Everybody answers on every address there, so silence inside a jail is the jail's doing. Nothing has a
//! name in the file system, so nothing is left when the test ends; no packet can leave the two.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The port on which everybody answers, besides 53.
const PORT: u16 = 7777;

/// The two namespaces.
pub struct Network {
    host: File,
    _stranger: File,
}

impl Network {
    /// Makes the namespaces, the cable and the servers.
    pub fn new(abstract_name: &str) -> Self {
        let (host, stranger) = (namespace(), namespace());
        let place = format!("/proc/{}/fd/{}", std::process::id(), stranger.as_raw_fd());
        for line in [
            "link set lo up",
            &format!("link add out type veth peer name in netns {place}"),
            "addr add 10.77.0.1/24 dev out",
            "addr add fd77::1/64 dev out nodad",
            "link set out up",
            "route add 169.254.169.254 via 10.77.0.2",
            "route add 224.0.0.0/4 dev out",
        ] {
            // The cable must have both ends up before it carries a route.
            if line.starts_with("route add 169") {
                configure(
                    &stranger,
                    &["link set lo up", "addr add 10.77.0.2/24 dev in", "addr add fd77::2/64 dev in nodad"],
                );
                configure(&stranger, &["addr add 169.254.169.254/32 dev in", "link set in up"]);
            }
            configure(&host, &[line]);
        }
        // Ordinary users may ping, as on most distributions.
        within(&host, || std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 65534")).unwrap();
        serve(&host, abstract_name.to_owned());
        serve(&stranger, format!("{abstract_name}-stranger"));
        Self { host, _stranger: stranger }
    }

    /// Runs `body` on a thread that is in the namespace which stands for the host's.
    pub fn on_host<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        within(&self.host, body)
    }

    /// The address that a word of the table stands for.
    pub fn address(word: &str) -> Option<String> {
        let host = match word {
            "@stranger4" => "10.77.0.2",
            "@stranger6" => "[fd77::2]",
            "@stranger-mapped" => "[::ffff:10.77.0.2]",
            "@metadata" => "169.254.169.254",
            "@host4" => "10.77.0.1",
            "@host6" => "[fd77::1]",
            "@host-loopback4" => "127.0.0.1",
            "@host-loopback6" => "[::1]",
            "@broadcast" => "10.77.0.255",
            "@multicast" => "224.0.0.1",
            "@stranger-dns" => return Some("10.77.0.2:53".into()),
            _ => return None,
        };
        Some(format!("{host}:{PORT}"))
    }
}

/// A new network namespace, held by a descriptor alone.
fn namespace() -> File {
    let mut command = Command::new("unshare");
    let mut holder =
        command.args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // An echo says that `cat` runs, so the namespace is the new one.
    holder.stdin.as_mut().unwrap().write_all(b"!").unwrap();
    holder.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let file = File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
    drop(holder.stdin.take());
    holder.wait().unwrap();
    file
}

fn within<T: Send>(namespace: &File, body: impl FnOnce() -> T + Send) -> T {
    let inside = || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        body()
    };
    std::thread::scope(|scope| scope.spawn(inside).join().unwrap())
}

fn configure(namespace: &File, lines: &[&str]) {
    within(namespace, || {
        for line in lines {
            let output = Command::new("ip").args(line.split(' ')).output().unwrap();
            assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
        }
    });
}

/// Starts servers that answer each question with one byte, for as long as the test runs.
fn serve(namespace: &File, abstract_name: String) {
    within(namespace, move || {
        for port in [PORT, 53] {
            // One socket for both address families.
            let tcp = TcpListener::bind(("::", port)).unwrap();
            let udp = UdpSocket::bind(("::", port)).unwrap();
            std::thread::spawn(move || answer_tcp(&tcp));
            std::thread::spawn(move || answer_udp(&udp));
        }
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let unix = UnixListener::bind_addr(&address).unwrap();
        std::thread::spawn(move || unix.incoming().for_each(drop));
    });
}

fn answer_tcp(listener: &TcpListener) {
    for mut stream in listener.incoming().flatten() {
        let mut question = [0];
        if stream.read_exact(&mut question).is_ok() {
            let _ = stream.write_all(b"!");
        }
    }
}

fn answer_udp(socket: &UdpSocket) {
    let mut question = [0; 16];
    while let Ok((_, from)) = socket.recv_from(&mut question) {
        let _ = socket.send_to(b"!", from);
    }
}
