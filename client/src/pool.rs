//! The endpoints that are known, the preferred one first.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A held-open wait on a node that stopped answering is noticed within the interval and the timeout.
const PING_INTERVAL: Duration = Duration::from_secs(3);
const PING_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug)]
struct Node {
    url: String,
    channel: Channel,
}

#[derive(Debug)]
struct Nodes {
    known: Vec<Node>,
    preferred: usize,
}

/// The nodes of one cluster. Never empty.
#[derive(Debug)]
pub(crate) struct Pool(Mutex<Nodes>);

impl Pool {
    pub(crate) fn new(endpoints: &[String]) -> Result<Self, Error> {
        let known = endpoints.iter().map(|endpoint| open(&url(endpoint))).collect::<Result<Vec<_>, _>>()?;
        if known.is_empty() {
            return Err(Error::invalid("no endpoint given"));
        }
        Ok(Self(Mutex::new(Nodes { known, preferred: 0 })))
    }

    /// The node to ask now.
    pub(crate) fn preferred(&self) -> (String, Channel) {
        let nodes = self.nodes();
        let node = &nodes.known[nodes.preferred];
        (node.url.clone(), node.channel.clone())
    }

    /// Moves on to the next node, unless somebody did already.
    pub(crate) fn failed(&self, url: &str) {
        let mut nodes = self.nodes();
        if nodes.known[nodes.preferred].url == url {
            nodes.preferred = (nodes.preferred + 1) % nodes.known.len();
        }
    }

    /// Asks this node first from now on.
    pub(crate) fn prefer(&self, endpoint: &str) -> Result<(), Error> {
        let url = url(endpoint);
        let mut nodes = self.nodes();
        if let Some(index) = nodes.known.iter().position(|node| node.url == url) {
            nodes.preferred = index;
            return Ok(());
        }
        nodes.known.push(open(&url)?);
        nodes.preferred = nodes.known.len() - 1;
        Ok(())
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        // Every change of `Nodes` is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn url(endpoint: &str) -> String {
    let endpoint = endpoint.trim().trim_end_matches('/');
    if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") }
}

fn open(url: &str) -> Result<Node, Error> {
    Ok(Node { url: url.to_owned(), channel: channel(url)? })
}

pub(crate) fn channel(url: &str) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|error| Error::invalid(format!("endpoint {url}: {error}")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .tcp_nodelay(true);
    Ok(endpoint.connect_lazy())
}
