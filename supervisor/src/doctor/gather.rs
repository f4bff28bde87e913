//! Looks at the host: one function for each thing that the doctor knows. What cannot be read counts as absent.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use gaoler_jail::plan::HOST_IDS;
use gaoler_jail::sys;
use rustix::thread::CapabilitySet;

use super::facts::{CgroupMode, Cgroups, FILESYSTEMS, Facts, Landlock};
use super::{netfilter, parse, probe};

/// The most that is read of one file, in bytes; a list of modules is about 1 MiB.
const FILE_MAX: u64 = 8 << 20;

/// How many host ids from [`HOST_IDS`] up must exist: those of one jail.
const IDS_PER_JAIL: u64 = 65_536;

/// The capabilities that Gaoler uses, by the names of capabilities(7) without `CAP_`.
const CAPABILITIES: [(&str, CapabilitySet); 5] = [
    ("MKNOD", CapabilitySet::MKNOD),
    ("NET_ADMIN", CapabilitySet::NET_ADMIN),
    ("SETGID", CapabilitySet::SETGID),
    ("SETUID", CapabilitySet::SETUID),
    ("SYS_ADMIN", CapabilitySet::SYS_ADMIN),
];

/// Looks at everything that is judged. Takes about 10 ms, most of it in the child of [`probe`].
#[must_use]
pub fn gather() -> Facts {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let filesystems = text("/proc/filesystems");
    let modules =
        ["dep", "builtin"].map(|list| text(&format!("/lib/modules/{kernel}/modules.{list}"))).concat();
    let presence = |name| (name, parse::filesystem(name, &filesystems, &modules));
    Facts {
        euid: rustix::process::geteuid().as_raw(),
        namespaces: probe::ask(),
        max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
        unprivileged_userns_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
        apparmor_restrict_userns: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        jail_ids_mapped: parse::maps(&text("/proc/self/uid_map"), u64::from(HOST_IDS), IDS_PER_JAIL),
        cgroups: cgroups(),
        landlock: landlock(&kernel),
        lsm: text("/sys/kernel/security/lsm").trim().to_owned(),
        seccomp_actions: words("/proc/sys/kernel/seccomp/actions_avail"),
        nftables: netfilter::probe(),
        capabilities: capabilities(),
        filesystems: FILESYSTEMS.map(presence).to_vec(),
        pid_max: number("/proc/sys/kernel/pid_max"),
        memfd_noexec: Path::new("/proc/sys/vm/memfd_noexec").exists(),
        pressure: !text("/proc/pressure/memory").is_empty(),
        swap: text("/proc/swaps").lines().count() > 1,
        kernel,
    }
}

/// The kernel tells no version both when Landlock is not built in and when it is not switched on; where the
/// distribution keeps the kernel's configuration, that tells the two apart.
fn landlock(kernel: &str) -> Landlock {
    match sys::landlock_abi() {
        0 if text(&format!("/boot/config-{kernel}")).contains("\nCONFIG_SECURITY_LANDLOCK=y\n") => {
            Landlock::NotEnabled
        }
        0 => Landlock::NotThere,
        version => Landlock::Abi(version),
    }
}

fn cgroups() -> Cgroups {
    let hierarchies = parse::hierarchies(&text("/proc/self/mounts"));
    let mode = parse::mode(&hierarchies);
    let mut controllers = BTreeSet::new();
    let mut counts_swap = mode == CgroupMode::V2;
    for hierarchy in &hierarchies {
        if hierarchy.v2 && mode == CgroupMode::V2 {
            controllers.extend(words(&format!("{}/cgroup.controllers", hierarchy.path)));
        } else {
            // A hybrid's version 2 mount is not used for limits: see gaoler_jail::cgroup.
            const KNOWN: [&str; 7] = ["memory", "pids", "cpu", "cpuacct", "cpuset", "freezer", "blkio"];
            let listed = KNOWN.into_iter().filter(|name| hierarchy.controllers.contains(*name));
            controllers.extend(listed.map(|name| if name == "blkio" { "io" } else { name }.to_owned()));
            counts_swap |= Path::new(&hierarchy.path).join("memory.memsw.limit_in_bytes").exists();
        }
    }
    let writable = !hierarchies.is_empty() && hierarchies.iter().all(|h| h.writable);
    Cgroups { mode, controllers, writable, counts_swap }
}

fn capabilities() -> BTreeSet<&'static str> {
    let Ok(sets) = rustix::thread::capabilities(None) else { return BTreeSet::new() };
    CAPABILITIES.into_iter().filter(|(_, bit)| sets.effective.contains(*bit)).map(|(name, _)| name).collect()
}

fn text(path: &str) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        // What was read before an error is judged for what it is.
        let _ = file.take(FILE_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn number(path: &str) -> Option<u64> {
    text(path).trim().parse().ok()
}

fn words(path: &str) -> BTreeSet<String> {
    text(path).split_ascii_whitespace().map(str::to_owned).collect()
}
