//! The house's own rules, checked without root: which crate may use which, what the root half depends on, where `unsafe`
//! stands, and how large files are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The longest a file may be, without its unit tests.
const FILE_LINES: usize = 400;

/// Every crate that may be linked into the root half, with its reason. A new one is a decision, not an accident.
const ROOT_HALF: [(&str, &str); 28] = [
    ("bitflags", "rustix"),
    ("cobs", "postcard"),
    ("embedded-io", "postcard"),
    ("enumflags2", "landlock"),
    ("enumflags2_derive", "landlock, at build time"),
    ("errno", "rustix"),
    ("gaoler-jail", "ours"),
    ("gaoler-supervisor", "ours"),
    ("gaoler-wire", "ours"),
    ("itoa", "serde_json"),
    ("landlock", "the jail's second opinion on files"),
    ("lexopt", "the command line"),
    ("libc", "raw system calls in jail/src/sys.rs"),
    ("linux-raw-sys", "rustix"),
    ("memchr", "serde_json"),
    ("postcard", "plans and messages"),
    ("proc-macro2", "derives, at build time"),
    ("quote", "derives, at build time"),
    ("rustix", "system calls with owned descriptors"),
    ("serde", "plans, messages, doctor --json"),
    ("serde_core", "serde"),
    ("serde_derive", "serde, at build time"),
    ("serde_json", "doctor --json"),
    ("syn", "derives, at build time"),
    ("thiserror", "errors"),
    ("thiserror-impl", "thiserror, at build time"),
    ("unicode-ident", "derives, at build time"),
    ("zmij", "serde_json"),
];

#[test]
fn crates_use_only_whom_they_may() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("gaoler-wire", [].as_slice()),
        ("gaoler-jail", ["gaoler-wire"].as_slice()),
        ("gaoler-front", ["gaoler-wire"].as_slice()),
        ("gaoler-supervisor", ["gaoler-jail", "gaoler-wire"].as_slice()),
        ("gaoler-tests", ["gaoler-wire"].as_slice()),
    ]);
    for (name, dependencies) in direct_dependencies() {
        let Some(allowed) = allowed.get(name.as_str()) else { continue };
        for ours in dependencies.iter().filter(|d| d.starts_with("gaoler-")) {
            assert!(allowed.contains(&ours.as_str()), "{name} may not use {ours}");
        }
    }
}

#[test]
fn jail_uses_the_channel_of_wire_and_nothing_else() {
    for file in sources("jail/src") {
        for line in read(&file).lines().filter(|line| line.contains("gaoler_wire::")) {
            let fine = line.contains("gaoler_wire::channel") || line.trim_start().starts_with("//");
            assert!(fine, "{}: {line}", file.display());
        }
    }
}

#[test]
fn the_root_half_links_only_reviewed_crates() {
    let reviewed: BTreeSet<&str> = ROOT_HALF.iter().map(|(name, _)| *name).collect();
    let linked = linked_crates("gaoler-supervisor");
    let unknown: Vec<_> = linked.iter().filter(|name| !reviewed.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "not reviewed for the root half: {unknown:?}");
    for never in ["tokio", "hyper", "rmcp", "regex", "zbus"] {
        assert!(!linked.contains(never), "{never} is in the root half");
    }
}

#[test]
fn unsafe_stands_in_one_file() {
    for root in ["wire/src", "jail/src", "supervisor/src", "front/src"] {
        for file in sources(root) {
            if file.ends_with("jail/src/sys.rs") {
                continue;
            }
            let text = read(&file);
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let bad: Vec<_> =
                code.filter(|line| line.contains("unsafe {") || line.contains("unsafe fn")).collect();
            assert!(bad.is_empty(), "{}: {bad:?}", file.display());
        }
    }
}

#[test]
fn files_are_short_and_say_what_they_are() {
    for root in ["wire/src", "jail/src", "supervisor/src", "front/src"] {
        for file in sources(root) {
            let text = read(&file);
            assert!(text.starts_with("//!"), "{} does not open with what it is", file.display());
            let production =
                text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default().lines().count();
            assert!(production <= FILE_LINES, "{} has {production} lines", file.display());
        }
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn sources(root: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![repository().join(root)];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).current_dir(repository()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn direct_dependencies() -> Vec<(String, Vec<String>)> {
    let text = cargo(&["metadata", "--format-version=1", "--no-deps", "--locked", "--offline"]);
    let metadata: Value = serde_json::from_str(&text).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    let dependencies =
        |package: &Value| package["dependencies"].as_array().unwrap().iter().map(name).collect();
    packages.iter().map(|package| (name(package), dependencies(package))).collect()
}

/// What is linked or runs at build time, without development and build-script dependencies.
fn linked_crates(package: &str) -> BTreeSet<String> {
    let text = cargo(&[
        "tree",
        "-p",
        package,
        "-e",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
        "--locked",
        "--offline",
    ]);
    text.lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}
