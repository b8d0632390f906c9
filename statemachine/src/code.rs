//! The stable codes of all refusals, on every API.

use std::fmt;

/// Why a request failed, as one stable word. Programs use it; the words are published and never change their meaning.
///
/// The core, the cluster and the APIs share one list, so that a code has one meaning wherever it comes from.
/// `docs/errors.md` gives the cause and the remedy of each code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// No bootstrap token of this id is open.
    AlreadyBootstrapped,
    /// The acquisition holds its lock.
    AlreadyGranted,
    /// The cluster already has its identity.
    AlreadyInitialised,
    /// The audit cannot be written.
    AuditUnavailable,
    /// Too many logins wait.
    AuthBusy,
    /// No such binding.
    BindingNotFound,
    /// The body is too large.
    BodyTooLarge,
    /// The role is built in.
    BuiltInRole,
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
    /// The caller would give what it does not have.
    EscalationRefused,
    /// The lock was granted and has ended since.
    GrantEnded,
    /// No such group.
    GroupNotFound,
    /// The WebSocket handshake is refused.
    HandshakeRefused,
    /// The request is for another host.
    HostNotAllowed,
    /// Internal error.
    Internal,
    /// A field is wrong.
    InvalidArgument,
    /// The GraphQL query is wrong.
    InvalidQuery,
    /// The token is not valid.
    InvalidToken,
    /// The retry key was used for another request.
    KeyReused,
    /// The watcher is too slow.
    Lagged,
    /// No administrator would be left.
    LastAdmin,
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
    /// The password was changed meanwhile.
    PasswordChanged,
    /// There is nothing at this path.
    PathNotFound,
    /// The caller lacks a permission.
    PermissionDenied,
    /// No such principal.
    PrincipalNotFound,
    /// The caller is suspended.
    PrincipalSuspended,
    /// The GraphQL query is too large.
    QueryTooLarge,
    /// Too many attempts.
    RateLimited,
    /// No such register.
    RegisterNotFound,
    /// No such role.
    RoleNotFound,
    /// The secret was shown before.
    SecretNotRepeatable,
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
    /// The credential has expired.
    TokenExpired,
    /// No such credential.
    TokenNotFound,
    /// The credential was revoked.
    TokenRevoked,
    /// The fencing token is no longer valid.
    TokenSuperseded,
    /// No valid credential.
    Unauthenticated,
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
    pub const ALL: [Self; 68] = [
        Self::AlreadyBootstrapped,
        Self::AlreadyGranted,
        Self::AlreadyInitialised,
        Self::AuditUnavailable,
        Self::AuthBusy,
        Self::BindingNotFound,
        Self::BodyTooLarge,
        Self::BuiltInRole,
        Self::CapacityMismatch,
        Self::Compacted,
        Self::Deadlock,
        Self::DiskFull,
        Self::Draining,
        Self::EscalationRefused,
        Self::GrantEnded,
        Self::GroupNotFound,
        Self::HandshakeRefused,
        Self::HostNotAllowed,
        Self::Internal,
        Self::InvalidArgument,
        Self::InvalidQuery,
        Self::InvalidToken,
        Self::KeyReused,
        Self::Lagged,
        Self::LastAdmin,
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
        Self::PasswordChanged,
        Self::PathNotFound,
        Self::PermissionDenied,
        Self::PrincipalNotFound,
        Self::PrincipalSuspended,
        Self::QueryTooLarge,
        Self::RateLimited,
        Self::RegisterNotFound,
        Self::RoleNotFound,
        Self::SecretNotRepeatable,
        Self::SequenceTooOld,
        Self::SessionClosed,
        Self::SessionExpired,
        Self::SessionNotFound,
        Self::ShuttingDown,
        Self::TokenExpired,
        Self::TokenNotFound,
        Self::TokenRevoked,
        Self::TokenSuperseded,
        Self::Unauthenticated,
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
            Self::AlreadyBootstrapped => "already_bootstrapped",
            Self::AlreadyGranted => "already_granted",
            Self::AlreadyInitialised => "already_initialised",
            Self::AuditUnavailable => "audit_unavailable",
            Self::AuthBusy => "auth_busy",
            Self::BindingNotFound => "binding_not_found",
            Self::BodyTooLarge => "body_too_large",
            Self::BuiltInRole => "built_in_role",
            Self::CapacityMismatch => "capacity_mismatch",
            Self::Compacted => "compacted",
            Self::Deadlock => "deadlock",
            Self::DiskFull => "disk_full",
            Self::Draining => "draining",
            Self::EscalationRefused => "escalation_refused",
            Self::GrantEnded => "grant_ended",
            Self::GroupNotFound => "group_not_found",
            Self::HandshakeRefused => "handshake_refused",
            Self::HostNotAllowed => "host_not_allowed",
            Self::Internal => "internal",
            Self::InvalidArgument => "invalid_argument",
            Self::InvalidQuery => "invalid_query",
            Self::InvalidToken => "invalid_token",
            Self::KeyReused => "key_reused",
            Self::Lagged => "lagged",
            Self::LastAdmin => "last_admin",
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
            Self::PasswordChanged => "password_changed",
            Self::PathNotFound => "path_not_found",
            Self::PermissionDenied => "permission_denied",
            Self::PrincipalNotFound => "principal_not_found",
            Self::PrincipalSuspended => "principal_suspended",
            Self::QueryTooLarge => "query_too_large",
            Self::RateLimited => "rate_limited",
            Self::RegisterNotFound => "register_not_found",
            Self::RoleNotFound => "role_not_found",
            Self::SecretNotRepeatable => "secret_not_repeatable",
            Self::SequenceTooOld => "sequence_too_old",
            Self::SessionClosed => "session_closed",
            Self::SessionExpired => "session_expired",
            Self::SessionNotFound => "session_not_found",
            Self::ShuttingDown => "shutting_down",
            Self::TokenExpired => "token_expired",
            Self::TokenNotFound => "token_not_found",
            Self::TokenRevoked => "token_revoked",
            Self::TokenSuperseded => "token_superseded",
            Self::Unauthenticated => "unauthenticated",
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
            Self::AuditUnavailable
                | Self::AuthBusy
                | Self::DiskFull
                | Self::Draining
                | Self::LimitExceeded
                | Self::LockDelayed
                | Self::LockHeld
                | Self::NoLeader
                | Self::NodeLost
                | Self::NodeRemoved
                | Self::Overloaded
                | Self::RateLimited
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
