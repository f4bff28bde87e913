//! A server's own persistent volume: a file of fixed size with a file system in it, so that no server can fill the host's disk.
//!
//! It is mounted in a mount namespace of this process alone; when this process ends, however it ends, the kernel unmounts it
//! and frees the loop device.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gaoler_jail::sys;
use gaoler_wire::id::ServerName;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags};

use crate::lease::STATE;

/// Where volumes are kept.
const DATA: &str = "/var/lib/gaoler/data";

/// The least that a file system with a journal fits in.
pub const SIZE_MIN: u64 = 8 << 20;

/// A volume's size is a multiple of this, the block of ext4.
const BLOCK: u64 = 4096;

/// How much longer than a multiple of [`BLOCK`] a volume is until it is whole.
const HALF_MADE: u64 = 1;

/// How often another process may be faster to take the loop device that was free a moment ago.
const TRIES: u32 = 8;

/// A mounted volume; it is held by its lock and by this process's mount namespace.
#[derive(Debug)]
pub struct Volume {
    /// where it is mounted
    pub path: String,
    _lock: File,
}

/// Makes the volume if there is none, and mounts it.
///
/// # Errors
/// One sentence that names the flag or the file and what to do.
pub fn open(name: &ServerName, bytes: u64) -> Result<Volume, String> {
    if bytes < SIZE_MIN {
        return Err(format!("--data {bytes}: a volume has at least {} MiB", SIZE_MIN >> 20));
    }
    let bytes = bytes - bytes % BLOCK;
    let directory = Path::new(DATA).join(name.namespace());
    private_dir(&directory)?;
    let image = directory.join(format!("{}.ext4", name.name()));
    let file = lock(&image, name)?;
    let length = file.metadata().map_err(|e| told(&image, &e))?.len();
    match length {
        0 => format(&file, &image, bytes)?,
        length if length % BLOCK == HALF_MADE => format(&file, &image, bytes)?,
        same if same == bytes => {}
        other => {
            let shown = image.display();
            return Err(format!(
                "--data {bytes}: {shown} has {other} bytes already; give that size or remove the file"
            ));
        }
    }
    own_namespace().map_err(|e| format!("cannot make a mount namespace for --data: {e}"))?;
    let mounted = mount(&file).map_err(|e| format!("cannot mount {}: {e}", image.display()))?;
    // One place for all: each process that has a volume sees its own there.
    let point = Path::new(STATE).join("data");
    private_dir(&point)?;
    rustix::mount::move_mount(&mounted, "", rustix::fs::CWD, &point, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|e| format!("cannot attach {}: {e}", image.display()))?;
    Ok(Volume { path: point.to_string_lossy().into_owned(), _lock: file })
}

fn lock(image: &Path, name: &ServerName) -> Result<File, String> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let options =
        OpenOptions::new().read(true).write(true).create(true).mode(0o600).custom_flags(flags).open(image);
    let file = options.map_err(|e| told(image, &e))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => {
            Err(format!("--data: the volume of {name} is in use; end the other one or give another --name"))
        }
        Err(e) => Err(format!("cannot lock {}: {e}", image.display())),
    }
}

/// Makes the file system. Its file gets its right length last: one that is a byte too long is half-made, because somebody was
/// killed, and is made again. mkfs.ext4 holds the lock as its standard input, so that no second one can start beside it.
fn format(file: &File, image: &Path, bytes: u64) -> Result<(), String> {
    let lock = file.try_clone().map_err(|e| told(image, &e))?;
    file.set_len(0).and_then(|()| file.set_len(bytes + HALF_MADE)).map_err(|e| told(image, &e))?;
    let inner = gaoler_jail::plan::INNER_ID;
    let made = Command::new("/usr/sbin/mkfs.ext4")
        .args(["-q", "-F", "-m", "0", "-E", &format!("root_owner={inner}:{inner},nodiscard")])
        .arg(image)
        .env_clear()
        .stdin(lock)
        .stdout(Stdio::null())
        .output();
    let failure = match made {
        Ok(output) if output.status.success() => {
            let whole = file.sync_all().and_then(|()| file.set_len(bytes)).and_then(|()| file.sync_all());
            return whole.map_err(|e| told(image, &e));
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(e) => format!("mkfs.ext4: {e}; install the package e2fsprogs"),
    };
    file.set_len(0).map_err(|e| told(image, &e))?;
    Err(format!("cannot make the volume {}: {failure}", image.display()))
}

fn own_namespace() -> rustix::io::Result<()> {
    sys::unshare(gaoler_jail::spawn::NEW_MOUNT_NAMESPACE)?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
}

fn mount(file: &File) -> rustix::io::Result<OwnedFd> {
    let (device, _open) = loop_device(file)?;
    let context = rustix::mount::fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(context.as_fd(), "source", device.as_path())?;
    rustix::mount::fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn loop_device(file: &File) -> rustix::io::Result<(PathBuf, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let control = rustix::fs::open("/dev/loop-control", flags, Mode::empty())?;
    let mut last = Errno::BUSY;
    for _ in 0..TRIES {
        let path = PathBuf::from(format!("/dev/loop{}", sys::loop_free(control.as_fd())?));
        let device = rustix::fs::open(&path, flags, Mode::empty())?;
        match sys::loop_configure(device.as_fd(), file.as_fd()) {
            Ok(()) => return Ok((path, device)),
            Err(Errno::BUSY) => last = Errno::BUSY,
            Err(e) => return Err(e),
        }
    }
    Err(last)
}

fn private_dir(path: &Path) -> Result<(), String> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| told(path, &e))
}

fn told(path: &Path, error: &std::io::Error) -> String {
    format!("cannot use {}: {error}", path.display())
}
