//! The words between a jail's inside and its outside: orders, reports, and the name of the step that failed.
//!
//! They travel over one `SOCK_SEQPACKET` pair (`gaoler_wire::channel`), descriptor 3 of the helper.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::check::Facts;

/// A step of setting up a jail; its name stands in `failed at step NAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the documentation: each is printed as it is")]
pub enum Step {
    Plan,
    Lease,
    Cgroup,
    Clone,
    Helper,
    Keyring,
    Network,
    Hostname,
    Sysctl,
    Private,
    Root,
    Dir,
    Symlink,
    File,
    Bind,
    Tmpfs,
    Dev,
    Proc,
    Pivot,
    Users,
    Groups,
    Limits,
    Descriptors,
    Capabilities,
    Landlock,
    Seccomp,
    Check,
    WorkingDirectory,
    Exec,
    Init,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_ascii_lowercase())
    }
}

/// A jail that could not be made: the step, the object it worked on, and the kernel's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("failed at step {step} on {object}: {}", self.cause())]
pub struct StepFailure {
    /// the step
    pub step: Step,
    /// what it worked on
    pub object: String,
    /// the kernel's error number; 0 when the cause is in `object`'s words
    pub errno: i32,
}

impl StepFailure {
    /// Names a failed system call.
    pub fn new(step: Step, object: impl Into<String>, errno: rustix::io::Errno) -> Self {
        Self { step, object: object.into(), errno: errno.raw_os_error() }
    }

    /// The kernel's answer in words.
    #[must_use]
    pub fn cause(&self) -> String {
        if self.errno == 0 {
            "refused".into()
        } else {
            std::io::Error::from_raw_os_error(self.errno).to_string()
        }
    }
}

/// Shorthand for turning a system call's error into a [`StepFailure`].
pub trait At<T> {
    /// Names the step and the object.
    ///
    /// # Errors
    /// The same error, named.
    fn at(self, step: Step, object: &str) -> Result<T, StepFailure>;
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, step: Step, object: &str) -> Result<T, StepFailure> {
        self.map_err(|errno| StepFailure::new(step, object, errno))
    }
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, step: Step, object: &str) -> Result<T, StepFailure> {
        self.map_err(|e| StepFailure { step, object: object.into(), errno: e.raw_os_error().unwrap_or(0) })
    }
}

/// What the outside orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// the groups are made: enter them, the network namespace beside the message if the plan wants one, and the root
    Enter,
    /// execute the payload of a held jail
    Go,
    /// send this signal to the payload
    Signal(i32),
    /// connect to this TCP port on the jail's loopback
    Dial(u16),
}

/// What the inside reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// set-up ended here; nothing of the payload has run
    Failed(StepFailure),
    /// what the check saw, all of it as planned; the payload is executed next
    Checked(Facts),
    /// the payload's first instruction has run
    Running,
    /// the payload has ended
    Ended(Ended),
    /// a connection; its descriptor is beside the message
    Dialed,
    /// no connection; the kernel's error number
    DialFailed(i32),
}

/// How the payload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// with this exit status
    Exited(u8),
    /// by this signal
    Signalled(u8),
}
