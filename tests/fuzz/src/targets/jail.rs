//! Plans, orders, reports and facts between a jail's two halves.
//!
//! Asserts: what decodes survives the way back; a plan that passes its check shows nothing of the host that no jail may
//! see, by another reading of its paths; facts without a difference are those of a closed jail.

use std::path::{Component, Path, PathBuf};

use gaoler_jail::check::{self, Facts};
use gaoler_jail::plan::{HOST_IDS, Network, Plan, RootStep};
use gaoler_jail::seccomp::Profile;
use gaoler_jail::step::{Order, Report};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The first byte chooses the message.
pub(super) fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 4 {
        0 => {
            if let Some((plan, rest)) = decode::<Plan>(bytes) {
                passed(&plan);
                if let Some((facts, _)) = decode::<Facts>(rest) {
                    compared(&plan, &facts);
                }
            }
        }
        1 => drop(decode::<Order>(bytes)),
        2 => {
            if let Some((Report::Failed(failure), _)) = decode::<Report>(bytes) {
                assert!(failure.to_string().starts_with("failed at step "));
            }
        }
        _ => drop(decode::<Facts>(bytes)),
    }
}

fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<(T, &[u8])> {
    let (message, rest) = postcard::take_from_bytes::<T>(bytes).ok()?;
    // A plan has no equality of its own: its encoding stands for it.
    let Ok(encoded) = postcard::to_allocvec(&message) else { panic!("what was decoded cannot be encoded") };
    let Ok((again, [])) = postcard::take_from_bytes::<T>(&encoded) else {
        panic!("an own encoding does not decode")
    };
    assert_eq!(postcard::to_allocvec(&again).ok(), Some(encoded));
    Some((message, rest))
}

fn passed(plan: &Plan) {
    if plan.check().is_err() {
        return;
    }
    assert!((HOST_IDS..2 * HOST_IDS).contains(&plan.host_id));
    assert!(plan.network != Network::Host || plan.seccomp == Profile::Front);
    assert!(plan.tasks.iter().all(|path| plain(path).starts_with("/sys/fs/cgroup")));
    let strings = plan.process.argv.iter().chain(&plan.process.env);
    assert!(!plan.process.argv[0].is_empty() && strings.flatten().all(|byte| *byte != 0));
    for step in &plan.root {
        match step {
            RootStep::Bind { host, path, .. } => {
                let (host, _) = (plain(host), plain(path));
                for never in ["/proc", "/sys", "/dev", "/run", "/boot", "/etc/shadow"] {
                    assert!(
                        !host.starts_with(never) && !Path::new(never).starts_with(&host),
                        "{host:?} is shown"
                    );
                }
            }
            RootStep::Data { host, path } => drop((plain(host), plain(path))),
            RootStep::Dir { path, .. }
            | RootStep::Symlink { path, .. }
            | RootStep::File { path, .. }
            | RootStep::Tmpfs { path, .. } => drop(plain(path)),
            RootStep::Dev { .. } | RootStep::Proc => {}
        }
    }
}

/// The path as the kernel walks it: absolute, without steps up.
fn plain(path: &str) -> PathBuf {
    let path = Path::new(path);
    assert!(
        path.is_absolute() && path.components().all(|part| !matches!(part, Component::ParentDir)),
        "{path:?}"
    );
    path.components().collect()
}

fn compared(plan: &Plan, facts: &Facts) {
    if check::differences(plan, facts).is_empty() {
        assert!(facts.no_new_privs && facts.seccomp_mode == 2 && facts.capabilities == [0; 5]);
        assert!(facts.uid_map == facts.gid_map && facts.uid_map[2] == 1 && facts.groups == 0);
        assert_eq!(check::count(facts) as usize, 10 + check::ATTEMPTS.len());
    }
}
