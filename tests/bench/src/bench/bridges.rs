//! How the product and the published bridges are started in front of the model server.

use std::path::PathBuf;

use gaoler_bench::{Error, Result};

use crate::place::Place;

/// How sessions map to children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// one child for all sessions
    Shared,
    /// one child for each session
    Isolated,
}

/// One contestant of the proxying figures.
#[derive(Debug)]
pub(crate) struct Bridge {
    /// its name in the tables
    pub(crate) name: &'static str,
    /// the executable, when it is installed here
    pub(crate) program: Option<PathBuf>,
    /// its arguments, with the port in place
    pub(crate) arguments: Vec<String>,
    /// its endpoint's path
    pub(crate) path: &'static str,
    /// what it puts before names of tools
    pub(crate) tool_prefix: &'static str,
    /// whether it has a child at all
    pub(crate) proxies: bool,
}

/// The product in this mode, keeping `warm` jails ready.
pub(crate) fn gaoler(place: &Place, mode: Mode, port: u16, warm: u32) -> Bridge {
    let mode = match mode {
        Mode::Shared => "shared",
        Mode::Isolated => "isolated",
    };
    let text = format!(
        "run --name bench/echo --listen 127.0.0.1:{port} --session-mode {mode} --warm {warm} \
         --bind {}:/srv/echo:ro -- /srv/echo",
        place.echo.display()
    );
    bridge("gaoler", place.gaoler(), &text, "/hosted/bench/echo/mcp")
}

/// hyper without a child.
pub(crate) fn upper_bound(place: &Place, port: u16) -> Bridge {
    let own = Some(place.own.join("bench"));
    Bridge { proxies: false, ..bridge("bare hyper", own, &format!("upper-bound {port}"), "/mcp") }
}

/// crates.io mcp-proxy, which wants a file. Its logging is turned down: at its default it writes lines for each call.
pub(crate) fn crates_io(place: &Place, port: u16) -> Result<Bridge> {
    let file = place.work.join("mcp-proxy.toml");
    let text = format!(
        "[proxy]\nname = \"bench\"\nseparator = \"/\"\n[proxy.listen]\nhost = \"127.0.0.1\"\nport = {port}\n\
         [observability]\nlog_level = \"error\"\n[[backends]]\nname = \"echo\"\ntransport = \"stdio\"\ncommand = \"{}\"\n",
        place.echo.display()
    );
    std::fs::write(&file, text).map_err(Error::io(format!("writing {}", file.display())))?;
    let program = place.peer_file("bin/mcp-proxy");
    let bridge = bridge("crates.io mcp-proxy 0.6.0", program, &format!("--config {}", file.display()), "/");
    Ok(Bridge { tool_prefix: "echo/", ..bridge })
}

/// npm mcp-proxy.
pub(crate) fn npm(place: &Place, port: u16) -> Bridge {
    let text = format!(
        "mcp-proxy --host 127.0.0.1 --port {port} --server stream --upstreamProtocol auto -- {}",
        place.echo.display()
    );
    node("npm mcp-proxy 6.7.19", place, &text)
}

/// `PyPI` mcp-proxy.
pub(crate) fn pypi(place: &Place, port: u16) -> Bridge {
    let program = place.peer_file("py/bin/mcp-proxy");
    let text = format!("--port {port} --host 127.0.0.1 --log-level ERROR -- {}", place.echo.display());
    bridge("PyPI mcp-proxy 0.13.0", program, &text, "/mcp")
}

/// supergateway with a child for each session.
pub(crate) fn supergateway(place: &Place, port: u16) -> Bridge {
    let text = format!(
        "supergateway --stdio {} --outputTransport streamableHttp --stateful --logLevel none --port {port}",
        place.echo.display()
    );
    node("npm supergateway 4.0.0", place, &text)
}

fn bridge(name: &'static str, program: Option<PathBuf>, arguments: &str, path: &'static str) -> Bridge {
    let arguments = arguments.split_whitespace().map(str::to_owned).collect();
    Bridge { name, program, arguments, path, tool_prefix: "", proxies: true }
}

/// A package of npm, run by the node that was installed beside it.
fn node(name: &'static str, place: &Place, text: &str) -> Bridge {
    let (package, rest) = text.split_once(' ').unwrap_or((text, ""));
    let script = place.peer_file(&format!("npm/node_modules/.bin/{package}"));
    let node = place.peer_file("npm/node_modules/node/bin/node");
    let mut bridge = bridge(name, node.filter(|_| script.is_some()), rest, "/mcp");
    bridge.arguments.insert(0, script.unwrap_or_default().display().to_string());
    bridge
}
