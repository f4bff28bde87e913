//! The loop's dealings with its front: requests, answers, start and end, and the one line that says that everything is ready.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use gaoler_wire::message::{McpEvent, McpRequest};
use rustix::event::epoll;

use super::watch::{unwatch, watch, watch_instance};
use super::{BATCH, CHANNEL, LOG, Supervisor};
use crate::front::Front;
use crate::instance::Phase;
use crate::log;
use crate::permit::{self, FrontState};

impl Supervisor {
    pub(super) fn on_channel(&mut self, flags: epoll::EventFlags) {
        if flags.contains(epoll::EventFlags::OUT)
            && let Some((_, front)) = &mut self.front
        {
            front.flush();
        }
        self.poll_front();
        // Bounded: a front that never stops asking must not keep everything else waiting.
        for _ in 0..BATCH {
            let Some((_, front)) = &mut self.front else { return };
            let Some(request) = front.request() else {
                if flags.contains(epoll::EventFlags::HUP) {
                    unwatch(&self.epoll, front.fds().0);
                }
                return;
            };
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

    pub(super) fn answer(&mut self, request: McpRequest) {
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

    pub(super) fn on_front_end(&mut self, now: Instant) {
        let Some((_, mut front)) = self.front.take() else { return };
        let _ = front.relay_log();
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

    pub(super) fn start_front(&mut self, now: Instant) {
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

    /// Says once that clients can come: the front serves and a jail could be made.
    pub(super) fn announce(&mut self) {
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

    pub(super) fn tell(&mut self, event: McpEvent, fds: Vec<OwnedFd>) {
        if let Some((_, front)) = &mut self.front {
            front.tell(event, fds);
        }
    }

    /// Polls the channel for output only while messages wait, or it would be ready all the time.
    pub(super) fn poll_front(&mut self) {
        if let Some((_, front)) = &self.front {
            let mut flags = epoll::EventFlags::IN;
            if front.is_behind() {
                flags |= epoll::EventFlags::OUT;
            }
            // It fails only for a channel that is not watched, whose front is being ended.
            let _ = epoll::modify(&self.epoll, front.fds().0, epoll::EventData::new_u64(CHANNEL), flags);
        }
    }
}
