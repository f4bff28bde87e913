//! The plan of one jail: fully resolved, so that the helper that carries it out has no choice left to make.
//!
//! A plan travels on a sealed memfd from the supervisor to the helper. [`Plan::check`] is a second opinion: it
//! refuses what no jail may ever have, whoever made the plan.

use serde::{Deserialize, Serialize};

use crate::landlock::FileRule;
use crate::seccomp::Profile;

/// The user and group id that the payload sees as its own.
pub const INNER_ID: u32 = 1000;

/// Everything about one jail.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// an existing host directory that the new root is mounted on, in the jail's mount namespace only
    pub anchor: String,
    /// the steps that make the root file system, in order
    pub root: Vec<RootStep>,
    /// the name that `uname` answers
    pub hostname: String,
    /// the host user and group id behind [`INNER_ID`]
    pub host_id: u32,
    /// what the network namespace holds
    pub network: Network,
    /// resource limits that the cgroup does not cover
    pub rlimits: Vec<Rlimit>,
    /// Landlock rules on files; what is not named is refused
    pub files: Vec<FileRule>,
    /// the Landlock version to enforce in full: the running kernel's, or the newest that this code knows
    pub landlock_abi: u32,
    /// whether the kernel can refuse to execute memory files (Linux 6.3)
    pub memfd_noexec: bool,
    /// the system call filter of the payload
    pub seccomp: Profile,
    /// what is executed
    pub process: Process,
    /// `tasks` files of the version 1 groups that the helper moves itself into, and then makes its cgroup namespace;
    /// none on version 2, where it starts in its group
    pub tasks: Vec<String>,
    /// whether the checked jail waits for [`crate::step::Order::Go`] before it executes its payload
    pub held: bool,
}

/// What is executed in the jail.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Process {
    /// program and arguments; a program without a slash is looked up in `PATH` of `env`
    pub argv: Vec<Vec<u8>>,
    /// the whole environment, `NAME=value`
    pub env: Vec<Vec<u8>>,
    /// working directory in the jail
    pub cwd: String,
}

/// What the network namespace holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// nothing but loopback; `listen` is the one TCP port that may be bound and connected to
    Loopback {
        /// a TCP port, or none
        listen: Option<u16>,
    },
    /// the host's own (fronts only)
    Host,
}

/// One step of building the root file system. Paths are absolute and inside the new root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootStep {
    /// a directory
    Dir {
        /// where
        path: String,
        /// permission bits
        mode: u32,
    },
    /// a symbolic link
    Symlink {
        /// where
        path: String,
        /// what it says
        target: String,
    },
    /// a small read-only file
    File {
        /// where
        path: String,
        /// its bytes
        contents: Vec<u8>,
    },
    /// a host file or directory
    Bind {
        /// canonical host path: no component may be a symbolic link
        host: String,
        /// where
        path: String,
        /// whether the payload may write, as far as the host's permissions allow
        writable: bool,
        /// whether programs in it may be executed
        exec: bool,
    },
    /// a memory file system of its own, writable, without devices, set-user-id or execution
    Tmpfs {
        /// where
        path: String,
        /// bytes
        size: u64,
        /// files and directories
        inodes: u64,
    },
    /// `/dev` with null, zero, full, random and urandom, links to standard streams, and `shm`
    Dev {
        /// bytes of `/dev/shm`
        shm_size: u64,
        /// files of `/dev/shm`
        shm_inodes: u64,
    },
    /// `/proc` with the payload's own processes only
    Proc,
    /// the server's own volume: a mount of the supervisor's, shown as the payload's property, never executable
    Data {
        /// where the supervisor mounted it
        host: String,
        /// where the jail sees it
        path: String,
    },
}

/// One resource limit, soft and hard alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// which
    pub resource: Resource,
    /// the limit in the resource's own unit
    pub value: u64,
}

/// Resources that a jail limits by process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resource {
    /// open descriptors
    Files,
    /// bytes of a core file
    Core,
    /// bytes of one file
    FileSize,
    /// bytes of POSIX message queues
    MessageQueue,
    /// bytes of locked memory
    Locked,
    /// queued signals
    Signals,
    /// real-time priority
    RealTime,
}

/// Why a plan is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A path is relative, has `..` or a NUL byte.
    #[error("path {0:?} is not a plain absolute path")]
    Path(String),
    /// The ids would be those of the host's own accounts.
    #[error("host id {0} is not in a range of Gaoler's own")]
    HostId(u32),
    /// There is nothing to execute, or it has a NUL byte.
    #[error("the command or its environment is empty or has a NUL byte")]
    Command,
    /// The whole host root, or a directory that holds the host's state, would be shown.
    #[error("host path {0:?} may not be shown in a jail")]
    Bind(String),
    /// A privilege of fronts in the plan of a hosted server.
    #[error("the host's network is for fronts alone")]
    Front,
}

/// The first host id of jails: above every range that Debian's tools and systemd hand out.
pub const HOST_IDS: u32 = 0x4000_0000;

/// Host paths of which neither they nor a parent may be bound.
const NEVER_SHOWN: [&str; 6] = ["/proc", "/sys", "/dev", "/run", "/boot", "/etc/shadow"];

impl Plan {
    /// Refuses a plan that no jail may have.
    ///
    /// # Errors
    /// The first thing that is wrong, as a [`PlanError`].
    pub fn check(&self) -> Result<(), PlanError> {
        if self.host_id < HOST_IDS || self.host_id >= HOST_IDS * 2 {
            return Err(PlanError::HostId(self.host_id));
        }
        if self.network == Network::Host && self.seccomp != Profile::Front {
            return Err(PlanError::Front);
        }
        let strings = || self.process.argv.iter().chain(&self.process.env);
        if self.process.argv.first().is_none_or(Vec::is_empty) || strings().any(|s| s.contains(&0)) {
            return Err(PlanError::Command);
        }
        plain(&self.process.cwd)?;
        plain(&self.anchor)?;
        for path in &self.tasks {
            plain(path)?;
            if !under(path, crate::cgroup::MOUNT) {
                return Err(PlanError::Path(path.clone()));
            }
        }
        self.root.iter().try_for_each(check_step)
    }
}

fn check_step(step: &RootStep) -> Result<(), PlanError> {
    match step {
        RootStep::Dir { path, .. }
        | RootStep::Symlink { path, .. }
        | RootStep::File { path, .. }
        | RootStep::Tmpfs { path, .. } => plain(path),
        RootStep::Bind { host, path, .. } => {
            plain(path)?;
            plain(host)?;
            let covers = |never: &&str| host == "/" || under(host, never) || under(never, host);
            match NEVER_SHOWN.iter().any(covers) {
                true => Err(PlanError::Bind(host.clone())),
                false => Ok(()),
            }
        }
        RootStep::Data { host, path } => plain(host).and_then(|()| plain(path)),
        RootStep::Dev { .. } | RootStep::Proc => Ok(()),
    }
}

/// Whether `path` is `parent` or below it.
fn under(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn plain(path: &str) -> Result<(), PlanError> {
    // An empty part would hide a path from comparison: the kernel takes //proc for /proc.
    let parts_ok = path == "/" || path.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
    match path.starts_with('/') && parts_ok && !path.contains('\0') {
        true => Ok(()),
        false => Err(PlanError::Path(path.to_owned())),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A plan that passes, for every test of this crate.
    pub(crate) fn plan() -> Plan {
        Plan {
            anchor: "/run/gaoler".into(),
            root: vec![],
            hostname: "jail".into(),
            host_id: HOST_IDS,
            network: Network::Loopback { listen: None },
            rlimits: vec![],
            files: vec![],
            landlock_abi: 7,
            memfd_noexec: true,
            seccomp: Profile::Default,
            process: Process { argv: vec![b"true".to_vec()], env: vec![], cwd: "/tmp".into() },
            tasks: vec![],
            held: false,
        }
    }

    fn with_bind(host: &str) -> Plan {
        let bind = RootStep::Bind { host: host.into(), path: "/x".into(), writable: false, exec: true };
        Plan { root: vec![bind], ..plan() }
    }

    #[test]
    fn a_plain_plan_passes() {
        assert_eq!(plan().check(), Ok(()));
        assert_eq!(with_bind("/srv/files").check(), Ok(()));
    }

    #[test]
    fn host_state_is_never_shown() {
        for host in
            ["/", "/proc", "/proc/1", "/sys/fs/cgroup", "/run/gaoler", "/etc", "/etc/shadow", "/dev/sda"]
        {
            assert_eq!(with_bind(host).check(), Err(PlanError::Bind(host.into())), "{host}");
        }
    }

    #[test]
    fn only_cgroup_files_are_groups() {
        let with = |path: &str| Plan { tasks: vec![path.into()], ..plan() }.check();
        assert_eq!(with("/sys/fs/cgroup/pids/gaoler/jail-1/tasks"), Ok(()));
        assert!(with("/sys/fs/cgroup/../../etc/passwd").is_err());
        assert!(with("/etc/passwd").is_err());
    }

    #[test]
    fn the_hosts_own_ids_are_refused() {
        assert_eq!(Plan { host_id: 0, ..plan() }.check(), Err(PlanError::HostId(0)));
        assert_eq!(Plan { host_id: 1000, ..plan() }.check(), Err(PlanError::HostId(1000)));
    }

    #[test]
    fn the_host_network_is_for_fronts_alone() {
        assert_eq!(Plan { network: Network::Host, ..plan() }.check(), Err(PlanError::Front));
    }

    #[test]
    fn tricky_paths_are_refused() {
        for path in ["srv", "/srv/../etc", "/./srv", "/a\0b", "//proc", "/srv//a", "/srv/"] {
            assert!(with_bind(path).check().is_err(), "{path:?}");
        }
    }
}
