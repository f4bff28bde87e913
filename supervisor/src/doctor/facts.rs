//! What the doctor saw, as plain values: nothing here looks at the host, so that a test can be any host.

use std::collections::BTreeSet;

/// Everything that is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// effective user id
    pub euid: u32,
    /// as `uname -r` prints it
    pub kernel: String,
    /// one answer for each of [`NAMESPACES`], in that order
    pub namespaces: Vec<(&'static str, Tried)>,
    /// `user.max_user_namespaces`
    pub max_user_namespaces: Option<u64>,
    /// Debian's `kernel.unprivileged_userns_clone`; absent elsewhere
    pub unprivileged_userns_clone: Option<u64>,
    /// Ubuntu's `kernel.apparmor_restrict_unprivileged_userns`; absent elsewhere
    pub apparmor_restrict_userns: Option<u64>,
    /// whether the host ids that jails get exist for this process (`/proc/self/uid_map`)
    pub jail_ids_mapped: bool,
    /// what is mounted for control groups
    pub cgroups: Cgroups,
    /// whether Landlock can be used
    pub landlock: Landlock,
    /// the active security modules, as `/sys/kernel/security/lsm` lists them; empty when unknown
    pub lsm: String,
    /// the seccomp actions that the kernel offers; empty without seccomp filters
    pub seccomp_actions: BTreeSet<String>,
    /// whether the nf_tables subsystem answered
    pub nftables: Tried,
    /// which of the capabilities that Gaoler uses this process has, by the names of capabilities(7) without `CAP_`
    pub capabilities: BTreeSet<&'static str>,
    /// one answer for each of [`FILESYSTEMS`], in that order
    pub filesystems: Vec<(&'static str, Presence)>,
    /// `kernel.pid_max`
    pub pid_max: Option<u64>,
    /// whether the kernel has `vm.memfd_noexec`
    pub memfd_noexec: bool,
    /// whether `/proc/pressure/memory` can be read
    pub pressure: bool,
    /// whether the machine has swap space
    pub swap: bool,
}

/// The namespaces of a jail, in the order in which they are tried; user comes last, since it changes the caller.
pub const NAMESPACES: [&str; 8] = ["mount", "pid", "net", "ipc", "uts", "cgroup", "time", "user"];

/// The file systems that images need.
pub const FILESYSTEMS: [&str; 3] = ["overlay", "erofs", "squashfs"];

/// What trying something gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// it works
    Works,
    /// the kernel's answer, in its own words
    Refused(String),
}

/// Landlock as it was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landlock {
    /// this version of its interface; a process could restrict itself
    Abi(u32),
    /// built into the kernel but not among the active security modules
    NotEnabled,
    /// not in this kernel, or its system calls are filtered away
    NotThere,
}

/// Whether the kernel knows a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// in the running kernel
    Loaded,
    /// as a module on disk
    Loadable,
    /// neither
    Absent,
}

/// How control groups are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupMode {
    /// one unified hierarchy
    V2,
    /// a hierarchy per controller
    V1,
    /// both at once
    Hybrid,
    /// neither
    None,
}

/// Control groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroups {
    /// how they are mounted
    pub mode: CgroupMode,
    /// controllers that can be used, by their v1 names except `io`
    pub controllers: BTreeSet<String>,
    /// whether every mount of them is writable
    pub writable: bool,
    /// whether swap is counted and limited too; v2 always does
    pub counts_swap: bool,
}
