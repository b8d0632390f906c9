//! Checks every node after every step: all nodes must have applied the same entries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use batuta_raft::RevisionChanges;

use crate::context::{Context, Violation, violation};
use crate::node;

/// The changes of a revision, and when they were first seen on any node.
pub(crate) struct Entry {
    pub(crate) changes: Arc<RevisionChanges>,
    pub(crate) seen_ms: u64,
}

#[derive(Default)]
pub(crate) struct Observer {
    /// Everything that was ever applied on any node, by revision.
    pub(crate) history: BTreeMap<u64, Entry>,
    /// For each revision, the hash of the state and the node that had it first.
    hashes: BTreeMap<u64, (u64, usize)>,
    /// The leader of each term.
    leaders: BTreeMap<u64, usize>,
    /// The last revision seen on each node since its process started.
    seen: BTreeMap<usize, u64>,
    /// The newest term that each node has known, across restarts of its process.
    known_terms: BTreeMap<usize, u64>,
    /// Nodes that have voted in a new term since the last call of [`Self::take_voted`].
    voted: Vec<usize>,
    /// Nodes that may differ from the others until they end.
    astray: BTreeSet<usize>,
    pub(crate) compared: u64,
}

impl Observer {
    /// Notes that the node's process has ended, so that the next process is observed from its start.
    pub(crate) fn forget(&mut self, node: usize) {
        self.seen.remove(&node);
    }

    /// Notes that the node lost its disks, and everything it knew.
    pub(crate) fn forget_disks(&mut self, node: usize) {
        self.known_terms.remove(&node);
    }

    /// Notes that a majority lost everything after this revision, so that the cluster continues with another history.
    pub(crate) fn lose_after(&mut self, revision: u64) {
        self.history.retain(|known, _| *known <= revision);
        self.hashes.retain(|known, _| *known <= revision);
    }

    /// Sets whether a node with another history is exempt from the checks.
    pub(crate) fn exempt(&mut self, node: usize, astray: bool) {
        if astray {
            self.astray.insert(node);
        } else {
            self.astray.remove(&node);
        }
    }

    /// Takes the nodes that entered a new term since the last call: each has just written a vote.
    pub(crate) fn take_voted(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.voted)
    }

    pub(crate) fn terms(&self) -> usize {
        self.leaders.len()
    }

    /// Checks one node.
    pub(crate) fn check(&mut self, context: &Context, node: usize) -> Result<(), Violation> {
        let Some(running) = context.nodes[node].running() else {
            self.forget(node);
            return Ok(());
        };
        if self.astray.contains(&node) {
            return Ok(());
        }
        let (replica, known_level) = (running.replica, running.level);
        let level = replica.view().level();
        if level > known_level {
            let what = format!("{} knows level {known_level} and applied level {level}", node::name(node));
            return Err(violation("a node applies no level that it does not know", what));
        }
        // A process that has not read its disk yet reports term 0.
        if let Some(term) = replica.term().filter(|term| *term > 0) {
            let known = self.known_terms.insert(node, term).unwrap_or_default();
            if term < known {
                let what = format!("{} knew term {known} and is in term {term}", node::name(node));
                return Err(violation("a vote is kept", what));
            }
            if term > known {
                self.voted.push(node);
            }
        }
        if let Some(term) = replica.leads() {
            let first = *self.leaders.entry(term).or_insert_with(|| {
                context.say(format_args!("{} leads term {term}", node::name(node)));
                node
            });
            if first != node {
                let what = format!("{} and {} lead term {term}", node::name(first), node::name(node));
                return Err(violation("one leader per term", what));
            }
        }
        let history = replica.history();
        let before = self.seen.get(&node).copied().unwrap_or_default();
        if history.revision() == before {
            return Ok(());
        }
        if history.revision() < before {
            let what = format!("{} went from {before} to {}", node::name(node), history.revision());
            return Err(violation("what is applied stays applied", what));
        }
        self.seen.insert(node, history.revision());
        for entry in history.after(before.max(history.floor())).unwrap_or_default() {
            self.compare(context, node, entry)?;
        }
        let state = replica.view();
        let hash = state.hash();
        context.say(format_args!("{} applied {} {hash:016x}", node::name(node), state.revision()));
        let (known, first) = *self.hashes.entry(state.revision()).or_insert((hash, node));
        if first != node {
            self.compared += 1;
        } else if let Err(broken) = state.validate() {
            let what = format!("{} at revision {}: {broken}", node::name(node), state.revision());
            return Err(violation("the state is sound", what));
        }
        if known != hash {
            let what = format!(
                "{} has {hash:016x} at revision {}, {} had {known:016x}",
                node::name(node),
                state.revision(),
                node::name(first)
            );
            return Err(violation("the same revision is the same state everywhere", what));
        }
        Ok(())
    }

    fn compare(
        &mut self,
        context: &Context,
        node: usize,
        changes: Arc<RevisionChanges>,
    ) -> Result<(), Violation> {
        let revision = changes.revision;
        match self.history.get(&revision) {
            Some(known) if *known.changes == *changes => Ok(()),
            Some(known) => {
                let what = format!(
                    "revision {revision} on {}: {changes:?}; elsewhere: {:?}",
                    node::name(node),
                    known.changes
                );
                Err(violation("committed entries agree", what))
            }
            None => {
                self.history.insert(revision, Entry { changes, seen_ms: context.now_ms() });
                Ok(())
            }
        }
    }
}
