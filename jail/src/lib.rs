//! Runs one program in a box described by a [`plan::Plan`]; knows nothing of servers, sessions or deployments.
//!
//! # Layout
//! - [`plan`]: what the box is, fully resolved, and a second opinion on it
//! - [`spawn`]: the parent's half: clone, place, watch, end
//! - `src/exec/`: the child's half, an executable of its own (`gaoler-jail-exec`): set-up, check, process 1
//! - [`root`], [`landlock`], [`seccomp`], [`privilege`]: one file for each kernel resource
//! - [`cgroup`]: limits, readings and the end of a group, on version 1 and 2
//! - [`check`]: what the inside must see before the payload runs
//! - [`step`]: the words between the two halves
//! - [`sys`]: raw system calls, the only unsafe code
//!
//! It promises: the payload's first instruction runs only behind every layer of the plan, and an error names the
//! step and the object.

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("the system call tables of this version are for x86_64 Linux only");

pub mod cgroup;
pub mod check;
pub mod landlock;
pub mod plan;
pub mod privilege;
pub mod root;
pub mod seccomp;
pub mod spawn;
pub mod step;
#[expect(unsafe_code, reason = "the one module of raw system calls")]
pub mod sys;
