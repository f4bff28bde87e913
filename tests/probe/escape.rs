//! Ways out that containers have had: the runtime's own executable, a descriptor or directory left over from set-up,
//! control groups, and whatever can be written that nobody thought of.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::outcome::{Outcome, Verb, any_of, held, judge, past, stopped, succeeded, unsupported, verb};
use crate::sys::{self, Answer, addr, call, int, text};

/// The verbs of this file.
pub const VERBS: &[Verb] = &[
    verb("overwrite-own-program", |_| past(sys::open("/proc/self/exe", libc::O_WRONLY), &[libc::ETXTBSY])),
    verb("overwrite-program-by-descriptor", |_| overwrite_by_descriptor()),
    verb("inherited-descriptors", |_| inherited()),
    verb("inherited-directory", |_| inherited_directory()),
    verb("working-directory-outside", |_| working_directory()),
    verb("climb-from-working-directory", |_| {
        judge(sys::open("../../../../../../../../etc/shadow", libc::O_RDONLY))
    }),
    verb("magic-link-root", |_| magic_links()),
    verb("cgroup-write-limit", |_| {
        cgroup_file(&["memory/memory.limit_in_bytes", "pids/pids.max", "unified/cgroup.procs"])
    }),
    verb("cgroup-join", |_| cgroup_file(&["memory/cgroup.procs", "pids/tasks", "cgroup.procs"])),
    verb("cgroup-release-agent", |_| {
        cgroup_file(&["memory/release_agent", "pids/release_agent", "cpu/release_agent"])
    }),
    verb("cgroup-mount-version-1", |_| mount_cgroup()),
    verb("writable-elsewhere", |_| writable_elsewhere()),
    verb("set-user-id-programs", |_| privileged_programs()),
];

/// A read descriptor on the running program, opened again for writing through /proc (CVE-2019-5736).
fn overwrite_by_descriptor() -> Outcome {
    use std::os::fd::AsRawFd;
    match sys::open("/proc/self/exe", libc::O_RDONLY) {
        Ok(program) => {
            let again = format!("/proc/self/fd/{}", program.as_raw_fd());
            past(sys::open(&again, libc::O_WRONLY), &[libc::ETXTBSY])
        }
        Err(errno) => stopped(errno),
    }
}

/// Descriptors beyond the standard three and the two pipe ends of the probe itself.
fn descriptors() -> Vec<(i32, String)> {
    let Ok(list) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
    list.flatten()
        .filter_map(|entry| {
            let number: i32 = entry.file_name().to_str()?.parse().ok()?;
            let target = fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
            let own = target.starts_with("pipe:") || target.ends_with("/fd");
            (number > 2 && !own).then_some((number, target))
        })
        .collect()
}

fn inherited() -> Outcome {
    match descriptors().first() {
        Some((number, target)) => succeeded(format!("{number} is {target}")),
        None => held("none but the standard three"),
    }
}

/// Uses a directory descriptor, standard streams included, to open a file of the host (CVE-2024-21626).
fn inherited_directory() -> Outcome {
    any_of((0..64).map(|number| {
        ("the host's shadow file", sys::open_at(number, "etc/shadow", libc::O_RDONLY, 0).map(|_| 0))
    }))
}

fn working_directory() -> Outcome {
    let mut path = [0u8; 4096];
    match call(libc::SYS_getcwd, &[sys::addr_mut(&mut path), path.len()]) {
        Ok(_) => {
            let name = String::from_utf8_lossy(&path).trim_end_matches('\0').to_owned();
            let inside = ["/", "/tmp", "/data"].contains(&name.as_str());
            if inside { held(name) } else { succeeded(name) }
        }
        Err(errno) => stopped(errno),
    }
}

/// Magic links of visible processes lead to roots and directories of theirs.
fn magic_links() -> Outcome {
    let Ok(list) = fs::read_dir("/proc") else { return held("no /proc") };
    let own = fs::metadata("/").map(|meta| (meta.dev(), meta.ino())).unwrap_or_default();
    for entry in list.flatten().filter(|entry| entry.file_name().to_string_lossy().parse::<i32>().is_ok()) {
        let root = entry.path().join("root");
        if let Ok(meta) = fs::metadata(&root)
            && (meta.dev(), meta.ino()) != own
        {
            return succeeded(root.to_string_lossy());
        }
        if fs::File::open(root.join("etc/shadow")).is_ok() {
            return succeeded(format!("{}/etc/shadow", root.display()));
        }
    }
    held("every root that is visible is the jail's own")
}

fn cgroup_file(names: &[&str]) -> Outcome {
    any_of(
        names
            .iter()
            .map(|name| (*name, sys::open(&format!("/sys/fs/cgroup/{name}"), libc::O_WRONLY).map(|_| 0))),
    )
}

fn mount_cgroup() -> Outcome {
    let (source, target, kind, data) = (text("none"), text("/tmp"), text("cgroup"), text("memory"));
    let at = |word: &std::ffi::CString| addr(word.as_bytes_with_nul());
    let answer: Answer = call(libc::SYS_mount, &[at(&source), at(&target), at(&kind), 0, at(&data)]);
    past(answer, &[libc::EBUSY])
}

/// How many entries a search looks at.
const SEARCH: usize = 60_000;

/// Where a search starts: `/`, and its directories by name, since it may not be listable.
const STARTS: [&str; 15] = [
    "/", "/dev", "/etc", "/usr", "/srv", "/opt", "/home", "/root", "/run", "/var", "/mnt", "/media", "/boot",
    "/sys", "/work",
];

/// Where writing is meant to work, and `/proc`, which has verbs of its own.
const WRITABLE: [&str; 5] = ["/tmp", "/dev/shm", "/data", "/proc", "/srv/work"];

/// Looks at files and directories, breadth first, until `found` says that one is what was looked for.
fn search(found: impl Fn(&Path, &fs::Metadata) -> bool) -> Outcome {
    let mut directories: VecDeque<PathBuf> = STARTS.iter().map(PathBuf::from).collect();
    let mut seen = 0;
    while let Some(directory) = directories.pop_front() {
        let own = fs::symlink_metadata(&directory).ok().map(|meta| (directory.clone(), meta));
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.path());
        let below = entries.filter_map(|path| fs::symlink_metadata(&path).ok().map(|meta| (path, meta)));
        for (path, meta) in own.into_iter().chain(below) {
            if WRITABLE.iter().any(|place| path == Path::new(place)) || meta.is_symlink() || seen > SEARCH {
                continue;
            }
            seen += 1;
            if found(&path, &meta) {
                return succeeded(path.to_string_lossy());
            }
            if meta.is_dir() && path != directory {
                directories.push_back(path);
            }
        }
    }
    if seen == 0 { unsupported("nothing is visible") } else { held(format!("none of {seen} entries")) }
}

/// A file or directory outside the places meant for it that may be written. The kernel is asked, nothing is written.
fn writable_elsewhere() -> Outcome {
    search(|path, meta| {
        let name = text(&path.to_string_lossy());
        let list = [int(i64::from(libc::AT_FDCWD)), addr(name.as_bytes_with_nul()), libc::W_OK as usize];
        let device = meta.file_type().is_char_device();
        !device && call(libc::SYS_faccessat, &list).is_ok()
    })
}

/// Set-user-id programs that the mount would honour.
fn privileged_programs() -> Outcome {
    search(|path, meta| {
        if !meta.is_file() || meta.mode() & 0o6000 == 0 {
            return false;
        }
        let name = text(&path.to_string_lossy());
        let mut record = [0u64; 16];
        let _ = call(libc::SYS_statfs, &[addr(name.as_bytes_with_nul()), sys::addr_mut(&mut record)]);
        // f_flags is the eleventh word of struct statfs; ST_NOSUID is 2.
        record[10] & 2 == 0
    })
}
