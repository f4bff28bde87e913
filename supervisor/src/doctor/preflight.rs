//! The few checks before every `gaoler run` and `gaoler jail`: what would otherwise fail late and less clearly.
//!
//! It costs a handful of system calls (microseconds) and leaves all else to the step that needs it.

use gaoler_jail::cgroup::{self, Version};
use gaoler_jail::sys;

/// Without these no limit holds.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// Why no jail can be made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// not root
    #[error("needs root to make jails; run it with sudo")]
    NotRoot,
    /// control groups are not mounted as either version needs
    #[error(
        "control groups are not mounted with memory, pids and cpu; run gaoler doctor to see how to get them"
    )]
    NoCgroups,
    /// a limit that cannot be set
    #[error("the {0} controller of control groups is not there; run gaoler doctor to see how to get it")]
    NoController(&'static str),
    /// no Landlock
    #[error("Landlock is not available in this kernel; run gaoler doctor to see how to get it")]
    NoLandlock,
}

/// Checks them.
///
/// # Errors
/// The first that fails.
pub fn preflight() -> Result<(), Unfit> {
    if !rustix::process::geteuid().is_root() {
        return Err(Unfit::NotRoot);
    }
    if cgroup::version().map_err(|_| Unfit::NoCgroups)? == Version::V2 {
        let listed = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        if let Some(name) = lacking(&listed) {
            return Err(Unfit::NoController(name));
        }
    }
    if sys::landlock_abi() == 0 {
        return Err(Unfit::NoLandlock);
    }
    Ok(())
}

fn lacking(listed: &str) -> Option<&'static str> {
    CONTROLLERS.into_iter().find(|name| !listed.split_ascii_whitespace().any(|word| word == *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_counts_only_by_its_whole_name() {
        assert_eq!(lacking("cpuset cpu io memory pids\n"), None);
        assert_eq!(lacking("cpuset io memory pids\n"), Some("cpu"));
        assert_eq!(lacking(""), Some("memory"));
    }
}
