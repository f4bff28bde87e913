//! Attacks on the launcher itself, from both sides: callers that leave odd things behind for it to inherit, readers that do
//! not read, and payloads that want to outlive it, to wedge its process 1 or to spoil what the next one finds.
//!
//! Each of these broke an earlier version, or another launcher.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gaoler_tests::leftovers::Snapshot;
use gaoler_tests::random::Random;
use gaoler_tests::{Jail, bin, exclusive, wait};

/// Far above what any of this takes.
const LIMIT: Duration = Duration::from_secs(30);

/// `gaoler jail ARGS` started by a shell that has first run `preparation`.
fn prepared(preparation: &str, args: &[&str]) -> (i32, String, String) {
    let mut child = Command::new("/bin/bash")
        .args(["-c", &format!("{preparation}; exec \"$0\" jail \"$@\"")])
        .arg(bin("gaoler"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let code = end_of(&mut child);
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (code, stdout, stderr)
}

/// The exit status, within the limit.
fn end_of(child: &mut Child) -> i32 {
    let ended = wait::ended(child.id().cast_signed(), LIMIT);
    if !ended {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    assert!(ended, "gaoler jail did not end within {LIMIT:?}");
    status.code().unwrap_or(-1)
}

#[test]
fn a_caller_that_ignores_its_children_still_hears_of_the_end() {
    let (code, _, stderr) = prepared("trap '' CHLD", &["--", "/bin/sh", "-c", "exit 7"]);
    assert_eq!(code, 7, "{stderr}");
}

#[test]
fn no_ignored_signal_reaches_the_command() {
    let (code, stdout, _) = prepared("trap '' HUP USR1 CHLD", &["--", "grep", "SigIgn", "/proc/self/status"]);
    assert_eq!((code, stdout.as_str()), (0, "SigIgn:\t0000000000000000\n"));
}

#[test]
fn limits_below_the_jails_own_are_kept_and_no_mistake() {
    let limits = "ulimit -c 0; ulimit -i 100; ulimit -l 0; ulimit -n 64";
    let (code, stdout, stderr) = prepared(limits, &["--", "cat", "/proc/self/limits"]);
    assert_eq!(code, 0, "{stderr}");
    let row = |name: &str| stdout.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    for (name, most) in
        [("Max core file size", "0"), ("Max pending signals", "100"), ("Max open files", "64")]
    {
        assert!(row(name).contains(&format!(" {most} ")), "{}", row(name));
    }
}

#[test]
fn too_few_descriptors_are_named() {
    let (code, _, stderr) = prepared("ulimit -n 20", &["--", "true"]);
    assert_eq!(code, 125);
    assert!(stderr.contains("failed at step") && stderr.contains("Too many open files"), "{stderr}");
}

#[test]
fn priority_is_not_inherited() {
    let policy = "chrt -f -p 5 $$ && renice -n -15 $$ > /dev/null";
    let (code, stdout, stderr) = prepared(policy, &["--", "/bin/sh", "-c", "chrt -p $$; nice"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("SCHED_OTHER") && stdout.ends_with("\n0\n"), "{stdout}");
}

#[test]
fn closed_streams_are_no_mistake() {
    let (code, ..) = prepared("exec 0<&- 1>&- 2>&-", &["--", "/bin/sh", "-c", "echo lost; exit 9"]);
    assert_eq!(code, 9);
}

#[test]
fn a_flood_of_orphans_does_not_hide_the_commands_end() {
    let script = "for i in 1 2 3 4 5 6 7 8; do (while :; do (true & ) ; done) & done; sleep 1; exit 7";
    let outcome = Jail::command(["/bin/sh", "-c", script]).flags(["--cpus", "2"]).run_clean();
    assert_eq!(outcome.code(), 7, "{}", outcome.stderr);
}

/// A command that writes for ever to a socket that nobody reads.
fn unread() -> (Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let command = Command::new(bin("gaoler"))
        .args(["jail", "--timeout", "20s", "--", "yes"])
        .stdin(Stdio::null())
        .stdout(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    (command, ours)
}

#[test]
fn an_unread_socket_does_not_keep_a_signal_from_being_heard() {
    let (mut child, mut ours) = unread();
    // Its first bytes say that it runs.
    ours.read_exact(&mut [0u8; 2]).unwrap();
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let begun = Instant::now();
    assert_eq!(end_of(&mut child), 143);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn an_unread_socket_does_not_stop_the_time_limit() {
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let mut child = Command::new(bin("gaoler"))
        .args(["jail", "--timeout", "1s", "--", "yes"])
        .stdin(Stdio::null())
        .stdout(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    assert_eq!(end_of(&mut child), 124);
}

#[test]
fn a_full_standard_error_does_not_hold_the_launcher_up() {
    let (_reader, mut writer) = std::io::pipe().unwrap();
    // A new pipe holds 64 KiB (pipe(7)).
    writer.write_all(&[b'x'; 65_536]).unwrap();
    let mut child = Command::new(bin("gaoler"))
        .args(["jail", "--", "/does/not/exist"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(writer)
        .spawn()
        .unwrap();
    assert_eq!(end_of(&mut child), 127);
}

/// A volume's name that no other test has, and its file, which is removed at the end.
struct Volume(String);

impl Volume {
    fn new(what: &str) -> Self {
        Self(format!("{what}-{}", std::process::id()))
    }

    fn image(&self) -> PathBuf {
        PathBuf::from(format!("/var/lib/gaoler/data/attacks/{}.ext4", self.0))
    }

    fn jail(&self, script: &str) -> Jail {
        let flags =
            ["--data".to_owned(), "16M".to_owned(), "--name".to_owned(), format!("attacks/{}", self.0)];
        Jail::command(["/bin/sh", "-c", script]).flags(flags)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.image());
    }
}

#[test]
fn a_half_made_volume_is_made_again() {
    let _alone = exclusive();
    let volume = Volume::new("half");
    let size = 16 << 20;
    assert_eq!(volume.jail("echo kept > /data/file").run_clean().code(), 0);
    // As kill -9 leaves it in the middle of mkfs: one byte too long, and its contents cannot be trusted.
    let image = fs::File::options().write(true).open(volume.image()).unwrap();
    image.set_len(0).unwrap();
    image.set_len(size + 1).unwrap();
    let outcome = volume.jail("ls -A /data; touch /data/new").run_clean();
    assert_eq!((outcome.code(), outcome.stdout.as_str()), (0, "lost+found\n"), "{}", outcome.stderr);
    assert_eq!(fs::metadata(volume.image()).unwrap().len(), size);
    assert_eq!(volume.jail("cat /data/new").run_clean().code(), 0);
}

#[test]
fn a_volume_outlives_launchers_that_are_killed_at_any_moment() {
    let _alone = exclusive();
    let before = Snapshot::take();
    let volume = Volume::new("killed");
    let mut random = Random::seeded("volume");
    for _ in 0..25 {
        let mut child = volume.jail("echo x > /data/file; sleep 60 & setsid sleep 60").spawn();
        wait::pause(Duration::from_millis(random.below(60)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // The last ones may still be dying, and hold their volume and lease until they are dead.
    wait::until(LIMIT, "the volume is free, and a later launcher has cleaned up", || {
        let outcome = volume.jail("touch /data/file").run();
        assert!(outcome.code() == 0 || outcome.stderr.contains("is in use"), "{}", outcome.stderr);
        outcome.code() == 0 && before.new_since().is_empty()
    });
}

#[test]
fn many_launchers_at_once_do_not_disturb_each_other() {
    let _alone = exclusive();
    let before = Snapshot::take();
    let jail = |n: i32| Jail::command(["/bin/sh", "-c", &format!("exit {n}")]);
    let mut children: Vec<_> = (0..100).map(|n| (n, jail(n).spawn())).collect();
    for (n, child) in &mut children {
        assert_eq!(end_of(child), *n);
    }
    before.assert_none();
}

#[test]
fn a_waiting_launcher_uses_no_processor() {
    let mut child = Jail::command(["sleep", "2"]).spawn();
    let usage = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // User and system time in ticks of 10 ms (proc(5), fields 14 and 15).
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    };
    let mut ticks = 0;
    while !wait::ended(child.id().cast_signed(), Duration::from_millis(50)) {
        ticks = usage(child.id()).unwrap_or(ticks);
    }
    assert_eq!(end_of(&mut child), 0);
    assert!(ticks < 20, "{ticks} ticks of 10 ms for two seconds of waiting");
}
