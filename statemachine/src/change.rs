//! What an entry changed, in order: the source of every watch.

use crate::{ChangeKind, Namespace};

/// One change of the state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// Log index of the entry.
    pub revision: u64,
    /// Ordinal of the change inside the entry, from 0.
    pub ordinal: u32,
    /// Where it happened; `None` for changes of the cluster itself.
    pub namespace: Option<Namespace>,
    /// What happened.
    pub kind: ChangeKind,
}

/// Bytes of a change that holds no text.
const BYTES_MIN: usize = 256;

impl Change {
    /// About how much memory it takes, bytes: what a bounded history counts.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        BYTES_MIN + self.kind.text_bytes()
    }
}
