//! Mounts, old interface and new, and changes of the root directory. Outside they run in a mount namespace of the
//! test's own.

use crate::outcome::{Outcome, Verb, attempt, judge, past, stopped, verb};
use crate::sys::{Answer, addr, call, int, text};

/// The verbs of this file.
pub const VERBS: &[Verb] = &[
    verb("mount-tmpfs", |_| judge(mount("none", "/tmp", "tmpfs", 0))),
    verb("mount-proc", |_| judge(mount("none", "/tmp", "proc", 0))),
    verb("mount-sysfs", |_| judge(mount("none", "/tmp", "sysfs", 0))),
    verb("mount-devpts", |_| judge(mount("none", "/tmp", "devpts", 0))),
    verb("mount-cgroup2", |_| judge(mount("none", "/tmp", "cgroup2", 0))),
    verb("mount-mqueue", |_| judge(mount("none", "/tmp", "mqueue", 0))),
    verb("mount-bind", |_| judge(mount("/usr", "/tmp", "", libc::MS_BIND))),
    verb("mount-bind-recursive", |_| judge(mount("/", "/tmp", "", libc::MS_BIND | libc::MS_REC))),
    verb("mount-remount-writable", |_| judge(remount_writable())),
    verb("mount-propagation", |_| judge(mount("", "/", "", libc::MS_SHARED | libc::MS_REC))),
    verb("mount-move", |_| past(mount("/proc", "/tmp", "", libc::MS_MOVE), &[libc::EINVAL])),
    verb("umount", |_| judge(on_path(libc::SYS_umount2, "/proc", libc::MNT_DETACH as usize))),
    verb("umount-tmp-cover", |_| {
        past(on_path(libc::SYS_umount2, "/tmp", libc::MNT_DETACH as usize), &[libc::EINVAL])
    }),
    verb("pivot-root", |_| pivot_root()),
    verb("chroot", |_| judge(on_path(libc::SYS_chroot, "/tmp", 0))),
    verb("fsopen", |_| fsopen("tmpfs")),
    verb("fspick", |_| judge(at_path(libc::SYS_fspick, "/proc", 0))),
    verb("open-tree-clone", |_| judge(at_path(libc::SYS_open_tree, "/", 1))),
    verb("move-mount", |_| move_mount()),
    verb("mount-setattr", |_| mount_setattr()),
    verb("swapon", |_| past(on_path(libc::SYS_swapon, "/nonexistent", 0), &[libc::ENOENT])),
    verb("swapoff", |_| past(on_path(libc::SYS_swapoff, "/nonexistent", 0), &[libc::ENOENT])),
    verb("quotactl", |_| quotactl()),
    verb("acct", |_| past(on_path(libc::SYS_acct, "/nonexistent", 0), &[libc::ENOENT])),
];

fn mount(source: &str, target: &str, kind: &str, flags: u64) -> Answer {
    let (source, target, kind) = (text(source), text(target), text(kind));
    let at = |word: &std::ffi::CString| addr(word.as_bytes_with_nul());
    let flags = usize::try_from(flags).unwrap_or(0);
    call(libc::SYS_mount, &[at(&source), at(&target), at(&kind), flags])
}

fn on_path(number: i64, path: &str, argument: usize) -> Answer {
    let path = text(path);
    call(number, &[addr(path.as_bytes_with_nul()), argument])
}

fn at_path(number: i64, path: &str, argument: usize) -> Answer {
    let path = text(path);
    call(number, &[int(i64::from(libc::AT_FDCWD)), addr(path.as_bytes_with_nul()), argument])
}

/// Makes a read-only mount writable. Outside a read-only bind is made first, so that there is one.
fn remount_writable() -> Answer {
    let flags = libc::MS_REMOUNT | libc::MS_BIND;
    if mount("/usr", "/usr", "", libc::MS_BIND).is_ok() {
        mount("", "/usr", "", flags | libc::MS_RDONLY)?;
    }
    mount("", "/usr", "", flags)
}

fn pivot_root() -> Outcome {
    let here = text("/");
    let path = addr(here.as_bytes_with_nul());
    // EBUSY and EINVAL complain about these paths, which the kernel looks at after the capability.
    past(call(libc::SYS_pivot_root, &[path, path]), &[libc::EBUSY, libc::EINVAL])
}

fn fsopen(kind: &str) -> Outcome {
    let kind = text(kind);
    attempt(libc::SYS_fsopen, &[addr(kind.as_bytes_with_nul()), 0])
}

fn move_mount() -> Outcome {
    let (from, to) = (text("/proc"), text("/tmp"));
    let here = int(i64::from(libc::AT_FDCWD));
    let list = [here, addr(from.as_bytes_with_nul()), here, addr(to.as_bytes_with_nul()), 0];
    past(call(libc::SYS_move_mount, &list), &[libc::EINVAL])
}

/// Asks for a mount's read-only attribute to be cleared.
fn mount_setattr() -> Outcome {
    let path = text("/proc");
    let attributes: [u64; 4] = [0, 1, 0, 0];
    let list = [int(i64::from(libc::AT_FDCWD)), addr(path.as_bytes_with_nul()), 0, addr(&attributes), 32];
    attempt(libc::SYS_mount_setattr, &list)
}

fn quotactl() -> Outcome {
    // Q_GETFMT for users (0x800004 << 8) on a path that is no device: answered only after the filter.
    let device = text("/nonexistent");
    let list = [0x8000_0400, addr(device.as_bytes_with_nul()), 0, 0];
    match call(libc::SYS_quotactl, &list) {
        Err(errno @ (libc::EPERM | libc::ENOSYS | libc::EACCES)) => stopped(errno),
        other => past(other, &[libc::ENOENT, libc::ENOTBLK, libc::ENODEV]),
    }
}
