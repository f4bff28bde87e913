//! Raw system calls that rustix does not wrap: the only unsafe code of the root half.
//!
//! Every function takes and returns owned or borrowed descriptors and plain values, so that nothing outside this
//! file can break memory safety. Each `SAFETY` comment lists what the kernel requires of the call.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::process::Pid;

/// linux/sched.h; libc's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Namespaces and placement of a new process.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneArgs<'a> {
    /// `CLONE_NEW*` bits
    pub namespaces: u64,
    /// a cgroup version 2 directory to start in
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// Which side of a fork this is.
#[derive(Debug)]
pub enum Side {
    /// the new process
    Child,
    /// the old one, with the child's id and a descriptor for it
    Parent(Pid, OwnedFd),
}

/// `clone3` without shared memory: a fork with namespaces, a pidfd and SIGCHLD at the end.
///
/// The child of a single-threaded process may do anything; callers in processes with threads must only exec.
///
/// # Errors
/// The kernel's: `EPERM` without privilege, `ENOSPC` over a namespace limit, `EAGAIN` over a task limit.
pub fn clone3(args: CloneArgs<'_>) -> Result<Side, Errno> {
    let mut pidfd: RawFd = -1;
    let into_cgroup = if args.cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 };
    let raw = libc::clone_args {
        flags: args.namespaces | libc::CLONE_PIDFD as u64 | into_cgroup,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: args.cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    // SAFETY: `raw` and `pidfd` live through the call and have the size that is passed; without CLONE_VM and with
    // no stack the child runs on a copy of this stack, so both sides return here with valid frames.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw, size_of::<libc::clone_args>()) };
    match result {
        -1 => Err(last_errno()),
        0 => Ok(Side::Child),
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
            // SAFETY: the kernel stored a new descriptor that nothing else owns, because CLONE_PIDFD was set.
            Ok(Side::Parent(pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
        }
    }
}

/// Replaces this process by the program behind `program`, which is close-on-exec and need not have a path.
///
/// # Errors
/// Returns only when it failed, with the kernel's error.
pub fn exec_fd(program: BorrowedFd<'_>, argv: &CStrings, env: &CStrings) -> Errno {
    // SAFETY: the path is an empty C string, which AT_EMPTY_PATH requires; both arrays end in a null pointer and
    // their strings live through the call (CStrings owns them).
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.pointers.as_ptr(),
            env.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    last_errno()
}

/// Replaces this process by the program at `path`.
///
/// # Errors
/// Returns only when it failed, with the kernel's error.
pub fn exec_path(path: &CStr, argv: &CStrings, env: &CStrings) -> Errno {
    // SAFETY: `path` is a C string; both arrays end in a null pointer and their strings live through the call.
    unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), env.pointers.as_ptr()) };
    last_errno()
}

/// Strings and the null-terminated array of pointers to them that `execve` wants.
#[derive(Debug)]
pub struct CStrings {
    pointers: Vec<*const libc::c_char>,
    /// what the pointers point to
    _strings: Vec<CString>,
}

impl CStrings {
    /// Copies the strings. `None` when one has a NUL byte.
    pub fn new<'a>(items: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let strings: Option<Vec<_>> = items.into_iter().map(|s| CString::new(s).ok()).collect();
        let strings = strings?;
        let end = std::iter::once(std::ptr::null());
        let pointers = strings.iter().map(|s| s.as_ptr()).chain(end).collect();
        Some(Self { pointers, _strings: strings })
    }
}

/// Makes descriptor number `to` a copy of `from` that survives exec. For use between fork and exec.
///
/// # Errors
/// `EBADF` or `EMFILE`.
pub fn place_fd(from: BorrowedFd<'_>, to: RawFd) -> Result<(), Errno> {
    if from.as_raw_fd() == to {
        // SAFETY: F_SETFD takes an integer; the descriptor is open because it is borrowed.
        return check(unsafe { libc::fcntl(to, libc::F_SETFD, 0) });
    }
    // SAFETY: dup2 takes two integers; whatever was at `to` is replaced, which callers want just before exec.
    check(unsafe { libc::dup2(from.as_raw_fd(), to) })
}

/// Closes every descriptor from `first` on but `kept`. For use just before exec.
///
/// # Errors
/// `EINVAL` when `kept` is below `first`.
pub fn close_between(first: u32, kept: RawFd) -> Result<(), Errno> {
    let kept = u32::try_from(kept).map_err(|_| Errno::BADF)?;
    for (low, high) in [(first, kept.saturating_sub(1)), (kept.saturating_add(1), u32::MAX)] {
        // SAFETY: close_range takes three integers; callers use no descriptor of that range afterwards.
        check_long(unsafe { libc::syscall(libc::SYS_close_range, low, high, 0) })?;
    }
    Ok(())
}

/// Takes ownership of a descriptor that was inherited under a fixed number.
///
/// # Errors
/// `EBADF` when there is none.
pub fn inherited(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_SETFD takes an integer and fails on a number that is not open.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: the number is open, and by the helper's contract nothing else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Which mounts [`mount_setattr`] changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// the one mount
    Mount,
    /// the mount and all below it
    Tree,
}

/// Sets mount attributes (`MOUNT_ATTR_*`) on the mount behind `tree`.
///
/// # Errors
/// The kernel's: `EPERM` for a locked attribute, `EINVAL` for one it does not know.
pub fn mount_setattr(tree: BorrowedFd<'_>, set: u64, depth: Depth) -> Result<(), Errno> {
    let attr = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if depth == Depth::Tree { libc::AT_RECURSIVE } else { 0 };
    set_mount_attributes(tree, flags, &attr)
}

/// Gives the detached mount behind `tree` the owners that the user namespace `userns` maps its stored owners to.
///
/// # Errors
/// `EINVAL` for a file system that cannot, `EPERM` for a mount that is attached already.
pub fn mount_idmap(tree: BorrowedFd<'_>, userns: BorrowedFd<'_>) -> Result<(), Errno> {
    let attr = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(userns.as_raw_fd().unsigned_abs()),
    };
    set_mount_attributes(tree, libc::AT_EMPTY_PATH, &attr)
}

fn set_mount_attributes(
    tree: BorrowedFd<'_>,
    flags: libc::c_int,
    attr: &libc::mount_attr,
) -> Result<(), Errno> {
    let size = size_of::<libc::mount_attr>();
    // SAFETY: the path is an empty C string, which AT_EMPTY_PATH requires; `attr` lives through the call and has the
    // size that is passed.
    check_long(unsafe {
        libc::syscall(libc::SYS_mount_setattr, tree.as_raw_fd(), c"".as_ptr(), flags, attr, size)
    })
}

/// The number of a loop device that is free now; another process may take it first.
///
/// # Errors
/// `EACCES` without privilege, `ENODEV` without loop devices.
pub fn loop_free(control: BorrowedFd<'_>) -> Result<u32, Errno> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument and returns a number.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    check(number)?;
    u32::try_from(number).map_err(|_| Errno::NODEV)
}

/// Puts `file` behind the loop device; the kernel takes it away again after the last unmount and close.
///
/// # Errors
/// `EBUSY` when another process was faster.
pub fn loop_configure(device: BorrowedFd<'_>, file: BorrowedFd<'_>) -> Result<(), Errno> {
    // struct loop_config of linux/loop.h, 304 bytes: the file at byte 0, lo_flags of its loop_info64 at byte 60.
    let mut config = [0u64; 38];
    config[0] = u64::from(file.as_raw_fd().unsigned_abs());
    config[7] = LO_FLAGS_AUTOCLEAR << 32;
    // SAFETY: LOOP_CONFIGURE reads 304 bytes, which `config` has and which live through the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, config.as_ptr()) })
}

/// Numbers of linux/loop.h.
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
const LO_FLAGS_AUTOCLEAR: u64 = 4;

/// Installs a system call filter on this thread.
///
/// # Errors
/// `EACCES` without `no_new_privs` or privilege, `EINVAL` for a program that the kernel does not accept.
pub fn seccomp_set_filter(program: &[libc::sock_filter]) -> Result<(), Errno> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let fprog = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `fprog` points to `len` instructions that live through the call; the kernel only reads them.
    check_long(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &fprog) })
}

/// The running kernel's Landlock version; 0 when there is none.
#[must_use]
pub fn landlock_abi() -> u32 {
    const VERSION: libc::c_long = 1;
    // SAFETY: with this flag the call takes a null pointer and a zero size, and only returns a number.
    let abi = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0, VERSION)
    };
    u32::try_from(abi).unwrap_or(0)
}

/// Gives this process a session keyring of its own, so that no key of the caller's can be found.
///
/// # Errors
/// `EDQUOT` when root's key quota is used up.
pub fn new_session_keyring() -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is touched.
    check_long(unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>())
    })
}

/// Switches the loopback interface of this network namespace on.
///
/// # Errors
/// `EPERM` without privilege over the namespace.
pub fn loopback_up(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: `ifreq` is plain data for which all zero bytes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(0);
    // SAFETY: SIOCSIFFLAGS reads one `ifreq` with a terminated name, which lives through the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) })
}

/// Moves this process into new namespaces of these kinds; not for shared descriptor tables.
///
/// # Errors
/// The kernel's: `EPERM` without privilege, `ENOSPC` over a namespace limit.
pub fn unshare(namespaces: libc::c_int) -> Result<(), Errno> {
    // SAFETY: unshare takes an integer; CLONE_FILES is masked out, so no other thread loses its descriptors.
    check(unsafe { libc::unshare(namespaces & !libc::CLONE_FILES) })
}

/// A descriptor that becomes readable when a child changes state. Blocks SIGCHLD for this process.
///
/// # Errors
/// `EMFILE` or `ENOMEM`.
pub fn child_events() -> Result<OwnedFd, Errno> {
    heed_children();
    signal_events(&[libc::SIGCHLD])
}

/// Undoes an inherited `SIG_IGN` of SIGCHLD, under which no end of a child is ever told.
pub fn heed_children() {
    // SAFETY: SIG_DFL is a valid disposition, and with these arguments the call cannot fail.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// A descriptor that becomes readable when one of these signals arrives. Blocks them for this process.
///
/// # Errors
/// `EINVAL` for a number that is no signal, `EMFILE` or `ENOMEM`.
pub fn signal_events(signals: &[libc::c_int]) -> Result<OwnedFd, Errno> {
    // SAFETY: `sigset_t` is plain data for which all zero bytes are valid.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for &signal in signals {
        // SAFETY: `set` is a valid set; a wrong number is answered with an error.
        check(unsafe { libc::sigaddset(&mut set, signal) })?;
    }
    // SAFETY: `set` lives through the call and the old mask is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) })?;
    // SAFETY: `set` lives through the call; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    check(fd)?;
    // SAFETY: the kernel returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The number of the signal that [`signal_events`] delivers next, if one waits.
#[must_use]
pub fn next_signal(events: BorrowedFd<'_>) -> Option<i32> {
    let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
    let read = rustix::io::read(events, &mut info).ok()?;
    let number = info.get(..4)?;
    (read == info.len()).then(|| i32::from_ne_bytes([number[0], number[1], number[2], number[3]]))
}

/// Gives this process the ordinary scheduling policy, which real-time callers must not hand on to a jail.
///
/// # Errors
/// None is known.
pub fn ordinary_scheduling() -> Result<(), Errno> {
    // SAFETY: `sched_param` is plain data for which all zero bytes are valid; the ordinary policy wants them.
    let none: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: the parameter lives through the call, and 0 names this process.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &none) })
}

/// Makes this process's signal state that of a fresh program: nothing blocked, nothing ignored.
///
/// # Errors
/// The kernel's; none is known with these arguments.
pub fn fresh_signals() -> Result<(), Errno> {
    // What the caller ignored (nohup does) and what Rust's start-up code does (SIGPIPE) would outlive execve. By hand,
    // because the C library refuses to touch the two signals that it keeps for itself.
    const DEFAULT: [u64; 4] = [0; 4];
    for number in 1..=64 {
        // SAFETY: a kernel sigaction is four words, all zero for SIG_DFL without flags; the call only reads it, with the
        // 8 bytes that a signal set has. For SIGKILL and SIGSTOP the answer is an error.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, number, DEFAULT.as_ptr(), std::ptr::null_mut::<u64>(), 8);
        }
    }
    // SAFETY: `sigset_t` is plain data for which all zero bytes are valid, and they mean the empty set.
    let set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` lives through the call and the old mask is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut()) })
}

/// An attempt to mount, for the check from inside; it must fail.
#[must_use]
pub fn attempt_mount() -> Errno {
    // SAFETY: all strings are C strings; no data is passed.
    let done =
        unsafe { libc::mount(c"none".as_ptr(), c"/tmp".as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null()) };
    if done == 0 { Errno::from_raw_os_error(0) } else { last_errno() }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn check(result: libc::c_int) -> Result<(), Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

fn check_long(result: libc::c_long) -> Result<(), Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

/// A second descriptor for the same open file, close-on-exec and numbered at least 16, out of the way of the
/// numbers that [`place_fd`] fills.
///
/// # Errors
/// `EMFILE`.
pub fn high_copy(fd: impl AsFd) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(fd, 16)
}
