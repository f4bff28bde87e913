//! Files of the host: reading what is private, writing what is shared, and running what was just written.

use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;

use crate::outcome::{
    Outcome, Verb, any_of, attempt, flatten, held, judge, need, past, stopped, succeeded, unsupported, verb,
};
use crate::sys::{self, addr, addr_mut, call, fd, int, text};

/// The verbs of this file.
pub const VERBS: &[Verb] = &[
    verb("read-shadow", |_| read("/etc/shadow")),
    verb("read-machine-id", |_| read("/etc/machine-id")),
    verb("read-host-etc", |_| read("/etc/fstab")),
    verb("read-root-home", read_argument),
    verb("read-home", read_argument),
    verb("read-var", read_argument),
    verb("read-run", read_argument),
    verb("read-host-tmp", read_argument),
    verb("read-srv", read_argument),
    verb("write-usr", |_| create("/usr/gaoler-probe")),
    verb("write-root", |_| create("/gaoler-probe")),
    verb("write-etc", |_| create("/etc/gaoler-probe")),
    verb("write-dev", |_| create("/dev/gaoler-probe")),
    verb("write-program", |_| past(sys::open("/usr/bin/env", libc::O_WRONLY), &[libc::ETXTBSY])),
    verb("write-read-only-bind", |args| {
        flatten(need(args, 0).map(|dir| create(&format!("{dir}/gaoler-probe"))))
    }),
    verb("chmod-program", |_| chmod("/usr/bin/env", 0o755)),
    verb("chmod-dev-null", |_| chmod("/dev/null", 0o666)),
    verb("chown-to-root", |_| chown_own()),
    verb("set-file-capabilities", |_| set_file_capabilities()),
    verb("exec-from-tmp", |_| exec_copy("/tmp/gaoler-probe-copy")),
    verb("exec-from-shm", |_| exec_copy("/dev/shm/gaoler-probe-copy")),
    verb("exec-from-bind", |args| {
        flatten(need(args, 0).map(|dir| exec_copy(&format!("{dir}/gaoler-probe-copy"))))
    }),
    verb("exec-memfd", |_| exec_memfd()),
    verb("map-exec-from-tmp", |_| map_executable("/tmp/gaoler-probe-map")),
    verb("exec-set-user-id", |args| flatten(need(args, 0).map(exec_privileged))),
    verb("exec-file-capabilities", |args| flatten(need(args, 0).map(exec_privileged))),
    verb("symlink-out-of-bind", |args| flatten(need(args, 0).map(symlink_out))),
    verb("dotdot-out-of-bind", |args| {
        flatten(need(args, 0).and_then(|dir| Ok(dotdot_out(dir, need(args, 1)?))))
    }),
    verb("reopen-stdin-for-writing", |_| on_stdin(|| judge(sys::open("/proc/self/fd/0", libc::O_WRONLY)))),
    verb("chmod-stdin", |_| on_stdin(|| attempt(libc::SYS_fchmod, &[0, 0o644]))),
    verb("watch-host-files", |_| watch("/usr/bin")),
    verb("lock-host-files", |_| lock("/usr/bin/env")),
    verb("chown-stdin", |_| on_stdin(|| attempt(libc::SYS_fchown, &[0, own_id(), own_id()]))),
    verb("truncate-stdin", |_| on_stdin(|| attempt(libc::SYS_ftruncate, &[0, 0]))),
];

fn own_id() -> usize {
    call(libc::SYS_getuid, &[]).unwrap_or(0)
}

/// A pipe has no inode of the host's to lose; anything else is tried.
fn on_stdin(body: impl FnOnce() -> Outcome) -> Outcome {
    match std::fs::metadata("/proc/self/fd/0") {
        Ok(meta) if meta.file_type().is_fifo() => held("standard input is a pipe"),
        _ => body(),
    }
}

/// Opens a file or directory for reading and takes something out of it.
pub fn read(path: &str) -> Outcome {
    let file = match sys::open(path, libc::O_RDONLY) {
        Ok(file) => file,
        Err(errno) => return stopped(errno),
    };
    let mut buffer = [0u8; 256];
    let got = match call(libc::SYS_read, &[fd(&file), addr_mut(&mut buffer), buffer.len()]) {
        Err(libc::EISDIR) => call(libc::SYS_getdents64, &[fd(&file), addr_mut(&mut buffer), buffer.len()]),
        other => other,
    };
    match got {
        Ok(0) => held(format!("{path} is empty")),
        Ok(count) => succeeded(format!("{count} bytes of {path}")),
        Err(errno) => stopped(errno),
    }
}

fn read_argument(arguments: &[String]) -> Outcome {
    flatten(need(arguments, 0).map(read))
}

/// Creates a file and removes it again.
fn create(path: &str) -> Outcome {
    let made = sys::open(path, libc::O_WRONLY | libc::O_CREAT);
    if made.is_ok() {
        let _ = std::fs::remove_file(path);
    }
    judge(made)
}

fn chmod(path: &str, mode: usize) -> Outcome {
    let path = text(path);
    attempt(libc::SYS_fchmodat, &[int(i64::from(libc::AT_FDCWD)), addr(path.as_bytes_with_nul()), mode])
}

/// Runs `body` on a new file in /tmp and removes it.
fn with_file(path: &str, body: impl FnOnce(usize) -> Outcome) -> Outcome {
    match sys::open(path, libc::O_RDWR | libc::O_CREAT) {
        Ok(file) => {
            let outcome = body(fd(&file));
            let _ = std::fs::remove_file(path);
            outcome
        }
        Err(errno) => unsupported(format!("{path}: {}", crate::outcome::words(errno))),
    }
}

fn chown_own() -> Outcome {
    with_file("/tmp/gaoler-probe-chown", |file| {
        any_of([
            ("to user 0", call(libc::SYS_fchown, &[file, 0, usize::MAX])),
            ("to user 1", call(libc::SYS_fchown, &[file, 1, usize::MAX])),
            ("to group 0", call(libc::SYS_fchown, &[file, usize::MAX, 0])),
        ])
    })
}

/// Version 2 of the capability attribute, cap_net_admin permitted and effective.
const FILE_CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn set_file_capabilities() -> Outcome {
    let name = text("security.capability");
    with_file("/tmp/gaoler-probe-caps", |file| {
        let name = addr(name.as_bytes_with_nul());
        attempt(libc::SYS_fsetxattr, &[file, name, addr(&FILE_CAPABILITY), FILE_CAPABILITY.len(), 0])
    })
}

fn own_program() -> Result<Vec<u8>, Outcome> {
    std::fs::read("/proc/self/exe").map_err(|e| unsupported(format!("own program: {e}")))
}

/// Runs `body` in a child that should replace itself by a program that ends with 0.
fn exec_outcome(body: impl FnOnce() -> i32) -> Outcome {
    match sys::in_child(body) {
        Ok(sys::Ended::Exited(0)) => succeeded("it ran"),
        Ok(sys::Ended::Exited(errno)) => stopped(errno),
        Ok(sys::Ended::Signalled(signal)) => held(format!("killed by signal {signal}")),
        Err(errno) => unsupported(crate::outcome::words(errno)),
    }
}

fn quiet_then(exec: impl FnOnce() -> i32) -> i32 {
    // The program that is run writes its list of verbs; only its exit status counts here.
    if let Ok(null) = sys::open("/dev/null", libc::O_WRONLY) {
        let _ = call(libc::SYS_dup2, &[fd(&null), 1]);
    }
    exec()
}

fn exec_copy(path: &str) -> Outcome {
    let program = match own_program() {
        Ok(program) => program,
        Err(outcome) => return outcome,
    };
    if let Err(e) = std::fs::write(path, program) {
        return unsupported(format!("{path}: {e}"));
    }
    let target = text(path);
    let _ = call(libc::SYS_chmod, &[addr(target.as_bytes_with_nul()), 0o755]);
    let outcome = exec_outcome(|| quiet_then(|| sys::execve(path, &["probe", "--list"])));
    let _ = std::fs::remove_file(path);
    outcome
}

fn exec_memfd() -> Outcome {
    let program = match own_program() {
        Ok(program) => program,
        Err(outcome) => return outcome,
    };
    let name = text("probe");
    let memory =
        match call(libc::SYS_memfd_create, &[addr(name.as_bytes_with_nul()), libc::MFD_CLOEXEC as usize]) {
            Ok(number) => sys::own(number),
            Err(errno) => return stopped(errno),
        };
    if std::fs::write(format!("/proc/self/fd/{}", memory.as_raw_fd()), program).is_err() {
        return unsupported("the memory file could not be written");
    }
    exec_outcome(|| quiet_then(|| sys::exec_fd(&memory, &["probe", "--list"])))
}

fn map_executable(path: &str) -> Outcome {
    with_file(path, |file| {
        let _ = call(libc::SYS_ftruncate, &[file, 4096]);
        let protection = int(i64::from(libc::PROT_READ | libc::PROT_EXEC));
        attempt(libc::SYS_mmap, &[0, 4096, protection, int(i64::from(libc::MAP_PRIVATE)), file, 0])
    })
}

/// Runs a program that its owner gave more rights; it prints the ids and capabilities it got.
fn exec_privileged(path: &str) -> Outcome {
    let before = crate::identity::report();
    let told = sys::child_text(|out| {
        let (read, write) = match sys::pipe() {
            Ok(ends) => ends,
            Err(errno) => return errno,
        };
        let child = sys::spawn(|| {
            let _ = call(libc::SYS_dup2, &[fd(&write), 1]);
            sys::execve(path, &["probe", "--ids"])
        });
        drop(write);
        let copied = std::io::copy(&mut std::fs::File::from(read), out).is_ok();
        match child.and_then(sys::wait) {
            Ok(sys::Ended::Exited(code)) if copied => code,
            _ => libc::EIO,
        }
    });
    match told {
        Ok((after, sys::Ended::Exited(0))) if after == before => held("it ran without more rights"),
        Ok((after, sys::Ended::Exited(0))) => succeeded(after.replace('\n', " ")),
        Ok((_, sys::Ended::Exited(errno))) => stopped(errno),
        other => unsupported(format!("{other:?}")),
    }
}

fn symlink_out(directory: &str) -> Outcome {
    let link = format!("{directory}/gaoler-probe-link");
    let _ = std::fs::remove_file(&link);
    if let Err(e) = std::os::unix::fs::symlink("/etc/shadow", &link) {
        return unsupported(format!("{link}: {e}"));
    }
    let outcome = read(&link);
    let _ = std::fs::remove_file(&link);
    outcome
}

/// Climbs from a bound directory by `..` and looks for a file of the host at each level.
fn dotdot_out(directory: &str, canary: &str) -> Outcome {
    let mut at = match sys::open(directory, libc::O_PATH | libc::O_DIRECTORY) {
        Ok(directory) => directory,
        Err(errno) => return unsupported(crate::outcome::words(errno)),
    };
    for _ in 0..32 {
        let relative = canary.trim_start_matches('/');
        if sys::open_at(at.as_raw_fd(), relative, libc::O_RDONLY, 0).is_ok() {
            return succeeded(format!("{canary} by climbing"));
        }
        at = match sys::open_at(at.as_raw_fd(), "..", libc::O_PATH | libc::O_DIRECTORY, 0) {
            Ok(parent) => parent,
            Err(errno) => return stopped(errno),
        };
    }
    held("the climb ends at the jail's own root")
}

/// Asks to be told whenever anybody, in any jail or on the host, opens a file of a directory.
fn watch(directory: &str) -> Outcome {
    let path = text(directory);
    match call(libc::SYS_inotify_init1, &[0]).map(sys::own) {
        Ok(queue) => {
            let events = (libc::IN_OPEN | libc::IN_ACCESS) as usize;
            attempt(libc::SYS_inotify_add_watch, &[fd(&queue), addr(path.as_bytes_with_nul()), events])
        }
        Err(errno) => stopped(errno),
    }
}

/// Takes an exclusive lock on a file that may only be read, which whoever else locks it then waits for.
fn lock(path: &str) -> Outcome {
    match sys::open(path, libc::O_RDONLY) {
        Ok(file) => attempt(libc::SYS_flock, &[fd(&file), (libc::LOCK_EX | libc::LOCK_NB) as usize]),
        Err(errno) => stopped(errno),
    }
}
