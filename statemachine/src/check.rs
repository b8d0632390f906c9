//! Checks that several commands share: each names the field, the limit and what would be right.

use crate::{Name, Namespace, Rejection, SessionId, State};

/// A refusal of one field.
pub(crate) fn invalid(field: &'static str, problem: impl Into<String>) -> Rejection {
    Rejection::InvalidArgument { field: field.into(), problem: problem.into() }
}

fn text_within(field: &'static str, text: &str, max_bytes: u64) -> Result<(), Rejection> {
    if text.len() as u64 > max_bytes {
        return Err(invalid(field, format!("is {} bytes long; at most {max_bytes} are allowed", text.len())));
    }
    Ok(())
}

fn number_within(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), Rejection> {
    if value < min || value > max {
        return Err(invalid(field, format!("is {value}; it must be from {min} to {max}")));
    }
    Ok(())
}

impl State {
    pub(crate) fn check_name(&self, name: &Name) -> Result<(), Rejection> {
        text_within("name", name.as_str(), self.limits.name_bytes_max)
    }

    pub(crate) fn check_owner(&self, label: &str) -> Result<(), Rejection> {
        text_within("owner", label, self.limits.owner_bytes_max)
    }

    pub(crate) fn check_metadata(&self, metadata: &str) -> Result<(), Rejection> {
        text_within("metadata", metadata, self.limits.metadata_bytes_max)
    }

    pub(crate) fn check_reason(&self, reason: &str) -> Result<(), Rejection> {
        if reason.trim().is_empty() {
            return Err(invalid("reason", "must say why the lock is taken away"));
        }
        text_within("reason", reason, self.limits.reason_bytes_max)
    }

    pub(crate) fn check_idempotency_key(&self, key: &str) -> Result<(), Rejection> {
        if key.is_empty() {
            return Err(invalid("idempotency_key", "must not be empty"));
        }
        text_within("idempotency_key", key, self.limits.idempotency_key_bytes_max)
    }

    pub(crate) fn check_ttl(&self, ttl_ms: u64) -> Result<(), Rejection> {
        number_within("ttl_ms", ttl_ms, self.limits.ttl_ms_min, self.limits.ttl_ms_max)
    }

    pub(crate) fn check_wait(&self, wait_ms: u64) -> Result<(), Rejection> {
        number_within("wait_ms", wait_ms, 0, self.limits.wait_ms_max)
    }

    pub(crate) fn check_lock_delay(&self, lock_delay_ms: u64) -> Result<(), Rejection> {
        number_within("lock_delay_ms", lock_delay_ms, 0, self.limits.lock_delay_ms_max)
    }

    /// A namespace may come into being only while there is room for one more.
    pub(crate) fn check_room_for_namespace(&self, namespace: &Namespace) -> Result<(), Rejection> {
        let max = self.limits.namespaces_max;
        if !self.namespaces.contains_key(namespace) && self.namespaces.len() as u64 >= max {
            return Err(Rejection::LimitExceeded {
                limit: "namespaces_max".into(),
                max,
                remedy: "use an existing namespace, or raise the limit".into(),
            });
        }
        Ok(())
    }

    /// The session exists and lives in the namespace.
    pub(crate) fn check_session(&self, session: SessionId, namespace: &Namespace) -> Result<(), Rejection> {
        let record = self.sessions.get(&session).ok_or(Rejection::SessionNotFound { session })?;
        if record.namespace == *namespace {
            Ok(())
        } else {
            Err(Rejection::NamespaceMismatch { session, namespace: record.namespace.clone() })
        }
    }
}
