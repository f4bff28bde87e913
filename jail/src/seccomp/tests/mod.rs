//! What the compiled profiles decide: against an oracle, against a table written by hand, and rule by rule.

mod decisions;
mod hostile;
mod oracle;
mod rules;
mod values;

use std::collections::BTreeMap;

use super::Profile as Name;
use super::compile::PROFILES;
use super::compile::profile::{self, Profile};
use super::compile::program::Insn;
use super::compile::tables::Tables;

const CALLS: &str = include_str!("../../../profiles/x86_64.tbl");
const CONSTANTS: &str = include_str!("../../../profiles/constants.toml");
/// In the order of [`PROFILES`].
const TEXTS: [&str; 5] = [
    include_str!("../../../profiles/default.toml"),
    include_str!("../../../profiles/strict.toml"),
    include_str!("../../../profiles/check.toml"),
    include_str!("../../../profiles/front.toml"),
    include_str!("../../../profiles/init.toml"),
];

fn tables() -> Tables {
    Tables::parse(CALLS, CONSTANTS).unwrap()
}

fn profiles(tables: &Tables) -> BTreeMap<&'static str, Profile> {
    let mut parsed = BTreeMap::new();
    for (name, text) in PROFILES.into_iter().zip(TEXTS) {
        let profile = profile::parse(text, tables, &parsed).unwrap();
        parsed.insert(name, profile);
    }
    parsed
}

/// The program that is in the product, not one compiled for the test.
fn shipped(name: Name) -> Vec<Insn> {
    name.program().iter().map(|i| Insn { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect()
}
