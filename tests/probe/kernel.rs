//! Kernel interfaces with a history of holes, and switches of the whole machine. Arguments are wrong wherever right
//! ones would do harm: the error number tells whether the permission check was passed.

use crate::outcome::{Outcome, Verb, attempt, held, judge, past, stopped, succeeded, verb};
use crate::sys::{self, addr, addr_mut, call, int, text};

/// The verbs of this file.
pub const VERBS: &[Verb] = &[
    verb("keyctl", |_| attempt(libc::SYS_keyctl, &[0, int(-3), 0])),
    verb("keyctl-join", |_| attempt(libc::SYS_keyctl, &[1, 0])),
    verb("add-key", |_| add_key()),
    verb("request-key", |_| past(request_key(), &[libc::ENOKEY])),
    verb("bpf-map", |_| bpf(0, &[1u32, 4, 4, 1])),
    verb("bpf-program", |_| {
        past(call(libc::SYS_bpf, &[5, addr(&[0u32; 12]), 48]), &[libc::EINVAL, libc::E2BIG])
    }),
    verb("perf-event", |_| perf_event()),
    verb("io-uring", |_| attempt(libc::SYS_io_uring_setup, &[1, addr_mut(&mut [0u32; 30])])),
    verb("io-uring-enter", |_| past(call(libc::SYS_io_uring_enter, &[usize::MAX]), &[libc::EBADF])),
    verb("userfaultfd", |_| attempt(libc::SYS_userfaultfd, &[0])),
    verb("userfaultfd-user-mode", |_| attempt(libc::SYS_userfaultfd, &[1])),
    verb("init-module", |_| past(call(libc::SYS_init_module, &[0, 0, 0]), &[libc::EFAULT, libc::ENOEXEC])),
    verb("finit-module", |_| {
        past(call(libc::SYS_finit_module, &[usize::MAX, 0, 0]), &[libc::EFAULT, libc::EBADF])
    }),
    verb("delete-module", |_| past(on_text(libc::SYS_delete_module, "nonexistent"), &[libc::ENOENT])),
    verb("kexec-load", |_| past(call(libc::SYS_kexec_load, &[0, 17, 0, 0]), &[libc::EINVAL])),
    verb("kexec-file-load", |_| {
        past(call(libc::SYS_kexec_file_load, &[usize::MAX, usize::MAX, 0, 0, 64]), &[libc::EINVAL])
    }),
    verb("clock-settime", |_| past(call(libc::SYS_clock_settime, &[0, 0]), &[libc::EFAULT])),
    verb("settimeofday", |_| past(call(libc::SYS_settimeofday, &[0, addr(&[i32::MAX, 0])]), &[libc::EINVAL])),
    verb("clock-adjtime", |_| adjust(libc::SYS_clock_adjtime)),
    verb("adjtimex", |_| adjust(libc::SYS_adjtimex)),
    verb("sethostname", |_| attempt(libc::SYS_sethostname, &[addr(b"probed"), 6])),
    verb("setdomainname", |_| attempt(libc::SYS_setdomainname, &[addr(b"probed"), 6])),
    verb("reboot", |_| past(call(libc::SYS_reboot, &[0, 0, 0, 0]), &[libc::EINVAL])),
    verb("syslog", |_| attempt(libc::SYS_syslog, &[3, addr_mut(&mut [0u8; 512]), 512])),
    verb("syslog-size", |_| attempt(libc::SYS_syslog, &[10, 0, 0])),
    verb("name-to-handle", |_| name_to_handle()),
    verb("open-by-handle", |_| open_by_handle()),
    verb("fanotify", |_| attempt(libc::SYS_fanotify_init, &[0x200, 0])),
    verb("iopl", |_| attempt(libc::SYS_iopl, &[3])),
    verb("ioperm", |_| attempt(libc::SYS_ioperm, &[0x80, 1, 1])),
    verb("modify-ldt", |_| attempt(libc::SYS_modify_ldt, &[1, addr(&[0u32, 0, 0xfffff, 0x51]), 16])),
    verb("personality", |_| attempt(libc::SYS_personality, &[libc::ADDR_NO_RANDOMIZE as usize])),
    verb("personality-read-implies-exec", |_| {
        attempt(libc::SYS_personality, &[libc::READ_IMPLIES_EXEC as usize])
    }),
    // The kernel reads only 32 bits; a filter that compares 64 sees another number.
    verb("personality-high-bits", |_| {
        attempt(libc::SYS_personality, &[1 << 32 | libc::ADDR_NO_RANDOMIZE as usize])
    }),
    verb("int80-entry", |_| int80()),
    verb("x32-entry", |_| attempt(0x4000_0000 + libc::SYS_getpid, &[])),
    verb("vhangup", |_| attempt(libc::SYS_vhangup, &[])),
    verb("secret-memory", |_| attempt(libc::SYS_memfd_secret, &[0])),
    verb("lookup-old-sysfs", |_| attempt(libc::SYS_sysfs, &[3])),
    verb("ustat", |_| attempt(libc::SYS_ustat, &[0x0005, addr_mut(&mut [0u8; 64])])),
    verb("seccomp-listener", |_| seccomp_listener()),
    verb("set-mempolicy-home", |_| past(call(450, &[1, 0, 0, 0]), &[libc::EINVAL])),
    verb("move-pages", |_| attempt(libc::SYS_move_pages, &[0, 0, 0, 0, 0, 0])),
    verb("mbind", |_| attempt(libc::SYS_mbind, &[0, 0, 0, 0, 0, 0])),
    verb("remap-file-pages", |_| past(call(libc::SYS_remap_file_pages, &[0, 0, 0, 0, 0]), &[libc::EINVAL])),
    verb("listmount", |_| listmount()),
    verb("uselib", |_| past(on_text(libc::SYS_uselib, "/nonexistent"), &[libc::ENOENT])),
    verb("unknown-call", |_| attempt(1000, &[])),
];

fn on_text(number: i64, word: &str) -> sys::Answer {
    let word = text(word);
    call(number, &[addr(word.as_bytes_with_nul()), 0])
}

fn add_key() -> Outcome {
    let (kind, name) = (text("user"), text("gaoler-probe"));
    let (kind, name) = (addr(kind.as_bytes_with_nul()), addr(name.as_bytes_with_nul()));
    // -1 is the thread's own keyring: the key goes when the probe does.
    attempt(libc::SYS_add_key, &[kind, name, addr(b"x"), 1, int(-1)])
}

fn request_key() -> sys::Answer {
    let (kind, name) = (text("user"), text("gaoler-probe-none"));
    call(libc::SYS_request_key, &[addr(kind.as_bytes_with_nul()), addr(name.as_bytes_with_nul()), 0, 0])
}

fn bpf(command: usize, words: &[u32; 4]) -> Outcome {
    let mut attributes = [0u32; 18];
    attributes[..4].copy_from_slice(words);
    attributes[0] = 2; // an array map
    attempt(libc::SYS_bpf, &[command, addr(&attributes), 72])
}

/// Counts the task clock of this process, the least that can be asked for.
fn perf_event() -> Outcome {
    let mut attributes = [0u32; 32];
    attributes[0] = 1; // software
    attributes[1] = 128;
    attributes[2] = 1; // task clock
    attempt(libc::SYS_perf_event_open, &[addr(&attributes), 0, usize::MAX, usize::MAX, 0])
}

/// Asks for a tick of zero microseconds, refused as senseless after the capability check.
fn adjust(number: i64) -> Outcome {
    let mut request = [0u64; 26];
    request[0] = 0x4000;
    let pointer = addr_mut(&mut request);
    let list = if number == libc::SYS_adjtimex { vec![pointer] } else { vec![0, pointer] };
    past(call(number, &list), &[libc::EINVAL])
}

fn name_to_handle() -> Outcome {
    let path = text("/");
    let mut handle = [0u32; 34];
    handle[0] = 128;
    let mut mount = 0i32;
    let list = [
        int(i64::from(libc::AT_FDCWD)),
        addr(path.as_bytes_with_nul()),
        addr_mut(&mut handle),
        addr_mut(&mut mount),
        0,
    ];
    past(call(libc::SYS_name_to_handle_at, &list), &[libc::EOPNOTSUPP, libc::EOVERFLOW])
}

/// Opens inode 2 of an ext4 file system, its root directory, by number: the "shocker" way out of a container.
fn open_by_handle() -> Outcome {
    let Ok(anchor) = sys::open("/usr", libc::O_RDONLY) else { return held("/usr cannot be opened") };
    let handle: [u32; 4] = [8, 1, 2, 0];
    past(call(libc::SYS_open_by_handle_at, &[sys::fd(&anchor), addr(&handle), 0]), &[libc::ESTALE])
}

/// The 32-bit entry reaches system calls by other numbers than the filter's.
fn int80() -> Outcome {
    let pid = sys::getpid_by_int80();
    match i32::try_from(pid) {
        Ok(pid) if pid > 0 => succeeded("getpid answered"),
        Ok(errno) => stopped(-errno),
        Err(_) => held(format!("answer {pid}")),
    }
}

/// A filter of one's own that hands system calls to user space, the way to fool other filters' errno results.
fn seccomp_listener() -> Outcome {
    let _ = call(libc::SYS_prctl, &[libc::PR_SET_NO_NEW_PRIVS as usize, 1]);
    let allow: [u64; 1] = [0x7fff_0000_0000_0006];
    let program = [1usize, addr(&allow)];
    let answer = call(libc::SYS_seccomp, &[1, 1 << 3, addr(&program)]);
    judge(answer)
}

fn listmount() -> Outcome {
    // struct mnt_id_req: size 24, the root of this namespace's tree.
    let request: [u64; 3] = [24, u64::MAX, 0];
    let mut ids = [0u64; 64];
    attempt(458, &[addr(&request), addr_mut(&mut ids), 64, 0])
}
