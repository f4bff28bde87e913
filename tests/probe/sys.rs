//! The probe's only unsafe code: system calls by number, fork and wait. No library stands between a verb and the
//! kernel, so what a verb reports is the kernel's own answer.

use std::ffi::{CString, c_long};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A result as the kernel gives it: a number, or an error number.
pub type Answer = Result<usize, i32>;

/// Makes one system call; missing arguments are zero.
///
/// Safe to call only with numbers and with addresses of live buffers that are as long as the call needs: the verbs
/// are written that way, and a mistake would hurt nothing but the probe's own child process.
pub fn call(number: c_long, arguments: &[usize]) -> Answer {
    let at = |i: usize| arguments.get(i).copied().unwrap_or(0);
    // SAFETY: every address comes from `addr` or `text` on a buffer that outlives the call; see above.
    let value = unsafe { libc::syscall(number, at(0), at(1), at(2), at(3), at(4), at(5)) };
    usize::try_from(value).map_err(|_| errno())
}

/// The last call's error number.
pub fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// The address of a value that a system call reads or fills.
pub fn addr<T: ?Sized>(value: &T) -> usize {
    std::ptr::from_ref(value).cast::<u8>() as usize
}

/// The address of a value that a system call writes to.
pub fn addr_mut<T: ?Sized>(value: &mut T) -> usize {
    std::ptr::from_mut(value).cast::<u8>() as usize
}

/// A path or name for a system call; what follows a NUL byte is cut off.
pub fn text(value: &str) -> CString {
    CString::new(value.split('\0').next().unwrap_or_default()).unwrap_or_default()
}

/// A number as an argument, sign included.
pub fn int(value: i64) -> usize {
    value.cast_unsigned() as usize
}

/// Opens a path relative to a directory descriptor.
pub fn open_at(directory: i32, path: &str, flags: i32, mode: u32) -> Result<OwnedFd, i32> {
    let path = text(path);
    let flags = int(i64::from(flags | libc::O_CLOEXEC));
    let number = call(
        libc::SYS_openat,
        &[int(i64::from(directory)), addr(path.as_bytes_with_nul()), flags, mode as usize],
    )?;
    Ok(own(number))
}

/// Opens a path.
pub fn open(path: &str, flags: i32) -> Result<OwnedFd, i32> {
    open_at(libc::AT_FDCWD, path, flags, 0o600)
}

/// Owns the descriptor that a system call just returned.
pub fn own(number: usize) -> OwnedFd {
    // SAFETY: the number was returned by the kernel a moment ago and nothing else knows it.
    unsafe { OwnedFd::from_raw_fd(RawFd::try_from(number).unwrap_or(-1)) }
}

/// A descriptor as an argument.
pub fn fd(of: &impl AsRawFd) -> usize {
    int(i64::from(of.as_raw_fd()))
}

/// What became of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Exited(i32),
    Signalled(i32),
}

/// Runs `body` in a child process and waits for it.
pub fn in_child(body: impl FnOnce() -> i32) -> Result<Ended, i32> {
    let child = spawn(body)?;
    wait(child)
}

/// Starts `body` in a child process.
pub fn spawn(body: impl FnOnce() -> i32) -> Result<i32, i32> {
    // SAFETY: the probe has one thread, so the child may do whatever the parent may.
    match unsafe { libc::fork() } {
        -1 => Err(errno()),
        0 => {
            let code = body();
            leave(code)
        }
        child => Ok(child),
    }
}

/// Ends this process at once.
pub fn leave(code: i32) -> ! {
    // SAFETY: _exit takes any number and does not return.
    unsafe { libc::_exit(code) }
}

/// Waits for a child to end.
pub fn wait(child: i32) -> Result<Ended, i32> {
    let mut status = 0i32;
    loop {
        match call(libc::SYS_wait4, &[int(i64::from(child)), addr_mut(&mut status)]) {
            Err(libc::EINTR) => {}
            Err(e) => return Err(e),
            Ok(_) if libc::WIFSIGNALED(status) => return Ok(Ended::Signalled(libc::WTERMSIG(status))),
            Ok(_) => return Ok(Ended::Exited(libc::WEXITSTATUS(status))),
        }
    }
}

/// Runs `body` in a child and gives back the text that it wrote and how it ended.
pub fn child_text(body: impl FnOnce(&mut dyn Write) -> i32) -> Result<(String, Ended), i32> {
    let (read, write) = pipe()?;
    let child = spawn(|| body(&mut std::fs::File::from(write.try_clone().unwrap_or_else(|_| leave(99)))))?;
    drop(write);
    let mut seen = String::new();
    let _ = std::fs::File::from(read).take(1 << 16).read_to_string(&mut seen);
    Ok((seen, wait(child)?))
}

/// A pipe: read end, write end.
pub fn pipe() -> Result<(OwnedFd, OwnedFd), i32> {
    let mut ends = [0i32; 2];
    call(libc::SYS_pipe2, &[addr_mut(&mut ends), int(i64::from(libc::O_CLOEXEC))])?;
    let own_end = |end: i32| own(int(i64::from(end)));
    Ok((own_end(ends[0]), own_end(ends[1])))
}

/// Replaces this process; returns only the error number.
pub fn execve(path: &str, arguments: &[&str]) -> i32 {
    let path = text(path);
    let words: Vec<CString> = arguments.iter().map(|word| text(word)).collect();
    let mut pointers: Vec<usize> = words.iter().map(|word| word.as_ptr() as usize).collect();
    pointers.push(0);
    let empty = [0usize; 1];
    call(libc::SYS_execve, &[path.as_ptr() as usize, pointers.as_ptr() as usize, addr(&empty)])
        .err()
        .unwrap_or(0)
}

/// Replaces this process by an open file; returns only the error number.
pub fn exec_fd(file: &OwnedFd, arguments: &[&str]) -> i32 {
    let words: Vec<CString> = arguments.iter().map(|word| text(word)).collect();
    let mut pointers: Vec<usize> = words.iter().map(|word| word.as_ptr() as usize).collect();
    pointers.push(0);
    let nothing = [0u8; 1];
    let empty = [0usize; 1];
    let flags = int(i64::from(libc::AT_EMPTY_PATH));
    let list = [fd(file), addr(&nothing), pointers.as_ptr() as usize, addr(&empty), flags];
    call(libc::SYS_execveat, &list).err().unwrap_or(0)
}

/// Runs the getpid call of the 32-bit entry, `int 0x80`; a filter that knows one architecture kills for it.
pub fn getpid_by_int80() -> i64 {
    let result: i64;
    // SAFETY: 20 is getpid for i386; it has no arguments. rbx is not touched; r8-r11 may be cleared by the entry.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") 20i64 => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    result
}

/// Maps anonymous memory; returns its address.
pub fn map_anonymous(length: usize) -> Answer {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    call(libc::SYS_mmap, &[0, length, int(i64::from(protection)), int(i64::from(flags)), usize::MAX, 0])
}

/// Writes one byte to each page of a mapping made by [`map_anonymous`] or `shmat`.
pub fn touch(start: usize, length: usize) {
    for offset in (0..length).step_by(4096) {
        // SAFETY: the mapping is at least `length` bytes long, private to this process and writable.
        unsafe { std::ptr::write_volatile((start + offset) as *mut u8, 1) };
    }
}
