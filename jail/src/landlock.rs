//! Landlock: a second opinion on files, TCP ports, signals and abstract sockets that survives a mistake in the mounts.
//!
//! Always a hard requirement at the version that the plan names; a kernel that does less is an error.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use serde::{Deserialize, Serialize};

use crate::step::{Step, StepFailure};

/// The newest version that this code knows the meaning of (Linux 6.15).
pub const NEWEST: u32 = 7;

/// What may be done below one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRule {
    /// a path inside the jail
    pub path: String,
    /// what may be done there
    pub access: FileAccess,
}

/// Kinds of access; each mirrors how the path is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileAccess {
    /// list directories
    List,
    /// read files and list directories
    Read,
    /// the same, and execute
    Execute,
    /// read and write, make and remove; never execute
    Write,
    /// read and write a device, with its ioctls
    Device,
}

/// TCP ports that may be used; everything else is refused from version 4 on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    /// the port that may be bound
    pub bind: Option<u16>,
    /// the port that may be connected to
    pub connect: Option<u16>,
}

/// Restricts this thread for good.
///
/// # Errors
/// The object is the path of the rule that failed, or `ruleset`.
pub fn restrict(abi: u32, files: &[FileRule], ports: Ports) -> Result<(), StepFailure> {
    let version = ABI::from(i32::try_from(abi.min(NEWEST)).unwrap_or(0));
    let mut ruleset = create(version).map_err(|e| failure("ruleset", &e))?;
    for rule in files {
        let path = PathFd::new(&rule.path).map_err(|e| failure(&rule.path, &e))?;
        let access = allowed(version, rule, &path);
        ruleset = ruleset.add_rule(PathBeneath::new(path, access)).map_err(|e| failure(&rule.path, &e))?;
    }
    if abi >= 4 {
        for (port, access) in [(ports.bind, AccessNet::BindTcp), (ports.connect, AccessNet::ConnectTcp)] {
            if let Some(port) = port {
                ruleset = ruleset.add_rule(NetPort::new(port, access)).map_err(|e| failure("ports", &e))?;
            }
        }
    }
    let status = ruleset.restrict_self().map_err(|e| failure("thread", &e))?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced | RulesetStatus::NotEnforced => Err(StepFailure {
            step: Step::Landlock,
            object: format!("version {abi}: not fully enforced"),
            errno: 0,
        }),
    }
}

fn create(version: ABI) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    ruleset = ruleset.handle_access(AccessFs::from_all(version))?;
    if version >= ABI::V4 {
        ruleset = ruleset.handle_access(AccessNet::from_all(version))?;
    }
    if version >= ABI::V6 {
        ruleset = ruleset.scope(Scope::from_all(version))?;
    }
    ruleset.create()
}

fn allowed(version: ABI, rule: &FileRule, path: &PathFd) -> BitFlags<AccessFs> {
    let access = match rule.access {
        FileAccess::List => AccessFs::ReadDir.into(),
        FileAccess::Read => AccessFs::ReadFile | AccessFs::ReadDir,
        FileAccess::Execute => AccessFs::from_read(version),
        FileAccess::Write => {
            let all = AccessFs::from_all(version);
            all & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock)
        }
        FileAccess::Device => {
            (AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev) & AccessFs::from_all(version)
        }
    };
    // A rule on a file may only carry rights that a file can have; the kernel refuses others.
    match is_directory(path) {
        true => access,
        false => access & AccessFs::from_file(version),
    }
}

fn is_directory(path: &PathFd) -> bool {
    rustix::fs::fstat(path).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory
    })
}

fn failure(object: &str, error: &dyn std::error::Error) -> StepFailure {
    StepFailure { step: Step::Landlock, object: format!("{object}: {error}"), errno: 0 }
}
