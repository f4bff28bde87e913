//! The supervisor's poll loop for one server and its front: everything that happens is an event on a descriptor or a
//! deadline, and nothing here waits for anything else.

mod front_side;
mod jail_side;
mod watch;

use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gaoler_jail::spawn::Spawner;
use gaoler_jail::sys;
use gaoler_wire::id::InstanceId;
use gaoler_wire::message::{McpConfig, McpEvent};
use rustix::event::epoll;
use rustix::io::Errno;

use crate::front::Front;
use crate::host::Host;
use crate::permit::FrontState;
use crate::restart::Backoff;
use crate::server::Server;
use crate::{jail_command, log};

use crate::instance::timespec;
use watch::{unwatch, watch};

/// Between two readings of every jail's cgroup.
const USAGE_EVERY: Duration = Duration::from_secs(5);

/// How long a front may finish what is in flight.
const DRAIN: Duration = Duration::from_secs(10);

/// How long the last jails may take to end, after which they are killed.
const LAST: Duration = Duration::from_secs(8);

/// Events taken from the kernel at once.
const BATCH: usize = 64;

const SIGNALS: u64 = 0;
const CHANNEL: u64 = 1;
const LOG: u64 = 2;
/// The first number of instances; the front's jail is one of them.
const FIRST: u64 = 4;

/// What an instance's event was about; the low bits of its number.
#[derive(Clone, Copy, Debug)]
enum About {
    Report = 0,
    End = 1,
    Memory = 2,
}

/// A foreground supervisor.
pub struct Supervisor {
    host: Host,
    spawner: Spawner,
    server: Server,
    front: Option<(InstanceId, Front)>,
    front_executable: PathBuf,
    front_backoff: Backoff,
    front_due: Option<Instant>,
    config: McpConfig,
    listener: TcpListener,
    url: String,
    announced: bool,
    epoll: OwnedFd,
    signals: OwnedFd,
    next: u64,
    ends_at: Option<Instant>,
    ending: Option<Instant>,
    usage_at: Instant,
    status: u8,
}

/// What a supervisor is made of.
pub struct Parts {
    /// facts about this host
    pub host: Host,
    /// starts jails
    pub spawner: Spawner,
    /// the hosted server
    pub server: Server,
    /// the front's executable, without links
    pub front_executable: PathBuf,
    /// what the front serves
    pub config: McpConfig,
    /// bound and listening
    pub listener: TcpListener,
    /// what to announce when everything is ready
    pub url: String,
    /// when the run ends by itself
    pub ends_at: Option<Instant>,
}

impl Supervisor {
    /// Prepares the loop.
    ///
    /// # Errors
    /// One sentence when the kernel has no more descriptors.
    pub fn new(parts: Parts) -> Result<Self, String> {
        let io = |e: Errno| format!("cannot make the event loop: {e}");
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io)?;
        let signals = sys::signal_events(&[1, 2, 15]).map_err(io)?;
        watch(&epoll, signals.as_fd(), SIGNALS).map_err(io)?;
        let Parts { host, spawner, server, front_executable, config, listener, url, ends_at } = parts;
        Ok(Self {
            host,
            spawner,
            server,
            front: None,
            front_executable,
            front_backoff: Backoff::default(),
            front_due: Some(Instant::now()),
            config,
            listener,
            url,
            announced: false,
            epoll,
            signals,
            next: FIRST,
            ends_at,
            ending: None,
            usage_at: Instant::now() + USAGE_EVERY,
            status: 0,
        })
    }

    /// Runs until it was told to end and nothing is left. Returns the exit status.
    ///
    /// # Errors
    /// One sentence when the event loop itself fails; every jail dies with this process.
    pub fn run(mut self) -> Result<u8, String> {
        self.refill();
        let mut events = Vec::with_capacity(BATCH);
        loop {
            let now = Instant::now();
            self.on_time(now);
            if self.ending.is_some() && self.front.is_none() && self.server.jails().is_empty() {
                return Ok(self.status);
            }
            events.clear();
            let rest = self.next_deadline().map(|at| timespec(at.saturating_duration_since(now)));
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), rest.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(format!("the event loop failed: {e}")),
            }
            for event in &events {
                let (key, flags) = (event.data.u64(), event.flags);
                self.on_event(key, flags);
            }
        }
    }

    fn on_event(&mut self, key: u64, flags: epoll::EventFlags) {
        match key {
            SIGNALS => self.on_signal(),
            CHANNEL => self.on_channel(flags),
            LOG => {
                if let Some((_, front)) = &mut self.front
                    && !front.relay_log()
                {
                    unwatch(&self.epoll, front.fds().1);
                }
            }
            _ => {
                let id = InstanceId(key >> 2);
                match key & 3 {
                    about if about == About::End as u64 => self.on_end(id),
                    about if about == About::Memory as u64 => {
                        if let Some(served) = self.server.jails().get_mut(&id) {
                            served.instance.on_memory();
                        }
                    }
                    _ => self.on_report(id),
                }
            }
        }
    }

    fn on_signal(&mut self) {
        while sys::next_signal(self.signals.as_fd()).is_some() {
            match self.ending {
                None => self.drain(),
                Some(_) => {
                    self.server.kill_asked_for();
                    self.end_now();
                }
            }
        }
    }

    fn drain(&mut self) {
        self.ending = Some(Instant::now() + DRAIN);
        match &mut self.front {
            Some((_, front)) => {
                front.state = FrontState::Draining;
                let grace_ms = u32::try_from(DRAIN.as_millis()).unwrap_or(u32::MAX);
                front.tell(McpEvent::Drain { grace_ms }, vec![]);
            }
            None => self.end_now(),
        }
    }

    /// Ends the front and every jail; the loop goes on until they are gone.
    fn end_now(&mut self) {
        self.ending = Some(Instant::now() + LAST);
        self.front_due = None;
        self.server.stop_all();
        if let Some((_, front)) = &mut self.front {
            front.instance.kill();
        }
    }

    fn fail(&mut self, reason: &str) {
        log::line(reason);
        self.status = jail_command::setup_failed();
        self.end_now();
    }

    fn on_time(&mut self, now: Instant) {
        if self.front_due.is_some_and(|at| at <= now) && self.ending.is_none() {
            self.start_front(now);
        }
        if self.ends_at.is_some_and(|at| at <= now) && self.ending.is_none() {
            log::line("the time of --timeout is over");
            self.drain();
        }
        if self.ending.is_some_and(|at| at <= now) {
            self.end_now();
            self.server.jails().values_mut().for_each(|served| served.instance.kill());
        }
        if let Some((_, front)) = &mut self.front {
            front.instance.on_deadline(now);
        }
        self.server.jails().values_mut().for_each(|served| served.instance.on_deadline(now));
        if self.usage_at <= now {
            self.usage_at = now + USAGE_EVERY;
            self.tell_usage();
        }
        self.poll_front();
    }

    fn next_deadline(&mut self) -> Option<Instant> {
        let jails = self.server.jails().values().filter_map(|served| served.instance.deadline()).min();
        let front = self.front.as_ref().and_then(|(_, front)| front.instance.deadline());
        let own = [
            self.front_due,
            self.ends_at.filter(|_| self.ending.is_none()),
            self.ending,
            Some(self.usage_at),
        ];
        own.into_iter().chain([jails, front]).flatten().min()
    }

    fn fresh_id(&mut self) -> InstanceId {
        self.next += 1;
        InstanceId(self.next)
    }
}
