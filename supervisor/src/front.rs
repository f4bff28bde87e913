//! One front process: its jail, its channel with a bounded queue, and its log lines.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use gaoler_jail::spawn::Spawner;
use gaoler_wire::channel::{self, ChannelError};
use gaoler_wire::message::{McpConfig, McpEvent, McpRequest};
use gaoler_wire::policy::Limits;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use crate::host::Host;
use crate::instance::Instance;
use crate::permit::FrontState;
use crate::{log, plan};

/// Messages that may wait for a front; one that lets more pile up is wedged.
const QUEUE_MAX: usize = 16_384;

/// What one front may use: memory for every bounded buffer, few tasks, no share of the processors taken away.
const MEMORY: u64 = 2 << 30;
const TASKS: u32 = 32;

/// Descriptors beyond one for each connection: three for each jail and some of its own.
const SPARE_FILES: u64 = 4096;

/// A running front.
#[derive(Debug)]
pub struct Front {
    /// its jail
    pub instance: Instance,
    /// where it is in its life
    pub state: FrontState,
    /// when it was started
    pub since: Instant,
    channel: OwnedFd,
    log: OwnedFd,
    line: Vec<u8>,
    waiting: VecDeque<(McpEvent, Vec<OwnedFd>)>,
}

impl Front {
    /// Starts a front of role `mcp` and sends it its configuration and the listening socket.
    ///
    /// # Errors
    /// One sentence; nothing is left.
    pub fn start(
        spawner: &Spawner,
        host: &Host,
        executable: &Path,
        config: McpConfig,
        listener: BorrowedFd<'_>,
    ) -> Result<Self, String> {
        let io = |e: rustix::io::Errno| format!("cannot make the front's descriptors: {e}");
        let (channel, theirs) =
            channel::pair().map_err(|e| format!("cannot make the front's channel: {e}"))?;
        let (log, log_write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(io)?;
        for fd in [&channel, &log] {
            let flags = rustix::fs::fcntl_getfl(fd).map_err(io)?;
            rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK).map_err(io)?;
        }
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cpu_milli = u32::try_from(processors).unwrap_or(u32::MAX).saturating_mul(1000);
        let limits = Limits { memory_bytes: MEMORY, cpu_milli, pids: TASKS };
        let files = u64::from(config.limits.connections) + SPARE_FILES;
        let executable = executable.to_string_lossy();
        // Standard input is the one descriptor that safe code can name, so it is the channel.
        let streams = [theirs.as_fd(), log_write.as_fd(), log_write.as_fd()];
        let make = |id| plan::front(&executable, "mcp", files, host, id);
        let instance = Instance::start(spawner, host, &limits, streams, make)
            .map_err(|e| format!("cannot start the front: {e}"))?;
        let state = FrontState::Configured;
        let waiting = VecDeque::new();
        let mut front =
            Self { instance, state, since: Instant::now(), channel, log, line: Vec::new(), waiting };
        let listener = listener.try_clone_to_owned().map_err(|e| format!("cannot copy the listener: {e}"))?;
        front.tell(McpEvent::Configure(config), vec![listener]);
        Ok(front)
    }

    /// Its channel and its log, to be polled for input.
    #[must_use]
    pub fn fds(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        (self.channel.as_fd(), self.log.as_fd())
    }

    /// Whether messages wait for room, so that the channel is to be polled for output as well.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends a message, now or as soon as there is room.
    pub fn tell(&mut self, event: McpEvent, fds: Vec<OwnedFd>) {
        if self.waiting.len() >= QUEUE_MAX {
            log::line("the front does not read its messages; it is ended");
            self.instance.kill();
            return;
        }
        self.waiting.push_back((event, fds));
        self.flush();
    }

    /// Sends what waits, as far as there is room.
    pub fn flush(&mut self) {
        while let Some((event, fds)) = self.waiting.front() {
            let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            match channel::send(self.channel.as_fd(), event, &borrowed) {
                Ok(()) => {
                    self.waiting.pop_front();
                }
                Err(ChannelError::WouldBlock) => return,
                // It has ended; its end is told when its pidfd says so.
                Err(ChannelError::Closed) => self.waiting.clear(),
                Err(e) => {
                    log::line(&format!("a message to the front was not sent: {e}"));
                    self.instance.kill();
                    self.waiting.clear();
                }
            }
        }
    }

    /// Takes one request; `None` when there is none. A front that breaks the protocol is ended.
    pub fn request(&mut self) -> Option<McpRequest> {
        match channel::receive::<McpRequest>(self.channel.as_fd()) {
            Ok((request, fds)) if fds.is_empty() => Some(request),
            Ok(_) => self.offence("it sent descriptors"),
            Err(ChannelError::WouldBlock) => None,
            // Its end is seen on its pidfd.
            Err(ChannelError::Closed) => {
                self.instance.kill();
                None
            }
            Err(e) => self.offence(&e.to_string()),
        }
    }

    /// Relays log lines, each bounded and cleaned, so that a front cannot forge the supervisor's own. False at the end of
    /// the log, which would be ready to read for ever.
    pub fn relay_log(&mut self) -> bool {
        let mut buffer = [0u8; 16 * 1024];
        let read = match rustix::io::read(&self.log, &mut buffer) {
            Ok(read) => read,
            Err(Errno::AGAIN | Errno::INTR) => return true,
            Err(_) => return false,
        };
        for &byte in &buffer[..read] {
            if byte == b'\n' || self.line.len() >= log::LINE_MAX {
                log::line(&format!("front: {}", String::from_utf8_lossy(&self.line)));
                self.line.clear();
            }
            if byte != b'\n' {
                self.line.push(byte);
            }
        }
        read > 0
    }

    fn offence<T>(&mut self, what: &str) -> Option<T> {
        log::line(&format!("the front broke the protocol and is ended: {what}"));
        self.instance.kill();
        None
    }
}
