//! The changes of an entry, in order: the source of every watch.

use crate::{ChangeKind, Namespace};

/// One change of the state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// Log index of the entry.
    pub revision: u64,
    /// Ordinal of the change inside the entry, from 0.
    pub ordinal: u32,
    /// The namespace of the change; `None` for changes of the cluster itself.
    pub namespace: Option<Namespace>,
    /// The kind of the change.
    pub kind: ChangeKind,
}

/// The weight of a change without texts, in bytes.
const BYTES_MIN: usize = 256;

impl Change {
    /// The approximate memory of the change, in bytes, which a bounded history counts.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        BYTES_MIN + self.kind.text_bytes()
    }
}
