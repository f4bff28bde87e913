//! The loop's dealings with the jails of its server: reports, starts, ends, and the one that waits ready.

use std::time::Instant;

use gaoler_jail::step::{Step, StepFailure};
use gaoler_wire::id::{InstanceId, ServerName, Ticket};
use gaoler_wire::message::McpEvent;

use super::Supervisor;
use super::watch::{unwatch, watch_instance};
use crate::instance::Happened;
use crate::permit::Known;
use crate::server::{Server, Start};
use crate::{jail_command, log};

/// Connections to one server that may wait for its process 1, which opens one at a time; fewer than its channel holds.
const DIALS_MAX: usize = 64;

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
    pub(super) fn on_report(&mut self, id: InstanceId) {
        if let Some((front_id, front)) = &mut self.front
            && *front_id == id
        {
            let _ = front.instance.on_report();
            if front.instance.is_silent() {
                unwatch(&self.epoll, front.instance.fds().0);
            }
            return;
        }
        let Some(served) = self.server.jails().get_mut(&id) else { return };
        match served.instance.on_report() {
            Happened::Nothing => {}
            Happened::Silent => unwatch(&self.epoll, served.instance.fds().0),
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

    pub(super) fn on_started(&mut self, id: InstanceId) {
        if let Some((ticket, evidence, fds)) = self.server.on_started(id, &self.host) {
            self.tell(McpEvent::Started { ticket, instance: id, evidence }, fds);
        }
        self.refill();
    }

    pub(super) fn on_end(&mut self, id: InstanceId) {
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
        for ticket in ended.dials {
            self.tell(McpEvent::DialFailed { ticket, reason: format!("the server {cause}") }, vec![]);
        }
        match ended.ticket {
            Some(_) if ended.had_started => self.tell(McpEvent::Exited { instance: id, cause }, vec![]),
            Some(ticket) => {
                let retry_after_ms = milliseconds_up(ended.wait);
                let reason = format!("{} {cause}", self.server.name());
                self.tell(McpEvent::StartFailed { ticket, reason, retry_after_ms }, vec![]);
            }
            // At the end of the run it was told to.
            None if self.ending.is_some() => {}
            None => log::line(&format!("a jail that waited for its first session ended: {cause}")),
        }
    }

    /// A server whose very first jail cannot be made never will be: the command line is wrong.
    pub(super) fn give_up(&mut self, failure: &StepFailure) {
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

    pub(super) fn start(&mut self, ticket: Ticket) {
        let id = self.fresh_id();
        match self.server.start(&self.spawner, &self.host, ticket, id, Instant::now()) {
            Start::Begun => self.watch_jail(id),
            Start::NotNow(reason, wait) => {
                let retry_after_ms = milliseconds_up(wait);
                self.tell(McpEvent::StartFailed { ticket, reason, retry_after_ms }, vec![]);
            }
        }
    }

    pub(super) fn dial(&mut self, ticket: Ticket, id: InstanceId) {
        match (self.server.port(), self.server.jails().get_mut(&id)) {
            (Some(_), Some(served)) if served.dials.len() >= DIALS_MAX => {
                let reason = format!("{DIALS_MAX} connections to the server are being opened already");
                self.tell(McpEvent::DialFailed { ticket, reason }, vec![]);
            }
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
    pub(super) fn refill(&mut self) {
        if self.ending.is_some() || !self.server.lacks_spare() {
            return;
        }
        let id = self.fresh_id();
        match self.server.spawn(&self.spawner, &self.host, None, id) {
            Ok(()) => self.watch_jail(id),
            Err(reason) if self.server.ever_started => {
                log::line(&format!("no jail could be prepared: {reason}"))
            }
            Err(reason) => {
                log::line(&reason);
                self.status = jail_command::setup_failed();
                self.end_now();
            }
        }
    }

    pub(super) fn watch_jail(&mut self, id: InstanceId) {
        let Some(served) = self.server.jails().get(&id) else { return };
        if watch_instance(&self.epoll, id, served.instance.fds()).is_err() {
            log::line("a jail cannot be watched and is ended: no descriptors are left");
            if let Some(served) = self.server.jails().get_mut(&id) {
                served.instance.kill();
            }
            self.on_end(id);
        }
    }

    pub(super) fn tell_usage(&mut self) {
        let asked: Vec<_> = self.server.jails().keys().copied().collect();
        for id in asked.into_iter().filter(|id| self.server.is_asked_for(*id)).collect::<Vec<_>>() {
            if let Some(usage) = self.server.jails().get(&id).map(|served| served.instance.usage()) {
                self.tell(McpEvent::Usage { instance: id, usage }, vec![]);
            }
        }
    }
}

/// Rounded up: a rest of less than a millisecond told as zero would mean that waiting is of no use.
fn milliseconds_up(wait: std::time::Duration) -> u32 {
    u32::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u32::MAX)
}
