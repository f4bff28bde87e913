//! A jail's life and its end: what is reported, and that nothing outlives it, whichever of its processes ends how.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::time::{Duration, Instant};

use gaoler_tests::jail::Outcome;
use gaoler_tests::leftovers::Snapshot;
use gaoler_tests::{Jail, Launch, exclusive, proc, wait};
use rustix::process::{Pid, Signal, kill_process};

use crate::outside::Waiting;

/// Above what an orderly end takes on a loaded machine, far below the hour that payloads here would live.
const SOON: Duration = Duration::from_secs(20);

fn shell(script: &str) -> Jail {
    Jail::command(["/bin/sh", "-c", script])
}

fn run(script: &str) -> Outcome {
    let _alone = exclusive();
    shell(script).run_clean()
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Starts a script that prints a line when it is ready.
fn ready(script: &str) -> Waiting {
    let mut jail = Waiting::of(&shell(script), "sh");
    let mut line = String::new();
    let stdout = jail.child().stdout.take().unwrap();
    let mut reader = BufReader::new(stdout);
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    jail.child().stdout = Some(reader.into_inner());
    jail
}

/// How a launcher that ends soon ended: the code of `gaoler jail`.
fn code(jail: &mut Waiting) -> Option<i32> {
    assert!(wait::ended(jail.launcher(), SOON), "the launcher still runs after {SOON:?}");
    jail.child().wait().unwrap().code()
}

#[test]
fn exit_codes_and_signals_are_the_payloads_own() {
    for (script, wanted) in [
        ("exit 0", 0),
        ("exit 42", 42),
        ("exit 255", 255),
        ("kill -SEGV $$", 139),
        ("kill -KILL $$", 137),
        ("kill -TERM $$", 143),
        ("kill -ABRT $$", 134),
    ] {
        let outcome = run(script);
        assert_eq!(outcome.code(), wanted, "{script}: {}", outcome.stderr);
        assert_eq!(outcome.stdout, "", "{script}");
    }
}

#[test]
fn commands_that_cannot_run_end_with_126_or_127() {
    let _alone = exclusive();
    for (command, wanted) in [
        ("/nonexistent", 127),
        ("nonexistent-command", 127),
        ("/etc/hosts", 126),
        ("/usr", 126),
        ("/usr/share/zoneinfo/UTC", 126),
    ] {
        let outcome = Jail::command([command]).run_clean();
        assert_eq!(outcome.code(), wanted, "{command}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(command), "{command}: {}", outcome.stderr);
        assert_eq!(outcome.stderr.lines().count(), 1, "{command}: {}", outcome.stderr);
    }
}

#[test]
fn a_jail_that_cannot_be_made_ends_with_125_and_names_the_step() {
    let _alone = exclusive();
    // Longer than a name in any file system may be.
    let place = format!("/srv/{}", "n".repeat(300));
    let outcome =
        Jail::command(["/bin/true"]).flags(["--bind", &format!("/usr/share/misc:{place}:ro")]).run_clean();
    assert_eq!(outcome.code(), 125, "{}", outcome.stderr);
    assert!(outcome.stderr.contains(&format!("failed at step bind on {place}")), "{}", outcome.stderr);
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
}

#[test]
fn a_killed_launcher_takes_its_jail_along() {
    let _alone = exclusive();
    let before = Snapshot::take();
    let mut jail =
        ready("trap '' HUP TERM INT; setsid sleep 3600 & echo ready; while :; do sleep 3600; done");
    let members = proc::descendants(jail.launcher());
    assert!(members.len() >= 4, "{members:?}");
    jail.child().kill().unwrap();
    jail.child().wait().unwrap();
    for process in members {
        assert!(wait::ended(process.pid, SOON), "{process:?} outlived its launcher");
    }
    // A killed launcher cannot tidy up; the next supervisor does when it starts.
    Launch::command(["/bin/cat"]).start().stop();
    before.assert_none();
}

#[test]
fn a_payload_that_ignores_sigterm_is_killed_after_the_grace_period() {
    let _alone = exclusive();
    let before = Snapshot::take();
    let mut jail = ready("trap '' TERM; echo ready; while :; do sleep 3600; done");
    let start = Instant::now();
    signal(jail.launcher(), Signal::TERM);
    assert_eq!(code(&mut jail), Some(137));
    assert!(start.elapsed() > Duration::from_secs(2), "no grace: {:?}", start.elapsed());
    before.assert_none();
}

#[test]
fn a_stopped_payload_is_killed_after_the_grace_period() {
    let _alone = exclusive();
    let before = Snapshot::take();
    let mut jail = ready("echo ready; kill -STOP $$; exit 3");
    signal(jail.launcher(), Signal::TERM);
    let ended = code(&mut jail);
    // SIGTERM waits while it is stopped; SIGKILL does not.
    assert_eq!(ended, Some(137));
    before.assert_none();
}

#[test]
fn a_polite_payload_ends_with_its_own_status_on_sigterm() {
    let _alone = exclusive();
    let before = Snapshot::take();
    let mut jail = ready("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done");
    signal(jail.launcher(), Signal::TERM);
    assert_eq!(code(&mut jail), Some(7));
    before.assert_none();
}

#[test]
fn a_second_signal_ends_the_grace_period() {
    let _alone = exclusive();
    let mut jail = ready("trap '' TERM; echo ready; while :; do sleep 3600; done");
    signal(jail.launcher(), Signal::TERM);
    let start = Instant::now();
    // The first is handled when the payload's end is awaited; until then a second is the same as the first.
    wait::until(SOON, "the launcher's end", || {
        let _ = kill_process(Pid::from_raw(jail.launcher()).unwrap(), Signal::INT);
        matches!(jail.child().try_wait(), Ok(Some(_)))
    });
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn daemons_die_with_the_payload() {
    for script in [
        "(setsid sleep 3600 >/dev/null 2>&1 </dev/null &); exit 0",
        "setsid sh -c 'trap \"\" HUP TERM INT QUIT USR1 USR2; setsid sh -c \"trap \\\"\\\" TERM HUP; sleep 3600\" & sleep 3600' & sleep 0.2; exit 0",
        "sh -c 'kill -STOP $$' & exit 0",
    ] {
        let start = Instant::now();
        assert_eq!(run(script).code(), 0, "{script}");
        assert!(start.elapsed() < SOON, "{script}");
    }
}

#[test]
fn a_child_that_holds_standard_output_does_not_delay_the_end() {
    let start = Instant::now();
    let outcome = run("sleep 3600 & echo out; echo err >&2; exit 3");
    assert_eq!((outcome.code(), outcome.stdout.as_str(), outcome.stderr.as_str()), (3, "out\n", "err\n"));
    assert!(start.elapsed() < SOON);
}

#[test]
fn a_killed_process_1_ends_the_jail_and_leaves_nothing() {
    let _alone = exclusive();
    let before = Snapshot::take();
    let mut jail = ready("echo ready; sleep 3600");
    signal(jail.init, Signal::KILL);
    let ended = code(&mut jail).unwrap();
    assert!(ended != 0, "status {ended}");
    before.assert_none();
}

#[test]
fn process_1_survives_what_its_payload_sends_it() {
    // Every signal that a process can send, and a flood of them; process 1 must still report the payload's status.
    let outcome = run(
        "for s in $(seq 1 64); do kill -$s 1; done; i=0; while [ $i -lt 300 ]; do kill -9 1; kill -17 1; i=$((i+1)); done; exit 21",
    );
    assert_eq!(outcome.code(), 21, "{}", outcome.stderr);
}

#[test]
fn killing_everything_inside_is_an_ordinary_end() {
    let outcome = run("sleep 3600 & kill -9 -1; exit 4");
    assert!([4, 137].contains(&outcome.code()), "{}: {}", outcome.code(), outcome.stderr);
}

#[test]
fn a_thousand_orphans_are_collected() {
    let script = "i=0; while [ $i -lt 1000 ]; do (sh -c 'exit 0' &); i=$((i+1)); done; wait; exit 9";
    let outcome = run(script);
    assert_eq!(outcome.code(), 9, "{}", outcome.stderr);
}

#[test]
fn the_timeout_ends_a_run_with_124() {
    let _alone = exclusive();
    let outcome = shell("trap '' INT; sleep 3600").flags(["--timeout", "1s"]).run_clean();
    assert_eq!(outcome.code(), 124, "{}", outcome.stderr);
}

#[test]
fn out_of_memory_kills_the_whole_group_and_says_so() {
    let _alone = exclusive();
    let script = "sleep 3600 & python3 -c 'x = bytearray(300 << 20)'; sleep 3600";
    let outcome = shell(script).flags(["--memory", "64M"]).run_clean();
    assert_eq!(outcome.code(), 137, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("memory"), "the cause is not told: {:?}", outcome.stderr);
}

#[test]
fn standard_input_reaches_the_payload_and_its_end_too() {
    let _alone = exclusive();
    let input = vec![b'x'; 3 << 20];
    let outcome = Jail::command(["/usr/bin/wc", "-c"]).stdin(input).run_clean();
    assert_eq!(outcome.stdout.trim(), (3 << 20).to_string());
}

#[test]
fn output_is_complete_when_the_payload_ends_at_once() {
    let outcome = run("head -c 20000000 /dev/zero | tr '\\0' a; echo end >&2");
    assert_eq!((outcome.stdout.len(), outcome.stderr.as_str()), (20_000_000, "end\n"));
}

#[test]
fn output_to_a_file_is_complete_and_the_file_stays_the_callers() {
    let _alone = exclusive();
    let path = std::env::temp_dir().join(format!("gaoler-output-{}", std::process::id()));
    let mut command = std::process::Command::new(gaoler_tests::bin("gaoler"));
    command.args([
        "jail",
        "--",
        "/bin/sh",
        "-c",
        "head -c 3000000 /dev/zero; chmod 777 /dev/stdout; truncate -s 0 /dev/stdout; exit 0",
    ]);
    let file = fs::File::create(&path).unwrap();
    let status = command.stdout(file).stderr(std::process::Stdio::null()).status().unwrap();
    let meta = fs::metadata(&path).unwrap();
    fs::remove_file(&path).unwrap();
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    assert_eq!((status.code(), meta.len(), meta.uid()), (Some(0), 3_000_000, 0));
    assert_eq!(meta.permissions().mode() & 0o077, 0o044);
}

#[test]
fn a_caller_that_stops_reading_does_not_hold_the_end_up_for_ever() {
    let _alone = exclusive();
    let before = Snapshot::take();
    let mut jail = ready("echo ready; trap 'exit 5' TERM; yes 2>/dev/null");
    // Nobody reads what `yes` writes; SIGTERM must still be heard.
    signal(jail.launcher(), Signal::TERM);
    assert!(code(&mut jail).is_some());
    let mut rest = Vec::new();
    jail.child().stdout.take().unwrap().read_to_end(&mut rest).unwrap();
    before.assert_none();
}

#[test]
fn a_caller_that_goes_away_ends_in_sigpipe_not_in_a_hang() {
    let _alone = exclusive();
    let before = Snapshot::take();
    let mut jail = ready("echo ready; while :; do echo line || exit 6; done");
    drop(jail.child().stdout.take());
    drop(jail.child().stdin.take().map(|mut stdin| stdin.write_all(b"x")));
    assert!(code(&mut jail).is_some());
    before.assert_none();
}
