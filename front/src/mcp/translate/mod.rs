//! Translation between the two protocol eras: values in, values out; no input, output, clock or randomness of its own.
//!
//! - [`legacy_server::Adapter`] lets clients of revision 2026-07-28 use one child that only speaks 2025-11-25 (or older).
//! - [`modern_server::Adapter`] lets one client session of revision 2025-11-25 (or older) use a child that only speaks 2026-07-28.
//!
//! # How to drive an adapter
//! Both have the same verbs, each returns the [`Action`]s to carry out, in order:
//! - `start(now)`: once, before anything else. A legacy child gets its `initialize`; a modern child gets nothing yet.
//! - `on_client(call, frame, now)`: one frame of a client. `call` is the caller's own number for this frame's answer stream,
//!   never used before on this adapter; answers come back under it. For notifications and responses it is ignored.
//! - `on_closed(call)`: nobody waits for this answer any more (a modern client closed its stream, or a request timed
//!   out). Tells the child. Harmless for a call that has ended.
//! - `on_server(frame, now)`: one line of the child, without its line feed.
//! - `on_time(now)`: at or after `next_time()`, which is to be asked again after every other verb. While it names a time,
//!   something waits (calls for their clients' input, too): the child is not idle.
//! - `fail_all(message)`: the child is gone; every open call gets an error that says `message`. The adapter is then empty and
//!   must be dropped: a new child needs a new adapter.
//! - `end_listens()`, of `legacy_server` only: for a drain, ends subscription streams in good order; calls go on.
//!
//! `now` is in milliseconds of any clock that never goes back. Frames have no line feed, in or out.
//!
//! Who shares an adapter: `legacy_server` is for one principal; a `requestState` is known to the adapter that made it and to no
//! other, which is what binds it to the principal. The child is told the client's capabilities once, so keep one adapter
//! (and child) for each pair of principal and [`Capabilities`], both found by [`Introduction::of`] from the first request; or
//! give [`Capabilities::ALL`] and keep one for each principal. A request is always held to what it declares itself.
//! `modern_server` is for one session. Its frames to the child are those of a well-behaved modern client (own ids, own progress tokens),
//! so that they may go through the multiplexer of modern requests if several sessions share the child.
//!
//! Every member, method and limit is listed in `docs/eras.md`; everything that has no line there passes unchanged.

mod capabilities;
mod envelope;
pub mod legacy_server;
pub mod modern_server;
mod object;
#[cfg(test)]
mod transcript;

pub use capabilities::{Capabilities, Introduction};

/// The caller's number for one client request and its answer stream; never reused on one adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// What the caller has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write this frame and a line feed to the child.
    ToServer(Vec<u8>),
    /// Give this frame to the client.
    ToClient {
        /// the answer stream; none for what belongs to the whole session (legacy clients only)
        call: Option<CallId>,
        /// one JSON-RPC message
        frame: Vec<u8>,
        /// whether it is the answer, after which the stream ends
        last: bool,
    },
    /// End this answer stream without an answer: the client has cancelled (legacy clients only).
    Close(CallId),
    /// The child cannot be used in this way; one sentence. All open calls were answered before.
    Unusable(String),
}

/// Bounds of one adapter. Counts, bytes and milliseconds as named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// calls in flight, those that wait for the child's handshake included
    pub calls: usize,
    /// calls that wait for their client's input
    pub parked: usize,
    /// how long a call waits for its client's input, in milliseconds
    pub input_ms: u64,
    /// times that one call may ask its client
    pub rounds: u32,
    /// requests to the client in one round
    pub inputs: usize,
    /// bytes kept for calls that wait: early answers, queued questions, parameters for a repetition
    pub held_bytes: usize,
    /// open subscription streams
    pub listens: usize,
    /// resources subscribed to, over all streams
    pub resources: usize,
    /// how long the child may take for its handshake or to confirm a subscription, in milliseconds
    pub server_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: 1024,
            parked: 64,
            input_ms: 10 * 60 * 1000,
            rounds: 10,
            inputs: 16,
            held_bytes: 64 << 20,
            listens: 64,
            resources: 1024,
            server_ms: 60 * 1000,
        }
    }
}

/// The longest URI that can be subscribed to and the longest name of a question, in bytes: both are remembered.
const NAME_MAX: usize = 8192;

/// Whether a result of this method may ask for input at 2026-07-28.
fn is_interactive(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get" | "resources/read")
}

/// Whether a result of this method carries cache hints at 2026-07-28.
fn is_cacheable(method: &str) -> bool {
    matches!(
        method,
        "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" | "resources/read"
    )
}

/// The revision of the modern era.
pub const MODERN: &str = "2026-07-28";

/// The newest revision of the legacy era.
pub const LEGACY: &str = "2025-11-25";

/// The revisions that a legacy client may ask for by `initialize`.
pub const LEGACY_ALL: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", LEGACY];
