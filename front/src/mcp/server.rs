//! One hosted server as the front knows it: its sessions, its jails, and what it was found to speak.
//!
//! Promises: sessions are bounded, the longest unused one makes room; jails are started ahead where configured; a start
//! that is worth waiting for is waited for.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use gaoler_wire::id::ServerName;
use gaoler_wire::message::{Evidence, ServedServer};
use gaoler_wire::policy::{SessionMode, Transport};
use tokio::time::Instant;

use super::modern::Modern;
use super::probe;
use super::session::{Principal, Session};
use super::shared::Shared;
use super::tools::Tools;
use super::upstream::Upstreams;
use crate::error::{Failure, INTERNAL, REFUSED};
use crate::instance::{Instance, Surroundings};
use crate::log;
use crate::monitor::{StartFailed, Started};

/// A back-off up to this long is waited for; a longer one is the client's, in milliseconds.
const PATIENCE_MS: u32 = 3000;

/// Callers with a modern child at once.
const PRINCIPALS_MAX: usize = 256;

/// How far a server has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// it has not been asked yet
    Starting,
    /// it answered
    Ready,
    /// it did not start or not answer
    Failed,
}

/// What was found out about a server.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    /// how far it has come
    pub(crate) phase: Phase,
    /// how many tools it offers
    pub(crate) tools: Option<usize>,
    /// whether it speaks revision 2026-07-28
    pub(crate) modern: Option<bool>,
    /// what the check from inside its latest jail saw
    pub(crate) evidence: Option<Evidence>,
    /// why it failed
    pub(crate) problem: Option<String>,
}

/// The server.
pub(crate) struct Server {
    /// its name in the URL
    pub(crate) name: ServerName,
    /// how legacy sessions map to jails
    pub(crate) mode: SessionMode,
    /// how it speaks
    pub(crate) transport: Transport,
    /// what everything shares
    pub(crate) around: Rc<Surroundings>,
    /// the jail of all legacy sessions in shared mode
    pub(crate) shared: Rc<Shared>,
    /// jails of a server that speaks HTTP itself
    pub(crate) upstreams: Upstreams,
    /// what its tool list says about headers
    pub(crate) tools: RefCell<Tools>,
    /// what was found out
    pub(crate) status: RefCell<Status>,
    warm: usize,
    pool: RefCell<Vec<Rc<Instance>>>,
    filling: Cell<bool>,
    /// sessions whose server has not answered yet
    opening: Rc<Cell<usize>>,
    sessions: RefCell<HashMap<Box<str>, Rc<Session>>>,
    /// sessions by caller
    counts: RefCell<HashMap<Principal, usize>>,
    modern: RefCell<HashMap<Principal, Rc<Modern>>>,
    probing: tokio::sync::Mutex<()>,
    /// how often it was asked what it speaks
    probes: Cell<u64>,
    /// it refused `initialize`, but speaks the modern era
    pub(crate) modern_only: Cell<bool>,
    me: Weak<Server>,
}

impl Server {
    /// A server without jails.
    pub(crate) fn new(served: &ServedServer, around: &Rc<Surroundings>) -> Rc<Self> {
        let status =
            Status { phase: Phase::Starting, tools: None, modern: None, evidence: None, problem: None };
        // A server that speaks HTTP and one that all sessions share have no use for jails ahead of sessions.
        let pooled = served.session_mode == SessionMode::Isolated && served.transport == Transport::Stdio;
        Rc::new_cyclic(|me: &Weak<Self>| Self {
            name: served.name.clone(),
            mode: served.session_mode,
            transport: served.transport.clone(),
            around: around.clone(),
            shared: Shared::new(me.clone()),
            upstreams: Upstreams::new(me.clone()),
            tools: RefCell::default(),
            status: RefCell::new(status),
            warm: if pooled { served.warm as usize } else { 0 },
            pool: RefCell::default(),
            filling: Cell::new(false),
            opening: Rc::default(),
            sessions: RefCell::default(),
            counts: RefCell::default(),
            modern: RefCell::default(),
            probing: tokio::sync::Mutex::new(()),
            probes: Cell::new(0),
            modern_only: Cell::new(false),
            me: me.clone(),
        })
    }

    /// A jail: one that was started ahead, or a new one.
    ///
    /// # Errors
    /// Why there is none, and when to come back.
    pub(crate) async fn take(&self) -> Result<Rc<Instance>, Failure> {
        let ready = loop {
            match self.pool.borrow_mut().pop() {
                Some(instance) if instance.is_live() => break Some(instance),
                Some(_) => {}
                None => break None,
            }
        };
        self.fill();
        match ready {
            Some(instance) => Ok(instance),
            None => self.start().await,
        }
    }

    /// Starts jails ahead, in the background.
    pub(crate) fn fill(&self) {
        if self.pool.borrow().len() >= self.warm || self.filling.replace(true) {
            return;
        }
        let Some(me) = self.me.upgrade() else { return };
        tokio::task::spawn_local(async move {
            while me.pool.borrow().len() < me.warm {
                match me.start().await {
                    Ok(instance) => me.pool.borrow_mut().push(instance),
                    Err(_) => break,
                }
            }
            me.filling.set(false);
        });
    }

    /// Starts a jail, waiting for a short back-off.
    ///
    /// # Errors
    /// Why there is none, and when to come back.
    pub(crate) async fn start(&self) -> Result<Rc<Instance>, Failure> {
        let started = self.start_raw().await?;
        let adopted = Instance::adopt(started, self.name.as_str(), &self.around);
        adopted.map_err(|e| {
            Failure::new(503, INTERNAL, format!("could not take over the server's streams: {e}"))
        })
    }

    async fn start_raw(&self) -> Result<Started, Failure> {
        let mut waited = 0u32;
        loop {
            match self.around.monitor.start(&self.name).await {
                Ok(started) => {
                    self.around.metrics.starts.add(1);
                    self.status.borrow_mut().evidence = Some(started.evidence.clone());
                    return Ok(started);
                }
                Err(StartFailed { retry_after_ms, .. })
                    if retry_after_ms > 0 && waited.saturating_add(retry_after_ms) <= PATIENCE_MS =>
                {
                    waited += retry_after_ms;
                    tokio::time::sleep(Duration::from_millis(retry_after_ms.into())).await;
                }
                Err(StartFailed { reason, retry_after_ms }) => {
                    self.around.metrics.start_failures.add(1);
                    log::line(format_args!(
                        "{}: could not be started: {}",
                        self.name,
                        log::quote(reason.as_bytes())
                    ));
                    let why = format!("the hosted server could not be started: {reason}");
                    return Err(Failure::new(503, INTERNAL, why).retry_after_ms(retry_after_ms));
                }
            }
        }
    }

    /// Whether the server speaks revision 2026-07-28; asked once, and again after a failure.
    ///
    /// # Errors
    /// Why it could not be asked.
    pub(crate) async fn speaks_modern(&self) -> Result<bool, Failure> {
        if let Some(known) = self.status.borrow().modern {
            return Ok(known);
        }
        let runs = self.probes.get();
        let _one = self.probing.lock().await;
        if let Some(known) = self.status.borrow().modern {
            return Ok(known);
        }
        if runs != self.probes.get() {
            // Whoever waited for a question that failed does not ask it again.
            let why = self.status.borrow().problem.clone().unwrap_or_default();
            return Err(Failure::new(503, INTERNAL, why).retry_after_ms(1000));
        }
        let found = probe::run(self).await;
        self.probes.set(runs + 1);
        let mut status = self.status.borrow_mut();
        match found {
            Ok(found) => {
                status.phase = Phase::Ready;
                status.tools = found.tools;
                status.modern = Some(found.modern);
                status.problem = None;
                Ok(found.modern)
            }
            Err(failure) => {
                status.phase = Phase::Failed;
                status.problem = Some(failure.message.clone());
                Err(failure)
            }
        }
    }

    /// Whether a server that refused `initialize` is known, or about to be known, to speak the modern era.
    pub(crate) async fn is_modern_only(&self) -> bool {
        let (known, phase) = {
            let status = self.status.borrow();
            (status.modern, status.phase)
        };
        match (known, phase) {
            (Some(known), _) => known,
            (None, Phase::Starting) => self.speaks_modern().await.unwrap_or(false),
            (None, Phase::Ready | Phase::Failed) => false,
        }
    }

    /// Makes room for one more session of this caller; it counts from now on.
    ///
    /// # Errors
    /// Every session is in use.
    pub(crate) fn make_room(&self, principal: &Principal) -> Result<Opening, Failure> {
        let limits = &self.around.limits;
        let full = || {
            let why = "all sessions of this server are in use; end one or come back later";
            Failure::new(503, REFUSED, why).retry_after_ms(5000)
        };
        let sessions = self.sessions.borrow();
        let opening = self.opening.get();
        let mine = self.counts.borrow().get(principal).copied().unwrap_or(0) + opening;
        let of_mine = mine >= limits.sessions_per_principal as usize;
        if !of_mine && sessions.len() + opening < limits.sessions_per_server as usize {
            return Ok(Opening::new(&self.opening));
        }
        let candidates = sessions.values().filter(|session| !of_mine || session.principal == *principal);
        let oldest = candidates.filter_map(|s| s.idle_since().map(|at| (at, s))).min_by_key(|(at, _)| *at);
        let victim = oldest.map(|(_, session)| session.clone()).ok_or_else(full)?;
        drop(sessions);
        self.around.metrics.sessions_evicted.add(1);
        victim.end("the session made room for a newer one");
        Ok(Opening::new(&self.opening))
    }

    /// Adds a session.
    pub(crate) fn admit(&self, session: Rc<Session>) {
        self.around.metrics.sessions_opened.add(1);
        *self.counts.borrow_mut().entry(session.principal.clone()).or_default() += 1;
        self.sessions.borrow_mut().insert(session.id.clone(), session);
    }

    /// Forgets a session that has ended.
    pub(crate) fn forget(&self, session: &Session) {
        if self.sessions.borrow_mut().remove(&session.id).is_none() {
            return;
        }
        let mut counts = self.counts.borrow_mut();
        if let Some(count) = counts.get_mut(&session.principal) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&session.principal);
            }
        }
    }

    /// The session with this id.
    pub(crate) fn session(&self, id: &str) -> Option<Rc<Session>> {
        self.sessions.borrow().get(id).cloned()
    }

    /// All sessions.
    pub(crate) fn sessions(&self) -> Vec<Rc<Session>> {
        self.sessions.borrow().values().cloned().collect()
    }

    /// How many sessions there are.
    pub(crate) fn session_count(&self) -> usize {
        self.sessions.borrow().len() + self.upstreams.count()
    }

    /// The session, if there is only one.
    pub(crate) fn only_session(&self) -> Option<Rc<Session>> {
        let sessions = self.sessions.borrow();
        if sessions.len() == 1 { sessions.values().next().cloned() } else { None }
    }

    /// The modern side for this caller.
    ///
    /// # Errors
    /// Too many callers at once.
    pub(crate) fn modern(&self, principal: &Principal) -> Result<Rc<Modern>, Failure> {
        if let Some(modern) = self.modern.borrow().get(principal) {
            return Ok(modern.clone());
        }
        let me = self
            .me
            .upgrade()
            .ok_or_else(|| Failure::new(503, INTERNAL, "the server is not hosted any more"))?;
        let mut all = self.modern.borrow_mut();
        if all.len() >= PRINCIPALS_MAX {
            return Err(Failure::new(503, REFUSED, "too many callers use this server").retry_after_ms(5000));
        }
        let modern = Modern::new(me);
        all.insert(principal.clone(), modern.clone());
        Ok(modern)
    }

    /// Requests in flight that will have an answer.
    pub(crate) fn in_flight(&self) -> usize {
        let legacy: usize = self.sessions.borrow().values().map(|session| session.in_flight()).sum();
        let modern: usize = self.modern.borrow().values().map(|modern| modern.pending()).sum();
        legacy + modern + self.upstreams.in_flight() + self.opening.get()
    }

    /// Ends what has waited too long, and replaces jails that died unused.
    pub(crate) fn sweep(&self, now: Instant) {
        self.pool.borrow_mut().retain(|instance| instance.is_live());
        self.fill();
        let limits = &self.around.limits;
        let late = now.checked_sub(Duration::from_millis(limits.request_ms));
        let idle = Duration::from_millis(limits.idle_ms);
        let message = format!("the hosted server did not answer within {} ms", limits.request_ms);
        for session in self.sessions() {
            session.backend.sweep();
            if let Some(late) = late.filter(|_| session.in_flight() > 0) {
                session.expire(late, &message);
            }
            if session.idle_since().is_some_and(|at| now.saturating_duration_since(at) >= idle) {
                self.around.metrics.sessions_evicted.add(1);
                session.end("the session was not used for too long");
            }
        }
        if let (Some(mux), Some(late)) = (self.shared.running(), late) {
            mux.expire(late, &message);
        }
        let modern: Vec<_> = self.modern.borrow().values().cloned().collect();
        for modern in modern {
            modern.sweep(late, &message);
        }
        self.upstreams.sweep(now, idle);
    }
}

/// Counts one session that is being opened.
pub(crate) struct Opening(Rc<Cell<usize>>);

impl Opening {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(count.clone())
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}
