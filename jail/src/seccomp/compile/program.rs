//! Rules become instructions: one filter that first checks the calling convention, then finds the call's number
//! in a balanced tree over ranges of equal decisions, and looks at arguments only in the leaves.
//!
//! A tree and shared leaves keep the filter short and its installation fast: the kernel translates every instruction
//! (a quarter of a microsecond each, the largest part) and runs the filter once for each number to learn which calls
//! are always allowed, which a linear chain makes quadratic.

use std::collections::BTreeMap;

use super::Refusal;
use super::assembler::{Assembler, Entry, Held};
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
pub(crate) const JUMP_ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
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
    let mut assembler = Assembler::default();
    let mut known = Vec::new();
    let numbers = tree(&mut assembler, &mut known, &ranges(profile));
    let number = assembler.load(NUMBER, u32::MAX, numbers);
    // Numbers of another convention mean other calls: nothing can be said about them.
    let foreign = assembler.decide(Action::Kill);
    let arch = assembler.branch(JUMP_EQUAL, ARCH_X86_64, number, foreign);
    assembler.load(ARCH, u32::MAX, arch);
    let program = assembler.finish();
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

/// Where the decision about the ranges' numbers starts; `known` are leaves that exist already.
fn tree(assembler: &mut Assembler, known: &mut Vec<(Decision, usize)>, ranges: &[(u32, Decision)]) -> usize {
    if let [(_, decision)] = ranges {
        if let Some((_, at)) = known.iter().find(|(other, _)| other == decision) {
            return *at;
        }
        let at = leaf(assembler, decision);
        known.push((decision.clone(), at));
        return at;
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let above = tree(assembler, known, high);
    let below = tree(assembler, known, low);
    assembler.branch(JUMP_AT_LEAST, high[0].0, above, below)
}

fn leaf(assembler: &mut Assembler, decision: &Decision) -> usize {
    let last = Entry::anyhow(assembler.decide(decision.last));
    let arms = decision.arms.iter();
    let cases: Vec<(&[Condition], Action)> =
        arms.flat_map(|(cases, action)| cases.iter().map(|case| (case.as_slice(), *action))).collect();
    alternatives(assembler, &cases, last).fresh
}

/// The first case that holds decides; when none does, `otherwise` does. Neighbours that begin alike share the check.
fn alternatives(assembler: &mut Assembler, cases: &[(&[Condition], Action)], otherwise: Entry) -> Entry {
    let Some((first, action)) = cases.first() else { return otherwise };
    let Some(condition) = first.first() else { return Entry::anyhow(assembler.decide(*action)) };
    let alike = cases.iter().take_while(|(case, _)| case.first() == Some(condition)).count();
    let rest = alternatives(assembler, &cases[alike..], otherwise);
    let stripped: Vec<_> = cases[..alike].iter().map(|(case, action)| (&case[1..], *action)).collect();
    let inner = alternatives(assembler, &stripped, rest);
    check(assembler, condition, inner, rest)
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is meant")]
fn check(assembler: &mut Assembler, condition: &Condition, yes: Entry, no: Entry) -> Entry {
    let Condition { arg, width, mask, test, value } = *condition;
    let low = compare(assembler, argument(arg, 0), mask as u32, test, value as u32, yes, no);
    match width {
        Width::U32 => low,
        Width::U64 => compare(
            assembler,
            argument(arg, 4),
            (mask >> 32) as u32,
            Test::Equal,
            (value >> 32) as u32,
            low,
            no,
        ),
    }
}

fn compare(
    assembler: &mut Assembler,
    offset: u32,
    mask: u32,
    test: Test,
    k: u32,
    yes: Entry,
    no: Entry,
) -> Entry {
    // No bit of the mask may be set: one instruction, which leaves the whole word for the next comparison.
    let bits = test == Test::Equal && k == 0 && mask != u32::MAX;
    let held = Held { offset, mask: if bits { u32::MAX } else { mask } };
    let (yes, no) = (yes.with(held), no.with(held));
    let at = match test {
        Test::Equal if bits => assembler.branch(JUMP_ANY_BIT, mask, no, yes),
        Test::Equal => assembler.branch(JUMP_EQUAL, k, yes, no),
        Test::AtMost => assembler.branch(JUMP_ABOVE, k, no, yes),
    };
    Entry { fresh: assembler.load(offset, held.mask, at), loaded: Some((held, at)) }
}

/// Offset of half an argument; x86_64 is little-endian, so the lower half comes first.
fn argument(arg: u8, half: u32) -> u32 {
    ARGS + 8 * u32::from(arg) + half
}

/// `SECCOMP_RET_*`, linux/seccomp.h.
pub(crate) fn return_value(action: Action) -> u32 {
    match action {
        Action::Allow => 0x7fff_0000,
        Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
        Action::Kill => 0x8000_0000,
    }
}
