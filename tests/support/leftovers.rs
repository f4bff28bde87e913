//! What a run of Gaoler could leave behind, and the proof that it did not.
//!
//! A [`Snapshot`] is taken before a run; afterwards everything new must be gone or belong to another Gaoler that
//! still runs. The kernel takes namespaces and cgroups down asynchronously, so the proof waits, within a bound.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::proc::{self, Process};
use crate::wait;

/// The first host user id that jails get (design: 65536 per slot from here upwards).
pub const UID_FIRST: u32 = 0x4000_0000;

/// How long the kernel may take to finish a teardown.
const TEARDOWN: Duration = Duration::from_secs(5);

/// Where leases are (supervisor/src/lease.rs).
const LEASES: &str = "/run/gaoler/leases";

/// How deep below a hierarchy's mount point a group named `gaoler` is looked for.
const CGROUP_DEPTH: u32 = 4;

/// One thing that belongs to a jail or to Gaoler itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// a process with a jail's user id, a cgroup of Gaoler's or one of its executables
    Process {
        /// its id
        pid: i32,
        /// when it started, in ticks
        start: u64,
        /// its name
        comm: String,
    },
    /// a directory below a group named `gaoler`
    Cgroup(PathBuf),
    /// a line of this mount namespace's table
    Mount(String),
    /// a network interface of this network namespace
    Interface(String),
    /// an nftables table named after Gaoler
    Table(String),
    /// a named network namespace
    NetNamespace(PathBuf),
    /// a file below `/run/gaoler`
    Lease(PathBuf),
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, comm, .. } => write!(f, "process {pid} ({comm})"),
            Self::Cgroup(path) => write!(f, "cgroup {}", path.display()),
            Self::Mount(line) => write!(f, "mount {line}"),
            Self::Interface(name) => write!(f, "interface {name}"),
            Self::Table(name) => write!(f, "nftables {name}"),
            Self::NetNamespace(path) => write!(f, "network namespace {}", path.display()),
            Self::Lease(path) => write!(f, "lease {}", path.display()),
        }
    }
}

/// Everything of that kind at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    left: BTreeSet<Left>,
}

impl Snapshot {
    /// Looks at the host now.
    #[must_use]
    pub fn take() -> Self {
        let mut left = BTreeSet::new();
        left.extend(processes(&proc::all()));
        left.extend(cgroups().into_iter().map(Left::Cgroup));
        left.extend(lines("/proc/self/mountinfo").into_iter().map(Left::Mount));
        left.extend(entries(Path::new("/sys/class/net")).iter().map(|path| Left::Interface(name_of(path))));
        left.extend(tables().into_iter().map(Left::Table));
        left.extend(entries(Path::new("/run/netns")).into_iter().map(Left::NetNamespace));
        left.extend(files_below(Path::new("/run/gaoler")).into_iter().map(Left::Lease));
        Self { left }
    }

    /// What is there now, was not there then, and belongs to no Gaoler that still runs.
    #[must_use]
    pub fn new_since(&self) -> Vec<Left> {
        let now = Self::take();
        // Looked up afterwards, so that whatever was seen and still lives is found with its parents.
        let table = proc::all();
        let owners = live_owners(&table);
        let stays = |item: &&Left| match item {
            Left::Process { pid, start, .. } => table.get(pid).is_some_and(|process| process.start == *start),
            _ => true,
        };
        let new = now.left.difference(&self.left).filter(stays);
        new.filter(|item| !belongs_to_live(item, &table, &owners)).cloned().collect()
    }

    /// Waits until nothing new is left.
    ///
    /// # Panics
    /// When something still is after the bound: names every piece.
    pub fn assert_none(&self) {
        let mut seen = Vec::new();
        let gone = wait::try_until(TEARDOWN, || {
            seen = self.new_since();
            seen.is_empty().then_some(())
        });
        let left: Vec<String> = seen.iter().map(ToString::to_string).collect();
        assert!(gone.is_some(), "left behind {TEARDOWN:?} after the end:\n  {}", left.join("\n  "));
    }
}

fn processes(table: &BTreeMap<i32, Process>) -> Vec<Left> {
    table
        .values()
        .filter(|p| !p.is_zombie() || p.uid >= UID_FIRST)
        .filter(|p| p.uid >= UID_FIRST || p.comm.starts_with("gaoler") || in_gaoler_cgroup(p.pid))
        .map(|p| Left::Process { pid: p.pid, start: p.start, comm: p.comm.clone() })
        .collect()
}

fn in_gaoler_cgroup(pid: i32) -> bool {
    proc::cgroups(pid).values().any(|path| path.split('/').any(|part| part == "gaoler"))
}

/// The supervisors and launchers that run now.
fn live_owners(table: &BTreeMap<i32, Process>) -> BTreeSet<i32> {
    table.values().filter(|p| p.comm == "gaoler" && !p.is_zombie()).map(|p| p.pid).collect()
}

fn belongs_to_live(item: &Left, table: &BTreeMap<i32, Process>, owners: &BTreeSet<i32>) -> bool {
    let owned =
        |pid: i32| owners.contains(&pid) || proc::ancestors(table, pid).iter().any(|a| owners.contains(a));
    match item {
        Left::Process { pid, .. } => owned(*pid),
        Left::Cgroup(path) => {
            members_below(path).into_iter().any(owned) || lease_of(path).is_some_and(|l| is_locked(&l))
        }
        Left::Lease(path) => is_locked(path),
        Left::Mount(_) | Left::Interface(_) | Left::Table(_) | Left::NetNamespace(_) => false,
    }
}

/// The lease that goes with a jail's group: `jail-7` and `7`.
fn lease_of(group: &Path) -> Option<PathBuf> {
    let slot: u32 = name_of(group).strip_prefix("jail-")?.parse().ok()?;
    Some(Path::new(LEASES).join(slot.to_string()))
}

/// Whether a running process holds a lock on the file, which is how a lease says that it is alive.
fn is_locked(path: &Path) -> bool {
    let Ok(meta) = fs::metadata(path) else { return false };
    let ending = format!(":{}", meta.ino());
    // The sixth column of /proc/locks is device and inode.
    lines("/proc/locks")
        .iter()
        .filter_map(|line| line.split_whitespace().nth(5))
        .any(|id| id.ends_with(&ending))
}

fn members_below(group: &Path) -> Vec<i32> {
    let mut groups = directories_below(group);
    groups.push(group.to_path_buf());
    groups
        .iter()
        .flat_map(|dir| lines(dir.join("cgroup.procs")))
        .filter_map(|line| line.parse().ok())
        .collect()
}

/// Every group below one named `gaoler`, in each hierarchy. That parent itself is Gaoler's for good, as its state
/// directory is.
#[must_use]
pub fn cgroups() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
    roots.extend(directories(Path::new("/sys/fs/cgroup")));
    for root in roots {
        find_groups(&root, CGROUP_DEPTH, &mut found);
    }
    found.sort();
    found.dedup();
    found
}

fn find_groups(dir: &Path, depth: u32, found: &mut Vec<PathBuf>) {
    if depth == 0 {
        return;
    }
    for child in directories(dir) {
        if name_of(&child) == "gaoler" {
            found.extend(directories_below(&child));
        } else {
            find_groups(&child, depth - 1, found);
        }
    }
}

fn directories(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()).collect()
}

fn directories_below(dir: &Path) -> Vec<PathBuf> {
    let mut all = directories(dir);
    let mut at = 0;
    while let Some(next) = all.get(at).cloned() {
        all.extend(directories(&next));
        at += 1;
    }
    all
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut dirs = directories_below(dir);
    dirs.push(dir.to_path_buf());
    dirs.iter().flat_map(|dir| entries(dir)).filter(|path| !path.is_dir()).collect()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).map(|entries| entries.flatten().map(|e| e.path()).collect()).unwrap_or_default()
}

fn lines(file: impl AsRef<Path>) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn tables() -> Vec<String> {
    let Ok(output) = Command::new("nft").args(["list", "tables"]).output() else { return Vec::new() };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter(|line| line.contains("gaoler")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_cgroup_is_seen_and_its_removal_too() {
        let before = Snapshot::take();
        let group =
            PathBuf::from(format!("/sys/fs/cgroup/pids/leftovers-{}/gaoler/jail-1", std::process::id()));
        fs::create_dir_all(&group).unwrap();
        let seen = before.new_since();
        group.ancestors().take(3).for_each(|dir| fs::remove_dir(dir).unwrap());
        assert!(seen.contains(&Left::Cgroup(group)), "{seen:?}");
        before.assert_none();
    }

    #[test]
    fn a_process_with_a_jails_id_is_seen_until_it_is_gone() {
        use std::os::unix::process::CommandExt;
        let before = Snapshot::take();
        let mut child = Command::new("sleep").arg("60").uid(UID_FIRST + 1).spawn().unwrap();
        let pid = child.id().cast_signed();
        let seen = before.new_since();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            seen.iter().any(|left| matches!(left, Left::Process { pid: p, .. } if *p == pid)),
            "{seen:?}"
        );
        before.assert_none();
    }
}
