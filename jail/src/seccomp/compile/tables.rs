//! Names of system calls and constants, and their numbers, read from `jail/profiles/`.
//!
//! Promises: no name and no number stands twice; tests compare the numbers with libc's.

use std::collections::BTreeMap;

use super::Refusal;

/// What a profile may name.
#[derive(Debug)]
pub(crate) struct Tables {
    /// system calls
    pub(crate) calls: BTreeMap<String, u32>,
    /// arguments' values and errors
    pub(crate) constants: BTreeMap<String, u64>,
}

impl Tables {
    /// Reads `x86_64.tbl` and `constants.toml`.
    pub(crate) fn parse(calls: &str, constants: &str) -> Result<Self, Refusal> {
        let constants = toml::from_str(constants).map_err(|e| Refusal(format!("constants.toml: {e}")))?;
        Ok(Self { calls: parse_calls(calls)?, constants })
    }
}

fn parse_calls(text: &str) -> Result<BTreeMap<String, u32>, Refusal> {
    let mut calls = BTreeMap::new();
    let mut last = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let bad = || Refusal(format!("x86_64.tbl: {line:?} is not NUMBER NAME, ascending and each once"));
        let (number, name) = line.split_once(' ').ok_or_else(bad)?;
        let number: u32 = number.parse().map_err(|_| bad())?;
        if last.is_some_and(|last| last >= number) || calls.insert(name.to_owned(), number).is_some() {
            return Err(bad());
        }
        last = Some(number);
    }
    Ok(calls)
}
