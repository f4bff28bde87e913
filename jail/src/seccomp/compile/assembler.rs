//! Writes a program from its end to its start, so that every jump's target exists when the jump is written.
//!
//! Positions count from the end. Promises: a conditional jump, which reaches 255 instructions only, always arrives,
//! by way of a copy or an unconditional jump where its target is farther.

use super::profile::Action;
use super::program::{AND, Insn, JUMP, LOAD, RETURN, return_value};

/// How far a conditional jump reaches, less the two instructions that may be put in between.
const NEAR: usize = 253;

/// What the accumulator holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// of `struct seccomp_data`, in bytes
    pub(crate) offset: u32,
    /// all ones when nothing was masked out
    pub(crate) mask: u32,
}

/// Where a piece of program may be entered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// whatever the accumulator holds
    pub(crate) fresh: usize,
    /// behind the load, when the accumulator holds this already
    pub(crate) loaded: Option<(Held, usize)>,
}

impl Entry {
    /// A piece that needs nothing loaded.
    pub(crate) fn anyhow(at: usize) -> Self {
        Self { fresh: at, loaded: None }
    }

    /// Where to enter with this in the accumulator.
    pub(crate) fn with(self, held: Held) -> usize {
        self.loaded.filter(|(wanted, _)| *wanted == held).map_or(self.fresh, |(_, at)| at)
    }
}

/// A program that grows towards its start.
#[derive(Default)]
pub(crate) struct Assembler {
    reversed: Vec<Insn>,
}

impl Assembler {
    /// The program; it starts with what was written last. Loads that every path enters behind are left out.
    pub(crate) fn finish(self) -> Vec<Insn> {
        let mut reached = vec![false; self.reversed.len()];
        for at in (0..self.reversed.len()).rev() {
            if at + 1 == reached.len() || reached[at] {
                reached[at] = true;
                self.targets(at).for_each(|target| reached[target] = true);
            }
        }
        // What remains of the program behind each position, itself included.
        let kept: Vec<usize> = reached
            .iter()
            .scan(0, |sum, kept| {
                *sum += usize::from(*kept);
                Some(*sum)
            })
            .collect();
        let shorter = |at: usize, distance: usize| kept[at] - kept[at - 1 - distance] - 1;
        let near = |at, distance: u8| u8::try_from(shorter(at, distance.into())).unwrap_or(distance);
        let all = self.reversed.iter().enumerate().rev().filter(|(at, _)| reached[*at]);
        all.map(|(at, insn)| match insn.code {
            RETURN | LOAD | AND => *insn,
            JUMP => Insn { k: u32::try_from(shorter(at, insn.k as usize)).unwrap_or(insn.k), ..*insn },
            _ => Insn { jt: near(at, insn.jt), jf: near(at, insn.jf), ..*insn },
        })
        .collect()
    }

    /// Where the program may go from here.
    fn targets(&self, at: usize) -> impl Iterator<Item = usize> + use<> {
        let Insn { code, jt, jf, k } = self.reversed[at];
        let distances = match code {
            RETURN => [None, None],
            LOAD | AND => [Some(0), None],
            JUMP => [Some(k as usize), None],
            _ => [Some(usize::from(jt)), Some(usize::from(jf))],
        };
        distances.into_iter().flatten().map(move |distance| at - 1 - distance)
    }

    /// An end of the program, an existing one if it is near.
    pub(crate) fn decide(&mut self, action: Action) -> usize {
        let insn = Insn { code: RETURN, jt: 0, jf: 0, k: return_value(action) };
        let from = self.reversed.len().saturating_sub(NEAR / 2);
        match self.reversed[from..].iter().position(|other| *other == insn) {
            Some(found) => from + found,
            None => self.push(insn),
        }
    }

    /// Loads a word, masks it, and goes on at `next`, which must be what was written last.
    pub(crate) fn load(&mut self, offset: u32, mask: u32, next: usize) -> usize {
        assert_eq!(next + 1, self.reversed.len());
        if mask != u32::MAX {
            self.push(Insn { code: AND, jt: 0, jf: 0, k: mask });
        }
        self.push(Insn { code: LOAD, jt: 0, jf: 0, k: offset })
    }

    /// Goes to one of two places.
    pub(crate) fn branch(&mut self, code: u16, k: u32, yes: usize, no: usize) -> usize {
        let (yes, no) = (self.near(yes), self.near(no));
        let distance = |at: usize| u8::try_from(self.reversed.len() - at - 1).ok();
        let (Some(jt), Some(jf)) = (distance(yes), distance(no)) else {
            unreachable!("`near` brings every target near")
        };
        self.push(Insn { code, jt, jf, k })
    }

    /// A position from which `target` is reached and that a conditional jump reaches.
    fn near(&mut self, target: usize) -> usize {
        let distance = self.reversed.len() - target;
        let insn = self.reversed[target];
        match u32::try_from(distance) {
            Ok(far) if distance > NEAR => {
                let jump = Insn { code: JUMP, jt: 0, jf: 0, k: far - 1 };
                self.push(if insn.code == RETURN { insn } else { jump })
            }
            _ => target,
        }
    }

    fn push(&mut self, insn: Insn) -> usize {
        self.reversed.push(insn);
        self.reversed.len() - 1
    }
}
