//! Standard streams between a terminal and a jail: the jail never holds a descriptor of the caller's terminal, files or
//! sockets, only pipes, so that nothing of the host's can be reached or changed through them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

/// Bytes under way in one direction; a write of this size to a pipe that polls writable does not block.
const CHUNK: usize = 4096;

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
    caller: BorrowedFd<'a>,
    pipe: OwnedFd,
    waiting: Vec<u8>,
}

impl<'a> Stream<'a> {
    /// Prepares the stream of one of the caller's descriptors.
    ///
    /// # Errors
    /// The kernel's, when no pipe can be made.
    pub fn new(caller: BorrowedFd<'a>, way: Way) -> rustix::io::Result<Self> {
        let is_pipe = rustix::fs::fstat(caller)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
        if is_pipe {
            return Ok(Self { jail: Some(rustix::io::fcntl_dupfd_cloexec(caller, 3)?), pump: None });
        }
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (jail, pipe) = match way {
            Way::In => (read, write),
            Way::Out => (write, read),
        };
        rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
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

    /// Copies what is left after the jail's end: every writer is gone, so this ends.
    pub fn drain(&mut self) {
        while let Some(pump) = &mut self.pump {
            if pump.way == Way::In || !pump.step() {
                self.pump = None;
            }
        }
    }
}

impl Pump<'_> {
    fn ends(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        match self.way {
            Way::In => (self.caller, self.pipe.as_fd()),
            Way::Out => (self.pipe.as_fd(), self.caller),
        }
    }

    /// One read or one write; false when this direction is over.
    fn step(&mut self) -> bool {
        let (from, to) = match self.way {
            Way::In => (self.caller, self.pipe.as_fd()),
            Way::Out => (self.pipe.as_fd(), self.caller),
        };
        if self.waiting.is_empty() {
            let mut buffer = [0u8; CHUNK];
            match rustix::io::read(from, &mut buffer) {
                Ok(0) => return false,
                Ok(n) => self.waiting.extend_from_slice(&buffer[..n]),
                Err(Errno::AGAIN | Errno::INTR) => return self.way == Way::In || from_is_open(from),
                Err(_) => return false,
            }
        }
        match rustix::io::write(to, &self.waiting) {
            Ok(n) => {
                self.waiting.drain(..n);
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => true,
            Err(_) => false,
        }
    }
}

/// Whether an empty pipe still has a writer.
fn from_is_open(from: BorrowedFd<'_>) -> bool {
    let mut fds = [rustix::event::PollFd::from_borrowed_fd(from, PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut fds, Some(&now)) {
        Ok(_) => !fds[0].revents().contains(PollFlags::HUP),
        Err(_) => false,
    }
}
