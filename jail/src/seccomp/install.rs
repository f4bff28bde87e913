//! Puts a program on the calling thread, for good; children and executed programs inherit it.

use rustix::io::Errno;

use super::SockFilter;

/// Installs `program`, in addition to those that are installed: the stricter answer of all wins.
///
/// `no_new_privs` must be set before, or the caller must have `CAP_SYS_ADMIN`. Other threads stay as they are.
///
/// # Errors
/// The kernel's: `EACCES` without `no_new_privs`, `EINVAL` for a program that it refuses, `ENOMEM` when all filters
/// of the process together are too long.
pub fn install(program: &[SockFilter]) -> Result<(), Errno> {
    crate::sys::seccomp_set_filter(program)
}
