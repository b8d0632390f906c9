//! The stable codes of all refusals, on every API.

use std::fmt;

/// Why a request failed, as one stable word. Programs use it; the words are published and never change their meaning.
///
/// The core, the cluster and the APIs share one list, so that a code has one meaning wherever it comes from.
/// `docs/errors.md` gives the cause and the remedy of each code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The acquisition holds its lock.
    AlreadyGranted,
    /// The cluster already has its identity.
    AlreadyInitialised,
    /// The body is too large.
    BodyTooLarge,
    /// The semaphore has another capacity.
    CapacityMismatch,
    /// The history is gone.
    Compacted,
    /// Waiting would deadlock.
    Deadlock,
    /// The disk is nearly full.
    DiskFull,
    /// The node is shutting down.
    Draining,
    /// The lock was granted and has ended since.
    GrantEnded,
    /// The WebSocket handshake is refused.
    HandshakeRefused,
    /// Internal error.
    Internal,
    /// A field is wrong.
    InvalidArgument,
    /// The GraphQL query is wrong.
    InvalidQuery,
    /// The retry key was used for another request.
    KeyReused,
    /// The watcher is too slow.
    Lagged,
    /// A limit is reached.
    LimitExceeded,
    /// The lock is closed by a lock-delay.
    LockDelayed,
    /// The lock is held.
    LockHeld,
    /// The lock is free.
    LockNotFound,
    /// The lock is not held under this id.
    LockNotHeld,
    /// The body cannot be read.
    MalformedBody,
    /// The membership cannot change like this.
    MembershipChangeRefused,
    /// The path does not support this method.
    MethodNotAllowed,
    /// The lock is in use as another kind.
    ModeMismatch,
    /// It is in another namespace.
    NamespaceMismatch,
    /// No leader.
    NoLeader,
    /// The node of the wait counted as lost.
    NodeLost,
    /// The node was removed from the cluster.
    NodeRemoved,
    /// The session that names itself does not own the grant.
    NotOwner,
    /// Whether the request took effect is unknown.
    OutcomeUnknown,
    /// The node is busy.
    Overloaded,
    /// The lock is owned by a session.
    OwnedBySession,
    /// There is nothing at this path.
    PathNotFound,
    /// The GraphQL query is too large.
    QueryTooLarge,
    /// No such register.
    RegisterNotFound,
    /// The sequence is older than the session's window.
    SequenceTooOld,
    /// The session was closed.
    SessionClosed,
    /// The session expired.
    SessionExpired,
    /// No such session.
    SessionNotFound,
    /// The node is stopping.
    ShuttingDown,
    /// The fencing token is no longer valid.
    TokenSuperseded,
    /// Unknown field.
    UnknownField,
    /// No such member.
    UnknownMember,
    /// The format of the body is not supported.
    UnsupportedMediaType,
    /// Not every member knows the request yet.
    UpgradePending,
    /// The wait was withdrawn.
    WaitCancelled,
    /// The wait ended without a grant.
    WaitTimeout,
}

impl Code {
    /// All codes, in alphabetical order.
    pub const ALL: [Self; 47] = [
        Self::AlreadyGranted,
        Self::AlreadyInitialised,
        Self::BodyTooLarge,
        Self::CapacityMismatch,
        Self::Compacted,
        Self::Deadlock,
        Self::DiskFull,
        Self::Draining,
        Self::GrantEnded,
        Self::HandshakeRefused,
        Self::Internal,
        Self::InvalidArgument,
        Self::InvalidQuery,
        Self::KeyReused,
        Self::Lagged,
        Self::LimitExceeded,
        Self::LockDelayed,
        Self::LockHeld,
        Self::LockNotFound,
        Self::LockNotHeld,
        Self::MalformedBody,
        Self::MembershipChangeRefused,
        Self::MethodNotAllowed,
        Self::ModeMismatch,
        Self::NamespaceMismatch,
        Self::NoLeader,
        Self::NodeLost,
        Self::NodeRemoved,
        Self::NotOwner,
        Self::OutcomeUnknown,
        Self::Overloaded,
        Self::OwnedBySession,
        Self::PathNotFound,
        Self::QueryTooLarge,
        Self::RegisterNotFound,
        Self::SequenceTooOld,
        Self::SessionClosed,
        Self::SessionExpired,
        Self::SessionNotFound,
        Self::ShuttingDown,
        Self::TokenSuperseded,
        Self::UnknownField,
        Self::UnknownMember,
        Self::UnsupportedMediaType,
        Self::UpgradePending,
        Self::WaitCancelled,
        Self::WaitTimeout,
    ];

    /// The published word of the code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyGranted => "already_granted",
            Self::AlreadyInitialised => "already_initialised",
            Self::BodyTooLarge => "body_too_large",
            Self::CapacityMismatch => "capacity_mismatch",
            Self::Compacted => "compacted",
            Self::Deadlock => "deadlock",
            Self::DiskFull => "disk_full",
            Self::Draining => "draining",
            Self::GrantEnded => "grant_ended",
            Self::HandshakeRefused => "handshake_refused",
            Self::Internal => "internal",
            Self::InvalidArgument => "invalid_argument",
            Self::InvalidQuery => "invalid_query",
            Self::KeyReused => "key_reused",
            Self::Lagged => "lagged",
            Self::LimitExceeded => "limit_exceeded",
            Self::LockDelayed => "lock_delayed",
            Self::LockHeld => "lock_held",
            Self::LockNotFound => "lock_not_found",
            Self::LockNotHeld => "lock_not_held",
            Self::MalformedBody => "malformed_body",
            Self::MembershipChangeRefused => "membership_change_refused",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::ModeMismatch => "mode_mismatch",
            Self::NamespaceMismatch => "namespace_mismatch",
            Self::NoLeader => "no_leader",
            Self::NodeLost => "node_lost",
            Self::NodeRemoved => "node_removed",
            Self::NotOwner => "not_owner",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Overloaded => "overloaded",
            Self::OwnedBySession => "owned_by_session",
            Self::PathNotFound => "path_not_found",
            Self::QueryTooLarge => "query_too_large",
            Self::RegisterNotFound => "register_not_found",
            Self::SequenceTooOld => "sequence_too_old",
            Self::SessionClosed => "session_closed",
            Self::SessionExpired => "session_expired",
            Self::SessionNotFound => "session_not_found",
            Self::ShuttingDown => "shutting_down",
            Self::TokenSuperseded => "token_superseded",
            Self::UnknownField => "unknown_field",
            Self::UnknownMember => "unknown_member",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::UpgradePending => "upgrade_pending",
            Self::WaitCancelled => "wait_cancelled",
            Self::WaitTimeout => "wait_timeout",
        }
    }

    /// Whether repeating the same request is safe and may succeed. This is the only place that decides it.
    ///
    /// After an unknown outcome, a request is safe to repeat only with a retry key. The code does not know about the key, so an unknown outcome counts
    /// as not retryable here.
    #[must_use]
    pub const fn retryable(self) -> bool {
        matches!(
            self,
            Self::DiskFull
                | Self::Draining
                | Self::LimitExceeded
                | Self::LockDelayed
                | Self::LockHeld
                | Self::NoLeader
                | Self::NodeLost
                | Self::NodeRemoved
                | Self::Overloaded
                | Self::ShuttingDown
                | Self::UpgradePending
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_of_codes_is_complete_and_sorted() {
        for (place, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, place, "{code}: the list and the variants have one order");
        }
        assert!(Code::ALL.is_sorted_by_key(|code| code.as_str()));
        assert_eq!(Code::ALL.last(), Some(&Code::WaitTimeout), "the last variant is in the list");
    }
}
