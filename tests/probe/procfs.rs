//! `/proc` and `/sys`: what they tell about the host and about others, and what can be written there.

use crate::files::read;
use crate::outcome::{Outcome, Verb, any_of, flatten, held, judge, need, past, stopped, succeeded, verb};
use crate::sys;

/// The verbs of this file.
pub const VERBS: &[Verb] = &[
    verb("proc-kcore", |_| judge(sys::open("/proc/kcore", libc::O_RDONLY))),
    verb("proc-kallsyms", |_| read("/proc/kallsyms")),
    verb("proc-kmsg", |_| judge(sys::open("/proc/kmsg", libc::O_RDONLY))),
    verb("proc-keys", |_| judge(sys::open("/proc/keys", libc::O_RDONLY))),
    verb("proc-boot-command-line", |_| read("/proc/cmdline")),
    verb("proc-host-info", |_| open_any(&HOST_INFO, libc::O_RDONLY)),
    verb("proc-core-pattern", |_| judge(sys::open("/proc/sys/kernel/core_pattern", libc::O_WRONLY))),
    verb("proc-sys-write", |_| open_any(&SYSCTLS, libc::O_WRONLY)),
    verb("proc-sys-read", |_| read("/proc/sys/kernel/random/boot_id")),
    verb("proc-irq-write", |_| judge(sys::open("/proc/irq/default_smp_affinity", libc::O_WRONLY))),
    verb("proc-1-root", |_| judge(sys::open("/proc/1/root/etc", libc::O_RDONLY))),
    verb("proc-1-cwd", |_| judge(sys::open("/proc/1/cwd/", libc::O_RDONLY))),
    verb("proc-1-environ", |_| judge(sys::open("/proc/1/environ", libc::O_RDONLY))),
    verb("proc-1-mem", |_| judge(sys::open("/proc/1/mem", libc::O_RDWR))),
    verb("proc-1-maps", |_| judge(sys::open("/proc/1/maps", libc::O_RDONLY))),
    verb("proc-1-fd", |_| read("/proc/1/fd")),
    verb("proc-1-exe-write", |_| past(sys::open("/proc/1/exe", libc::O_WRONLY), &[libc::ETXTBSY])),
    verb("proc-1-exe-read", |_| judge(sys::open("/proc/1/exe", libc::O_RDONLY))),
    verb("see-other-processes", |args| flatten(need(args, 0).map(see_process))),
    verb("read-other-environ", |args| {
        flatten(need(args, 0).map(|pid| read(&format!("/proc/{pid}/environ"))))
    }),
    verb("oom-score-lower", |_| oom_score_lower()),
    verb("sys-read", |_| judge(sys::open("/sys/kernel", libc::O_RDONLY))),
    verb("sys-write", |_| open_any(&SYS_FILES, libc::O_WRONLY)),
    verb("sys-firmware", |_| open_any(&["/sys/firmware", "/sys/class/dmi/id"], libc::O_RDONLY)),
    verb("sys-block", |_| judge(sys::open("/sys/block", libc::O_RDONLY))),
    verb("leak-cgroup-path", |_| cgroup_path()),
    verb("leak-host-name", |args| flatten(need(args, 0).map(host_name))),
    verb("leak-uptime", |args| flatten(need(args, 0).map(uptime))),
    verb("leak-environment", |args| flatten(need(args, 0).map(environment))),
];

/// Files that tell about the whole machine.
const HOST_INFO: [&str; 16] = [
    "/proc/meminfo",
    "/proc/stat",
    "/proc/loadavg",
    "/proc/uptime",
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/partitions",
    "/proc/interrupts",
    "/proc/timer_list",
    "/proc/vmstat",
    "/proc/slabinfo",
    "/proc/swaps",
    "/proc/zoneinfo",
    "/proc/iomem",
    "/proc/devices",
    "/proc/sysvipc/shm",
];

/// Switches of the whole machine; they are opened, never written.
const SYSCTLS: [&str; 8] = [
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/printk",
    "/proc/sys/kernel/randomize_va_space",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/fs/file-max",
    "/proc/sys/user/max_user_namespaces",
];

/// Files of /sys that change the machine; they are opened, never written.
const SYS_FILES: [&str; 3] =
    ["/sys/kernel/mm/transparent_hugepage/enabled", "/sys/class/net/lo/mtu", "/sys/kernel/uevent_helper"];

fn open_any(paths: &[&str], flags: i32) -> Outcome {
    any_of(paths.iter().map(|path| (*path, sys::open(path, flags).map(|_| 0))))
}

/// Whether a process of somebody else is visible: by its directory, its status or the list.
fn see_process(pid: &str) -> Outcome {
    if std::fs::read(format!("/proc/{pid}/stat")).is_ok() {
        return succeeded(format!("the state of process {pid}"));
    }
    let listed =
        std::fs::read_dir("/proc").is_ok_and(|mut list| list.any(|e| e.is_ok_and(|e| e.file_name() == pid)));
    if listed { succeeded(format!("process {pid} is listed")) } else { stopped(libc::ENOENT) }
}

/// Tries to become the last process that the kernel kills for memory.
fn oom_score_lower() -> Outcome {
    let current = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    let lower = current.trim().parse::<i32>().unwrap_or(0) - 1;
    match std::fs::write("/proc/self/oom_score_adj", lower.to_string()) {
        Ok(()) => succeeded(format!("lowered to {lower}")),
        Err(e) => stopped(e.raw_os_error().unwrap_or(0)),
    }
}

/// Whether the process sees where in the host's control groups it stands.
fn cgroup_path() -> Outcome {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    match text.lines().find(|line| !line.ends_with(":/")) {
        Some(line) => succeeded(line),
        None => held("every path is /"),
    }
}

fn host_name(name: &str) -> Outcome {
    let mut record = [0u8; 6 * 65];
    match sys::call(libc::SYS_uname, &[sys::addr_mut(&mut record)]) {
        Ok(_) => {
            let own = String::from_utf8_lossy(&record[65..130]).trim_end_matches('\0').to_owned();
            if own == name { succeeded(own) } else { held(format!("the name is {own}")) }
        }
        Err(errno) => stopped(errno),
    }
}

/// Whether the clock since boot runs ahead of the seconds given: then it is the host's.
fn uptime(seconds: &str) -> Outcome {
    let mut time = [0i64; 2];
    if let Err(errno) =
        sys::call(libc::SYS_clock_gettime, &[libc::CLOCK_BOOTTIME as usize, sys::addr_mut(&mut time)])
    {
        return stopped(errno);
    }
    let limit = seconds.parse().unwrap_or(i64::MAX);
    if time[0] >= limit {
        succeeded(format!("{} s since boot", time[0]))
    } else {
        held("the clock is the jail's own")
    }
}

fn environment(name: &str) -> Outcome {
    match std::env::var_os(name) {
        Some(_) => succeeded(format!("{name} is set")),
        None => held(format!("{name} is not set")),
    }
}
