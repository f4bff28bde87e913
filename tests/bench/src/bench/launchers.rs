//! The contestants of the start figure: the floor, the product, and other launchers at their fullest settings.
//!
//! "Fullest" is: every namespace, a private id range, a read-only root over the same `/usr`, no capabilities, and the
//! floor's seccomp program or its list where the launcher cannot take a program.

use std::path::PathBuf;

use gaoler_bench::{Error, Result};
use serde_json::json;

use crate::place::Place;

/// One way to run `/bin/true` in a jail.
#[derive(Debug)]
pub(crate) struct Launcher {
    /// its name in the table
    pub(crate) name: &'static str,
    /// what is different about it
    pub(crate) note: &'static str,
    /// the executable, when it is installed here
    pub(crate) program: Option<PathBuf>,
    /// its arguments
    pub(crate) arguments: Vec<String>,
    /// a file it reads as standard input
    pub(crate) stdin: Option<PathBuf>,
}

/// System calls that every launcher refuses, as in `floor.c`.
const REFUSED: &str = "ptrace mount umount2 pivot_root chroot swapon swapoff reboot init_module delete_module \
    finit_module kexec_load kexec_file_load bpf perf_event_open userfaultfd keyctl add_key request_key unshare setns \
    acct settimeofday sethostname iopl ioperm process_vm_readv process_vm_writev open_by_handle_at name_to_handle_at \
    quotactl syslog";

const RANGE: &str = "0 1073741824 65536";
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// The product.
pub(crate) fn product(place: &Place) -> Launcher {
    plain("gaoler jail", "all layers, cgroups, self-check", place.gaoler(), "jail -- /bin/true")
}

/// All contestants, the product and its measuring sticks first.
pub(crate) fn all(place: &Place) -> Result<Vec<Launcher>> {
    Ok(vec![
        product(place),
        plain("floor", "no cgroups", Some(place.floor.clone()), "/bin/true"),
        plain("floor -c", "with cgroups memory, pids, cpu", Some(place.floor.clone()), "-c /bin/true"),
        plain("floor -n", "no cgroups, no network namespace", Some(place.floor.clone()), "-n /bin/true"),
        minijail(place),
        bubblewrap(place),
        nsjail(place)?,
        crun(place)?,
        runc(place)?,
        plain(
            "firejail",
            "no id range, no cgroups",
            place.program("firejail"),
            "--quiet --noprofile --net=none --caps.drop=all --nonewprivs --seccomp --private --private-dev \
             --private-tmp --nogroups --noroot /bin/true",
        ),
    ])
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn plain(name: &'static str, note: &'static str, program: Option<PathBuf>, arguments: &str) -> Launcher {
    Launcher { name, note, program, arguments: words(arguments), stdin: None }
}

fn minijail(place: &Place) -> Launcher {
    let mut arguments = words("-v -p -l -e -N -n -c 0 --uts=jail -R 4,0,0 -R 7,1024,1024");
    arguments.extend([format!("-m{RANGE}"), format!("-M{RANGE}")]);
    arguments.extend(["-P".into(), place.root.display().to_string(), "-b".into(), "/usr,/usr,1".into()]);
    for device in DEVICES {
        arguments.extend(["-b".into(), format!("{device},{device},1")]);
    }
    arguments.extend(words("-k proc,/proc,proc,0xe -k tmpfs,/tmp,tmpfs,0xe,size=67108864"));
    arguments.push(format!("--seccomp-bpf-binary={}", place.filter.display()));
    arguments.extend(words("-- /usr/bin/true"));
    let note = "no cgroups; /usr writable by mode only";
    Launcher { name: "minijail0", note, program: place.program("minijail0"), arguments, stdin: None }
}

fn bubblewrap(place: &Place) -> Launcher {
    let arguments = words(
        "--unshare-all --unshare-user --uid 1000 --gid 1000 --disable-userns --die-with-parent --new-session \
         --cap-drop ALL --clearenv --hostname jail --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib \
         --symlink usr/lib64 /lib64 --proc /proc --dev /dev --size 67108864 --tmpfs /tmp --remount-ro / --seccomp 0 \
         /bin/true",
    );
    let note = "no cgroups, maps the caller's own id";
    let stdin = Some(place.filter.clone());
    Launcher { name: "bubblewrap", note, program: place.program("bwrap"), arguments, stdin }
}

fn nsjail(place: &Place) -> Result<Launcher> {
    let program = place.program("nsjail");
    let mut arguments = words("-Q -Mo --chroot");
    arguments.push(place.root.display().to_string());
    for path in ["/usr"].into_iter().chain(DEVICES) {
        arguments.extend(["-R".into(), path.into()]);
    }
    arguments.extend(words(
        "-m none:/tmp:tmpfs:size=67108864 --user 1000:1073742824:1 --group 1000:1073742824:1 -H jail \
         --cgroup_mem_max 536870912 --cgroup_mem_parent gaoler-bench --cgroup_pids_max 128 \
         --cgroup_pids_parent gaoler-bench --cgroup_cpu_ms_per_sec 1000 --cgroup_cpu_parent gaoler-bench \
         --detect_cgroupv2 --seccomp_string",
    ));
    // Its policy language calls umount2 umount.
    let list = REFUSED.replace("umount2", "umount").split_whitespace().collect::<Vec<_>>().join(", ");
    arguments.push(format!("POLICY p {{ KILL {{ {list} }} }} USE p DEFAULT ALLOW"));
    arguments.extend(words("-- /usr/bin/true"));
    if program.is_some() {
        for controller in ["memory", "pids", "cpu"] {
            let group = format!("/sys/fs/cgroup/{controller}/gaoler-bench");
            std::fs::create_dir_all(&group).map_err(Error::io(format!("making {group}")))?;
        }
    }
    Ok(Launcher { name: "nsjail", note: "no time namespace", program, arguments, stdin: None })
}

/// Takes away what [`all`] made outside the work directory.
pub(crate) fn clean_up() {
    for controller in ["memory", "pids", "cpu"] {
        // Not there when nsjail is not installed.
        let _ = std::fs::remove_dir(format!("/sys/fs/cgroup/{controller}/gaoler-bench"));
    }
}

fn runc(place: &Place) -> Result<Launcher> {
    let bundle = bundle(place)?;
    let arguments = format!("run --bundle {} gaoler-bench", bundle.display());
    Ok(plain("runc", "no time namespace", place.program("runc"), &arguments))
}

/// crun refuses the mixed cgroup hierarchy of some hosts; it gets a mount namespace without the v2 half.
fn crun(place: &Place) -> Result<Launcher> {
    let bundle = bundle(place)?;
    let inner =
        format!("umount /sys/fs/cgroup/unified && exec crun run --bundle {} gaoler-bench", bundle.display());
    let mixed = std::path::Path::new("/sys/fs/cgroup/unified").is_dir();
    let (program, arguments, note) = if mixed {
        let outer = vec!["-m".into(), "sh".into(), "-c".into(), inner];
        ("unshare", outer, "includes about 3 ms of hiding the mixed cgroup v2 from it; no time namespace")
    } else {
        let direct = words(&format!("run --bundle {} gaoler-bench", bundle.display()));
        ("crun", direct, "no time namespace")
    };
    let program = place.program("crun").and_then(|_| place.program(program));
    Ok(Launcher { name: "crun", note, program, arguments, stdin: None })
}

fn bundle(place: &Place) -> Result<PathBuf> {
    let mount = |to: &str, kind: &str, options: &str| {
        let from = if kind == "bind" { to } else { kind };
        let options: Vec<&str> = options.split(',').collect();
        json!({"destination": to, "type": kind, "source": from, "options": options})
    };
    let map = json!([{"containerID": 0, "hostID": 0x4000_0000, "size": 65536}]);
    let none: [&str; 0] = [];
    let namespaces =
        ["pid", "network", "ipc", "uts", "mount", "user", "cgroup"].map(|kind| json!({"type": kind}));
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": {"uid": 1000, "gid": 1000}, "args": ["/usr/bin/true"], "cwd": "/",
            "env": ["PATH=/usr/bin:/bin", "HOME=/tmp"], "noNewPrivileges": true,
            "capabilities": {"bounding": none, "effective": none, "permitted": none, "inheritable": none, "ambient": none},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}, {"type": "RLIMIT_CORE", "hard": 0, "soft": 0}]
        },
        "root": {"path": place.root, "readonly": true},
        "hostname": "jail",
        "mounts": [
            mount("/proc", "proc", "nosuid,nodev,noexec"),
            mount("/usr", "bind", "bind,ro,nosuid,nodev"),
            mount("/dev", "tmpfs", "nosuid,noexec,mode=755,size=65536k"),
            mount("/dev/shm", "tmpfs", "nosuid,noexec,nodev,mode=1777,size=65536k"),
            mount("/tmp", "tmpfs", "nosuid,noexec,nodev,mode=1777,size=65536k")
        ],
        "linux": {
            "uidMappings": map, "gidMappings": map,
            "namespaces": namespaces,
            "cgroupsPath": "/gaoler-bench-oci",
            "resources": {"memory": {"limit": 536_870_912}, "pids": {"limit": 128}, "cpu": {"quota": 100_000, "period": 100_000}},
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/acpi", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [{"names": words(REFUSED), "action": "SCMP_ACT_ERRNO"}]
            }
        }
    });
    let directory = place.work.join("bundle");
    let step = || Error::io(format!("making {}", directory.display()));
    std::fs::create_dir_all(&directory).map_err(step())?;
    std::fs::write(directory.join("config.json"), config.to_string()).map_err(step())?;
    Ok(directory)
}
