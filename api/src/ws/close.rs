//! The reasons for which the server closes a connection, with their close codes.

use axum::extract::ws::{CloseFrame, Message};

use crate::error::Code;
use crate::socket::{Offence, refused_reason};

/// Why the server closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// The node is shutting down.
    Draining,
    /// The client broke the WebSocket protocol.
    Protocol,
    /// The client sent a binary message.
    Binary,
    /// The client sent a message that is too long.
    TooLong,
    /// The client sent nothing for too long.
    Idle,
    /// The client does not read what it is sent.
    Slow,
    /// What the client proved no longer holds, for the reason of this code.
    IdentityLost(Code),
}

impl Close {
    #[cfg(test)]
    pub(super) const ALL: [Self; 7] = [
        Self::Draining,
        Self::Protocol,
        Self::Binary,
        Self::TooLong,
        Self::Idle,
        Self::Slow,
        Self::IdentityLost(Code::TokenExpired),
    ];

    pub(super) fn code(self) -> u16 {
        match self {
            Self::Draining => 1001,
            Self::Protocol => 1002,
            Self::Binary => 1003,
            Self::TooLong => 1009,
            Self::Idle => 4408,
            Self::IdentityLost(_) => 4403,
            Self::Slow => 4429,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Draining => "this node is shutting down; connect to another one",
            Self::Protocol => "the WebSocket protocol was broken",
            Self::Binary => "send requests as text",
            Self::TooLong => "the message is too long",
            Self::Idle => "nothing was heard for too long",
            Self::Slow => "the client does not read",
            Self::IdentityLost(code) => refused_reason(code),
        }
    }

    pub(super) fn message(self) -> Message {
        Message::Close(Some(CloseFrame { code: self.code(), reason: self.reason().into() }))
    }
}

impl From<Offence> for Close {
    fn from(offence: Offence) -> Self {
        match offence {
            Offence::TooLong => Self::TooLong,
            Offence::Protocol => Self::Protocol,
        }
    }
}
