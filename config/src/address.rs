//! Parses `host:port` and tells loopback and unspecified hosts from others.

use std::net::{IpAddr, SocketAddr};

/// A host and a port.
pub(crate) struct Address<'a> {
    host: &'a str,
    pub(crate) port: u16,
}

impl<'a> Address<'a> {
    /// Splits `host:port`; an IPv6 host stands in brackets.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok()?;
        let bracketed = host.starts_with('[');
        let known = if bracketed { text.parse::<SocketAddr>().is_ok() } else { is_host_name(host) };
        known.then_some(Self { host, port })
    }

    /// The host if it is a name, not an IP address.
    pub(crate) fn name(&self) -> Option<&'a str> {
        self.ip().is_none().then_some(self.host)
    }

    fn ip(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// Whether only this machine can reach the host.
    pub(crate) fn is_loopback(&self) -> bool {
        self.ip().map_or(self.host.eq_ignore_ascii_case("localhost"), |ip| ip.is_loopback())
    }

    /// Whether the host means every address of the machine, so that others cannot call it.
    pub(crate) fn is_unspecified(&self) -> bool {
        self.ip().is_some_and(|ip| ip.is_unspecified())
    }
}

/// Whether the text has only characters of host names.
pub(crate) fn is_host_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}
