//! The jail's root file system: a read-only memory file system that holds what the plan names and nothing else.
//!
//! It is built through descriptors on a mount that no other process can see yet, then pivoted onto; the host's tree
//! is detached before this module returns. Every mount is `nosuid`; only `/dev` allows devices.

use std::ffi::CStr;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags,
};

use crate::plan::{Plan, RootStep};
use crate::step::{At, Step, StepFailure};
use crate::sys::{self, Depth};

type Done = Result<(), StepFailure>;

/// Size and file count of the root itself: directories, links and a dozen small files.
const ROOT_SIZE: u64 = 4 << 20;
const ROOT_INODES: u64 = 1024;

/// A volume that waits for the payload's user namespace, whose ids its owners are to have.
#[derive(Debug)]
pub struct Volume {
    tree: OwnedFd,
    path: String,
}

impl Volume {
    /// Shows the volume in the jail as the property of the payload.
    ///
    /// # Errors
    /// The kernel's answer, named.
    pub fn attach(self, userns: BorrowedFd<'_>) -> Done {
        sys::mount_idmap(self.tree.as_fd(), userns).at(Step::Bind, &self.path)?;
        rustix::mount::move_mount(
            &self.tree,
            "",
            CWD,
            self.path.as_str(),
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .at(Step::Bind, &self.path)
    }
}

/// A root that is built and not yet entered: the host's tree can still be reached.
#[derive(Debug)]
pub struct Built {
    root: OwnedFd,
    volume: Option<Volume>,
}

/// Builds the root on the plan's anchor. Needs a mount namespace of its own.
///
/// # Errors
/// The step and the object that failed; the process must then end.
pub fn build(plan: &Plan) -> Result<Built, StepFailure> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .at(Step::Private, "/")?;
    let root = tmpfs(
        &Tmpfs { size: ROOT_SIZE, inodes: ROOT_INODES, mode: "755", owner: 0 },
        MountAttrFlags::MOUNT_ATTR_NODEV,
    )
    .at(Step::Root, "root")?;
    rustix::mount::move_mount(&root, "", CWD, plan.anchor.as_str(), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .at(Step::Root, &plan.anchor)?;
    let mut volume = None;
    for step in &plan.root {
        match step {
            RootStep::Data { host, path } => volume = Some(data(&root, host, path)?),
            other => carry_out(&root, plan, other)?,
        }
    }
    sys::mount_setattr(root.as_fd(), libc::MOUNT_ATTR_RDONLY, Depth::Mount).at(Step::Root, "/")?;
    Ok(Built { root, volume })
}

impl Built {
    /// Makes it this process's root and detaches the host's.
    ///
    /// # Errors
    /// The kernel's answer, named; the process must then end.
    pub fn enter(self) -> Result<Option<Volume>, StepFailure> {
        pivot(&self.root).at(Step::Pivot, "/")?;
        Ok(self.volume)
    }
}

/// A second `/proc` of this process's pid namespace, complete and visible to nobody else: the id maps and the
/// namespaced sysctls are written through it.
///
/// # Errors
/// The kernel's answer, named.
pub fn hidden_proc() -> Result<OwnedFd, StepFailure> {
    let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).at(Step::Proc, "proc")?;
    rustix::mount::fsconfig_create(&context).at(Step::Proc, "proc")?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .at(Step::Proc, "proc")
}

fn pivot(root: &OwnedFd) -> rustix::io::Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}

fn carry_out(root: &OwnedFd, plan: &Plan, step: &RootStep) -> Done {
    match step {
        RootStep::Dir { path, mode } => make_dirs(root, path, Mode::from_raw_mode(*mode)).at(Step::Dir, path),
        RootStep::Symlink { path, target } => make_link(root, path, target).at(Step::Symlink, path),
        RootStep::File { path, contents } => make_file(root, path, contents).at(Step::File, path),
        RootStep::Bind { host, path, writable, exec } => bind(root, host, path, *writable, *exec),
        RootStep::Tmpfs { path, size, inodes } => {
            let shape = Tmpfs { size: *size, inodes: *inodes, mode: "1777", owner: plan.host_id };
            scratch(root, path, &shape).at(Step::Tmpfs, path)
        }
        RootStep::Dev { shm_size, shm_inodes } => {
            dev(root).at(Step::Dev, "/dev")?;
            let shape = Tmpfs { size: *shm_size, inodes: *shm_inodes, mode: "1777", owner: plan.host_id };
            scratch(root, "/dev/shm", &shape).at(Step::Tmpfs, "/dev/shm")
        }
        RootStep::Proc => proc(root).at(Step::Proc, "/proc"),
        RootStep::Data { host, .. } => Err(StepFailure { step: Step::Bind, object: host.clone(), errno: 0 }),
    }
}

fn data(root: &OwnedFd, host: &str, path: &str) -> Result<Volume, StepFailure> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, host, flags).at(Step::Bind, host)?;
    let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    sys::mount_setattr(tree.as_fd(), attributes, Depth::Mount).at(Step::Bind, host)?;
    make_dirs(root, path, Mode::from_raw_mode(0o755)).at(Step::Dir, path)?;
    Ok(Volume { tree, path: path.to_owned() })
}

/// The shape of a memory file system. Without a bound on inodes, empty files would fill the host's memory.
struct Tmpfs {
    size: u64,
    inodes: u64,
    mode: &'static str,
    owner: u32,
}

fn tmpfs(shape: &Tmpfs, attributes: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let set = |key: &str, value: String| rustix::mount::fsconfig_set_string(context.as_fd(), key, value);
    set("size", shape.size.to_string())?;
    set("nr_inodes", shape.inodes.to_string())?;
    set("mode", shape.mode.to_owned())?;
    set("uid", shape.owner.to_string())?;
    set("gid", shape.owner.to_string())?;
    rustix::mount::fsconfig_create(context.as_fd())?;
    let attributes = attributes | MountAttrFlags::MOUNT_ATTR_NOSUID;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn scratch(root: &OwnedFd, path: &str, shape: &Tmpfs) -> rustix::io::Result<()> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = tmpfs(shape, attributes)?;
    make_dirs(root, path, Mode::from_raw_mode(0o755))?;
    attach(root, &mount, path)
}

/// `/dev`: device nodes that root on the host owns, so that the payload can use but not change them.
fn dev(root: &OwnedFd) -> rustix::io::Result<()> {
    const NODES: [(&CStr, u32); 5] =
        [(c"null", 3), (c"zero", 5), (c"full", 7), (c"random", 8), (c"urandom", 9)];
    const LINKS: [(&CStr, &CStr); 4] = [
        (c"fd", c"/proc/self/fd"),
        (c"stdin", c"/proc/self/fd/0"),
        (c"stdout", c"/proc/self/fd/1"),
        (c"stderr", c"/proc/self/fd/2"),
    ];
    let shape = Tmpfs { size: 64 << 10, inodes: 32, mode: "755", owner: 0 };
    let mount = tmpfs(&shape, MountAttrFlags::MOUNT_ATTR_NOEXEC)?;
    for (name, minor) in NODES {
        let device = rustix::fs::makedev(1, minor);
        rustix::fs::mknodat(&mount, name, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device)?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, &mount, name)?;
    }
    rustix::fs::mkdirat(&mount, c"shm", Mode::from_raw_mode(0o755))?;
    sys::mount_setattr(mount.as_fd(), libc::MOUNT_ATTR_RDONLY, Depth::Mount)?;
    make_dirs(root, "/dev", Mode::from_raw_mode(0o755))?;
    attach(root, &mount, "/dev")
}

/// `/proc` without anything of the host: `subset=pid` hides all that is not a process, `hidepid` every process
/// that the payload could not trace, which leaves its own.
fn proc(root: &OwnedFd) -> rustix::io::Result<()> {
    let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(context.as_fd(), "hidepid", "invisible")?;
    rustix::mount::fsconfig_set_string(context.as_fd(), "subset", "pid")?;
    rustix::mount::fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_RDONLY;
    let mount = rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    make_dirs(root, "/proc", Mode::from_raw_mode(0o755))?;
    attach(root, &mount, "/proc")
}

fn bind(root: &OwnedFd, host: &str, path: &str, writable: bool, exec: bool) -> Done {
    // The planner resolved every link; one that appears now is somebody racing us.
    let source = rustix::fs::openat2(
        CWD,
        host,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
    .at(Step::Bind, host)?;
    let is_dir = rustix::fs::fstat(&source)
        .map(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
        .at(Step::Bind, host)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(&source, "", flags).at(Step::Bind, host)?;
    let mut attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    if !writable {
        attributes |= libc::MOUNT_ATTR_RDONLY;
    }
    if !exec {
        attributes |= libc::MOUNT_ATTR_NOEXEC;
    }
    sys::mount_setattr(tree.as_fd(), attributes, Depth::Tree).at(Step::Bind, host)?;
    let made =
        if is_dir { make_dirs(root, path, Mode::from_raw_mode(0o755)) } else { make_file(root, path, b"") };
    made.at(Step::Bind, path)?;
    attach(root, &tree, path).at(Step::Bind, path)
}

fn attach(root: &OwnedFd, mount: &OwnedFd, path: &str) -> rustix::io::Result<()> {
    let target = resolve(root.as_fd(), path)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", &target, "", flags)
}

/// Opens a path of the new root without ever leaving it.
fn resolve(root: BorrowedFd<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    let flags = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, relative(path), OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), flags)
}

fn make_file(root: &OwnedFd, path: &str, contents: &[u8]) -> rustix::io::Result<()> {
    let (parent, name) = parent(root, path)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match rustix::fs::openat(parent.at(root), name, flags, Mode::from_raw_mode(0o444)) {
        Ok(file) => std::fs::File::from(file)
            .write_all(contents)
            .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO)),
        // A mount point that an earlier bind brought along.
        Err(Errno::EXIST) if contents.is_empty() => Ok(()),
        Err(e) => Err(e),
    }
}

fn make_link(root: &OwnedFd, path: &str, target: &str) -> rustix::io::Result<()> {
    let (parent, name) = parent(root, path)?;
    rustix::fs::symlinkat(target, parent.at(root), name)
}

/// Makes `path` and its parents; what exists stays as it is.
fn make_dirs(root: &OwnedFd, path: &str, mode: Mode) -> rustix::io::Result<()> {
    let (parent, name) = parent(root, path)?;
    match rustix::fs::mkdirat(parent.at(root), name, mode) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => match rustix::fs::statat(parent.at(root), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(()),
            Ok(_) => Err(Errno::NOTDIR),
            Err(e) => Err(e),
        },
        Err(e) => Err(e),
    }
}

/// The directory that something is made in.
enum Parent {
    Root,
    Below(OwnedFd),
}

impl Parent {
    fn at<'a>(&'a self, root: &'a OwnedFd) -> BorrowedFd<'a> {
        match self {
            Self::Root => root.as_fd(),
            Self::Below(directory) => directory.as_fd(),
        }
    }
}

/// Opens the directory of `path`, made if need be, and tells the last name. No link is followed: a bound directory may
/// hold links that a hostile server left there, and everything is made as root with the host's tree in reach.
fn parent<'a>(root: &OwnedFd, path: &'a str) -> rustix::io::Result<(Parent, &'a str)> {
    let Some((directory, name)) = relative(path).rsplit_once('/') else {
        return Ok((Parent::Root, relative(path)));
    };
    match resolve(root.as_fd(), directory) {
        Err(Errno::NOENT) => {
            make_dirs(root, directory, Mode::from_raw_mode(0o755))?;
            Ok((Parent::Below(resolve(root.as_fd(), directory)?), name))
        }
        opened => Ok((Parent::Below(opened?), name)),
    }
}

fn relative(path: &str) -> &str {
    match path.trim_start_matches('/') {
        "" => ".",
        rest => rest,
    }
}
