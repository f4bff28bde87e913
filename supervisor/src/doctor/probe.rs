//! Tries each kind of namespace in a child process, since the one who tries can never go back.
//!
//! The child is this executable, started afresh as `gaoler doctor --probe`; it prints one line for each try and ends.

use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gaoler_jail::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::UnshareFlags;

use super::facts::{NAMESPACES, Tried};

/// How long the child may take; it needs about 10 ms.
const LIMIT: Duration = Duration::from_secs(10);

/// The most that is read of its answers, in bytes.
const ANSWERS_MAX: usize = 4096;

/// One answer for each of [`NAMESPACES`], in that order.
pub(super) type Answers = Vec<(&'static str, Tried)>;

/// The child: tries everything and writes a line for each try.
///
/// # Errors
/// What writing to `out` fails with.
pub fn run(out: &mut dyn Write) -> io::Result<()> {
    for kind in NAMESPACES {
        match enter(kind) {
            Ok(()) => writeln!(out, "{kind} 0")?,
            Err(e) => writeln!(out, "{kind} {}", e.raw_os_error())?,
        }
    }
    out.flush()
}

fn enter(kind: &str) -> rustix::io::Result<()> {
    let flag = match kind {
        "mount" => UnshareFlags::NEWNS,
        "pid" => UnshareFlags::NEWPID,
        "net" => UnshareFlags::NEWNET,
        "ipc" => UnshareFlags::NEWIPC,
        "uts" => UnshareFlags::NEWUTS,
        "cgroup" => UnshareFlags::NEWCGROUP,
        "time" => UnshareFlags::NEWTIME,
        _ => UnshareFlags::NEWUSER,
    };
    sys::unshare(flag.bits().cast_signed())
}

/// The parent: starts the child and reads its answers. What it did not answer counts as refused.
pub(super) fn ask() -> Answers {
    match answers() {
        Ok(text) => understand(&text, "gave no answer"),
        Err(e) => understand("", &format!("could not be tried: {e}")),
    }
}

fn answers() -> io::Result<String> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["doctor", "--probe"]).env_clear();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let text = read(&mut child);
    // It has ended, or it must: nothing of it is needed any more.
    let _ = child.kill();
    child.wait()?;
    text
}

fn read(child: &mut Child) -> io::Result<String> {
    let Some(mut pipe) = child.stdout.take() else { return Ok(String::new()) };
    let end = Instant::now() + LIMIT;
    let mut bytes = Vec::new();
    while bytes.len() < ANSWERS_MAX {
        let left =
            Timespec::try_from(end.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
        if poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&left))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut some = [0u8; 512];
        let length = pipe.read(&mut some)?;
        if length == 0 {
            break;
        }
        bytes.extend_from_slice(&some[..length]);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn understand(text: &str, otherwise: &str) -> Answers {
    let number = |name: &str| -> Option<i32> {
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name)?.1.parse().ok()
    };
    let tried = |kind| match number(kind) {
        Some(0) => Tried::Works,
        Some(code) => Tried::Refused(io::Error::from_raw_os_error(code).to_string()),
        None => Tried::Refused(otherwise.to_owned()),
    };
    NAMESPACES.map(|kind| (kind, tried(kind))).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_matched_by_name() {
        let answers = understand("mount 0\nuser 28\n", "silent");
        assert_eq!(answers[0], ("mount", Tried::Works));
        assert!(matches!(&answers[7].1, Tried::Refused(why) if why.contains("No space")));
        assert_eq!(answers[1], ("pid", Tried::Refused("silent".into())));
    }

    #[test]
    fn odd_answers_are_refusals() {
        for text in ["", "mount", "mount x\n", "mount 99999999999\n"] {
            assert!(
                understand(text, "silent").iter().all(|(_, tried)| *tried == Tried::Refused("silent".into()))
            );
        }
    }
}
