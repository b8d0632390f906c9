//! The endpoints that are known, the preferred one first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tonic::transport::Channel;

use crate::Error;
use crate::pipeline::Pipeline;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A held-open wait on a node that stopped answering is noticed within the interval and the timeout.
const PING_INTERVAL: Duration = Duration::from_secs(3);
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// One node and the ways to it.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) url: Arc<str>,
    pub(crate) channel: Channel,
    pub(crate) pipeline: Arc<Pipeline>,
}

#[derive(Debug)]
struct Nodes {
    known: Vec<Endpoint>,
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
    pub(crate) fn preferred(&self) -> Endpoint {
        let nodes = self.nodes();
        nodes.known[nodes.preferred].clone()
    }

    /// Moves on to the next node, unless somebody did already.
    pub(crate) fn failed(&self, url: &str) {
        let mut nodes = self.nodes();
        if *nodes.known[nodes.preferred].url == *url {
            nodes.preferred = (nodes.preferred + 1) % nodes.known.len();
        }
    }

    /// Asks this node first from now on.
    pub(crate) fn prefer(&self, endpoint: &str) -> Result<(), Error> {
        let url = url(endpoint);
        let mut nodes = self.nodes();
        if let Some(index) = nodes.known.iter().position(|node| *node.url == *url) {
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

fn open(url: &str) -> Result<Endpoint, Error> {
    let channel = channel(url)?;
    let pipeline = Arc::new(Pipeline::over(channel.clone()));
    Ok(Endpoint { url: url.into(), channel, pipeline })
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
