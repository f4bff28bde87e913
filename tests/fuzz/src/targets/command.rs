//! The operator's command line.
//!
//! Asserts: what is accepted, written out in full, is accepted again as the same; a plan made of it passes the jail's own
//! check, unless that knows more about a bind; mistakes are told in bounded lines without control characters, and the
//! operator's environment is not repeated in them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use gaoler_jail::cgroup::Version;
use gaoler_jail::plan::{HOST_IDS, PlanError};
use gaoler_jail::seccomp::Profile;
use gaoler_supervisor::cli::{self, Command, Hosting, UsageError};
use gaoler_supervisor::host::Host;
use gaoler_supervisor::plan::{self, Given};
use gaoler_wire::policy::{SessionMode, Transport};

/// What every variable of the operator's environment holds.
const SECRET: &str = "correct horse battery";

/// A line feed inside of an argument.
const FEED: u8 = 0x1e;

/// One argument on each line.
pub(super) fn run(data: &[u8]) {
    if data.is_empty() {
        return;
    }
    // An argument has no NUL: the kernel ends it there.
    let argument = |line: &[u8]| {
        let bytes =
            line.iter().filter(|byte| **byte != 0).map(|byte| if *byte == FEED { b'\n' } else { *byte });
        OsString::from_vec(bytes.collect())
    };
    let arguments: Vec<OsString> = data.split(|byte| *byte == b'\n').map(argument).collect();
    match parse(&arguments) {
        Err(wrong) => told(&wrong),
        Ok(Command::Run(hosting)) => hosted("run", &hosting),
        Ok(Command::Jail(hosting)) => hosted("jail", &hosting),
        Ok(Command::Doctor { .. } | Command::Probe | Command::Help(_) | Command::Version) => {}
    }
}

fn parse(arguments: &[OsString]) -> Result<Command, UsageError> {
    cli::parse(arguments.iter().cloned(), &|name: &str| (name != "UNSET").then(|| SECRET.into()))
}

fn told(wrong: &UsageError) {
    assert!((1..=32).contains(&wrong.problems().len()));
    for line in wrong.problems() {
        assert!(!line.chars().any(char::is_control) && line.len() < 4096, "{line:?}");
        assert!(!line.contains(SECRET), "{line:?} tells what only the environment holds");
    }
    assert!(wrong.to_string().lines().all(|line| line.starts_with("gaoler")));
}

fn hosted(verb: &str, hosting: &Hosting) {
    let again = parse(&written(verb, hosting));
    let Ok(Command::Run(again) | Command::Jail(again)) = again else {
        panic!("{hosting:?} is read once: {again:?}")
    };
    assert_eq!(again, *hosting);
    let host = Host {
        cgroups: Version::V1,
        landlock_abi: 7,
        memfd_noexec: true,
        directories: vec![],
        links: vec![("/bin".into(), "usr/bin".into())],
        shown: vec!["/etc/ssl/certs".into()],
        localtime: None,
    };
    let volume = hosting.data_bytes.map(|_| "/run/gaoler/volume");
    let plan = plan::server(&Given { hosting, secrets: &[], volume }, &host, HOST_IDS);
    assert!(matches!(plan.check(), Ok(()) | Err(PlanError::Bind(_))), "{hosting:?}: {:?}", plan.check());
    assert_eq!(plan.process.env.iter().filter(|pair| pair.starts_with(b"PATH=")).count(), 1);
}

/// A command line that says all of it.
fn written(verb: &str, hosting: &Hosting) -> Vec<OsString> {
    let mut line = Line(vec![verb.into()]);
    line.add("name", hosting.name.to_string());
    let transport = match &hosting.transport {
        Transport::Stdio => "stdio".to_owned(),
        Transport::Http { port, path } => format!("http:{port}{path}"),
    };
    line.add("transport", transport);
    for variable in &hosting.env {
        line.add("env", pair(&variable.name, b"=", &variable.value));
    }
    for secret in &hosting.secret_env {
        line.add("secret-env", pair(&secret.name, b"=", secret.file.as_os_str()));
    }
    for bind in &hosting.binds {
        line.add("bind", format!("{}:{}:{}", bind.host, bind.jail, if bind.writable { "rw" } else { "ro" }));
    }
    if let Some(bytes) = hosting.data_bytes {
        line.add("data", bytes.to_string());
    }
    let limits = &hosting.limits;
    line.add("memory", limits.memory_bytes.to_string());
    line.add("cpus", format!("{}.{:03}", limits.cpu_milli / 1000, limits.cpu_milli % 1000));
    line.add("pids", limits.pids.to_string());
    line.add("seccomp", if hosting.seccomp == Profile::Strict { "strict" } else { "default" });
    if let Some(time) = hosting.timeout {
        line.add("timeout", format!("{}s", time.as_secs()));
    }
    if verb == "run" {
        serving(&mut line, hosting);
    }
    line.0.push("--".into());
    line.0.extend(hosting.command.iter().cloned());
    line.0
}

fn serving(line: &mut Line, hosting: &Hosting) {
    line.add("listen", hosting.listen.to_string());
    line.add("session-mode", if hosting.session_mode == SessionMode::Shared { "shared" } else { "isolated" });
    line.add("warm", hosting.warm.to_string());
    line.add("idle", format!("{}s", hosting.front.idle_ms / 1000));
    line.add("request-timeout", format!("{}s", hosting.front.request_ms / 1000));
    line.add("max-sessions", hosting.front.sessions_per_server.to_string());
    line.add("max-sessions-per-caller", hosting.front.sessions_per_principal.to_string());
    for host in &hosting.allow_hosts {
        line.add("allow-host", host);
    }
    for origin in &hosting.allow_origins {
        line.add("allow-origin", origin);
    }
}

struct Line(Vec<OsString>);

impl Line {
    fn add(&mut self, flag: &str, value: impl AsRef<OsStr>) {
        self.0.push(pair(&format!("--{flag}"), b"=", value.as_ref()));
    }
}

fn pair(name: &str, between: &[u8], value: &OsStr) -> OsString {
    OsString::from_vec([name.as_bytes(), between, value.as_bytes()].concat())
}
