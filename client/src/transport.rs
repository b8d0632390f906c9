//! Explains why a node could not be reached, for gRPC statuses that no Batuta server wrote.

use std::error::Error as _;
use std::io;

use tonic::{Code, Status};

/// Parts of messages that show that the other end speaks another protocol: HTTP/1, TLS, a web page.
const ANOTHER_PROTOCOL: [&str; 5] = [
    "frame with invalid size",
    "FRAME_SIZE_ERROR",
    "PROTOCOL_ERROR",
    "invalid compression flag",
    "invalid HTTP version",
];
/// The start of tonic's message when an HTTP server without gRPC answered.
const NO_GRPC_STATUS: &str = "grpc-status header missing";

/// The cause of a failed call: the operating system's error about the connection if there is one, otherwise
/// the innermost error.
pub(crate) fn cause(status: &Status) -> String {
    let mut innermost = match status.message() {
        "" => status.code().to_string(),
        message => message.to_owned(),
    };
    let mut looked_up = true;
    let mut source = status.source();
    while let Some(error) = source {
        let text = error.to_string();
        looked_up &= !text.starts_with("dns error");
        if let Some(words) = error.downcast_ref::<io::Error>().and_then(of_the_system) {
            return words.to_owned();
        }
        if !text.is_empty() {
            innermost = text;
        }
        source = error.source();
    }
    if looked_up { innermost } else { format!("unknown host ({innermost})") }
}

fn of_the_system(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused: nothing listens there",
        io::ErrorKind::ConnectionReset => "the connection was reset",
        io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            "the connection was closed"
        }
        io::ErrorKind::TimedOut => "timed out: no connection could be made in time",
        io::ErrorKind::HostUnreachable => "no route to the host",
        io::ErrorKind::NetworkUnreachable => "the network is unreachable",
        _ => return None,
    })
}

/// Whether the answer came from something other than a Batuta node.
pub(crate) fn is_another_protocol(status: &Status, cause: &str) -> bool {
    let message = status.message();
    let speaks = |part: &&str| message.contains(*part) || cause.contains(*part);
    match status.code() {
        Code::Unimplemented => true,
        // A proxy in front of a node that the proxy cannot reach right now.
        Code::Unavailable => false,
        _ => message.starts_with(NO_GRPC_STATUS) || ANOTHER_PROTOCOL.iter().any(speaks),
    }
}
