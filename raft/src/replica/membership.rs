//! Changes the membership, on the leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use batuta_proto::internal as wire;
use batuta_statemachine::cluster::AllocateNode;
use batuta_statemachine::{Command, Reply, Request, cluster};
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, Instant as _, ServerState};
use tokio::sync::watch;
use tokio::time::Instant;

use super::error::{Failed, ProposeError};
use super::route::Leader;
use super::status::{heard_of, status};
use super::{Core, Inner, level};
use crate::codec::{EncodedRequests, consensus};
use crate::metrics::RaftMetrics;
use crate::types::Member;

const TRANSFER_WITHIN: Duration = Duration::from_secs(5);
/// How long a change waits for members to follow, and for an earlier change.
const CHANGE_WITHIN: Duration = Duration::from_secs(10);
const CHECK_AGAIN: Duration = Duration::from_millis(20);
/// Pause between two checks for a change that nobody finishes.
const CHECK_UNFINISHED: Duration = Duration::from_secs(1);
/// A voter that lacks more entries than this does not follow closely. A healthy voter lacks a few.
const LAG_ENTRIES_MAX: u64 = 128;
/// The level that brought the limit `members_max`.
const MEMBERS_MAX_FROM_LEVEL: u32 = 2;

fn refused(why: impl Into<String>) -> Failed {
    Failed::Final(ProposeError::Membership(why.into()))
}

fn core(inner: &Inner) -> Result<&Core, Failed> {
    inner.core().ok_or(Failed::NotLeader)
}

/// Changes the membership. A change that cannot begin yet is retried automatically.
async fn change(core: &Core, changes: &ChangeMembers<u64, Member>, retain: bool) -> Result<(), Failed> {
    let until = Instant::now() + CHANGE_WITHIN;
    loop {
        let error = match core.raft.change_membership(changes.clone(), retain).await {
            Ok(_) => return Ok(()),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => return Err(Failed::NotLeader),
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => error,
            Err(RaftError::APIError(_)) => return Err(Failed::Unknown),
            Err(RaftError::Fatal(fatal)) => {
                return Err(Failed::Final(ProposeError::Fatal(fatal.to_string())));
            }
        };
        match error {
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_)
                if Instant::now() < until =>
            {
                tokio::time::sleep(CHECK_AGAIN).await;
            }
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_) => {
                return Err(refused(format!(
                    "an earlier membership change is not finished after {CHANGE_WITHIN:?}: a majority must \
                     follow the leader first. See which members are down: batuta cluster members"
                )));
            }
            ChangeMembershipError::EmptyMembership(_) => {
                return Err(refused("the last voter cannot be removed: the cluster would be gone"));
            }
            ChangeMembershipError::LearnerNotFound(missing) => {
                return Err(Failed::Final(ProposeError::NotAMember { node_id: missing.node_id }));
            }
            error @ (ChangeMembershipError::UnsupportedMembershipTransition(_)
            | ChangeMembershipError::NodeMetadataChanged(_)) => {
                tracing::error!(%error, "consensus does not know this membership change");
                return Err(refused("the membership has changed meanwhile; check it and try again"));
            }
        }
    }
}

/// Whether this leader may count on a voter: the voter answers, and has nearly all of the log.
pub(super) fn follows(inner: &Inner, metrics: &RaftMetrics, node_id: u64) -> bool {
    let contact = metrics.heartbeat.as_ref().and_then(|seen| seen.get(&node_id).copied().flatten());
    let matched = metrics.replication.as_ref().and_then(|matched| matched.get(&node_id).copied().flatten());
    let lag = metrics.last_log_index.unwrap_or_default().saturating_sub(matched.map_or(0, |id| id.index));
    let answers = contact.is_some_and(|at| at.elapsed() <= inner.options.election_timeout_max());
    node_id == metrics.id || (answers && lag <= LAG_ENTRIES_MAX)
}

/// Waits until a majority of `next` follows this leader closely. A change that depends on members that are
/// still coming back would stop every write until they are there.
async fn majority_follows(inner: &Inner, core: &Core, next: &BTreeSet<u64>) -> Result<(), Failed> {
    let until = Instant::now() + CHANGE_WITHIN;
    loop {
        if !matches!(core.leader(), Leader::Me) {
            return Err(Failed::NotLeader);
        }
        let behind: BTreeSet<u64> = core
            .metrics
            .look(|metrics| next.iter().copied().filter(|id| !follows(inner, metrics, *id)).collect());
        if 2 * (next.len() - behind.len()) > next.len() {
            return Ok(());
        }
        if Instant::now() >= until {
            let members = members(core).0;
            let names: Vec<&str> =
                behind.iter().filter_map(|id| members.get(id)).map(|member| member.name.as_str()).collect();
            return Err(refused(format!(
                "of the members that would vote, {} did not follow the leader closely within {CHANGE_WITHIN:?}; nothing was \
                 changed. Bring them back first, or remove those that are gone",
                names.join(", ")
            )));
        }
        tokio::time::sleep(CHECK_AGAIN).await;
    }
}

/// The members and the voters among them, according to the leader's log.
fn members(core: &Core) -> (BTreeMap<u64, Member>, BTreeSet<u64>) {
    let config = core.metrics.look(|metrics| metrics.membership_config.clone());
    let members = config.nodes().map(|(id, member)| (*id, member.clone())).collect();
    (members, config.voter_ids().collect())
}

/// While this node leads, finishes changes that their caller or leader left half done, until the node stops.
/// Until a change is finished, every commit and election also needs a majority of the old voters: a member
/// that was replaced because it is permanently gone would count for ever.
pub(super) fn finish_changes(inner: &Arc<Inner>, core: &Core, mut leads: watch::Receiver<Option<u64>>) {
    let (stop, tasks, me) = (inner.stop.clone(), inner.tasks.clone(), core.identity.node_id);
    let inner = Arc::clone(inner);
    tasks.spawn(stop.run_until_cancelled_owned(async move {
        loop {
            let leader = *leads.borrow_and_update() == Some(me);
            if leader && let Some(core) = inner.core() {
                finish_change(core).await;
            }
            tokio::select! {
                // Without a sender consensus has ended.
                changed = leads.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(CHECK_UNFINISHED), if leader => {}
            }
        }
    }));
}

async fn finish_change(core: &Core) {
    // The holder of this lock finishes its own change.
    let _one_at_a_time = core.changing_members.lock().await;
    let configs =
        core.metrics.look(|metrics| metrics.membership_config.membership().get_joint_config().clone());
    let [_, .., next] = configs.as_slice() else { return };
    tracing::info!(voters = ?next, "finishing a membership change that was left half done");
    if let Err(error) = change(core, &ChangeMembers::ReplaceAllVoters(next.clone()), false).await {
        tracing::debug!(?error, "the membership change is not finished yet");
    }
}

/// Removes a member. A leader hands leadership over first, and the next leader then removes it, so that
/// nobody waits for an election.
pub(crate) async fn remove(inner: &Arc<Inner>, node_id: u64) -> Result<(), Failed> {
    let core = core(inner)?;
    let _one_at_a_time = core.changing_members.lock().await;
    let (members, mut voters) = members(core);
    if !members.contains_key(&node_id) {
        return Err(Failed::Final(ProposeError::NotAMember { node_id }));
    }
    if !voters.remove(&node_id) {
        return change(core, &ChangeMembers::RemoveNodes([node_id].into()), false).await;
    }
    if voters.is_empty() {
        return Err(refused("the last voter cannot be removed: the cluster would be gone"));
    }
    majority_follows(inner, core, &voters).await?;
    if node_id == core.identity.node_id {
        hand_over(core, &voters).await?;
        return Err(Failed::NotLeader);
    }
    change(core, &ChangeMembers::RemoveVoters([node_id].into()), false).await
}

pub(crate) async fn promote(inner: &Arc<Inner>, node_id: u64) -> Result<(), Failed> {
    let core = core(inner)?;
    let _one_at_a_time = core.changing_members.lock().await;
    let (members, mut voters) = members(core);
    if !members.contains_key(&node_id) {
        return Err(Failed::Final(ProposeError::NotAMember { node_id }));
    }
    if !voters.insert(node_id) {
        return Ok(());
    }
    majority_follows(inner, core, &voters).await?;
    change(core, &ChangeMembers::AddVoterIds([node_id].into()), false).await
}

pub(crate) async fn transfer(inner: &Arc<Inner>, to: Option<u64>) -> Result<u64, Failed> {
    let core = core(inner)?;
    let me = core.identity.node_id;
    let (members, voters) = members(core);
    let to = match to {
        Some(to) if !members.contains_key(&to) => {
            return Err(Failed::Final(ProposeError::NotAMember { node_id: to }));
        }
        Some(to) if !voters.contains(&to) => return Err(refused("a learner cannot lead; promote it first")),
        Some(to) => to,
        None => return hand_over(core, &voters).await,
    };
    if to == me {
        return Ok(me);
    }
    transfer_to(core, to).await
}

/// Hands leadership to the voter among these with the longest log. Returns the new leader.
async fn hand_over(core: &Core, voters: &BTreeSet<u64>) -> Result<u64, Failed> {
    let to = most_complete(core, voters);
    transfer_to(core, to.ok_or_else(|| refused("there is no other voter to hand leadership to"))?).await
}

async fn transfer_to(core: &Core, to: u64) -> Result<u64, Failed> {
    let me = core.identity.node_id;
    let transfer = core.raft.trigger().transfer_leader(to).await;
    transfer.map_err(|fatal| Failed::Final(ProposeError::Fatal(fatal.to_string())))?;
    let moved = core.metrics.wait_for(|metrics| metrics.current_leader.filter(|leader| *leader != me));
    match tokio::time::timeout(TRANSFER_WITHIN, moved).await {
        Ok(Ok(leader)) => Ok(leader),
        Ok(Err(_)) => Err(Failed::Final(ProposeError::ShuttingDown)),
        Err(_) => Err(refused(format!("member {to} did not take over within {TRANSFER_WITHIN:?}"))),
    }
}

/// The other voter with the longest log.
fn most_complete(core: &Core, voters: &BTreeSet<u64>) -> Option<u64> {
    let replication = core.metrics.look(|metrics| metrics.replication.clone())?;
    replication
        .into_iter()
        .filter(|(id, matched)| voters.contains(id) && *id != core.identity.node_id && matched.is_some())
        .max_by_key(|(_, matched)| *matched)
        .map(|(id, _)| id)
}

/// Makes a node a member, in two steps that it may repeat: it gets an id; once it runs under that id, it
/// receives the log as a learner and then gets a vote. A dead member of the same name is removed in the same
/// change.
pub(crate) async fn admit(
    inner: &Arc<Inner>,
    request: wire::JoinRequest,
) -> Result<wire::JoinResponse, Failed> {
    let core = core(inner)?;
    match core.leader() {
        Leader::Me => {}
        Leader::Unknown => return Ok(wire::JoinResponse::default()),
        Leader::Other { peer, .. } => {
            return Ok(wire::JoinResponse { leader_peer: peer, ..Default::default() });
        }
    }
    let cluster_id = core.identity.cluster_id.clone();
    has_applied_all(inner, core).await?;
    if let Err(too_new) = inner.check_level_of(request.level, &request.version) {
        return Ok(level::refuse_to_join(cluster_id, &too_new));
    }
    if request.node_id == 0 {
        let node_id = allocate(inner, core, &request.name).await?;
        return Ok(wire::JoinResponse { cluster_id, node_id, ..Default::default() });
    }
    if request.cluster_id != cluster_id {
        return Err(refused(format!(
            "the node's data belong to cluster {}, but this is cluster {cluster_id}",
            request.cluster_id
        )));
    }
    let member =
        Member { name: request.name.clone(), addresses: consensus::addresses(request.addresses.clone()) };
    let _one_at_a_time = core.changing_members.lock().await;
    // The level may have risen while this waited for its turn.
    if let Err(too_new) = inner.check_level_of(request.level, &request.version) {
        return Ok(level::refuse_to_join(cluster_id, &too_new));
    }
    let (members, voters) = members(core);
    match members.get(&request.node_id) {
        None if request.was_member => {
            return Err(refused(format!(
                "node {} was removed from the cluster; move its data directory away to join as a new member",
                request.node_id
            )));
        }
        None => {
            check_room(inner, &members, &member)?;
            let learner = [(request.node_id, member.clone())].into();
            change(core, &ChangeMembers::AddNodes(learner), false).await?;
            caught_up(core, request.node_id).await?;
        }
        Some(known) if *known != member => {
            let update = ChangeMembers::SetNodes([(request.node_id, member.clone())].into());
            // If this change finishes an earlier one on the way, it keeps no voter that the earlier one
            // removed.
            change(core, &update, false).await?;
        }
        Some(_) => {}
    }
    if !voters.contains(&request.node_id) {
        let replaced: BTreeSet<u64> = members
            .iter()
            .filter(|(id, known)| **id != request.node_id && known.name == member.name && voters.contains(id))
            .map(|(id, _)| *id)
            .collect();
        let mut next: BTreeSet<u64> = voters.difference(&replaced).copied().collect();
        next.insert(request.node_id);
        majority_follows(inner, core, &next).await?;
        change(core, &ChangeMembers::ReplaceAllVoters(next), false).await?;
    }
    Ok(wire::JoinResponse { cluster_id, node_id: request.node_id, ..Default::default() })
}

/// Refuses a member beyond `members_max`; one that takes another's name takes its place, too.
fn check_room(inner: &Inner, members: &BTreeMap<u64, Member>, new: &Member) -> Result<(), Failed> {
    let view = inner.published.view();
    let max = view.limits().cluster.members_max;
    let others = members.values().filter(|member| member.name != new.name).count();
    // A cluster of a lower level cannot set the limit yet.
    if (others as u64) < max || view.level() < MEMBERS_MAX_FROM_LEVEL {
        return Ok(());
    }
    Err(refused(format!(
        "the cluster has {others} members, and members_max is {max}: remove one, or raise the limit (batuta cluster limits set)"
    )))
}

/// Waits until this leader has applied everything that was committed before, by itself or by an earlier leader.
async fn has_applied_all(inner: &Inner, core: &Core) -> Result<(), Failed> {
    let index = core.leader_reads.index().await?;
    let mut applied = inner.published.applied();
    let reached = applied.wait_for(|applied| *applied >= index).await;
    reached.map(drop).map_err(|_| Failed::Final(ProposeError::ShuttingDown))
}

/// Waits until a new learner has nearly all of the log, however long sending it takes.
async fn caught_up(core: &Core, node_id: u64) -> Result<(), Failed> {
    let caught_up = core.metrics.wait_for(|metrics| {
        if metrics.state != ServerState::Leader {
            return Some(Err(Failed::NotLeader));
        }
        let matched = metrics.replication.as_ref()?.get(&node_id).copied().flatten()?;
        let lag = metrics.last_log_index.unwrap_or_default().saturating_sub(matched.index);
        (lag <= LAG_ENTRIES_MAX).then_some(Ok(()))
    });
    caught_up.await.unwrap_or(Err(Failed::Final(ProposeError::ShuttingDown)))
}

async fn allocate(inner: &Arc<Inner>, core: &Core, name: &str) -> Result<u64, Failed> {
    let now = status(inner);
    let alive_within = 2 * inner.options.election_timeout_max();
    let alive = |node_id| node_id == core.identity.node_id || heard_of(&now, node_id, alive_within);
    if let Some(other) = now.members.iter().find(|member| member.name == name && alive(member.node_id)) {
        return Err(refused(format!(
            "a member named {name} (id {}) is alive; names are unique. If that node was just stopped, joining is retried",
            other.node_id
        )));
    }
    let command = Command::from(AllocateNode { node_name: name.to_owned() });
    let applied = core.proposer.propose(EncodedRequests::new(vec![Request::new(None, command)])).await?;
    match applied.outcomes.into_iter().next() {
        Some(Ok(Reply::Cluster(cluster::Reply::NodeAllocated(cluster::NodeAllocated { node_id })))) => {
            Ok(node_id)
        }
        Some(Err(rejection)) => Err(refused(rejection.to_string())),
        other => Err(refused(format!("no id was given: {other:?}"))),
    }
}
