//! The payload's process, from its fork in a user namespace of its own to `execve`.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use gaoler_jail::check::{self, Facts};
use gaoler_jail::landlock::{self, Ports};
use gaoler_jail::plan::{INNER_ID, Network, Plan, Process};
use gaoler_jail::privilege;
use gaoler_jail::seccomp::{self, Profile};
use gaoler_jail::step::{At, Report, Step, StepFailure};
use gaoler_jail::sys::{self, CStrings, CloneArgs, Side};
use gaoler_wire::channel;
use rustix::fs::{Access, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::Pid;
use rustix::thread::ThreadNameSpaceType;

use crate::setup::{Prepared, write_proc};

/// A shell's exit status for a command that was found and cannot be executed.
const NOT_EXECUTABLE: i32 = 126;
/// A shell's exit status for a command that was not found.
const NOT_FOUND: i32 = 127;

/// The payload's process, seen from process 1.
pub(crate) struct Child {
    /// its id in this pid namespace
    pub(crate) pid: Pid,
    /// reads end-of-file when the payload's first instruction runs, or when it never will
    pub(crate) started: OwnedFd,
    /// one byte lets a held payload go on; its end makes it give up
    pub(crate) go: OwnedFd,
}

/// Forks the payload into a new user namespace, writes its id maps and follows it there.
pub(crate) fn fork(plan: &Plan, control: &OwnedFd, prepared: Prepared) -> Result<Child, StepFailure> {
    let Prepared { proc, volume } = prepared;
    let (go_read, go_write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).at(Step::Users, "pipe")?;
    let (started, started_write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).at(Step::Users, "pipe")?;
    // The time namespace is entered by children only, which is what is wanted: process 1 needs none.
    sys::unshare(libc::CLONE_NEWTIME).at(Step::Clone, "time namespace")?;
    write_proc(&proc, "self/timens_offsets", &clocks_from_zero(), Step::Sysctl)?;
    let args = CloneArgs { namespaces: libc::CLONE_NEWUSER as u64, cgroup: None };
    let (pid, pidfd) = match sys::clone3(args).at(Step::Users, "user namespace")? {
        Side::Child => {
            drop((go_write, started, proc, volume));
            become_payload(plan, control, &go_read);
            std::process::exit(NOT_EXECUTABLE);
        }
        Side::Parent(pid, pidfd) => (pid, pidfd),
    };
    drop((go_read, started_write));
    let map = format!("{INNER_ID} {} 1", plan.host_id);
    let of_child = |file: &str| format!("{}/{file}", pid.as_raw_nonzero());
    write_proc(&proc, &of_child("setgroups"), "deny", Step::Users)?;
    write_proc(&proc, &of_child("gid_map"), &map, Step::Users)?;
    write_proc(&proc, &of_child("uid_map"), &map, Step::Users)?;
    if let Some(volume) = volume {
        let path = of_child("ns/user");
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        let userns = rustix::fs::openat(&proc, path.as_str(), flags, rustix::fs::Mode::empty())
            .at(Step::Users, &path)?;
        volume.attach(userns.as_fd())?;
    }
    rustix::thread::move_into_thread_name_spaces(pidfd.as_fd(), ThreadNameSpaceType::USER)
        .at(Step::Users, "enter user namespace")?;
    // A second lock behind the filter: this user namespace may have none below it.
    write_proc(&proc, "sys/user/max_user_namespaces", "0", Step::Sysctl)?;
    rustix::io::write(&go_write, b"g").at(Step::Users, "go")?;
    Ok(Child { pid, started, go: go_write })
}

/// Offsets that let the payload's clocks since boot begin now: how long the host is up is not its business.
fn clocks_from_zero() -> String {
    use rustix::time::{ClockId, clock_gettime};
    let offset = |name, clock| format!("{name} -{} 0\n", clock_gettime(clock).tv_sec);
    offset("monotonic", ClockId::Monotonic) + &offset("boottime", ClockId::Boottime)
}

/// Runs in the payload's process and returns only when the payload could not be executed.
fn become_payload(plan: &Plan, control: &OwnedFd, go: &OwnedFd) {
    let failure = match confine(plan, control, go) {
        Ok(failure) | Err(failure) => failure,
    };
    let missing = failure.step == Step::Exec && failure.errno == Errno::NOENT.raw_os_error();
    let code = if missing { NOT_FOUND } else { NOT_EXECUTABLE };
    let _ = channel::send(control.as_fd(), &Report::Failed(failure), &[]);
    std::process::exit(code);
}

/// Applies the payload's own layers, proves them, and executes. The success value is `execve`'s failure.
fn confine(plan: &Plan, control: &OwnedFd, go: &OwnedFd) -> Result<StepFailure, StepFailure> {
    wait_for(go)?;
    privilege::drop_all()?;
    let port = match plan.network {
        Network::Loopback { listen } => listen,
        Network::Host => None,
    };
    landlock::restrict(plan.landlock_abi, &plan.files, Ports { bind: port, connect: port })?;
    rustix::process::chdir(&*plan.process.cwd).at(Step::WorkingDirectory, &plan.process.cwd)?;
    privilege::die_with_parent()?;
    let program = locate(&plan.process)?;
    let nul = || StepFailure { step: Step::Plan, object: "command".into(), errno: 0 };
    let argv = CStrings::new(plan.process.argv.iter().map(Vec::as_slice)).ok_or_else(nul)?;
    let env = CStrings::new(plan.process.env.iter().map(Vec::as_slice)).ok_or_else(nul)?;
    sys::fresh_signals().at(Step::Exec, "signals")?;
    rustix::process::umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);
    // A front's own filter kills for what the check tries, so the check runs behind another.
    let first = if plan.seccomp == Profile::Front { Profile::Check } else { plan.seccomp };
    seccomp::install(first.program()).at(Step::Seccomp, "filter")?;
    let facts = observe(plan.landlock_abi.min(sys::landlock_abi())).at(Step::Check, "facts")?;
    let differences = check::differences(plan, &facts);
    if !differences.is_empty() {
        return Err(StepFailure { step: Step::Check, object: differences.join("; "), errno: 0 });
    }
    channel::send(control.as_fd(), &Report::Checked(facts), &[]).map_err(|e| StepFailure {
        step: Step::Check,
        object: e.to_string(),
        errno: 0,
    })?;
    if plan.held {
        wait_for(go)?;
    }
    if plan.seccomp != first {
        seccomp::install(plan.seccomp.program()).at(Step::Seccomp, "second filter")?;
    }
    Ok(execute(&program, &argv, &env))
}

/// Waits for process 1's next byte.
fn wait_for(go: &OwnedFd) -> Result<(), StepFailure> {
    match rustix::io::read(go, &mut [0u8; 1]) {
        Ok(1) => Ok(()),
        _ => Err(StepFailure { step: Step::Init, object: "process 1 gave up".into(), errno: 0 }),
    }
}

/// Finds the program as a shell does, so that a jail which waits ready says at once what it could never execute.
fn locate(process: &Process) -> Result<CString, StepFailure> {
    let program = process.argv[0].as_slice();
    let failed = |errno| StepFailure::new(Step::Exec, String::from_utf8_lossy(program), errno);
    let executable = |path: Vec<u8>| {
        let path = CString::new(path).map_err(|_| Errno::INVAL)?;
        rustix::fs::access(&path, Access::EXEC_OK)?;
        // A directory may be "executed" in that sense.
        let is_file = FileType::from_raw_mode(rustix::fs::stat(&path)?.st_mode) == FileType::RegularFile;
        if is_file { Ok(path) } else { Err(Errno::ACCESS) }
    };
    if program.contains(&b'/') {
        return executable(program.to_vec()).map_err(failed);
    }
    let search = process.env.iter().find_map(|pair| pair.strip_prefix(b"PATH=")).unwrap_or(b"/usr/bin");
    // What was found and may not be run says more than that another directory does not have it.
    let mut worst = Errno::NOENT;
    for directory in search.split(|&b| b == b':').filter(|directory| !directory.is_empty()) {
        match executable([directory, b"/", program].concat()) {
            Ok(path) => return Ok(path),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(other) => worst = other,
        }
    }
    Err(failed(worst))
}

fn execute(path: &CStr, argv: &CStrings, env: &CStrings) -> StepFailure {
    let errno = sys::exec_path(path, argv, env);
    let program = path.to_string_lossy();
    match errno {
        // It was there a moment ago.
        Errno::NOENT => {
            let object = format!("{program}, whose interpreter or loader is not in the jail");
            StepFailure::new(Step::Exec, object, errno)
        }
        _ => StepFailure::new(Step::Exec, program, errno),
    }
}

/// Looks at this process as it is after its last layer.
fn observe(landlock_abi: u32) -> rustix::io::Result<Facts> {
    let status = read_small("/proc/self/status")?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map_or("", str::trim);
    let ids = |name: &str| {
        let mut numbers = field(name).split_whitespace().map(|n| n.parse().unwrap_or(u32::MAX));
        [(); 3].map(|()| numbers.next().unwrap_or(u32::MAX))
    };
    let set = |name: &str| u64::from_str_radix(field(name), 16).unwrap_or(u64::MAX);
    let (user, group) = (ids("Uid:"), ids("Gid:"));
    Ok(Facts {
        uid_map: id_map("/proc/self/uid_map")?,
        gid_map: id_map("/proc/self/gid_map")?,
        ids: [user[0], user[1], user[2], group[0], group[1], group[2]],
        groups: u32::try_from(field("Groups:").split_whitespace().count()).unwrap_or(u32::MAX),
        capabilities: [set("CapInh:"), set("CapPrm:"), set("CapEff:"), set("CapBnd:"), set("CapAmb:")],
        secure_bits: rustix::thread::capabilities_secure_bits()?.bits(),
        no_new_privs: field("NoNewPrivs:") == "1",
        seccomp_mode: field("Seccomp:").parse().unwrap_or(0),
        landlock_abi,
        attempts: attempts(),
    })
}

/// A file of `/proc` that the kernel gives in one piece.
fn read_small(path: &str) -> rustix::io::Result<String> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = [0u8; 4096];
    let length = rustix::io::read(&file, &mut bytes)?;
    String::from_utf8(bytes[..length].to_vec()).map_err(|_| Errno::INVAL)
}

fn id_map(path: &str) -> rustix::io::Result<[u32; 3]> {
    let text = read_small(path)?;
    let mut numbers = text.split_whitespace().map(|n| n.parse().unwrap_or(u32::MAX));
    let map = [(); 3].map(|()| numbers.next().unwrap_or(u32::MAX));
    // A second line would be a second range.
    Ok(if numbers.next().is_some() { [u32::MAX; 3] } else { map })
}

/// Tries what [`check::ATTEMPTS`] lists, in its order; the results are error numbers, 0 when one was let through.
fn attempts() -> Vec<i32> {
    use rustix::net::{AddressFamily, SocketAddrV4, SocketFlags, SocketType};
    use std::net::Ipv4Addr;

    fn errno<T>(result: rustix::io::Result<T>) -> i32 {
        result.map_or_else(Errno::raw_os_error, |_| 0)
    }
    let flags = SocketFlags::CLOEXEC;
    let reach = || {
        // Connecting a datagram socket looks a route up and sends nothing.
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 9))
    };
    let listen = || {
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1))
    };
    let create = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    vec![
        errno(rustix::fs::open("/proc/1/root/etc/shadow", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())),
        errno(rustix::fs::open("/.gaoler-check", create, Mode::RUSR)),
        sys::attempt_mount().raw_os_error(),
        errno(sys::unshare(libc::CLONE_NEWUSER)),
        errno(reach()),
        errno(listen()),
    ]
}
