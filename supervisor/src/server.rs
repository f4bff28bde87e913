//! The jails of one hosted server: those that its front asked for, and one that waits set up for the next request.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use gaoler_jail::check;
use gaoler_jail::spawn::Spawner;
use gaoler_wire::id::{InstanceId, ServerName, Ticket};
use gaoler_wire::message::{Evidence, ExitCause};
use gaoler_wire::policy::Transport;
use rustix::pipe::PipeFlags;

use crate::cli::Hosting;
use crate::data::Volume;
use crate::host::Host;
use crate::instance::{End, Instance};
use crate::plan;
use crate::restart::Allowance;

/// Jails of one server at a time; a front that asks for more is told to come back later.
pub const INSTANCES_MAX: usize = 4096;

/// Bytes in a pipe between a front and a server; more than the default saves wake-ups on large answers.
const PIPE_SIZE: usize = 256 << 10;

/// One hosted server.
pub struct Server {
    hosting: Hosting,
    secrets: Vec<(String, Vec<u8>)>,
    volume: Option<Volume>,
    allowance: Allowance,
    jails: BTreeMap<InstanceId, Served>,
    /// whether any jail ever reached its payload's first instruction
    pub ever_started: bool,
}

/// One of its jails.
pub struct Served {
    /// the jail
    pub instance: Instance,
    /// connections asked for and not yet answered
    pub dials: VecDeque<Ticket>,
    ticket: Option<Ticket>,
    ends: Option<[OwnedFd; 3]>,
    asked_to_stop: bool,
}

/// What became of a request to start.
pub enum Start {
    /// under way; the jail reports
    Begun,
    /// not now; a sentence and the time until another try makes sense
    NotNow(String, Duration),
}

impl Server {
    /// A server without jails.
    #[must_use]
    pub fn new(hosting: Hosting, secrets: Vec<(String, Vec<u8>)>, volume: Option<Volume>) -> Self {
        Self {
            hosting,
            secrets,
            volume,
            allowance: Allowance::default(),
            jails: BTreeMap::new(),
            ever_started: false,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ServerName {
        &self.hosting.name
    }

    /// The port that it listens on, if it speaks HTTP.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self.hosting.transport {
            Transport::Stdio => None,
            Transport::Http { port, .. } => Some(port),
        }
    }

    /// Its jails.
    pub fn jails(&mut self) -> &mut BTreeMap<InstanceId, Served> {
        &mut self.jails
    }

    /// Whether the front asked for this jail and it has not ended.
    #[must_use]
    pub fn is_asked_for(&self, id: InstanceId) -> bool {
        self.jails.get(&id).is_some_and(|served| served.ticket.is_some())
    }

    /// Whether no jail waits for the next request.
    #[must_use]
    pub fn lacks_spare(&self) -> bool {
        self.jails.values().all(|served| served.ticket.is_some())
    }

    /// Starts a jail for a request: the waiting one, or a new one under the id given.
    pub fn start(
        &mut self,
        spawner: &Spawner,
        host: &Host,
        ticket: Ticket,
        new: InstanceId,
        now: Instant,
    ) -> Start {
        let wait = self.allowance.wait(now);
        if !wait.is_zero() {
            return Start::NotNow(format!("{} keeps failing and is started again later", self.name()), wait);
        }
        if let Some(served) = self.jails.values_mut().find(|served| served.ticket.is_none()) {
            served.ticket = Some(ticket);
            if served.instance.phase() == crate::instance::Phase::Held {
                served.instance.go();
            }
            return Start::Begun;
        }
        if self.jails.len() >= INSTANCES_MAX {
            return Start::NotNow(format!("{INSTANCES_MAX} jails run already"), Duration::from_secs(1));
        }
        match self.spawn(spawner, host, Some(ticket), new) {
            Ok(()) => Start::Begun,
            Err(reason) => Start::NotNow(reason, Duration::ZERO),
        }
    }

    /// Sets a jail up under the id given, for `ticket` or for whoever asks next.
    ///
    /// # Errors
    /// The step that failed; nothing is left.
    pub fn spawn(
        &mut self,
        spawner: &Spawner,
        host: &Host,
        ticket: Option<Ticket>,
        id: InstanceId,
    ) -> Result<(), String> {
        let pipe =
            || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| format!("cannot make a pipe: {e}"));
        let ((input, to), (from, output), (log, error)) = (pipe()?, pipe()?, pipe()?);
        for end in [&to, &from] {
            // Only speed depends on it: the kernel may have a smaller limit.
            let _ = rustix::pipe::fcntl_setpipe_size(end, PIPE_SIZE);
        }
        let streams = [input.as_fd(), output.as_fd(), error.as_fd()];
        let volume = self.volume.as_ref().map(|volume| volume.path.as_str());
        let given = plan::Given { hosting: &self.hosting, secrets: &self.secrets, volume };
        let make = |host_id| plan::Plan { held: true, ..plan::server(&given, host, host_id) };
        let instance =
            Instance::start(spawner, host, &self.hosting.limits, streams, make).map_err(|e| e.to_string())?;
        instance.give(&streams);
        let (ends, dials) = (Some([to, from, log]), VecDeque::new());
        self.jails.insert(id, Served { instance, dials, ticket, ends, asked_to_stop: false });
        Ok(())
    }

    /// The jail is set up and checked: it goes on if somebody asked for it.
    pub fn on_ready(&mut self, id: InstanceId) {
        if let Some(served) = self.jails.get_mut(&id)
            && served.ticket.is_some()
        {
            served.instance.go();
        }
    }

    /// The payload runs: who asked, what was proven, and the front's ends of its streams.
    pub fn on_started(&mut self, id: InstanceId, host: &Host) -> Option<(Ticket, Evidence, Vec<OwnedFd>)> {
        self.ever_started = true;
        let served = self.jails.get_mut(&id)?;
        let facts = served.instance.facts()?;
        let evidence = Evidence {
            host_uid: facts.uid_map[1],
            landlock_abi: facts.landlock_abi,
            checks: check::count(facts),
            weakened: host.weakened(),
        };
        Some((served.ticket?, evidence, served.ends.take()?.into()))
    }

    /// Ends a jail as its front asked.
    pub fn stop(&mut self, id: InstanceId) {
        if let Some(served) = self.jails.get_mut(&id)
            && served.ticket.is_some()
        {
            served.asked_to_stop = true;
            served.instance.stop();
        }
    }

    /// Ends every jail that a front asked for, because that front is gone.
    pub fn kill_asked_for(&mut self) {
        for served in self.jails.values_mut().filter(|served| served.ticket.is_some()) {
            served.asked_to_stop = true;
            served.instance.kill();
        }
    }

    /// Ends every jail.
    pub fn stop_all(&mut self) {
        for served in self.jails.values_mut() {
            served.asked_to_stop = true;
            served.instance.stop();
        }
    }

    /// Buries a jail that has ended.
    pub fn on_end(&mut self, id: InstanceId, now: Instant) -> Option<Ended> {
        let served = self.jails.remove(&id)?;
        let end = served.instance.finish();
        if served.ticket.is_some() && !served.asked_to_stop && end.cause != ExitCause::Stopped {
            self.allowance.failed(now);
        }
        let wait = self.allowance.wait(now);
        let (ticket, dials, had_started) = (served.ticket, served.dials, served.ends.is_none());
        Some(Ended { end, ticket, dials, had_started, wait })
    }
}

/// A jail that has ended.
pub struct Ended {
    /// how
    pub end: End,
    /// who had asked for it
    pub ticket: Option<Ticket>,
    /// connections asked for and not yet answered
    pub dials: VecDeque<Ticket>,
    /// whether the front had been told that it started
    pub had_started: bool,
    /// until another start makes sense
    pub wait: Duration,
}
