//! System call filters: which calls a jailed program may make, decided when Gaoler is built.
//!
//! The profiles are data (`jail/profiles/*.toml`, explained in docs/seccomp.md). `build.rs` compiles each into a
//! constant program, so that at run time nothing is parsed and one system call installs it. Promises: only the
//! x86_64 calling convention passes; what a profile does not name does not pass either.

#[cfg(not(target_arch = "x86_64"))]
compile_error!(
    "the seccomp profiles name x86_64 system call numbers; another architecture needs its own table"
);

mod install;

#[cfg(test)]
mod compile;
#[cfg(test)]
mod interpreter;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use install::install;
pub use libc::sock_filter as SockFilter;

/// One of the profiles in `jail/profiles/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// hosted servers: Node, Python, git, shells, static binaries; everything unknown fails with `ENOSYS`
    Default,
    /// hosted servers that need no network socket and generate no code
    Strict,
    /// a front's first filter, behind which the check from inside runs
    Check,
    /// Gaoler's own front: any call that is not expected ends it
    Front,
    /// process 1 of a jail once it is set up: any call that is not expected ends it, and the jail with it
    Init,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Default, Self::Strict, Self::Check, Self::Front, Self::Init];

    /// The name in policies and of the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Strict => "strict",
            Self::Check => "check",
            Self::Front => "front",
            Self::Init => "init",
        }
    }

    /// The program to [`install`].
    #[must_use]
    pub fn program(self) -> &'static [SockFilter] {
        match self {
            Self::Default => &DEFAULT,
            Self::Strict => &STRICT,
            Self::Check => &CHECK,
            Self::Front => &FRONT,
            Self::Init => &INIT,
        }
    }
}

const fn insn(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
    SockFilter { code, jt, jf, k }
}

// DEFAULT, STRICT, CHECK, FRONT and INIT, written by build.rs.
include!(concat!(env!("OUT_DIR"), "/seccomp_programs.rs"));
