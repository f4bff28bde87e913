//! From facts to findings, pure: what each fact means for hosting, and the command that mends it.
//!
//! `Missing` is only for what every jail needs; what a jail can do without, or only one feature needs, is `Weaker`.

use super::facts::{CgroupMode, Facts, Landlock, Presence, Tried};
use super::parse;
use super::report::{Finding, Report, State};

/// mount_setattr (5.12) and Landlock (5.13) set the lowest kernel.
const KERNEL_MIN: (u32, u32) = (5, 13);

/// The first Landlock interface with file truncation (3), TCP (4), device ioctl (5) and scopes (6) all in it.
const LANDLOCK_FULL: u32 = 6;

/// Fewer user namespaces than this would bound the number of jails, each of which has one.
const USER_NAMESPACES_MIN: u64 = 1024;

/// The kernel's own default; less would bound the number of jails.
const PID_MAX_MIN: u64 = 32_768;

/// Every jail is made with these: without any one of them, and with all others, `gaoler jail` fails.
const CAPABILITIES: [&str; 5] = ["MKNOD", "NET_ADMIN", "SETGID", "SETUID", "SYS_ADMIN"];

/// What each finding starts from; the rest says how it stands.
struct Subject {
    name: &'static str,
    needed_for: &'static str,
}

impl Subject {
    fn ok(&self, found: impl Into<String>) -> Finding {
        self.finding(State::Ok, found.into(), None)
    }

    fn weaker(&self, found: impl Into<String>, fix: impl Into<String>) -> Finding {
        self.finding(State::Weaker, found.into(), Some(fix.into()))
    }

    fn missing(&self, found: impl Into<String>, fix: impl Into<String>) -> Finding {
        self.finding(State::Missing, found.into(), Some(fix.into()))
    }

    fn finding(&self, state: State, found: String, fix: Option<String>) -> Finding {
        Finding { name: self.name, state, found, needed_for: self.needed_for, fix }
    }
}

/// Judges every fact.
#[must_use]
pub fn judge(facts: &Facts) -> Report {
    let mut findings = vec![root(facts), capabilities(facts), kernel(facts)];
    findings.extend(facts.namespaces.iter().map(|(kind, tried)| namespace(facts, kind, tried)));
    findings.extend([
        user_namespaces(facts),
        unprivileged(facts),
        jail_ids(facts),
        cgroup_mode(facts),
        cgroup_controllers(facts),
        swap(facts),
        landlock(facts),
        seccomp(facts),
        memfd(facts),
        pid_max(facts),
        pressure(facts),
        nftables(facts),
    ]);
    findings.extend(facts.filesystems.iter().map(|(name, presence)| filesystem(name, *presence)));
    Report { findings }
}

fn root(facts: &Facts) -> Finding {
    let subject = Subject { name: "root", needed_for: "making jails" };
    match facts.euid {
        0 => subject.ok("user 0"),
        uid => subject.missing(format!("user {uid}"), "sudo gaoler doctor"),
    }
}

fn capabilities(facts: &Facts) -> Finding {
    let subject = Subject { name: "capabilities", needed_for: "making jails" };
    let lacking: Vec<_> =
        CAPABILITIES.into_iter().filter(|name| !facts.capabilities.contains(name)).collect();
    if !lacking.is_empty() {
        let container = "run it outside of a container, or give the container these capabilities";
        let fix = if facts.euid == 0 { container } else { "sudo gaoler doctor" };
        return subject.missing(format!("without {}", lacking.join(", ")), fix);
    }
    subject.ok(format!("all {} that it uses", CAPABILITIES.len()))
}

fn kernel(facts: &Facts) -> Finding {
    let subject = Subject { name: "kernel", needed_for: "mount_setattr and Landlock" };
    let found = facts.kernel.clone();
    match parse::release(&facts.kernel) {
        Some(release) if release >= KERNEL_MIN => subject.ok(found),
        Some(_) => subject.missing(
            found,
            "boot Linux 5.13 or newer, on Debian 11: apt install -t bullseye-backports linux-image-amd64",
        ),
        None => subject.weaker(format!("{found}, which names no version"), "compare uname -r with 5.13"),
    }
}

fn namespace(facts: &Facts, kind: &str, tried: &Tried) -> Finding {
    let (name, option) = match kind {
        "mount" => ("namespace-mount", "NAMESPACES"),
        "pid" => ("namespace-pid", "PID_NS"),
        "net" => ("namespace-net", "NET_NS"),
        "ipc" => ("namespace-ipc", "IPC_NS"),
        "uts" => ("namespace-uts", "UTS_NS"),
        "cgroup" => ("namespace-cgroup", "CGROUPS"),
        "time" => ("namespace-time", "TIME_NS"),
        _ => ("namespace-user", "USER_NS"),
    };
    let subject = Subject { name, needed_for: "every jail" };
    let Tried::Refused(why) = tried else { return subject.ok("made one") };
    let fix = if name == "namespace-user" && facts.max_user_namespaces == Some(0) {
        "sysctl -w user.max_user_namespaces=15000".into()
    } else if facts.euid != 0 {
        "sudo gaoler doctor".into()
    } else if !facts.capabilities.contains("SYS_ADMIN") {
        "run it outside of a container, or give the container SYS_ADMIN".into()
    } else {
        format!(
            "boot a kernel with CONFIG_{option}=y; in a container, let its seccomp profile allow unshare and clone"
        )
    };
    subject.missing(format!("refused ({why})"), fix)
}

fn user_namespaces(facts: &Facts) -> Finding {
    let subject = Subject { name: "user-namespace-limit", needed_for: "one user namespace per jail" };
    const FIX: &str = "sysctl -w user.max_user_namespaces=15000";
    match facts.max_user_namespaces {
        Some(0) => subject.missing("user.max_user_namespaces is 0", FIX),
        Some(n) if n < USER_NAMESPACES_MIN => subject.weaker(format!("only {n} at once"), FIX),
        Some(n) => subject.ok(format!("{n} at once")),
        None => subject.missing("no user.max_user_namespaces", "boot a kernel with CONFIG_USER_NS=y"),
    }
}

/// The distributions' locks on user namespaces bind only those without root; they are told, since they explain
/// what else is refused on such a host.
fn unprivileged(facts: &Facts) -> Finding {
    let subject = Subject { name: "unprivileged-user-namespaces", needed_for: "nothing when run as root" };
    let debian = facts.unprivileged_userns_clone == Some(0);
    let ubuntu = facts.apparmor_restrict_userns.is_some_and(|n| n != 0);
    let (found, fix) = match (debian, ubuntu) {
        (false, false) => return subject.ok("allowed by the distribution"),
        (true, _) => {
            ("off (kernel.unprivileged_userns_clone=0)", "sysctl -w kernel.unprivileged_userns_clone=1")
        }
        (false, true) => (
            "restricted (kernel.apparmor_restrict_unprivileged_userns=1)",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    };
    if facts.euid == 0 { subject.ok(format!("{found}; root may")) } else { subject.weaker(found, fix) }
}

fn jail_ids(facts: &Facts) -> Finding {
    let subject = Subject { name: "user-ids", needed_for: "host ids of its own for each jail" };
    if facts.jail_ids_mapped {
        return subject.ok("1073741824 and up exist here");
    }
    let fix = "run it outside of a user namespace, or map all ids into it";
    subject.missing("1073741824 and up do not exist in this user namespace", fix)
}

fn cgroup_mode(facts: &Facts) -> Finding {
    let subject = Subject { name: "cgroup-mode", needed_for: "limits, and killing a jail as a whole" };
    const TO_V2: &str = "boot with systemd.unified_cgroup_hierarchy=1 for version 2";
    let found = match facts.cgroups.mode {
        CgroupMode::V2 => "version 2",
        CgroupMode::V1 => "version 1",
        CgroupMode::Hybrid => "version 1 and 2 (hybrid)",
        CgroupMode::None => {
            return subject.missing("none mounted", "mount -t cgroup2 cgroup2 /sys/fs/cgroup");
        }
    };
    if !facts.cgroups.writable {
        let fix = "mount -o remount,rw /sys/fs/cgroup, and each mount below it; in a container, ask for writable cgroups";
        return subject.missing(format!("{found}, read-only"), fix);
    }
    match facts.cgroups.mode {
        CgroupMode::V2 => subject.ok(found),
        _ => subject.weaker(format!("{found}: no group kill"), TO_V2),
    }
}

fn cgroup_controllers(facts: &Facts) -> Finding {
    let subject = Subject { name: "cgroup-controllers", needed_for: "--memory, --pids and --cpus" };
    let there = &facts.cgroups.controllers;
    // Version 1 counts processor time with a controller of its own.
    let separate = matches!(facts.cgroups.mode, CgroupMode::V1 | CgroupMode::Hybrid).then_some("cpuacct");
    let needed = ["memory", "pids", "cpu"].into_iter().chain(separate);
    let lacking: Vec<_> = needed.filter(|name| !there.contains(*name)).collect();
    if lacking.is_empty() {
        return subject.ok(there.iter().map(String::as_str).collect::<Vec<_>>().join(", "));
    }
    let fix = match (facts.cgroups.mode, lacking.contains(&"memory")) {
        (CgroupMode::None, _) => "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        (_, true) => "boot with cgroup_enable=memory",
        (CgroupMode::V2, false) => {
            "echo '+cpu +pids' > /sys/fs/cgroup/cgroup.subtree_control, from the host's root"
        }
        (CgroupMode::V1 | CgroupMode::Hybrid, false) => {
            "mount each on /sys/fs/cgroup: mount -t cgroup -o NAME cgroup /sys/fs/cgroup/NAME"
        }
    };
    subject.missing(format!("without {}", lacking.join(", ")), fix)
}

fn swap(facts: &Facts) -> Finding {
    let subject = Subject { name: "swap-limit", needed_for: "--memory to bound memory and swap together" };
    match (facts.cgroups.counts_swap, facts.swap) {
        (true, _) => subject.ok("counted"),
        (false, false) => subject.ok("not counted, and there is no swap"),
        (false, true) => {
            subject.weaker("not counted, and there is swap", "boot with swapaccount=1, or swapoff -a")
        }
    }
}

fn landlock(facts: &Facts) -> Finding {
    let subject =
        Subject { name: "landlock", needed_for: "the second fence around files, network and signals" };
    match facts.landlock {
        Landlock::Abi(n) if n >= LANDLOCK_FULL => subject.ok(format!("ABI {n}")),
        Landlock::Abi(n) => {
            let lost = match n {
                1 => "linking across directories, truncation, TCP, device ioctl and scopes",
                2 => "truncation, TCP, device ioctl and scopes",
                3 => "TCP, device ioctl and scopes",
                4 => "device ioctl and scopes",
                _ => "scopes for signals and abstract sockets",
            };
            subject.weaker(format!("ABI {n}, without {lost}"), "boot Linux 6.12 or newer")
        }
        Landlock::NotEnabled => {
            let list = if facts.lsm.is_empty() { "lockdown,yama,apparmor,bpf" } else { facts.lsm.as_str() };
            subject.missing("in the kernel but switched off", format!("boot with lsm=landlock,{list}"))
        }
        Landlock::NotThere => {
            let fix = "boot a kernel with CONFIG_SECURITY_LANDLOCK=y; in a container, let its seccomp profile allow landlock";
            subject.missing("not in this kernel, or filtered away", fix)
        }
    }
}

fn seccomp(facts: &Facts) -> Finding {
    let subject = Subject { name: "seccomp", needed_for: "the list of allowed system calls" };
    let lacking: Vec<_> = ["allow", "errno", "kill_process"]
        .into_iter()
        .filter(|a| !facts.seccomp_actions.contains(*a))
        .collect();
    if lacking.is_empty() {
        let actions: Vec<_> = facts.seccomp_actions.iter().map(String::as_str).collect();
        return subject.ok(format!("filters with {}", actions.join(", ")));
    }
    subject.missing(
        format!("no filters with {}", lacking.join(", ")),
        "boot a kernel with CONFIG_SECCOMP_FILTER=y",
    )
}

fn memfd(facts: &Facts) -> Finding {
    let subject =
        Subject { name: "memfd-noexec", needed_for: "refusing code that runs from anonymous files" };
    if facts.memfd_noexec {
        return subject.ok("vm.memfd_noexec can be set for a jail");
    }
    subject.weaker("no vm.memfd_noexec", "boot Linux 6.3 or newer")
}

fn pid_max(facts: &Facts) -> Finding {
    let subject = Subject { name: "pid-max", needed_for: "the processes of many jails" };
    match facts.pid_max {
        Some(n) if n >= PID_MAX_MIN => subject.ok(n.to_string()),
        Some(n) => subject.weaker(n.to_string(), "sysctl -w kernel.pid_max=4194304"),
        None => subject.missing("cannot be read", "mount -t proc proc /proc"),
    }
}

fn pressure(facts: &Facts) -> Finding {
    let subject = Subject { name: "pressure", needed_for: "seeing that memory or processors run short" };
    if facts.pressure {
        return subject.ok("/proc/pressure can be read");
    }
    subject.weaker("no /proc/pressure", "boot with psi=1")
}

fn nftables(facts: &Facts) -> Finding {
    let subject = Subject { name: "nftables", needed_for: "egress policies" };
    match &facts.nftables {
        Tried::Works => subject.ok("answers"),
        Tried::Refused(why) if facts.capabilities.contains("NET_ADMIN") && facts.jail_ids_mapped => {
            subject.weaker(format!("no answer ({why})"), "modprobe nf_tables")
        }
        Tried::Refused(why) => {
            subject.weaker(format!("no answer ({why})"), "run it as root of the host, with NET_ADMIN")
        }
    }
}

fn filesystem(name: &'static str, presence: Presence) -> Finding {
    let subject = Subject { name, needed_for: "roots made from images" };
    match presence {
        Presence::Loaded => subject.ok("in the kernel"),
        Presence::Loadable => subject.ok("as a module, loaded when needed"),
        Presence::Absent => {
            subject.weaker("not in this kernel", format!("modprobe {name}, or boot a kernel that has it"))
        }
    }
}
