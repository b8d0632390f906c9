//! Checks of the arguments of locks. Each names the field, the limit and what would be right.

use crate::check::{number_within, text_within};
use crate::rejection::invalid;
use crate::{Rejection, State};

impl State {
    pub(super) fn check_owner(&self, label: &str) -> Result<(), Rejection> {
        text_within("owner", label, self.limits.lock.owner_bytes_max)
    }

    pub(super) fn check_reason(&self, reason: &str) -> Result<(), Rejection> {
        if reason.trim().is_empty() {
            return Err(invalid("reason", "must say why the lock is taken away"));
        }
        text_within("reason", reason, self.limits.lock.reason_bytes_max)
    }

    pub(super) fn check_wait(&self, wait_ms: u64) -> Result<(), Rejection> {
        number_within("wait_ms", wait_ms, 0, self.limits.lock.wait_ms_max)
    }

    pub(super) fn check_lock_delay(&self, lock_delay_ms: u64) -> Result<(), Rejection> {
        number_within("lock_delay_ms", lock_delay_ms, 0, self.limits.lock.lock_delay_ms_max)
    }

    pub(super) fn check_capacity(&self, capacity: u32) -> Result<(), Rejection> {
        number_within("capacity", capacity.into(), 1, self.limits.lock.semaphore_capacity_max)
    }
}
