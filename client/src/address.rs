//! Parses node addresses as people write them.

use std::net::Ipv6Addr;

use crate::Error;

/// The default gRPC port, named in error messages.
const USUAL_PORT: u16 = 9090;

/// Turns a gRPC address, `host:port` or `http://host:port`, into a URL.
///
/// # Errors
/// `invalid_argument` for every other scheme (only clear text is spoken, so `https` must not be taken for
/// it), for a missing port and for anything else that is not an address. The message names the value.
pub fn endpoint_url(endpoint: &str) -> Result<String, Error> {
    let text = endpoint.trim();
    let refused = |problem: &str| {
        Error::invalid(format!("endpoint {text:?}: {problem}; write host:port or http://host:port"))
    };
    let address = match text.split_once("://") {
        Some((scheme, address)) if scheme.eq_ignore_ascii_case("http") => address,
        Some(("https" | "HTTPS", _)) => return Err(refused("https is not spoken: this version has no TLS")),
        Some((scheme, _)) => return Err(refused(&format!("the scheme {scheme:?} is not spoken"))),
        None => text,
    };
    let address = address.trim_end_matches('/');
    let Some((host, port)) = address.rsplit_once(':') else {
        return Err(refused(&format!("the port is missing (gRPC uses {USUAL_PORT} by default)")));
    };
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused(&format!("{port:?} is not a port")));
    }
    match port.parse::<u16>() {
        Ok(0) | Err(_) => return Err(refused(&format!("port {port} is not in 1..=65535"))),
        Ok(_) => {}
    }
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let known = bracketed.map_or_else(
        || !host.is_empty() && host.bytes().all(is_plain),
        |address| address.parse::<Ipv6Addr>().is_ok(),
    );
    if known { Ok(format!("http://{host}:{port}")) } else { Err(refused(&format!("{host:?} is not a host"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_urls() {
        for (endpoint, url) in [
            ("a:1", "http://a:1"),
            (" http://n1.example:9090/ ", "http://n1.example:9090"),
            ("HTTP://a_b-c:65535", "http://a_b-c:65535"),
            ("[::1]:9090", "http://[::1]:9090"),
            ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ] {
            assert_eq!(endpoint_url(endpoint).as_deref(), Ok(url), "{endpoint}");
        }
    }

    #[test]
    fn other_schemes_are_refused_by_name() {
        for endpoint in [
            "https://a:1",
            "HTTPS://a:1",
            "Https://a:1",
            "ftp://a:1",
            "grpc://a:1",
            "dns:///a:1",
            "unix:///tmp/a:1",
            "://a:1",
            "http+tls://a:1",
        ] {
            let error = endpoint_url(endpoint).expect_err(endpoint);
            assert_eq!((error.code.as_str(), error.retryable), ("invalid_argument", false), "{endpoint}");
            for part in [endpoint, "not spoken", "http://host:port"] {
                assert!(error.message.contains(part), "{part:?} in {}", error.message);
            }
        }
    }

    #[test]
    fn invalid_address_is_refused() {
        for endpoint in [
            "",
            " ",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:+1",
            "a:b",
            "https:a:1",
            "http://",
            "http://a",
            "http://a:1/path",
            "http://a:1?x",
            "http://user:password@a:1",
            "http://http://a:1",
            "::1:1",
            "[::1:1",
            "[a]:1",
            "a b:1",
            "a:1,b:1",
        ] {
            let error = endpoint_url(endpoint).expect_err(endpoint);
            assert!(error.message.contains("write host:port"), "{}", error.message);
        }
    }
}
