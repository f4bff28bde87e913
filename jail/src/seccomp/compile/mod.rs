//! The profile compiler: text in `jail/profiles/` becomes one cBPF program for each profile.
//!
//! # Layout
//! - [`tables`]: names of system calls and constants, and their numbers
//! - [`condition`]: the one-line conditions on arguments
//! - [`profile`]: a profile's text becomes rules, or a refusal that names the rule
//! - [`program`]: rules become instructions, which [`assembler`] puts in order
//!
//! Runs in `build.rs` and in tests only: nothing of it is in the product, so nothing of it can fail there.

pub(crate) mod assembler;
pub(crate) mod condition;
pub(crate) mod profile;
pub(crate) mod program;
pub(crate) mod tables;

/// Every profile file, parents before those that extend them.
pub(crate) const PROFILES: [&str; 5] = ["default", "strict", "check", "front", "init"];

/// Why a profile is refused: one sentence that names the place.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) String);

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}
