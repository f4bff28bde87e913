//! Rules become instructions: one filter that first checks the calling convention, then finds the call's number
//! in a balanced tree over ranges of equal decisions, and looks at arguments only in the leaves.
//!
//! A tree keeps both the filter short and its installation fast: the kernel runs the filter once for each number to
//! learn which calls are always allowed, and a linear chain makes that quadratic. All jumps go forward and are
//! relative, so blocks are composed by joining them.

use std::collections::BTreeMap;

use super::Refusal;
use super::condition::{Case, Condition, Test, Width};
use super::profile::{Action, Profile};

/// One cBPF instruction, as `struct sock_filter` in linux/filter.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Insn {
    pub(crate) code: u16,
    pub(crate) jt: u8,
    pub(crate) jf: u8,
    pub(crate) k: u32,
}

// Instruction codes, linux/bpf_common.h: class | size | mode, or class | operation | source.
pub(crate) const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
pub(crate) const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
pub(crate) const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
pub(crate) const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
pub(crate) const JUMP_ABOVE: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
pub(crate) const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
pub(crate) const RETURN: u16 = 0x06; // BPF_RET | BPF_K

// Offsets in struct seccomp_data, linux/seccomp.h.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

/// `AUDIT_ARCH_X86_64`, linux/audit.h.
pub(crate) const ARCH_X86_64: u32 = 0xc000_003e;

/// The kernel's bound on one filter, `BPF_MAXINSNS`.
const LENGTH_MAX: usize = 4096;

/// What one number gets: arms from the top, the first with a case that holds decides.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decision {
    arms: Vec<(Vec<Case>, Action)>,
    last: Action,
}

/// Compiles a profile.
pub(crate) fn compile(profile: &Profile) -> Result<Vec<Insn>, Refusal> {
    let mut program = vec![
        load(ARCH),
        Insn { code: JUMP_EQUAL, jt: 1, jf: 0, k: ARCH_X86_64 },
        // Numbers of another convention mean other calls: nothing can be said about them.
        decide(Action::Kill),
        load(NUMBER),
    ];
    program.extend(tree(&ranges(profile))?);
    if program.len() > LENGTH_MAX {
        return Err(Refusal(format!(
            "{} instructions are more than the kernel's {LENGTH_MAX}",
            program.len()
        )));
    }
    Ok(program)
}

/// Start numbers of runs of equal decisions, over all of `u32`.
fn ranges(profile: &Profile) -> Vec<(u32, Decision)> {
    let mut decisions: BTreeMap<u32, Decision> = BTreeMap::new();
    for call in profile.rules.iter().flat_map(|rule| &rule.calls) {
        decisions.entry(*call).or_insert_with(|| decision(profile, *call));
    }
    let unlisted = Decision { arms: Vec::new(), last: profile.unlisted };
    let mut ranges = Vec::new();
    let mut next = 0;
    for (number, decision) in decisions {
        if number > next {
            ranges.push((next, unlisted.clone()));
        }
        ranges.push((number, decision));
        next = number + 1;
    }
    ranges.push((next, unlisted));
    ranges.dedup_by(|later, earlier| later.1 == earlier.1);
    ranges
}

fn decision(profile: &Profile, call: u32) -> Decision {
    let mut arms = Vec::new();
    for rule in profile.rules.iter().filter(|rule| rule.calls.contains(&call)) {
        if rule.cases.is_empty() {
            return Decision { arms, last: rule.action };
        }
        arms.push((rule.cases.clone(), rule.action));
    }
    Decision { arms, last: profile.unlisted }
}

fn tree(ranges: &[(u32, Decision)]) -> Result<Vec<Insn>, Refusal> {
    let [(_, decision)] = ranges else {
        let (low, high) = ranges.split_at(ranges.len() / 2);
        let (from, below, above) = (high[0].0, tree(low)?, tree(high)?);
        // A conditional jump reaches 255 instructions, an unconditional one all.
        let mut block = match u8::try_from(below.len()) {
            Ok(jt) => vec![Insn { code: JUMP_AT_LEAST, jt, jf: 0, k: from }],
            Err(_) => vec![
                Insn { code: JUMP_AT_LEAST, jt: 0, jf: 1, k: from },
                Insn { code: JUMP, jt: 0, jf: 0, k: length(&below)? },
            ],
        };
        block.extend(below);
        block.extend(above);
        return Ok(block);
    };
    let mut block = Vec::new();
    for (cases, action) in &decision.arms {
        for case in cases {
            block.extend(checked(case, *action)?);
        }
    }
    block.push(decide(decision.last));
    Ok(block)
}

/// Ends with `action` when all conditions hold, else runs on behind the block.
fn checked(case: &[Condition], action: Action) -> Result<Vec<Insn>, Refusal> {
    let mut block = vec![decide(action)];
    for condition in case.iter().rev() {
        let mut check = compare_low(condition, reach(block.len())?);
        if condition.width == Width::U64 {
            check.splice(0..0, compare_high(condition, reach(block.len() + check.len())?));
        }
        check.extend(block);
        block = check;
    }
    Ok(block)
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is meant")]
fn compare_low(condition: &Condition, fail: u8) -> Vec<Insn> {
    compare(argument(condition.arg, 0), condition.mask as u32, condition.test, condition.value as u32, fail)
}

fn compare_high(condition: &Condition, fail: u8) -> Vec<Insn> {
    let half = |value: u64| u32::try_from(value >> 32).unwrap_or(u32::MAX);
    compare(argument(condition.arg, 4), half(condition.mask), Test::Equal, half(condition.value), fail)
}

fn compare(offset: u32, mask: u32, test: Test, k: u32, fail: u8) -> Vec<Insn> {
    let mut block = vec![load(offset)];
    if mask != u32::MAX {
        block.push(Insn { code: AND, jt: 0, jf: 0, k: mask });
    }
    block.push(match test {
        Test::Equal => Insn { code: JUMP_EQUAL, jt: 0, jf: fail, k },
        Test::AtMost => Insn { code: JUMP_ABOVE, jt: fail, jf: 0, k },
    });
    block
}

/// Offset of half an argument; x86_64 is little-endian, so the lower half comes first.
fn argument(arg: u8, half: u32) -> u32 {
    ARGS + 8 * u32::from(arg) + half
}

fn load(k: u32) -> Insn {
    Insn { code: LOAD, jt: 0, jf: 0, k }
}

fn decide(action: Action) -> Insn {
    Insn { code: RETURN, jt: 0, jf: 0, k: return_value(action) }
}

/// `SECCOMP_RET_*`, linux/seccomp.h.
pub(crate) fn return_value(action: Action) -> u32 {
    match action {
        Action::Allow => 0x7fff_0000,
        Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
        Action::Kill => 0x8000_0000,
    }
}

fn reach(distance: usize) -> Result<u8, Refusal> {
    u8::try_from(distance).map_err(|_| Refusal("one line of `when` has too many conditions".into()))
}

fn length(block: &[Insn]) -> Result<u32, Refusal> {
    u32::try_from(block.len()).map_err(|_| Refusal("the program is too long".into()))
}
