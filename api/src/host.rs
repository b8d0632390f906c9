//! The hosts to which a node answers (decision 0034).
//!
//! A web page of `evil.example` may have its name resolved to the address of this node (DNS rebinding). For the browser the page then has the
//! node's origin, so neither CORS nor a comparison of `Origin` with `Host` stops it. Its requests still carry the name of the page as their host.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::http::{HeaderMap, Uri, header};

use crate::ApiError;

/// The most characters of a refused host in an error; a DNS name has fewer.
const SHOWN_CHARS_MAX: usize = 255;

/// The names by which clients may call a node. IP addresses and loopback names are always answered and need not be listed.
///
/// A clone shares the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    names: Arc<[String]>,
}

impl Hosts {
    /// Makes the list of these names, without ports. `*.example.com` stands for `example.com` with one more label.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let names: BTreeSet<String> = names.into_iter().map(|name| without_root(&name).to_owned()).collect();
        Self { names: names.into_iter().collect() }
    }

    /// Checks the host of a request. A request without a host is answered: no browser sends one.
    ///
    /// The authority of the request target takes precedence over `Host` (RFC 9112 section 3.2.2). In HTTP/2 it is `:authority`.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let mut given =
            headers.get_all(header::HOST).iter().map(|host| String::from_utf8_lossy(host.as_bytes()));
        let (first, second) = (given.next(), given.next());
        if let (Some(first), Some(second)) = (&first, &second) {
            return Err(refused(&format!("{first}, {second}"), "send the header Host once"));
        }
        let authority = uri.authority().map(|authority| Cow::from(authority.as_str())).or(first);
        let Some(authority) = authority.filter(|authority| !authority.is_empty()) else { return Ok(()) };
        let Some(host) = host_of(&authority) else {
            return Err(refused(&authority, "a host is a name or an IP address, and may have a port"));
        };
        if self.contains(host) {
            return Ok(());
        }
        Err(refused(host, "call the node by an IP address, or add the name to api.allowed_hosts of the node"))
    }

    fn contains(&self, host: &str) -> bool {
        // For a name to be rebound, it must be looked up: a browser looks up neither addresses nor names under localhost (RFC 6761).
        host.parse::<IpAddr>().is_ok()
            || is_loopback_name(host)
            || self.names.iter().any(|name| matches(name, host))
    }
}

fn refused(host: &str, remedy: &'static str) -> ApiError {
    let host: String = host.chars().take(SHOWN_CHARS_MAX).collect();
    tracing::debug!(host, "refused a request for another host");
    ApiError::HostNotAllowed { host, remedy }
}

/// Whether the name is `localhost` or under it.
fn is_loopback_name(host: &str) -> bool {
    host.rsplit('.').next().is_some_and(|label| label.eq_ignore_ascii_case("localhost"))
}

/// Whether a name of the list is this host.
fn matches(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(domain) => host
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(domain)),
        None => name.eq_ignore_ascii_case(host),
    }
}

/// Removes the dot of the DNS root from the end of a name.
fn without_root(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Finds the host in `host` or `host:port`: a name without the dot of the root, or an IP address without brackets. `None` when there is none.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        // The zone of a link-local address means something only to its sender.
        let address = address.split_once('%').map_or(address, |(address, _zone)| address);
        address.parse::<Ipv6Addr>().ok()?;
        (address, port)
    } else {
        let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        let host = without_root(host);
        let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        (!host.is_empty() && is_name).then_some((host, port))?
    };
    let is_port = |port: &str| {
        port.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
    };
    (port.is_empty() || is_port(port)).then_some(host)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn hosts() -> Hosts {
        Hosts::new(["batuta-0.ns.svc.", "*.example.com"].map(str::to_owned))
    }

    /// Checks a request for this target with these headers `Host`. Returns the host of the refusal.
    fn check(target: &str, given: &[&str]) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        for host in given {
            headers.append(header::HOST, HeaderValue::from_bytes(host.as_bytes()).expect("a header"));
        }
        match hosts().check(&target.parse().expect("a target"), &headers) {
            Ok(()) => Ok(()),
            Err(ApiError::HostNotAllowed { host, .. }) => Err(host),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn own_names_loopback_names_and_addresses_are_answered() {
        for host in [
            "localhost",
            "LocalHost:8080",
            "localhost.",
            "a.b.localhost:1",
            "127.0.0.1:8080",
            "127.8.8.8",
            "[::1]:8080",
            "[::1]",
            "[fe80::1%25eth0]:80",
            "10.0.0.7:8080",
            "203.0.113.5",
            "0.0.0.0:8080",
            "[fd00::4]",
            "batuta-0.ns.svc:9090",
            "Batuta-0.NS.svc.:9090",
            "x.example.com",
            "localhost:",
        ] {
            assert_eq!(check("/", &[host]), Ok(()), "{host}");
        }
    }

    #[test]
    fn other_names_are_refused_without_their_port() {
        for (host, named) in [
            ("evil.example:8080", "evil.example"),
            ("EVIL.example.", "EVIL.example"),
            ("localhost.evil.example", "localhost.evil.example"),
            ("127.0.0.1.evil.example:80", "127.0.0.1.evil.example"),
            ("notlocalhost", "notlocalhost"),
            ("ns.svc", "ns.svc"),
            ("example.com", "example.com"),
            (".example.com", ".example.com"),
            ("x.y.example.com", "x.y.example.com"),
            ("x.example.com.evil.example", "x.example.com.evil.example"),
            // Browsers write these as 127.0.0.1; whoever does not may look them up as names.
            ("127.1", "127.1"),
            ("2130706433", "2130706433"),
            ("0x7f000001", "0x7f000001"),
        ] {
            assert_eq!(check("/", &[host]), Err(named.to_owned()), "{host}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for host in [
            "localhost@evil.example",
            "evil.example@localhost",
            "localhost, evil.example",
            "localhost:80:80",
            "localhost:http",
            "[::1]80",
            "[::1",
            "[evil.example]",
            "[127.0.0.1]",
            "::1",
            ":8080",
            ".",
            "/localhost",
            "l\u{43e}calhost",
        ] {
            assert_eq!(check("/", &[host]), Err(host.to_owned()), "{host}");
        }
        assert_eq!(check("/", &[&"x".repeat(9_000)]).expect_err("too long").len(), SHOWN_CHARS_MAX);
    }

    #[test]
    fn authority_of_the_target_takes_precedence() {
        assert_eq!(check("http://evil.example:80/livez", &["localhost"]), Err("evil.example".to_owned()));
        assert_eq!(check("http://localhost:80/livez", &["evil.example"]), Ok(()));
        let user = check("http://localhost@evil.example/livez", &[]);
        assert_eq!(user, Err("localhost@evil.example".to_owned()));
    }

    #[test]
    fn request_without_a_host_is_answered_and_two_hosts_are_refused() {
        assert_eq!(check("/", &[]), Ok(()));
        assert_eq!(check("/", &[""]), Ok(()));
        for target in ["/", "http://localhost/"] {
            let twice = check(target, &["localhost", "evil.example"]);
            assert_eq!(twice, Err("localhost, evil.example".to_owned()), "{target}");
        }
        assert_eq!(check("/", &["localhost", "localhost"]), Err("localhost, localhost".to_owned()));
    }
}
