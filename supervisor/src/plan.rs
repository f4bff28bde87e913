//! A checked policy and the facts about this host become a jail's plan. Pure: nothing here asks the kernel.

use std::os::unix::ffi::OsStrExt;

use gaoler_jail::landlock::{FileAccess, FileRule};
pub use gaoler_jail::plan::Plan;
use gaoler_jail::plan::{Network, Process, Resource, Rlimit, RootStep};
use gaoler_jail::seccomp::Profile;
use gaoler_wire::policy::{Bind, Transport};

use crate::cli::Hosting;
use crate::host::Host;
use crate::lease::ANCHOR;

/// What a jail sees as its own search path.
const PATH: &str = "PATH=/usr/local/bin:/usr/bin:/bin";

/// Bytes and files of `/tmp` and of `/dev/shm`; both count against the memory limit as well.
const TMP_SIZE: u64 = 256 << 20;
const TMP_INODES: u64 = 65_536;
const SHM_SIZE: u64 = 64 << 20;
const SHM_INODES: u64 = 1024;

/// Where a server finds its own volume; it is then its working directory.
const DATA: &str = "/data";

/// Open descriptors of one process.
const FILES: u64 = 16_384;

/// A core file of one byte at most: where the host pipes cores to a handler, the kernel takes 1 as "never" but 0 as
/// no limit (fs/coredump.c).
const CORE: u64 = 1;

/// What was asked for one server, read and opened.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// the policy
    pub hosting: &'a Hosting,
    /// variables whose values came from files
    pub secrets: &'a [(String, Vec<u8>)],
    /// where its volume is mounted, if it has one
    pub volume: Option<&'a str>,
}

/// The plan of a hosted server, or of a command in the same jail.
#[must_use]
pub fn server(server: &Given<'_>, host: &Host, host_id: u32) -> Plan {
    let Given { hosting, secrets, volume } = server;
    let listen = match hosting.transport {
        Transport::Stdio => None,
        Transport::Http { port, .. } => Some(port),
    };
    let mut root = host_image(host);
    let mut files = host_rules(host);
    for Bind { host: source, jail, writable } in &hosting.binds {
        let (path, writable) = (jail.clone(), *writable);
        // What can be written cannot be executed.
        root.push(RootStep::Bind { host: source.clone(), path: path.clone(), writable, exec: !writable });
        let access = if writable { FileAccess::Write } else { FileAccess::Execute };
        files.push(FileRule { path, access });
    }
    if let Some(volume) = volume {
        root.push(RootStep::Data { host: (*volume).into(), path: DATA.into() });
        files.push(FileRule { path: DATA.into(), access: FileAccess::Write });
    }
    Plan {
        anchor: ANCHOR.into(),
        root,
        hostname: hosting.name.name().into(),
        host_id,
        network: Network::Loopback { listen },
        rlimits: rlimits(FILES),
        files,
        landlock_abi: host.landlock_abi,
        memfd_noexec: host.memfd_noexec,
        seccomp: hosting.seccomp,
        process: Process {
            argv: hosting.command.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
            env: environment(hosting, secrets),
            cwd: if volume.is_some() { DATA } else { "/tmp" }.into(),
        },
        tasks: vec![],
        held: false,
    }
}

/// The plan of a front: a root with its own executable, the host's network, and nothing else.
#[must_use]
pub fn front(executable: &str, role: &str, connections: u64, host: &Host, host_id: u32) -> Plan {
    let path = "/gaoler-front";
    Plan {
        anchor: ANCHOR.into(),
        root: vec![
            RootStep::Bind { host: executable.into(), path: path.into(), writable: false, exec: true },
            RootStep::Dir { path: "/tmp".into(), mode: 0o555 },
            RootStep::Proc,
        ],
        hostname: "front".into(),
        host_id,
        network: Network::Host,
        rlimits: rlimits(connections),
        files: vec![
            FileRule { path: path.into(), access: FileAccess::Execute },
            FileRule { path: "/proc".into(), access: FileAccess::Read },
        ],
        landlock_abi: host.landlock_abi,
        memfd_noexec: host.memfd_noexec,
        seccomp: Profile::Front,
        process: Process {
            argv: [path, "--role", role].iter().map(|s| s.as_bytes().to_vec()).collect(),
            env: vec![],
            cwd: "/".into(),
        },
        tasks: vec![],
        held: false,
    }
}

/// The image `host`: the node's `/usr` and what it needs of `/etc`, everything read-only.
fn host_image(host: &Host) -> Vec<RootStep> {
    let mut steps =
        vec![RootStep::Bind { host: "/usr".into(), path: "/usr".into(), writable: false, exec: true }];
    let link =
        |(path, target): &(String, String)| RootStep::Symlink { path: path.clone(), target: target.clone() };
    steps.extend(host.links.iter().map(link));
    for path in &host.directories {
        steps.push(RootStep::Bind { host: path.clone(), path: path.clone(), writable: false, exec: true });
    }
    for path in &host.shown {
        steps.push(RootStep::Bind { host: path.clone(), path: path.clone(), writable: false, exec: false });
    }
    for (path, contents) in ETC {
        steps.push(RootStep::File { path: path.into(), contents: contents.into() });
    }
    if let Some(target) = &host.localtime {
        steps.push(RootStep::Symlink { path: "/etc/localtime".into(), target: target.clone() });
    }
    steps.push(RootStep::Dev { shm_size: SHM_SIZE, shm_inodes: SHM_INODES });
    steps.push(RootStep::Proc);
    steps.push(RootStep::Tmpfs { path: "/tmp".into(), size: TMP_SIZE, inodes: TMP_INODES });
    steps
}

/// Files that name the jail's one account and its loopback.
const ETC: [(&str, &str); 5] = [
    ("/etc/passwd", "server:x:1000:1000:hosted server:/tmp:/usr/sbin/nologin\n"),
    ("/etc/group", "server:x:1000:\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    ("/etc/resolv.conf", ""),
];

fn host_rules(host: &Host) -> Vec<FileRule> {
    let rule = |path: &str, access| FileRule { path: path.into(), access };
    let mut rules = vec![
        rule("/", FileAccess::List),
        rule("/usr", FileAccess::Execute),
        rule("/etc", FileAccess::Read),
        rule("/proc", FileAccess::Read),
        rule("/dev", FileAccess::Device),
        rule("/dev/shm", FileAccess::Write),
        rule("/tmp", FileAccess::Write),
    ];
    rules.extend(host.directories.iter().map(|path| rule(path, FileAccess::Execute)));
    rules
}

fn rlimits(files: u64) -> Vec<Rlimit> {
    let limit = |resource, value| Rlimit { resource, value };
    vec![
        limit(Resource::Files, files),
        limit(Resource::Core, CORE),
        limit(Resource::MessageQueue, 0),
        limit(Resource::Locked, 64 << 10),
        limit(Resource::Signals, 1024),
        limit(Resource::RealTime, 0),
    ]
}

fn environment(hosting: &Hosting, secrets: &[(String, Vec<u8>)]) -> Vec<Vec<u8>> {
    let mut pairs: Vec<(String, Vec<u8>)> = [PATH, "HOME=/tmp", "LANG=C.UTF-8", "USER=server", "TMPDIR=/tmp"]
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        .collect();
    let given = hosting.env.iter().map(|v| (v.name.clone(), v.value.as_bytes().to_vec()));
    for (name, value) in given.chain(secrets.iter().cloned()) {
        pairs.retain(|(earlier, _)| *earlier != name);
        pairs.push((name, value));
    }
    pairs.into_iter().map(|(name, value)| [name.as_bytes(), b"=", &value].concat()).collect()
}
