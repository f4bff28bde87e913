//! Device nodes: those that should not be there, and making new ones.

use std::fs;

use crate::outcome::{Outcome, Verb, flatten, judge, need, past, verb};
use crate::sys::{self, addr, call, int, text};

/// The verbs of this file. Opening a node that has no hardware behind it still shows that it could be reached.
pub const VERBS: &[Verb] = &[
    verb("dev-mem", |_| open("/dev/mem")),
    verb("dev-kmsg", |_| open("/dev/kmsg")),
    verb("dev-fuse", |_| open("/dev/fuse")),
    verb("dev-tun", |_| open("/dev/net/tun")),
    verb("dev-kvm", |_| open("/dev/kvm")),
    verb("dev-loop-control", |_| open("/dev/loop-control")),
    verb("dev-vsock", |_| open("/dev/vsock")),
    verb("dev-userfaultfd", |_| open("/dev/userfaultfd")),
    verb("dev-console", |_| open("/dev/console")),
    verb("dev-tty1", |_| open("/dev/tty1")),
    verb("dev-ptmx", |_| open("/dev/ptmx")),
    verb("dev-autofs", |_| open("/dev/autofs")),
    verb("dev-disk", |args| {
        flatten(need(args, 0).map(|path| past(sys::open(path, libc::O_RDONLY), &[libc::ENXIO])))
    }),
    verb("mknod-null", |_| mknod(libc::S_IFCHR, 1, 3)),
    verb("mknod-mem", |_| mknod(libc::S_IFCHR, 1, 1)),
    verb("mknod-disk", |_| mknod(libc::S_IFBLK, 254, 0)),
];

fn open(path: &str) -> Outcome {
    let flags = libc::O_RDWR | libc::O_NONBLOCK | libc::O_NOCTTY;
    past(sys::open(path, flags), &[libc::ENXIO, libc::ENODEV, libc::EBUSY, libc::EIO])
}

fn mknod(kind: u32, major: u32, minor: u32) -> Outcome {
    let path = "/tmp/gaoler-probe-node";
    let _ = fs::remove_file(path);
    let name = text(path);
    let number = usize::try_from(libc::makedev(major, minor)).unwrap_or(0);
    let list =
        [int(i64::from(libc::AT_FDCWD)), addr(name.as_bytes_with_nul()), (kind | 0o600) as usize, number];
    let made = call(libc::SYS_mknodat, &list);
    let _ = fs::remove_file(path);
    judge(made)
}
