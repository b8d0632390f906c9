//! Every bound the state machine enforces, named, in one place, replicated in the state.

use crate::Rejection;
use crate::check::invalid;

/// The limits in force. They are part of the state, changed only by [`crate::cluster::SetLimits`], so that every
/// replica refuses the same requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Longest name of a lock or register, bytes.
    pub name_bytes_max: u64,
    /// Longest owner label, bytes.
    pub owner_bytes_max: u64,
    /// Longest metadata of a lock or session, bytes.
    pub metadata_bytes_max: u64,
    /// Longest reason of a forced release, bytes.
    pub reason_bytes_max: u64,
    /// Longest idempotency key, bytes.
    pub idempotency_key_bytes_max: u64,
    /// Shortest time to live of a session or one-shot lock, milliseconds.
    pub ttl_ms_min: u64,
    /// Longest time to live of a session or one-shot lock, milliseconds.
    pub ttl_ms_max: u64,
    /// Longest wait for a lock, milliseconds.
    pub wait_ms_max: u64,
    /// Longest lock-delay, milliseconds.
    pub lock_delay_ms_max: u64,
    /// Namespaces that hold anything at the same time.
    pub namespaces_max: u64,
    /// Sessions in one namespace.
    pub sessions_per_namespace_max: u64,
    /// Grants (held acquisitions) in one namespace.
    pub grants_per_namespace_max: u64,
    /// Registers in one namespace.
    pub registers_per_namespace_max: u64,
    /// Waiters queued on one lock.
    pub waiters_per_lock_max: u64,
    /// Names in one multi-lock.
    pub names_per_acquire_max: u64,
    /// Permits of one semaphore.
    pub semaphore_capacity_max: u64,
    /// Re-entrant count of one grant.
    pub reentrancy_max: u64,
    /// Idempotency keys remembered in the whole cluster; the oldest is forgotten first.
    pub idempotency_keys_max: u64,
    /// How long an idempotency key is remembered, milliseconds of cluster time.
    pub idempotency_retention_ms: u64,
    /// How many of a session's newest sequences are remembered.
    pub session_window: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            name_bytes_max: 512,
            owner_bytes_max: 256,
            metadata_bytes_max: 4096,
            reason_bytes_max: 1024,
            idempotency_key_bytes_max: 128,
            ttl_ms_min: 500,
            ttl_ms_max: 24 * 60 * 60 * 1000,
            wait_ms_max: 60 * 60 * 1000,
            lock_delay_ms_max: 60_000,
            namespaces_max: 10_000,
            sessions_per_namespace_max: 200_000,
            grants_per_namespace_max: 4_000_000,
            registers_per_namespace_max: 100_000,
            waiters_per_lock_max: 10_000,
            names_per_acquire_max: 64,
            semaphore_capacity_max: 100_000,
            reentrancy_max: 1_000_000,
            idempotency_keys_max: 200_000,
            idempotency_retention_ms: 10 * 60 * 1000,
            session_window: 256,
        }
    }
}

/// A change of some limits: `None` leaves a limit as it is. Fields as in [`Limits`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitsPatch {
    /// `(field name of Limits, new value)`, at most one per field.
    pub values: Vec<(String, u64)>,
}

/// Name, current value and the range in which a limit may be set.
struct Setting<'a> {
    name: &'static str,
    value: &'a mut u64,
    min: u64,
    max: u64,
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// More entries than this would not fit in a node's memory.
const ENTRIES_MAX: u64 = 100_000_000;

impl Limits {
    fn settings(&mut self) -> Vec<Setting<'_>> {
        let Self {
            name_bytes_max,
            owner_bytes_max,
            metadata_bytes_max,
            reason_bytes_max,
            idempotency_key_bytes_max,
            ttl_ms_min,
            ttl_ms_max,
            wait_ms_max,
            lock_delay_ms_max,
            namespaces_max,
            sessions_per_namespace_max,
            grants_per_namespace_max,
            registers_per_namespace_max,
            waiters_per_lock_max,
            names_per_acquire_max,
            semaphore_capacity_max,
            reentrancy_max,
            idempotency_keys_max,
            idempotency_retention_ms,
            session_window,
        } = self;
        let setting = |name, value, min, max| Setting { name, value, min, max };
        vec![
            setting("name_bytes_max", name_bytes_max, 1, crate::Name::BYTES_MAX as u64),
            setting("owner_bytes_max", owner_bytes_max, 0, 4096),
            setting("metadata_bytes_max", metadata_bytes_max, 0, 65_536),
            setting("reason_bytes_max", reason_bytes_max, 1, 65_536),
            setting("idempotency_key_bytes_max", idempotency_key_bytes_max, 16, 4096),
            setting("ttl_ms_min", ttl_ms_min, 1, DAY_MS),
            setting("ttl_ms_max", ttl_ms_max, 1, 365 * DAY_MS),
            setting("wait_ms_max", wait_ms_max, 0, 7 * DAY_MS),
            setting("lock_delay_ms_max", lock_delay_ms_max, 0, 60_000),
            setting("namespaces_max", namespaces_max, 1, ENTRIES_MAX),
            setting("sessions_per_namespace_max", sessions_per_namespace_max, 0, ENTRIES_MAX),
            setting("grants_per_namespace_max", grants_per_namespace_max, 0, ENTRIES_MAX),
            setting("registers_per_namespace_max", registers_per_namespace_max, 0, ENTRIES_MAX),
            setting("waiters_per_lock_max", waiters_per_lock_max, 0, ENTRIES_MAX),
            setting("names_per_acquire_max", names_per_acquire_max, 1, 1024),
            setting("semaphore_capacity_max", semaphore_capacity_max, 1, u64::from(u32::MAX)),
            setting("reentrancy_max", reentrancy_max, 1, ENTRIES_MAX),
            setting("idempotency_keys_max", idempotency_keys_max, 1, ENTRIES_MAX),
            setting("idempotency_retention_ms", idempotency_retention_ms, 1000, 7 * DAY_MS),
            setting("session_window", session_window, 1, 65_536),
        ]
    }

    /// Every limit by name, in the order of the fields.
    #[must_use]
    pub fn values(&self) -> Vec<(&'static str, u64)> {
        self.clone().settings().into_iter().map(|setting| (setting.name, *setting.value)).collect()
    }

    /// The limits with some changed.
    ///
    /// # Errors
    /// `invalid_argument` naming the limit: unknown, given twice, out of its range, or `ttl_ms_min` over `ttl_ms_max`.
    pub fn patched(&self, patch: &LimitsPatch) -> Result<Self, Rejection> {
        let mut limits = self.clone();
        let mut seen: Vec<&str> = Vec::new();
        for (name, value) in &patch.values {
            if seen.contains(&name.as_str()) {
                return Err(invalid("limits", format!("{name} is given twice")));
            }
            seen.push(name);
            let mut settings = limits.settings();
            let Some(setting) = settings.iter_mut().find(|setting| setting.name == name) else {
                let known: Vec<&str> = settings.iter().map(|setting| setting.name).collect();
                return Err(invalid(
                    "limits",
                    format!("{name} is not a limit; the limits are {}", known.join(", ")),
                ));
            };
            if *value < setting.min || *value > setting.max {
                let range = format!("{name} is {value}; it must be from {} to {}", setting.min, setting.max);
                return Err(invalid("limits", range));
            }
            *setting.value = *value;
        }
        if limits.ttl_ms_min > limits.ttl_ms_max {
            return Err(invalid("limits", "ttl_ms_min must not be over ttl_ms_max"));
        }
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(values: &[(&str, u64)]) -> LimitsPatch {
        LimitsPatch { values: values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect() }
    }

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let limits =
            Limits::default().patched(&patch(&[("ttl_ms_min", 100), ("name_bytes_max", 64)])).unwrap();
        assert_eq!(limits, Limits { ttl_ms_min: 100, name_bytes_max: 64, ..Limits::default() });
        assert_eq!(limits.values().len(), 20);
    }

    #[test]
    fn a_bad_patch_names_the_limit() {
        for values in [
            &[("colour", 1)][..],
            &[("name_bytes_max", 0)],
            &[("name_bytes_max", 5), ("name_bytes_max", 6)],
            &[("ttl_ms_min", 20_000), ("ttl_ms_max", 10_000)],
        ] {
            let error = Limits::default().patched(&patch(values)).unwrap_err();
            assert_eq!(error.code().as_str(), "invalid_argument");
            assert!(error.to_string().contains(values[0].0), "{error}");
        }
    }
}
