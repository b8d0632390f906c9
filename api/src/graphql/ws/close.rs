//! The reasons for which the server closes a connection, with their close codes.

use axum::extract::ws::{CloseFrame, Message};

use crate::error::Code;
use crate::socket::{Offence, refused_reason};

/// The longest reason that a close frame can carry, in bytes.
const REASON_BYTES_MAX: usize = 123;

/// Why the server closes a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// The node is shutting down.
    Draining,
    /// The client broke the WebSocket protocol.
    Protocol,
    /// The client sent a binary message.
    Binary,
    /// The client sent a message that is too long.
    TooLong,
    /// The client does not read what it is sent.
    Slow,
    /// The client sent a message that is not of the subprotocol; the text describes the problem.
    Invalid(String),
    /// The client sent an operation before the connection was acknowledged.
    Unacknowledged,
    /// What the client proved does not hold, or no longer, for the reason of this code.
    Refused(Code),
    /// The client did not send `connection_init` in time.
    NoInit,
    /// The client sent nothing for too long.
    Idle,
    /// The client reused the id of a running operation.
    IdTaken(String),
    /// The client sent `connection_init` twice.
    SecondInit,
}

impl Close {
    #[cfg(test)]
    pub(super) const CODES: [u16; 11] = [1001, 1002, 1003, 1009, 1013, 4400, 4401, 4403, 4408, 4409, 4429];

    fn code(&self) -> u16 {
        match self {
            Self::Draining => 1001,
            Self::Protocol => 1002,
            Self::Binary => 1003,
            Self::TooLong => 1009,
            Self::Slow => 1013,
            Self::Invalid(_) => 4400,
            Self::Unacknowledged => 4401,
            // Clients of the subprotocol connect again after this code, and not after 4401.
            Self::Refused(_) => 4403,
            Self::NoInit | Self::Idle => 4408,
            Self::IdTaken(_) => 4409,
            Self::SecondInit => 4429,
        }
    }

    fn reason(&self) -> String {
        let fixed = match self {
            Self::Draining => "this node is shutting down; connect to another one",
            Self::Protocol => "the WebSocket protocol was broken",
            Self::Binary => "send messages as text",
            Self::TooLong => "the message is too long",
            Self::Slow => "the client does not read",
            Self::Invalid(problem) => return cut(problem),
            Self::Unacknowledged => "Unauthorized: connection_init comes first",
            Self::Refused(code) => refused_reason(*code),
            Self::NoInit => "Connection initialisation timeout",
            Self::Idle => "nothing was heard for too long",
            Self::IdTaken(id) => return cut(&format!("Subscriber for {id} already exists")),
            Self::SecondInit => "Too many initialisation requests",
        };
        fixed.to_owned()
    }

    pub(super) fn message(&self) -> Message {
        Message::Close(Some(CloseFrame { code: self.code(), reason: self.reason().into() }))
    }
}

/// Cuts a reason to the length that a close frame can carry.
fn cut(reason: &str) -> String {
    reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned()
}

impl From<Offence> for Close {
    fn from(offence: Offence) -> Self {
        match offence {
            Offence::TooLong => Self::TooLong,
            Offence::Protocol => Self::Protocol,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_close_has_a_documented_code_and_short_reason() {
        let all = [
            Close::Draining,
            Close::Protocol,
            Close::Binary,
            Close::TooLong,
            Close::Slow,
            Close::Invalid("é".repeat(100)),
            Close::Unacknowledged,
            Close::Refused(Code::TokenExpired),
            Close::Refused(Code::TokenRevoked),
            Close::Refused(Code::PrincipalSuspended),
            Close::Refused(Code::InvalidToken),
            Close::NoInit,
            Close::Idle,
            Close::IdTaken("x".repeat(200)),
            Close::SecondInit,
        ];
        for close in all {
            assert!(Close::CODES.contains(&close.code()), "{close:?}");
            assert!((1..=REASON_BYTES_MAX).contains(&close.reason().len()), "{close:?}");
        }
    }
}
