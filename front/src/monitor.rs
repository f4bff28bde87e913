//! What this process may ask of the supervisor: one stub per request, over the channel of [`gaoler_wire`].
//!
//! Promises: an answer reaches the stub that asked or, when that has gone meanwhile, what it started is stopped again;
//! a channel that breaks ends the process, because nothing can be cleaned up without it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::{Rc, Weak};

use gaoler_wire::channel::{self, ChannelError};
use gaoler_wire::id::{InstanceId, ServerName, Ticket};
use gaoler_wire::message::{Evidence, ExitCause, McpEvent, McpRequest, Usage};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::oneshot;

/// A jail that runs, with its standard streams.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) instance: InstanceId,
    pub(crate) evidence: Evidence,
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// Why a jail did not start.
#[derive(Clone, Debug)]
pub(crate) struct StartFailed {
    /// one sentence
    pub(crate) reason: String,
    /// milliseconds until another try makes sense
    pub(crate) retry_after_ms: u32,
}

/// What happens to one jail after its start.
pub(crate) trait Watcher {
    /// It has ended and nothing is left of it.
    fn exited(&self, cause: ExitCause);
    /// New readings.
    fn usage(&self, usage: Usage);
}

/// What concerns the whole front.
#[derive(Debug)]
pub(crate) enum Order {
    /// finish within this many milliseconds
    Drain(u32),
}

/// Who is told about a jail. A jail may end before the stub that started it has run on.
enum Watch {
    Nobody(Option<ExitCause>),
    Told(Weak<dyn Watcher>),
}

type Answer<T, E> = oneshot::Sender<Result<T, E>>;

/// The front's end of the channel.
pub(crate) struct Monitor {
    /// a `SOCK_SEQPACKET` socket; the type only serves its readiness
    channel: UnixDatagram,
    next: Cell<u64>,
    starts: RefCell<HashMap<Ticket, Answer<Started, StartFailed>>>,
    dials: RefCell<HashMap<Ticket, Answer<OwnedFd, String>>>,
    watches: RefCell<HashMap<InstanceId, Watch>>,
    unsent: RefCell<std::collections::VecDeque<McpRequest>>,
    room: tokio::sync::Notify,
}

impl Monitor {
    /// Takes over the channel, which must not block.
    ///
    /// # Errors
    /// When the descriptor cannot be watched.
    pub(crate) fn new(channel: OwnedFd) -> io::Result<Rc<Self>> {
        Ok(Rc::new(Self {
            channel: UnixDatagram::from_std(channel.into())?,
            next: Cell::new(1),
            starts: RefCell::default(),
            dials: RefCell::default(),
            watches: RefCell::default(),
            unsent: RefCell::default(),
            room: tokio::sync::Notify::new(),
        }))
    }

    /// The next event, with its descriptors.
    ///
    /// # Errors
    /// When the supervisor is gone or breaks the protocol.
    pub(crate) async fn receive(&self) -> Result<(McpEvent, Vec<OwnedFd>), ChannelError> {
        self.when(Interest::READABLE, || channel::receive(self.channel.as_fd())).await
    }

    /// Does something as soon as the channel would not block.
    async fn when<T>(
        &self,
        what: Interest,
        mut act: impl FnMut() -> Result<T, ChannelError>,
    ) -> Result<T, ChannelError> {
        let ready = self.channel.async_io(what, || match act() {
            Err(ChannelError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            other => Ok(other),
        });
        ready.await.unwrap_or(Err(ChannelError::Closed))
    }

    /// Queues a request; [`Self::send_all`] carries it out in order.
    fn ask(&self, request: McpRequest) {
        self.unsent.borrow_mut().push_back(request);
        self.room.notify_one();
    }

    /// Sends what is asked, for ever. The queue is bounded by what can be asked: a start per session or caller, a stop
    /// per jail, a dial per connection, all of which are bounded.
    pub(crate) async fn send_all(&self) -> ChannelError {
        loop {
            let Some(request) = self.unsent.borrow().front().cloned() else {
                self.room.notified().await;
                continue;
            };
            let sent = self.when(Interest::WRITABLE, || channel::send(self.channel.as_fd(), &request, &[]));
            match sent.await {
                Ok(()) => drop(self.unsent.borrow_mut().pop_front()),
                Err(e) => return e,
            }
        }
    }

    fn ticket(&self) -> Ticket {
        let next = self.next.get();
        self.next.set(next + 1);
        Ticket(next)
    }

    /// Says that connections are accepted.
    pub(crate) fn ready(&self) {
        self.ask(McpRequest::Ready);
    }

    /// Says that nothing is in flight any more.
    pub(crate) fn drained(&self) {
        self.ask(McpRequest::Drained);
    }

    /// Starts one jail of this server.
    ///
    /// # Errors
    /// The supervisor's reason.
    pub(crate) async fn start(self: &Rc<Self>, server: &ServerName) -> Result<Started, StartFailed> {
        let ticket = self.ticket();
        let (tell, answer) = oneshot::channel();
        self.starts.borrow_mut().insert(ticket, tell);
        self.ask(McpRequest::Start { ticket, server: server.clone() });
        let mut wait = StartWait { monitor: self.clone(), answer };
        let gone =
            || StartFailed { reason: "the supervisor does not answer".to_owned(), retry_after_ms: 1000 };
        (&mut wait.answer).await.unwrap_or_else(|_| Err(gone()))
    }

    /// Ends this jail.
    pub(crate) fn stop(&self, instance: InstanceId) {
        self.ask(McpRequest::Stop { instance });
    }

    /// Opens a connection to the HTTP port inside this jail.
    ///
    /// # Errors
    /// The supervisor's reason.
    pub(crate) async fn dial(&self, instance: InstanceId) -> Result<OwnedFd, String> {
        let ticket = self.ticket();
        let (tell, answer) = oneshot::channel();
        self.dials.borrow_mut().insert(ticket, tell);
        self.ask(McpRequest::Dial { ticket, instance });
        answer.await.unwrap_or_else(|_| Err("the supervisor does not answer".to_owned()))
    }

    /// From now on `watcher` is told what happens to this jail.
    pub(crate) fn watch(&self, instance: InstanceId, watcher: Weak<dyn Watcher>) {
        let before = self.watches.borrow_mut().insert(instance, Watch::Told(watcher.clone()));
        if let Some(Watch::Nobody(Some(cause))) = before {
            self.watches.borrow_mut().remove(&instance);
            if let Some(watcher) = watcher.upgrade() {
                watcher.exited(cause);
            }
        }
    }

    /// How many jails run.
    pub(crate) fn instances(&self) -> usize {
        self.watches.borrow().len()
    }

    /// Carries out one event; what concerns the whole front is given back.
    pub(crate) fn dispatch(&self, event: McpEvent, fds: Vec<OwnedFd>) -> Option<Order> {
        match event {
            McpEvent::Configure(_) => None,
            McpEvent::Started { ticket, instance, evidence } => {
                self.started(ticket, instance, evidence, fds);
                None
            }
            McpEvent::StartFailed { ticket, reason, retry_after_ms } => {
                if let Some(tell) = self.starts.borrow_mut().remove(&ticket) {
                    let _ = tell.send(Err(StartFailed { reason, retry_after_ms }));
                }
                None
            }
            McpEvent::Exited { instance, cause } => {
                self.exited(instance, cause);
                None
            }
            McpEvent::Dialed { ticket } => {
                let socket = fds.into_iter().next().ok_or_else(|| "the connection did not arrive".to_owned());
                self.dialed(ticket, socket);
                None
            }
            McpEvent::DialFailed { ticket, reason } => {
                self.dialed(ticket, Err(reason));
                None
            }
            McpEvent::Usage { instance, usage } => {
                let watcher = match self.watches.borrow().get(&instance) {
                    Some(Watch::Told(watcher)) => watcher.upgrade(),
                    _ => None,
                };
                if let Some(watcher) = watcher {
                    watcher.usage(usage);
                }
                None
            }
            McpEvent::Drain { grace_ms } => Some(Order::Drain(grace_ms)),
        }
    }

    fn started(&self, ticket: Ticket, instance: InstanceId, evidence: Evidence, fds: Vec<OwnedFd>) {
        let tell = self.starts.borrow_mut().remove(&ticket);
        let streams: Result<[OwnedFd; 3], _> = fds.try_into();
        let (Some(tell), Ok([stdin, stdout, stderr])) = (tell, streams) else {
            return self.stop(instance);
        };
        let started = Started { instance, evidence, stdin, stdout, stderr };
        if tell.send(Ok(started)).is_err() {
            return self.stop(instance);
        }
        self.watches.borrow_mut().insert(instance, Watch::Nobody(None));
    }

    fn exited(&self, instance: InstanceId, cause: ExitCause) {
        let watcher = {
            let mut watches = self.watches.borrow_mut();
            match watches.get_mut(&instance) {
                Some(Watch::Nobody(early)) => {
                    *early = Some(cause);
                    return;
                }
                Some(Watch::Told(_)) | None => watches.remove(&instance),
            }
        };
        if let Some(Watch::Told(watcher)) = watcher
            && let Some(watcher) = watcher.upgrade()
        {
            watcher.exited(cause);
        }
    }

    fn dialed(&self, ticket: Ticket, socket: Result<OwnedFd, String>) {
        if let Some(tell) = self.dials.borrow_mut().remove(&ticket) {
            let _ = tell.send(socket);
        }
    }
}

/// A start that is waited for; when the waiting ends early, the jail must not stay.
struct StartWait {
    monitor: Rc<Monitor>,
    answer: oneshot::Receiver<Result<Started, StartFailed>>,
}

impl Drop for StartWait {
    fn drop(&mut self) {
        // An answer that arrives after this finds no receiver, and the jail is stopped there.
        if let Ok(Ok(started)) = self.answer.try_recv() {
            self.monitor.watches.borrow_mut().remove(&started.instance);
            self.monitor.stop(started.instance);
        }
        self.answer.close();
    }
}
