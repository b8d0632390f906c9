//! Changing who is a member, on the leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use batuta_proto::internal as wire;
use batuta_statemachine::cluster::AllocateNode;
use batuta_statemachine::{Command, Reply, Request};
use openraft::ChangeMembers;
use openraft::errors::{ClientWriteError, RaftError};

use super::error::{Failed, ProposeError};
use super::route::Leader;
use super::status::{heard_of, status};
use super::{Core, Inner};
use crate::codec::consensus;
use crate::types::{Member, TypeConfig};

const TRANSFER_WITHIN: Duration = Duration::from_secs(5);

fn refused(why: impl Into<String>) -> Failed {
    Failed::Final(ProposeError::Membership(why.into()))
}

fn core(inner: &Inner) -> Result<&Core, Failed> {
    inner.core().ok_or(Failed::NotLeader)
}

fn changed<T>(result: Result<T, RaftError<TypeConfig, ClientWriteError<TypeConfig>>>) -> Result<(), Failed> {
    match result {
        Ok(_) => Ok(()),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Err(Failed::NotLeader),
        Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
            Err(refused(error.to_string()))
        }
        Err(RaftError::APIError(_)) => Err(Failed::Unknown),
        Err(RaftError::Fatal(fatal)) => Err(Failed::Final(ProposeError::Fatal(fatal.to_string()))),
    }
}

/// The members and the voters among them, as the leader's log has them.
fn members(core: &Core) -> (BTreeMap<u64, Member>, BTreeSet<u64>) {
    let config = core.metrics.look(|metrics| metrics.membership_config.clone());
    let members = config.nodes().map(|(id, member)| (*id, member.clone())).collect();
    (members, config.voter_ids().collect())
}

pub(crate) async fn remove(inner: &Arc<Inner>, node_id: u64) -> Result<(), Failed> {
    let core = core(inner)?;
    let _one_at_a_time = core.changing_members.lock().await;
    let (members, voters) = members(core);
    if !members.contains_key(&node_id) {
        return Err(Failed::Final(ProposeError::NotAMember { node_id }));
    }
    if !voters.contains(&node_id) {
        return changed(
            core.raft.change_membership(ChangeMembers::RemoveNodes([node_id].into()), false).await,
        );
    }
    if voters.len() == 1 {
        return Err(refused("the last voter can not be removed: the cluster would be gone"));
    }
    changed(core.raft.change_membership(ChangeMembers::RemoveVoters([node_id].into()), false).await)
}

pub(crate) async fn promote(inner: &Arc<Inner>, node_id: u64) -> Result<(), Failed> {
    let core = core(inner)?;
    let _one_at_a_time = core.changing_members.lock().await;
    let (members, voters) = members(core);
    if !members.contains_key(&node_id) {
        return Err(Failed::Final(ProposeError::NotAMember { node_id }));
    }
    if voters.contains(&node_id) {
        return Ok(());
    }
    changed(core.raft.change_membership(ChangeMembers::AddVoterIds([node_id].into()), false).await)
}

pub(crate) async fn transfer(inner: &Arc<Inner>, to: Option<u64>) -> Result<u64, Failed> {
    let core = core(inner)?;
    let me = core.identity.node_id;
    let (members, voters) = members(core);
    let to = match to {
        Some(to) if !members.contains_key(&to) => {
            return Err(Failed::Final(ProposeError::NotAMember { node_id: to }));
        }
        Some(to) if !voters.contains(&to) => return Err(refused("a learner can not lead; promote it first")),
        Some(to) => to,
        None => most_complete(core, &voters)
            .ok_or_else(|| refused("there is no other voter to hand leadership to"))?,
    };
    if to == me {
        return Ok(me);
    }
    let transfer = core.raft.trigger().transfer_leader(to).await;
    transfer.map_err(|fatal| Failed::Final(ProposeError::Fatal(fatal.to_string())))?;
    let moved = core.metrics.wait_for(|metrics| metrics.current_leader.filter(|leader| *leader != me));
    match tokio::time::timeout(TRANSFER_WITHIN, moved).await {
        Ok(Ok(leader)) => Ok(leader),
        Ok(Err(_)) => Err(Failed::Final(ProposeError::ShuttingDown)),
        Err(_) => Err(refused(format!("member {to} did not take over within {TRANSFER_WITHIN:?}"))),
    }
}

/// The other voter whose log reaches furthest.
fn most_complete(core: &Core, voters: &BTreeSet<u64>) -> Option<u64> {
    let replication = core.metrics.look(|metrics| metrics.replication.clone())?;
    replication
        .into_iter()
        .filter(|(id, matched)| voters.contains(id) && *id != core.identity.node_id && matched.is_some())
        .max_by_key(|(_, matched)| *matched)
        .map(|(id, _)| id)
}

/// Makes a node a member, in two steps it may take again and again: it gets an id; once it runs under that id, it is
/// fed the log as a learner and then given a vote. A dead member of the same name goes in the same change.
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
    if request.node_id == 0 {
        let node_id = allocate(inner, core, &request.name).await?;
        return Ok(wire::JoinResponse { cluster_id, node_id, ..Default::default() });
    }
    if request.cluster_id != cluster_id {
        return Err(refused(format!(
            "the node's data belong to cluster {}, this is {cluster_id}",
            request.cluster_id
        )));
    }
    let member =
        Member { name: request.name.clone(), addresses: consensus::addresses(request.addresses.clone()) };
    let _one_at_a_time = core.changing_members.lock().await;
    let (members, voters) = members(core);
    match members.get(&request.node_id) {
        None if request.was_member => {
            return Err(refused(format!(
                "node {} was removed from the cluster; move its data directory away to join as a new member",
                request.node_id
            )));
        }
        None => changed(core.raft.add_learner(request.node_id, member.clone(), true).await)?,
        Some(known) if *known != member => {
            let update = ChangeMembers::SetNodes([(request.node_id, member.clone())].into());
            changed(core.raft.change_membership(update, true).await)?;
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
        changed(core.raft.change_membership(next, false).await)?;
    }
    Ok(wire::JoinResponse { cluster_id, node_id: request.node_id, ..Default::default() })
}

async fn allocate(inner: &Arc<Inner>, core: &Core, name: &str) -> Result<u64, Failed> {
    let now = status(inner);
    let alive_within = 2 * inner.options.election_timeout_max();
    let alive = |node_id| node_id == core.identity.node_id || heard_of(&now, node_id, alive_within);
    if let Some(other) = now.members.iter().find(|member| member.name == name && alive(member.node_id)) {
        return Err(refused(format!(
            "a member named {name} (id {}) is alive; names are unique. If it was just stopped, this is tried again",
            other.node_id
        )));
    }
    let command = Command::AllocateNode(AllocateNode { node_name: name.to_owned() });
    let applied = core.proposer.propose(vec![Request::new(None, command)]).await?;
    match applied.outcomes.into_iter().next() {
        Some(Ok(Reply::NodeAllocated { node_id })) => Ok(node_id),
        Some(Err(rejection)) => Err(refused(rejection.to_string())),
        other => Err(refused(format!("no id was given: {other:?}"))),
    }
}
