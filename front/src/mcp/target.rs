//! One jail whose server speaks HTTP itself: connections into it, and requests over them.
//!
//! Promises: connections are opened by the jail's own process 1 and reused; a server that is not listening yet is waited
//! for within the start limit; a dead one is told apart from a slow one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::server::Server;
use crate::error::{Failure, INTERNAL};
use crate::instance::{Consumer, Instance};
use crate::lines::Line;

/// Connections that are kept for reuse.
const IDLE_MAX: usize = 64;

/// Between two tries to reach a server that does not listen yet.
const DIAL_PAUSE: Duration = Duration::from_millis(20);

/// How long the end of a connection waits for the jail's end, to say why.
const CAUSE_WAIT: Duration = Duration::from_millis(45);

/// The jail.
pub(crate) struct Target {
    /// its streams and end
    pub(crate) instance: Rc<Instance>,
    server: Rc<Server>,
    idle: RefCell<Vec<SendRequest<Full<Bytes>>>>,
    listening: Cell<bool>,
    /// requests and streams that are open
    pub(crate) in_use: Cell<usize>,
    /// when it was used last
    pub(crate) used: Cell<Instant>,
}

/// A server that speaks HTTP writes no messages to its standard output: it is a log.
struct Output(Rc<Instance>);

impl Consumer for Output {
    fn line(&self, line: Line<'_>) {
        self.0.skip(line.bytes(), "its standard output is a log");
    }

    fn ended(&self, _why: &str) {}
}

impl Target {
    /// Starts a jail and waits until its server listens.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn start(server: &Rc<Server>) -> Result<Rc<Self>, Failure> {
        let instance = server.start().await?;
        instance.attach(Rc::new(Output(instance.clone())));
        let target = Rc::new(Self {
            instance,
            server: server.clone(),
            idle: RefCell::default(),
            listening: Cell::new(false),
            in_use: Cell::new(0),
            used: Cell::new(Instant::now()),
        });
        let guard = StopUnlessReady(target.clone());
        let connection = target.connect().await?;
        target.idle.borrow_mut().push(connection);
        target.listening.set(true);
        drop(guard);
        Ok(target)
    }

    /// Whether it runs.
    pub(crate) fn is_live(&self) -> bool {
        self.instance.is_live()
    }

    /// A failure that says why the jail has ended, if it has.
    pub(crate) async fn failure(&self, what: &str) -> Failure {
        let give_up = Instant::now() + CAUSE_WAIT;
        while self.instance.is_live() && Instant::now() < give_up {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let why = if self.instance.is_live() { what.to_owned() } else { self.instance.why() };
        Failure::new(502, INTERNAL, why)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let give_up = Instant::now() + Duration::from_millis(self.server.around.limits.start_ms);
        loop {
            match self.server.around.monitor.dial(self.instance.id).await {
                Ok(socket) => return self.take_over(socket).await,
                Err(why) if !self.instance.is_live() || self.listening.get() || Instant::now() >= give_up => {
                    return Err(self.failure(&format!("the hosted server does not listen: {why}")).await);
                }
                Err(_) => tokio::time::sleep(DIAL_PAUSE).await,
            }
        }
    }

    async fn take_over(&self, socket: std::os::fd::OwnedFd) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let broken = |e: &dyn std::fmt::Display| {
            Failure::new(502, INTERNAL, format!("could not reach the hosted server: {e}"))
        };
        let stream = std::net::TcpStream::from(socket);
        stream.set_nonblocking(true).map_err(|e| broken(&e))?;
        let stream = TcpStream::from_std(stream).map_err(|e| broken(&e))?;
        // A small request must not wait for an acknowledgement; without it the connection still works.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
        tokio::task::spawn_local(async move {
            // Its end shows in the request that uses it.
            let _ = connection.await;
        });
        Ok(sender)
    }

    /// Sends one request and waits for the head of its answer.
    ///
    /// # Errors
    /// The connection or the server broke, or it took too long.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        self.used.set(Instant::now());
        let mut sender = match self.reuse() {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let wait = Duration::from_millis(self.server.around.limits.request_ms);
        let answer = tokio::time::timeout(wait, sender.send_request(request)).await;
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(e)) => {
                return Err(self.failure(&format!("the hosted server broke the connection: {e}")).await);
            }
            Err(_) => {
                let why = format!("the hosted server did not answer within {} ms", wait.as_millis());
                return Err(Failure::new(504, INTERNAL, why));
            }
        };
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_MAX {
            idle.push(sender);
        }
        Ok(answer)
    }

    /// A connection that is free; broken ones are dropped.
    fn reuse(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|sender| !sender.is_closed());
        let free = idle.iter().position(SendRequest::is_ready)?;
        Some(idle.swap_remove(free))
    }

    /// Ends the jail.
    pub(crate) fn stop(&self) {
        self.idle.borrow_mut().clear();
        self.instance.stop();
    }
}

/// A jail that does not come to listen does not stay.
struct StopUnlessReady(Rc<Target>);

impl Drop for StopUnlessReady {
    fn drop(&mut self) {
        if !self.0.listening.get() {
            self.0.stop();
        }
    }
}
