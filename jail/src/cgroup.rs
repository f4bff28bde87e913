//! One cgroup for each jail: limits, readings, and knowing when memory ran out. Version 2, and version 1 as hosts with
//! separate hierarchies have it (a hybrid's version 2 mount has no controllers and is not used).
//!
//! It promises: a limit that cannot be set is an error; a group that is removed was empty. The cgroups-rs crate is not
//! used, see ARCHITECTURE.md.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::step::{At, Step, StepFailure};

/// Where Linux hosts mount control groups.
pub(crate) const MOUNT: &str = "/sys/fs/cgroup";
/// The group of ours below each root, parent of all others.
const PARENT: &str = "gaoler";
/// The processor quota's period in microseconds, the kernel's default.
const PERIOD_US: u64 = 100_000;
/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const V2_MAGIC: u64 = 0x6367_7270;
/// `CGROUP_SUPER_MAGIC` of linux/magic.h.
const V1_MAGIC: u64 = 0x0027_e0eb;

/// How the host mounts control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// one hierarchy with all controllers
    V2,
    /// a hierarchy for each controller
    V1,
}

/// The version 1 hierarchies that a jail has a group in. The first holds the memory limit.
const V1_CONTROLLERS: [&str; 4] = ["memory", "pids", "cpu", "cpuacct"];

/// The same without those that share a hierarchy with an earlier one, as cpu and cpuacct do on most hosts.
fn v1_hierarchies() -> &'static [&'static str] {
    static FOUND: OnceLock<Vec<&str>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let (mut found, mut seen) = (Vec::new(), Vec::new());
        for controller in V1_CONTROLLERS {
            // What cannot be looked at stays in, to fail by its name.
            let device = fs::metadata(Path::new(MOUNT).join(controller)).map(|meta| meta.dev()).ok();
            if device.is_none() || !seen.contains(&device) {
                seen.push(device);
                found.push(controller);
            }
        }
        found
    })
}

/// What one group may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// memory and swap together, in bytes
    pub memory: u64,
    /// thousandths of one processor
    pub cpu_milli: u32,
    /// tasks
    pub pids: u32,
}

/// What one group uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    /// bytes charged now
    pub memory: u64,
    /// the most bytes ever charged
    pub memory_peak: u64,
    /// processor time in microseconds
    pub cpu_us: u64,
    /// tasks now
    pub pids: u64,
    /// processes killed for memory
    pub oom_kills: u64,
}

/// Finds out how the host mounts control groups.
///
/// # Errors
/// When neither version is mounted with the controllers that a jail needs.
pub fn version() -> Result<Version, StepFailure> {
    let magic = |path: &str| rustix::fs::statfs(path).map(|fs| u64::try_from(fs.f_type).unwrap_or(0));
    if magic(MOUNT).at(Step::Cgroup, MOUNT)? == V2_MAGIC {
        return Ok(Version::V2);
    }
    for controller in V1_CONTROLLERS {
        let path = format!("{MOUNT}/{controller}");
        if magic(&path).at(Step::Cgroup, &path)? != V1_MAGIC {
            return Err(StepFailure {
                step: Step::Cgroup,
                object: format!("{path} is no cgroup mount"),
                errno: 0,
            });
        }
    }
    Ok(Version::V1)
}

/// One jail's group in every hierarchy that limits it. Its directories are removed by [`Group::remove`].
#[derive(Debug)]
pub struct Group {
    version: Version,
    name: String,
}

impl Group {
    /// Names a group without making it.
    #[must_use]
    pub fn named(version: Version, name: &str) -> Self {
        Self { version, name: name.to_owned() }
    }

    /// Makes the group and sets its limits.
    ///
    /// # Errors
    /// The file that could not be made or written; what was made is removed again.
    pub fn create(&self, limits: &Limits) -> Result<(), StepFailure> {
        let made = self.directories().iter().try_for_each(|directory| make(self.version, directory));
        made.and_then(|()| settings(self.version, limits).iter().try_for_each(|s| self.set(s))).inspect_err(
            |_| {
                // The first failure is the one to tell; removing is tried on the way out.
                let _ = self.remove();
            },
        )
    }

    /// The directory to clone into (version 2 only).
    ///
    /// # Errors
    /// The kernel's, named.
    pub fn open(&self) -> Result<OwnedFd, StepFailure> {
        let path = self.home();
        rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .at(Step::Cgroup, &path.to_string_lossy())
    }

    /// The files through which a task moves itself here, see [`enter`]; none on version 2.
    #[must_use]
    pub fn tasks(&self) -> Vec<String> {
        let directories = match self.version {
            Version::V2 => vec![],
            Version::V1 => self.directories(),
        };
        directories.iter().map(|directory| directory.join("tasks").to_string_lossy().into_owned()).collect()
    }

    /// A descriptor that becomes readable when version 1 runs out of memory: that kernel kills one process, and the rest
    /// of the group is for the caller to kill. `None` on version 2, which kills the group by itself.
    ///
    /// # Errors
    /// The file that could not be opened or written.
    pub fn out_of_memory(&self) -> Result<Option<OwnedFd>, StepFailure> {
        use std::os::fd::AsRawFd;
        if self.version == Version::V2 {
            return Ok(None);
        }
        let home = self.home();
        let control =
            fs::File::open(home.join("memory.oom_control")).at(Step::Cgroup, "memory.oom_control")?;
        let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
        let event = rustix::event::eventfd(0, flags).at(Step::Cgroup, "eventfd")?;
        let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
        write(&home.join("cgroup.event_control"), &line)?;
        Ok(Some(event))
    }

    /// What the group uses now; what cannot be read is zero.
    #[must_use]
    pub fn readings(&self) -> Readings {
        let text = |controller: &str, file: &str| {
            fs::read_to_string(self.directory(controller).join(file)).unwrap_or_default()
        };
        let number = |controller: &str, file: &str| text(controller, file).trim().parse().unwrap_or(0);
        match self.version {
            Version::V2 => Readings {
                memory: number("", "memory.current"),
                memory_peak: number("", "memory.peak"),
                cpu_us: field(&text("", "cpu.stat"), "usage_usec"),
                pids: number("", "pids.current"),
                oom_kills: self.oom_kills(),
            },
            Version::V1 => Readings {
                memory: number("memory", "memory.usage_in_bytes"),
                memory_peak: number("memory", "memory.max_usage_in_bytes"),
                cpu_us: number("cpuacct", "cpuacct.usage") / 1000,
                pids: number("pids", "pids.current"),
                oom_kills: self.oom_kills(),
            },
        }
    }

    /// How many processes were killed for memory.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        let file = match self.version {
            Version::V2 => "memory.events",
            Version::V1 => "memory.oom_control",
        };
        field(&fs::read_to_string(self.home().join(file)).unwrap_or_default(), "oom_kill")
    }

    /// Every process in the group, in this process's pid namespace.
    #[must_use]
    pub fn processes(&self) -> Vec<Pid> {
        let text = fs::read_to_string(self.home().join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok().and_then(Pid::from_raw)).collect()
    }

    /// Removes the group everywhere. A group that does not exist is removed already.
    ///
    /// # Errors
    /// `EBUSY` while a process is in it.
    pub fn remove(&self) -> Result<(), StepFailure> {
        for directory in self.directories() {
            match fs::remove_dir(&directory) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(e).at(Step::Cgroup, &directory.to_string_lossy());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn set(&self, setting: &Setting) -> Result<(), StepFailure> {
        let path = self.directory(setting.controller).join(setting.file);
        if setting.optional && !path.exists() {
            return Ok(());
        }
        write(&path, &setting.value)
    }

    fn directories(&self) -> Vec<PathBuf> {
        match self.version {
            Version::V2 => vec![self.directory("")],
            Version::V1 => v1_hierarchies().iter().map(|controller| self.directory(controller)).collect(),
        }
    }

    fn home(&self) -> PathBuf {
        self.directory(V1_CONTROLLERS[0])
    }

    fn directory(&self, controller: &str) -> PathBuf {
        parent(self.version, controller).join(&self.name)
    }
}

/// Moves this single-threaded process into version 1 groups by their `tasks` files ([`Group::tasks`]).
///
/// The kernel moves a task that writes 0 there without its lock over all thread groups, which every other move takes and
/// which costs milliseconds on a host that was idle (`cgroup_procs_write_start` in kernel/cgroup/cgroup.c).
///
/// # Errors
/// The file that could not be written.
pub fn enter(tasks: &[String]) -> Result<(), StepFailure> {
    tasks.iter().try_for_each(|path| write(Path::new(path), "0"))
}

fn parent(version: Version, controller: &str) -> PathBuf {
    match version {
        Version::V2 => Path::new(MOUNT).join(PARENT),
        Version::V1 => Path::new(MOUNT).join(controller).join(PARENT),
    }
}

/// One file to write.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    controller: &'static str,
    file: &'static str,
    value: String,
    /// absent on kernels that account no swap, where there is none to limit
    optional: bool,
}

/// Limits as files and values, in the order in which the kernel accepts them.
fn settings(version: Version, limits: &Limits) -> Vec<Setting> {
    let set = |controller, file, value: String| Setting { controller, file, value, optional: false };
    let maybe = |controller, file, value: String| Setting { controller, file, value, optional: true };
    let quota = (u64::from(limits.cpu_milli) * PERIOD_US / 1000).max(1000);
    let (memory, pids) = (limits.memory.to_string(), limits.pids.to_string());
    match version {
        Version::V2 => vec![
            set("", "memory.max", memory),
            maybe("", "memory.swap.max", "0".into()),
            set("", "memory.oom.group", "1".into()),
            set("", "pids.max", pids),
            set("", "cpu.max", format!("{quota} {PERIOD_US}")),
        ],
        // Memory and swap together may not be below memory alone, so memory comes first.
        Version::V1 => vec![
            set("memory", "memory.limit_in_bytes", memory.clone()),
            maybe("memory", "memory.memsw.limit_in_bytes", memory),
            set("pids", "pids.max", pids),
            set("cpu", "cpu.cfs_quota_us", quota.to_string()),
        ],
    }
}

/// Makes one group directory, and our parent group above it when it is the first. The parent stays, as the state
/// directory does: removing it would race with other supervisors and cost every single jail its making.
fn make(version: Version, directory: &Path) -> Result<(), StepFailure> {
    let named = directory.to_string_lossy();
    let parent = directory.parent().unwrap_or(directory);
    match fs::create_dir(directory) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            match fs::create_dir(parent) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(e).at(Step::Cgroup, &parent.to_string_lossy());
                }
                _ => {}
            }
            fs::create_dir(directory).at(Step::Cgroup, &named)?;
        }
        other => other.at(Step::Cgroup, &named)?,
    }
    if version == Version::V2 {
        // Each time: whoever made the parent may have been killed before this.
        for above in [Path::new(MOUNT), parent] {
            write(&above.join("cgroup.subtree_control"), "+memory +pids +cpu")?;
        }
    }
    Ok(())
}

fn write(path: &Path, value: &str) -> Result<(), StepFailure> {
    let named = || format!("{} ({value})", path.display());
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| fail(named(), e))?;
    put(file.as_fd(), value).map_err(|e| fail(named(), e))
}

fn put(file: BorrowedFd<'_>, value: &str) -> Result<(), Errno> {
    match rustix::io::write(file, value.as_bytes())? {
        n if n == value.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

fn fail(object: String, errno: Errno) -> StepFailure {
    StepFailure::new(Step::Cgroup, object, errno)
}

/// The number behind `name` in a file of `name value` lines; zero when there is none.
fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { memory: 1 << 20, cpu_milli: 1500, pids: 7 };

    fn lines(version: Version) -> Vec<String> {
        settings(version, &LIMITS)
            .iter()
            .map(|s| format!("{}/{}={}", s.controller, s.file, s.value))
            .collect()
    }

    #[test]
    fn version_2_limits_memory_without_swap_and_kills_the_group() {
        let want = [
            "/memory.max=1048576",
            "/memory.swap.max=0",
            "/memory.oom.group=1",
            "/pids.max=7",
            "/cpu.max=150000 100000",
        ];
        assert_eq!(lines(Version::V2), want);
    }

    #[test]
    fn version_1_limits_memory_before_memory_and_swap() {
        let want = [
            "memory/memory.limit_in_bytes=1048576",
            "memory/memory.memsw.limit_in_bytes=1048576",
            "pids/pids.max=7",
            "cpu/cpu.cfs_quota_us=150000",
        ];
        assert_eq!(lines(Version::V1), want);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "oom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!((field(text, "oom_kill"), field(text, "oom_kil")), (2, 0));
    }
}
