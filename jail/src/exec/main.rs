//! `gaoler-jail-exec`: sets one jail up from the plan on descriptor 4, then stays as its process 1.
//!
//! It is executed afresh for every jail, as root in new namespaces, with the standard streams of the payload, a channel
//! to its parent on descriptor 3 and nothing else.
//! It promises: the payload runs behind every layer of the plan or not at all, and the parent is told which step failed.

mod init;
mod payload;
mod setup;

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use gaoler_jail::plan::Plan;
use gaoler_jail::spawn::{CONTROL_FD, PLAN_FD, PLAN_MAX};
use gaoler_jail::step::{At, Report, Step, StepFailure};
use gaoler_jail::sys;
use gaoler_wire::channel;

/// The exit status of a helper whose jail could not be made, as other container tools have it.
const SETUP_FAILED: u8 = 125;

fn main() -> std::process::ExitCode {
    let Ok(control) = sys::inherited(CONTROL_FD) else {
        // Started by hand: there is nobody to report to.
        return SETUP_FAILED.into();
    };
    let failure = match run(&control) {
        Ok(code) => return code.into(),
        Err(failure) => failure,
    };
    // When the parent is gone too, nobody is left to tell.
    let _ = channel::send(control.as_fd(), &Report::Failed(failure), &[]);
    SETUP_FAILED.into()
}

fn run(control: &OwnedFd) -> Result<u8, StepFailure> {
    let plan = read_plan()?;
    let prepared = setup::prepare(&plan, control)?;
    // Before the fork: a child that ends at once must not be missed.
    let events = sys::child_events().at(Step::Init, "child events")?;
    let child = payload::fork(&plan, control, prepared)?;
    init::run(&plan, control, &events, child)
}

fn read_plan() -> Result<Plan, StepFailure> {
    let memfd = sys::inherited(PLAN_FD).at(Step::Plan, "memfd")?;
    let size = rustix::fs::fstat(&memfd).at(Step::Plan, "memfd")?.st_size;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0).saturating_add(1));
    std::fs::File::from(memfd).take(PLAN_MAX).read_to_end(&mut bytes).at(Step::Plan, "memfd")?;
    let refused = |object: String| StepFailure { step: Step::Plan, object, errno: 0 };
    let plan: Plan = postcard::from_bytes(&bytes).map_err(|e| refused(e.to_string()))?;
    plan.check().map_err(|e| refused(e.to_string()))?;
    Ok(plan)
}
