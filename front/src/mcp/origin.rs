//! Which `Host` and `Origin` a request may carry: the defence against pages that rebind a name to this machine.
//!
//! Promises: without configuration only loopback names pass; what cannot be parsed does not pass.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::HeaderMap;
use hyper::header::{HOST, ORIGIN};

use crate::error::{Failure, REFUSED};

/// The configured names beside loopback.
#[derive(Debug, Default)]
pub(crate) struct Access {
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Access {
    /// `hosts` are `host` or `host:port`; `origins` are `scheme://host[:port]`.
    pub(crate) fn new(hosts: &[String], origins: &[String]) -> Self {
        let lower = |list: &[String]| {
            list.iter().map(|text| text.trim_end_matches('/').to_ascii_lowercase()).collect()
        };
        Self { hosts: lower(hosts), origins: lower(origins) }
    }

    /// Checks both; the origin to name in the answer, if there is one.
    ///
    /// # Errors
    /// Status 403, naming the header.
    pub(crate) fn check<'a>(&self, headers: &'a HeaderMap) -> Result<Option<&'a str>, Failure> {
        let refuse = |what: &str| Failure::new(403, REFUSED, format!("{what} is not allowed here"));
        let host = only(headers, HOST).ok_or_else(|| refuse("a request without one Host"))?;
        if !self.host_passes(host) {
            return Err(refuse("this Host"));
        }
        if !headers.contains_key(ORIGIN) {
            return Ok(None);
        }
        let origin = only(headers, ORIGIN).filter(|origin| self.origin_passes(origin));
        origin.map(Some).ok_or_else(|| refuse("this Origin"))
    }

    fn host_passes(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let Some(name) = name_of(&host) else { return false };
        is_loopback(name) || self.hosts.iter().any(|allowed| *allowed == host || *allowed == name)
    }

    fn origin_passes(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        if self.origins.contains(&origin) {
            return true;
        }
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        authority.and_then(name_of).is_some_and(is_loopback)
    }
}

/// The value of a header that stands there once and is text.
fn only(headers: &HeaderMap, name: hyper::header::HeaderName) -> Option<&str> {
    let mut all = headers.get_all(name).iter();
    let value = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(value)
}

/// The name in `name[:port]`; an IPv6 address keeps its brackets.
fn name_of(authority: &str) -> Option<&str> {
    let (name, port) = if authority.starts_with('[') {
        let end = authority.find(']')? + 1;
        (&authority[..end], &authority[end..])
    } else {
        authority.split_at(authority.find(':').unwrap_or(authority.len()))
    };
    let port_is_fine =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    (!name.is_empty() && port_is_fine && !name.contains(['/', '@', '?', '#', ' '])).then_some(name)
}

fn is_loopback(name: &str) -> bool {
    if name == "localhost" || name.ends_with(".localhost") {
        return true;
    }
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) => inside.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()),
        None => name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn passes(access: &Access, host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        access.check(&headers).is_ok()
    }

    #[test]
    fn loopback_passes() {
        let access = Access::default();
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8750", "[::1]:1", "127.9.9.9", "a.localhost"] {
            assert!(passes(&access, host, None), "{host}");
        }
        for origin in ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:5"] {
            assert!(passes(&access, "localhost", Some(origin)), "{origin}");
        }
    }

    #[test]
    fn strangers_do_not() {
        let access = Access::default();
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "localhost@evil",
            "",
            "10.0.0.1",
            "localhost:x",
            "::1",
            "[[::1]",
            "127.0.0.1]",
            "[127.0.0.1]",
        ] {
            assert!(!passes(&access, host, None), "{host}");
        }
        for origin in [
            "null",
            "http://evil.example",
            "http://localhost.evil.example",
            "file://",
            "http://localhost:3000/x",
            "localhost",
        ] {
            assert!(!passes(&access, "localhost", Some(origin)), "{origin}");
        }
    }

    #[test]
    fn configured_names_pass() {
        let access =
            Access::new(&["mcp.example".into(), "b.example:9".into()], &["https://App.example".into()]);
        assert!(passes(&access, "mcp.example:8750", Some("https://app.example")));
        assert!(passes(&access, "b.example:9", None) && !passes(&access, "b.example:8", None));
        assert!(!passes(&access, "mcp.example", Some("http://app.example")));
        assert!(!passes(&access, "mcp.example", Some("https://app.example:444")));
    }

    #[test]
    fn a_header_that_stands_there_twice_is_refused() {
        let mut headers = HeaderMap::new();
        headers.append(HOST, HeaderValue::from_static("localhost"));
        headers.append(HOST, HeaderValue::from_static("evil.example"));
        assert!(Access::default().check(&headers).is_err());
        assert!(Access::default().check(&HeaderMap::new()).is_err());
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics_nor_passes_by_accident(text in "[^/]{0,30}") {
            let access = Access::default();
            let _ = access.host_passes(&text);
            let evil = format!("http://{text}.example");
            prop_assert!(!access.origin_passes(&evil));
        }
    }
}
