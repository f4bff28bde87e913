//! Leases: a number for each jail, which no other jail on this host has while it lives.
//!
//! A lease is a locked file. The lock ends with its process, whatever ends it, so a lease never outlives its holder; what a
//! killed holder leaves is an unlocked file, which [`stale`] finds and the next holder of the number replaces.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use gaoler_jail::plan::HOST_IDS;
use gaoler_jail::step::{At, Step, StepFailure};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// Everything that Gaoler keeps while it runs; root's alone.
pub const STATE: &str = "/run/gaoler";

/// An empty directory that every jail mounts its root on, in its own mount namespace.
pub const ANCHOR: &str = "/run/gaoler/root";

/// How many jails one host can have at once: the id range of [`HOST_IDS`] divided by [`IDS`].
const SLOTS: u32 = 16_384;

/// Host ids set aside for each jail, as other container tools do.
const IDS: u32 = 65_536;

/// One number, held until dropped.
#[derive(Debug)]
pub struct Lease {
    slot: u32,
    path: PathBuf,
    _lock: OwnedFd,
}

impl Lease {
    /// Takes a free number.
    ///
    /// # Errors
    /// When the state directory cannot be used, or every number is taken.
    pub fn take() -> Result<Self, StepFailure> {
        let directory = directory()?;
        // Different processes begin at different numbers, so that they seldom meet.
        let start = std::process::id() % SLOTS;
        for slot in (start..SLOTS).chain(0..start) {
            if let Some(lease) = Self::try_slot(&directory, slot)? {
                return Ok(lease);
            }
        }
        Err(StepFailure { step: Step::Lease, object: format!("all {SLOTS} numbers are taken"), errno: 0 })
    }

    /// The host user and group id of this lease's payload.
    #[must_use]
    pub fn host_id(&self) -> u32 {
        HOST_IDS + self.slot * IDS + gaoler_jail::plan::INNER_ID
    }

    /// The name of this lease's cgroup.
    #[must_use]
    pub fn group(&self) -> String {
        group_name(self.slot)
    }

    fn try_slot(directory: &Path, slot: u32) -> Result<Option<Self>, StepFailure> {
        let path = directory.join(slot.to_string());
        let named = path.to_string_lossy().into_owned();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).at(Step::Lease, &named)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(e) => return Err(StepFailure::new(Step::Lease, named, e)),
        }
        // The file may have been removed by its last holder between our open and our lock.
        let ours = rustix::fs::fstat(&file).at(Step::Lease, &named)?;
        let same = fs::metadata(&path).is_ok_and(|there| there.ino() == ours.st_ino);
        Ok(same.then_some(Self { slot, path, _lock: file }))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Still locked here, so nobody else can have taken the number. A file that stays is found as stale.
        let _ = fs::remove_file(&self.path);
    }
}

/// Takes over every number that a killed process left, so that its cgroup can be cleaned.
///
/// # Errors
/// When the state directory cannot be read.
pub fn stale() -> Result<Vec<Lease>, StepFailure> {
    let directory = directory()?;
    let entries = fs::read_dir(&directory).at(Step::Lease, &directory.to_string_lossy())?;
    let slots = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut leases = Vec::new();
    for slot in slots.filter(|slot| *slot < SLOTS) {
        leases.extend(Lease::try_slot(&directory, slot)?);
    }
    Ok(leases)
}

fn group_name(slot: u32) -> String {
    format!("jail-{slot}")
}

/// The directory of leases, root's alone.
fn directory() -> Result<PathBuf, StepFailure> {
    let path = Path::new(STATE).join("leases");
    for path in [path.as_path(), Path::new(ANCHOR)] {
        if !path.is_dir() {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.at(Step::Lease, &path.to_string_lossy())?;
        }
    }
    Ok(path)
}
