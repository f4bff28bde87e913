//! What `/proc` says about processes. It promises: a process that ends while it is read is simply not there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// One process as `/proc` shows it at one moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// host process id
    pub pid: i32,
    /// its parent's
    pub parent: i32,
    /// start in clock ticks since boot: with `pid` it names the process for ever
    pub start: u64,
    /// the state letter: R, S, D, T, Z, …
    pub state: char,
    /// the kernel's name of it, at most 15 bytes
    pub comm: String,
    /// the real user id
    pub uid: u32,
}

impl Process {
    /// The process with this id, if it is there.
    #[must_use]
    pub fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (comm, rest) = split_stat(&stat)?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let uid = status(pid)?.get("Uid")?.split_whitespace().next()?.parse().ok()?;
        Some(Self {
            pid,
            comm: comm.to_owned(),
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            // Field 22 of proc_pid_stat(5); the first field after the name is number 3.
            start: fields.get(19)?.parse().ok()?,
            uid,
        })
    }

    /// Whether it has ended and only waits to be collected.
    #[must_use]
    pub fn is_zombie(&self) -> bool {
        self.state == 'Z' || self.state == 'X'
    }
}

fn split_stat(stat: &str) -> Option<(&str, &str)> {
    // The name may hold spaces and parentheses, so the last one ends it.
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    Some((stat.get(open + 1..close)?, stat.get(close + 1..)?))
}

/// Every process of the host, by id.
#[must_use]
pub fn all() -> BTreeMap<i32, Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, Process::read(pid)?)))
        .collect()
}

/// The children, grandchildren and so on of a process, without itself, in order of ids.
#[must_use]
pub fn descendants(root: i32) -> Vec<Process> {
    let table = all();
    table.values().filter(|p| p.pid != root && ancestors(&table, p.pid).contains(&root)).cloned().collect()
}

/// A process's parent, its parent's parent and so on.
#[must_use]
pub fn ancestors(table: &BTreeMap<i32, Process>, pid: i32) -> Vec<i32> {
    let mut line = Vec::new();
    let mut at = pid;
    while let Some(process) = table.get(&at) {
        if process.parent <= 0 || line.contains(&process.parent) {
            break;
        }
        at = process.parent;
        line.push(at);
    }
    line
}

/// `/proc/PID/status` as name and value.
#[must_use]
pub fn status(pid: i32) -> Option<BTreeMap<String, String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect(),
    )
}

/// The command line's words; empty for a zombie.
#[must_use]
pub fn command_line(pid: i32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes
        .split(|&b| b == 0)
        .filter(|w| !w.is_empty())
        .map(|w| String::from_utf8_lossy(w).into_owned())
        .collect()
}

/// A process's namespaces: kind and inode text such as `net:[4026531840]`.
#[must_use]
pub fn namespaces(pid: i32) -> BTreeMap<String, String> {
    links(&format!("/proc/{pid}/ns"))
}

/// A process's open descriptors: number and what it refers to.
#[must_use]
pub fn descriptors(pid: i32) -> BTreeMap<String, String> {
    links(&format!("/proc/{pid}/fd"))
}

fn links(dir: &str) -> BTreeMap<String, String> {
    let Ok(entries) = fs::read_dir(Path::new(dir)) else { return BTreeMap::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().to_string_lossy().into_owned(), target.to_string_lossy().into_owned()))
        })
        .collect()
}

/// A process's cgroups: controllers (empty for the unified hierarchy) and path.
#[must_use]
pub fn cgroups(pid: i32) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            Some((controllers.to_owned(), path.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_is_split_at_the_last() {
        assert_eq!(split_stat("7 (a) b)) S 1"), Some(("a) b)", " S 1")));
    }

    #[test]
    fn this_process_is_found_with_its_parent() {
        let own = Process::read(std::process::id().cast_signed()).unwrap();
        assert!(ancestors(&all(), own.pid).contains(&own.parent));
    }
}
