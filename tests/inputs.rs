//! Bad input through the real executable: every mistake is one clear line that names what was given and what to give,
//! the exit status says whose mistake it was, and nothing is left behind.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use gaoler_tests::leftovers::Snapshot;
use gaoler_tests::{Jail, Launch, bin, exclusive, wait};
use serde_json::Value;

/// What came of one command line.
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs `gaoler` with these arguments and nothing to read.
fn gaoler(args: &[&str]) -> Said {
    said(Command::new(bin("gaoler")).args(args))
}

fn said(command: &mut Command) -> Said {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Every output here is far below what a pipe holds.
    if !wait::ended(child.id().cast_signed(), Duration::from_secs(20)) {
        child.kill().unwrap();
        panic!("{command:?} did not end");
    }
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// A file that the test removes, in a directory that every user may enter.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, contents: &[u8], mode: u32) -> Self {
        let path = PathBuf::from(format!("/srv/gaoler-inputs-{}-{name}", std::process::id()));
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Self(path)
    }

    /// The flag that shows it in a jail as `/srv/it`.
    fn bind(&self, mode: &str) -> [String; 2] {
        ["--bind".into(), format!("{}:/srv/it:{mode}", self.0.display())]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The executable where every user may run it: the repository may lie in a home that they may not enter.
fn everybodys(name: &str) -> Scratch {
    Scratch::new(name, &fs::read(bin("gaoler")).unwrap(), 0o755)
}

/// Flag, value, and a word of the fix.
const BAD: &[(&str, &str, &str)] = &[
    ("--name", "no slash", "NAMESPACE/NAME"),
    ("--name", "local/../x", "NAMESPACE/NAME"),
    ("--image", "oci:/srv/image", "host"),
    ("--listen", "8750", "127.0.0.1:8750"),
    ("--listen", "127.0.0.1:70000", "127.0.0.1:8750"),
    ("--listen", "0.0.0.0:8750", "--allow-host"),
    ("--session-mode", "single", "isolated or shared"),
    ("--transport", "sse", "http:PORT"),
    ("--transport", "http:0/mcp", "1 to 65535"),
    ("--warm", "-1", "0 to"),
    ("--idle", "30", "90s"),
    ("--request-timeout", "5d", "90s"),
    ("--max-sessions", "0", "1 to"),
    ("--max-sessions-per-caller", "ten", "1 to"),
    ("--allow-host", "*", "HOST[:PORT]"),
    ("--allow-origin", "example.org", "SCHEME://HOST"),
    ("--env", "A-B", "letters, digits and '_'"),
    ("--env", "NOBODY_SETS_THIS", "NOBODY_SETS_THIS=VALUE"),
    ("--secret-env", "TOKEN", "K=FILE"),
    ("--bind", "/srv", "HOST:JAIL"),
    ("--bind", "srv:/srv", "absolute"),
    ("--bind", "/srv:/etc/../srv", "'..'"),
    ("--bind", "/srv:/usr", "jail's own"),
    ("--bind", "/proc:/srv", "another host path"),
    ("--bind", "/srv:/srv:x", "ro nor rw"),
    ("--data", "1", "at least"),
    ("--memory", "1T", "K, M or G"),
    ("--memory", "1K", "at least"),
    ("--memory", "18446744073709551616G", "K, M or G"),
    ("--cpus", "all", "0.5"),
    ("--cpus", "-1", "0.5"),
    ("--pids", "1", "3 to"),
    ("--pids", "0x10", "3 to"),
    ("--seccomp", "unconfined", "default or strict"),
    ("--timeout", "10", "s, m or h"),
    ("--egress", "example.org", "leave it out"),
];

#[test]
fn every_bad_value_is_one_line_and_status_2() {
    let _alone = exclusive();
    let before = Snapshot::take();
    for (flag, bad, fix) in BAD {
        let said = gaoler(&["run", flag, bad, "--", "true"]);
        assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{flag} {bad}: {}", said.stderr);
        assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
        for part in [flag, bad, fix] {
            assert!(said.stderr.contains(part), "{part} in {}", said.stderr);
        }
    }
    before.assert_none();
}

/// A flag that is added without a bad value here would fall through the table.
#[test]
fn every_flag_of_the_help_has_a_bad_value_in_the_table() {
    let help = gaoler(&["run", "--help"]).stdout;
    let flags: Vec<&str> =
        help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2).collect();
    assert!(flags.len() > 18, "{help}");
    for flag in flags {
        assert!(
            flag == "--help" || BAD.iter().any(|(known, ..)| *known == flag) || flag == "--port",
            "{flag}"
        );
    }
}

#[test]
fn every_mistake_of_a_line_is_told() {
    let said =
        gaoler(&["run", "--memory", "x", "--cpus", "x", "--memroy", "1G", "--pids", "9", "--pids", "9"]);
    assert_eq!(said.code, 2);
    for part in
        ["--memory", "--cpus", "--memroy: no such flag; did you mean --memory?", "given twice", "no command"]
    {
        assert!(said.stderr.contains(part), "{part} in {}", said.stderr);
    }
    assert_eq!(said.stderr.lines().count(), 5, "{}", said.stderr);
}

#[test]
fn unknown_names_are_one_line_and_status_2() {
    let lines: [&[&str]; 8] = [
        &[],
        &["start"],
        &["--frob"],
        &["run", "--frob", "--", "true"],
        &["run", "-z", "--", "true"],
        &["jail", "--listen", "127.0.0.1:0", "--", "true"],
        &["doctor", "--yaml"],
        &["help", "everything"],
    ];
    for line in lines {
        let said = gaoler(line);
        assert_eq!((said.code, said.stderr.lines().count()), (2, 1), "{line:?}: {}", said.stderr);
        assert!(said.stdout.is_empty());
        let named = line.last().filter(|word| **word != "true").or_else(|| line.get(1));
        assert!(
            named.is_none_or(|word| *word == "127.0.0.1:0" || said.stderr.contains(word)),
            "{}",
            said.stderr
        );
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    let lines: [&[&str]; 5] =
        [&["--help"], &["run", "--help"], &["jail", "-h"], &["help", "doctor"], &["--version"]];
    for line in lines {
        let said = gaoler(line);
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{line:?}");
        assert!(said.stdout.starts_with("gaoler") && said.stdout.ends_with('\n'), "{}", said.stdout);
    }
}

/// As a shell has it: 127 when there is nothing to run, 126 when it cannot be run.
#[test]
fn commands_that_cannot_be_executed_are_told_from_those_that_are_not_there() {
    let _alone = exclusive();
    let script = Scratch::new("script", b"#!/nonexistent/interpreter\n", 0o755);
    let garbage = Scratch::new("garbage", b"neither script nor program\x01\x02", 0o755);
    let private = Scratch::new("private", &fs::read("/usr/bin/true").unwrap(), 0o700);
    let plain = Scratch::new("plain", &fs::read("/usr/bin/true").unwrap(), 0o644);
    let sound = Scratch::new("sound", &fs::read("/usr/bin/true").unwrap(), 0o755);
    let none: [String; 0] = [];
    let expect = |flags: &[String], command: &str, code: i32| {
        let outcome = Jail::command([command]).flags(flags.to_vec()).run_clean();
        assert_eq!(outcome.code(), code, "{command}: {}", outcome.stderr);
        if code != 0 {
            assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
            assert!(outcome.stderr.contains(command), "{}", outcome.stderr);
        }
    };
    expect(&none, "/nonexistent", 127);
    expect(&none, "no-such-program", 127);
    expect(&none, "/usr/bin", 126);
    expect(&script.bind("ro"), "/srv/it", 127);
    expect(&garbage.bind("ro"), "/srv/it", 126);
    expect(&private.bind("ro"), "/srv/it", 126);
    expect(&plain.bind("ro"), "/srv/it", 126);
    expect(&sound.bind("rw"), "/srv/it", 126);
    expect(&sound.bind("ro"), "/srv/it", 0);
}

#[test]
fn a_bind_of_what_is_not_there_names_step_and_path() {
    let _alone = exclusive();
    for (flag, said) in [
        ("/srv/no-such-directory:/srv/x", "/srv/no-such-directory"),
        ("/etc/passwd/below-a-file:/srv/x", "/etc/passwd/below-a-file"),
    ] {
        let outcome =
            Jail::command(["true"]).flags(["--bind", flag]).within(Duration::from_secs(5)).run_clean();
        assert_eq!(outcome.code(), 125, "{}", outcome.stderr);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        for part in ["failed at step", said] {
            assert!(outcome.stderr.contains(part), "{part} in {}", outcome.stderr);
        }
    }
}

#[test]
fn a_secret_that_cannot_be_read_is_named_and_never_shown() {
    let binary = Scratch::new("secret", b"hunter2\0", 0o600);
    for (file, why) in [
        ("/nonexistent/secret", "No such file"),
        ("/srv", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        (binary.0.to_str().unwrap(), "NUL"),
    ] {
        for command in ["run", "jail"] {
            let said = gaoler(&[command, "--secret-env", &format!("TOKEN={file}"), "--", "true"]);
            assert_eq!((said.code, said.stderr.lines().count()), (2, 1), "{}", said.stderr);
            for part in ["--secret-env TOKEN", file, why] {
                assert!(said.stderr.contains(part), "{part} in {}", said.stderr);
            }
            assert!(!said.stderr.contains("hunter2"));
        }
    }
}

#[test]
fn a_taken_port_is_one_line_that_names_it() {
    let _alone = exclusive();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let before = Snapshot::take();
    let said = gaoler(&["run", "--listen", &address, "--", "cat"]);
    assert_eq!((said.code, said.stdout.as_str()), (125, ""), "{}", said.stderr);
    // A start also tells what it cleaned up after a predecessor of another test.
    let lines: Vec<_> = said.stderr.lines().filter(|line| !line.contains("cleaned up after")).collect();
    assert_eq!(lines.len(), 1, "{}", said.stderr);
    for part in ["--listen", address.as_str(), "choose another"] {
        assert!(lines[0].contains(part), "{part} in {}", said.stderr);
    }
    before.assert_none();
}

/// A server that can never start is told at once, and not to the first client.
#[test]
fn a_run_of_what_cannot_be_executed_never_gets_ready() {
    let _alone = exclusive();
    let before = Snapshot::take();
    for command in ["/nonexistent", "no-such-program", "/usr/bin"] {
        let refused =
            Launch::command([command]).try_start().err().unwrap_or_else(|| panic!("{command} got ready"));
        let code = refused.status.and_then(|s| s.code());
        assert!(code.is_some_and(|code| (125..=127).contains(&code)), "{code:?}: {}", refused.stderr);
        assert!(refused.stdout.is_none(), "{refused:?}");
        assert!(refused.stderr.contains(command), "{}", refused.stderr);
    }
    before.assert_none();
}

#[test]
fn without_root_one_line_says_so() {
    let copy = everybodys("gaoler-run");
    for command in ["run", "jail"] {
        let said = said(Command::new(&copy.0).args([command, "--", "true"]).uid(1000).gid(1000));
        assert_eq!((said.code, said.stderr.lines().count()), (125, 1), "{}", said.stderr);
        assert!(said.stderr.contains("root") && said.stderr.contains("sudo"), "{}", said.stderr);
    }
}

#[test]
fn the_doctor_says_the_same_in_text_and_json() {
    let (text, json) = (gaoler(&["doctor"]), gaoler(&["doctor", "--json"]));
    assert_eq!((text.code, json.code), (0, 0), "{}", text.stdout);
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&report["schema"], report["hosting"].as_str()), (&Value::from(1), Some("possible")));
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(text.stdout.lines().count(), findings.len() + 1);
    for (finding, line) in findings.iter().zip(text.stdout.lines()) {
        let words: Vec<_> = line.split_whitespace().take(2).collect();
        assert_eq!(words, [finding["state"].as_str().unwrap(), finding["name"].as_str().unwrap()]);
    }
    assert!(text.stdout.lines().last().unwrap().starts_with("verdict: hosting is possible"));
}

/// The doctor must see the lack that the same host shows to a caller without rights, and to one who is locked in.
#[test]
fn the_doctor_sees_what_is_taken_away() {
    let copy = everybodys("gaoler-doctor");
    let gaoler = &copy.0;
    let user = said(Command::new(gaoler).arg("doctor").uid(1000).gid(1000));
    assert_eq!(user.code, 1);
    for part in ["missing  root ", "missing  namespace-net ", "verdict: hosting is impossible"] {
        assert!(user.stdout.contains(part), "{part} in {}", user.stdout);
    }
    let mut locked = Command::new("bwrap");
    locked.args(["--dev-bind", "/", "/", "--unshare-user", "--disable-userns"]).arg(gaoler).arg("doctor");
    let locked = said(&mut locked);
    assert_eq!(locked.code, 1, "{}", locked.stderr);
    for part in ["missing  user-ids ", "missing  namespace-user ", "verdict: hosting is impossible"] {
        assert!(locked.stdout.contains(part), "{part} in {}", locked.stdout);
    }
}

/// What the doctor calls necessary is: without it the same launcher fails, and the doctor says why.
#[test]
fn each_capability_that_the_doctor_wants_is_needed() {
    let _alone = exclusive();
    let before = Snapshot::take();
    let without = |capability: &str, args: &[&str]| {
        let drop = format!("-{capability}");
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", &drop, "--inh-caps", &drop]).arg(bin("gaoler")).args(args);
        said(&mut command)
    };
    for capability in ["mknod", "net_admin", "setgid", "setuid", "sys_admin"] {
        let doctor = without(capability, &["doctor"]);
        let line = format!("missing  capabilities                  without {}", capability.to_uppercase());
        assert_eq!(doctor.code, 1, "{capability}: {}", doctor.stdout);
        assert!(doctor.stdout.contains(&line), "{line} in {}", doctor.stdout);
        let jail = without(capability, &["jail", "--", "true"]);
        assert_eq!(jail.code, 125, "{capability}: {}", jail.stderr);
        assert!(jail.stderr.contains("failed at step"), "{capability}: {}", jail.stderr);
    }
    assert_eq!(without("sys_boot", &["jail", "--", "true"]).code, 0);
    before.assert_none();
}
