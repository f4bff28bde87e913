//! The kernel's text files as the doctor reads them, and the report on what they say.
//!
//! Asserts: a range of ids counts as there only when a line holds all of it; a report has its findings once each, as text
//! and as JSON alike, and says that hosting is possible only when nothing is missing.

use std::collections::BTreeSet;

use serde_json::Value;

use facts::{Cgroups, FILESYSTEMS, Facts, Landlock, NAMESPACES, Tried};
use judge::judge;
use report::State;

// The pure part of the supervisor's own doctor, from its files: it is private there.
#[path = "../../../../supervisor/src/doctor/facts.rs"]
mod facts;
#[path = "../../../../supervisor/src/doctor/judge.rs"]
mod judge;
#[path = "../../../../supervisor/src/doctor/parse.rs"]
mod parse;
#[path = "../../../../supervisor/src/doctor/report.rs"]
mod report;

/// Numbers as bytes in the first line; then mounts, id map, file systems, modules and a line of words, each ended by an
/// empty line.
pub(super) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split("\n\n");
    let mut part = || parts.next().unwrap_or_default();
    let (numbers, mounts, map, known, modules, words) = (part(), part(), part(), part(), part(), part());
    let numbers = numbers.as_bytes();
    let number = |index: usize| numbers.get(index).copied().unwrap_or_default();
    let (first, count) = (u64::from(number(0)) << 24, u64::from(number(1)) << 8);
    maps(map, first, count);
    let hierarchies = parse::hierarchies(mounts);
    for hierarchy in &hierarchies {
        assert!(mounts.contains(&hierarchy.path));
        assert!(!hierarchy.v2 || hierarchy.controllers.is_empty());
    }
    let words: BTreeSet<String> = words.split_ascii_whitespace().map(str::to_owned).collect();
    let line = words.first().cloned().unwrap_or_default();
    let tried = |index| if number(2) >> index & 1 == 1 { Tried::Works } else { Tried::Refused(line.clone()) };
    let facts = Facts {
        euid: u32::from(number(3) & 1),
        namespaces: NAMESPACES.into_iter().enumerate().map(|(index, kind)| (kind, tried(index))).collect(),
        max_user_namespaces: line.parse().ok(),
        unprivileged_userns_clone: words.last().and_then(|word| word.parse().ok()),
        apparmor_restrict_userns: Some(u64::from(number(3) >> 1 & 1)),
        jail_ids_mapped: parse::maps(map, first, count),
        cgroups: Cgroups {
            mode: parse::mode(&hierarchies),
            controllers: hierarchies.iter().flat_map(|h| h.controllers.iter().cloned()).collect(),
            writable: hierarchies.iter().all(|h| h.writable),
            counts_swap: number(3) >> 2 & 1 == 1,
        },
        landlock: [Landlock::NotThere, Landlock::NotEnabled, Landlock::Abi(u32::from(number(4)))]
            [usize::from(number(5)) % 3],
        lsm: line.clone(),
        seccomp_actions: words.clone(),
        nftables: tried(0),
        capabilities: ["MKNOD", "NET_ADMIN", "SETGID", "SETUID", "SYS_ADMIN"]
            .into_iter()
            .take(number(6).into())
            .collect(),
        filesystems: FILESYSTEMS.map(|name| (name, parse::filesystem(name, known, modules))).to_vec(),
        pid_max: words.last().and_then(|word| word.parse().ok()),
        memfd_noexec: number(3) >> 3 & 1 == 1,
        pressure: number(3) >> 4 & 1 == 1,
        swap: number(3) >> 5 & 1 == 1,
        kernel: line,
    };
    judged(&facts);
}

/// Against arithmetic that cannot overflow.
fn maps(map: &str, first: u64, count: u64) {
    let (start, end) = (u128::from(first), u128::from(first) + u128::from(count));
    let whole = map.lines().any(|line| {
        let numbers: Vec<u128> =
            line.split_ascii_whitespace().filter_map(|n| n.parse::<u64>().ok()).map(u128::from).collect();
        matches!(numbers[..], [inside, _, length] if inside <= start && end <= inside + length)
    });
    assert_eq!(parse::maps(map, first, count), whole);
}

fn judged(facts: &Facts) {
    let report = judge(facts);
    let names: BTreeSet<&str> = report.findings.iter().map(|finding| finding.name).collect();
    assert_eq!(names.len(), report.findings.len());
    let missing = report.findings.iter().filter(|finding| finding.state == State::Missing).count();
    assert_eq!(report.hosting_possible(), missing == 0);
    assert!(report.findings.iter().all(|finding| (finding.state == State::Ok) == finding.fix.is_none()));
    let text = report.to_text();
    assert_eq!(text.lines().count(), report.findings.len() + 1);
    let json: Value = report.to_json().and_then(|json| serde_json::from_str(&json)).unwrap_or_default();
    assert_eq!(json["findings"].as_array().map(Vec::len), Some(report.findings.len()));
    assert_eq!(json["hosting"] == "possible", missing == 0);
}
