//! What is done as root, before the user namespace: everything that the payload could not be trusted with.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use gaoler_jail::plan::{Network, Plan};
use gaoler_jail::root::Volume;
use gaoler_jail::step::{At, Order, Step, StepFailure};
use gaoler_jail::{cgroup, privilege, root, sys};
use gaoler_wire::channel;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::LinkNameSpaceType;

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
pub(crate) fn prepare(plan: &Plan, control: &OwnedFd) -> Result<Prepared, StepFailure> {
    rustix::process::umask(Mode::empty());
    ordinary_priority()?;
    rustix::thread::set_name(c"gaoler-init").at(Step::Helper, "name")?;
    rustix::process::setsid().at(Step::Helper, "session")?;
    sys::new_session_keyring().at(Step::Keyring, "session keyring")?;
    rustix::system::sethostname(plan.hostname.as_bytes()).at(Step::Hostname, &plan.hostname)?;
    let proc = root::hidden_proc()?;
    let built = root::build(plan)?;
    // The parent made groups and network meanwhile.
    enter_outside(plan, control)?;
    let volume = built.enter()?;
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

/// A caller of high priority must not make a jail of high priority; one of low priority may.
fn ordinary_priority() -> Result<(), StepFailure> {
    sys::ordinary_scheduling().at(Step::Limits, "scheduling policy")?;
    match rustix::process::getpriority_process(None) {
        Ok(..0) => rustix::process::setpriority_process(None, 0).at(Step::Limits, "priority"),
        _ => Ok(()),
    }
}

/// Writes one short value to a file below the hidden `/proc`.
pub(crate) fn write_proc(proc: &OwnedFd, path: &str, value: &str, step: Step) -> Result<(), StepFailure> {
    let file =
        rustix::fs::openat(proc, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).at(step, path)?;
    std::fs::File::from(file).write_all(value.as_bytes()).at(step, path)
}

/// Enters what the parent made outside: the groups of version 1, and the network namespace.
fn enter_outside(plan: &Plan, control: &OwnedFd) -> Result<(), StepFailure> {
    let refused = |object: String| StepFailure { step: Step::Init, object, errno: 0 };
    let (order, fds) = channel::receive::<Order>(control.as_fd()).map_err(|e| refused(e.to_string()))?;
    if order != Order::Enter {
        return Err(refused(format!("unexpected order {order:?}")));
    }
    if !plan.tasks.is_empty() {
        cgroup::enter(&plan.tasks)?;
        // Only now: a namespace made before the move would show the host's path.
        sys::unshare(libc::CLONE_NEWCGROUP).at(Step::Cgroup, "namespace")?;
    }
    match (&plan.network, fds.first()) {
        (Network::Loopback { .. }, Some(network)) => {
            rustix::thread::move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
                .at(Step::Network, "namespace")
        }
        (Network::Host, None) => Ok(()),
        _ => Err(refused("a network namespace came without being planned, or not at all".into())),
    }
}
