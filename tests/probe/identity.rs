//! User ids, groups, capabilities and the switches around them.

use crate::outcome::{Outcome, Verb, any_of, attempt, held, past, stopped, succeeded, verb};
use crate::sys::{addr, addr_mut, call};

/// The verbs of this file.
pub const VERBS: &[Verb] = &[
    verb("setuid", |_| any_of([0, 1].map(|id| ("another user", call(libc::SYS_setuid, &[id]))))),
    verb("setgid", |_| any_of([0, 1].map(|id| ("another group", call(libc::SYS_setgid, &[id]))))),
    verb("setresuid", |_| attempt(libc::SYS_setresuid, &[usize::MAX, 0, usize::MAX])),
    verb("setreuid", |_| attempt(libc::SYS_setreuid, &[0, 0])),
    verb("setfsuid", |_| setfsuid()),
    verb("setgroups", |_| setgroups(&[0])),
    verb("drop-groups", |_| setgroups(&[])),
    verb("raise-permitted", |_| raise(Set::Permitted)),
    verb("raise-effective", |_| raise(Set::Effective)),
    verb("raise-inheritable", |_| raise(Set::Inheritable)),
    verb("raise-ambient", |_| raise_ambient()),
    verb("bounding-left", |_| bounding_left()),
    verb("securebits-clear", |_| attempt(libc::SYS_prctl, &[libc::PR_SET_SECUREBITS as usize, 0])),
    verb("keep-capabilities", |_| attempt(libc::SYS_prctl, &[libc::PR_SET_KEEPCAPS as usize, 1])),
    verb("no-new-privileges-off", |_| attempt(libc::SYS_prctl, &[libc::PR_SET_NO_NEW_PRIVS as usize, 0])),
    verb("seccomp-off", |_| attempt(libc::SYS_prctl, &[libc::PR_SET_SECCOMP as usize, 0])),
    verb("seccomp-absent", |_| seccomp_absent()),
    verb("prctl-set-mm", |_| past(call(libc::SYS_prctl, &[libc::PR_SET_MM as usize, 1, 1]), &[libc::EINVAL])),
    verb("capset-other", |_| capset_other()),
];

/// Effective ids, and effective and permitted capabilities, one line each.
pub fn report() -> String {
    let id = |number| call(number, &[]).map_or_else(|_| "?".to_owned(), |id| id.to_string());
    let data = capget().unwrap_or([0; 6]);
    format!(
        "uid {}\ngid {}\ncapabilities {:x}:{:x}\n",
        id(libc::SYS_geteuid),
        id(libc::SYS_getegid),
        u64::from(data[3]) << 32 | u64::from(data[0]),
        u64::from(data[4]) << 32 | u64::from(data[1])
    )
}

/// Version 3 of the capability interface.
const VERSION: u32 = 0x2008_0522;

/// CAP_NET_ADMIN, which every capability set of a container's root has been abused for.
const NET_ADMIN: u32 = 12;

/// Effective, permitted, inheritable; low words, then high words.
fn capget() -> Result<[u32; 6], i32> {
    let header = [VERSION, 0];
    let mut data = [0u32; 6];
    call(libc::SYS_capget, &[addr(&header), addr_mut(&mut data)])?;
    Ok(data)
}

#[derive(Clone, Copy)]
enum Set {
    Effective,
    Permitted,
    Inheritable,
}

fn raise(set: Set) -> Outcome {
    let mut data = match capget() {
        Ok(data) => data,
        Err(errno) => return stopped(errno),
    };
    let bit = 1 << NET_ADMIN;
    match set {
        Set::Effective => data[0] |= bit,
        Set::Permitted => data[1] |= bit,
        Set::Inheritable => data[2] |= bit,
    }
    attempt(libc::SYS_capset, &[addr(&[VERSION, 0u32]), addr(&data)])
}

/// The ambient set needs the inheritable one first.
fn raise_ambient() -> Outcome {
    let _ = raise(Set::Inheritable);
    let list = [libc::PR_CAP_AMBIENT as usize, libc::PR_CAP_AMBIENT_RAISE as usize, NET_ADMIN as usize, 0, 0];
    attempt(libc::SYS_prctl, &list)
}

fn capset_other() -> Outcome {
    // capset(2) on another process than oneself has been refused since 2.6.24; the parent is the nearest other.
    let parent =
        call(libc::SYS_getppid, &[]).and_then(|id| u32::try_from(id).map_err(|_| libc::ESRCH)).unwrap_or(0);
    attempt(libc::SYS_capset, &[addr(&[VERSION, parent]), addr(&[0u32; 6])])
}

fn bounding_left() -> Outcome {
    let left = (0..64)
        .filter(|&number| call(libc::SYS_prctl, &[libc::PR_CAPBSET_READ as usize, number]) == Ok(1))
        .count();
    if left > 0 {
        succeeded(format!("{left} capabilities in the bounding set"))
    } else {
        held("the bounding set is empty")
    }
}

/// setfsuid(2) reports the previous id and no error, so the change is read back.
fn setfsuid() -> Outcome {
    for id in [0, 1] {
        let before = call(libc::SYS_setfsuid, &[usize::MAX]);
        let _ = call(libc::SYS_setfsuid, &[id]);
        let after = call(libc::SYS_setfsuid, &[usize::MAX]);
        match (before, after) {
            (Err(errno), _) | (_, Err(errno)) => return stopped(errno),
            (Ok(before), Ok(after)) if before != after => {
                return succeeded(format!("file system user {after}"));
            }
            _ => {}
        }
    }
    held("the file system user stayed")
}

fn setgroups(groups: &[u32]) -> Outcome {
    attempt(libc::SYS_setgroups, &[groups.len(), groups.as_ptr() as usize])
}

fn seccomp_absent() -> Outcome {
    match call(libc::SYS_prctl, &[libc::PR_GET_SECCOMP as usize]) {
        Ok(0) => succeeded("no filter"),
        Ok(mode) => held(format!("mode {mode}")),
        Err(errno) => stopped(errno),
    }
}
