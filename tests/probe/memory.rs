//! Memory by every way that holds it: mappings, memory files, tmpfs, shared segments, pipes, sockets. Each verb is
//! told how many MiB to take; it succeeded when it holds all of them at once.

use std::io::Write;
use std::os::fd::OwnedFd;

use crate::outcome::{Outcome, Verb, flatten, held, need, number, stopped, succeeded, verb};
use crate::sys::{self, addr, addr_mut, call, fd, int, text};

/// The verbs of this file.
pub const VERBS: &[Verb] = &[
    verb("memory-bomb", |args| with_size(args, anonymous)),
    verb("memory-bomb-children", |args| with_size(args, children)),
    verb("memory-file-bomb", |args| with_size(args, memory_file)),
    verb("tmpfs-bomb", |args| in_directory(args, fill_file)),
    verb("shm-bomb", |args| in_directory(args, fill_file)),
    verb("disk-bomb", |args| in_directory(args, fill_file)),
    verb("disk-bomb-sparse", |args| in_directory(args, allocate_file)),
    verb("sysv-shared-memory", |args| with_size(args, shared_segment)),
    verb("pipe-bomb", |args| with_size(args, pipes)),
    verb("pipe-bomb-children", |args| with_size(args, pipes_of_children)),
    verb("socket-bomb", |args| with_size(args, sockets)),
];

const MIB: usize = 1 << 20;

fn with_size(arguments: &[String], run: fn(usize) -> Outcome) -> Outcome {
    flatten(number(arguments, 0).map(|size| run(size * MIB)))
}

fn in_directory(arguments: &[String], run: fn(&str, usize) -> Outcome) -> Outcome {
    flatten(need(arguments, 0).and_then(|directory| Ok(run(directory, number(arguments, 1)? * MIB))))
}

fn taken(wanted: usize, got: usize, why: i32) -> Outcome {
    if got >= wanted {
        return succeeded(format!("{} MiB", got / MIB));
    }
    match stopped(why) {
        Outcome::Stopped { detail, errno } => {
            Outcome::Stopped { detail: format!("after {} KiB: {detail}", got / 1024), errno }
        }
        other => other,
    }
}

fn anonymous(size: usize) -> Outcome {
    match sys::map_anonymous(size) {
        Ok(start) => {
            sys::touch(start, size);
            succeeded(format!("{} MiB", size / MIB))
        }
        Err(errno) => stopped(errno),
    }
}

/// The same spread over sixteen processes, so that killing one does not end it.
fn children(size: usize) -> Outcome {
    share_out(size, hold)
}

fn share_out(size: usize, body: impl Fn(usize) -> i32) -> Outcome {
    let share = size / 16;
    let started: Vec<i32> = (0..16).filter_map(|_| sys::spawn(|| body(share)).ok()).collect();
    let mut whole = 0;
    for child in &started {
        whole += usize::from(sys::wait(*child) == Ok(sys::Ended::Exited(0)));
    }
    if whole == 16 {
        succeeded("sixteen processes")
    } else {
        held(format!("{whole} of 16 processes kept theirs"))
    }
}

/// Takes memory and keeps it until all the others have had time to take theirs.
fn hold(size: usize) -> i32 {
    let Ok(start) = sys::map_anonymous(size) else { return 1 };
    sys::touch(start, size);
    let _ = call(libc::SYS_poll, &[0, 0, 1000]);
    0
}

fn write_all(file: OwnedFd, size: usize) -> Outcome {
    let mut file = std::fs::File::from(file);
    let block = vec![7u8; MIB];
    let mut written = 0;
    while written < size {
        match file.write(&block) {
            Ok(count) => written += count,
            Err(e) => return taken(size, written, e.raw_os_error().unwrap_or(0)),
        }
    }
    taken(size, written, 0)
}

fn memory_file(size: usize) -> Outcome {
    let name = text("probe");
    match call(libc::SYS_memfd_create, &[addr(name.as_bytes_with_nul()), 0]) {
        Ok(number) => write_all(sys::own(number), size),
        Err(errno) => stopped(errno),
    }
}

fn fill_file(directory: &str, size: usize) -> Outcome {
    with_file(directory, |file| write_all(file, size))
}

/// Asks for the blocks without writing them.
fn allocate_file(directory: &str, size: usize) -> Outcome {
    with_file(directory, |file| match call(libc::SYS_fallocate, &[fd(&file), 0, 0, size]) {
        Ok(_) => succeeded(format!("{} MiB", size / MIB)),
        Err(errno) => stopped(errno),
    })
}

fn with_file(directory: &str, body: impl FnOnce(OwnedFd) -> Outcome) -> Outcome {
    let path = format!("{directory}/gaoler-probe-fill");
    match sys::open(&path, libc::O_RDWR | libc::O_CREAT) {
        Ok(file) => {
            let outcome = body(file);
            let _ = std::fs::remove_file(&path);
            outcome
        }
        Err(errno) => crate::outcome::unsupported(format!("{path}: {}", crate::outcome::words(errno))),
    }
}

fn shared_segment(size: usize) -> Outcome {
    let id = match call(libc::SYS_shmget, &[0, size, 0o1600]) {
        Ok(id) => id,
        Err(errno) => return stopped(errno),
    };
    let attached = call(libc::SYS_shmat, &[id, 0, 0]);
    // Marked for removal at once: it goes with this process also when that is killed.
    let _ = call(libc::SYS_shmctl, &[id, 0, 0]);
    match attached {
        Ok(start) => {
            sys::touch(start, size);
            succeeded(format!("{} MiB", size / MIB))
        }
        Err(errno) => stopped(errno),
    }
}

/// Fills pipes, each made as large as it may be.
fn pipes(size: usize) -> Outcome {
    let (got, why) = pipes_held(size);
    taken(size, got, why)
}

/// How much pipes took, and the error number that ended it. The pipes stay open until the process ends.
fn pipes_held(size: usize) -> (usize, i32) {
    let mut held_bytes = 0;
    let block = vec![7u8; MIB];
    while held_bytes < size {
        let (read, write) = match sys::pipe() {
            Ok(ends) => ends,
            Err(errno) => return (held_bytes, errno),
        };
        let _ = call(libc::SYS_fcntl, &[fd(&write), libc::F_SETPIPE_SZ as usize, MIB]);
        held_bytes += fill(&write, &block);
        std::mem::forget((read, write));
    }
    (held_bytes, 0)
}

/// Sixteen processes, each with descriptors of its own to fill.
fn pipes_of_children(size: usize) -> Outcome {
    share_out(size, |share| match pipes_held(share) {
        (_, 0) => {
            let _ = call(libc::SYS_poll, &[0, 0, 1000]);
            0
        }
        (_, errno) => errno,
    })
}

fn sockets(size: usize) -> Outcome {
    let mut kept = Vec::new();
    let mut held_bytes = 0;
    let block = vec![7u8; 128 << 10];
    while held_bytes < size {
        let mut ends = [0i32; 2];
        let list = [libc::AF_UNIX as usize, libc::SOCK_STREAM as usize, 0, addr_mut(&mut ends)];
        if let Err(errno) = call(libc::SYS_socketpair, &list) {
            return taken(size, held_bytes, errno);
        }
        let [one, two] = ends.map(|end| sys::own(int(i64::from(end))));
        for end in [&one, &two] {
            let _ = call(
                libc::SYS_setsockopt,
                &[fd(end), libc::SOL_SOCKET as usize, libc::SO_SNDBUF as usize, addr(&i32::MAX), 4],
            );
            held_bytes += fill(end, &block);
        }
        kept.push((one, two));
    }
    taken(size, held_bytes, 0)
}

/// Writes until the buffer is full.
fn fill(end: &OwnedFd, block: &[u8]) -> usize {
    let _ = call(libc::SYS_fcntl, &[fd(end), libc::F_SETFL as usize, libc::O_NONBLOCK as usize]);
    let mut written = 0;
    while let Ok(count) = call(libc::SYS_write, &[fd(end), block.as_ptr() as usize, block.len()]) {
        written += count;
    }
    written
}
