//! The jail holds: a table of forbidden things, each shown to be possible outside and stopped inside, and what the
//! host sees of a jail while it runs and after it ended.
//!
//! `tests/probe` tries the things; `jail/table*.rs` say how each is proven outside and which layer stops it inside.

#[path = "jail/drive.rs"]
mod drive;
#[path = "jail/life.rs"]
mod life;
#[path = "jail/neighbour.rs"]
mod neighbour;
#[path = "jail/network.rs"]
mod network;
#[path = "jail/outside.rs"]
mod outside;
#[path = "jail/programs.rs"]
mod programs;
#[path = "jail/row.rs"]
mod row;
#[path = "jail/scene.rs"]
mod scene;
#[path = "jail/table.rs"]
mod table;
#[path = "jail/table_more.rs"]
mod table_more;

use std::collections::BTreeSet;
use std::process::Command;

use gaoler_tests::leftovers::Snapshot;
use gaoler_tests::{bin, exclusive};
use row::Row;
use scene::Scene;

const GROUPS: [&[Row]; 14] = [
    table::FILES,
    table::PROC,
    table::MOUNTS,
    table::NAMESPACES,
    table::IDENTITY,
    table::DEVICES,
    table::ESCAPES,
    table::KNOWN_LIMITS,
    table_more::PROCESSES,
    table_more::KERNEL,
    table_more::TERMINAL,
    table_more::NETWORK,
    table_more::SOCKETS,
    table_more::EXHAUSTION,
];

#[test]
fn every_verb_of_the_probe_has_a_row_and_every_row_a_verb() {
    let listed = Command::new(bin("probe")).arg("--list").output().unwrap();
    let verbs: BTreeSet<String> =
        String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect();
    let rows: BTreeSet<String> = GROUPS.iter().copied().flatten().map(|row| row.verb.to_owned()).collect();
    assert_eq!(verbs, rows);
    assert!(verbs.len() >= 70, "only {} verbs", verbs.len());
}

#[test]
fn every_forbidden_thing_is_possible_outside_and_stopped_inside() {
    let _alone = exclusive();
    let before = Snapshot::take();
    let scene = Scene::new();
    let only = std::env::var("GAOLER_PROBE").ok();
    let rows: Vec<&Row> = GROUPS.iter().copied().flatten().collect();
    let chosen = rows.iter().filter(|row| only.as_ref().is_none_or(|verb| verb == row.verb));
    let wrong: Vec<String> = chosen.flat_map(|row| drive::check(&scene, row)).collect();
    drop(scene);
    assert!(wrong.is_empty(), "{} answers of {} rows:\n  {}", wrong.len(), rows.len(), wrong.join("\n  "));
    before.assert_none();
    println!("{} rows held", rows.len());
}
