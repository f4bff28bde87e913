//! Readings of `/proc`: which processes belong to a measured program, and what they used.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// One process of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// its number
    pub pid: u32,
    /// its command name, at most 15 bytes
    pub name: String,
}

/// The process `root` and everything below it.
#[must_use]
pub fn tree(root: u32) -> Vec<Process> {
    let mut children: HashMap<u32, Vec<Process>> = HashMap::new();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let Some((parent, name)) = parent_and_name(&stat) else { continue };
        if pid == root {
            found.push(Process { pid, name });
        } else {
            children.entry(parent).or_default().push(Process { pid, name });
        }
    }
    let mut next = 0;
    while next < found.len() {
        let below = children.remove(&found[next].pid).unwrap_or_default();
        found.extend(below);
        next += 1;
    }
    found
}

/// The parent's number and the command name in a line of `/proc/PID/stat`.
fn parent_and_name(stat: &str) -> Option<(u32, String)> {
    let (start, rest) = stat.rsplit_once(')')?;
    let name = start.split_once('(')?.1.to_owned();
    let parent = rest.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some((parent, name))
}

/// Processor time of all living threads of a process, in microseconds.
#[must_use]
pub fn cpu_us(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            let nanoseconds: f64 = text.split_ascii_whitespace().next()?.parse().ok()?;
            Some(nanoseconds / 1000.0)
        })
        .sum()
}

/// A line of `/proc/PID/status` that counts kibibytes, such as `VmRSS` or `VmHWM`.
#[must_use]
pub fn status_kib(pid: u32, field: &str) -> Option<f64> {
    kib(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, field)
}

/// What the machine has left, in KiB: `MemAvailable`, or less exact `MemFree`.
#[must_use]
pub fn meminfo_kib(field: &str) -> Option<f64> {
    kib(&fs::read_to_string("/proc/meminfo").ok()?, field)
}

/// How much of this time the machine's processors were idle, from 0 to 1; nothing when the kernel does not tell.
#[must_use]
pub fn idle_share(time: Duration) -> Option<f64> {
    let read = || idle_and_total(&fs::read_to_string("/proc/stat").ok()?);
    let before = read()?;
    std::thread::sleep(time);
    let after = read()?;
    let total = after.1 - before.1;
    (total > 0.0).then(|| (after.0 - before.0) / total)
}

/// Idle ticks (waiting for disks included) and all ticks, of the first line of `/proc/stat`.
fn idle_and_total(stat: &str) -> Option<(f64, f64)> {
    let ticks: Vec<f64> = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_ascii_whitespace()
        .filter_map(|t| t.parse().ok())
        .collect();
    // Guest time, the last two, is counted in user time already.
    let total = ticks.iter().take(8).sum();
    Some((ticks.get(3)? + ticks.get(4)?, total))
}

fn kib(text: &str, field: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_is_read_whole() {
        assert_eq!(parent_and_name("12 (a) b (c) S 7 12 0"), Some((7, "a) b (c".to_owned())));
        assert_eq!(parent_and_name("nonsense"), None);
    }

    #[test]
    fn kibibytes_are_found_by_their_exact_field() {
        assert_eq!(kib("VmRSSx: 1 kB\nVmRSS:\t 42 kB\n", "VmRSS"), Some(42.0));
        assert_eq!(kib("VmRSS: x kB\n", "VmRSS"), None);
    }

    #[test]
    fn idle_time_is_told_from_the_rest() {
        let stat = "cpu  10 0 5 80 5 0 0 0 3 0\ncpu0 1\n";
        assert_eq!(idle_and_total(stat), Some((85.0, 100.0)));
        assert_eq!(idle_and_total("cpu0 1 2\n"), None);
    }

    #[test]
    fn this_process_is_its_own_tree() {
        let own = std::process::id();
        assert_eq!(tree(own).first().map(|process| process.pid), Some(own));
        assert!(cpu_us(own) > 0.0 && status_kib(own, "VmRSS").unwrap() > 0.0);
    }
}
