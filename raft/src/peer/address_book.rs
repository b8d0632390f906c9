//! The addresses at which members answer, as this process learned them by asking.
//!
//! The membership in the log changes only while there is a leader, and a leader first needs the addresses of
//! a majority: after all addresses have changed, the log alone would never find anybody. So the address a
//! member last reported takes precedence over the log, until the log has a new address.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use arc_swap::ArcSwap;

use crate::metrics::Metrics;
use crate::types::Addresses;

/// The process of a member that answered last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The address at which it answered.
    pub(crate) peer: String,
    /// The addresses it reported for itself.
    pub(crate) addresses: Addresses,
    pub(crate) boot_id: u64,
    /// The member's peer address in the membership at that time.
    stored: String,
}

/// The members' addresses, shared by everything that connects to members.
#[derive(Default)]
pub(crate) struct AddressBook {
    seen: ArcSwap<BTreeMap<u64, Seen>>,
    metrics: OnceLock<Metrics>,
}

impl AddressBook {
    /// Connects the book to the membership, once there is one.
    pub(crate) fn follow(&self, metrics: Metrics) {
        // A node becomes a member only once.
        let _ = self.metrics.set(metrics);
    }

    /// The peer address in the membership.
    pub(crate) fn stored(&self, node_id: u64) -> Option<String> {
        self.metrics.get()?.look(|metrics| {
            metrics.membership_config.get_node(&node_id).map(|member| member.addresses.peer.clone())
        })
    }

    /// The process of a member that answered last, if any answered since this process started.
    pub(crate) fn seen(&self, node_id: u64) -> Option<Seen> {
        self.seen.load().get(&node_id).cloned()
    }

    /// Where members answered, including those that the membership does not have (yet).
    pub(crate) fn answered_at(&self) -> Vec<String> {
        self.seen.load().values().map(|seen| seen.peer.clone()).collect()
    }

    /// Whether this id may belong to a member. A node without a membership cannot know who has left.
    fn may_be_member(&self, node_id: u64) -> bool {
        self.metrics.get().is_none_or(|metrics| {
            metrics.look(|metrics| {
                let config = &metrics.membership_config;
                config.nodes().next().is_none() || config.get_node(&node_id).is_some()
            })
        })
    }

    /// The address to connect to for a member.
    pub(crate) fn peer(&self, node_id: u64) -> Option<String> {
        let all = self.seen.load();
        let seen = all.get(&node_id);
        let Some(metrics) = self.metrics.get() else { return newest(seen, None) };
        metrics.look(|metrics| {
            let member = metrics.membership_config.get_node(&node_id);
            newest(seen, member.map(|member| member.addresses.peer.as_str()))
        })
    }

    /// Notes where a member answered. Returns the address used for it until now, if that was a different one.
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
                all.retain(|id, _| self.may_be_member(*id));
                all.insert(node_id, seen.clone());
                all
            });
        }
        before.filter(|before| before != peer)
    }
}

/// The seen address is used until the membership has a new one.
fn newest(seen: Option<&Seen>, stored: Option<&str>) -> Option<String> {
    let newest = match (seen, stored) {
        (Some(seen), Some(stored)) if seen.stored != stored => stored,
        (Some(seen), _) => &seen.peer,
        (None, stored) => stored?,
    };
    Some(newest.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use openraft::async_runtime::watch::WatchSender as _;
    use openraft::type_config::TypeConfigExt as _;

    use super::*;
    use crate::metrics::RaftMetrics;
    use crate::types::{Member, Membership, StoredMembership, TypeConfig};

    #[test]
    fn last_answer_counts_until_the_membership_changes() {
        let check = |seen: Option<(&str, &str)>, stored: Option<&str>, expected: Option<&str>| {
            let seen = seen.map(|(peer, stored)| Seen {
                peer: peer.to_owned(),
                addresses: Addresses::default(),
                boot_id: 1,
                stored: stored.to_owned(),
            });
            assert_eq!(newest(seen.as_ref(), stored).as_deref(), expected, "{seen:?} {stored:?}");
        };
        check(None, None, None);
        check(None, Some("old"), Some("old"));
        // The node is not a member yet.
        check(Some(("new", "")), None, Some("new"));
        check(Some(("new", "old")), Some("old"), Some("new"));
        // The member moved once more.
        check(Some(("new", "old")), Some("newer"), Some("newer"));
        check(Some(("new", "old")), Some("new"), Some("new"));
    }

    #[test]
    fn change_of_address_is_reported_once() {
        let book = AddressBook::default();
        let note = |peer: &str, boot_id| book.note(3, peer, Addresses::default(), boot_id);
        assert_eq!(note("old", 1), None, "nothing was known");
        assert_eq!(note("old", 1), None);
        assert_eq!(note("new", 2), Some("old".to_owned()));
        assert_eq!(note("new", 2), None);
        assert_eq!(book.peer(3), Some("new".to_owned()));
        assert_eq!(book.seen(3).map(|seen| seen.boot_id), Some(2));
    }

    /// Metrics with these members, by id and peer address.
    fn metrics_of(members: &[(u64, &str)]) -> RaftMetrics {
        let nodes: BTreeMap<u64, Member> = members
            .iter()
            .map(|(id, peer)| {
                let addresses = Addresses { peer: (*peer).to_owned(), ..Addresses::default() };
                (*id, Member { name: format!("n{id}"), addresses })
            })
            .collect();
        let voters = nodes.keys().copied().collect();
        let membership = Membership::new(vec![voters], nodes).expect("every voter is a member");
        let mut metrics = RaftMetrics::new_initial(1);
        metrics.membership_config = Arc::new(StoredMembership::new(None, membership));
        metrics
    }

    #[test]
    fn node_without_a_membership_remembers_all_who_answered() {
        let (_sender, receiver) = TypeConfig::watch_channel(RaftMetrics::new_initial(4));
        let book = AddressBook::default();
        book.follow(Metrics::new(receiver));
        book.note(1, "n1:7004", Addresses::default(), 1);
        book.note(3, "n3:7004", Addresses::default(), 3);
        assert_eq!(book.answered_at(), ["n1:7004", "n3:7004"]);
    }

    #[test]
    fn address_change_taken_back_is_noted_again() {
        let (sender, receiver) = TypeConfig::watch_channel(metrics_of(&[(1, "n1:7000"), (3, "n3:7002")]));
        let book = AddressBook::default();
        book.follow(Metrics::new(receiver));
        book.note(3, "n3:7002", Addresses::default(), 9);
        assert_eq!(book.peer(3).as_deref(), Some("n3:7002"));
        sender.send(metrics_of(&[(1, "n1:7000"), (3, "n3:7000")])).expect("the book reads it");
        assert_eq!(book.peer(3).as_deref(), Some("n3:7000"), "the membership says something new");
        assert_eq!(book.answered_at(), ["n3:7002"], "hellos still go there");
        book.note(3, "n3:7002", Addresses::default(), 9);
        assert_eq!(book.peer(3).as_deref(), Some("n3:7002"), "the same process answered there again");
    }
}
