//! Hellos, by which members introduce themselves to each other: which process of which member they are, and at which address.
//!
//! Hellos find members that have moved, even all of them at once, and announce this node's own address. They detect a second
//! process of a member (a copied data directory), addresses that belong to another cluster, and the removal of this node.
//! A node that has an identity says hello before its consensus starts, and from then on for as long as it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use batuta_proto::internal as wire;
use futures_util::future::join_all;
use openraft::ServerState;
use tokio::time::Instant;
use tonic::Status;

use super::error::StartError;
use super::{Core, Identity, Inner, level};
use crate::codec::consensus;
use crate::level::own_version;
use crate::metrics::RaftMetrics;
use crate::peer;

/// How long a node may take to say whether another process of a member is alive: longer than a busy one needs.
const VERIFY_WITHIN: Duration = Duration::from_secs(2);
/// How long a hello may take: the node that answers may have to verify the sender first.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// Interval of hellos when no member is missing.
const EVERY: Duration = Duration::from_secs(10);
/// Interval of hellos while a member is missing.
const EVERY_MISSING: Duration = Duration::from_secs(2);
/// Interval of hellos while there is no leader: the first one, doubled up to the maximum.
const EVERY_LEADERLESS_MIN: Duration = Duration::from_millis(125);
const EVERY_LEADERLESS_MAX: Duration = Duration::from_secs(1);
/// How long a starting node waits for the answers to its hellos.
const START_WITHIN: Duration = Duration::from_millis(2_500);
/// A missing leader is logged after this long.
const SAY_AFTER: Duration = Duration::from_secs(4);
/// The missing members may change from round to round; they are logged at most once in this time.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// Members that have accepted a process for this long have looked for another process of the member and found none.
const SETTLED_AFTER: Duration = Duration::from_secs(1);
/// A process that has run for less than this may not be known to all members yet.
const YOUNG_MS: u64 = 10_000;
/// Processes started within this many milliseconds of each other count as started together, so neither was first. A person who copies a
/// data directory and starts the copy takes longer.
const SAME_TIME_MS: u64 = 300;

/// The findings of one round of hellos.
#[derive(Default)]
struct Round {
    /// Why this process must stop: a member refused it.
    refused: Option<String>,
    /// The members that answered.
    answered: BTreeSet<u64>,
    /// Addresses where another cluster answers, with its id.
    foreign: BTreeMap<String, String>,
    /// Addresses without an answer from a member, with the reason.
    silent: BTreeMap<String, String>,
    /// Addresses of members that the answers named.
    heard_of: BTreeSet<String>,
    /// A newer membership than this node's own does not contain this node.
    left_out: bool,
}

/// The introduction of this process. Has no cluster and node id until the node has an identity.
pub(crate) fn introduction(inner: &Inner) -> wire::Introduction {
    let identity = inner.standing.identity();
    let (cluster_id, node_id) =
        identity.map_or_else(Default::default, |identity| (identity.cluster_id, identity.node_id));
    wire::Introduction {
        name: inner.options.node_name.clone(),
        cluster_id,
        node_id,
        boot_id: inner.boot_id,
        running_ms: inner.standing.running_ms(),
        addresses: Some(consensus::addresses_to_wire(&inner.options.advertise)),
        level: inner.levels.own(),
        version: own_version(inner.levels.own()).to_owned(),
    }
}

/// Says hello before consensus starts. Waits at most [`START_WITHIN`] for answers; later hellos reach the other members.
///
/// # Errors
/// When another process is this member, or when all configured addresses that answer belong to another cluster.
pub(super) async fn before_start(inner: &Arc<Inner>, identity: &Identity) -> Result<(), StartError> {
    let asked = async {
        let addresses = configured(inner);
        let round = say_hello(inner, identity, &addresses).await;
        if round.answered.is_empty()
            && let Some((address, found)) = round.foreign.first_key_value()
        {
            return Err(StartError::OtherCluster {
                path: inner.options.data_dir.clone(),
                own: identity.cluster_id.clone(),
                address: address.clone(),
                found: found.clone(),
            });
        }
        // The members that answer may know more members than the configuration names.
        let more: BTreeSet<String> = round.heard_of.difference(&addresses).cloned().collect();
        let later = say_hello(inner, identity, &more).await;
        round.refused.or(later.refused).map_or(Ok(()), |why| Err(StartError::Refused(why)))
    };
    tokio::time::timeout(START_WITHIN, asked).await.unwrap_or(Ok(()))
}

/// Says hello for as long as the node runs, more often while a member is missing.
pub(super) async fn keep_in_touch(inner: &Arc<Inner>) {
    let mut set = inner.core_set.subscribe();
    if set.wait_for(|set| *set).await.is_err() {
        return;
    }
    let Some(core) = inner.core() else { return };
    let mut heard_of = BTreeSet::new();
    let mut pause = EVERY_LEADERLESS_MIN;
    let mut said: Option<(String, Instant)> = None;
    loop {
        let mut addresses = configured(inner);
        addresses.extend(members(core, inner));
        addresses.append(&mut heard_of);
        addresses.remove(&inner.options.advertise.peer);
        let mut round = say_hello(inner, &core.identity, &addresses).await;
        heard_of = std::mem::take(&mut round.heard_of);
        if let Some(why) = has_to_end(inner, core, &round) {
            inner.fail(why);
            return;
        }
        if is_removed(inner, core, round.left_out) {
            inner.standing.note_removed();
            if let Some(removed) = inner.standing.removed() {
                tracing::warn!("{removed}");
            }
            return;
        }
        let raises = level::raise(inner, core, &round.answered).await;
        let missing = unreached(inner, core, &round);
        inner.standing.set_unreached(&missing);
        let silence = leader_silence(inner, core);
        let is_news = |(before, at): &(String, Instant)| *before != missing && at.elapsed() >= SAY_EVERY;
        if silence > SAY_AFTER && said.as_ref().is_none_or(is_news) {
            tracing::warn!(missing, "no leader");
            said = Some((missing.clone(), Instant::now()));
        }
        pause = if silence > inner.options.election_timeout_max() {
            // Nothing works until the members have found each other.
            EVERY_LEADERLESS_MAX.min(2 * pause)
        } else if missing.is_empty() && !raises {
            said = None;
            EVERY
        } else {
            EVERY_MISSING
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // A new process of a member may be the last that was waited for.
            () = inner.levels.news.notified(), if core.metrics.look(leads) => {}
        }
    }
}

/// Whether the node leads.
fn leads(metrics: &RaftMetrics) -> bool {
    metrics.state == ServerState::Leader
}

/// Why this process must stop, or `None`.
fn has_to_end(inner: &Inner, core: &Core, round: &Round) -> Option<String> {
    if let Some(why) = &round.refused {
        return Some(why.clone());
    }
    let own = &core.identity.cluster_id;
    let view = inner.published.view();
    view.cluster_id().filter(|found| *found != own).map(|found| {
        format!(
            "the identity file says cluster {own}, but the log belongs to cluster {found}: put the right file back, or move the \
             whole data directory away and start again"
        )
    })
}

/// How long this node has had no contact with a leader or, as the leader, with a majority. Longer than an election when no leader is known.
fn leader_silence(inner: &Inner, core: &Core) -> Duration {
    let (silence, leaderless) = core
        .metrics
        .look(|metrics| (inner.leader_heard.silent_for(metrics), metrics.current_leader.is_none()));
    let election = inner.options.election_timeout_max() + Duration::from_millis(1);
    if leaderless { silence.max(election) } else { silence }
}

/// The configured addresses. Includes this node's own entry of `cluster.peers` when the node advertises another address: another node
/// may answer there.
fn configured(inner: &Inner) -> BTreeSet<String> {
    let peers = inner.options.peers.iter().map(|(_, address)| address);
    let mut addresses: BTreeSet<String> = peers.chain(&inner.options.join).cloned().collect();
    addresses.remove(&inner.options.advertise.peer);
    addresses
}

/// The known addresses of members: those in the membership, and those where members answered last. The membership may be out of date, or
/// contain an uncommitted change that is taken back. A node without a membership uses the addresses of the members that greeted it.
fn members(core: &Core, inner: &Inner) -> BTreeSet<String> {
    let stored: Vec<String> = core.metrics.look(|metrics| {
        let nodes = metrics.membership_config.nodes();
        nodes.map(|(_, member)| member.addresses.peer.clone()).collect()
    });
    let greeted = if stored.is_empty() { inner.standing.greeted_from() } else { BTreeSet::new() };
    stored.into_iter().chain(inner.book.answered_at()).chain(greeted).collect()
}

async fn say_hello(inner: &Arc<Inner>, identity: &Identity, addresses: &BTreeSet<String>) -> Round {
    let asked = addresses.iter().map(|address| ask(inner, identity, address));
    let answers = join_all(asked).await;
    let mut round = Round::default();
    // The addresses at which each process answered, by (node id, boot id).
    let mut processes: BTreeMap<(u64, u64), (wire::Introduction, Vec<&String>)> = BTreeMap::new();
    for (address, answer) in addresses.iter().zip(answers) {
        match answer {
            Ok(answer) => {
                if let Some(member) = take_in(inner, identity, &mut round, address, answer) {
                    let process = processes.entry((member.node_id, member.boot_id));
                    process.or_insert_with(|| (member, Vec::new())).1.push(address);
                }
            }
            Err(status) => {
                round.silent.insert(address.clone(), peer::why_not(&status));
            }
        }
    }
    for (member, reached) in processes.into_values() {
        // Prefer the advertised address when the process does answer there.
        let advertised = member.addresses.as_ref().map(|addresses| &addresses.peer);
        let at = reached.iter().find(|at| Some(**at) == advertised).or(reached.first());
        if let Some(at) = at
            && let Err(why) = accept(inner, identity, &member, at).await
        {
            // The refused process learns this when it says hello itself.
            tracing::debug!(why, "a second process of a member");
        }
    }
    let configured = configured(inner);
    for (address, found) in round.foreign.iter().filter(|(address, _)| configured.contains(*address)) {
        if inner.standing.is_news(&format!("{address} {found}")) {
            tracing::warn!(
                address,
                cluster_id = found,
                own_cluster_id = identity.cluster_id,
                "an address of cluster.peers or cluster.join belongs to another cluster"
            );
        }
    }
    round
}

/// Says hello at one address. A refusal by another process of this member is ignored once other members have accepted this process for
/// [`SETTLED_AFTER`]: the other process may have been paused, and replaced by this one.
async fn ask(inner: &Inner, identity: &Identity, address: &str) -> Result<wire::HelloResponse, Status> {
    let asked = peer::hello(inner.platform.as_ref(), address, introduction(inner), ANSWER_WITHIN);
    let mut answer = asked.await?;
    let of_this_member = answer.me.as_ref().is_some_and(|me| me.node_id == identity.node_id);
    let of_this_cluster = answer.me.as_ref().is_some_and(|me| me.cluster_id == identity.cluster_id);
    if of_this_cluster && of_this_member && inner.standing.accepted_for() >= SETTLED_AFTER {
        answer.refused.clear();
    } else if of_this_cluster && !of_this_member && answer.refused.is_empty() {
        inner.standing.note_accepted();
    }
    Ok(answer)
}

/// Records one answer. Returns the member that answered when it is another member of the same cluster.
fn take_in(
    inner: &Inner,
    identity: &Identity,
    round: &mut Round,
    address: &str,
    answer: wire::HelloResponse,
) -> Option<wire::Introduction> {
    let wire::HelloResponse { me, refused, membership_index, members } = answer;
    let me = me.unwrap_or_default();
    if me.boot_id == inner.boot_id {
        return None;
    }
    if me.cluster_id.is_empty() {
        round.silent.insert(address.to_owned(), format!("{} is not a member of any cluster", me.name));
        return None;
    }
    if me.cluster_id != identity.cluster_id {
        round.foreign.insert(address.to_owned(), me.cluster_id);
        return None;
    }
    if !refused.is_empty() {
        round.refused = Some(refused);
        return None;
    }
    if me.node_id == identity.node_id {
        return None;
    }
    let own_index = inner
        .core()
        .map(|core| core.metrics.look(|metrics| metrics.membership_config.log_id().map_or(0, |id| id.index)));
    let known = members.iter().any(|member| member.node_id == identity.node_id);
    round.left_out |= !known && own_index.is_some_and(|own| membership_index > own);
    let elsewhere = members.into_iter().filter_map(|member| Some(member.addresses?.peer));
    round.heard_of.extend(elsewhere.filter(|peer| !peer.is_empty() && *peer != inner.options.advertise.peer));
    round.answered.insert(me.node_id);
    inner.levels.note(me.node_id, me.boot_id, me.level, &me.version);
    Some(me)
}

/// Whether this node was removed from the cluster. A node that was never a member is not removed; it may still be admitted.
fn is_removed(inner: &Inner, core: &Core, left_out: bool) -> bool {
    let me = core.identity.node_id;
    let (known, applied) =
        core.metrics.look(|metrics| (metrics.membership_config.clone(), metrics.last_applied));
    let gone = known.nodes().next().is_some() && known.get_node(&me).is_none() && *known.log_id() <= applied;
    // An identity file that cannot be read now proves nothing.
    (gone || left_out) && Identity::is_joining(inner.dir.as_ref()).is_ok_and(|joining| !joining)
}

/// The members that did not answer, with the reason, and the configured addresses that belong to another cluster.
fn unreached(inner: &Inner, core: &Core, round: &Round) -> String {
    let me = core.identity.node_id;
    let config = core.metrics.look(|metrics| metrics.membership_config.clone());
    let others = config.nodes().filter(|(id, _)| **id != me && !round.answered.contains(*id));
    let mut missing: Vec<String> = others
        .map(|(id, member)| {
            let address = inner.book.peer(*id).unwrap_or_else(|| member.addresses.peer.clone());
            let why = round.silent.get(&address).map_or("another node answers there", String::as_str);
            format!("{} at {address}: {why}", member.name)
        })
        .collect();
    let configured = configured(inner);
    let foreign = round.foreign.iter().filter(|(address, _)| configured.contains(*address));
    missing.extend(foreign.map(|(address, found)| format!("{address} belongs to cluster {found}")));
    missing.join(", ")
}

/// Answers a hello.
pub(crate) async fn greet(inner: &Arc<Inner>, from: wire::Introduction) -> wire::HelloResponse {
    let mut answer = wire::HelloResponse { me: Some(introduction(inner)), ..Default::default() };
    let Some(identity) = inner.standing.identity() else {
        let configured = inner.options.peers.iter().any(|(name, _)| *name == from.name);
        let peer = from.addresses.unwrap_or_default().peer;
        if configured && !from.cluster_id.is_empty() && !peer.is_empty() {
            inner.standing.note_greeted_from(peer);
        }
        return answer;
    };
    if from.cluster_id != identity.cluster_id {
        if inner.standing.is_news(&format!("{} {}", from.cluster_id, from.name)) {
            let address = from.addresses.unwrap_or_default().peer;
            tracing::warn!(
                name = from.name,
                address,
                cluster_id = from.cluster_id,
                own_cluster_id = identity.cluster_id,
                "a node of another cluster was started with an address of this one"
            );
        }
        return answer;
    }
    if from.boot_id == inner.boot_id {
        return answer;
    }
    if let Some(core) = inner.core() {
        known_members(inner, core, &mut answer);
    }
    answer.refused = if from.node_id == identity.node_id {
        let own = introduction(inner);
        let told = two_processes(&own, &from);
        if stays(&own, &from) {
            warn_of_rival(inner, &from);
            told
        } else {
            inner.fail(told);
            String::new()
        }
    } else if let Err(too_new) = inner.check_level_of(from.level, &from.version) {
        too_new.to_string()
    } else {
        let at = from.addresses.clone().unwrap_or_default().peer;
        if let Err(refused) = confirm(inner, &identity, &from, &at).await {
            refused
        } else {
            inner.levels.note(from.node_id, from.boot_id, from.level, &from.version);
            String::new()
        }
    };
    answer
}

/// Logs, once per process, that another process claims to be this node.
pub(crate) fn warn_of_rival(inner: &Inner, rival: &wire::Introduction) {
    if rival.boot_id != inner.boot_id && inner.standing.is_news(&format!("rival {}", rival.boot_id)) {
        tracing::error!("{}", two_processes(&introduction(inner), rival));
    }
}

fn known_members(inner: &Inner, core: &Core, answer: &mut wire::HelloResponse) {
    let (config, applied) =
        core.metrics.look(|metrics| (metrics.membership_config.clone(), metrics.last_applied));
    if *config.log_id() <= applied {
        answer.membership_index = config.log_id().map_or(0, |id| id.index);
    }
    for (node_id, member) in config.nodes() {
        let mut addresses = consensus::addresses_to_wire(&member.addresses);
        if let Some(peer) = inner.book.peer(*node_id) {
            addresses.peer = peer;
        }
        let name = member.name.clone();
        answer.members.push(wire::Member { node_id: *node_id, name, addresses: Some(addresses) });
    }
}

/// Accepts a process that said hello, after checking that it answers at its advertised address.
async fn confirm(
    inner: &Inner,
    identity: &Identity,
    from: &wire::Introduction,
    at: &str,
) -> Result<(), String> {
    let known = inner.book.seen(from.node_id);
    let in_use = inner.book.peer(from.node_id).is_some_and(|peer| peer == at);
    if in_use && known.is_some_and(|known| known.boot_id == from.boot_id && known.peer == at) {
        return Ok(());
    }
    let asked_at = Instant::now();
    let found = peer::ask_rival(inner.platform.as_ref(), at, from.clone(), VERIFY_WITHIN).await;
    match found {
        Some(found) if found.boot_id == from.boot_id => accept(inner, identity, from, at).await,
        Some(found) if is_member(&found, identity, from.node_id) => {
            judge(inner, &introduced(&found, from), &aged(from, asked_at))
        }
        _ => {
            // No second process is known, so the sender may go on; its address is not used before it answers there.
            let refused = accept_elsewhere(inner, identity, from, at).await;
            if refused.is_ok() && inner.standing.is_news(&format!("{} {at}", from.boot_id)) {
                tracing::warn!(
                    name = from.name,
                    node_id = from.node_id,
                    address = at,
                    "a member cannot be reached where it says that it answers; see advertise.peer on that node"
                );
            }
            refused
        }
    }
}

/// Accepts the process at this address as the member, unless another process of the same member is alive.
async fn accept(
    inner: &Inner,
    identity: &Identity,
    from: &wire::Introduction,
    at: &str,
) -> Result<(), String> {
    if inner.book.seen(from.node_id).is_none_or(|known| known.boot_id != from.boot_id) {
        accept_elsewhere(inner, identity, from, at).await?;
    }
    let addresses = consensus::addresses(from.addresses.clone());
    if let Some(was) = inner.book.note(from.node_id, at, addresses, from.boot_id) {
        tracing::info!(
            name = from.name,
            node_id = from.node_id,
            address = at,
            was,
            "a member answers at another address now"
        );
    }
    Ok(())
}

/// Looks for another process of the member at the member's other known addresses.
async fn accept_elsewhere(
    inner: &Inner,
    identity: &Identity,
    from: &wire::Introduction,
    at: &str,
) -> Result<(), String> {
    let known = inner.book.seen(from.node_id).map(|known| known.peer);
    let mut others: BTreeSet<String> = known.into_iter().chain(inner.book.stored(from.node_id)).collect();
    others.remove(at);
    others.remove(&inner.options.advertise.peer);
    let asked_at = Instant::now();
    let asked = others
        .iter()
        .map(|address| peer::ask_rival(inner.platform.as_ref(), address, from.clone(), VERIFY_WITHIN));
    for other in join_all(asked).await.into_iter().flatten() {
        if is_member(&other, identity, from.node_id) && other.boot_id != from.boot_id {
            judge(inner, &introduced(&other, from), &aged(from, asked_at))?;
        }
    }
    Ok(())
}

fn is_member(found: &wire::IdentifyResponse, identity: &Identity, node_id: u64) -> bool {
    found.cluster_id == identity.cluster_id && found.node_id == node_id
}

fn introduced(found: &wire::IdentifyResponse, from: &wire::Introduction) -> wire::Introduction {
    wire::Introduction {
        boot_id: found.boot_id,
        running_ms: found.running_ms,
        addresses: found.addresses.clone(),
        ..from.clone()
    }
}

/// The introduction of a process brought up to now, so that the uptimes of two processes are compared at one moment.
fn aged(from: &wire::Introduction, asked_at: Instant) -> wire::Introduction {
    let since_ms = u64::try_from(asked_at.elapsed().as_millis()).unwrap_or(u64::MAX);
    wire::Introduction { running_ms: from.running_ms.saturating_add(since_ms), ..from.clone() }
}

/// Decides between two live processes of one member: an error when the known one stays and the newcomer is refused.
fn judge(inner: &Inner, known: &wire::Introduction, newcomer: &wire::Introduction) -> Result<(), String> {
    let told = two_processes(known, newcomer);
    if inner.standing.is_news(&format!("two {} {}", known.boot_id, newcomer.boot_id)) {
        tracing::error!("{told}");
    }
    if stays(known, newcomer) { Err(told) } else { Ok(()) }
}

/// Whether the known process goes on and the newcomer stops. While both are young, members may disagree about which process is the known
/// one; then all members choose the older process, and of two that were started together the one with the lower boot id.
fn stays(known: &wire::Introduction, newcomer: &wire::Introduction) -> bool {
    if known.running_ms.max(newcomer.running_ms) >= YOUNG_MS {
        true
    } else if known.running_ms.abs_diff(newcomer.running_ms) >= SAME_TIME_MS {
        known.running_ms > newcomer.running_ms
    } else {
        known.boot_id < newcomer.boot_id
    }
}

fn two_processes(known: &wire::Introduction, newcomer: &wire::Introduction) -> String {
    let process = |one: &wire::Introduction| {
        let address = one.addresses.as_ref().map_or("an unknown address", |addresses| &addresses.peer);
        format!("{address} (boot {:016x}, up {} s)", one.boot_id, one.running_ms / 1000)
    };
    format!(
        "two processes are node {} ({}) of cluster {}: one at {}, one at {}. A data directory was copied, or moved while its node \
         was running. Only one of them may run; give the other an empty data directory and a name of its own",
        known.node_id,
        known.name,
        known.cluster_id,
        process(known),
        process(newcomer)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(boot_id: u64, running_ms: u64) -> wire::Introduction {
        wire::Introduction { boot_id, running_ms, ..Default::default() }
    }

    #[test]
    fn older_process_stays() {
        assert!(stays(&process(9, 60_000), &process(1, 0)));
        assert!(stays(&process(9, 1_500), &process(1, 800)), "even when it has only just started");
        assert!(
            stays(&process(9, 1_000), &process(1, 60_000)),
            "a process that was paused has been replaced"
        );
        assert!(
            !stays(&process(1, 800), &process(9, 1_500)),
            "a member that knows the younger process decides the same"
        );
    }

    #[test]
    fn all_members_choose_the_same_of_two() {
        let (low, high) = (process(1, 900), process(2, 1_100));
        assert!(stays(&low, &high));
        assert!(!stays(&high, &low));
    }

    #[test]
    fn message_names_both_processes() {
        let at = |peer: &str, boot_id| wire::Introduction {
            name: "n3".to_owned(),
            cluster_id: "c0ffee".to_owned(),
            node_id: 3,
            boot_id,
            running_ms: 61_000,
            addresses: Some(wire::Addresses { peer: peer.to_owned(), ..Default::default() }),
            ..Default::default()
        };
        let told = two_processes(&at("here:1", 0xa), &at("there:2", 0xb));
        for part in ["node 3 (n3)", "c0ffee", "here:1 (boot 000000000000000a, up 61 s)", "there:2"] {
            assert!(told.contains(part), "{part} is missing: {told}");
        }
    }
}
