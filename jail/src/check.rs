//! The check from inside: facts that the payload's process sees after its last layer, compared with the plan.
//!
//! The comparison is pure. A jail whose facts differ from its plan never runs its payload.

use serde::{Deserialize, Serialize};

use crate::plan::{INNER_ID, Network, Plan};

/// What the process saw about itself between its last layer and `execve`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `/proc/self/uid_map`: inside, outside, count
    pub uid_map: [u32; 3],
    /// `/proc/self/gid_map`: inside, outside, count
    pub gid_map: [u32; 3],
    /// real, effective and saved user id, then the same of the group
    pub ids: [u32; 6],
    /// supplementary groups
    pub groups: u32,
    /// inheritable, permitted, effective, bounding and ambient capabilities
    pub capabilities: [u64; 5],
    /// `PR_GET_SECUREBITS`
    pub secure_bits: u32,
    /// `NoNewPrivs` of `/proc/self/status`
    pub no_new_privs: bool,
    /// `Seccomp` of `/proc/self/status`; 2 is a filter
    pub seccomp_mode: u32,
    /// the kernel's Landlock version
    pub landlock_abi: u32,
    /// error number of each attempt in [`ATTEMPTS`]; 0 when it was let through
    pub attempts: Vec<i32>,
}

/// Forbidden things that the check tries, with the error numbers that prove a layer stopped them.
pub const ATTEMPTS: [Attempt; 6] = [
    Attempt { what: "read the host's root through /proc/1/root", stopped_by: &[libc::ENOENT, libc::EACCES] },
    Attempt { what: "create a file in /", stopped_by: &[libc::EROFS, libc::EACCES] },
    Attempt { what: "mount a file system", stopped_by: &[libc::EPERM] },
    Attempt { what: "make a user namespace", stopped_by: &[libc::EPERM] },
    Attempt {
        what: "reach 192.0.2.1",
        stopped_by: &[libc::ENETUNREACH, libc::EPERM, libc::EACCES, libc::EAFNOSUPPORT],
    },
    Attempt {
        what: "listen on an unplanned TCP port",
        stopped_by: &[libc::EACCES, libc::EPERM, libc::EAFNOSUPPORT],
    },
];

/// The index in [`ATTEMPTS`] that does not apply to a jail on the host's network.
const REACH: usize = 4;

/// The index in [`ATTEMPTS`] that needs a Landlock of version 4, which knows ports.
const LISTEN: usize = 5;

/// One forbidden thing.
#[derive(Debug)]
pub struct Attempt {
    /// in words
    pub what: &'static str,
    /// the answers that prove it was stopped
    pub stopped_by: &'static [i32],
}

/// All capabilities gone, securebits with every lock set (capabilities(7)): noroot, no setuid fix-up,
/// no keep-caps, no ambient raise, and the four locks.
pub const SECURE_BITS: u32 = 0xef;

/// How many single facts [`differences`] compares.
#[must_use]
pub fn count(facts: &Facts) -> u32 {
    u32::try_from(10 + facts.attempts.len()).unwrap_or(u32::MAX)
}

/// What differs between the plan and what was seen, one sentence each; empty when the jail is as planned.
#[must_use]
pub fn differences(plan: &Plan, facts: &Facts) -> Vec<String> {
    let map = [INNER_ID, plan.host_id, 1];
    let mut found = Vec::new();
    let mut expect = |holds: bool, what: String| {
        if !holds {
            found.push(what);
        }
    };
    expect(facts.uid_map == map, format!("the user id map is {:?}, planned was {map:?}", facts.uid_map));
    expect(facts.gid_map == map, format!("the group id map is {:?}, planned was {map:?}", facts.gid_map));
    expect(facts.ids == [INNER_ID; 6], format!("the ids are {:?}", facts.ids));
    expect(facts.groups == 0, format!("{} supplementary groups are left", facts.groups));
    expect(facts.capabilities == [0; 5], format!("capabilities are left: {:x?}", facts.capabilities));
    expect(facts.secure_bits == SECURE_BITS, format!("securebits are {:#x}", facts.secure_bits));
    expect(facts.no_new_privs, "no_new_privs is off".into());
    expect(facts.seccomp_mode == 2, format!("the seccomp mode is {}", facts.seccomp_mode));
    expect(
        facts.landlock_abi == plan.landlock_abi,
        format!("the Landlock version is {}", facts.landlock_abi),
    );
    expect(facts.attempts.len() == ATTEMPTS.len(), "an attempt was not made".into());
    for (index, (attempt, errno)) in ATTEMPTS.iter().zip(&facts.attempts).enumerate() {
        let applies = match index {
            REACH => plan.network != Network::Host,
            LISTEN => plan.landlock_abi >= 4,
            _ => true,
        };
        let stopped = attempt.stopped_by.contains(errno);
        expect(!applies || stopped, format!("could {} (error number {errno})", attempt.what));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::HOST_IDS;
    use crate::plan::tests::plan;

    fn as_planned() -> Facts {
        Facts {
            uid_map: [INNER_ID, HOST_IDS, 1],
            gid_map: [INNER_ID, HOST_IDS, 1],
            ids: [INNER_ID; 6],
            secure_bits: SECURE_BITS,
            no_new_privs: true,
            seccomp_mode: 2,
            landlock_abi: 7,
            attempts: ATTEMPTS.iter().map(|attempt| attempt.stopped_by[0]).collect(),
            ..Facts::default()
        }
    }

    #[test]
    fn facts_as_planned_have_no_difference() {
        assert_eq!(differences(&plan(), &as_planned()), Vec::<String>::new());
    }

    #[test]
    fn every_single_difference_is_seen() {
        type Change = fn(&mut Facts);
        let changes: [Change; 10] = [
            |f| f.uid_map[1] = 0,
            |f| f.gid_map[2] = 2,
            |f| f.ids[2] = 0,
            |f| f.groups = 1,
            |f| f.capabilities[3] = 1,
            |f| f.secure_bits = 0,
            |f| f.no_new_privs = false,
            |f| f.seccomp_mode = 0,
            |f| f.landlock_abi = 0,
            |f| f.attempts.clear(),
        ];
        for change in changes {
            let mut facts = as_planned();
            change(&mut facts);
            assert_eq!(differences(&plan(), &facts).len(), 1, "{facts:?}");
        }
        for index in 0..ATTEMPTS.len() {
            let mut facts = as_planned();
            facts.attempts[index] = 0;
            assert_eq!(differences(&plan(), &facts).len(), 1, "{index}");
        }
    }
}
