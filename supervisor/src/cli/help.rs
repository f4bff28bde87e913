//! The help texts, made from the flag table so that they cannot fall behind it.

use super::flag::Flag;

/// What help can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// the command as a whole
    Gaoler,
    /// `gaoler run`
    Run,
    /// `gaoler jail`
    Jail,
    /// `gaoler doctor`
    Doctor,
}

impl Topic {
    /// The words before the flags.
    #[must_use]
    pub const fn command(self) -> &'static str {
        match self {
            Self::Gaoler => "gaoler",
            Self::Run => "gaoler run",
            Self::Jail => "gaoler jail",
            Self::Doctor => "gaoler doctor",
        }
    }

    /// One line.
    #[must_use]
    pub const fn usage(self) -> &'static str {
        match self {
            Self::Gaoler => "gaoler run|jail|doctor|help [...]",
            Self::Run => "gaoler run [FLAGS] -- COMMAND [ARG...]",
            Self::Jail => "gaoler jail [FLAGS] -- COMMAND [ARG...]",
            Self::Doctor => "gaoler doctor [--json]",
        }
    }
}

/// The help text of a topic, with a final newline.
#[must_use]
pub fn text(topic: Topic) -> String {
    match topic {
        Topic::Gaoler => GAOLER.to_owned(),
        Topic::Run => format!("{RUN}\n{}\n{RUN_END}", flags(topic)),
        Topic::Jail => format!("{JAIL}\n{}\n{JAIL_END}", flags(topic)),
        Topic::Doctor => DOCTOR.to_owned(),
    }
}

const GAOLER: &str = "\
gaoler: host MCP servers in jails of their own, without containers

Usage:
  gaoler run [FLAGS] -- COMMAND [ARG...]    host one MCP server in the foreground and print its URL
  gaoler jail [FLAGS] -- COMMAND [ARG...]   run any command in the same jail on this terminal
  gaoler doctor [--json]                    what this host offers, what is missing, how to get it
  gaoler help [run|jail|doctor]             how to use one of them
  gaoler --version                          print the version

Exit status: 0 done, 1 failed, 2 wrong command line; see the help of each command for more.
";

const RUN: &str = "\
gaoler run: host one MCP server in the foreground, each session in a jail

Usage: gaoler run [FLAGS] -- COMMAND [ARG...]

Prints one line when it is ready, `ready http://ADDR/hosted/NS/NAME/mcp`, on standard output; logs go to standard
error. SIGTERM or SIGINT finishes what is in flight and ends everything. Needs root.
";

const RUN_END: &str = "\
SIZE is in bytes, or with K, M or G for powers of 1024. TIME is a whole number with s, m or h.

Examples:
  gaoler run -- node /srv/mcp/server.js
  gaoler run --bind /srv/docs:/docs --memory 1G --session-mode shared -- mcp-server-filesystem /docs
  gaoler run --transport http:3000/mcp --env LOG_LEVEL=info -- /opt/server --port 3000

Exit status: 0 ended by a signal, 1 failed, 2 wrong command line, 125 a jail could not be set up.
";

const JAIL: &str = "\
gaoler jail: run any command in the jail that a hosted server gets, with this terminal's input and output

Usage: gaoler jail [FLAGS] -- COMMAND [ARG...]

Needs root.
";

const JAIL_END: &str = "\
SIZE is in bytes, or with K, M or G for powers of 1024. TIME is a whole number with s, m or h.

Examples:
  gaoler jail -- /bin/sh -c 'id; ls /'
  gaoler jail --memory 64M --pids 16 --timeout 10s -- python3 -c 'print(1)'
  gaoler jail --bind /srv/repo:/repo:rw --seccomp strict -- git -C /repo status

Exit status: the command's own, or 128 and the signal that ended it; 2 wrong command line, 124 ended by --timeout,
125 the jail could not be set up, 126 the command cannot be executed, 127 there is no such command.
";

const DOCTOR: &str = "\
gaoler doctor: what this host offers for jails, what is missing, how to get it

Usage: gaoler doctor [--json]

Tries what can be tried and reads the rest; changes nothing. Run it as root, as jails are.

Flags (name once):
  --json                               one JSON object, described in docs/doctor.md
  -h, --help                           this text

Exit status: 0 hosting is possible, 1 it is not, 2 wrong command line.
";

fn flags(topic: Topic) -> String {
    let mut text = String::from("Flags (name once unless marked with +):\n");
    for spec in Flag::ALL.into_iter().map(Flag::spec) {
        if spec.serving && topic == Topic::Jail {
            continue;
        }
        let mark = if spec.many { "+" } else { " " };
        let left = format!("--{} {}", spec.name, spec.value);
        text.push_str(&format!("{mark} {left:<36} {}\n", spec.help));
    }
    text.push_str("  -h, --help                           this text\n");
    text
}
