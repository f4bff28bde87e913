//! Standard streams between a terminal and a jail: the jail never holds a descriptor of the caller's terminal, files or
//! sockets, only pipes, so that nothing of the host's can be reached or changed through them.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::pipe::PipeFlags;

/// Bytes under way in one direction; a write of this size to a pipe that polls writable does not block.
const CHUNK: usize = 4096;

/// `PIPEFS_MAGIC` of linux/magic.h: a pipe without a name, unlike a FIFO, is no file of the host's.
const PIPEFS: rustix::fs::FsWord = 0x5049_5045;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// from the caller to the jail
    In,
    /// from the jail to the caller
    Out,
}

/// One stream, copied or passed.
#[derive(Debug)]
pub struct Stream<'a> {
    /// the jail's end, until it was handed over
    jail: Option<OwnedFd>,
    /// the copying, when the caller's descriptor is not a pipe
    pump: Option<Pump<'a>>,
}

#[derive(Debug)]
struct Pump<'a> {
    way: Way,
    caller: Caller<'a>,
    pipe: OwnedFd,
    waiting: Vec<u8>,
}

impl<'a> Stream<'a> {
    /// Prepares the stream of one of the caller's descriptors.
    ///
    /// # Errors
    /// The kernel's, when no pipe can be made.
    pub fn new(caller: BorrowedFd<'a>, way: Way) -> rustix::io::Result<Self> {
        let kind = rustix::fs::fstat(caller).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let anonymous = || rustix::fs::fstatfs(caller).is_ok_and(|fs| fs.f_type == PIPEFS);
        if kind == Ok(FileType::Fifo) && anonymous() {
            return Ok(Self { jail: Some(rustix::io::fcntl_dupfd_cloexec(caller, 3)?), pump: None });
        }
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (jail, pipe) = match way {
            Way::In => (read, write),
            Way::Out => (write, read),
        };
        rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        let caller = Caller::of(caller, way, kind.ok());
        Ok(Self { jail: Some(jail), pump: Some(Pump { way, caller, pipe, waiting: Vec::new() }) })
    }

    /// The jail's end.
    #[must_use]
    pub fn jail(&self) -> Option<BorrowedFd<'_>> {
        self.jail.as_ref().map(AsFd::as_fd)
    }

    /// The jail's end if it is a pipe that was made here, and not the caller's own.
    #[must_use]
    pub fn own_end(&self) -> Vec<BorrowedFd<'_>> {
        self.jail.iter().filter(|_| self.pump.is_some()).map(AsFd::as_fd).collect()
    }

    /// Lets go of the jail's end once the jail has it, so that its end can be seen.
    pub fn handed_over(&mut self) {
        self.jail = None;
    }

    /// What to poll for, while there is something to copy.
    #[must_use]
    pub fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let pump = self.pump.as_ref()?;
        let (from, to) = pump.ends();
        Some(if pump.waiting.is_empty() { (from, PollFlags::IN) } else { (to, PollFlags::OUT) })
    }

    /// Copies what can be copied. Call when the descriptor of [`Stream::interest`] is ready.
    pub fn copy(&mut self) {
        if let Some(pump) = &mut self.pump
            && !pump.step()
        {
            self.pump = None;
        }
    }

    /// Nobody reads any more; what was written may still be copied.
    pub fn jail_has_ended(&mut self) {
        if self.pump.as_ref().is_some_and(|pump| pump.way == Way::In) {
            self.pump = None;
        }
    }
}

impl Pump<'_> {
    fn ends(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        match self.way {
            Way::In => (self.caller.as_fd(), self.pipe.as_fd()),
            Way::Out => (self.pipe.as_fd(), self.caller.as_fd()),
        }
    }

    /// One read or one write; false when this direction is over.
    fn step(&mut self) -> bool {
        if self.waiting.is_empty() {
            let mut buffer = [0u8; CHUNK];
            match rustix::io::read(self.ends().0, &mut buffer) {
                Ok(0) => return false,
                Ok(n) => self.waiting.extend_from_slice(&buffer[..n]),
                Err(Errno::AGAIN | Errno::INTR) => return true,
                Err(_) => return false,
            }
        }
        let written = match self.way {
            Way::In => rustix::io::write(&self.pipe, &self.waiting),
            Way::Out => self.caller.write(&self.waiting),
        };
        match written {
            Ok(n) => {
                self.waiting.drain(..n);
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => true,
            Err(_) => false,
        }
    }
}

/// The caller's descriptor. A write to it does not wait, whatever it is: a stopped terminal or a peer that does not read
/// must not keep signals and the time limit from being heard.
#[derive(Debug)]
enum Caller<'a> {
    /// a file; or a pipe with a name, which takes a chunk whenever it polls writable
    Plain(BorrowedFd<'a>),
    /// opened again, because the mode of waiting belongs to the open file that others share
    Terminal(OwnedFd),
    Socket(BorrowedFd<'a>),
}

impl<'a> Caller<'a> {
    fn of(fd: BorrowedFd<'a>, way: Way, kind: Option<FileType>) -> Self {
        match (way, kind) {
            (Way::Out, Some(FileType::Socket)) => Self::Socket(fd),
            (Way::Out, Some(FileType::CharacterDevice)) => {
                let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
                // Without /proc it is written to as it is.
                rustix::fs::open(path, flags, Mode::empty()).map_or(Self::Plain(fd), Self::Terminal)
            }
            _ => Self::Plain(fd),
        }
    }

    fn write(&self, bytes: &[u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Plain(fd) => rustix::io::write(fd, bytes),
            Self::Terminal(fd) => rustix::io::write(fd, bytes),
            Self::Socket(fd) => rustix::net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
        }
    }
}

impl AsFd for Caller<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(fd) | Self::Socket(fd) => *fd,
            Self::Terminal(fd) => fd.as_fd(),
        }
    }
}
