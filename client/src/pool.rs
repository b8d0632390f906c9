//! The known nodes, and the choice of the node to ask.
//!
//! Nodes given by the user come first and stay for ever; the other members of the cluster, as a node names
//! them, come after them. A node that was silent is asked last from then on, until it answers a background
//! probe.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use batuta_proto::v1::cluster_service_client::ClusterServiceClient;
use batuta_proto::v1::{GetStatusResponse, ListMembersRequest, ListMembersResponse, Member, MemberRole};
use tokio::time::{Instant, sleep, timeout};
use tonic::Request;
use tonic::transport::Channel;

use crate::Error;
use crate::address::endpoint_url;
use crate::credential::Credentials;
use crate::pipeline::Pipeline;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A node that stops answering while it holds a call open is noticed within the interval plus the timeout.
const PING_INTERVAL: Duration = Duration::from_secs(3);
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// Time limit of one probe of a silent node.
const PROBE_WITHIN: Duration = Duration::from_secs(1);
/// Pause between two probes: at first, and at most.
const PROBE_PAUSE: Duration = Duration::from_millis(250);
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(5);
/// After this many unanswered probes the node is given up: calls that wait for its answers are sent
/// elsewhere.
const PROBES_BEFORE_GIVING_UP: u32 = 2;
/// The members are asked for again after this long; sooner when a node failed.
const MEMBERS_FRESH: Duration = Duration::from_mins(1);
const MEMBERS_FRESH_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How often the members are asked for while no leader is known.
const LEADER_TRIES: u32 = 5;

/// One node and the connections to it.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) url: Arc<str>,
    pub(crate) channel: Channel,
    pub(crate) pipeline: Arc<Pipeline>,
    /// Whether the node must first prove that it belongs to the cluster. An address learned from a member
    /// may, from here, belong to somebody else (127.0.0.1, or a network behind another).
    pub(crate) unproven: bool,
}

#[derive(Debug)]
struct Known {
    endpoint: Endpoint,
    /// Given by the user.
    given: bool,
    /// Was silent, and has answered no probe since.
    silent: bool,
}

#[derive(Debug)]
struct Nodes {
    known: Vec<Known>,
    preferred: usize,
    cluster_id: Option<String>,
    members_asked: Instant,
}

/// The nodes of one cluster, never none, and the credential for all of them.
#[derive(Debug)]
pub(crate) struct Pool {
    nodes: Mutex<Nodes>,
    pub(crate) credentials: Arc<Credentials>,
}

/// The cluster as one node sees it.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    cluster_id: String,
    leader_id: Option<u64>,
    members: Vec<Member>,
}

impl From<&GetStatusResponse> for Sight {
    fn from(status: &GetStatusResponse) -> Self {
        let (cluster_id, members) = (status.cluster_id.clone(), status.members.clone());
        Self { cluster_id, leader_id: status.leader_id, members }
    }
}

impl From<ListMembersResponse> for Sight {
    fn from(answer: ListMembersResponse) -> Self {
        let leader = answer.members.iter().find(|member| member.role() == MemberRole::Leader);
        let leader_id = leader.map(|member| member.node_id);
        Self { cluster_id: answer.cluster_id, leader_id, members: answer.members }
    }
}

impl Pool {
    pub(crate) fn new(endpoints: &[String], credentials: Arc<Credentials>) -> Result<Self, Error> {
        let mut known: Vec<Known> = Vec::new();
        for endpoint in endpoints {
            let url = endpoint_url(endpoint)?;
            if !known.iter().any(|node| *node.endpoint.url == *url) {
                let endpoint = open(&url, false, &credentials)?;
                known.push(Known { endpoint, given: true, silent: false });
            }
        }
        if known.is_empty() {
            return Err(Error::invalid("no endpoint given"));
        }
        let nodes = Nodes { known, preferred: 0, cluster_id: None, members_asked: Instant::now() };
        Ok(Self { nodes: Mutex::new(nodes), credentials })
    }

    /// The node to ask first.
    pub(crate) fn preferred(&self) -> Endpoint {
        self.next(|_| 0)
    }

    /// The node to ask next, for a call that has asked each node `asked` times already. A silent node comes
    /// after all others were asked twice.
    pub(crate) fn next(&self, asked: impl Fn(&str) -> u32) -> Endpoint {
        let nodes = self.nodes();
        let count = nodes.known.len();
        let place = (0..count)
            .map(|step| (nodes.preferred + step) % count)
            .min_by_key(|place| {
                let node = &nodes.known[*place];
                asked(&node.endpoint.url) + if node.silent { 2 } else { 0 }
            })
            .unwrap_or(nodes.preferred);
        nodes.known[place].endpoint.clone()
    }

    /// The number of known nodes.
    pub(crate) fn count(&self) -> usize {
        self.nodes().known.len()
    }

    /// Prefers the next node that is not silent, unless the preference has already moved.
    pub(crate) fn failed(&self, url: &str) {
        self.nodes().leave(url);
    }

    /// Marks a node as silent: it is asked last until it answers a probe.
    pub(crate) fn silent(self: &Arc<Self>, url: &str) {
        let mut nodes = self.nodes();
        if let Some(node) = nodes.known.iter_mut().find(|node| *node.endpoint.url == *url)
            && !std::mem::replace(&mut node.silent, true)
        {
            tracing::debug!(url, "a node is silent");
            tokio::spawn(probe(Arc::downgrade(self), node.endpoint.clone()));
        }
        nodes.leave(url);
    }

    /// Takes over the members that a node reported, and prefers the leader from now on if it is proven.
    /// Returns the leader when it must be proven first.
    pub(crate) fn learn(&self, seen: &Sight) -> Option<Endpoint> {
        let mut nodes = self.nodes();
        if seen.cluster_id.is_empty()
            || *nodes.cluster_id.get_or_insert_with(|| seen.cluster_id.clone()) != seen.cluster_id
        {
            return None;
        }
        nodes.members_asked = Instant::now();
        let members: Vec<(u64, String)> = seen
            .members
            .iter()
            // A member whose address is invalid cannot be asked.
            .filter_map(|member| Some((member.node_id, endpoint_url(&member.grpc).ok()?)))
            .collect();
        if !members.is_empty() {
            nodes.keep_only(|node| node.given || members.iter().any(|(_, url)| *node.endpoint.url == **url));
        }
        for (_, url) in &members {
            if !nodes.known.iter().any(|node| *node.endpoint.url == **url)
                && let Ok(endpoint) = open(url, true, &self.credentials)
            {
                nodes.known.push(Known { endpoint, given: false, silent: false });
            }
        }
        let leader = seen.leader_id?;
        let (_, url) = members.iter().find(|(node_id, _)| *node_id == leader)?;
        let place = nodes.known.iter().position(|node| *node.endpoint.url == **url)?;
        let node = &nodes.known[place];
        if node.endpoint.unproven {
            return Some(node.endpoint.clone());
        }
        if !node.silent {
            nodes.preferred = place;
        }
        None
    }

    /// Asks a node that just answered for the members, in the background, if that has not been done for long.
    /// After a failure sooner, since another node may lead.
    pub(crate) fn refresh(self: &Arc<Self>, node: &Endpoint, after_failure: bool) {
        let fresh = if after_failure { MEMBERS_FRESH_AFTER_FAILURE } else { MEMBERS_FRESH };
        let mut nodes = self.nodes();
        if nodes.members_asked.elapsed() > fresh {
            nodes.members_asked = Instant::now();
            tokio::spawn(learn_from(Arc::downgrade(self), node.clone()));
        }
    }

    /// Prefers the leader from now on, once it has proven that it is a node of this cluster.
    pub(crate) fn follow(self: &Arc<Self>, seen: &Sight) {
        if let Some(leader) = self.learn(seen) {
            tokio::spawn(learn_from(Arc::downgrade(self), leader));
        }
    }

    /// Asks a node for its sight of the cluster and checks that the node belongs to this cluster. A node of
    /// another cluster is forgotten.
    ///
    /// An unproven node gets the token only when it demands one, so that other programs and clusters that ask
    /// for none never see it.
    pub(crate) async fn prove(&self, node: &Endpoint) -> Result<Sight, Error> {
        let seen = if node.unproven && self.credentials.is_some() {
            match look(node, &Credentials::none()).await {
                Err(error) if error.code == "unauthenticated" => look(node, &self.credentials).await?,
                answer => answer?,
            }
        } else {
            look(node, &self.credentials).await?
        };
        let mut nodes = self.nodes();
        if nodes.cluster_id.as_ref().is_some_and(|id| *id != seen.cluster_id) {
            nodes.keep_only(|known| known.given || known.endpoint.url != node.url);
            let problem = format!("{} is a node of another cluster, {}", node.url, seen.cluster_id);
            return Err(Error::new("unavailable", problem, true));
        }
        if let Some(known) = nodes.known.iter_mut().find(|known| known.endpoint.url == node.url) {
            known.endpoint.unproven = false;
        }
        Ok(seen)
    }

    /// Marks a node as answering again.
    fn heard(&self, url: &str) {
        let mut nodes = self.nodes();
        if let Some(node) = nodes.known.iter_mut().find(|node| *node.endpoint.url == *url) {
            node.silent = false;
        }
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        // Every change of `Nodes` is complete before anything can panic.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Nodes {
    fn leave(&mut self, url: &str) {
        let count = self.known.len();
        if *self.known[self.preferred].endpoint.url == *url {
            let others = (1..count).map(|step| (self.preferred + step) % count);
            let heard = others.clone().find(|place| !self.known[*place].silent);
            self.preferred = heard.or_else(|| others.clone().next()).unwrap_or(self.preferred);
        }
    }

    /// Forgets all nodes that `keep` rejects; the preferred node stays preferred if it is kept. At least one
    /// node given by the user always stays.
    fn keep_only(&mut self, keep: impl Fn(&Known) -> bool) {
        let preferred = Arc::clone(&self.known[self.preferred].endpoint.url);
        self.known.retain(keep);
        self.preferred = self.known.iter().position(|node| node.endpoint.url == preferred).unwrap_or(0);
    }
}

/// Asks a node for the members, repeats this while nobody leads, and checks that the leader is one of them.
async fn learn_from(pool: Weak<Pool>, mut node: Endpoint) {
    for _ in 0..LEADER_TRIES {
        let Some(strong) = pool.upgrade() else { return };
        // A node that fails here will soon fail a call too, and that call handles the failure.
        let Ok(seen) = strong.prove(&node).await else { return };
        match strong.learn(&seen) {
            Some(leader) => node = leader,
            None if seen.leader_id.is_some() => return,
            None => {
                drop(strong);
                sleep(MEMBERS_FRESH_AFTER_FAILURE).await;
            }
        }
    }
}

/// Asks a silent node for the members until it answers or the pool is gone.
async fn probe(pool: Weak<Pool>, node: Endpoint) {
    let Some(credentials) = pool.upgrade().map(|pool| Arc::clone(&pool.credentials)) else { return };
    // The node may belong to somebody else: the token is sent when a call proves the node.
    let credentials = if node.unproven { Credentials::none() } else { credentials };
    let mut pause = PROBE_PAUSE;
    for failures in 1.. {
        let answer = look(&node, &credentials).await;
        let Some(pool) = pool.upgrade() else { return };
        match answer {
            Ok(seen) => {
                tracing::debug!(url = %node.url, "a silent node answers again");
                pool.heard(&node.url);
                pool.follow(&seen);
                return;
            }
            // The node answers, and the next call handles the refusal.
            Err(error) if error.is_access_refused() => return pool.heard(&node.url),
            // The node is no longer a member.
            Err(_) if !pool.nodes().known.iter().any(|known| known.endpoint.url == node.url) => return,
            Err(error) if failures == PROBES_BEFORE_GIVING_UP => node.pipeline.give_up(&error.message),
            Err(_) => {}
        }
        drop(pool);
        sleep(pause).await;
        pause = (pause * 2).min(PROBE_PAUSE_MAX);
    }
}

/// Asks a node for its sight of the cluster. It must answer within `PROBE_WITHIN`.
async fn look(node: &Endpoint, credentials: &Credentials) -> Result<Sight, Error> {
    let mut service = ClusterServiceClient::new(node.channel.clone());
    let mut request = Request::new(ListMembersRequest {});
    credentials.sign(&mut request);
    match timeout(PROBE_WITHIN, service.list_members(request)).await {
        Ok(Ok(answer)) => Ok(Sight::from(answer.into_inner())),
        Ok(Err(status)) => Err(Error::from_status(&status, Some(&node.url))),
        Err(_) => {
            let problem = format!("{} did not answer within {PROBE_WITHIN:?}", node.url);
            Err(Error::new("timeout", problem, true))
        }
    }
}

fn open(url: &str, unproven: bool, credentials: &Arc<Credentials>) -> Result<Endpoint, Error> {
    let channel = channel(url)?;
    let url: Arc<str> = url.into();
    let pipeline = Pipeline::to(Arc::clone(&url), channel.clone(), Arc::clone(credentials));
    let pipeline = Arc::new(pipeline);
    Ok(Endpoint { url, channel, pipeline, unproven })
}

pub(crate) fn channel(url: &str) -> Result<Channel, Error> {
    let endpoint = Channel::from_shared(url.to_owned())
        .map_err(|error| Error::invalid(format!("endpoint {url}: {error}")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .tcp_nodelay(true);
    Ok(endpoint.connect_lazy())
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
