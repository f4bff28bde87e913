//! One text to one checked value. Every refusal ends with what to give instead.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::time::Duration;

use gaoler_jail::seccomp::Profile;
use gaoler_wire::id::ServerName;
use gaoler_wire::policy::{SessionMode, Transport};

use crate::data::SIZE_MIN;

/// The longest part of an operator's text that is repeated to them, in characters.
const SHOWN_MAX: usize = 80;

/// Below this a jail's own start would be killed; in bytes.
const MEMORY_MIN: u64 = 8 << 20;

/// What the kernel takes as a limit: it reads a signed 64-bit number.
const SIZE_MAX: u64 = i64::MAX.unsigned_abs();

/// 1 ms in a period of 100 ms, the kernel's smallest quota (`Documentation/scheduler/sched-bwc.rst`).
const CPU_MILLI_MIN: u32 = 10;

/// More processors than a kernel is built for (`CONFIG_NR_CPUS` is 8192 at most on x86).
const CPU_MILLI_MAX: u32 = 8_192_000;

/// The jail's process 1, the command, and one child of it.
const PIDS_MIN: u32 = 3;

/// The kernel's `PID_MAX_LIMIT` on 64-bit machines.
const PIDS_MAX: u32 = 4_194_304;

/// A year, in seconds: more is a mistake.
const TIMEOUT_MAX: u64 = 365 * 24 * 3600;

/// More sessions than this no front could hold.
const SESSIONS_MAX: u32 = 1 << 20;

/// A pool larger than this is a mistake.
const WARM_MAX: u32 = 1024;

/// The longest path of a hosted HTTP endpoint, in bytes.
const ENDPOINT_MAX: usize = 256;

/// The longest name of a variable, in bytes.
const VARIABLE_MAX: usize = 128;

/// The longest host name, in bytes (RFC 1035, 2.3.4).
const HOST_MAX: usize = 253;

/// At most [`SHOWN_MAX`] characters of `text`, control characters escaped, so that it stays one line.
pub(super) fn clip(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// An operator's text in quotes, bounded and on one line.
pub(super) fn quote(text: &OsStr) -> String {
    format!("\"{}\"", clip(&text.to_string_lossy()))
}

pub(super) fn name(text: &str) -> Result<ServerName, String> {
    text.parse().map_err(|_| {
        "not a name; give NAMESPACE/NAME, each 1 to 63 of a-z, 0-9, '.', '_', '-', starting with a letter or digit"
            .to_owned()
    })
}

/// A name made from the command's base name.
pub(super) fn default_name(command: &OsStr) -> ServerName {
    let path = command.to_string_lossy();
    ServerName::local(path.trim_end_matches('/').rsplit('/').next().unwrap_or_default())
}

pub(super) fn image(text: &str) -> Result<(), String> {
    if text == "host" {
        return Ok(());
    }
    Err("not in this version, which runs everything from the host's own /usr; give --image host or leave it out".into())
}

pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "not IP:PORT; give an address such as 127.0.0.1:8750 or [::1]:0".to_owned())
}

pub(super) fn session_mode(text: &str) -> Result<SessionMode, String> {
    match text {
        "isolated" => Ok(SessionMode::Isolated),
        "shared" => Ok(SessionMode::Shared),
        _ => Err("no such mode; give isolated or shared".into()),
    }
}

pub(super) fn transport(text: &str) -> Result<Transport, String> {
    const FIX: &str = "give stdio or http:PORT[/PATH], such as http:3000/mcp";
    if text == "stdio" {
        return Ok(Transport::Stdio);
    }
    let Some(rest) = text.strip_prefix("http:") else {
        return Err(format!("no such transport; {FIX}"));
    };
    let (port, path) = rest.find('/').map_or((rest, "/mcp"), |slash| rest.split_at(slash));
    let port = whole(port).and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0);
    let Some(port) = port else {
        return Err(format!("the port is not 1 to 65535; {FIX}"));
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@".contains(&b);
    if path.len() > ENDPOINT_MAX || !path.bytes().all(plain) {
        return Err(format!(
            "the path is not the plain path of a URL of at most {ENDPOINT_MAX} bytes; {FIX}"
        ));
    }
    Ok(Transport::Http { port, path: path.to_owned() })
}

pub(super) fn warm(text: &str) -> Result<u32, String> {
    number(text, 0, WARM_MAX)
}

pub(super) fn pids(text: &str) -> Result<u32, String> {
    number(text, PIDS_MIN, PIDS_MAX)
}

fn number(text: &str, least: u32, most: u32) -> Result<u32, String> {
    whole(text)
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| format!("not in range; give a whole number from {least} to {most}"))
}

/// Decimal digits only: no sign, no space.
fn whole(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

pub(super) fn memory(text: &str) -> Result<u64, String> {
    size(text, MEMORY_MIN)
}

pub(super) fn data(text: &str) -> Result<u64, String> {
    size(text, SIZE_MIN)
}

/// Bytes, with K, M or G for powers of 1024.
fn size(text: &str, least: u64) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let Some(count) = whole(digits) else {
        return Err("not a size; give whole bytes, or a whole number with K, M or G, such as 512M".into());
    };
    let bytes = count.checked_mul(unit).filter(|bytes| *bytes <= SIZE_MAX);
    match bytes {
        None => Err("more than a 64-bit limit can hold; give less, such as 512M".into()),
        Some(bytes) if bytes < least => Err(format!("too small; give at least {}M", least >> 20)),
        Some(bytes) => Ok(bytes),
    }
}

/// Thousandths of one processor.
pub(super) fn cpus(text: &str) -> Result<u32, String> {
    let fail = || {
        format!(
            "not a number of processors; give {}.{:03} to {} with at most three decimals, such as 0.5 or 2",
            CPU_MILLI_MIN / 1000,
            CPU_MILLI_MIN % 1000,
            CPU_MILLI_MAX / 1000,
        )
    };
    let (units, decimals) = text.split_once('.').unwrap_or((text, "0"));
    if decimals.len() > 3 {
        return Err(fail());
    }
    let milli = whole(units)
        .zip(whole(decimals))
        .and_then(|(units, part)| {
            let scale = [1000, 100, 10, 1].get(decimals.len())?;
            units.checked_mul(1000)?.checked_add(part.checked_mul(*scale)?)
        })
        .and_then(|milli| u32::try_from(milli).ok())
        .filter(|milli| (CPU_MILLI_MIN..=CPU_MILLI_MAX).contains(milli));
    milli.ok_or_else(fail)
}

pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    const FIX: &str = "give a whole number with s, m or h, such as 90s, 5m or 2h";
    let unit = match text.as_bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3600,
        _ => return Err(format!("not a time; {FIX}")),
    };
    let Some(count) = whole(&text[..text.len() - 1]) else {
        return Err(format!("not a time; {FIX}"));
    };
    match count.checked_mul(unit) {
        Some(seconds @ 1..=TIMEOUT_MAX) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("not from one second to a year; {FIX}")),
    }
}

/// A time as the boundary has it.
pub(super) fn milliseconds(text: &str) -> Result<u64, String> {
    timeout(text).map(|time| time.as_secs() * 1000)
}

pub(super) fn sessions(text: &str) -> Result<u32, String> {
    number(text, 1, SESSIONS_MAX)
}

pub(super) fn seccomp(text: &str) -> Result<Profile, String> {
    match text {
        "default" => Ok(Profile::Default),
        "strict" => Ok(Profile::Strict),
        _ => Err("no such profile in this version; give default or strict".into()),
    }
}

/// `host` or `host:port` in lower case, as it is compared with the `Host` header.
pub(super) fn allow_host(text: &str) -> Result<String, String> {
    if authority(text) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("not HOST[:PORT]; give one host name or IP address without scheme, path or '*', such as mcp.example.org".into())
}

/// `scheme://host[:port]` in lower case, as it is compared with the `Origin` header.
pub(super) fn allow_origin(text: &str) -> Result<String, String> {
    if let Some((scheme, host)) = text.split_once("://") {
        let letter = |b: u8| b.is_ascii_alphanumeric() || b"+.-".contains(&b);
        let plain =
            scheme.bytes().all(letter) && scheme.as_bytes().first().is_some_and(u8::is_ascii_alphabetic);
        if plain && scheme.len() <= 32 && authority(host) {
            return Ok(text.to_ascii_lowercase());
        }
    }
    Err("not SCHEME://HOST[:PORT]; give one origin without path or '*', such as https://app.example.org"
        .into())
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((inside, after)) = rest.split_once(']') else { return false };
            if inside.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            ("v6", if after.is_empty() { None } else { Some(after.strip_prefix(':').unwrap_or("")) })
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let port_ok = port.is_none_or(|p| whole(p).is_some_and(|n| (1..=65535).contains(&n)));
    host.len() <= HOST_MAX && host.split('.').all(label) && port_ok
}

/// Whether `text` may be the name of a variable (POSIX, 8.1, with lower case).
pub(super) fn is_variable(text: &str) -> bool {
    text.len() <= VARIABLE_MAX
        && text.as_bytes().first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_and_64_bit() {
        assert_eq!(memory("512M"), Ok(512 << 20));
        assert_eq!(memory("8388608"), Ok(8 << 20));
        assert_eq!(memory("8192k"), Ok(8 << 20));
        assert_eq!(memory("5G"), Ok(5 << 30));
        assert_eq!(memory("9223372036854775807"), Ok(SIZE_MAX));
    }

    #[test]
    fn processors_are_thousandths() {
        for (text, milli) in
            [("1", 1000), ("0.5", 500), ("0.25", 250), ("1.125", 1125), ("0.010", 10), ("8192", 8_192_000)]
        {
            assert_eq!(cpus(text), Ok(milli), "{text}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(timeout("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(timeout("2h"), Ok(Duration::from_secs(7200)));
    }

    #[test]
    fn a_name_is_made_from_the_base_name() {
        for (command, name) in [("node", "local/node"), ("/usr/bin/Srv", "local/srv"), ("/", "local/server")]
        {
            assert_eq!(default_name(OsStr::new(command)).as_str(), name);
        }
    }

    #[test]
    fn hosts_and_origins_are_exact() {
        assert_eq!(allow_host("MCP.example.org:8443"), Ok("mcp.example.org:8443".into()));
        assert_eq!(allow_host("[fd00::1]:80"), Ok("[fd00::1]:80".into()));
        assert_eq!(allow_origin("https://App.example.org"), Ok("https://app.example.org".into()));
        for bad in [
            "", "*", "*.a", "a/b", "a b", "a:0", "a:99999", "a:b", "[::1", "[x]", "[::1]80", "a..b", "-a",
            "a:1:2",
        ] {
            assert!(allow_host(bad).is_err(), "{bad}");
            assert!(allow_origin(&format!("http://{bad}")).is_err(), "{bad}");
        }
        for bad in ["null", "*", "example.org", "://x", "9a://x", "http://x/", "http://user@x"] {
            assert!(allow_origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_endpoint_has_a_port_and_a_path() {
        assert_eq!(transport("http:3000"), Ok(Transport::Http { port: 3000, path: "/mcp".into() }));
        assert_eq!(transport("http:1/a/b"), Ok(Transport::Http { port: 1, path: "/a/b".into() }));
        assert_eq!(transport("stdio"), Ok(Transport::Stdio));
    }

    #[test]
    fn shown_text_is_bounded_and_on_one_line() {
        assert_eq!(quote(OsStr::new("a\nb")), "\"a\\nb\"");
        assert!(clip(&"é".repeat(1000)).chars().count() == SHOWN_MAX + 1);
    }
}
