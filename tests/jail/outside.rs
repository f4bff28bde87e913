//! What the host sees of a jail while it runs: ids, capabilities, namespaces, descriptors, mounts and limits, of the
//! payload and of process 1. The kernel's own tables are read, not anything that the product says.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Child;
use std::time::Duration;

use gaoler_tests::leftovers::{Snapshot, UID_FIRST};
use gaoler_tests::{Jail, exclusive, proc, wait};
use rustix::process::{Pid, Signal, kill_process};

/// A jail whose payload waits to be looked at.
pub struct Waiting {
    launcher: Child,
    /// process 1, as the host numbers it
    pub init: i32,
    /// the payload, as the host numbers it
    pub payload: i32,
}

impl Waiting {
    /// Starts `sleep` in a jail with these flags.
    pub fn start(flags: &[&str]) -> Self {
        Self::of(&Jail::command(["/bin/sleep", "3600"]).flags(flags.iter().copied()), "sleep")
    }

    /// Starts a jail and waits until a process of this name runs in it.
    pub fn of(jail: &Jail, comm: &str) -> Self {
        let launcher = jail.spawn();
        let above = launcher.id().cast_signed();
        let (init, payload) = wait::until_some(Duration::from_secs(20), "a payload", || {
            let below = proc::descendants(above);
            let payload = below.iter().find(|process| process.comm == comm)?;
            let init = below.iter().find(|process| process.parent == above)?;
            Some((init.pid, payload.pid))
        });
        Self { launcher, init, payload }
    }

    /// The launcher's process id.
    pub fn launcher(&self) -> i32 {
        self.launcher.id().cast_signed()
    }

    /// The launcher, for its streams and its end.
    pub fn child(&mut self) -> &mut Child {
        &mut self.launcher
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.launcher())
            && matches!(self.launcher.try_wait(), Ok(None))
        {
            let _ = kill_process(pid, Signal::TERM);
            let _ = self.launcher.wait();
        }
    }
}

/// Asserts that fields of `/proc/PID/status` have these values.
fn assert_status(pid: i32, wanted: &[(&str, &str)]) {
    let status = proc::status(pid).unwrap();
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let seen: BTreeMap<&str, String> =
        wanted.iter().map(|(name, _)| (*name, words(&status[*name]))).collect();
    let wanted: BTreeMap<&str, String> = wanted.iter().map(|(name, value)| (*name, words(value))).collect();
    assert_eq!(seen, wanted, "process {pid}");
}

#[test]
fn payload_and_process_1_have_no_privilege_of_any_kind() {
    let _alone = exclusive();
    let jail = Waiting::start(&[]);
    let uid = proc::Process::read(jail.payload).unwrap().uid;
    assert!(uid >= UID_FIRST, "host user id {uid}");
    let ids = [uid; 4].map(|id| id.to_string()).join(" ");
    for pid in [jail.payload, jail.init] {
        assert_status(
            pid,
            &[
                ("Uid", &ids),
                ("Gid", &ids),
                ("Groups", ""),
                ("CapInh", "0000000000000000"),
                ("CapPrm", "0000000000000000"),
                ("CapEff", "0000000000000000"),
                ("CapBnd", "0000000000000000"),
                ("CapAmb", "0000000000000000"),
                ("NoNewPrivs", "1"),
                ("Seccomp", "2"),
                ("TracerPid", "0"),
            ],
        );
        let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
        let map: Vec<&str> = map.split_whitespace().collect();
        assert_eq!(map, ["1000", &uid.to_string(), "1"], "the id map of process {pid}");
        let score: i32 =
            fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse().unwrap();
        assert!(score > 0, "process {pid} is not killed before the host's own when memory runs out");
    }
    assert_status(jail.payload, &[("SigIgn", "0000000000000000"), ("SigBlk", "0000000000000000")]);
    // The kernel gives the files of a process that nobody may trace or dump to root.
    let owner = fs::metadata(format!("/proc/{}/environ", jail.init)).unwrap().uid();
    assert_eq!(owner, 0, "process 1 can be traced");
}

#[test]
fn a_jail_shares_no_namespace_with_the_host() {
    let _alone = exclusive();
    let jail = Waiting::start(&[]);
    let (own, payload) = (proc::namespaces(std::process::id().cast_signed()), proc::namespaces(jail.payload));
    for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"] {
        assert_ne!(own[kind], payload[kind], "{kind}");
    }
    let other = Waiting::start(&[]);
    let second = proc::namespaces(other.payload);
    for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"] {
        assert_ne!(second[kind], payload[kind], "{kind} of two jails");
    }
}

#[test]
fn no_two_jails_share_a_host_id() {
    let _alone = exclusive();
    let jails: Vec<Waiting> = (0..6).map(|_| Waiting::start(&[])).collect();
    let mut ids: Vec<u32> = jails.iter().map(|jail| proc::Process::read(jail.payload).unwrap().uid).collect();
    ids.sort_unstable();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all, "{ids:?}");
}

#[test]
fn the_payload_holds_three_pipes_and_nothing_else() {
    let _alone = exclusive();
    let jail = Waiting::start(&[]);
    let held = proc::descriptors(jail.payload);
    let numbers: Vec<&str> = held.keys().map(String::as_str).collect();
    assert_eq!(numbers, ["0", "1", "2"], "{held:?}");
    assert!(held.values().all(|target| target.starts_with("pipe:")), "{held:?}");
    let root = fs::read_link(format!("/proc/{}/root", jail.payload)).unwrap();
    assert_eq!(root.to_string_lossy(), "/");
    assert_eq!(proc::cgroups(jail.payload), proc::cgroups(jail.init));
}

#[test]
fn every_mount_is_private_and_what_can_be_written_cannot_be_executed() {
    let _alone = exclusive();
    let directory = std::env::temp_dir().join(format!("gaoler-mounts-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let jail = Waiting::start(&["--bind", &format!("{}:/srv/work:rw", directory.display())]);
    let table = fs::read_to_string(format!("/proc/{}/mountinfo", jail.payload)).unwrap();
    fs::remove_dir_all(&directory).unwrap();
    for line in table.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let options: Vec<&str> = fields[5].split(',').collect();
        let has = |option: &str| options.contains(&option);
        assert!(has("nosuid"), "{line}");
        assert!(has("nodev") || fields[4] == "/dev", "{line}");
        assert!(has("ro") || has("noexec"), "{line}");
        assert_eq!(fields[6], "-", "shared with others: {line}");
    }
    let writable: Vec<&str> = table
        .lines()
        .filter(|line| line.split(' ').nth(5).unwrap().starts_with("rw"))
        .map(|l| l.split(' ').nth(4).unwrap())
        .collect();
    assert_eq!(
        writable.iter().copied().collect::<std::collections::BTreeSet<_>>(),
        ["/dev/shm", "/srv/work", "/tmp"].into()
    );
}

/// A file of the payload's group in a version 1 hierarchy.
fn group_file(pid: i32, controller: &str, file: &str) -> String {
    let groups = proc::cgroups(pid);
    let path = groups.iter().find(|(names, _)| names.split(',').any(|name| name == controller)).unwrap().1;
    fs::read_to_string(format!("/sys/fs/cgroup/{controller}{path}/{file}")).unwrap().trim().to_owned()
}

#[test]
fn the_default_limits_are_those_of_the_contract() {
    let _alone = exclusive();
    let jail = Waiting::start(&[]);
    let limits = [
        ("memory", "memory.limit_in_bytes", "536870912"),
        ("memory", "memory.memsw.limit_in_bytes", "536870912"),
        ("pids", "pids.max", "128"),
        ("cpu", "cpu.cfs_quota_us", "100000"),
        ("cpu", "cpu.cfs_period_us", "100000"),
    ];
    for (controller, file, value) in limits {
        assert_eq!(group_file(jail.payload, controller, file), value, "{file}");
    }
}

#[test]
fn limits_follow_the_flags() {
    let _alone = exclusive();
    let jail = Waiting::start(&["--memory", "64M", "--pids", "20", "--cpus", "0.5"]);
    let limits = [
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory", "memory.memsw.limit_in_bytes", "67108864"),
        ("pids", "pids.max", "20"),
        ("cpu", "cpu.cfs_quota_us", "50000"),
    ];
    for (controller, file, value) in limits {
        assert_eq!(group_file(jail.payload, controller, file), value, "{file}");
    }
}

#[test]
fn a_running_jail_changes_nothing_of_the_hosts_mounts_interfaces_or_rules() {
    let _alone = exclusive();
    let before = Snapshot::take();
    let jail = Waiting::start(&[]);
    let new: Vec<String> = before.new_since().iter().map(ToString::to_string).collect();
    let visible: Vec<&String> = new
        .iter()
        .filter(|item| {
            ["mount ", "interface ", "nftables ", "network "].iter().any(|kind| item.starts_with(kind))
        })
        .collect();
    assert!(visible.is_empty(), "{visible:?}");
    drop(jail);
    before.assert_none();
}
