//! Credentials: API keys, logins and bootstrap tokens.

use std::fmt;
use std::sync::Arc;

use crate::access::{Change, End, Namespaces, Pattern};
use crate::due::Due;
use crate::step::Step;
use crate::{PrincipalId, PrincipalName, State, TokenId};

/// The SHA-256 of a secret, made by the node that drew it. Its `Debug` form shows nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash([u8; Self::LENGTH]);

impl SecretHash {
    /// The number of bytes.
    pub const LENGTH: usize = 32;

    /// Wraps a hash.
    #[must_use]
    pub const fn new(hash: [u8; Self::LENGTH]) -> Self {
        Self(hash)
    }

    /// The bytes, to compare them in constant time or to store them.
    #[must_use]
    pub const fn expose(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// The id and the hash of a credential, as a node made them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenSecret {
    /// The public id.
    pub id: TokenId,
    /// The hash of the secret.
    pub hash: SecretHash,
}

/// A new API key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NewToken {
    /// The id and the hash that the node made.
    pub secret: TokenSecret,
    /// Free text for people.
    pub label: String,
    /// The wall clock at which it ends, in milliseconds since the Unix epoch; `None` = never.
    pub not_after_ms: Option<u64>,
}

/// What a credential is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// An API key.
    Key,
    /// A login with a password.
    Login,
    /// Makes the first administrator, or one more when the others are locked out.
    Bootstrap {
        /// Whether a node made it for a locked-out cluster.
        recovery: bool,
    },
}

impl TokenKind {
    /// The word that changes and lists use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Login => "login",
            Self::Bootstrap { .. } => "bootstrap",
        }
    }
}

/// What narrows the rights of a key below those of its principal. It never widens them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Narrowing {
    /// The key has only what one of these roles gives too; empty = no narrowing by roles. A role that does not exist gives nothing.
    pub roles: Vec<PrincipalName>,
    /// The namespaces in which the key holds.
    pub namespaces: Namespaces,
    /// The names for which the key holds; empty = all names.
    pub names: Vec<Pattern>,
}

/// A credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenRecord {
    /// Its id and the hash of its secret.
    pub secret: TokenSecret,
    /// What it is for.
    pub kind: TokenKind,
    /// Whose it is; [`PrincipalId::ANONYMOUS`] for bootstrap tokens.
    pub principal: PrincipalId,
    /// Free text for people.
    pub label: String,
    /// The wall clock at which it ends, in milliseconds since the Unix epoch.
    pub not_after_ms: Option<u64>,
    /// The cluster time at which it ends, in milliseconds.
    pub deadline_ms: Option<u64>,
    /// What narrows it.
    pub narrowing: Option<Narrowing>,
    /// Who made it; `None` when a node did, or a caller while access was off.
    pub made_by: Option<PrincipalId>,
    /// Wall clock at its creation, in milliseconds since the Unix epoch.
    pub created_wall_ms: u64,
    /// Wall clock of the last use that nodes noted, in milliseconds since the Unix epoch. They note uses every ten minutes.
    pub last_used_wall_ms: Option<u64>,
}

impl TokenRecord {
    /// Whether it has not ended at this cluster time and wall time.
    #[must_use]
    pub fn is_live(&self, now_ms: u64, wall_ms: u64) -> bool {
        self.deadline_ms.is_none_or(|deadline_ms| now_ms < deadline_ms)
            && self.not_after_ms.is_none_or(|not_after_ms| wall_ms < not_after_ms)
    }
}

/// The use of a credential, as a node saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenUse {
    /// The credential.
    pub token: TokenId,
    /// Wall clock of the use, in milliseconds since the Unix epoch.
    pub used_wall_ms: u64,
}

impl State {
    /// The cluster time that is as far in the future as a wall time.
    pub(super) fn deadline_of(&self, not_after_ms: u64) -> u64 {
        self.now_ms.saturating_add(not_after_ms.saturating_sub(self.wall_ms))
    }
}

/// Stores a new credential.
pub(super) fn add_token(step: &mut Step<'_>, record: TokenRecord, by: Option<PrincipalId>) {
    let (token, kind) = (record.secret.id, record.kind);
    let principal = step.state.access.principal_of(record.principal);
    insert_token(step, record);
    step.emit(None, Change::TokenCreated { token, kind, principal, by });
}

pub(super) fn insert_token(step: &mut Step<'_>, record: TokenRecord) {
    if let Some(deadline_ms) = record.deadline_ms {
        step.state.deadlines.insert((deadline_ms, Due::Token(record.secret.id)));
    }
    step.state.access.insert_token(Arc::new(record));
}

/// Ends a credential, if there is one of this id.
pub(super) fn end_token(step: &mut Step<'_>, token: TokenId, reason: End, by: Option<PrincipalId>) {
    let Some(record) = step.state.access.remove_token(token) else { return };
    if let Some(deadline_ms) = record.deadline_ms {
        step.state.deadlines.remove(&(deadline_ms, Due::Token(token)));
    }
    step.state.access.bump();
    let principal = step.state.access.principal_of(record.principal);
    step.emit(None, Change::TokenEnded { token, kind: record.kind, principal, reason, by });
}

/// The deadline of a credential has come.
pub(crate) fn token_due(step: &mut Step<'_>, token: TokenId) {
    end_token(step, token, End::Expired, None);
}
