//! The details of errors, for programs.

use batuta_raft::ProposeError;
use batuta_statemachine::{Rejection, ReleaseReason, access, cluster, lock, register, session};
use serde_json::{Map, Value, json};

use super::ApiError;

impl ApiError {
    /// Returns the details of the error: names, limits, tokens. Keys are spelled like fields of the APIs.
    #[must_use]
    pub fn details(&self) -> Map<String, Value> {
        let value = match self {
            Self::Rejected { rejection, .. } => rejection_details(rejection),
            Self::Propose(error) => propose_details(error),
            Self::OutcomeUnknown { waited_ms, keyed, lock_id } => {
                let mut value = json!({ "waited_ms": waited_ms, "keyed": keyed });
                if let Some(lock_id) = lock_id {
                    value["lock_id"] = json!(lock_id.to_string());
                }
                value
            }
            Self::InvalidArgument { field, problem } => json!({ "field": field, "problem": problem }),
            Self::UnknownField { field, suggestion } => json!({ "field": field, "suggestion": suggestion }),
            Self::BodyTooLarge { max_bytes } => json!({ "limit": "body_bytes_max", "max": max_bytes }),
            Self::LockNotFound { name, .. } => json!({ "name": name.as_str() }),
            Self::UnsupportedCoding { header, coding } => json!({ "header": header, "coding": coding }),
            Self::UnknownMember { member, members } => json!({ "member": member, "members": members }),
            Self::Busy { what, max } => json!({ "limit": what, "max": max }),
            Self::QueryTooLarge { limit, max } => json!({ "limit": limit, "max": max }),
            Self::PathNotFound { path } => json!({ "path": path }),
            Self::MethodNotAllowed { method, path } => json!({ "method": method, "path": path }),
            Self::RateLimited { limit, retry_after_ms } => {
                json!({ "limit": limit, "remaining_ms": retry_after_ms })
            }
            Self::SecretNotRepeatable { credential } => json!({ "credential_id": credential.as_str() }),
            Self::AuthBusy { waiting_max } => json!({ "limit": "login_queue_max", "max": waiting_max }),
            Self::MalformedBody { problem }
            | Self::HandshakeRefused { problem }
            | Self::InvalidToken { problem } => {
                json!({ "problem": problem })
            }
            Self::HostNotAllowed { host, remedy } => json!({ "host": host, "remedy": remedy }),
            Self::Compacted { from_revision, oldest_revision } => {
                json!({ "from_revision": from_revision, "oldest_revision": oldest_revision })
            }
            Self::Lagged { resume_revision } => json!({ "resume_revision": resume_revision }),
            Self::InvalidQuery { .. }
            | Self::UnsupportedMediaType
            | Self::Draining
            | Self::CallCancelled
            | Self::Unauthenticated { .. }
            | Self::AuditUnavailable { .. }
            | Self::Internal(_) => {
                json!({})
            }
        };
        match value {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}

fn rejection_details(rejection: &Rejection) -> Value {
    match rejection {
        Rejection::InvalidArgument { field, problem } => json!({ "field": field, "problem": problem }),
        Rejection::LimitExceeded { limit, max, remedy } => {
            json!({ "limit": limit, "max": max, "remedy": remedy })
        }
        Rejection::Session(session::Refusal::SessionNotFound { session }) => {
            json!({ "session_id": session.to_string() })
        }
        Rejection::Session(session::Refusal::NamespaceMismatch { session, namespace }) => {
            json!({ "session_id": session.to_string(), "namespace": namespace.as_str() })
        }
        Rejection::Lock(lock::Refusal::LockHeld { name, holder_tokens, waiters }) => {
            json!({ "name": name.as_str(), "holder_tokens": holder_tokens, "waiters": waiters })
        }
        Rejection::Lock(lock::Refusal::LockDelayed { name, remaining_ms }) => {
            json!({ "name": name.as_str(), "remaining_ms": remaining_ms })
        }
        Rejection::Lock(
            lock::Refusal::LockNotHeld { lock_id }
            | lock::Refusal::ForeignLock { lock_id }
            | lock::Refusal::WaitEnded { lock_id, .. },
        ) => {
            json!({ "lock_id": lock_id.to_string() })
        }
        Rejection::Lock(lock::Refusal::GrantEnded { lock_id, reason }) => {
            let mut value = json!({ "lock_id": lock_id.to_string(), "reason": reason.as_str() });
            if let ReleaseReason::Forced { reason } = reason {
                value["words"] = json!(reason);
            }
            value
        }
        Rejection::Lock(lock::Refusal::AlreadyGranted { lock_id, token }) => {
            json!({ "lock_id": lock_id.to_string(), "fencing_token": token })
        }
        Rejection::Lock(lock::Refusal::Deadlock { cycle }) => json!({ "cycle": cycle }),
        Rejection::Lock(lock::Refusal::ModeMismatch { name, actual }) => {
            json!({ "name": name.as_str(), "actual": actual })
        }
        Rejection::Lock(lock::Refusal::CapacityMismatch { name, actual }) => {
            json!({ "name": name.as_str(), "capacity": actual })
        }
        Rejection::Lock(
            lock::Refusal::OwnedBySession { lock_id, session } | lock::Refusal::NotOwner { lock_id, session },
        ) => {
            json!({ "lock_id": lock_id.to_string(), "session_id": session.to_string() })
        }
        // There is no newest token: the lock is free.
        Rejection::Lock(lock::Refusal::TokenSuperseded { token, newest: 0 }) => {
            json!({ "fencing_token": token })
        }
        Rejection::Lock(lock::Refusal::TokenSuperseded { token, newest }) => {
            json!({ "fencing_token": token, "newest_token": newest })
        }
        Rejection::Lock(lock::Refusal::NotInUse { name })
        | Rejection::Register(register::Refusal::RegisterNotFound { name }) => {
            json!({ "name": name.as_str() })
        }
        Rejection::KeyReused => json!({}),
        Rejection::SequenceTooOld { sequence, oldest } => json!({ "sequence": sequence, "oldest": oldest }),
        Rejection::Cluster(cluster::Refusal::AlreadyInitialised { cluster_id }) => {
            json!({ "cluster_id": cluster_id })
        }
        Rejection::Access(refusal) => access_details(refusal),
    }
}

fn access_details(refusal: &access::Refusal) -> Value {
    match refusal {
        access::Refusal::PermissionDenied { principal, permission, namespace, name } => {
            let mut value = json!({
                "principal": principal.to_string(),
                "permission": permission.as_str(),
                "namespace": namespace.as_str(),
            });
            if let Some(name) = name {
                value["name"] = json!(name.as_str());
            }
            value
        }
        access::Refusal::EscalationRefused { principal, permission, namespace, names } => {
            let mut value = json!({
                "principal": principal.to_string(),
                "permission": permission.as_str(),
                "names": names,
            });
            if let Some(namespace) = namespace {
                value["namespace"] = json!(namespace.as_str());
            }
            value
        }
        access::Refusal::PrincipalSuspended { principal }
        | access::Refusal::PrincipalNotFound { principal }
        | access::Refusal::PasswordChanged { principal } => json!({ "principal": principal.to_string() }),
        access::Refusal::TokenExpired { token }
        | access::Refusal::TokenRevoked { token }
        | access::Refusal::TokenNotFound { token }
        | access::Refusal::AlreadyBootstrapped { token } => json!({ "credential_id": token.as_str() }),
        access::Refusal::GroupNotFound { group } => json!({ "group": group.as_str() }),
        access::Refusal::RoleNotFound { role } | access::Refusal::BuiltInRole { role } => {
            json!({ "role": role.as_str() })
        }
        access::Refusal::BindingNotFound { binding } => json!({ "binding_id": binding.to_string() }),
        access::Refusal::LastAdmin => json!({}),
    }
}

fn propose_details(error: &ProposeError) -> Value {
    match error {
        ProposeError::NoLeader { waited_ms } | ProposeError::OutcomeUnknown { waited_ms } => {
            json!({ "waited_ms": waited_ms })
        }
        ProposeError::DiskFull { free_bytes, min_bytes } => {
            json!({ "free_bytes": free_bytes, "min_bytes": min_bytes })
        }
        ProposeError::Removed { node_id } => json!({ "node_id": node_id }),
        _ => json!({}),
    }
}
