//! Runs a filter program as the kernel would, for tests.
//!
//! Knows the instructions that our compiler and the seccompiler crate write, and panics on any other, on a jump out
//! of the program and on a program that does not end.

use super::compile::program::{
    AND, ARCH_X86_64, Insn, JUMP, JUMP_ABOVE, JUMP_ANY_BIT, JUMP_AT_LEAST, JUMP_EQUAL, LOAD, RETURN,
};

/// One system call, as a filter sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) arch: u32,
    pub(super) number: u32,
    pub(super) args: [u64; 6],
}

impl Call {
    /// A call of the native convention.
    pub(super) fn native(number: u32, args: [u64; 6]) -> Self {
        Self { arch: ARCH_X86_64, number, args }
    }

    /// The 32-bit word at `offset` of `struct seccomp_data`.
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.arch,
            16..64 if offset.is_multiple_of(4) => {
                let arg = self.args[(offset as usize - 16) / 8];
                let half = if offset.is_multiple_of(8) { arg & 0xffff_ffff } else { arg >> 32 };
                u32::try_from(half).unwrap()
            }
            _ => panic!("load from {offset}"),
        }
    }
}

/// The program's answer, `SECCOMP_RET_*`.
pub(super) fn run(program: &[Insn], call: &Call) -> u32 {
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let Insn { code, jt, jf, k } = program[at];
        let chosen = |holds| usize::from(if holds { jt } else { jf });
        at += 1 + match code {
            LOAD => {
                accumulator = call.word(k);
                0
            }
            AND => {
                accumulator &= k;
                0
            }
            JUMP => k as usize,
            JUMP_EQUAL => chosen(accumulator == k),
            JUMP_ABOVE => chosen(accumulator > k),
            JUMP_ANY_BIT => chosen(accumulator & k != 0),
            JUMP_AT_LEAST => chosen(accumulator >= k),
            RETURN => return k,
            _ => panic!("instruction {code:#x}"),
        };
    }
}
