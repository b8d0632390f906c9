//! Hashes the whole state; the hash is equal on all replicas that applied the same log.

use std::hash::{Hash, Hasher};

use xxhash_rust::xxh3::Xxh3;

use crate::State;

/// A hasher whose result does not depend on the machine's byte order or word size.
pub(crate) struct PortableHasher(Xxh3);

impl PortableHasher {
    pub(crate) fn new() -> Self {
        Self(Xxh3::new())
    }
}

impl Hasher for PortableHasher {
    fn finish(&self) -> u64 {
        self.0.digest()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn write_u32(&mut self, value: u32) {
        self.0.update(&value.to_le_bytes());
    }

    fn write_u64(&mut self, value: u64) {
        self.0.update(&value.to_le_bytes());
    }

    fn write_u128(&mut self, value: u128) {
        self.0.update(&value.to_le_bytes());
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.0.update(&(value as i64).to_le_bytes());
    }
}

impl State {
    /// Hashes all replicated data. O(size of the state).
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hasher = PortableHasher::new();
        Hash::hash(self, &mut hasher);
        hasher.finish()
    }
}
