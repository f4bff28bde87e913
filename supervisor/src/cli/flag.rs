//! Every policy flag, once. Parsing, help and docs/cli.md are held against this table.

/// One policy flag of `gaoler run` and, where it concerns the jail itself, of `gaoler jail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// `--name`
    Name,
    /// `--image`
    Image,
    /// `--listen`
    Listen,
    /// `--session-mode`
    SessionMode,
    /// `--transport`
    Transport,
    /// `--warm`
    Warm,
    /// `--idle`
    Idle,
    /// `--request-timeout`
    RequestTimeout,
    /// `--max-sessions`
    MaxSessions,
    /// `--max-sessions-per-caller`
    MaxSessionsPerCaller,
    /// `--allow-host`
    AllowHost,
    /// `--allow-origin`
    AllowOrigin,
    /// `--env`
    Env,
    /// `--secret-env`
    SecretEnv,
    /// `--bind`
    Bind,
    /// `--data`
    Data,
    /// `--memory`
    Memory,
    /// `--cpus`
    Cpus,
    /// `--pids`
    Pids,
    /// `--seccomp`
    Seccomp,
    /// `--timeout`
    Timeout,
    /// `--egress`
    Egress,
}

/// What there is to say about a flag.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// without the dashes
    pub name: &'static str,
    /// the value's shape, as help shows it
    pub value: &'static str,
    /// one line
    pub help: &'static str,
    /// may be given again
    pub many: bool,
    /// only `gaoler run` takes it, since it concerns serving and not the jail
    pub serving: bool,
}

impl Flag {
    /// All of them, in the order of the help text.
    pub const ALL: [Self; 22] = [
        Self::Name,
        Self::Image,
        Self::Listen,
        Self::SessionMode,
        Self::Transport,
        Self::Warm,
        Self::Idle,
        Self::RequestTimeout,
        Self::MaxSessions,
        Self::MaxSessionsPerCaller,
        Self::AllowHost,
        Self::AllowOrigin,
        Self::Env,
        Self::SecretEnv,
        Self::Bind,
        Self::Data,
        Self::Memory,
        Self::Cpus,
        Self::Pids,
        Self::Seccomp,
        Self::Timeout,
        Self::Egress,
    ];

    /// The flag of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|flag| flag.spec().name == name)
    }

    /// What there is to say about it.
    #[must_use]
    pub const fn spec(self) -> Spec {
        match self {
            Self::Name => once("name", "NS/NAME", "name in the URL and the log [default: local/COMMAND]"),
            Self::Image => once("image", "host", "root file system: the host's own /usr [default: host]"),
            Self::Listen => {
                serving("listen", "ADDR", "IP:PORT; port 0 picks a free one [default: 127.0.0.1:8750]")
            }
            Self::SessionMode => serving(
                "session-mode",
                "MODE",
                "isolated (a jail per session) or shared (one) [default: isolated]",
            ),
            Self::Transport => {
                once("transport", "HOW", "stdio, or http:PORT[/PATH] with path /mcp [default: stdio]")
            }
            Self::Warm => serving("warm", "N", "jails kept started ahead of their sessions [default: 0]"),
            Self::Idle => serving("idle", "TIME", "end a session without traffic after this [default: 30m]"),
            Self::RequestTimeout => serving(
                "request-timeout",
                "TIME",
                "fail a request without its answer after this [default: 5m]",
            ),
            Self::MaxSessions => {
                serving("max-sessions", "N", "at once; the least recently used makes room [default: 16384]")
            }
            Self::MaxSessionsPerCaller => {
                serving("max-sessions-per-caller", "N", "the same for one caller [default: 16384]")
            }
            Self::AllowHost => {
                many(serving("allow-host", "HOST[:PORT]", "accept this Host besides loopback names"))
            }
            Self::AllowOrigin => many(serving(
                "allow-origin",
                "SCHEME://HOST[:PORT]",
                "accept this Origin besides loopback ones",
            )),
            Self::Env => {
                many(once("env", "K[=V]", "set a variable; without =V take yours; nothing else passes"))
            }
            Self::SecretEnv => many(once("secret-env", "K=FILE", "set a variable to the contents of a file")),
            Self::Bind => {
                many(once("bind", "HOST:JAIL[:ro|rw]", "show a host path in the jail [default: ro]"))
            }
            Self::Data => {
                once("data", "SIZE", "writable /data of this size, and start there [default: none]")
            }
            Self::Memory => once("memory", "SIZE", "memory and swap together [default: 512M]"),
            Self::Cpus => once("cpus", "N", "processors, such as 0.5 or 2 [default: 1]"),
            Self::Pids => once("pids", "N", "processes and threads [default: 128]"),
            Self::Seccomp => {
                once("seccomp", "PROFILE", "allowed system calls: default, strict [default: default]")
            }
            Self::Timeout => {
                once("timeout", "TIME", "end the whole run after this time, such as 90s, 5m, 2h")
            }
            Self::Egress => {
                many(once("egress", "ENTRY", "not in this version: a jail has only its own loopback"))
            }
        }
    }
}

const fn once(name: &'static str, value: &'static str, help: &'static str) -> Spec {
    Spec { name, value, help, many: false, serving: false }
}

const fn serving(name: &'static str, value: &'static str, help: &'static str) -> Spec {
    Spec { name, value, help, many: false, serving: true }
}

const fn many(spec: Spec) -> Spec {
    Spec { many: true, ..spec }
}

/// The flag that a mistyped name most likely meant: at most two letters away.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    const FAR: usize = 2;
    Flag::ALL
        .into_iter()
        .map(|flag| flag.spec().name)
        .map(|known| (distance(name.as_bytes(), known.as_bytes(), FAR), known))
        .filter(|(distance, _)| *distance <= FAR)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Edit distance, or more than `far` as soon as the lengths alone say so.
fn distance(a: &[u8], b: &[u8], far: usize) -> usize {
    if a.len().abs_diff(b.len()) > far {
        return far + 1;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_found_by_its_own_name() {
        for flag in Flag::ALL {
            assert_eq!(Flag::find(flag.spec().name), Some(flag));
        }
    }

    #[test]
    fn a_typing_mistake_finds_its_flag() {
        for (typed, meant) in
            [("memroy", "memory"), ("cpu", "cpus"), ("sessionmode", "session-mode"), ("bnd", "bind")]
        {
            assert_eq!(nearest(typed), Some(meant));
        }
        assert_eq!(nearest("privileged"), None);
        assert_eq!(nearest(""), None);
    }
}
