//! The vocabulary spoken across the privilege boundary, and the one channel that carries it.
//!
//! # Layout
//! - [`id`]: names and numbers that are parsed once and valid ever after
//! - [`policy`]: what an operator may ask for, before anything is resolved against the host
//! - [`message`]: the closed enums of what a front may ask and what the supervisor tells it
//! - [`channel`]: one bounded message with descriptors over a `SOCK_SEQPACKET` socket
//!
//! It promises: every message is bounded before it is allocated, every value that arrives has passed the
//! same checks as one made here, and nothing in this crate touches the host but the channel.

#![forbid(unsafe_code)]

pub mod channel;
pub mod id;
pub mod message;
pub mod policy;
