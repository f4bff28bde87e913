//! The process: configuration from the supervisor, accept loop, connections, drain.
//!
//! Promises: one thread; a bounded number of connections; what the supervisor says is done in order; without the
//! supervisor the process ends.

use std::cell::Cell;
use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use gaoler_wire::channel::ChannelError;
use gaoler_wire::message::{McpConfig, McpEvent};
use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_TYPE,
    HeaderValue, VARY,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::body::Body;
use crate::error::{Failure, REFUSED};
use crate::health;
use crate::instance::Surroundings;
use crate::limits::Budget;
use crate::log;
use crate::mcp::server::Server;
use crate::mcp::{self, Access, Principal};
use crate::metrics::Metrics;
use crate::monitor::{Monitor, Order};

/// How long a request's head may take to arrive.
const HEAD_WAIT: Duration = Duration::from_secs(30);

/// A peer that acknowledges nothing for so long is gone, in milliseconds.
const PEER_GONE_MS: u32 = 60_000;

/// After a failed accept, for example without free descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Between two looks at what still runs while draining.
const DRAIN_STEP: Duration = Duration::from_millis(10);

/// Headers that a page may read.
const EXPOSED: &str = "Mcp-Session-Id, MCP-Protocol-Version, Retry-After";

/// Why the process cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// the event loop or the channel could not be set up
    #[error("could not set up {what}")]
    Setup {
        /// what
        what: &'static str,
        /// why
        #[source]
        source: std::io::Error,
    },
    /// the supervisor is gone or breaks the protocol
    #[error("the channel to the supervisor broke")]
    Channel(#[source] ChannelError),
    /// the first message was not the configuration
    #[error("the supervisor's first message is not a configuration with one listening socket")]
    Unconfigured,
}

/// Everything that serves.
pub(crate) struct Front {
    /// what is hosted
    pub(crate) servers: Vec<Rc<Server>>,
    /// when it began
    pub(crate) started: Instant,
    around: Rc<Surroundings>,
    access: Access,
    anyone: Principal,
    draining: Cell<bool>,
    connections: Cell<u32>,
    closed: Notify,
}

/// Serves as role `mcp` over the channel `fd` until the supervisor ends it.
///
/// # Errors
/// [`AppError`] says which step failed.
pub fn run(channel: OwnedFd) -> Result<(), AppError> {
    let setup = |what| move |source| AppError::Setup { what, source };
    rustix::io::ioctl_fionbio(&channel, true).map_err(|e| setup("the channel")(e.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(31)
        .build()
        .map_err(setup("the event loop"))?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(channel))
}

async fn serve(channel: OwnedFd) -> Result<(), AppError> {
    let monitor = Monitor::new(channel).map_err(|source| AppError::Setup { what: "the channel", source })?;
    let (event, fds) = monitor.receive().await.map_err(AppError::Channel)?;
    let McpEvent::Configure(config) = event else { return Err(AppError::Unconfigured) };
    let [listener]: [OwnedFd; 1] = fds.try_into().map_err(|_| AppError::Unconfigured)?;
    let listener = std::net::TcpListener::from(listener);
    let setup = |source| AppError::Setup { what: "the listening socket", source };
    listener.set_nonblocking(true).map_err(setup)?;
    let listener = TcpListener::from_std(listener).map_err(setup)?;
    let front = Front::new(&config, &monitor);
    tokio::task::spawn_local(front.clone().accept(listener));
    tokio::task::spawn_local(front.clone().sweep());
    for server in &front.servers {
        server.fill();
        let server = server.clone();
        tokio::task::spawn_local(async move {
            if let Err(failure) = server.speaks_modern().await {
                log::line(format_args!("{}: {}", server.name, log::quote(failure.message.as_bytes())));
            }
        });
    }
    monitor.ready();
    tokio::select! {
        end = monitor.send_all() => Err(AppError::Channel(end)),
        end = front.obey(&monitor) => end,
    }
}

impl Front {
    fn new(config: &McpConfig, monitor: &Rc<Monitor>) -> Rc<Self> {
        let around = Rc::new(Surroundings {
            monitor: monitor.clone(),
            metrics: Rc::new(Metrics::default()),
            limits: config.limits,
            budget: Rc::new(Budget::new(usize::try_from(config.limits.queue_bytes).unwrap_or(usize::MAX))),
            kept: Cell::new(0),
        });
        Rc::new(Self {
            servers: config.servers.iter().map(|served| Server::new(served, &around)).collect(),
            started: Instant::now(),
            access: Access::new(&config.allowed_hosts, &config.allowed_origins),
            around,
            anyone: Principal("anonymous".into()),
            draining: Cell::new(false),
            connections: Cell::new(0),
            closed: Notify::new(),
        })
    }

    /// Whether nothing new is taken any more.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Carries out what the supervisor says, until it is gone.
    async fn obey(self: &Rc<Self>, monitor: &Rc<Monitor>) -> Result<(), AppError> {
        loop {
            match monitor.receive().await {
                Ok((event, fds)) => {
                    if let Some(Order::Drain(grace_ms)) = monitor.dispatch(event, fds)
                        && !self.draining.replace(true)
                    {
                        tokio::task::spawn_local(self.clone().drain(grace_ms));
                    }
                }
                Err(ChannelError::Closed) if self.draining.get() => return Ok(()),
                Err(e) => return Err(AppError::Channel(e)),
            }
        }
    }

    async fn drain(self: Rc<Self>, grace_ms: u32) {
        let end = Instant::now() + Duration::from_millis(grace_ms.into());
        let busy =
            || self.around.budget.used() > 0 || self.servers.iter().any(|server| server.in_flight() > 0);
        while busy() && Instant::now() < end {
            tokio::time::sleep(DRAIN_STEP).await;
        }
        // Answers that were handed to a connection leave in its next turns.
        tokio::time::sleep(DRAIN_STEP).await;
        self.around.monitor.drained();
    }

    async fn sweep(self: Rc<Self>) {
        let limits = &self.around.limits;
        let step = (limits.request_ms.min(limits.idle_ms) / 8).clamp(25, 1000);
        loop {
            tokio::time::sleep(Duration::from_millis(step)).await;
            let now = Instant::now();
            for server in &self.servers {
                server.sweep(now);
            }
        }
    }

    async fn accept(self: Rc<Self>, listener: TcpListener) {
        loop {
            if self.connections.get() >= self.around.limits.connections {
                self.closed.notified().await;
                continue;
            }
            match listener.accept().await {
                Ok((stream, _)) => {
                    self.around.metrics.connections.add(1);
                    self.connections.set(self.connections.get() + 1);
                    tokio::task::spawn_local(self.clone().connection(stream));
                }
                Err(e) => {
                    log::line(format_args!("could not accept a connection: {e}"));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self: Rc<Self>, stream: TcpStream) {
        // Without it small answers wait for acknowledgements; the connection works nevertheless.
        let _ = stream.set_nodelay(true);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, PEER_GONE_MS);
        let front = self.clone();
        let service = service_fn(move |request| {
            let front = front.clone();
            async move { Ok::<_, Infallible>(front.handle(request).await) }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT).max_headers(64);
        // How a connection ends is the client's affair; what it asked is accounted for elsewhere.
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        self.connections.set(self.connections.get() - 1);
        self.closed.notify_one();
    }

    async fn handle(&self, request: Request<Incoming>) -> Response<Body> {
        self.around.metrics.requests.add(1);
        let origin = match self.access.check(request.headers()) {
            Ok(origin) => origin.and_then(|origin| HeaderValue::from_str(origin).ok()),
            Err(failed) => {
                self.around.metrics.refused.add(1);
                return mcp::failure(&failed);
            }
        };
        let mut response = if *request.method() == Method::OPTIONS && origin.is_some() {
            preflight(&request)
        } else {
            self.route(request).await
        };
        if response.status().as_u16() >= 400 {
            self.around.metrics.refused.add(1);
        }
        if let Some(origin) = origin {
            let headers = response.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        response
    }

    async fn route(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        let reads = *request.method() == Method::GET;
        match path {
            "/healthz" if reads => text("application/json", health::render(self)),
            "/metrics" if reads => text("text/plain; version=0.0.4", self.metrics().into_bytes()),
            "/healthz" | "/metrics" => mcp::bare(StatusCode::METHOD_NOT_ALLOWED),
            _ => match self.server_at(path).cloned() {
                Some(server) => mcp::serve(&server, &self.anyone, request, self.draining.get()).await,
                None => mcp::failure(&Failure::new(404, REFUSED, "nothing is served here")),
            },
        }
    }

    /// The server of `/hosted/{namespace}/{name}/mcp`.
    fn server_at(&self, path: &str) -> Option<&Rc<Server>> {
        let name = path.strip_prefix("/hosted/")?.strip_suffix("/mcp")?;
        self.servers.iter().find(|server| server.name.as_str() == name)
    }

    fn metrics(&self) -> String {
        let sum =
            |count: fn(&Server) -> usize| self.servers.iter().map(|server| count(server) as u64).sum::<u64>();
        self.around.metrics.render(&[
            ("gaoler_sessions", sum(Server::session_count)),
            ("gaoler_calls_in_flight", sum(Server::in_flight)),
            ("gaoler_instances", self.around.monitor.instances() as u64),
            ("gaoler_connections", self.connections.get().into()),
            ("gaoler_queued_bytes", self.around.budget.used() as u64),
            ("gaoler_replay_bytes", self.around.kept.get() as u64),
            ("gaoler_uptime_seconds", self.started.elapsed().as_secs()),
        ])
    }
}

fn text(kind: &'static str, bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::full(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The answer to a page that asks whether it may ask; the origin was checked before.
fn preflight(request: &Request<Incoming>) -> Response<Body> {
    let mut response = mcp::bare(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE, OPTIONS"));
    if let Some(wanted) = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}
