//! Decisions written down by hand: what the profiles must say, whatever their rules look like.

use super::super::compile::profile::Action::{self, Allow, Errno, Kill};
use super::super::compile::program::return_value;
use super::super::interpreter::{Call, run};
use super::Name::{self, Check, Default, Front, Init, Strict};
use super::{shipped, tables};

const PERM: Action = Errno(1);
const NOSYS: Action = Errno(38);
const NOFAMILY: Action = Errno(97);
const NOPROTO: Action = Errno(93);
const HIGH: u64 = 0xdead_beef_0000_0000;

fn check(rows: &[(Name, &str, &[u64], Action)]) {
    let calls = tables().calls;
    for (profile, name, given, action) in rows {
        let mut args = [0; 6];
        args[..given.len()].copy_from_slice(given);
        let call = Call::native(calls[*name], args);
        assert_eq!(run(&shipped(*profile), &call), return_value(*action), "{profile:?} {name} {given:x?}");
    }
}

#[test]
fn processes_may_start_but_not_in_new_namespaces() {
    check(&[
        (Default, "clone", &[0x0100_0011], Allow),
        (Default, "clone", &[0x003d_0f00], Allow),
        (Default, "clone", &[0x1000_0000], PERM),
        (Default, "clone", &[0x1000_0000 | HIGH], PERM),
        (Default, "clone", &[0x4000_0011], PERM),
        (Strict, "clone", &[0x0002_0000], PERM),
        (Default, "clone3", &[], NOSYS),
        (Default, "unshare", &[], PERM),
        (Default, "setns", &[], PERM),
        (Front, "clone", &[0x003d_0f00], Allow),
        (Front, "clone", &[0x0120_0011], Kill),
        (Front, "clone3", &[], NOSYS),
        (Front, "fork", &[], Kill),
        (Front, "execve", &[], Allow),
        (Front, "execveat", &[], Kill),
        (Init, "clone", &[0x0120_0011], Kill),
        (Init, "execve", &[], Kill),
    ]);
}

#[test]
fn terminals_take_no_keys() {
    check(&[
        (Default, "ioctl", &[0, 0x5412], PERM),
        (Default, "ioctl", &[0, 0x5412 | HIGH], PERM),
        (Default, "ioctl", &[0, 0x541c], PERM),
        (Default, "ioctl", &[0, 0x5413], Allow),
        (Front, "ioctl", &[0, 0x5421], Allow),
        (Front, "ioctl", &[0, 0x5413], Kill),
    ]);
}

#[test]
fn sockets_are_of_known_families() {
    check(&[
        (Default, "socket", &[1, 0x80805, 0], Allow),
        (Default, "socket", &[2, 0x80801, 6], Allow),
        (Default, "socket", &[10, 2, 0], Allow),
        (Default, "socket", &[2, 1, 262], NOPROTO),
        (Default, "socket", &[2, 3, 255], NOPROTO),
        (Default, "socket", &[10, 3, 58], NOPROTO),
        (Default, "socket", &[16, 3, 0], Allow),
        (Default, "socket", &[16, 3, 12], NOPROTO),
        (Default, "socket", &[17, 3, 768], NOFAMILY),
        (Default, "socket", &[38, 5, 0], NOFAMILY),
        (Default, "socket", &[40, 1, 0], NOFAMILY),
        (Default, "socket", &[1 | HIGH, 1, 0], Allow),
        (Default, "setsockopt", &[3, 1, 26], PERM),
        (Default, "setsockopt", &[3, 6, 26], Allow),
        (Strict, "socket", &[1, 1, 0], Allow),
        (Strict, "socket", &[2, 1, 0], NOFAMILY),
        (Strict, "socket", &[16, 3, 0], NOFAMILY),
        (Strict, "socket", &[17, 3, 0], NOFAMILY),
        (Front, "socket", &[1, 1, 0], Kill),
        (Front, "connect", &[], Kill),
        (Front, "bind", &[], Kill),
        (Init, "socket", &[2, 0x80801, 0], Allow),
        (Init, "socket", &[2, 2, 0], Kill),
        (Init, "socket", &[1, 1, 0], Kill),
    ]);
}

#[test]
fn executable_memory_is_for_those_who_generate_code() {
    check(&[
        (Default, "mmap", &[0, 4096, 7, 0x22], Allow),
        (Default, "mmap", &[0, 4096, 3, 0x40022], Errno(12)),
        (Default, "shmget", &[0, 4096, 0o4600], Errno(12)),
        (Default, "memfd_create", &[0, 1], Allow),
        (Default, "memfd_create", &[0, 4], PERM),
        (Default, "memfd_create", &[0, 16], PERM),
        (Strict, "mmap", &[0, 4096, 3, 0x22], Allow),
        (Strict, "mmap", &[0, 4096, 5, 0x2], Allow),
        (Strict, "mmap", &[0, 4096, 5, 0x22], PERM),
        (Strict, "mmap", &[0, 4096, 7, 0x2], PERM),
        (Strict, "mprotect", &[0, 4096, 1], Allow),
        (Strict, "mprotect", &[0, 4096, 5], PERM),
        (Strict, "memfd_create", &[0, 1], PERM),
        (Front, "mmap", &[0, 4096, 3], Allow),
        (Front, "mmap", &[0, 4096, 5], Kill),
        (Front, "mprotect", &[0, 4096, 1 << 40], Kill),
        (Init, "mprotect", &[0, 4096, 4], Kill),
    ]);
}

#[test]
fn files_get_no_set_user_id_bit_and_no_device() {
    check(&[
        (Default, "fchmod", &[3, 0o755], Allow),
        (Default, "fchmod", &[3, 0o4755], PERM),
        (Default, "fchmodat2", &[3, 0, 0o2755], PERM),
        (Default, "openat", &[3, 0, 0o101, 0o4755], PERM),
        (Default, "openat", &[3, 0, 0o20200001, 0o2755], PERM),
        (Default, "openat", &[3, 0, 0o2, 0o4755], Allow),
        (Default, "open", &[0, 0o101, 0o644], Allow),
        (Default, "open", &[0, 0o101, 0o6644], PERM),
        (Default, "creat", &[0, 0o4755], PERM),
        (Default, "mknod", &[0, 0o010_644], Allow),
        (Default, "mknodat", &[0, 0, 0o020_644], PERM),
        (Default, "mknodat", &[0, 0, 0o060_644], PERM),
        (Default, "mknodat", &[0, 0, 0o104_755], PERM),
        (Front, "openat", &[], Errno(13)),
        (Init, "openat", &[], Kill),
    ]);
}

#[test]
fn processes_may_not_change_what_protects_them() {
    check(&[
        (Default, "personality", &[0xffff_ffff], Allow),
        (Default, "personality", &[0x0004_0000], PERM),
        (Default, "personality", &[0x0040_0000], PERM),
        (Default, "prctl", &[15], Allow),
        (Default, "prctl", &[35], PERM),
        (Default, "prctl", &[47, 1], Allow),
        (Default, "prctl", &[47, 2], PERM),
        (Default, "prctl", &[62], PERM),
        (Default, "prctl", &[22], PERM),
        (Default, "inotify_add_watch", &[0, 0, 0x20], Allow),
        (Strict, "inotify_add_watch", &[0, 0, 0x20], PERM),
        (Strict, "inotify_add_watch", &[0, 0, 2], Allow),
        (Default, "prlimit64", &[0], Allow),
        (Default, "prlimit64", &[1], PERM),
        (Default, "sched_setaffinity", &[1], PERM),
        (Default, "setpriority", &[0, 0], Allow),
        (Default, "setpriority", &[0, 1], PERM),
        (Default, "setpriority", &[2, 0], PERM),
        (Default, "ioprio_set", &[1, 1], PERM),
        (Default, "ioprio_set", &[1, 0], Allow),
        (Strict, "prctl", &[15], Allow),
        (Default, "seccomp", &[1, 0], PERM),
        (Check, "seccomp", &[1, 0], Allow),
        (Check, "seccomp", &[1, 8], PERM),
        (Strict, "seccomp", &[1, 0], PERM),
        (Front, "prlimit64", &[0, 3, 0, 0x1000], Allow),
        (Front, "prlimit64", &[0, 3, 1 << 40], Kill),
        (Strict, "setuid", &[], PERM),
        (Default, "setuid", &[], Allow),
    ]);
}

#[test]
fn what_nobody_needs_fails() {
    for name in [
        "ptrace",
        "process_vm_readv",
        "pidfd_getfd",
        "kcmp",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "keyctl",
        "add_key",
        "request_key",
        "mount",
        "umount2",
        "fsopen",
        "open_tree",
        "open_tree_attr",
        "move_mount",
        "mount_setattr",
        "pivot_root",
        "chroot",
        "swapon",
        "reboot",
        "kexec_load",
        "init_module",
        "finit_module",
        "acct",
        "quotactl",
        "lookup_dcookie",
        "syslog",
        "clock_settime",
        "clock_adjtime",
        "settimeofday",
        "adjtimex",
        "sethostname",
        "iopl",
        "ioperm",
        "modify_ldt",
        "vhangup",
        "name_to_handle_at",
        "open_by_handle_at",
        "fanotify_init",
        "sync",
    ] {
        check(&[
            (Default, name, &[], PERM),
            (Strict, name, &[], PERM),
            (Front, name, &[], Kill),
            (Init, name, &[], Kill),
        ]);
    }
    for name in
        ["io_uring_setup", "io_uring_enter", "io_setup", "openat2", "statmount", "listns", "memfd_secret"]
    {
        check(&[
            (Default, name, &[], NOSYS),
            (Strict, name, &[], NOSYS),
            (Front, name, &[], Kill),
            (Init, name, &[], Kill),
        ]);
    }
}
