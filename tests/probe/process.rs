//! Other processes: tracing, reading, signalling, stealing descriptors, scheduling and limits.

use crate::outcome::{
    Outcome, Verb, attempt, flatten, held, judge, number, past, stopped, succeeded, unsupported, verb, words,
};
use crate::sys::{self, Ended, addr, addr_mut, call, fd};

/// The verbs of this file. Those that take a process id are given one that the jail should not be able to name.
pub const VERBS: &[Verb] = &[
    verb("ptrace-attach", |_| on_sibling(|pid| call(libc::SYS_ptrace, &[libc::PTRACE_ATTACH as usize, pid]))),
    verb("ptrace-seize", |_| on_sibling(|pid| call(libc::SYS_ptrace, &[libc::PTRACE_SEIZE as usize, pid]))),
    verb("ptrace-traceme", |_| attempt(libc::SYS_ptrace, &[libc::PTRACE_TRACEME as usize])),
    verb("ptrace-init", |_| attempt(libc::SYS_ptrace, &[libc::PTRACE_SEIZE as usize, 1])),
    verb("ptrace-suspend-seccomp", |_| suspend_seccomp()),
    verb("process-vm-read", |_| on_sibling(read_memory)),
    verb("process-vm-write", |_| on_sibling(write_memory)),
    verb("process-madvise", |_| on_sibling(madvise)),
    verb("process-mrelease", |_| past(on_pidfd(1, libc::SYS_process_mrelease), &[libc::EINVAL])),
    verb("kcmp", |_| on_sibling(|pid| call(libc::SYS_kcmp, &[own_pid(), pid, 1]))),
    verb("pidfd-getfd", |_| on_sibling(|pid| on_pidfd(pid, libc::SYS_pidfd_getfd))),
    verb("pidfd-getfd-init", |_| judge(on_pidfd(1, libc::SYS_pidfd_getfd))),
    verb("signal-init", |_| attempt(libc::SYS_kill, &[1, 0])),
    verb("slow-init-down", |_| attempt(libc::SYS_setpriority, &[0, 1, 19])),
    verb("limit-init", |_| {
        attempt(libc::SYS_prlimit64, &[1, libc::RLIMIT_NOFILE as usize, addr(&[64u64; 2])])
    }),
    verb("kill-init", |_| kill_init()),
    verb("signal-host", |args| flatten(number(args, 0).map(|pid| attempt(libc::SYS_kill, &[pid, 0])))),
    verb("tgkill-host", |args| flatten(number(args, 0).map(|pid| attempt(libc::SYS_tgkill, &[pid, pid, 0])))),
    verb("pidfd-open-host", |args| {
        flatten(number(args, 0).map(|pid| attempt(libc::SYS_pidfd_open, &[pid, 0])))
    }),
    verb("prlimit-host", |args| flatten(number(args, 0).map(prlimit))),
    verb("affinity-host", |args| flatten(number(args, 0).map(affinity))),
    verb("priority-host", |args| {
        flatten(number(args, 0).map(|pid| attempt(libc::SYS_setpriority, &[0, pid, 5])))
    }),
    verb("migrate-pages", |_| {
        past(call(libc::SYS_migrate_pages, &[0, 64, addr(&[0u64; 1]), addr(&[0u64; 1])]), &[libc::EINVAL])
    }),
    verb("sched-fifo", |_| scheduler(libc::SCHED_FIFO, 1)),
    verb("sched-round-robin", |_| scheduler(libc::SCHED_RR, 1)),
    verb("sched-deadline", |_| deadline()),
    verb("nice-raise", |_| attempt(libc::SYS_setpriority, &[0, 0, sys::int(-20)])),
    verb("io-priority", |_| attempt(libc::SYS_ioprio_set, &[1, 0, 1 << 13])),
    verb("rlimit-raise", |_| raise_limits()),
    verb("lock-memory", |_| lock_memory()),
    verb("lock-all", |_| {
        attempt(libc::SYS_mlockall, &[libc::MCL_FUTURE as usize | libc::MCL_CURRENT as usize])
    }),
    verb("dump-core", |_| dump_core()),
];

fn own_pid() -> usize {
    call(libc::SYS_getpid, &[]).unwrap_or(0)
}

/// Tries something on a second child of the probe: the same user, so only a filter stands between.
fn on_sibling(action: impl FnOnce(usize) -> sys::Answer) -> Outcome {
    let sibling = match sys::spawn(|| {
        let _ = call(libc::SYS_pause, &[]);
        0
    }) {
        Ok(pid) => pid,
        Err(errno) => return unsupported(words(errno)),
    };
    let answer = action(usize::try_from(sibling).unwrap_or(0));
    let _ = call(libc::SYS_kill, &[usize::try_from(sibling).unwrap_or(0), libc::SIGKILL as usize]);
    // A tracer must let its tracee go on before it can be collected; SIGKILL does.
    let _ = sys::wait(sibling);
    judge(answer)
}

fn on_pidfd(pid: usize, number: i64) -> sys::Answer {
    let process = sys::own(call(libc::SYS_pidfd_open, &[pid, 0])?);
    call(number, &[fd(&process), 0, 0])
}

fn suspend_seccomp() -> Outcome {
    on_sibling(|pid| {
        call(
            libc::SYS_ptrace,
            &[libc::PTRACE_SEIZE as usize, pid, 0, libc::PTRACE_O_SUSPEND_SECCOMP as usize],
        )
    })
}

static SECRET: [u8; 8] = *b"in mind.";

fn read_memory(pid: usize) -> sys::Answer {
    let mut copy = [0u8; 8];
    let (local, remote) = ([addr_mut(&mut copy), 8], [addr(&SECRET), 8]);
    call(libc::SYS_process_vm_readv, &[pid, addr(&local), 1, addr(&remote), 1, 0])
}

fn write_memory(pid: usize) -> sys::Answer {
    // The child has a copy of this very variable at this address.
    let mut value = [7u8; 8];
    let vector = [addr_mut(&mut value), 8];
    call(libc::SYS_process_vm_writev, &[pid, addr(&vector), 1, addr(&vector), 1, 0])
}

fn madvise(pid: usize) -> sys::Answer {
    let process = sys::own(call(libc::SYS_pidfd_open, &[pid, 0])?);
    let vector = [addr(&SECRET) & !4095, 4096];
    call(libc::SYS_process_madvise, &[fd(&process), addr(&vector), 1, libc::MADV_COLD as usize, 0])
}

/// Process 1 of a pid namespace ignores what it has no handler for; here the question is whether it still answers.
fn kill_init() -> Outcome {
    for signal in [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV] {
        let _ = call(libc::SYS_kill, &[1, signal as usize]);
    }
    // Only an init that runs collects an orphan: make one and see it disappear.
    let orphan = sys::child_text(|out| {
        let made = sys::spawn(|| 0);
        let text = made.unwrap_or(0).to_string();
        i32::from(out.write_all(text.as_bytes()).is_err())
    });
    let Ok((orphan, Ended::Exited(0))) = orphan else { return unsupported("no orphan") };
    let pid: usize = orphan.parse().unwrap_or(0);
    for _ in 0..200 {
        if call(libc::SYS_kill, &[pid, 0]) == Err(libc::ESRCH) {
            return held("process 1 still collects orphans");
        }
        let _ = call(libc::SYS_poll, &[0, 0, 10]);
    }
    succeeded("process 1 no longer works")
}

fn prlimit(pid: usize) -> Outcome {
    let mut old = [0u64; 2];
    attempt(libc::SYS_prlimit64, &[pid, libc::RLIMIT_NOFILE as usize, 0, addr_mut(&mut old)])
}

fn affinity(pid: usize) -> Outcome {
    attempt(libc::SYS_sched_setaffinity, &[pid, 8, addr(&u64::MAX)])
}

fn scheduler(policy: i32, priority: i32) -> Outcome {
    attempt(libc::SYS_sched_setscheduler, &[0, policy as usize, addr(&priority)])
}

fn deadline() -> Outcome {
    // size 48, policy 6 (deadline), then runtime, deadline and period of 1, 10 and 10 milliseconds.
    let attributes: [u64; 6] = [48 | 6 << 32, 0, 0, 1_000_000, 10_000_000, 10_000_000];
    past(call(libc::SYS_sched_setattr, &[0, addr(&attributes), 0]), &[libc::EBUSY])
}

fn raise_limits() -> Outcome {
    let kinds = [
        libc::RLIMIT_NOFILE,
        libc::RLIMIT_CORE,
        libc::RLIMIT_MEMLOCK,
        libc::RLIMIT_MSGQUEUE,
        libc::RLIMIT_RTPRIO,
    ];
    let mut last = held("every limit is infinite already");
    for kind in kinds {
        let mut limit = [0u64; 2];
        if call(libc::SYS_prlimit64, &[0, kind as usize, 0, addr_mut(&mut limit)]).is_err()
            || limit[1] == u64::MAX
        {
            continue;
        }
        limit[1] += 1;
        match call(libc::SYS_prlimit64, &[0, kind as usize, addr(&limit)]) {
            Ok(_) => return succeeded(format!("resource {kind} to {}", limit[1])),
            Err(errno) => last = stopped(errno),
        }
    }
    last
}

/// More locked memory than a hosted server has any use for, in bytes.
const LOCKED: usize = 64 << 20;

fn lock_memory() -> Outcome {
    match sys::map_anonymous(LOCKED) {
        Ok(start) => attempt(libc::SYS_mlock, &[start, LOCKED]),
        Err(errno) => stopped(errno),
    }
}

/// Crashes in a directory where a core file may be written, and looks for one.
fn dump_core() -> Outcome {
    let directory = "/tmp/gaoler-probe-core";
    if let Err(e) = std::fs::create_dir_all(directory) {
        return unsupported(format!("{directory}: {e}"));
    }
    let ended = sys::in_child(|| {
        let _ = std::env::set_current_dir(directory);
        let _ = call(libc::SYS_prlimit64, &[0, libc::RLIMIT_CORE as usize, addr(&[u64::MAX; 2])]);
        let _ = call(libc::SYS_kill, &[own_pid(), libc::SIGQUIT as usize]);
        0
    });
    let found = std::fs::read_dir(directory).is_ok_and(|list| list.flatten().count() > 0);
    let _ = std::fs::remove_dir_all(directory);
    match (ended, found) {
        (_, true) => succeeded("a core file"),
        (Ok(Ended::Signalled(_)), false) => held("no core file"),
        (other, false) => unsupported(format!("{other:?}")),
    }
}
