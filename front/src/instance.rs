//! One jail of a hosted server: its standard streams and its end.
//!
//! Promises: what is written in one turn of the event loop leaves in one write; a server that does not read, writes an
//! endless line or closes its output is ended with a reason; the end is told once, and soon.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use gaoler_wire::id::InstanceId;
use gaoler_wire::message::{ExitCause, FrontLimits, Usage};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits::{Bucket, Budget, Held};
use crate::lines::{Line, Splitter, TooLong};
use crate::log;
use crate::metrics::Metrics;
use crate::monitor::{Monitor, Started, Watcher};
use crate::stderr::{self, Tail};

/// How long the end of the output waits for the supervisor's word on why. That word comes within a few milliseconds of a
/// death, later on a machine that is overloaded; only a server that closed its output and lives on takes the whole time.
const CAUSE_WAIT: Duration = Duration::from_millis(200);

/// How long a known end waits for the last words on standard error and output.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(40);

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// A buffer that grew beyond this for one big frame is given back, in bytes.
const KEEP_BUFFER: usize = 256 * 1024;

/// Who gets the lines of a server.
pub(crate) trait Consumer {
    /// One line of its standard output.
    fn line(&self, line: Line<'_>);
    /// There will be no more; one sentence says why.
    fn ended(&self, why: &str);
}

/// Why a frame was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteError {
    /// the server has ended
    Ended,
    /// the server does not read
    Full,
}

/// What every instance of a front shares.
pub(crate) struct Surroundings {
    /// the way to the supervisor
    pub(crate) monitor: Rc<Monitor>,
    /// counters
    pub(crate) metrics: Rc<Metrics>,
    /// bounds
    pub(crate) limits: FrontLimits,
    /// what may wait
    pub(crate) budget: Rc<Budget>,
    /// what is kept for clients that come back, in bytes over all sessions
    pub(crate) kept: Cell<usize>,
}

/// One running jail.
pub(crate) struct Instance {
    /// the supervisor's number
    pub(crate) id: InstanceId,
    name: String,
    around: Rc<Surroundings>,
    queue: RefCell<Vec<u8>>,
    /// what waits for the server to read it
    unread: RefCell<Held>,
    filled: Notify,
    consumer: RefCell<Option<Rc<dyn Consumer>>>,
    tail: Rc<RefCell<Tail>>,
    cause: RefCell<Option<ExitCause>>,
    exited: Notify,
    /// one sentence; set once, at the end
    end: RefCell<Option<Rc<str>>>,
    closing: Cell<bool>,
    stopped: Notify,
    skips: RefCell<Bucket>,
}

impl Instance {
    /// Takes over the streams of a jail that runs and starts to serve them.
    ///
    /// # Errors
    /// When a stream cannot be watched; the jail is stopped then.
    pub(crate) fn adopt(
        started: Started,
        name: &str,
        around: &Rc<Surroundings>,
    ) -> std::io::Result<Rc<Self>> {
        let Started { instance: id, stdin, stdout, stderr, .. } = started;
        let pipes = nonblocking(&stdin)
            .and_then(|()| nonblocking(&stdout))
            .and_then(|()| nonblocking(&stderr))
            .and_then(|()| Ok((Sender::from_owned_fd(stdin)?, Receiver::from_owned_fd(stdout)?)))
            .and_then(|(stdin, stdout)| Ok((stdin, stdout, Receiver::from_owned_fd(stderr)?)));
        let (stdin, stdout, stderr) = match pipes {
            Ok(pipes) => pipes,
            Err(e) => {
                around.monitor.stop(id);
                return Err(e);
            }
        };
        let instance = Rc::new(Self {
            id,
            name: format!("{name}#{id}"),
            around: around.clone(),
            queue: RefCell::default(),
            unread: RefCell::new(Held::new(&around.budget)),
            filled: Notify::new(),
            consumer: RefCell::default(),
            tail: Rc::default(),
            cause: RefCell::default(),
            exited: Notify::new(),
            end: RefCell::default(),
            closing: Cell::new(false),
            stopped: Notify::new(),
            skips: RefCell::new(Bucket::new(20, 2, Instant::now())),
        });
        let watcher: Rc<dyn Watcher> = instance.clone();
        tokio::task::spawn_local(instance.clone().write_all(stdin));
        tokio::task::spawn_local(instance.clone().run(stdout, stderr));
        around.monitor.watch(id, Rc::downgrade(&watcher));
        Ok(instance)
    }

    /// From now on `consumer` gets the lines. Told at once when the server has ended already.
    pub(crate) fn attach(&self, consumer: Rc<dyn Consumer>) {
        let end = self.end.borrow().clone();
        match end {
            Some(why) => consumer.ended(&why),
            None => *self.consumer.borrow_mut() = Some(consumer),
        }
    }

    /// Whether it still runs and is wanted.
    pub(crate) fn is_live(&self) -> bool {
        self.end.borrow().is_none() && !self.closing.get()
    }

    /// Why it ended, for a call that comes too late.
    pub(crate) fn why(&self) -> String {
        self.end.borrow().as_deref().unwrap_or("the hosted server is being stopped").to_owned()
    }

    /// Appends one frame by `fill` and its line end.
    ///
    /// # Errors
    /// Nothing was written.
    pub(crate) fn write(&self, fill: impl FnOnce(&mut Vec<u8>)) -> Result<(), WriteError> {
        if !self.is_live() {
            return Err(WriteError::Ended);
        }
        let (mut queue, mut unread) = (self.queue.borrow_mut(), self.unread.borrow_mut());
        let before = queue.len();
        fill(&mut queue);
        queue.push(b'\n');
        let added = queue.len() - before;
        let waiting = unread.bytes() + added;
        if !unread.set(waiting) {
            queue.truncate(before);
            return Err(WriteError::Full);
        }
        self.around.metrics.bytes_in.add(added as u64);
        if before == 0 {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Ends the jail; nobody is told about its end any more.
    pub(crate) fn stop(&self) {
        self.consumer.borrow_mut().take();
        if !self.closing.replace(true) {
            self.filled.notify_one();
            self.stopped.notify_one();
            if self.cause.borrow().is_none() {
                self.around.monitor.stop(self.id);
            }
        }
    }

    /// A line that is no message: logged now and then, and counted.
    pub(crate) fn skip(&self, line: &[u8], why: &str) {
        self.around.metrics.skipped_lines.add(1);
        if let Some(missed) = self.skips.borrow_mut().pass(Instant::now()) {
            let quoted = log::quote(line);
            log::line(format_args!(
                "{}: skipped a line ({why}; {missed} not shown before): {quoted}",
                self.name
            ));
        }
    }

    async fn write_all(self: Rc<Self>, stdin: Sender) {
        let mut chunk = Vec::new();
        loop {
            std::mem::swap(&mut chunk, &mut *self.queue.borrow_mut());
            if chunk.is_empty() {
                if self.closing.get() || self.end.borrow().is_some() {
                    return;
                }
                self.filled.notified().await;
                continue;
            }
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                match stdin.try_write(rest) {
                    Ok(length) => rest = &rest[length..],
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                        tokio::select! {
                            ready = stdin.writable() => if ready.is_err() { return },
                            () = self.stopped.notified() => return,
                        }
                    }
                    Err(_) => return,
                }
            }
            let mut unread = self.unread.borrow_mut();
            let left = unread.bytes().saturating_sub(chunk.len());
            unread.set(left);
            drop(unread);
            chunk.clear();
            chunk.shrink_to(KEEP_BUFFER);
        }
    }

    /// Reads until the end, waits a little for the reason, and tells it.
    async fn run(self: Rc<Self>, stdout: Receiver, stderr: Receiver) {
        let drained = tokio::task::spawn_local(stderr::drain(stderr, self.name.clone(), self.tail.clone()));
        let own = tokio::select! {
            end = self.read_all(stdout) => end,
            () = self.after_exit() => None,
        };
        if own.is_none() {
            let _ = tokio::time::timeout(CAUSE_WAIT, self.cause_known()).await;
            let _ = tokio::time::timeout(LAST_WORDS_WAIT, drained).await;
        }
        self.finish(own);
    }

    /// Ready some time after the jail has ended, in case its output does not end with it.
    async fn after_exit(&self) {
        self.cause_known().await;
        tokio::time::sleep(LAST_WORDS_WAIT).await;
    }

    async fn cause_known(&self) {
        while self.cause.borrow().is_none() {
            self.exited.notified().await;
        }
    }

    /// Hands over lines until the end; the reason when it is one of this side.
    async fn read_all(&self, mut stdout: Receiver) -> Option<String> {
        let limit = usize::try_from(self.around.limits.line_bytes).unwrap_or(usize::MAX);
        let mut lines = Splitter::new(limit);
        let mut held = Held::new(&self.around.budget);
        loop {
            lines.buffer.reserve(CHUNK);
            // Knows from a short read that the pipe is empty, and saves the second read that would say so.
            let length = match stdout.read_buf(&mut lines.buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(length) => length,
            };
            self.around.metrics.bytes_out.add(length as u64);
            if lines.split(|line| self.hand_over(line)) == Err(TooLong) {
                return Some(format!(
                    "the hosted server wrote a line of more than {limit} bytes and was stopped"
                ));
            }
            if !held.set(lines.buffer.len()) {
                return Some(
                    "the hosted server wrote a long line while memory was short and was stopped".to_owned(),
                );
            }
            if length >= CHUNK {
                // A flood must leave the thread to others.
                tokio::task::yield_now().await;
            }
        }
    }

    fn hand_over(&self, line: Line<'_>) {
        if line.bytes().iter().all(u8::is_ascii_whitespace) {
            return;
        }
        let consumer = self.consumer.borrow().clone();
        match consumer {
            Some(consumer) => consumer.line(line),
            None if self.closing.get() => {}
            None => self.skip(line.bytes(), "nobody waits for it"),
        }
    }

    fn finish(&self, own: Option<String>) {
        let cause = self.cause.borrow().clone();
        let mut why = match (own, &cause) {
            (Some(own), _) => own,
            (None, Some(cause)) => format!("the hosted server {cause}"),
            (None, None) => "the hosted server closed its standard output".to_owned(),
        };
        let last = self.tail.borrow().lines();
        if !last.is_empty() {
            why = format!("{why}; its last messages: {last}");
        }
        let wanted = !self.closing.get();
        *self.end.borrow_mut() = Some(why.as_str().into());
        *self.queue.borrow_mut() = Vec::new();
        self.unread.borrow_mut().set(0);
        self.filled.notify_one();
        self.stopped.notify_one();
        if wanted {
            log::line(format_args!("{}: {}", self.name, log::quote(why.as_bytes())));
            if cause.is_none() {
                self.around.monitor.stop(self.id);
            }
        }
        let consumer = self.consumer.borrow_mut().take();
        if let Some(consumer) = consumer {
            consumer.ended(&why);
        }
    }
}

impl Watcher for Instance {
    fn exited(&self, cause: ExitCause) {
        *self.cause.borrow_mut() = Some(cause);
        self.around.metrics.forget(self.id);
        self.exited.notify_one();
    }

    fn usage(&self, usage: Usage) {
        let server = self.name.split('#').next().unwrap_or_default();
        self.around.metrics.used(self.id, server, usage);
    }
}

/// Makes reads and writes return at once. The other end of a pipe keeps its own mode.
fn nonblocking(fd: &std::os::fd::OwnedFd) -> std::io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK)?)
}
