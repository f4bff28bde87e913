//! The terminal that a caller handed over as standard input: typing on the caller's behalf, and taking it over.

use crate::outcome::{Outcome, Verb, attempt, judge, past, stopped, succeeded, unsupported, verb};
use crate::sys::{self, addr, call};

/// The verbs of this file; standard input is a terminal.
pub const VERBS: &[Verb] = &[
    verb("tiocsti", |_| type_on(libc::TIOCSTI as usize)),
    // The kernel reads 32 bits of the request; a filter that compares 64 sees another number (CVE-2019-10063).
    verb("tiocsti-high-bits", |_| type_on(1 << 32 | libc::TIOCSTI as usize)),
    verb("tioclinux", |_| {
        past(
            call(libc::SYS_ioctl, &[0, libc::TIOCLINUX as usize, addr(&[0xffu8])]),
            &[libc::ENOTTY, libc::EINVAL],
        )
    }),
    verb("tioclinux-high-bits", |_| {
        past(
            call(libc::SYS_ioctl, &[0, 1 << 32 | libc::TIOCLINUX as usize, addr(&[0xffu8])]),
            &[libc::ENOTTY, libc::EINVAL],
        )
    }),
    verb("controlling-terminal", |_| controlling_terminal()),
    verb("steal-terminal", |_| steal_terminal()),
    verb("line-discipline", |_| attempt(libc::SYS_ioctl, &[0, libc::TIOCSETD as usize, addr(&0u32)])),
    verb("console-redirect", |_| {
        past(call(libc::SYS_ioctl, &[0, libc::TIOCCONS as usize, 0]), &[libc::EINVAL, libc::EBUSY])
    }),
    verb("open-terminal-by-name", |_| open_by_name()),
];

/// Puts a character into the input queue, as if the person at the terminal had typed it.
fn type_on(request: usize) -> Outcome {
    attempt(libc::SYS_ioctl, &[0, request, addr(b"x")])
}

fn controlling_terminal() -> Outcome {
    judge(sys::open("/dev/tty", libc::O_RDWR))
}

/// Makes the terminal one's own controlling terminal, in a new session, by force.
fn steal_terminal() -> Outcome {
    let ended = sys::in_child(|| {
        let _ = call(libc::SYS_setsid, &[]);
        call(libc::SYS_ioctl, &[0, libc::TIOCSCTTY as usize, 1]).err().unwrap_or(0)
    });
    match ended {
        Ok(sys::Ended::Exited(0)) => succeeded("it is the controlling terminal"),
        Ok(sys::Ended::Exited(errno)) => stopped(errno),
        other => unsupported(format!("{other:?}")),
    }
}

/// A terminal's name leads to its node, with which it could be opened afresh and for more.
fn open_by_name() -> Outcome {
    match std::fs::read_link("/proc/self/fd/0") {
        Ok(name) => judge(sys::open(&name.to_string_lossy(), libc::O_RDWR | libc::O_NOCTTY)),
        Err(e) => stopped(e.raw_os_error().unwrap_or(0)),
    }
}
