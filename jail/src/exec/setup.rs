//! What is done as root, before the user namespace: everything that the payload could not be trusted with.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use gaoler_jail::plan::{Network, Plan};
use gaoler_jail::root::Volume;
use gaoler_jail::step::{At, Step, StepFailure};
use gaoler_jail::{cgroup, privilege, root, sys};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Between the default 0 and the kernel's first choice 1000.
const OOM_SCORE: &str = "500";

/// What the later steps need of the earlier ones.
pub(crate) struct Prepared {
    /// a complete `/proc` that only this process can see
    pub(crate) proc: OwnedFd,
    /// the server's volume, not yet shown
    pub(crate) volume: Option<Volume>,
}

/// Runs the steps in order.
pub(crate) fn prepare(plan: &Plan) -> Result<Prepared, StepFailure> {
    if !plan.tasks.is_empty() {
        // First of all, so that what follows is counted. The namespace after it, or it would show the host's path.
        cgroup::enter(&plan.tasks)?;
        sys::unshare(libc::CLONE_NEWCGROUP).at(Step::Cgroup, "namespace")?;
    }
    rustix::process::umask(Mode::empty());
    rustix::thread::set_name(c"gaoler-init").at(Step::Helper, "name")?;
    rustix::process::setsid().at(Step::Helper, "session")?;
    sys::new_session_keyring().at(Step::Keyring, "session keyring")?;
    if let Network::Loopback { .. } = plan.network {
        loopback()?;
    }
    rustix::system::sethostname(plan.hostname.as_bytes()).at(Step::Hostname, &plan.hostname)?;
    let proc = root::hidden_proc()?;
    let volume = root::enter(plan)?;
    if plan.memfd_noexec {
        // Refuses to execute memory files in this pid namespace; only root of the host may write it, which this still is.
        write_proc(&proc, "sys/vm/memfd_noexec", "2", Step::Sysctl)?;
    }
    // When the host runs out of memory, a jail goes before anything of the host's; it may not lower this again.
    match write_proc(&proc, "self/oom_score_adj", OOM_SCORE, Step::Sysctl) {
        // The caller's own score is higher and may not be lowered: this goes even sooner.
        Err(failure) if failure.errno == Errno::ACCESS.raw_os_error() => {}
        other => other?,
    }
    privilege::drop_groups()?;
    privilege::limit(&plan.rlimits)?;
    Ok(Prepared { proc, volume })
}

/// Writes one short value to a file below the hidden `/proc`.
pub(crate) fn write_proc(proc: &OwnedFd, path: &str, value: &str, step: Step) -> Result<(), StepFailure> {
    let file =
        rustix::fs::openat(proc, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).at(step, path)?;
    std::fs::File::from(file).write_all(value.as_bytes()).at(step, path)
}

fn loopback() -> Result<(), StepFailure> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .at(Step::Loopback, "socket")?;
    sys::loopback_up(socket.as_fd()).at(Step::Loopback, "lo")
}
