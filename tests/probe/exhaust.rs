//! Things that are counted and not weighed: processes, threads, descriptors, inodes, locks, timers, processor time.
//! Each verb is told how many to take; it succeeded when it got them all.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::outcome::{Outcome, Verb, flatten, need, number, stopped, succeeded, verb};
use crate::sys::{self, Answer, addr, addr_mut, call, text};

/// The verbs of this file.
pub const VERBS: &[Verb] = &[
    verb("fork-bomb", |args| with_count(args, fork_bomb)),
    verb("thread-bomb", |args| with_count(args, thread_bomb)),
    verb("descriptor-bomb", |args| {
        with_count(args, |count| collect(count, || sys::open("/dev/null", libc::O_RDONLY)))
    }),
    verb("inode-bomb", inode_bomb),
    verb("inode-bomb-shm", inode_bomb),
    verb("timer-bomb", |args| with_count(args, timers)),
    verb("message-queue-bomb", |args| with_count(args, message_queues)),
    verb("event-watch-bomb", |args| with_count(args, |count| collect(count, inotify))),
    verb("semaphore-bomb", |args| {
        with_count(args, |count| repeat(count, || call(libc::SYS_semget, &[0, 32000, 0o1600])))
    }),
    verb("signal-queue-bomb", |args| with_count(args, signals)),
    verb("processor-bomb", |args| {
        flatten(number(args, 0).and_then(|limit| Ok(processor(limit, number(args, 1)?))))
    }),
];

fn with_count(arguments: &[String], run: fn(usize) -> Outcome) -> Outcome {
    flatten(number(arguments, 0).map(run))
}

fn counted(got: usize, wanted: usize, why: i32) -> Outcome {
    if got >= wanted {
        return succeeded(format!("{got}"));
    }
    match stopped(why) {
        Outcome::Stopped { detail, errno } => {
            Outcome::Stopped { detail: format!("after {got}: {detail}"), errno }
        }
        other => other,
    }
}

/// Takes descriptors and keeps them.
fn collect(count: usize, make: impl Fn() -> Result<OwnedFd, i32>) -> Outcome {
    let mut kept = Vec::new();
    while kept.len() < count {
        match make() {
            Ok(one) => kept.push(one),
            Err(errno) => return counted(kept.len(), count, errno),
        }
    }
    counted(kept.len(), count, 0)
}

fn repeat(count: usize, make: impl Fn() -> Answer) -> Outcome {
    for done in 0..count {
        if let Err(errno) = make() {
            return counted(done, count, errno);
        }
    }
    counted(count, count, 0)
}

fn inotify() -> Result<OwnedFd, i32> {
    call(libc::SYS_inotify_init1, &[0]).map(sys::own)
}

/// Children that wait for ever, until there are enough or no more come; all are killed and collected again.
fn fork_bomb(count: usize) -> Outcome {
    let mut children = Vec::new();
    let mut why = 0;
    while children.len() < count {
        match sys::spawn(wait_for_ever) {
            Ok(child) => children.push(child),
            Err(errno) => {
                why = errno;
                break;
            }
        }
    }
    for child in &children {
        let _ = call(libc::SYS_kill, &[usize::try_from(*child).unwrap_or(0), libc::SIGKILL as usize]);
    }
    for child in &children {
        let _ = sys::wait(*child);
    }
    counted(children.len(), count, why)
}

fn wait_for_ever() -> i32 {
    let _ = call(libc::SYS_prctl, &[libc::PR_SET_PDEATHSIG as usize, libc::SIGKILL as usize]);
    let _ = call(libc::SYS_pause, &[]);
    0
}

fn thread_bomb(count: usize) -> Outcome {
    let mut started = 0;
    while started < count {
        // Threads are counted by the kernel like processes; they end with this process.
        let made = std::thread::Builder::new().stack_size(16 << 10).spawn(|| call(libc::SYS_pause, &[]));
        match made {
            Ok(_) => started += 1,
            Err(e) => return counted(started, count, e.raw_os_error().unwrap_or(0)),
        }
    }
    counted(started, count, 0)
}

fn inode_bomb(arguments: &[String]) -> Outcome {
    flatten(need(arguments, 0).and_then(|directory| Ok(inodes(directory, number(arguments, 1)?))))
}

fn inodes(directory: &str, count: usize) -> Outcome {
    let room = format!("{directory}/gaoler-probe-inodes");
    if let Err(e) = std::fs::create_dir_all(&room) {
        return stopped(e.raw_os_error().unwrap_or(0));
    }
    let mut made = 0;
    let mut why = 0;
    while made < count {
        match sys::open(&format!("{room}/{made}"), libc::O_WRONLY | libc::O_CREAT) {
            Ok(_) => made += 1,
            Err(errno) => {
                why = errno;
                break;
            }
        }
    }
    let _ = std::fs::remove_dir_all(&room);
    counted(made, count, why)
}

fn timers(count: usize) -> Outcome {
    let mut id = 0u32;
    for made in 0..count {
        if let Err(errno) = call(libc::SYS_timer_create, &[0, 0, addr_mut(&mut id)]) {
            return counted(made, count, errno);
        }
    }
    counted(count, count, 0)
}

/// POSIX message queues of the largest ordinary size.
fn message_queues(count: usize) -> Outcome {
    let attributes: [u64; 8] = [0, 10, 8192, 0, 0, 0, 0, 0];
    let mut kept = Vec::new();
    let mut why = 0;
    for index in 0..count {
        let name = text(&format!("gaoler-probe-{index}"));
        let flags = (libc::O_RDWR | libc::O_CREAT) as usize;
        match call(libc::SYS_mq_open, &[addr(name.as_bytes_with_nul()), flags, 0o600, addr(&attributes)]) {
            Ok(number) => kept.push((name, sys::own(number))),
            Err(errno) => {
                why = errno;
                break;
            }
        }
    }
    for (name, _) in &kept {
        let _ = call(libc::SYS_mq_unlink, &[addr(name.as_bytes_with_nul())]);
    }
    counted(kept.len(), count, why)
}

/// Real-time signals queued on this process, which blocks them.
fn signals(count: usize) -> Outcome {
    let signal = 40usize;
    let blocked = 1u64 << (signal - 1);
    let _ = call(libc::SYS_rt_sigprocmask, &[0, addr(&blocked), 0, 8]);
    let pid = call(libc::SYS_getpid, &[]).unwrap_or(0);
    let mut info = [0i32; 32];
    info[2] = -1; // SI_QUEUE
    repeat(count, || call(libc::SYS_rt_sigqueueinfo, &[pid, signal, addr(&info)]))
}

/// Keeps more processes busy than the quota allows for `millis`; succeeded when they got over `limit` percent of one
/// processor.
fn processor(limit: usize, millis: usize) -> Outcome {
    let end = Instant::now() + Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    let children: Vec<i32> = (0..8).filter_map(|_| sys::spawn(|| spin(end)).ok()).collect();
    for child in &children {
        let _ = sys::wait(*child);
    }
    let mut usage = [0u64; 18];
    if let Err(errno) = call(libc::SYS_getrusage, &[usize::MAX, addr_mut(&mut usage)]) {
        return stopped(errno);
    }
    let spent = (usage[0] + usage[2]) * 1000 + (usage[1] + usage[3]) / 1000;
    let percent = usize::try_from(spent).unwrap_or(0) * 100 / millis.max(1);
    if percent > limit {
        succeeded(format!("{percent} % of a processor"))
    } else {
        crate::outcome::held(format!("{percent} % of a processor"))
    }
}

fn spin(end: Instant) -> i32 {
    while Instant::now() < end {
        std::hint::spin_loop();
    }
    0
}
