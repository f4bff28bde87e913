//! The one-line conditions on a system call's arguments: `arg1.u32 & 0xf000 == S_IFIFO && arg2.u32 <= 3`.
//!
//! The width says what the kernel reads: `u32` where it takes an int (the upper half of the register is then
//! ignored, as the kernel does), `u64` where it takes a long. A filter cannot follow pointers.

use std::collections::BTreeMap;

use super::Refusal;

/// How many bits of the register count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// the lower half
    U32,
    /// all
    U64,
}

/// How the masked argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    /// `==`
    Equal,
    /// `<=`, unsigned
    AtMost,
}

/// One comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// 0 to 5
    pub(crate) arg: u8,
    pub(crate) width: Width,
    pub(crate) mask: u64,
    pub(crate) test: Test,
    pub(crate) value: u64,
}

/// Conditions that must all hold.
pub(crate) type Case = Vec<Condition>;

/// Reads conditions joined by `&&`.
pub(crate) fn parse_case(text: &str, constants: &BTreeMap<String, u64>) -> Result<Case, Refusal> {
    text.split("&&").map(|part| parse_condition(part.trim(), constants)).collect()
}

fn parse_condition(text: &str, constants: &BTreeMap<String, u64>) -> Result<Condition, Refusal> {
    let refuse = |why: &str| Refusal(format!("condition {text:?}: {why}"));
    let (left, test, right) = match (text.split_once("=="), text.split_once("<=")) {
        (Some((left, right)), None) => (left, Test::Equal, right),
        (None, Some((left, right))) => (left, Test::AtMost, right),
        _ => return Err(refuse("has not exactly one of == and <=")),
    };
    let (register, mask) = match left.split_once('&') {
        Some((register, mask)) => (register.trim(), Some(mask)),
        None => (left.trim(), None),
    };
    let (arg, width) =
        parse_register(register).ok_or_else(|| refuse("does not start with argN.u32 or argN.u64"))?;
    let all = if width == Width::U32 { u64::from(u32::MAX) } else { u64::MAX };
    let mask = match mask.map(|mask| (mask, mask.trim().strip_prefix('~'))) {
        None => Ok(all),
        Some((_, Some(inverted))) => parse_value(inverted, constants).map(|bits| all & !bits),
        Some((plain, None)) => parse_value(plain, constants),
    };
    let mask = mask.map_err(|why| refuse(&why))?;
    let value = parse_value(right, constants).map_err(|why| refuse(&why))?;
    if mask > all || value & !mask != 0 {
        return Err(refuse(
            "compares with bits that are masked out or beyond the width, so it can never hold as meant",
        ));
    }
    if test == Test::AtMost && width == Width::U64 {
        return Err(refuse("<= compares 32 bits only"));
    }
    Ok(Condition { arg, width, mask, test, value })
}

fn parse_register(text: &str) -> Option<(u8, Width)> {
    let (arg, width) = text.strip_prefix("arg")?.split_once('.')?;
    let width = match width {
        "u32" => Width::U32,
        "u64" => Width::U64,
        _ => return None,
    };
    let arg = arg.parse().ok().filter(|arg| *arg <= 5)?;
    Some((arg, width))
}

/// Values joined by `|`; each a constant's name, or a decimal, `0x` or `0o` number.
fn parse_value(text: &str, constants: &BTreeMap<String, u64>) -> Result<u64, String> {
    text.split('|').try_fold(0, |sum, part| {
        let part = part.trim();
        let number = match part.get(..2) {
            Some("0x") => u64::from_str_radix(&part[2..], 16).ok(),
            Some("0o") => u64::from_str_radix(&part[2..], 8).ok(),
            _ => part.parse().ok(),
        };
        let value = number.or_else(|| constants.get(part).copied());
        value
            .map(|value| sum | value)
            .ok_or_else(|| format!("{part:?} is neither a number nor in constants.toml"))
    })
}
