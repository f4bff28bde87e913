//! Giving privilege up, in the order in which the kernel allows it.

use rustix::process::{Resource as Kind, Rlimit as Pair, Signal};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets, Gid, Uid};

use crate::check::SECURE_BITS;
use crate::plan::{INNER_ID, Resource, Rlimit};
use crate::step::{At, Step, StepFailure};

/// The highest capability number that this kernel could know; bounding-set drops stop at the first it does not.
const LAST_CAPABILITY: u32 = 63;

/// Drops supplementary groups. Before entering the user namespace, which forbids `setgroups`.
///
/// # Errors
/// `EPERM` without privilege.
pub fn drop_groups() -> Result<(), StepFailure> {
    rustix::thread::set_thread_groups(&[]).at(Step::Groups, "supplementary groups")
}

/// Sets the limits that the cgroup does not cover, soft and hard alike. Where the caller has less, less it is: even root
/// may not be able to raise a limit.
///
/// # Errors
/// None is known.
pub fn limit(limits: &[Rlimit]) -> Result<(), StepFailure> {
    for Rlimit { resource, value } in limits {
        let kind = match resource {
            Resource::Files => Kind::Nofile,
            Resource::Core => Kind::Core,
            Resource::FileSize => Kind::Fsize,
            Resource::MessageQueue => Kind::Msgqueue,
            Resource::Locked => Kind::Memlock,
            Resource::Signals => Kind::Sigpending,
            Resource::RealTime => Kind::Rtprio,
        };
        let value = rustix::process::getrlimit(kind).maximum.map_or(*value, |most| most.min(*value));
        let pair = Pair { current: Some(value), maximum: Some(value) };
        rustix::process::setrlimit(kind, pair).at(Step::Limits, &format!("{resource:?}"))?;
    }
    Ok(())
}

/// Becomes [`INNER_ID`] and empties all five capability sets, with every securebit locked and no way back.
/// Needs to be in a user namespace that maps [`INNER_ID`], with all its capabilities.
///
/// # Errors
/// The set or id that could not be changed.
pub fn drop_all() -> Result<(), StepFailure> {
    let (uid, gid) = (Uid::from_raw(INNER_ID), Gid::from_raw(INNER_ID));
    // Changing the ids would clear the capabilities that the next lines still need.
    rustix::thread::set_keep_capabilities(true).at(Step::Capabilities, "keep")?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).at(Step::Users, "group")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).at(Step::Users, "user")?;
    let kept = rustix::thread::capabilities(None).at(Step::Capabilities, "read")?;
    let raised = CapabilitySets { effective: kept.permitted, ..kept };
    rustix::thread::set_capabilities(None, raised).at(Step::Capabilities, "effective")?;
    for number in 0..=LAST_CAPABILITY {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if rustix::thread::remove_capability_from_bounding_set(one).is_err() {
            break;
        }
    }
    let bits = CapabilitiesSecureBits::from_bits_retain(SECURE_BITS);
    rustix::thread::set_capabilities_secure_bits(bits).at(Step::Capabilities, "securebits")?;
    rustix::thread::clear_ambient_capability_set().at(Step::Capabilities, "ambient")?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).at(Step::Capabilities, "sets")?;
    rustix::thread::set_no_new_privs(true).at(Step::Capabilities, "no_new_privs")
}

/// Asks the kernel to kill this process when its parent ends. Last of all, because changing ids undoes it.
///
/// # Errors
/// None is known.
pub fn die_with_parent() -> Result<(), StepFailure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at(Step::Init, "parent death signal")
}
