//! What the hostile server does to itself as a process: dies, stops, goes deaf, eats, leaves a daemon behind.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Takes and touches memory until something stops it.
pub(crate) fn eat() {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    loop {
        eaten.push(vec![1; 4 << 20]);
        std::hint::black_box(&eaten);
    }
}

pub(crate) fn raise(signal: i32) {
    // SAFETY: the default action runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    let own = std::process::id().cast_signed();
    // SAFETY: a signal to the own process; no memory is passed.
    unsafe { libc::kill(own, signal) };
}

pub(crate) fn ignore_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGPIPE] {
        // SAFETY: ignoring a signal runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

pub(crate) fn forever() -> ! {
    loop {
        std::thread::park();
    }
}

/// The grandchild that has left its parent, session and signals behind but still holds the output pipes.
pub(crate) fn daemon(first: bool) -> ! {
    if first {
        let mut second = Command::new("/proc/self/exe");
        second.arg("--daemon").stdin(Stdio::null()).process_group(0);
        let started = second.spawn().is_ok();
        std::process::exit(i32::from(!started));
    }
    // SAFETY: makes this process the leader of a new session; no memory is passed.
    unsafe { libc::setsid() };
    ignore_signals();
    forever()
}
