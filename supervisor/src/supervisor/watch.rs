//! What the loop watches: descriptors under numbers that say whose they are.

use std::os::fd::{BorrowedFd, OwnedFd};

use gaoler_wire::id::InstanceId;
use rustix::event::epoll;
use rustix::io::Errno;

use super::About;

pub(super) fn watch(epoll: &OwnedFd, fd: BorrowedFd<'_>, key: u64) -> Result<(), Errno> {
    epoll::add(epoll, fd, epoll::EventData::new_u64(key), epoll::EventFlags::IN)
}

/// Stops watching a channel that is at its end, which would be ready all the time.
pub(super) fn unwatch(epoll: &OwnedFd, fd: BorrowedFd<'_>) {
    // It can only fail for what is not watched.
    let _ = epoll::delete(epoll, fd);
}

pub(super) fn watch_instance(
    epoll: &OwnedFd,
    id: InstanceId,
    (report, end, memory): (BorrowedFd<'_>, BorrowedFd<'_>, Option<BorrowedFd<'_>>),
) -> Result<(), Errno> {
    let key = |about: About| id.0 << 2 | about as u64;
    watch(epoll, report, key(About::Report))?;
    watch(epoll, end, key(About::End))?;
    memory.map_or(Ok(()), |fd| watch(epoll, fd, key(About::Memory)))
}
