//! One executable with every fuzz target; `GAOLER_FUZZ` names the one to run, the arguments are the engine's own.
//!
//! The front's pure modules are compiled in from their own files, without its network half: they are private to the
//! front, and the engine's instrumentation then covers nothing but them. Promises: a target asserts what its module
//! promises, not only that nothing panics, and touches nothing outside this process.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

mod mcp;
mod script;
mod targets;

#[path = "../../../front/src/error.rs"]
#[expect(dead_code, reason = "the targets use a part of it")]
mod error;
#[path = "../../../front/src/frame.rs"]
#[expect(dead_code, reason = "the targets use a part of it")]
mod frame;
#[path = "../../../front/src/limits.rs"]
#[expect(dead_code, reason = "the targets use a part of it")]
mod limits;
#[path = "../../../front/src/lines.rs"]
mod lines;
#[path = "../../../front/src/log.rs"]
#[expect(dead_code, reason = "the targets use a part of it")]
mod log;
#[path = "../../../front/src/outlet.rs"]
#[expect(dead_code, reason = "the targets use a part of it")]
mod outlet;
#[path = "../../../front/src/splice.rs"]
#[expect(dead_code, reason = "the targets use a part of it")]
mod splice;
#[path = "../../../front/src/sse.rs"]
#[expect(dead_code, reason = "the targets use a part of it")]
mod sse;

static TARGET: LazyLock<targets::Target> = LazyLock::new(|| {
    let name = std::env::var("GAOLER_FUZZ").unwrap_or_default();
    let found = targets::ALL.iter().find(|(known, _)| *known == name);
    let names = || targets::ALL.map(|(known, _)| known).join(", ");
    found.unwrap_or_else(|| panic!("GAOLER_FUZZ is {name:?}; give one of {}", names())).1
});

fuzz_target!(|data: &[u8]| {
    (*TARGET)(data);
});
