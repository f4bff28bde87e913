//! The judgement of whole hosts, each as facts.

use std::collections::BTreeSet;

use super::facts::{CgroupMode, Cgroups, FILESYSTEMS, Facts, Landlock, NAMESPACES, Presence, Tried};
use super::judge;
use super::report::{Report, State};

const CAPABILITIES: [&str; 5] = ["MKNOD", "NET_ADMIN", "SETGID", "SETUID", "SYS_ADMIN"];

fn set<T: Ord + Clone>(items: &[T]) -> BTreeSet<T> {
    items.iter().cloned().collect()
}

fn strings(items: &str) -> BTreeSet<String> {
    items.split(' ').map(str::to_owned).collect()
}

/// Debian 13: Linux 6.12, version 2, everything there.
fn debian_13() -> Facts {
    Facts {
        euid: 0,
        kernel: "6.12.48+deb13-amd64".into(),
        namespaces: NAMESPACES.map(|kind| (kind, Tried::Works)).to_vec(),
        max_user_namespaces: Some(31_000),
        unprivileged_userns_clone: Some(1),
        apparmor_restrict_userns: None,
        jail_ids_mapped: true,
        cgroups: Cgroups {
            mode: CgroupMode::V2,
            controllers: strings("cpuset cpu io memory hugetlb pids rdma misc"),
            writable: true,
            counts_swap: true,
        },
        landlock: Landlock::Abi(6),
        lsm: "lockdown,capability,landlock,yama,apparmor,tomoyo,bpf,ipe,ima,evm".into(),
        seccomp_actions: strings("kill_process kill_thread trap errno user_notif trace log allow"),
        nftables: Tried::Works,
        capabilities: set(&CAPABILITIES),
        filesystems: FILESYSTEMS.map(|name| (name, Presence::Loadable)).to_vec(),
        pid_max: Some(4_194_304),
        memfd_noexec: true,
        pressure: true,
        swap: true,
    }
}

/// Debian 12: Linux 6.1.
fn debian_12() -> Facts {
    Facts { kernel: "6.1.0-40-amd64".into(), landlock: Landlock::Abi(2), memfd_noexec: false, ..debian_13() }
}

/// Ubuntu 24.04: Linux 6.8, AppArmor's restriction on.
fn ubuntu_24() -> Facts {
    Facts {
        kernel: "6.8.0-85-generic".into(),
        landlock: Landlock::Abi(4),
        apparmor_restrict_userns: Some(1),
        ..debian_13()
    }
}

/// The machine of the project's own tests: hybrid, no modules, no swap.
fn hybrid_vm() -> Facts {
    Facts {
        kernel: "6.18.44-fc-v657".into(),
        unprivileged_userns_clone: None,
        max_user_namespaces: Some(96_365),
        cgroups: Cgroups {
            mode: CgroupMode::Hybrid,
            controllers: strings("cpu cpuacct cpuset memory freezer io pids"),
            writable: true,
            counts_swap: true,
        },
        landlock: Landlock::Abi(7),
        lsm: String::new(),
        filesystems: FILESYSTEMS.map(|name| (name, Presence::Loaded)).to_vec(),
        pid_max: Some(32_768),
        swap: false,
        ..debian_13()
    }
}

/// A container with the usual lock-down: few capabilities, a seccomp filter, ids of its own, cgroups read-only.
fn container() -> Facts {
    let refused = Tried::Refused("Operation not permitted (os error 1)".into());
    let mut facts = debian_13();
    facts.namespaces = NAMESPACES.map(|kind| (kind, refused.clone())).to_vec();
    facts.jail_ids_mapped = false;
    facts.cgroups.writable = false;
    facts.landlock = Landlock::NotThere;
    facts.lsm = String::new();
    facts.nftables = refused;
    facts.capabilities = set(&["MKNOD", "SETGID", "SETUID"]);
    facts
}

fn names(report: &Report, state: State) -> Vec<&'static str> {
    report.findings.iter().filter(|f| f.state == state).map(|f| f.name).collect()
}

fn fix<'a>(report: &'a Report, name: &str) -> &'a str {
    let finding = report.findings.iter().find(|f| f.name == name).unwrap();
    finding.fix.as_deref().unwrap()
}

#[test]
fn debian_13_has_every_layer() {
    let report = judge(&debian_13());
    assert!(report.findings.iter().all(|f| f.state == State::Ok), "{}", report.to_text());
    assert!(report.to_text().ends_with("\nverdict: hosting is possible, with every layer\n"));
}

#[test]
fn debian_12_is_weaker_by_its_kernel() {
    let report = judge(&debian_12());
    assert!(report.hosting_possible());
    assert_eq!(names(&report, State::Weaker), ["landlock", "memfd-noexec"]);
}

#[test]
fn ubuntu_24_hosts_as_root_in_spite_of_its_restriction() {
    let report = judge(&ubuntu_24());
    assert!(report.hosting_possible());
    assert_eq!(names(&report, State::Weaker), ["landlock"]);
    assert!(report.to_text().contains("kernel.apparmor_restrict_unprivileged_userns=1"));
}

#[test]
fn without_root_the_restrictions_are_named_with_their_commands() {
    let mut facts = ubuntu_24();
    facts.euid = 1000;
    facts.capabilities.clear();
    let report = judge(&facts);
    assert_eq!(names(&report, State::Missing), ["root", "capabilities"]);
    assert_eq!(
        fix(&report, "unprivileged-user-namespaces"),
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    );
    facts.unprivileged_userns_clone = Some(0);
    assert_eq!(
        fix(&judge(&facts), "unprivileged-user-namespaces"),
        "sysctl -w kernel.unprivileged_userns_clone=1"
    );
}

#[test]
fn the_hybrid_machine_can_host() {
    let report = judge(&hybrid_vm());
    assert!(report.hosting_possible(), "{}", report.to_text());
    assert_eq!(names(&report, State::Weaker), ["cgroup-mode"]);
}

#[test]
fn a_locked_down_container_cannot_host_and_learns_why() {
    let report = judge(&container());
    assert!(!report.hosting_possible());
    let missing = names(&report, State::Missing);
    for name in ["capabilities", "namespace-user", "namespace-net", "user-ids", "cgroup-mode", "landlock"] {
        assert!(missing.contains(&name), "{name} in {missing:?}");
    }
    assert_eq!(names(&report, State::Weaker), ["nftables"]);
}

#[test]
fn landlock_off_is_mended_by_the_hosts_own_list() {
    let off = Facts { landlock: Landlock::NotEnabled, lsm: "lockdown,yama,apparmor".into(), ..debian_13() };
    let report = judge(&off);
    assert_eq!(names(&report, State::Missing), ["landlock"]);
    assert_eq!(fix(&report, "landlock"), "boot with lsm=landlock,lockdown,yama,apparmor");
    let none = Facts { landlock: Landlock::NotThere, ..debian_13() };
    assert!(fix(&judge(&none), "landlock").contains("CONFIG_SECURITY_LANDLOCK=y"));
}

#[test]
fn no_user_namespaces_is_one_sysctl() {
    let mut facts = Facts { max_user_namespaces: Some(0), ..debian_13() };
    facts.namespaces[7].1 = Tried::Refused("No space left on device (os error 28)".into());
    let report = judge(&facts);
    assert_eq!(names(&report, State::Missing), ["namespace-user", "user-namespace-limit"]);
    assert_eq!(fix(&report, "namespace-user"), "sysctl -w user.max_user_namespaces=15000");
}

#[test]
fn swap_that_is_not_counted_is_told_only_where_there_is_swap() {
    let mut facts = hybrid_vm();
    facts.cgroups.counts_swap = false;
    assert!(!names(&judge(&facts), State::Weaker).contains(&"swap-limit"));
    facts.swap = true;
    assert!(names(&judge(&facts), State::Weaker).contains(&"swap-limit"));
}

#[test]
fn what_cannot_be_limited_cannot_be_hosted() {
    for gone in ["memory", "pids", "cpu"] {
        let mut facts = debian_13();
        facts.cgroups.controllers.remove(gone);
        assert_eq!(names(&judge(&facts), State::Missing), ["cgroup-controllers"]);
    }
    let old = Facts { kernel: "5.10.0-30-amd64".into(), ..debian_13() };
    assert_eq!(names(&judge(&old), State::Missing), ["kernel"]);
    let bare = Facts { seccomp_actions: BTreeSet::new(), ..debian_13() };
    assert_eq!(names(&judge(&bare), State::Missing), ["seccomp"]);
}

#[test]
fn every_finding_that_is_not_well_has_a_fix_and_every_name_stands_once() {
    for facts in [debian_13(), debian_12(), ubuntu_24(), hybrid_vm(), container()] {
        let report = judge(&facts);
        for finding in &report.findings {
            assert_eq!(finding.fix.is_some(), finding.state != State::Ok, "{}", finding.name);
        }
        let unique: BTreeSet<_> = report.findings.iter().map(|f| f.name).collect();
        assert_eq!(unique.len(), report.findings.len());
        assert_eq!(report.to_text().lines().count(), report.findings.len() + 1);
    }
}

#[test]
fn the_json_keeps_its_layout() {
    let value: serde_json::Value = serde_json::from_str(&judge(&debian_12()).to_json().unwrap()).unwrap();
    assert_eq!((value["schema"].as_u64(), value["hosting"].as_str()), (Some(1), Some("possible")));
    let findings = value["findings"].as_array().unwrap();
    let landlock = findings.iter().find(|f| f["name"] == "landlock").unwrap();
    assert_eq!(landlock["state"], "weaker");
    assert_eq!(landlock["fix"], "boot Linux 6.12 or newer");
    let keys: Vec<_> = landlock.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys.len(), 5);
    for key in ["name", "state", "found", "neededFor", "fix"] {
        assert!(keys.contains(&key), "{key}");
    }
    assert!(findings.iter().find(|f| f["name"] == "root").unwrap()["fix"].is_null());
}

#[test]
fn the_doctors_page_names_every_finding() {
    let page = include_str!("../../../docs/doctor.md");
    for finding in judge(&debian_13()).findings {
        assert!(page.contains(&format!("| `{}` |", finding.name)), "{} in docs/doctor.md", finding.name);
    }
}
