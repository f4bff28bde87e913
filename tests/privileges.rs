//! Every process of a running Gaoler holds exactly what docs/privileges.md says.
//!
//! That page has a section (`## NAME`) for each of [`PROCESSES`] with one table of two columns, property and value.
//! The properties are:
//! - a field of `/proc/PID/status` (`Uid`, `Groups`, `CapEff`, `NoNewPrivs`, `Seccomp_filters`, …): the value is the
//!   field's text with single spaces. `J` stands for the jail's own host id, `none` for an empty list or set, `caller's`
//!   for what the one who started `gaoler` has;
//! - `own namespaces` and `host namespaces`: kinds as in `/proc/PID/ns`;
//! - `cgroup`: the path in the memory, pids and cpu hierarchies (or the one hierarchy), `*` standing for anything,
//!   or `caller's`;
//! - `dumpable`: `yes` or `no`, whether others with the same id could read its memory;
//! - `descriptors`: a list of `NUMBER KIND`, each of which must be open, and `* KIND`, of which any number may be;
//!   `* caller's` are those that whoever started `gaoler` had under the same number.
//!
//! All threads of a process are compared. A property that [`REQUIRED`] names must be in every table.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;

use gaoler_tests::leftovers::UID_FIRST;
use gaoler_tests::mcp::{PROMPT, Session};
use gaoler_tests::proc::{self, Process};
use gaoler_tests::{Launch, Run, paths, wait};
use serde_json::json;

/// The sections of the page.
const PROCESSES: [&str; 6] = [
    "supervisor",
    "front",
    "process 1 of the front",
    "process 1 of a hosted server",
    "hosted server",
    "server to be",
];

/// What every section must say.
const REQUIRED: [&str; 15] = [
    "Uid",
    "Gid",
    "Groups",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
    "own namespaces",
    "host namespaces",
    "cgroup",
    "descriptors",
];

/// Ids set aside for each jail, and the one of them that its processes have (design section 4).
const IDS_PER_JAIL: u32 = 65_536;
const INNER_ID: u32 = 1000;

type Table = BTreeMap<String, String>;

fn page() -> BTreeMap<String, Table> {
    let text = fs::read_to_string(paths::workspace().join("docs/privileges.md")).expect("docs/privileges.md");
    let mut sections: BTreeMap<String, Table> = BTreeMap::new();
    let mut section = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            section = Some(name.trim().to_owned());
        }
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        if let (Some(name), [property, value], true) = (&section, cells.as_slice(), line.starts_with('|')) {
            let plain = |text: &str| text.trim_matches('`').to_owned();
            sections.entry(name.clone()).or_default().insert(plain(property), plain(value));
        }
    }
    sections
}

#[test]
fn the_page_says_everything_that_is_compared() {
    let page = page();
    for name in PROCESSES {
        let table = page.get(name).unwrap_or_else(|| panic!("docs/privileges.md has no table for {name:?}"));
        for property in REQUIRED {
            assert!(table.contains_key(property), "the table of {name:?} does not say {property:?}");
        }
    }
}

#[test]
fn every_process_holds_what_the_page_says_and_no_more() {
    let run = Launch::server("hostile").isolated().start().settled();
    let (mut first, mut second) = (Session::open(&run), Session::open(&run));
    assert_eq!(first.call("echo", json!({"text": "x"})).tool_text(), "x");
    assert_eq!(second.call("echo", json!({"text": "x"})).tool_text(), "x");
    wait::until(PROMPT, "a jail that waits", || run.spares().len() == 1);
    let page = page();
    let mut differences = Vec::new();
    for (name, pid) in processes(&run) {
        let table = page.get(name).unwrap_or_else(|| panic!("docs/privileges.md has no table for {name:?}"));
        for (property, wanted) in
            table.iter().filter(|(property, _)| *property != "property" && !property.starts_with('-'))
        {
            let seen = look(pid, property, wanted);
            if let Err(seen) = seen {
                differences
                    .push(format!("{name} (process {pid}): {property} is {seen}, the page says {wanted}"));
            }
        }
    }
    assert!(differences.is_empty(), "\n  {}", differences.join("\n  "));
    run.stop();
}

#[test]
fn no_two_jails_share_an_id() {
    let run = Launch::server("hostile").isolated().start().settled();
    let _sessions: Vec<Session> = (0..4).map(|_| Session::open(&run)).collect();
    let mut uids: Vec<u32> = run.instances().iter().map(|jail| jail.init.uid).collect();
    uids.extend(run.try_front().map(|front| front.uid));
    let different: BTreeSet<u32> = uids.iter().copied().collect();
    assert_eq!((uids.len(), different.len()), (5, 5), "{uids:?}");
    run.stop();
}

/// Every process of the run with its section; each must belong to one.
fn processes(run: &Run) -> Vec<(&'static str, i32)> {
    let front = Process::read(run.front_pid()).expect("the front");
    let mut all =
        vec![("supervisor", run.pid()), ("front", front.pid), ("process 1 of the front", front.parent)];
    for jail in run.instances() {
        all.push(("process 1 of a hosted server", jail.init.pid));
        all.push(("hosted server", jail.server.pid));
    }
    for spare in run.spares() {
        all.push(("process 1 of a hosted server", spare.init.pid));
        all.push(("server to be", spare.server.pid));
    }
    let known: BTreeSet<i32> = all.iter().map(|(_, pid)| *pid).collect();
    let unknown: Vec<Process> =
        proc::descendants(run.pid()).into_iter().filter(|p| !known.contains(&p.pid)).collect();
    assert!(unknown.is_empty(), "processes that the page does not know: {unknown:?}");
    all
}

/// Compares one property; the error is what was seen.
fn look(pid: i32, property: &str, wanted: &str) -> Result<(), String> {
    match property {
        "own namespaces" => same_set(&namespaces(pid, false), wanted),
        "host namespaces" => same_set(&namespaces(pid, true), wanted),
        "cgroup" => cgroup(pid, wanted),
        "dumpable" => same(dumpable(pid), wanted),
        "descriptors" => descriptors(pid, wanted),
        field => threads(pid).into_iter().try_for_each(|thread| status_field(pid, &thread, field, wanted)),
    }
}

fn same(seen: &str, wanted: &str) -> Result<(), String> {
    if seen == wanted { Ok(()) } else { Err(seen.to_owned()) }
}

fn same_set(seen: &BTreeSet<String>, wanted: &str) -> Result<(), String> {
    let list: BTreeSet<String> =
        wanted.split([',', ' ']).filter(|w| !w.is_empty() && *w != "none").map(str::to_owned).collect();
    if *seen == list { Ok(()) } else { Err(seen.iter().cloned().collect::<Vec<_>>().join(", ")) }
}

fn namespaces(pid: i32, shared_with_host: bool) -> BTreeSet<String> {
    let host = proc::namespaces(std::process::id().cast_signed());
    let kinds = proc::namespaces(pid).into_iter().filter(|(kind, _)| !kind.ends_with("_for_children"));
    kinds
        .filter(|(kind, inode)| (host.get(kind) == Some(inode)) == shared_with_host)
        .map(|(kind, _)| kind)
        .collect()
}

fn threads(pid: i32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there");
    tasks.flatten().map(|task| task.file_name().to_string_lossy().into_owned()).collect()
}

fn status_field(pid: i32, thread: &str, field: &str, wanted: &str) -> Result<(), String> {
    let value = |path: String| {
        let text = fs::read_to_string(path).expect("a status");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{field}:")))
            .unwrap_or("absent")
            .to_owned();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let seen = value(format!("/proc/{pid}/task/{thread}/status"));
    let wanted = match wanted {
        "none" if field.starts_with("Cap") => format!("{:016x}", 0),
        "none" => String::new(),
        "caller's" => value("/proc/self/status".into()),
        text if text.contains('J') => text.replace('J', &jail_id(pid)?.to_string()),
        text => text.to_owned(),
    };
    same(&seen, &wanted)
}

/// The host id of the jail that a process is in; an error when it is not of that kind.
fn jail_id(pid: i32) -> Result<u32, String> {
    let uid = Process::read(pid).map_or(0, |process| process.uid);
    let inner = uid.checked_sub(UID_FIRST).map(|offset| offset % IDS_PER_JAIL);
    if inner == Some(INNER_ID) { Ok(uid) } else { Err(format!("{uid}, which is no jail's id")) }
}

fn cgroup(pid: i32, wanted: &str) -> Result<(), String> {
    let limiting = |pid: i32| -> BTreeMap<String, String> {
        let all = proc::cgroups(pid);
        let v1: BTreeMap<String, String> = all
            .iter()
            .filter(|(names, _)| {
                names.split(',').any(|name| ["memory", "pids", "cpu", "cpuacct"].contains(&name))
            })
            .map(|(names, path)| (names.clone(), path.clone()))
            .collect();
        if v1.is_empty() { all } else { v1 }
    };
    let seen = limiting(pid);
    let right = match wanted {
        "caller's" => seen == limiting(std::process::id().cast_signed()),
        pattern => seen.values().all(|path| matches(pattern, path)),
    };
    if right { Ok(()) } else { Err(format!("{seen:?}")) }
}

/// Whether a text is what a pattern says, `*` standing for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text
            .strip_prefix(start)
            .is_some_and(|tail| (0..=tail.len()).any(|n| tail.get(n..).is_some_and(|t| matches(rest, t)))),
    }
}

fn dumpable(pid: i32) -> &'static str {
    // The files of a process that is not dumpable belong to root (proc_pid(5)).
    let owner = fs::metadata(format!("/proc/{pid}/stat")).map_or(0, |meta| meta.uid());
    let uid = Process::read(pid).map_or(0, |process| process.uid);
    if owner == uid { "yes" } else { "no" }
}

fn descriptors(pid: i32, wanted: &str) -> Result<(), String> {
    let open: BTreeMap<String, String> =
        proc::descriptors(pid).into_iter().map(|(number, target)| (number, kind_of(&target))).collect();
    let mut unexplained = open.clone();
    let own: BTreeMap<String, String> = proc::descriptors(std::process::id().cast_signed());
    let inherited =
        |number: &String, seen: &String| own.get(number).map(|target| kind_of(target)).as_ref() == Some(seen);
    for entry in wanted.split(',').map(str::trim) {
        let (number, kind) = entry.split_once(' ').unwrap_or((entry, ""));
        if (number, kind) == ("*", "caller's") {
            unexplained.retain(|number, seen| !inherited(number, seen));
        } else if number == "*" {
            unexplained.retain(|_, seen| seen != kind);
        } else if open.get(number).map(String::as_str) == Some(kind) {
            unexplained.remove(number);
        } else {
            return Err(format!("without {entry:?}: {open:?}"));
        }
    }
    if unexplained.is_empty() { Ok(()) } else { Err(format!("more, namely {unexplained:?}")) }
}

/// `socket:[1]` is a socket, `anon_inode:[eventfd]` an eventfd, the helper and leases are named for what they are, and
/// another path is itself.
fn kind_of(target: &str) -> String {
    match target.rsplit_once('/') {
        Some((_, "gaoler-jail-exec")) => return "helper".into(),
        Some(("/run/gaoler/leases", _)) => return "lease".into(),
        _ => {}
    }
    if let Some(kind) = target.strip_prefix("anon_inode:") {
        return kind.trim_matches(['[', ']']).to_owned();
    }
    match target.split_once(":[") {
        Some((kind, _)) => kind.to_owned(),
        None => target.to_owned(),
    }
}
