//! Where the members answer, as this process has found out by asking them.
//!
//! The membership in the log changes only while there is a leader, and a leader needs the addresses of a majority first: after
//! all addresses have changed, the log alone would never find anybody. What a member said last therefore goes before what the
//! log says, until the log says something new.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use arc_swap::ArcSwap;

use crate::metrics::Metrics;
use crate::types::Addresses;

/// The process of a member that answered last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Where it answered.
    pub(crate) peer: String,
    /// Where it says that it answers.
    pub(crate) addresses: Addresses,
    pub(crate) boot_id: u64,
    /// The peer address that the membership had then.
    stored: String,
}

/// The members' addresses. Shared by everything that connects to members.
#[derive(Default)]
pub(crate) struct AddressBook {
    seen: ArcSwap<BTreeMap<u64, Seen>>,
    metrics: OnceLock<Metrics>,
}

impl AddressBook {
    /// Has the book know the membership, once there is one.
    pub(crate) fn follow(&self, metrics: Metrics) {
        // A node becomes a member once only.
        let _ = self.metrics.set(metrics);
    }

    /// The peer address in the membership.
    pub(crate) fn stored(&self, node_id: u64) -> Option<String> {
        self.metrics.get()?.look(|metrics| {
            metrics.membership_config.get_node(&node_id).map(|member| member.addresses.peer.clone())
        })
    }

    /// The process of a member that answered last, if any did since this one started.
    pub(crate) fn seen(&self, node_id: u64) -> Option<Seen> {
        self.seen.load().get(&node_id).cloned()
    }

    /// Where to connect to a member.
    pub(crate) fn peer(&self, node_id: u64) -> Option<String> {
        newest(self.seen(node_id), self.stored(node_id))
    }

    /// Notes where a member answered. Gives the address that was used for it until now, when that is another one.
    pub(crate) fn note(
        &self,
        node_id: u64,
        peer: &str,
        addresses: Addresses,
        boot_id: u64,
    ) -> Option<String> {
        let before = self.peer(node_id);
        let stored = self.stored(node_id).unwrap_or_default();
        let seen = Seen { peer: peer.to_owned(), addresses, boot_id, stored };
        if self.seen.load().get(&node_id) != Some(&seen) {
            self.seen.rcu(|all| {
                let mut all = BTreeMap::clone(all);
                all.retain(|id, _| self.metrics.get().is_none() || self.stored(*id).is_some());
                all.insert(node_id, seen.clone());
                all
            });
        }
        before.filter(|before| before != peer)
    }
}

/// What was seen holds until the membership says something new.
fn newest(seen: Option<Seen>, stored: Option<String>) -> Option<String> {
    match (seen, stored) {
        (Some(seen), Some(stored)) if seen.stored != stored => Some(stored),
        (Some(seen), _) => Some(seen.peer),
        (None, stored) => stored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answered_last_holds_until_the_membership_changes() {
        let seen = |peer: &str, stored: &str| {
            let addresses = Addresses { peer: peer.to_owned(), ..Addresses::default() };
            Some(Seen { peer: peer.to_owned(), addresses, boot_id: 1, stored: stored.to_owned() })
        };
        let stored = |text: &str| Some(text.to_owned());
        assert_eq!(newest(None, None), None);
        assert_eq!(newest(None, stored("old")), stored("old"));
        assert_eq!(newest(seen("new", ""), None), stored("new"), "it is no member yet");
        assert_eq!(newest(seen("new", "old"), stored("old")), stored("new"));
        assert_eq!(newest(seen("new", "old"), stored("newer")), stored("newer"), "it moved once more");
        assert_eq!(newest(seen("new", "old"), stored("new")), stored("new"));
    }

    #[test]
    fn a_change_of_address_is_told_once() {
        let book = AddressBook::default();
        let note = |peer: &str, boot_id| book.note(3, peer, Addresses::default(), boot_id);
        assert_eq!(note("old", 1), None, "nothing was known");
        assert_eq!(note("old", 1), None);
        assert_eq!(note("new", 2), Some("old".to_owned()));
        assert_eq!(note("new", 2), None);
        assert_eq!(book.peer(3), Some("new".to_owned()));
        assert_eq!(book.seen(3).map(|seen| seen.boot_id), Some(2));
    }
}
