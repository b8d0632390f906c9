//! Every bound the state machine enforces, named, in one place, replicated in the state.

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LimitsPatch {
    /// `(field name of Limits, new value)`, at most one per field.
    pub values: Vec<(String, u64)>,
}
