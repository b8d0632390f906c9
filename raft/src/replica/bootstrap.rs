//! Finds the cluster of a starting node, or creates one together with its peers.
//!
//! Only the first node of `cluster.peers`, by name, ever creates a cluster, and only when `bootstrap_expect` of the peers answer and
//! none of them belongs to a cluster; so there are never two clusters. Every other node is adopted by the first, or joins its cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use batuta_proto::internal as wire;
use futures_util::future::join_all;
use openraft::errors::{InitializeError, RaftError};
use tokio::time::Instant;
use tonic::Status;

use super::start::become_member;
use super::{Core, Identity, Inner, Origin};
use crate::codec::consensus;
use crate::level::own_version;
use crate::peer;
use crate::types::{Addresses, Member, StoredMembership};

const TRY_AGAIN: Duration = Duration::from_millis(250);
const TRY_AGAIN_LATER: Duration = Duration::from_secs(1);
/// The reason why a node is not a member yet is logged after this long. Nodes that are started together find each other sooner.
const SAY_AFTER: Duration = Duration::from_secs(2);
/// At most one reason is logged in this time: reasons may alternate.
const SAY_EVERY: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How long a request to join may take: a node that is far behind receives the whole state before it gets its vote.
const JOIN_WITHIN: Duration = Duration::from_mins(10);

enum Step {
    /// The node is a voter under its present addresses.
    Settled,
    Again(Duration),
    /// Other nodes have to start or act first; the text says which.
    WaitsFor(String),
}

/// Repeats [`step`] until this node is a voter under its present addresses. A removed node asks for nothing.
pub(super) async fn settle(inner: &Arc<Inner>) {
    let mut said = String::new();
    let mut said_at: Option<Instant> = None;
    let mut waits_since: Option<Instant> = None;
    loop {
        if inner.standing.removed().is_some() {
            return;
        }
        let (wait, why) = match step(inner).await {
            Ok(Step::Settled) => {
                inner.standing.set_waits_for("");
                return;
            }
            Ok(Step::Again(wait)) => (wait, String::new()),
            Ok(Step::WaitsFor(why)) => (TRY_AGAIN, why),
            Err(why) => (TRY_AGAIN_LATER, why),
        };
        inner.standing.set_waits_for(&why);
        if why.is_empty() {
            waits_since = None;
        } else if why != said
            && waits_since.get_or_insert_with(Instant::now).elapsed() >= SAY_AFTER
            && said_at.is_none_or(|at| at.elapsed() >= SAY_EVERY)
        {
            tracing::warn!(why, "not settled in the cluster yet; trying again");
            said = why;
            said_at = Some(Instant::now());
        }
        tokio::time::sleep(wait).await;
    }
}

async fn step(inner: &Arc<Inner>) -> Result<Step, String> {
    let Some(core) = inner.core() else { return find(inner).await };
    let (config, applied) =
        core.metrics.look(|metrics| (metrics.membership_config.clone(), metrics.last_applied));
    let me = core.identity.node_id;
    if config.nodes().next().is_none() {
        return match &core.identity.origin {
            Origin::Founder(names) => found(inner, core, names).await,
            Origin::Adopted => {
                let first = inner.options.peers.first().map_or("the founder", |(first, _)| first);
                Ok(Step::WaitsFor(format!("{first} has to finish creating the cluster; start it")))
            }
            Origin::Joined => ask_for_vote(inner, core).await,
        };
    }
    let dir = inner.dir.as_ref();
    match is_settled(&config, me, &inner.options.advertise) {
        Some(settled) => {
            // An uncommitted membership may still be taken back.
            let decided = *config.log_id() <= applied;
            if decided {
                Identity::note_admitted(dir).map_err(|error| error.to_string())?;
            }
            if settled {
                return Ok(if decided { Step::Settled } else { Step::Again(TRY_AGAIN) });
            }
        }
        // This membership is older than the node's join. The leader that was to add it may be gone with its entry: ask again.
        None if Identity::is_joining(dir).map_err(|error| error.to_string())? => {}
        // The node was removed. `hello.rs` finds out whether that is committed.
        None => return Ok(Step::Again(TRY_AGAIN_LATER)),
    }
    ask_for_vote(inner, core).await
}

/// Whether the node is a voter under its present addresses; `None` when it is not in the membership at all.
fn is_settled(config: &StoredMembership, me: u64, advertise: &Addresses) -> Option<bool> {
    let member = config.get_node(&me)?;
    Some(member.addresses == *advertise && config.voter_ids().any(|id| id == me))
}

/// The other nodes of `cluster.peers`, as (name, address).
fn others(inner: &Inner) -> impl Iterator<Item = &(String, String)> {
    inner.options.peers.iter().filter(|(name, _)| *name != inner.options.node_name)
}

/// Brings a node without an identity into a cluster: joins an existing one, or creates one.
async fn find(inner: &Arc<Inner>) -> Result<Step, String> {
    let name = &inner.options.node_name;
    let greeted_from = inner.standing.greeted_from();
    let configured = inner.options.join.iter().chain(others(inner).map(|(_, address)| address));
    let addresses: Vec<&String> = configured.chain(&greeted_from).collect();
    let asked =
        addresses.iter().map(|address| peer::identify(inner.platform.as_ref(), address, name, ANSWER_WITHIN));
    let answers = join_all(asked).await;
    let present: BTreeMap<&str, &wire::IdentifyResponse> = addresses
        .iter()
        .zip(&answers)
        .filter_map(|(address, answer)| Some((address.as_str(), answer.as_ref().ok()?)))
        .collect();
    if let Some((address, _)) = present.iter().find(|(_, answer)| answer.initialised) {
        return join(inner, address).await;
    }
    let absent: BTreeMap<&str, String> = addresses
        .iter()
        .zip(&answers)
        .filter_map(|(address, answer)| Some((address.as_str(), peer::why_not(answer.as_ref().err()?))))
        .collect();
    if inner.options.peers.is_empty() {
        return Ok(Step::WaitsFor(nobody_to_join(&present, &absent)));
    }
    let first = inner.options.peers.first().is_some_and(|(first, _)| first == name);
    let forming = present.values().any(|answer| !answer.cluster_id.is_empty());
    let missing = missing(inner, &present, &absent);
    let founders: Vec<String> = inner
        .options
        .peers
        .iter()
        .filter(|(other, _)| !missing.contains_key(other.as_str()))
        .map(|(name, _)| name.clone())
        .collect();
    let enough = founders.len() >= inner.options.bootstrap_expect;
    if !first || forming || !enough {
        let who = inner.options.peers.first().map_or("", |(first, _)| first);
        let missing: Vec<String> = missing.iter().map(|(name, why)| format!("{name} {why}")).collect();
        return Ok(if missing.is_empty() || forming {
            Step::Again(TRY_AGAIN)
        } else {
            Step::WaitsFor(format!(
                "{who} creates the cluster when {} of cluster.peers are there; missing: {}",
                inner.options.bootstrap_expect,
                missing.join(", ")
            ))
        });
    }
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| error.to_string())?;
    let cluster_id = format!("{:032x}", u128::from_le_bytes(random));
    let node_id = 1 + founders.iter().position(|founder| founder == name).unwrap_or_default() as u64;
    tracing::info!(cluster_id, members = founders.join(" "), "creating a cluster");
    let identity = Identity { cluster_id, node_id, name: name.clone(), origin: Origin::Founder(founders) };
    become_or_fail(inner, identity).await?;
    Ok(Step::Again(Duration::ZERO))
}

fn nobody_to_join(
    present: &BTreeMap<&str, &wire::IdentifyResponse>,
    absent: &BTreeMap<&str, String>,
) -> String {
    let fresh = present.iter().map(|(address, answer)| {
        format!("{address}: {} is not a member of a cluster that exists", answer.name)
    });
    let absent = absent.iter().map(|(address, why)| format!("{address}: {why}"));
    let tried: Vec<String> = fresh.chain(absent).collect();
    format!(
        "no member of a cluster answers at the addresses of cluster.join, which are peer addresses ({}); start one, or correct them",
        tried.join(", ")
    )
}

/// The other nodes of `cluster.peers` that do not answer at their addresses, by name, with the reason.
fn missing<'a>(
    inner: &'a Inner,
    present: &BTreeMap<&str, &wire::IdentifyResponse>,
    absent: &BTreeMap<&str, String>,
) -> BTreeMap<&'a str, String> {
    let why = |name: &str, address: &str| match present.get(address) {
        Some(answer) if answer.name == name => None,
        Some(answer) => Some(format!("at {address}: {} answers there", answer.name)),
        None => Some(format!("at {address}: {}", absent.get(address).map_or("not asked", String::as_str))),
    };
    others(inner).filter_map(|(name, address)| Some((name.as_str(), why(name, address)?))).collect()
}

async fn become_or_fail(inner: &Arc<Inner>, identity: Identity) -> Result<(), String> {
    become_member(inner, identity, true).await.map_err(|error| {
        // The node has saved an identity that it cannot use. Only a restart can tell what is on its disk.
        inner.fail(error.to_string());
        error.to_string()
    })
}

/// Adopts the other founders as members and writes the first entry of the log.
async fn found(inner: &Arc<Inner>, core: &Core, founders: &[String]) -> Result<Step, String> {
    let mut members = BTreeMap::new();
    for (name, node_id) in founders.iter().zip(1_u64..) {
        let addresses = if *name == inner.options.node_name {
            inner.options.advertise.clone()
        } else {
            adopt(inner, &core.identity.cluster_id, name, node_id)
                .await
                .map_err(|why| format!("{name}: {why}"))?
        };
        members.insert(node_id, Member { name: name.clone(), addresses });
    }
    match core.raft.initialize(members).await {
        Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(Step::Again(TRY_AGAIN)),
        Err(error) => Err(error.to_string()),
    }
}

async fn adopt(inner: &Inner, cluster_id: &str, name: &str, node_id: u64) -> Result<Addresses, String> {
    let (_, address) =
        others(inner).find(|(other, _)| other == name).ok_or("it is not in cluster.peers any more")?;
    let said = |status: Status| status.message().to_owned();
    let platform = inner.platform.as_ref();
    let mut client = peer::client(platform, address).map_err(|error| error.to_string())?;
    let request = wire::AdoptRequest { cluster_id: cluster_id.to_owned(), node_id, name: name.to_owned() };
    let answer = tokio::time::timeout(5 * ANSWER_WITHIN, client.adopt(request)).await;
    let answer = answer.map_err(|_| "no answer")?.map_err(said)?.into_inner();
    if !answer.refused.is_empty() {
        return Err(answer.refused);
    }
    let found =
        peer::identify(platform, address, &inner.options.node_name, ANSWER_WITHIN).await.map_err(said)?;
    inner.levels.note(node_id, found.boot_id, found.level, &found.version);
    Ok(consensus::addresses(found.addresses))
}

/// Gets a node id from an existing cluster, for a node without an identity.
async fn join(inner: &Arc<Inner>, address: &str) -> Result<Step, String> {
    let request = wire::JoinRequest {
        name: inner.options.node_name.clone(),
        addresses: Some(consensus::addresses_to_wire(&inner.options.advertise)),
        level: inner.levels.own(),
        version: own_version(inner.levels.own()).to_owned(),
        ..Default::default()
    };
    let answer = ask_to_join(inner, address, request).await?;
    let wire::JoinResponse { cluster_id, node_id, .. } = answer;
    tracing::info!(cluster_id, node_id, "joining a cluster");
    let name = inner.options.node_name.clone();
    become_or_fail(inner, Identity { cluster_id, node_id, name, origin: Origin::Joined }).await?;
    Ok(Step::Again(Duration::ZERO))
}

/// Asks the cluster to replicate to this node and make it a voter, or to update its addresses. The node already has its id.
async fn ask_for_vote(inner: &Arc<Inner>, core: &Core) -> Result<Step, String> {
    let request = wire::JoinRequest {
        name: inner.options.node_name.clone(),
        addresses: Some(consensus::addresses_to_wire(&inner.options.advertise)),
        node_id: core.identity.node_id,
        cluster_id: core.identity.cluster_id.clone(),
        was_member: !Identity::is_joining(inner.dir.as_ref()).map_err(|error| error.to_string())?,
        level: inner.levels.own(),
        version: own_version(inner.levels.own()).to_owned(),
    };
    let config = core.metrics.look(|metrics| metrics.membership_config.clone());
    let known = config.nodes().filter(|(id, _)| **id != core.identity.node_id);
    let known = known.filter_map(|(id, _)| core.peer(*id));
    let mut addresses: Vec<String> = Vec::new();
    if let super::Leader::Other { peer, .. } = core.leader() {
        addresses.push(peer);
    }
    let configured = others(inner).map(|(_, address)| address).chain(&inner.options.join).cloned();
    // The configured addresses may all be out of date, and a node that never received an entry knows no membership.
    let seen = inner.book.answered_at().into_iter().chain(inner.standing.greeted_from());
    for address in known.chain(configured).chain(seen) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if matches!(core.leader(), super::Leader::Me) {
        let admitted = super::membership::admit(inner, request).await;
        return admitted.map(|_| Step::Again(TRY_AGAIN)).map_err(|failed| format!("{failed:?}"));
    }
    let mut last = "no address of the cluster is known".to_owned();
    for address in addresses {
        match ask_to_join(inner, &address, request.clone()).await {
            Ok(_) => return Ok(Step::Again(TRY_AGAIN)),
            Err(why) => last = format!("{address}: {why}"),
        }
    }
    Err(last)
}

/// Sends the request to an address, and once more to the leader that this address names.
async fn ask_to_join(
    inner: &Inner,
    address: &str,
    request: wire::JoinRequest,
) -> Result<wire::JoinResponse, String> {
    let mut address = address.to_owned();
    for _ in 0..2 {
        // Admission may take long, so the address is probed first: a dead one shows at once.
        let asked = peer::identify(inner.platform.as_ref(), &address, "", ANSWER_WITHIN).await;
        asked.map_err(|status| peer::why_not(&status))?;
        let mut client =
            peer::client(inner.platform.as_ref(), &address).map_err(|error| error.to_string())?;
        let answer = tokio::time::timeout(JOIN_WITHIN, client.join(request.clone())).await;
        let answer =
            answer.map_err(|_| "no answer")?.map_err(|status| status.message().to_owned())?.into_inner();
        match answer {
            answer if answer.level_needed > 0 => {
                // Asking again does not help before another version is installed.
                inner.fail(answer.refused.clone());
                return Err(answer.refused);
            }
            answer if !answer.refused.is_empty() => return Err(answer.refused),
            answer if answer.node_id != 0 => return Ok(answer),
            answer if answer.leader_peer.is_empty() => return Err("it knows no leader".to_owned()),
            answer => address = answer.leader_peer,
        }
    }
    Err("the leader moved".to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::types::Membership;

    #[test]
    fn membership_older_than_the_join_settles_nothing() {
        let here = Addresses { peer: "here".to_owned(), ..Addresses::default() };
        let member = |addresses: &Addresses| Member { name: "n".to_owned(), addresses: addresses.clone() };
        let config = |voters: &[u64], known: &[u64]| {
            let voters: BTreeSet<u64> = voters.iter().copied().collect();
            let members: BTreeMap<u64, Member> = known.iter().map(|id| (*id, member(&here))).collect();
            StoredMembership::new(None, Membership::new(vec![voters], members).expect("voters are known"))
        };
        assert_eq!(is_settled(&config(&[1, 2, 3], &[1, 2, 3]), 4, &here), None);
        assert_eq!(is_settled(&config(&[1, 2, 3], &[1, 2, 3, 4]), 4, &here), Some(false));
        assert_eq!(is_settled(&config(&[1, 2, 4], &[1, 2, 4]), 4, &here), Some(true));
        assert_eq!(is_settled(&config(&[1, 2, 4], &[1, 2, 4]), 4, &Addresses::default()), Some(false));
    }
}
