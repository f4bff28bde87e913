//! The parent's half: start a helper in new namespaces and its cgroup, give it the plan, hear its reports, end it.
//!
//! Nothing here waits: [`Running`] hands out descriptors for the caller's poll loop. The helper's executable is opened
//! once ([`Spawner::open`]), so that an upgrade cannot mix versions, and the plan is sealed before anybody reads it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use gaoler_wire::channel::{self, ChannelError};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::cgroup::{Group, Version};
use crate::plan::{Network, Plan};
use crate::step::{At, Order, Report, Step, StepFailure};
use crate::sys::{self, CStrings, CloneArgs, Side};

/// The helper's channel to its parent.
pub const CONTROL_FD: RawFd = 3;
/// The helper's plan.
pub const PLAN_FD: RawFd = 4;
/// The largest plan, in bytes: a command line and an environment of the kernel's own limit fit.
pub const PLAN_MAX: u64 = 4 << 20;

/// For a supervisor that mounts volumes where nobody else sees them.
pub const NEW_MOUNT_NAMESPACE: i32 = libc::CLONE_NEWNS;

/// Starts jails with one pinned helper.
#[derive(Debug)]
pub struct Spawner {
    helper: OwnedFd,
}

/// A jail from its clone to its end.
#[derive(Debug)]
pub struct Running {
    control: OwnedFd,
    pidfd: OwnedFd,
    pid: Pid,
}

impl Spawner {
    /// Opens the helper's executable.
    ///
    /// # Errors
    /// The kernel's, with the path.
    pub fn open(path: &Path) -> Result<Self, StepFailure> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let opened =
            rustix::fs::open(path, flags, Mode::empty()).at(Step::Helper, &path.to_string_lossy())?;
        // Out of the way of the numbers that the child fills.
        let helper = sys::high_copy(&opened).at(Step::Helper, &path.to_string_lossy())?;
        Ok(Self { helper })
    }

    /// Starts one jail. `streams` become the payload's standard streams, the only descriptors that it has.
    ///
    /// # Errors
    /// The step that failed; nothing of the jail is left but `group`, which the caller removes.
    pub fn spawn(
        &self,
        plan: &Plan,
        group: &Group,
        streams: [BorrowedFd<'_>; 3],
    ) -> Result<Running, StepFailure> {
        let memfd = sealed(plan)?;
        let (control, theirs) = channel::pair().map_err(|e| StepFailure {
            step: Step::Clone,
            object: e.to_string(),
            errno: 0,
        })?;
        // Only this end: a jail that does not listen must not hold its supervisor up.
        rustix::fs::fcntl_setfl(&control, OFlags::RDWR | OFlags::NONBLOCK).at(Step::Clone, "channel")?;
        let [input, output, error] = streams;
        let placed =
            vec![(input, 0), (output, 1), (error, 2), (theirs.as_fd(), CONTROL_FD), (memfd.as_fd(), PLAN_FD)];
        let into = match group.version() {
            Version::V2 => Some(group.open()?),
            Version::V1 => None,
        };
        let args = CloneArgs {
            namespaces: namespaces(plan, group.version()),
            cgroup: into.as_ref().map(AsFd::as_fd),
        };
        let (pid, pidfd) = match sys::clone3(args).at(Step::Clone, "namespaces")? {
            Side::Parent(pid, pidfd) => (pid, pidfd),
            Side::Child => {
                let failure = self.become_helper(&placed);
                // The channel is at its new number already, or still at its old one; the other sending fails.
                let _ = channel::send(theirs.as_fd(), &Report::Failed(failure), &[]);
                std::process::exit(125)
            }
        };
        Ok(Running { control, pidfd, pid })
    }

    /// Runs in the child, and returns only why it could not become the helper.
    fn become_helper(&self, placed: &[(BorrowedFd<'_>, RawFd)]) -> StepFailure {
        let exec = || -> rustix::io::Result<()> {
            // All sources go above every target first, so that no copy overwrites a source.
            let high = placed.iter().map(|(fd, to)| Ok((sys::high_copy(fd)?, *to)));
            let high: Vec<(OwnedFd, RawFd)> = high.collect::<rustix::io::Result<_>>()?;
            for (fd, to) in &high {
                sys::place_fd(fd.as_fd(), *to)?;
            }
            let first = u32::try_from(placed.len()).unwrap_or(u32::MAX);
            sys::close_between(first, self.helper.as_raw_fd())
        };
        if let Err(errno) = exec() {
            return StepFailure::new(Step::Helper, "descriptors", errno);
        }
        let (argv, env) = (CStrings::new([b"gaoler-jail-exec".as_slice()]), CStrings::new([]));
        let errno = match (argv, env) {
            (Some(argv), Some(env)) => sys::exec_fd(self.helper.as_fd(), &argv, &env),
            _ => rustix::io::Errno::INVAL,
        };
        StepFailure::new(Step::Helper, "gaoler-jail-exec", errno)
    }
}

impl Running {
    /// Readable when a report waits or the jail has ended.
    #[must_use]
    pub fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Readable when process 1 has ended, and with it everything in the jail.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Process 1 as the host sees it.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Takes the next report.
    ///
    /// # Errors
    /// [`ChannelError::WouldBlock`] when there is none, [`ChannelError::Closed`] once the jail has ended; anything else
    /// says that the inside broke the protocol.
    pub fn report(&self) -> Result<(Report, Option<OwnedFd>), ChannelError> {
        let (report, mut fds) = channel::receive(self.control.as_fd())?;
        Ok((report, fds.pop()))
    }

    /// Gives an order.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] once the jail has ended, [`ChannelError::WouldBlock`] when some hundred orders wait unread.
    pub fn order(&self, order: &Order) -> Result<(), ChannelError> {
        channel::send(self.control.as_fd(), order, &[])
    }

    /// Kills process 1; the kernel kills everything else in the jail before [`Running::pidfd`] becomes readable.
    pub fn end(&self) {
        // It can only fail when process 1 has ended already.
        let _ = rustix::process::pidfd_send_signal(self.pidfd.as_fd(), Signal::KILL);
    }

    /// Collects the ended process 1. Call once, when [`Running::pidfd`] is readable; false when it has not ended.
    #[must_use]
    pub fn reap(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        matches!(rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options), Ok(Some(_)))
    }
}

/// The namespaces that the helper starts in. User and time namespaces are made by the helper, and so is the cgroup
/// namespace on version 1, because it must follow the move into the group.
fn namespaces(plan: &Plan, version: Version) -> u64 {
    let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if version == Version::V2 {
        flags |= libc::CLONE_NEWCGROUP;
    }
    if let Network::Loopback { .. } = plan.network {
        flags |= libc::CLONE_NEWNET;
    }
    u64::from(flags.unsigned_abs())
}

/// Writes the plan to a memory file that nobody can change any more.
fn sealed(plan: &Plan) -> Result<OwnedFd, StepFailure> {
    let too_large =
        || StepFailure { step: Step::Plan, object: format!("plan of over {PLAN_MAX} bytes"), errno: 0 };
    let bytes = postcard::to_allocvec(plan).map_err(|_| too_large())?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > PLAN_MAX {
        return Err(too_large());
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = rustix::fs::memfd_create("gaoler-plan", flags).at(Step::Plan, "memfd")?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let done = rustix::io::write(&memfd, rest).at(Step::Plan, "memfd")?;
        rest = &rest[done..];
    }
    rustix::fs::fcntl_add_seals(
        &memfd,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )
    .at(Step::Plan, "memfd")?;
    rustix::fs::seek(&memfd, rustix::fs::SeekFrom::Start(0)).at(Step::Plan, "memfd")?;
    Ok(memfd)
}
