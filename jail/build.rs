//! Compiles the seccomp profiles in `profiles/` into constant programs.
//!
//! A profile that is refused fails the build with a sentence that names the rule.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

#[path = "src/seccomp/compile/mod.rs"]
mod compile;

use compile::tables::Tables;
use compile::{PROFILES, Refusal, profile, program};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=profiles");
    println!("cargo::rerun-if-changed=src/seccomp/compile");
    let read = |file: &str| fs::read_to_string(Path::new("profiles").join(file));
    let tables = Tables::parse(&read("x86_64.tbl")?, &read("constants.toml")?)?;
    let mut parsed = BTreeMap::new();
    let mut out = String::new();
    for name in PROFILES {
        let in_file = |why: Refusal| Refusal(format!("jail/profiles/{name}.toml: {why}"));
        let profile = profile::parse(&read(&format!("{name}.toml"))?, &tables, &parsed).map_err(in_file)?;
        let program = program::compile(&profile).map_err(in_file)?;
        writeln!(out, "static {}: [SockFilter; {}] = [", name.to_uppercase(), program.len())?;
        for insn in program {
            writeln!(out, "    insn({:#x}, {}, {}, {:#x}),", insn.code, insn.jt, insn.jf, insn.k)?;
        }
        writeln!(out, "];")?;
        parsed.insert(name, profile);
    }
    fs::write(Path::new(&env::var("OUT_DIR")?).join("seccomp_programs.rs"), out)?;
    Ok(())
}
