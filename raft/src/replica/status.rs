//! A node's status, and the status of the cluster as the node sees it.

use std::time::Duration;

use openraft::{Instant as _, ServerState};

use super::{Inner, Replica, route};
use crate::level::{Told, own_version};
use crate::types::Addresses;

/// The role of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Accepts writes.
    Leader,
    /// Votes and follows.
    Follower,
    /// Stands for election.
    Candidate,
    /// Follows without a vote.
    Learner,
}

/// A member as this node sees it.
#[derive(Debug, Clone)]
pub struct MemberStatus {
    /// The member's id.
    pub node_id: u64,
    /// The member's stable name.
    pub name: String,
    /// The member's addresses.
    pub addresses: Addresses,
    /// Whether the member votes.
    pub voter: bool,
    /// The member's role; for other members, only whether they lead and vote is known.
    pub role: Role,
    /// The last entry known to be on the member's disk; only the leader knows.
    pub matched_index: Option<u64>,
    /// Time since its last answer, milliseconds; only the leader knows.
    pub last_contact_ms: Option<u64>,
    /// The level that its newest process has told to this node; `None` when it has told none since this node started.
    pub level: Option<u32>,
    /// The version of Batuta that this process runs, as it says.
    pub version: Option<String>,
    /// The fault this node found in the member's log: it lost acknowledged entries, or has applied other
    /// entries. Such a member is no longer counted.
    pub fault: Option<String>,
}

/// A node's status, and the cluster's as the node sees it.
#[derive(Debug, Clone)]
pub struct Status {
    /// The cluster's id, once this node is a member.
    pub cluster_id: Option<String>,
    /// This node's id, once it is a member.
    pub node_id: Option<u64>,
    /// This node's name.
    pub node_name: String,
    /// This node's role.
    pub role: Role,
    /// The Raft term.
    pub term: u64,
    /// The leader, as far as this node knows.
    pub leader_id: Option<u64>,
    /// Last entry of this node's log.
    pub last_log_index: u64,
    /// Last entry known to be committed.
    pub committed_index: u64,
    /// Last entry applied here.
    pub applied_index: u64,
    /// Last entry in this node's snapshot.
    pub snapshot_index: u64,
    /// Last entry no longer in this node's log.
    pub purged_index: u64,
    /// Time since a majority last confirmed this leader, milliseconds; only the leader knows.
    pub quorum_ack_ms: Option<u64>,
    /// The level of the cluster: every member knows the commands up to it.
    pub level: u32,
    /// Whether this node's disk is nearly full.
    pub disk_full: bool,
    /// Why writes that add to the state are refused now; `None` when they are accepted. The node is ready all
    /// the same.
    pub writes_refused: Option<String>,
    /// Why this node should get no traffic; `None` when it is ready.
    pub not_ready: Option<String>,
    /// The members, by id.
    pub members: Vec<MemberStatus>,
}

impl Replica {
    /// What this node knows right now; never waits.
    #[must_use]
    pub fn status(&self) -> Status {
        status(&self.inner)
    }

    /// The newest term this node knows of, already on its disk; `None` while it is not a member.
    #[must_use]
    pub fn term(&self) -> Option<u64> {
        let core = self.inner.core()?;
        Some(core.metrics.look(|metrics| metrics.current_term))
    }

    /// The term in which this node leads, if it leads.
    #[must_use]
    pub fn leads(&self) -> Option<u64> {
        let core = self.inner.core()?;
        core.metrics.look(|metrics| (metrics.state == ServerState::Leader).then_some(metrics.current_term))
    }
}

pub(super) fn status(inner: &Inner) -> Status {
    let mut status = Status {
        cluster_id: None,
        node_id: None,
        node_name: inner.options.node_name.clone(),
        role: Role::Learner,
        term: 0,
        leader_id: None,
        last_log_index: 0,
        committed_index: 0,
        applied_index: *inner.published.applied().borrow(),
        snapshot_index: 0,
        purged_index: 0,
        quorum_ack_ms: None,
        level: inner.published.view().level(),
        disk_full: inner.disk.low().is_some(),
        writes_refused: None,
        not_ready: Some("this node is not a member of a cluster yet".to_owned()),
        members: Vec::new(),
    };
    let Some(core) = inner.core() else {
        status.not_ready = status.not_ready.map(|reason| with(reason, &inner.standing.waits_for()));
        return status;
    };
    let metrics = core.metrics.look(Clone::clone);
    status.cluster_id = Some(core.identity.cluster_id.clone());
    status.node_id = Some(core.identity.node_id);
    status.role = match metrics.state {
        ServerState::Leader => Role::Leader,
        ServerState::Candidate => Role::Candidate,
        ServerState::Learner => Role::Learner,
        ServerState::Follower | ServerState::Shutdown => Role::Follower,
    };
    status.term = metrics.current_term;
    status.leader_id = metrics.current_leader;
    status.last_log_index = metrics.last_log_index.unwrap_or_default();
    let committed = metrics.cluster_committed.max(metrics.local_committed);
    status.committed_index = committed.map_or(0, |id| id.index).max(status.applied_index);
    status.snapshot_index = metrics.snapshot.map_or(0, |id| id.index);
    status.purged_index = metrics.purged.map_or(0, |id| id.index);
    status.quorum_ack_ms = metrics.last_quorum_acked.map(|at| route::millis(at.elapsed()));
    let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
    // Under another leader, a fault this node once found may have been repaired.
    let judges = metrics.current_leader.is_none_or(|leader| leader == core.identity.node_id);
    for (node_id, member) in metrics.membership_config.nodes() {
        let voter = voters.contains(node_id);
        let matched =
            metrics.replication.as_ref().and_then(|matched| matched.get(node_id).copied().flatten());
        let contact = metrics.heartbeat.as_ref().and_then(|seen| seen.get(node_id).copied().flatten());
        let told = told(inner, core.identity.node_id, *node_id);
        status.members.push(MemberStatus {
            node_id: *node_id,
            name: member.name.clone(),
            addresses: member.addresses.clone(),
            voter,
            role: role_of(metrics.current_leader == Some(*node_id), voter),
            matched_index: matched.map(|id| id.index),
            last_contact_ms: contact.map(|at| route::millis(at.elapsed())),
            level: told.as_ref().map(|told| told.level),
            version: told.map(|told| told.version).filter(|version| !version.is_empty()),
            fault: if judges { core.integrity.fault(*node_id) } else { None },
        });
    }
    let heard = &inner.leader_heard;
    // A follower knows how far the leader has committed only once it has processed the leader's message.
    let silence = if status.role == Role::Leader { heard.silence(&metrics) } else { heard.answered() };
    status.writes_refused = writes_refused(&status, inner);
    status.not_ready = not_ready(&status, &voters, silence, inner);
    status
}

/// What another node can know of a member's role.
fn role_of(leads: bool, voter: bool) -> Role {
    match (leads, voter) {
        (true, _) => Role::Leader,
        (false, true) => Role::Follower,
        (false, false) => Role::Learner,
    }
}

/// What a member has told of its level, or this node knows of its own.
fn told(inner: &Inner, me: u64, node_id: u64) -> Option<Told> {
    if node_id != me {
        return inner.levels.told(node_id);
    }
    let level = inner.levels.own();
    Some(Told { boot_id: inner.boot_id, level, version: own_version(level).to_owned() })
}

/// The leader decides what is refused, so every other node reports what it knows of the leader's disk.
fn writes_refused(status: &Status, inner: &Inner) -> Option<String> {
    if status.role == Role::Leader {
        return inner.disk.low().filter(|_| !inner.disk.hands_over()).map(|low| low.to_string());
    }
    let leader = status.members.iter().find(|member| Some(member.node_id) == status.leader_id)?;
    inner.disk.leader_low().then(|| {
        let name = &leader.name;
        format!(
            "the disk of the leader, {name}, is nearly full, and no other voter has room; free space there"
        )
    })
}

fn not_ready(status: &Status, voters: &[u64], silence: Option<Duration>, inner: &Inner) -> Option<String> {
    let voter = status.node_id.is_some_and(|own| voters.contains(&own));
    if let Some(removed) = inner.standing.removed() {
        Some(removed.to_string())
    } else if status.members.is_empty() {
        Some(with("the cluster is being formed".to_owned(), &inner.standing.waits_for()))
    } else if !voter {
        Some(with("this node does not vote (yet)".to_owned(), &inner.standing.waits_for()))
    } else if inner.core().is_some_and(|core| !core.integrity.may_vote()) {
        Some(
            "this node is asking the others what it had acknowledged, and does not vote until they answer"
                .to_owned(),
        )
    } else if status.leader_id.is_none() {
        Some(with("no leader is known".to_owned(), &inner.standing.unreached()))
    } else if silence.is_none() {
        Some("no message from a leader since this node started".to_owned())
    } else if silence.is_some_and(|silence| silence > 2 * inner.options.election_timeout_max()) {
        let reason = format!("no message from a majority for {} ms", silence.map_or(0, route::millis));
        Some(with(reason, &inner.standing.unreached()))
    } else if inner.standstill.is_on(inner.options.election_timeout_max()) {
        Some("this node stood still; it is asking the leader how far the cluster is".to_owned())
    } else if inner.published.view().cluster_id().is_none() {
        Some("the cluster has no name yet".to_owned())
    } else {
        None
    }
}

/// A reason together with its known cause.
fn with(reason: String, cause: &str) -> String {
    if cause.is_empty() { reason } else { format!("{reason}: {cause}") }
}

/// Whether the leader has recently heard from a member.
pub(super) fn heard_of(status: &Status, node_id: u64, within: Duration) -> bool {
    status.members.iter().any(|member| {
        member.node_id == node_id
            && member.last_contact_ms.is_some_and(|age_ms| age_ms <= route::millis(within))
    })
}
