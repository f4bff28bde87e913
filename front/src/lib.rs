//! Everything that talks to strangers: HTTP and MCP in front, hosted servers behind; unprivileged and jailed.
//!
//! # Layout
//! - [`app`]: configuration, accept loop, connections, drain
//! - [`monitor`]: what this process may ask of the supervisor, one stub per request
//! - [`instance`]: one jail's standard streams: coalesced writes, bounded lines, drained stderr
//! - [`frame`], [`splice`]: JSON-RPC as raw bytes behind a light envelope
//! - [`outlet`], [`sse`], [`body`]: bounded queues towards clients, and how they become HTTP bodies
//! - [`mcp`]: one MCP request's life, both protocol eras
//! - [`health`], [`metrics`], [`log`], [`error`], [`limits`]: what operators and callers are told
//!
//! It promises: one thread and no locks, every queue, line, body and wait is bounded, and frames pass byte for byte apart
//! from the members that multiplexing must rewrite.

#![forbid(unsafe_code)]

pub mod app;
mod body;
mod error;
pub mod frame;
mod health;
mod instance;
mod limits;
mod lines;
mod log;
pub mod mcp;
mod metrics;
mod monitor;
mod outlet;
pub mod splice;
mod sse;
mod stderr;
