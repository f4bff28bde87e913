//! The supervisor's poll loop for one server and its front: everything that happens is an event on a descriptor or a
//! deadline, and nothing here waits for anything else.

use std::io::Write;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gaoler_jail::spawn::Spawner;
use gaoler_jail::step::{Step, StepFailure};
use gaoler_jail::sys;
use gaoler_wire::id::{InstanceId, ServerName, Ticket};
use gaoler_wire::message::{McpConfig, McpEvent, McpRequest};
use rustix::event::epoll;
use rustix::io::Errno;

use crate::front::Front;
use crate::host::Host;
use crate::instance::{Happened, Phase};
use crate::permit::{self, FrontState, Known};
use crate::restart::Backoff;
use crate::server::{Server, Start};
use crate::{jail_command, log};

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

impl Known for Server {
    fn serves(&self, server: &ServerName) -> bool {
        self.name() == server
    }
    fn owns(&self, instance: InstanceId) -> bool {
        self.is_asked_for(instance)
    }
    fn listens(&self, _instance: InstanceId) -> bool {
        self.port().is_some()
    }
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
                if let Some((_, front)) = &mut self.front {
                    front.relay_log();
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

    fn on_report(&mut self, id: InstanceId) {
        if let Some((front_id, front)) = &mut self.front
            && *front_id == id
        {
            let _ = front.instance.on_report();
            return;
        }
        let Some(served) = self.server.jails().get_mut(&id) else { return };
        match served.instance.on_report() {
            Happened::Nothing => {}
            Happened::Ready => {
                self.server.on_ready(id);
                self.announce();
            }
            Happened::Started => self.on_started(id),
            Happened::Dialed(socket) => {
                if let Some(ticket) = served.dials.pop_front() {
                    self.tell(McpEvent::Dialed { ticket }, vec![socket]);
                }
            }
            Happened::DialFailed(errno) => {
                if let Some(ticket) = served.dials.pop_front() {
                    let cause = std::io::Error::from_raw_os_error(errno);
                    let reason = format!("the server accepts no connection on its port: {cause}");
                    self.tell(McpEvent::DialFailed { ticket, reason }, vec![]);
                }
            }
        }
    }

    fn on_started(&mut self, id: InstanceId) {
        if let Some((ticket, evidence, fds)) = self.server.on_started(id, &self.host) {
            self.tell(McpEvent::Started { ticket, instance: id, evidence }, fds);
        }
        self.refill();
    }

    fn on_end(&mut self, id: InstanceId) {
        let now = Instant::now();
        if self.front.as_ref().is_some_and(|(front, _)| *front == id) {
            self.on_front_end(now);
            return;
        }
        let Some(ended) = self.server.on_end(id, now) else { return };
        if let Some(failure) = ended.end.failure.as_ref().filter(|_| !self.server.ever_started) {
            self.give_up(failure);
        }
        let cause = ended.end.cause;
        match ended.ticket {
            Some(_) if ended.had_started => self.tell(McpEvent::Exited { instance: id, cause }, vec![]),
            Some(ticket) => {
                let retry_after_ms = u32::try_from(ended.wait.as_millis()).unwrap_or(u32::MAX);
                let reason = format!("{} {cause}", self.server.name());
                self.tell(McpEvent::StartFailed { ticket, reason, retry_after_ms }, vec![]);
            }
            None => log::line(&format!("a jail that waited for its first session ended: {cause}")),
        }
    }

    /// A server whose very first jail cannot be made never will be: the command line is wrong.
    fn give_up(&mut self, failure: &StepFailure) {
        if self.ending.is_some() {
            return;
        }
        log::line(&failure.to_string());
        self.status = match failure.step {
            Step::Exec => jail_command::exec_status(failure),
            _ => jail_command::setup_failed(),
        };
        self.end_now();
    }

    fn on_front_end(&mut self, now: Instant) {
        let Some((_, mut front)) = self.front.take() else { return };
        front.relay_log();
        let lived = now.saturating_duration_since(front.since);
        let end = front.instance.finish();
        self.server.kill_asked_for();
        if self.ending.is_some() {
            self.server.stop_all();
            return;
        }
        self.front_backoff.failed(lived, now);
        let wait = self.front_backoff.wait(now);
        log::line(&format!("the front {}; it is started again in {} ms", end.cause, wait.as_millis()));
        self.front_due = Some(now + wait);
    }

    fn on_channel(&mut self, flags: epoll::EventFlags) {
        if flags.contains(epoll::EventFlags::OUT)
            && let Some((_, front)) = &mut self.front
        {
            front.flush();
        }
        self.poll_front();
        // Bounded: a front that never stops asking must not keep everything else waiting.
        for _ in 0..BATCH {
            let Some((_, front)) = &mut self.front else { return };
            let Some(request) = front.request() else { return };
            match permit::mcp(front.state, request, &self.server) {
                Ok(permit) => self.answer(permit.into_request()),
                Err(offence) => {
                    log::line(&offence.to_string());
                    front.instance.kill();
                    return;
                }
            }
        }
    }

    fn answer(&mut self, request: McpRequest) {
        match request {
            McpRequest::Ready => {
                if let Some((_, front)) = &mut self.front {
                    front.state = FrontState::Serving;
                }
                self.announce();
            }
            McpRequest::Start { ticket, server: _ } => self.start(ticket),
            McpRequest::Stop { instance } => self.server.stop(instance),
            McpRequest::Dial { ticket, instance } => self.dial(ticket, instance),
            McpRequest::Drained => self.end_now(),
        }
    }

    fn start(&mut self, ticket: Ticket) {
        let id = self.fresh_id();
        match self.server.start(&self.spawner, &self.host, ticket, id, Instant::now()) {
            Start::Begun => self.watch_jail(id),
            Start::NotNow(reason, wait) => {
                let retry_after_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
                self.tell(McpEvent::StartFailed { ticket, reason, retry_after_ms }, vec![]);
            }
        }
    }

    fn dial(&mut self, ticket: Ticket, id: InstanceId) {
        match (self.server.port(), self.server.jails().get_mut(&id)) {
            (Some(port), Some(served)) => {
                served.dials.push_back(ticket);
                served.instance.dial(port);
            }
            _ => {
                let reason = "the server has ended".to_owned();
                self.tell(McpEvent::DialFailed { ticket, reason }, vec![]);
            }
        }
    }

    /// Keeps one jail set up ahead of the next request.
    fn refill(&mut self) {
        if self.ending.is_some() || !self.server.lacks_spare() {
            return;
        }
        let id = self.fresh_id();
        match self.server.spawn(&self.spawner, &self.host, None, id, Instant::now()) {
            Ok(()) => self.watch_jail(id),
            Err(reason) if self.server.ever_started => log::line(&format!("no jail could be prepared: {reason}")),
            Err(reason) => {
                log::line(&reason);
                self.status = jail_command::setup_failed();
                self.end_now();
            }
        }
    }

    fn watch_jail(&mut self, id: InstanceId) {
        let Some(served) = self.server.jails().get(&id) else { return };
        if watch_instance(&self.epoll, id, served.instance.fds()).is_err() {
            log::line("a jail cannot be watched and is ended: no descriptors are left");
            self.server.jails().remove(&id).map(|served| served.instance.finish());
        }
    }

    fn start_front(&mut self, now: Instant) {
        self.front_due = None;
        let id = self.fresh_id();
        let config = self.config.clone();
        match Front::start(&self.spawner, &self.host, &self.front_executable, config, self.listener.as_fd()) {
            Ok(front) => {
                let (channel, log_end) = front.fds();
                let watched = watch(&self.epoll, channel, CHANNEL)
                    .and_then(|()| watch(&self.epoll, log_end, LOG))
                    .and_then(|()| watch_instance(&self.epoll, id, front.instance.fds()));
                self.front = Some((id, front));
                if watched.is_err() {
                    self.fail("the front cannot be watched: no descriptors are left");
                }
            }
            Err(reason) if self.announced => {
                log::line(&reason);
                self.front_backoff.failed(Duration::ZERO, now);
                self.front_due = Some(now + self.front_backoff.wait(now).max(Duration::from_millis(100)));
            }
            Err(reason) => self.fail(&reason),
        }
    }

    fn fail(&mut self, reason: &str) {
        log::line(reason);
        self.status = jail_command::setup_failed();
        self.end_now();
    }

    /// Says once that clients can come: the front serves and a jail could be made.
    fn announce(&mut self) {
        let serving = self.front.as_ref().is_some_and(|(_, front)| front.state == FrontState::Serving);
        let made = self.server.ever_started
            || self.server.jails().values().any(|served| matches!(served.instance.phase(), Phase::Held));
        if !self.announced && serving && made {
            self.announced = true;
            let mut out = std::io::stdout();
            // Whoever started us may not listen.
            let _ = writeln!(out, "ready {}", self.url).and_then(|()| out.flush());
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

    fn tell_usage(&mut self) {
        let asked: Vec<_> = self.server.jails().keys().copied().collect();
        for id in asked.into_iter().filter(|id| self.server.is_asked_for(*id)).collect::<Vec<_>>() {
            if let Some(usage) = self.server.jails().get(&id).map(|served| served.instance.usage()) {
                self.tell(McpEvent::Usage { instance: id, usage }, vec![]);
            }
        }
    }

    fn next_deadline(&mut self) -> Option<Instant> {
        let jails = self.server.jails().values().filter_map(|served| served.instance.deadline()).min();
        let front = self.front.as_ref().and_then(|(_, front)| front.instance.deadline());
        let own = [self.front_due, self.ends_at.filter(|_| self.ending.is_none()), self.ending, Some(self.usage_at)];
        own.into_iter().chain([jails, front]).flatten().min()
    }

    fn tell(&mut self, event: McpEvent, fds: Vec<OwnedFd>) {
        if let Some((_, front)) = &mut self.front {
            front.tell(event, fds);
        }
    }

    /// Polls the channel for output only while messages wait, or it would be ready all the time.
    fn poll_front(&mut self) {
        if let Some((_, front)) = &self.front {
            let mut flags = epoll::EventFlags::IN;
            if front.is_behind() {
                flags |= epoll::EventFlags::OUT;
            }
            // It fails only for a channel that is not watched, whose front is being ended.
            let _ = epoll::modify(&self.epoll, front.fds().0, epoll::EventData::new_u64(CHANNEL), flags);
        }
    }

    fn fresh_id(&mut self) -> InstanceId {
        self.next += 1;
        InstanceId(self.next)
    }
}

fn watch(epoll: &OwnedFd, fd: BorrowedFd<'_>, key: u64) -> Result<(), Errno> {
    epoll::add(epoll, fd, epoll::EventData::new_u64(key), epoll::EventFlags::IN)
}

fn watch_instance(
    epoll: &OwnedFd,
    id: InstanceId,
    (report, end, memory): (BorrowedFd<'_>, BorrowedFd<'_>, Option<BorrowedFd<'_>>),
) -> Result<(), Errno> {
    let key = |about: About| id.0 << 2 | about as u64;
    watch(epoll, report, key(About::Report))?;
    watch(epoll, end, key(About::End))?;
    memory.map_or(Ok(()), |fd| watch(epoll, fd, key(About::Memory)))
}

fn timespec(time: Duration) -> rustix::event::Timespec {
    rustix::event::Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}
