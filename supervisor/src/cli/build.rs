//! From the flags of `gaoler run` and `gaoler jail` to one [`Hosting`], with every mistake kept until the end.

use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use gaoler_jail::seccomp::Profile;
use gaoler_wire::id::ServerName;
use gaoler_wire::message::FrontLimits;
use gaoler_wire::policy::{Limits, SessionMode, Transport};
use lexopt::{Arg, Parser};

use super::flag::{Flag, nearest};
use super::{EnvVar, Hosting, SecretFile, Topic, UsageError, argument, path, value};

/// The port of the design's contract.
const DEFAULT_PORT: u16 = 8750;

/// What the kernel takes as one `NAME=VALUE` at exec, in bytes with the final NUL (`MAX_ARG_STRLEN`).
const VARIABLE_BYTES_MAX: usize = 128 * 1024;

/// More variables, hosts or origins than this are a mistake.
const MANY_MAX: usize = 256;

/// Mistakes that are told; more would only hide the first.
const PROBLEMS_MAX: usize = 32;

type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Reads everything behind `gaoler run` or `gaoler jail`; the inner `Err` is a wish for help.
pub(super) fn hosting(
    topic: Topic,
    mut parser: Parser,
    env: Environment<'_>,
) -> Result<Result<Hosting, Topic>, UsageError> {
    let mut builder = Builder::new(topic);
    let mut command = Vec::new();
    loop {
        if let Some(rest) = after_dashes(&mut parser) {
            command = rest;
            break;
        }
        match parser.next() {
            Ok(None) => break,
            Ok(Some(Arg::Long("help") | Arg::Short('h'))) => return Ok(Err(topic)),
            Ok(Some(Arg::Long(name))) => match Flag::find(name) {
                Some(flag) => builder.flag(flag, &mut parser, env),
                None => {
                    let name = name.to_owned();
                    builder.unknown(&name, &mut parser);
                }
            },
            Ok(Some(Arg::Value(first))) => {
                let line = topic.usage();
                builder.problem(format!(
                    "{}: unexpected here; put -- before the command: {line}",
                    value::quote(&first)
                ));
                command.push(first);
                command.extend(parser.raw_args().into_iter().flatten());
                break;
            }
            Ok(Some(other)) => {
                let shown = argument(&other);
                builder.problem(format!("{shown}: no such option; see {} --help", topic.command()));
            }
            Err(e) => builder.problem(value::clip(&e.to_string())),
        }
    }
    builder.finish(command).map(Ok)
}

/// Everything behind `--`, when that comes next.
fn after_dashes(parser: &mut Parser) -> Option<Vec<OsString>> {
    let mut raw = parser.try_raw_args()?;
    raw.next_if(|next| next == "--")?;
    Some(raw.collect())
}

/// The value of the option just read; `--` is never one.
fn value_of(parser: &mut Parser) -> Option<OsString> {
    if parser.try_raw_args().is_some_and(|raw| raw.peek().is_some_and(|next| next == "--")) {
        return None;
    }
    parser.value().ok()
}

struct Builder {
    topic: Topic,
    hosting: Hosting,
    seen: Vec<Flag>,
    problems: Vec<String>,
}

impl Builder {
    fn new(topic: Topic) -> Self {
        let hosting = Hosting {
            name: ServerName::local(""),
            command: Vec::new(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            session_mode: SessionMode::Isolated,
            transport: Transport::Stdio,
            env: Vec::new(),
            secret_env: Vec::new(),
            binds: Vec::new(),
            data_bytes: None,
            limits: Limits::default(),
            seccomp: Profile::Default,
            timeout: None,
            allow_hosts: Vec::new(),
            allow_origins: Vec::new(),
            warm: 0,
            front: FrontLimits::default(),
        };
        Self { topic, hosting, seen: Vec::new(), problems: Vec::new() }
    }

    fn problem(&mut self, line: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(line);
        }
    }

    fn unknown(&mut self, name: &str, parser: &mut Parser) {
        // Its value, if it has one, must not be taken for the command.
        if parser.optional_value().is_none()
            && let Some(mut raw) = parser.try_raw_args()
        {
            let _ = raw.next_if(|next| !next.as_bytes().starts_with(b"-"));
        }
        let fix = match nearest(name) {
            Some(known) => format!("did you mean --{known}?"),
            None => format!("see {} --help", self.topic.command()),
        };
        self.problem(format!("--{}: no such flag; {fix}", value::clip(name)));
    }

    fn flag(&mut self, flag: Flag, parser: &mut Parser, env: Environment<'_>) {
        let spec = flag.spec();
        let Some(given) = value_of(parser) else {
            self.problem(format!("--{}: has no value; give --{} {}", spec.name, spec.name, spec.value));
            return;
        };
        if spec.serving && self.topic == Topic::Jail {
            self.problem(format!("--{}: only gaoler run serves; leave it out", spec.name));
            return;
        }
        if !spec.many && self.seen.contains(&flag) {
            self.problem(format!("--{} {}: given twice; give it once", spec.name, value::quote(&given)));
            return;
        }
        self.seen.push(flag);
        if let Err(why) = self.set(flag, &given, env) {
            let shown = value::quote(shown_part(flag, &given));
            self.problem(format!("--{} {shown}: {why}", spec.name));
        }
    }

    fn set(&mut self, flag: Flag, given: &OsStr, env: Environment<'_>) -> Result<(), String> {
        let hosting = &mut self.hosting;
        if flag == Flag::Env {
            return hosting.add_env(given, env);
        }
        let text = given.to_str().ok_or("not UTF-8; give plain text")?;
        match flag {
            Flag::Name => hosting.name = value::name(text)?,
            Flag::Image => value::image(text)?,
            Flag::Listen => hosting.listen = value::listen(text)?,
            Flag::SessionMode => hosting.session_mode = value::session_mode(text)?,
            Flag::Transport => hosting.transport = value::transport(text)?,
            Flag::Warm => hosting.warm = value::warm(text)?,
            Flag::Idle => hosting.front.idle_ms = value::milliseconds(text)?,
            Flag::RequestTimeout => {
                let front = &mut hosting.front;
                front.request_ms = value::milliseconds(text)?;
                // The first answer of a new jail is one as well.
                front.start_ms = front.start_ms.min(front.request_ms);
            }
            Flag::MaxSessions => hosting.front.sessions_per_server = value::sessions(text)?,
            Flag::MaxSessionsPerCaller => hosting.front.sessions_per_principal = value::sessions(text)?,
            Flag::AllowHost => push(&mut hosting.allow_hosts, value::allow_host(text)?)?,
            Flag::AllowOrigin => push(&mut hosting.allow_origins, value::allow_origin(text)?)?,
            Flag::Env => {}
            Flag::SecretEnv => hosting.add_secret(text)?,
            Flag::Bind => hosting.add_bind(text)?,
            Flag::Data => hosting.data_bytes = Some(value::data(text)?),
            Flag::Memory => hosting.limits.memory_bytes = value::memory(text)?,
            Flag::Cpus => hosting.limits.cpu_milli = value::cpus(text)?,
            Flag::Pids => hosting.limits.pids = value::pids(text)?,
            Flag::Seccomp => hosting.seccomp = value::seccomp(text)?,
            Flag::Timeout => hosting.timeout = Some(value::timeout(text)?),
            Flag::Egress => {
                return Err(
                    "not in this version, which gives a jail only its own loopback; leave it out".into()
                );
            }
        }
        Ok(())
    }

    fn finish(mut self, command: Vec<OsString>) -> Result<Hosting, UsageError> {
        match command.first() {
            None => {
                let line = self.topic.usage();
                self.problem(format!("no command given; put it behind --: {line}"));
            }
            Some(program) if program.is_empty() => {
                self.problem("\"\": the command is empty; give a program's name or path".into());
            }
            Some(program) if !self.seen.contains(&Flag::Name) => {
                self.hosting.name = value::default_name(program)
            }
            Some(_) => {}
        }
        self.hosting.command = command;
        self.cross_check();
        if self.problems.is_empty() {
            return Ok(self.hosting);
        }
        Err(UsageError { prefix: self.topic.command(), problems: self.problems })
    }

    /// What no flag can know alone.
    fn cross_check(&mut self) {
        let hosting = &self.hosting;
        let data =
            hosting.data_bytes.and_then(|_| hosting.binds.iter().find(|b| path::overlap(&b.jail, "/data")));
        if let Some(bind) = data {
            let line =
                format!("--bind: {} lies on the /data that --data makes; give another jail path", bind.jail);
            self.problem(line);
        }
        let listen = self.hosting.listen;
        if !listen.ip().is_loopback() && self.hosting.allow_hosts.is_empty() {
            self.problem(format!(
                "--listen {listen}: clients elsewhere would all be refused for their Host; \
                 name what they use with --allow-host HOST[:PORT], or listen on 127.0.0.1"
            ));
        }
    }
}

impl Hosting {
    fn add_env(&mut self, given: &OsStr, env: Environment<'_>) -> Result<(), String> {
        let bytes = given.as_bytes();
        let equals = bytes.iter().position(|b| *b == b'=');
        let name = self.fresh_variable(&bytes[..equals.unwrap_or(bytes.len())])?;
        let value = match equals {
            Some(at) => OsString::from_vec(bytes[at + 1..].to_vec()),
            None => {
                env(&name).ok_or_else(|| format!("not set in your own environment; give {name}=VALUE"))?
            }
        };
        if name.len() + value.len() + 2 > VARIABLE_BYTES_MAX {
            return Err(format!("longer than {VARIABLE_BYTES_MAX} bytes; pass it in a file with --bind"));
        }
        push(&mut self.env, EnvVar { name, value })
    }

    fn add_secret(&mut self, text: &str) -> Result<(), String> {
        let Some((name, file)) = text.split_once('=') else {
            return Err("no file named; give K=FILE, such as TOKEN=/etc/tokens/mcp".into());
        };
        let name = self.fresh_variable(name.as_bytes())?;
        if file.is_empty() {
            return Err(format!("the file's name is empty; give {name}=FILE"));
        }
        push(&mut self.secret_env, SecretFile { name, file: PathBuf::from(file) })
    }

    /// A variable's name that is well formed and not given before.
    fn fresh_variable(&self, name: &[u8]) -> Result<String, String> {
        let name = std::str::from_utf8(name).ok().filter(|name| value::is_variable(name)).ok_or(
            "not a variable's name; give letters, digits and '_' with no digit first, such as API_URL=VALUE",
        )?;
        let mut known = self.env.iter().map(|v| &v.name).chain(self.secret_env.iter().map(|s| &s.name));
        if known.any(|k| k == name) {
            return Err(format!("{name} is given twice; give it once"));
        }
        Ok(name.to_owned())
    }

    fn add_bind(&mut self, text: &str) -> Result<(), String> {
        let bind = path::bind(text)?;
        if let Some(other) = self.binds.iter().find(|b| path::overlap(&b.jail, &bind.jail)) {
            return Err(format!(
                "overlaps with the bind on {}; give jail paths beside each other",
                other.jail
            ));
        }
        if self.binds.len() == path::BINDS_MAX {
            return Err(format!("more than {} binds; bind a common directory", path::BINDS_MAX));
        }
        self.binds.push(bind);
        Ok(())
    }
}

fn push<T: PartialEq>(list: &mut Vec<T>, item: T) -> Result<(), String> {
    if list.contains(&item) {
        return Err("given twice; give it once".into());
    }
    if list.len() == MANY_MAX {
        return Err(format!("more than {MANY_MAX} of these; give fewer"));
    }
    list.push(item);
    Ok(())
}

/// What of a value may be repeated to the operator: never the value of a variable, which may be a secret.
fn shown_part(flag: Flag, given: &OsStr) -> &OsStr {
    if flag != Flag::Env {
        return given;
    }
    let bytes = given.as_bytes();
    let end = bytes.iter().position(|b| *b == b'=').unwrap_or(bytes.len());
    OsStr::from_bytes(&bytes[..end])
}
