//! The rules as text: complete, each with a reason to be there, and no name without a use.

use std::collections::BTreeSet;

use super::super::compile::profile::{Profile, Rule};
use super::super::compile::program::{
    ARCH_X86_64, Insn, JUMP, JUMP_ABOVE, JUMP_ANY_BIT, JUMP_AT_LEAST, JUMP_EQUAL, RETURN, compile,
};
use super::super::interpreter::{Call, run};
use super::values::{around, fitting};
use super::{CONSTANTS, Name, TEXTS, profiles, shipped, tables};

#[test]
fn default_decides_every_call_of_the_table() {
    let tables = tables();
    let profile = &profiles(&tables)["default"];
    let named: BTreeSet<u32> = profile.rules.iter().flat_map(|rule| rule.calls.clone()).collect();
    let open: Vec<_> = tables.calls.iter().filter(|(_, number)| !named.contains(number)).collect();
    assert!(open.is_empty(), "decide them in default.toml: {open:?}");
}

#[test]
fn programs_are_short_and_all_jumps_stay_inside() {
    for name in Name::ALL {
        let program = shipped(name);
        assert!(program.len() < 400, "{name:?} has {} instructions", program.len());
        for (at, insn) in program.iter().enumerate() {
            let reach = match insn.code {
                RETURN => continue,
                JUMP => insn.k as usize,
                JUMP_EQUAL | JUMP_ABOVE | JUMP_AT_LEAST | JUMP_ANY_BIT => usize::from(insn.jt.max(insn.jf)),
                _ => 0,
            };
            assert!(at + 1 + reach < program.len(), "{name:?} instruction {at} {insn:?}");
        }
    }
}

#[test]
fn another_convention_is_killed_and_x32_is_unlisted() {
    let parsed = profiles(&tables());
    for name in Name::ALL {
        let program = shipped(name);
        let unlisted = run(&program, &Call::native(999, [0; 6]));
        for number in (0..1024).chain([u32::MAX]) {
            for arch in [0x4000_0003, 0, ARCH_X86_64 ^ 1, 0xc000_00b7] {
                let call = Call { arch, number, args: [0; 6] };
                assert_eq!(run(&program, &call), 0x8000_0000, "{call:x?}");
            }
            assert_eq!(
                run(&program, &Call::native(number | 0x4000_0000, [0; 6])),
                unlisted,
                "{name:?} {number}"
            );
        }
        assert!(!parsed[name.name()].rules.is_empty());
    }
}

/// All calls for which a decision could differ: each with arguments that fit each case of its rules, barely
/// and with all other bits set, and that fit none.
fn probes(profile: &Profile) -> Vec<Call> {
    let mut probes = Vec::new();
    for rule in &profile.rules {
        for call in &rule.calls {
            probes.extend([0, 0x3fff, u64::MAX].map(|value| Call::native(*call, [value; 6])));
            for case in &rule.cases {
                probes.push(Call::native(*call, fitting(case)));
                probes.push(Call::native(*call, around(case, || u64::MAX)));
            }
        }
    }
    probes
}

fn differs(original: &[Insn], changed: &Profile, probes: &[Call]) -> bool {
    let changed = compile(changed).unwrap();
    probes.iter().any(|call| run(original, call) != run(&changed, call))
}

/// Every way to take one thing out of a rule.
fn reductions(rule: &Rule) -> Vec<Rule> {
    let without_call = rule.calls.iter().map(|call| {
        let mut less = rule.clone();
        less.calls.retain(|kept| kept != call);
        less
    });
    let without_case = (0..rule.cases.len()).filter(|_| rule.cases.len() > 1).map(|index| {
        let mut less = rule.clone();
        less.cases.remove(index);
        less
    });
    without_call.chain(without_case).collect()
}

#[test]
fn no_rule_call_or_case_is_redundant() {
    let parsed = profiles(&tables());
    for (name, profile) in &parsed {
        let (original, probes) = (compile(profile).unwrap(), probes(profile));
        let own = profile.rules.len() - if *name == "strict" { parsed["default"].rules.len() } else { 0 };
        for (index, rule) in profile.rules.iter().take(own).enumerate() {
            if rule.cases.is_empty() && rule.action == profile.unlisted {
                continue; // only names what is left to fail
            }
            for less in reductions(rule) {
                let mut changed = profile.clone();
                changed.rules[index] = less;
                assert!(
                    differs(&original, &changed, &probes),
                    "{name}: something in {rule:?} changes nothing"
                );
            }
        }
    }
}

#[test]
fn every_constant_is_used() {
    let names = CONSTANTS.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let words: BTreeSet<&str> =
        TEXTS.iter().flat_map(|text| text.split(|c: char| c != '_' && !c.is_alphanumeric())).collect();
    let idle: Vec<&str> = names.filter(|name| !words.contains(name)).collect();
    assert!(idle.is_empty(), "{idle:?}");
}

macro_rules! libc_values {
    ($($name:ident)*) => { [$((stringify!($name), i128::from(libc::$name))),*] };
}

#[test]
fn constants_are_those_of_libc() {
    let known = libc_values!(
        EPERM ENOMEM EACCES ENOSYS EPROTONOSUPPORT EAFNOSUPPORT CLONE_THREAD CLONE_NEWNS CLONE_NEWCGROUP CLONE_NEWUTS
        CLONE_NEWIPC CLONE_NEWUSER CLONE_NEWPID CLONE_NEWNET O_CREAT O_TMPFILE S_ISUID S_ISGID S_IFMT S_IFIFO S_IFREG
        S_IFSOCK AT_EMPTY_PATH PROT_READ PROT_WRITE PROT_EXEC MAP_ANONYMOUS MAP_HUGETLB MFD_HUGETLB MFD_EXEC
        SHM_HUGETLB AF_UNIX AF_INET AF_INET6 AF_NETLINK SOCK_STREAM SOCK_DGRAM NETLINK_ROUTE IPPROTO_IP IPPROTO_ICMP
        IPPROTO_TCP IPPROTO_UDP IPPROTO_ICMPV6 SOL_SOCKET SO_ATTACH_FILTER SO_ATTACH_BPF SO_ATTACH_REUSEPORT_CBPF
        SO_ATTACH_REUSEPORT_EBPF TIOCSTI TIOCLINUX TIOCCONS FIONBIO PR_SET_DUMPABLE PR_GET_KEEPCAPS PR_SET_NAME
        PR_GET_NAME PR_GET_SECCOMP PR_CAPBSET_READ PR_GET_SECUREBITS PR_SET_TIMERSLACK
        PR_GET_TIMERSLACK PR_SET_CHILD_SUBREAPER PR_GET_CHILD_SUBREAPER PR_SET_NO_NEW_PRIVS PR_GET_NO_NEW_PRIVS
        PR_SET_THP_DISABLE PR_GET_THP_DISABLE PR_CAP_AMBIENT PR_CAP_AMBIENT_IS_SET PR_GET_SPECULATION_CTRL
        PR_SET_SPECULATION_CTRL PR_SET_MDWE PR_GET_MDWE PR_SET_VMA UNAME26
        SECCOMP_SET_MODE_FILTER PRIO_PROCESS PRIO_USER IN_ACCESS IN_CLOSE_NOWRITE IN_OPEN
    );
    let constants = tables().constants;
    for (name, value) in known {
        assert_eq!(constants.get(name).map(|v| i128::from(*v)), Some(value), "{name}");
    }
    // libc has no name for these: linux/ioprio.h, asm-generic/ioctls.h, include/linux/net.h, personality(2).
    let unknown: Vec<_> =
        constants.keys().filter(|name| !known.iter().any(|(known, _)| known == name)).collect();
    assert_eq!(
        unknown,
        [
            "IOPRIO_WHO_PROCESS",
            "IOPRIO_WHO_USER",
            "PER_LINUX",
            "PER_LINUX32",
            "PER_QUERY",
            "SOCK_TYPE_MASK",
            "TIOCSETD"
        ]
    );
}
