//! New namespaces and those of others, by every call that makes or enters one.

use crate::outcome::{
    Outcome, Verb, attempt, held, judge, past, stopped, succeeded, unsupported, verb, words,
};
use crate::sys::{self, Answer, addr, call, fd};

const NEW_USER: usize = libc::CLONE_NEWUSER as usize;
const NEW_TIME: usize = 0x80;

/// The verbs of this file.
pub const VERBS: &[Verb] = &[
    verb("unshare-user", |_| attempt(libc::SYS_unshare, &[NEW_USER])),
    verb("unshare-mount", |_| attempt(libc::SYS_unshare, &[libc::CLONE_NEWNS as usize])),
    verb("unshare-pid", |_| attempt(libc::SYS_unshare, &[libc::CLONE_NEWPID as usize])),
    verb("unshare-net", |_| attempt(libc::SYS_unshare, &[libc::CLONE_NEWNET as usize])),
    verb("unshare-ipc", |_| attempt(libc::SYS_unshare, &[libc::CLONE_NEWIPC as usize])),
    verb("unshare-uts", |_| attempt(libc::SYS_unshare, &[libc::CLONE_NEWUTS as usize])),
    verb("unshare-cgroup", |_| attempt(libc::SYS_unshare, &[libc::CLONE_NEWCGROUP as usize])),
    verb("unshare-time", |_| attempt(libc::SYS_unshare, &[NEW_TIME])),
    verb("unshare-user-and-all", |_| {
        attempt(libc::SYS_unshare, &[NEW_USER | (libc::CLONE_NEWNS | libc::CLONE_NEWNET) as usize])
    }),
    verb("clone-user", |_| clone(NEW_USER)),
    verb("clone-mount", |_| clone(libc::CLONE_NEWNS as usize)),
    verb("clone-pid", |_| clone(libc::CLONE_NEWPID as usize)),
    verb("clone-net", |_| clone(libc::CLONE_NEWNET as usize)),
    verb("clone-ipc", |_| clone(libc::CLONE_NEWIPC as usize)),
    verb("clone-uts", |_| clone(libc::CLONE_NEWUTS as usize)),
    verb("clone-cgroup", |_| clone(libc::CLONE_NEWCGROUP as usize)),
    // The kernel reads only the low half of the flags; a filter that compares all 64 bits lets this through.
    verb("clone-user-high-bits", |_| clone(NEW_USER | 1 << 32)),
    verb("clone3-user", |_| clone3(NEW_USER)),
    verb("clone3-net", |_| clone3(libc::CLONE_NEWNET as usize)),
    verb("clone3-into-cgroup", |_| clone3_into_cgroup()),
    verb("setns-own-net", |_| setns("/proc/self/ns/net")),
    verb("setns-own-mount", |_| setns("/proc/self/ns/mnt")),
    verb("setns-init-net", |_| setns("/proc/1/ns/net")),
    verb("setns-init-pidfd", |_| setns_pidfd()),
    verb("nested-user-namespace-maps", |_| nested_maps()),
];

fn clone(flags: usize) -> Outcome {
    child(call(libc::SYS_clone, &[flags | libc::SIGCHLD as usize]))
}

/// The child of a raw clone leaves at once; the parent has its answer.
fn child(answer: Answer) -> Outcome {
    match answer {
        Ok(0) => sys::leave(0),
        Ok(pid) => {
            let _ = i32::try_from(pid).map(sys::wait);
            succeeded("a child in a new namespace")
        }
        Err(errno) => stopped(errno),
    }
}

fn clone3(flags: usize) -> Outcome {
    let mut arguments = [0u64; 11];
    arguments[0] = flags as u64;
    arguments[4] = libc::SIGCHLD as u64;
    child(call(libc::SYS_clone3, &[addr(&arguments), 88]))
}

/// A child placed in a group by descriptor 0, which is no group: refused only after the filter.
fn clone3_into_cgroup() -> Outcome {
    let mut arguments = [0u64; 11];
    arguments[0] = 0x2_0000_0000;
    arguments[4] = libc::SIGCHLD as u64;
    past(call(libc::SYS_clone3, &[addr(&arguments), 88]), &[libc::EBADF])
}

fn setns(path: &str) -> Outcome {
    match sys::open(path, libc::O_RDONLY) {
        Ok(namespace) => attempt(libc::SYS_setns, &[fd(&namespace), 0]),
        Err(errno) => stopped(errno),
    }
}

fn setns_pidfd() -> Outcome {
    match call(libc::SYS_pidfd_open, &[1, 0]) {
        Ok(number) => {
            let kinds = (libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWUTS) as usize;
            judge(call(libc::SYS_setns, &[fd(&sys::own(number)), kinds]))
        }
        Err(errno) => stopped(errno),
    }
}

/// Becomes root in a user namespace of its own and uses that to mount, the first step of many kernel exploits.
fn nested_maps() -> Outcome {
    let ended = sys::in_child(|| {
        let made = call(libc::SYS_unshare, &[NEW_USER | libc::CLONE_NEWNS as usize]);
        made.err().unwrap_or(0)
    });
    match ended {
        Ok(sys::Ended::Exited(0)) => succeeded("a mount namespace in a user namespace"),
        Ok(sys::Ended::Exited(errno)) => stopped(errno),
        Ok(sys::Ended::Signalled(signal)) => held(format!("killed by signal {signal}")),
        Err(errno) => unsupported(words(errno)),
    }
}
