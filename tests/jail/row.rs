//! One row of the table: a forbidden thing, how it is shown to be possible, and which layer stops it in a jail.

/// How a verb is shown to be possible where nothing of Gaoler's stands in its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// as root on the host: the verb does no harm there
    Host,
    /// as root in throw-away namespaces with a private /tmp and /dev/shm
    Own,
    /// as an unprivileged user, who gains by it
    Nobody,
    /// as root in a network namespace of the test's own, with somebody to talk to in another
    Network,
    /// not at all: this kernel or this machine refuses it too, with this error number
    Refused(i32),
    /// not at all: the kernel keeps this promise by itself, and no error number tells
    Kept,
}

/// What stops a verb in a jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// the root file system does not hold it
    Absent,
    /// mounted read-only, or owned by nobody that the jail's id map knows
    ReadOnly,
    /// mounted without execution
    NoExec,
    /// mounted without set-user-id, and no_new_privs
    NoSetId,
    /// no capabilities, one user id, locked securebits
    Identity,
    /// the system call filter
    Seccomp,
    /// the pid namespace, `hidepid`, or process 1 that cannot be traced
    Processes,
    /// the network namespace, then Landlock's port rules
    Network,
    /// Landlock, or the scopes it draws around signals and sockets
    Landlock,
    /// the control group's limit
    Cgroup,
    /// a resource limit of the process
    Rlimit,
    /// the size or the inodes of a file system
    Bounded,
    /// standard streams are pipes of Gaoler's, whatever the caller's are
    Pipes,
    /// nothing is refused: there is nothing to find
    Hidden,
    /// nothing stops it: a known limit, which SECURITY.md explains; the row fails when it is stopped after all
    Nothing,
}

impl Layer {
    /// The error numbers with which this layer answers; 0 when it kills or hides.
    pub const fn answers(self) -> &'static [i32] {
        match self {
            Self::Absent => &[libc::ENOENT, libc::ENOTDIR],
            Self::ReadOnly => &[libc::EROFS, libc::EACCES, libc::EPERM],
            Self::NoExec => &[libc::EACCES, libc::EPERM],
            Self::Nothing => &[],
            Self::NoSetId => &[0],
            Self::Hidden => &[libc::EBADF, 0],
            Self::Pipes => &[libc::ENOTTY, libc::ENOTSOCK, libc::ENXIO, libc::ENOENT, libc::EACCES, 0],
            Self::Identity => &[libc::EPERM, libc::EINVAL, libc::EACCES, 0],
            Self::Seccomp => {
                &[libc::EPERM, libc::ENOSYS, libc::EAFNOSUPPORT, libc::EPROTONOSUPPORT, libc::ENOMEM, 0]
            }
            Self::Processes => &[libc::ESRCH, libc::ENOENT, libc::EACCES, libc::EPERM, libc::EINVAL, 0],
            Self::Network => {
                &[libc::ENETUNREACH, libc::ECONNREFUSED, libc::EACCES, libc::EADDRNOTAVAIL, libc::EPERM]
            }
            Self::Landlock => &[libc::EACCES, libc::EPERM, libc::EXDEV],
            Self::Cgroup => &[libc::EAGAIN, libc::ENOMEM, 0],
            Self::Rlimit => &[libc::EMFILE, libc::EAGAIN, libc::ENOMEM, libc::EPERM, libc::ENOSPC, 0],
            Self::Bounded => &[libc::ENOSPC, libc::EDQUOT, libc::ENAMETOOLONG, 0],
        }
    }
}

/// What the verb's standard input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdin {
    /// `/dev/null`
    Null,
    /// a file of the host's root, opened for reading
    File,
    /// a terminal
    Terminal,
    /// a Unix socket on which a descriptor of the host's root directory waits; standard output is one too
    Socket,
}

/// One forbidden thing.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// the probe's verb
    pub verb: &'static str,
    /// its arguments; those that start with `@` are places and names that the scene knows
    pub arguments: &'static [&'static str],
    /// what it reads
    pub stdin: Stdin,
    /// flags of `gaoler jail` beyond the scene's
    pub flags: &'static [&'static str],
    /// how it is shown to be possible
    pub outside: Outside,
    /// what stops it
    pub layer: Layer,
}

/// A row without arguments.
pub const fn row(verb: &'static str, outside: Outside, layer: Layer) -> Row {
    Row { verb, arguments: &[], stdin: Stdin::Null, flags: &[], outside, layer }
}

impl Row {
    /// The same with arguments.
    pub const fn with(self, arguments: &'static [&'static str]) -> Self {
        Self { arguments, ..self }
    }

    /// The same with another standard input.
    pub const fn reading(self, stdin: Stdin) -> Self {
        Self { stdin, ..self }
    }

    /// The same with flags of `gaoler jail`.
    pub const fn flags(self, flags: &'static [&'static str]) -> Self {
        Self { flags, ..self }
    }
}
