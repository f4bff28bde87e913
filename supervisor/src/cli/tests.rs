//! The command line as a whole: a table of bad values, what good lines mean, and no panic on any line.

use std::ffi::OsString;

use proptest::prelude::*;

use super::*;

fn words(line: &[&str]) -> Result<Command, UsageError> {
    let env = |name: &str| (name == "HOME_TOWN").then(|| OsString::from("Kiel"));
    parse(line.iter().map(OsString::from), &env)
}

fn run(flags: &[&str]) -> Result<Hosting, UsageError> {
    let mut line = vec!["run"];
    line.extend(flags);
    line.extend(["--", "/usr/bin/Srv", "--memory", "7"]);
    match words(&line)? {
        Command::Run(hosting) => Ok(hosting),
        other => panic!("{other:?}"),
    }
}

/// Flag and value, each refused with one line that has both and a word of the fix.
const BAD: &[(&str, &str, &str)] = &[
    ("--name", "noslash", "NAMESPACE/NAME"),
    ("--name", "A/b", "NAMESPACE/NAME"),
    ("--name", "a/b/c", "NAMESPACE/NAME"),
    ("--name", "a/..", "NAMESPACE/NAME"),
    ("--name", "", "NAMESPACE/NAME"),
    ("--image", "npm:left-pad@1.0.0", "not in this version"),
    ("--image", "", "not in this version"),
    ("--listen", "localhost:8750", "127.0.0.1:8750"),
    ("--listen", "127.0.0.1", "127.0.0.1:8750"),
    ("--listen", "127.0.0.1:65536", "127.0.0.1:8750"),
    ("--listen", ":80", "127.0.0.1:8750"),
    ("--listen", "0.0.0.0:80", "--allow-host"),
    ("--session-mode", "Shared", "isolated or shared"),
    ("--transport", "sse", "stdio or http:"),
    ("--transport", "http", "stdio or http:"),
    ("--transport", "http:", "1 to 65535"),
    ("--transport", "http:0", "1 to 65535"),
    ("--transport", "http:65536/mcp", "1 to 65535"),
    ("--transport", "http:+80", "1 to 65535"),
    ("--transport", "http:80/a b", "plain path"),
    ("--transport", "http:80/a?b=c", "plain path"),
    ("--idle", "10", "90s"),
    ("--idle", "0s", "one second"),
    ("--request-timeout", "soon", "90s"),
    ("--max-sessions", "0", "1 to 1048576"),
    ("--max-sessions-per-caller", "many", "1 to 1048576"),
    ("--warm", "-1", "0 to 1024"),
    ("--warm", "1025", "0 to 1024"),
    ("--allow-host", "*.example.org", "HOST[:PORT]"),
    ("--allow-host", "http://example.org", "HOST[:PORT]"),
    ("--allow-origin", "example.org", "SCHEME://HOST"),
    ("--allow-origin", "null", "SCHEME://HOST"),
    ("--env", "1A=x", "a variable's name"),
    ("--env", "=x", "a variable's name"),
    ("--env", "A B", "a variable's name"),
    ("--env", "NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE=VALUE"),
    ("--secret-env", "TOKEN", "K=FILE"),
    ("--secret-env", "TOKEN=", "TOKEN=FILE"),
    ("--secret-env", "T-K=/x", "a variable's name"),
    ("--bind", "/a", "HOST:JAIL"),
    ("--bind", "a:/b", "not absolute"),
    ("--bind", "/a:/../b", "'..'"),
    ("--bind", "/a:/b:wr", "neither ro nor rw"),
    ("--bind", "/a:/usr/share", "jail's own"),
    ("--bind", "/:/host", "whole host"),
    ("--bind", "/sys/fs/cgroup:/c", "never shown"),
    ("--data", "10", "at least 8M"),
    ("--data", "ten", "K, M or G"),
    ("--memory", "512MB", "K, M or G"),
    ("--memory", "1.5G", "K, M or G"),
    ("--memory", "-1", "K, M or G"),
    ("--memory", "M", "K, M or G"),
    ("--memory", "0", "at least 8M"),
    ("--memory", "7M", "at least 8M"),
    ("--memory", "99999999999G", "64-bit"),
    ("--memory", "9223372036854775808", "64-bit"),
    ("--memory", "99999999999999999999999", "K, M or G"),
    ("--cpus", "0", "0.010 to 8192"),
    ("--cpus", "0.001", "0.010 to 8192"),
    ("--cpus", "1.2345", "0.010 to 8192"),
    ("--cpus", "1.", "0.010 to 8192"),
    ("--cpus", ".5", "0.010 to 8192"),
    ("--cpus", "1e3", "0.010 to 8192"),
    ("--cpus", "99999", "0.010 to 8192"),
    ("--pids", "2", "3 to 4194304"),
    ("--pids", "4194305", "3 to 4194304"),
    ("--pids", "many", "3 to 4194304"),
    ("--seccomp", "learned", "default or strict"),
    ("--seccomp", "off", "default or strict"),
    ("--timeout", "90", "s, m or h"),
    ("--timeout", "s", "s, m or h"),
    ("--timeout", "0s", "s, m or h"),
    ("--timeout", "9000h", "s, m or h"),
    ("--timeout", "1d", "s, m or h"),
    ("--egress", "example.org:443", "not in this version"),
];

#[test]
fn every_bad_value_is_one_line_with_flag_value_and_fix() {
    for (flag, bad, fix) in BAD {
        let error = run(&[flag, bad]).expect_err(&format!("{flag} {bad}"));
        let line = error.to_string();
        assert_eq!(error.problems().len(), 1, "{line}");
        assert!(!line.contains('\n') && line.starts_with("gaoler run: "), "{line}");
        // The value of a variable may be a secret: its name is enough.
        let shown = if *flag == "--env" { bad.split('=').next().unwrap() } else { bad };
        assert!(line.contains(flag) && line.contains(shown) && line.contains(fix), "{flag} {bad}: {line}");
    }
}

#[test]
fn every_flag_has_a_bad_value_in_the_table() {
    for spec in Flag::ALL.into_iter().map(Flag::spec) {
        assert!(BAD.iter().any(|(flag, ..)| flag.strip_prefix("--") == Some(spec.name)), "{}", spec.name);
    }
}

#[test]
fn the_command_behind_the_dashes_is_left_alone() {
    let hosting = run(&[]).unwrap();
    assert_eq!(hosting.command, ["/usr/bin/Srv", "--memory", "7"]);
    assert_eq!(hosting.name.as_str(), "local/srv");
    assert_eq!(hosting.listen.to_string(), "127.0.0.1:8750");
    assert_eq!(hosting.limits, Limits::default());
}

#[test]
fn every_flag_reaches_its_field() {
    let hosting = run(&[
        "--name=team/docs",
        "--image",
        "host",
        "--listen",
        "[::1]:0",
        "--session-mode",
        "shared",
        "--transport",
        "http:3000",
        "--warm",
        "2",
        "--allow-host",
        "Mcp.example.org",
        "--allow-origin",
        "https://a.example.org",
        "--env",
        "HOME_TOWN",
        "--env",
        "A=b=c",
        "--env",
        "EMPTY=",
        "--secret-env",
        "T=/t",
        "--bind",
        "/a:/b:rw",
        "--bind",
        "/a:/c",
        "--data",
        "16M",
        "--memory",
        "1G",
        "--cpus",
        "0.5",
        "--pids",
        "10",
        "--seccomp",
        "strict",
        "--timeout",
        "2m",
    ])
    .unwrap();
    let env: Vec<_> = hosting.env.iter().map(|v| (v.name.as_str(), v.value.to_str().unwrap())).collect();
    assert_eq!(env, [("HOME_TOWN", "Kiel"), ("A", "b=c"), ("EMPTY", "")]);
    assert_eq!(hosting.name.as_str(), "team/docs");
    assert_eq!(hosting.listen.to_string(), "[::1]:0");
    assert_eq!(hosting.session_mode, SessionMode::Shared);
    assert_eq!(hosting.transport, Transport::Http { port: 3000, path: "/mcp".into() });
    assert_eq!((hosting.warm, hosting.data_bytes), (2, Some(16 << 20)));
    assert_eq!(hosting.allow_hosts, ["mcp.example.org"]);
    assert_eq!(hosting.allow_origins, ["https://a.example.org"]);
    assert_eq!(hosting.secret_env, [SecretFile { name: "T".into(), file: "/t".into() }]);
    assert_eq!(hosting.binds.iter().map(|b| b.writable).collect::<Vec<_>>(), [true, false]);
    assert_eq!(hosting.limits, Limits { memory_bytes: 1 << 30, cpu_milli: 500, pids: 10 });
    assert_eq!((hosting.seccomp, hosting.timeout), (Profile::Strict, Some(Duration::from_secs(120))));
}

#[test]
fn all_mistakes_are_told_at_once() {
    let error = words(&["run", "--memory", "1Q", "--cpus", "x", "--memroy", "1G", "--pids"]).unwrap_err();
    let told = error.to_string();
    assert_eq!(error.problems().len(), 5, "{told}");
    for part in [
        "--memory \"1Q\"",
        "--cpus \"x\"",
        "did you mean --memory?",
        "--pids: has no value",
        "no command given",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
}

#[test]
fn what_stands_twice_is_refused() {
    for flags in [
        &["--memory", "1G", "--memory", "1G"][..],
        &["--env", "A=1", "--env", "A=2"],
        &["--env", "A=1", "--secret-env", "A=/x"],
        &["--bind", "/a:/b", "--bind", "/c:/b"],
        &["--bind", "/a:/b", "--bind", "/c:/b/d"],
        &["--bind", "/a:/data/x", "--data", "16M"],
        &["--allow-host", "a", "--allow-host", "A"],
    ] {
        assert_eq!(run(flags).unwrap_err().problems().len(), 1, "{flags:?}");
    }
}

#[test]
fn a_value_that_may_be_secret_is_never_repeated() {
    let told = run(&["--env", "1A=hunter2"]).unwrap_err().to_string();
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn a_missing_value_does_not_eat_the_command() {
    let told = words(&["run", "--memory", "--", "srv"]).unwrap_err().to_string();
    assert_eq!(told, "gaoler run: --memory: has no value; give --memory SIZE");
}

#[test]
fn a_command_without_dashes_is_one_mistake() {
    let told = words(&["jail", "--pids", "9", "ls", "-l", "--nope"]).unwrap_err().to_string();
    assert_eq!(
        told,
        "gaoler jail: \"ls\": unexpected here; put -- before the command: gaoler jail [FLAGS] -- COMMAND [ARG...]"
    );
}

#[test]
fn jail_takes_no_flag_that_only_serves() {
    for spec in Flag::ALL.into_iter().map(Flag::spec).filter(|spec| spec.serving) {
        let flag = format!("--{}", spec.name);
        let told = words(&["jail", &flag, "x", "--", "ls"]).unwrap_err().to_string();
        assert_eq!(told, format!("gaoler jail: {flag}: only gaoler run serves; leave it out"));
    }
    assert!(matches!(words(&["jail", "--pids", "9", "--", "ls"]), Ok(Command::Jail(_))));
}

#[test]
fn the_other_commands_are_understood() {
    for (line, command) in [
        (&["--help"][..], Command::Help(Topic::Gaoler)),
        (&["help"], Command::Help(Topic::Gaoler)),
        (&["help", "jail"], Command::Help(Topic::Jail)),
        (&["run", "--memory", "bad", "-h"], Command::Help(Topic::Run)),
        (&["doctor"], Command::Doctor { json: false }),
        (&["doctor", "--json"], Command::Doctor { json: true }),
        (&["doctor", "--probe"], Command::Probe),
        (&["--version"], Command::Version),
        (&["-V"], Command::Version),
    ] {
        assert_eq!(words(line), Ok(command), "{line:?}");
    }
}

#[test]
fn unknown_names_say_what_there_is() {
    for line in
        [&[][..], &["start"], &["--frob"], &["-x"], &["doctor", "--xml"], &["doctor", "x"], &["help", "x"]]
    {
        let error = words(line).unwrap_err();
        assert_eq!(error.problems().len(), 1, "{line:?}");
        assert!(!error.to_string().contains('\n'));
    }
}

#[test]
fn the_page_has_every_flag_as_help_has_it() {
    let page = include_str!("../../../docs/cli.md");
    for spec in Flag::ALL.into_iter().map(Flag::spec) {
        let heading = format!("### `--{} {}`", spec.name, spec.value);
        let section = page.split_once(&heading).unwrap_or_else(|| panic!("no {heading} in docs/cli.md")).1;
        let section = section.split("\n#").next().unwrap();
        if let Some((_, default)) = spec.help.split_once("[default: ") {
            let default = format!("Default: `{}`.", default.trim_end_matches(']'));
            assert!(section.contains(&default), "{default} under {heading}");
        }
        assert_eq!(section.contains("May be repeated."), spec.many, "{heading}");
        assert_eq!(section.contains("Only `gaoler run`."), spec.serving, "{heading}");
    }
    let headings = page.lines().filter_map(|line| line.strip_prefix("### `--"));
    for name in headings.filter_map(|rest| rest.split([' ', '`']).next()) {
        assert!(Flag::find(name).is_some() || name == "json", "--{name} is in docs/cli.md only");
    }
}

#[test]
fn help_lines_fit_a_wide_terminal() {
    for topic in [Topic::Gaoler, Topic::Run, Topic::Jail, Topic::Doctor] {
        let text = help::text(topic);
        for line in text.lines() {
            assert!(line.chars().count() <= 115, "{line}");
        }
        assert!(text.ends_with('\n') && text.contains(topic.command()));
    }
}

proptest! {
    #[test]
    fn no_line_panics(line in proptest::collection::vec(any_word(), 0..12)) {
        let _ = parse(line.into_iter(), &|_| None);
    }

    #[test]
    fn no_flag_value_panics_or_breaks_the_line(index in 0..Flag::ALL.len(), value in any::<String>()) {
        let flag = format!("--{}", Flag::ALL[index].spec().name);
        let line = [OsString::from("run"), flag.into(), value.into(), "--".into(), "x".into()];
        if let Err(error) = parse(line.into_iter(), &|_| None) {
            prop_assert_eq!(error.to_string().lines().count(), error.problems().len());
        }
    }
}

/// Words that get far: flags, values, and bytes that are no text.
fn any_word() -> impl Strategy<Value = OsString> {
    use std::os::unix::ffi::OsStringExt;
    prop_oneof![
        proptest::collection::vec(1u8..=255, 0..12).prop_map(OsString::from_vec),
        (0..Flag::ALL.len()).prop_map(|i| OsString::from(format!("--{}", Flag::ALL[i].spec().name))),
        "(run|jail|doctor|help|--|--[a-z]{1,6}=?.{0,4}|-[a-z]{1,3}|/[a-z]:/[a-z]|[0-9]{1,22}[KMGsmh]?)"
            .prop_map(OsString::from),
    ]
}
