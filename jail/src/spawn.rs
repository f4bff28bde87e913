//! The parent's half: start a helper in new namespaces and its cgroup, give it the plan, hear its reports, end it.
//!
//! Nothing here waits: [`Running`] hands out descriptors for the caller's poll loop. The helper's executable is opened
//! once ([`Spawner::open`]), so that an upgrade cannot mix versions, and the plan is sealed before anybody reads it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use gaoler_wire::channel::{self, ChannelError};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::process::{Signal, WaitId, WaitIdOptions};
use rustix::thread::LinkNameSpaceType;

use crate::cgroup::Group;
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
    network: OwnedFd,
}

/// A jail from its clone to its end.
#[derive(Debug)]
pub struct Running {
    control: OwnedFd,
    pidfd: OwnedFd,
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
        Ok(Self { helper, network: own_network()? })
    }

    /// Starts one jail. `streams` become the payload's standard streams, the only descriptors that it has. The helper
    /// starts in `group` on version 2; it builds the jail's root and then waits for [`Spawner::admit`].
    ///
    /// # Errors
    /// The step that failed; nothing of the jail is left but the group, which the caller removes.
    pub fn spawn(
        &self,
        plan: &Plan,
        group: Option<&Group>,
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
        let into = group.map(Group::open).transpose()?;
        let args =
            CloneArgs { namespaces: namespaces(group.is_some()), cgroup: into.as_ref().map(AsFd::as_fd) };
        let pidfd = match sys::clone3(args).at(Step::Clone, "namespaces")? {
            Side::Parent(_, pidfd) => pidfd,
            Side::Child => {
                let failure = self.become_helper(&placed);
                // The channel is at its new number already, or still at its old one; the other sending fails.
                let _ = channel::send(theirs.as_fd(), &Report::Failed(failure), &[]);
                std::process::exit(125)
            }
        };
        Ok(Running { control, pidfd })
    }

    /// Makes the network namespace of a jail's plan, while its helper builds the root, and lets it go on into that and into
    /// its groups, which must be there by now. The namespace costs as much time as everything else of the jail.
    ///
    /// # Errors
    /// The step that failed; the caller ends the jail.
    pub fn admit(&self, running: &Running, plan: &Plan) -> Result<(), StepFailure> {
        let network = match plan.network {
            Network::Loopback { .. } => Some(self.new_network()?),
            Network::Host => None,
        };
        let fds: Vec<_> = network.iter().map(AsFd::as_fd).collect();
        match channel::send(running.control.as_fd(), &Order::Enter, &fds) {
            // A helper that failed already has said why.
            Ok(()) | Err(ChannelError::Closed) => Ok(()),
            Err(e) => Err(StepFailure { step: Step::Network, object: e.to_string(), errno: 0 }),
        }
    }

    /// A network namespace with nothing but loopback. Only a process in a namespace can make it, so this one goes there and
    /// back.
    fn new_network(&self) -> Result<OwnedFd, StepFailure> {
        sys::unshare(libc::CLONE_NEWNET).at(Step::Network, "namespace")?;
        let made = own_network().and_then(|made| loopback().map(|()| made));
        rustix::thread::move_into_link_name_space(self.network.as_fd(), Some(LinkNameSpaceType::Network))
            .at(Step::Network, "way back to the host")?;
        made
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

    /// Kills process 1 and waits until the kernel has taken everything down, for some seconds at most.
    pub fn end_and_wait(&self) {
        self.end();
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        // Whatever comes of the wait, there is nothing better to do than to go on.
        let _ = rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 5, tv_nsec: 0 }));
        let _ = self.reap();
    }

    /// Collects the ended process 1. Call once, when [`Running::pidfd`] is readable; false when it has not ended.
    #[must_use]
    pub fn reap(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        matches!(rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options), Ok(Some(_)))
    }
}

/// The namespaces that the helper starts in. User and time namespaces are made by the helper, the network's by its parent, and
/// on version 1 the cgroup namespace by the helper too, because it must follow the move into the group.
fn namespaces(in_group: bool) -> u64 {
    let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if in_group {
        flags |= libc::CLONE_NEWCGROUP;
    }
    u64::from(flags.unsigned_abs())
}

fn own_network() -> Result<OwnedFd, StepFailure> {
    let path = "/proc/self/ns/net";
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).at(Step::Network, path)
}

fn loopback() -> Result<(), StepFailure> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .at(Step::Network, "socket")?;
    sys::loopback_up(socket.as_fd()).at(Step::Network, "lo")
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
