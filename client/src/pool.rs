//! The nodes that are known, and which of them to ask.
//!
//! Those that the user gave come first and stay for ever; the other members of the cluster, as a status names them, stand
//! behind them. A node that was silent is asked last from then on, until a probe in the background was answered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use batuta_proto::v1::cluster_service_client::ClusterServiceClient;
use batuta_proto::v1::{GetStatusRequest, GetStatusResponse};
use tokio::time::{Instant, sleep, timeout};
use tonic::Request;
use tonic::transport::Channel;

use crate::Error;
use crate::address::endpoint_url;
use crate::pipeline::Pipeline;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A held-open wait on a node that stopped answering is noticed within the interval and the timeout.
const PING_INTERVAL: Duration = Duration::from_secs(3);
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// How long one probe of a silent node may take.
const PROBE_WITHIN: Duration = Duration::from_secs(1);
/// Between two probes, at first and at most.
const PROBE_PAUSE: Duration = Duration::from_millis(250);
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(5);
/// A node that answered none of so many probes is given up: what waits for its answers asks elsewhere.
const PROBES_BEFORE_GIVING_UP: u32 = 2;
/// The members are asked for again after this long; when a node failed, sooner.
const MEMBERS_FRESH: Duration = Duration::from_mins(1);
const MEMBERS_FRESH_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How often the members are asked for until somebody leads.
const LEADER_TRIES: u32 = 5;

/// One node and the ways to it.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) url: Arc<str>,
    pub(crate) channel: Channel,
    pub(crate) pipeline: Arc<Pipeline>,
    /// Whether it must show first that it belongs to the cluster: an address that a member told may, seen from here, be
    /// somebody else's (127.0.0.1, or a network behind another).
    pub(crate) unproven: bool,
}

#[derive(Debug)]
struct Known {
    endpoint: Endpoint,
    /// By the user.
    given: bool,
    /// It was silent, and no probe was answered since.
    silent: bool,
}

#[derive(Debug)]
struct Nodes {
    known: Vec<Known>,
    preferred: usize,
    cluster_id: Option<String>,
    members_asked: Instant,
}

/// The nodes of one cluster. Never empty.
#[derive(Debug)]
pub(crate) struct Pool(Mutex<Nodes>);

impl Pool {
    pub(crate) fn new(endpoints: &[String]) -> Result<Self, Error> {
        let mut known: Vec<Known> = Vec::new();
        for endpoint in endpoints {
            let url = endpoint_url(endpoint)?;
            if !known.iter().any(|node| *node.endpoint.url == *url) {
                known.push(Known { endpoint: open(&url, false)?, given: true, silent: false });
            }
        }
        if known.is_empty() {
            return Err(Error::invalid("no endpoint given"));
        }
        let nodes = Nodes { known, preferred: 0, cluster_id: None, members_asked: Instant::now() };
        Ok(Self(Mutex::new(nodes)))
    }

    /// The node to ask now.
    pub(crate) fn preferred(&self) -> Endpoint {
        self.next(|_| 0)
    }

    /// The node to ask next by a call that asked the nodes so often already. One that is silent comes after all others were
    /// asked twice.
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

    /// How many nodes are known.
    pub(crate) fn count(&self) -> usize {
        self.nodes().known.len()
    }

    /// Moves on to the next node that is not silent, unless somebody did already.
    pub(crate) fn failed(&self, url: &str) {
        self.nodes().leave(url);
    }

    /// A node was not heard: it is asked last until it answers a probe.
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

    /// Takes the members that a node named, and asks the leader first from now on where that is known to be itself.
    /// Gives the leader when it must be proven first.
    pub(crate) fn learn(&self, status: &GetStatusResponse) -> Option<Endpoint> {
        let mut nodes = self.nodes();
        if status.cluster_id.is_empty()
            || *nodes.cluster_id.get_or_insert_with(|| status.cluster_id.clone()) != status.cluster_id
        {
            return None;
        }
        nodes.members_asked = Instant::now();
        let members: Vec<(u64, String)> = status
            .members
            .iter()
            // A member that says an address which is none cannot be asked.
            .filter_map(|member| Some((member.node_id, endpoint_url(&member.grpc).ok()?)))
            .collect();
        if !members.is_empty() {
            nodes.keep_only(|node| node.given || members.iter().any(|(_, url)| *node.endpoint.url == **url));
        }
        for (_, url) in &members {
            if !nodes.known.iter().any(|node| *node.endpoint.url == **url)
                && let Ok(endpoint) = open(url, true)
            {
                nodes.known.push(Known { endpoint, given: false, silent: false });
            }
        }
        let leader = status.leader_id?;
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

    /// Asks a node that just answered for the members, in the background, when that was not done for long; after a failure
    /// sooner, since another leads perhaps.
    pub(crate) fn refresh(self: &Arc<Self>, node: &Endpoint, after_failure: bool) {
        let fresh = if after_failure { MEMBERS_FRESH_AFTER_FAILURE } else { MEMBERS_FRESH };
        let mut nodes = self.nodes();
        if nodes.members_asked.elapsed() > fresh {
            nodes.members_asked = Instant::now();
            tokio::spawn(learn_from(Arc::downgrade(self), node.clone()));
        }
    }

    /// Asks the leader first from now on, once it has shown that it is a node of this cluster.
    pub(crate) fn follow(self: &Arc<Self>, status: &GetStatusResponse) {
        if let Some(leader) = self.learn(status) {
            tokio::spawn(learn_from(Arc::downgrade(self), leader));
        }
    }

    /// Asks a node for its status and thereby whether it belongs to this cluster. One that belongs to another is forgotten.
    pub(crate) async fn prove(&self, node: &Endpoint) -> Result<GetStatusResponse, Error> {
        let status = status(node).await?;
        let mut nodes = self.nodes();
        if nodes.cluster_id.as_ref().is_some_and(|id| *id != status.cluster_id) {
            nodes.keep_only(|known| known.given || known.endpoint.url != node.url);
            let problem = format!("{} is a node of another cluster, {}", node.url, status.cluster_id);
            return Err(Error::new("unavailable", problem, true));
        }
        if let Some(known) = nodes.known.iter_mut().find(|known| known.endpoint.url == node.url) {
            known.endpoint.unproven = false;
        }
        Ok(status)
    }

    /// The node answered: it is silent no more.
    fn heard(&self, url: &str) {
        let mut nodes = self.nodes();
        if let Some(node) = nodes.known.iter_mut().find(|node| *node.endpoint.url == *url) {
            node.silent = false;
        }
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        // Every change of `Nodes` is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Forgets the others; the preferred one stays preferred where it stays. At least one given node always stays.
    fn keep_only(&mut self, keep: impl Fn(&Known) -> bool) {
        let preferred = Arc::clone(&self.known[self.preferred].endpoint.url);
        self.known.retain(keep);
        self.preferred = self.known.iter().position(|node| node.endpoint.url == preferred).unwrap_or(0);
    }
}

/// Asks a node for the members, again while nobody leads, and the leader whether it is one of them.
async fn learn_from(pool: Weak<Pool>, mut node: Endpoint) {
    for _ in 0..LEADER_TRIES {
        let Some(strong) = pool.upgrade() else { return };
        // A node that fails here fails a call soon, which sees to it.
        let Ok(status) = strong.prove(&node).await else { return };
        match strong.learn(&status) {
            Some(leader) => node = leader,
            None if status.leader_id.is_some() => return,
            None => {
                drop(strong);
                sleep(MEMBERS_FRESH_AFTER_FAILURE).await;
            }
        }
    }
}

/// Asks a silent node how it is until it answers, or the pool is gone.
async fn probe(pool: Weak<Pool>, node: Endpoint) {
    let mut pause = PROBE_PAUSE;
    for failures in 1.. {
        let answer = status(&node).await;
        let Some(pool) = pool.upgrade() else { return };
        match answer {
            Ok(status) => {
                tracing::debug!(url = %node.url, "a silent node answers again");
                pool.heard(&node.url);
                pool.follow(&status);
                return;
            }
            // It is a member no more.
            Err(_) if !pool.nodes().known.iter().any(|known| known.endpoint.url == node.url) => return,
            Err(error) if failures == PROBES_BEFORE_GIVING_UP => node.pipeline.give_up(&error.message),
            Err(_) => {}
        }
        drop(pool);
        sleep(pause).await;
        pause = (pause * 2).min(PROBE_PAUSE_MAX);
    }
}

/// How the cluster looks from a node, which has a moment to say it.
pub(crate) async fn status(node: &Endpoint) -> Result<GetStatusResponse, Error> {
    let mut service = ClusterServiceClient::new(node.channel.clone());
    let request = Request::new(GetStatusRequest { no_state_hash: true });
    match timeout(PROBE_WITHIN, service.get_status(request)).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(Error::from_status(&status, Some(&node.url))),
        Err(_) => {
            let problem = format!("{} did not answer within {PROBE_WITHIN:?}", node.url);
            Err(Error::new("timeout", problem, true))
        }
    }
}

fn open(url: &str, unproven: bool) -> Result<Endpoint, Error> {
    let channel = channel(url)?;
    let url: Arc<str> = url.into();
    let pipeline = Arc::new(Pipeline::to(Arc::clone(&url), channel.clone()));
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
