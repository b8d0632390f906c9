//! Checks shared by several commands. Each names the field, the limit and what would be right.

use crate::rejection::invalid;
use crate::{Name, Namespace, Rejection, State};

pub(crate) fn text_within(field: &'static str, text: &str, max_bytes: u64) -> Result<(), Rejection> {
    if text.len() as u64 > max_bytes {
        return Err(invalid(field, format!("is {} bytes long; at most {max_bytes} are allowed", text.len())));
    }
    Ok(())
}

pub(crate) fn number_within(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), Rejection> {
    if value < min || value > max {
        return Err(invalid(field, format!("is {value}; it must be from {min} to {max}")));
    }
    Ok(())
}

impl State {
    pub(crate) fn check_name(&self, name: &Name) -> Result<(), Rejection> {
        text_within("name", name.as_str(), self.limits.common.name_bytes_max)
    }

    pub(crate) fn check_metadata(&self, metadata: &str) -> Result<(), Rejection> {
        text_within("metadata", metadata, self.limits.common.metadata_bytes_max)
    }

    pub(crate) fn check_ttl(&self, ttl_ms: u64) -> Result<(), Rejection> {
        number_within("ttl_ms", ttl_ms, self.limits.common.ttl_ms_min, self.limits.common.ttl_ms_max)
    }

    /// Checks that a new namespace is within the limit of namespaces.
    pub(crate) fn check_room_for_namespace(&self, namespace: &Namespace) -> Result<(), Rejection> {
        let max = self.limits.common.namespaces_max;
        if !self.namespaces.contains_key(namespace) && self.namespaces.len() as u64 >= max {
            return Err(Rejection::LimitExceeded {
                limit: "namespaces_max".into(),
                max,
                remedy: "use an existing namespace, or raise the limit".into(),
            });
        }
        Ok(())
    }
}
