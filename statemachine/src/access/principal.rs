//! Principals and groups as they are stored.

use std::fmt;
use std::sync::Arc;

use crate::{Principal, PrincipalId, PrincipalName};

/// A principal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PrincipalRecord {
    /// The id, which no other principal ever gets.
    pub id: PrincipalId,
    /// Its kind and name.
    pub principal: Principal,
    /// Free text for people.
    pub description: String,
    /// Whether it is suspended, which beats every right.
    pub suspended: bool,
    /// The password of a user who has one.
    pub password: Option<Password>,
    /// Wall clock at its creation, in milliseconds since the Unix epoch.
    pub created_wall_ms: u64,
}

/// The password of a user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Password {
    /// Its salted hash.
    pub phc: PasswordHash,
    /// The number of this password among those of the user, from 1.
    pub version: u64,
}

/// The salted hash of a password, as a PHC string. Its `Debug` form shows nothing of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PasswordHash(Arc<str>);

impl PasswordHash {
    /// The longest hash, in bytes.
    pub const BYTES_MAX: usize = 512;

    /// Wraps a PHC string.
    #[must_use]
    pub fn new(phc: &str) -> Self {
        Self(phc.into())
    }

    /// The PHC string, to verify a password or to store the hash.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupRecord {
    /// The name of the group.
    pub name: PrincipalName,
    /// Its members, in the order of their ids.
    pub members: Vec<PrincipalId>,
}
