//! The root process and the operator's command: decides, and carries out through `gaoler-jail`.
//!
//! # Layout
//! - [`cli`]: the command line as checked values; [`doctor`]: what this host offers
//! - [`host`]: facts about this host that plans depend on; [`lease`]: ids that no two jails share
//! - [`data`]: a server's own volume
//! - [`plan`]: a policy and the facts become a jail's plan (pure)
//! - [`jail_command`]: `gaoler jail`; [`pump`]: its standard streams
//! - [`run_command`]: `gaoler run`; [`supervisor`]: its poll loop; [`front`], [`server`]: the two kinds of children
//! - [`instance`]: one jail from request to end
//! - [`permit`]: which request a front may make when (pure); [`restart`]: back-off (pure)
//! - [`recover`]: what a killed predecessor left
//!
//! It promises: one thread, no async runtime, no wait without a bound, and nothing left behind.

#![forbid(unsafe_code)]

pub mod cli;
pub mod data;
pub mod doctor;
pub mod front;
pub mod host;
pub mod instance;
pub mod jail_command;
pub mod lease;
pub mod log;
pub mod permit;
pub mod plan;
pub mod pump;
pub mod recover;
pub mod restart;
pub mod run_command;
pub mod server;
pub mod supervisor;
