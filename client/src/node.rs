//! Calls to one specific node: no other node is asked instead, and nothing is sent twice.

use std::future::Future;
use std::time::Duration;

use batuta_proto::v1::cluster_service_client::ClusterServiceClient;
use batuta_proto::v1::{
    GetStatusRequest, GetStatusResponse, TriggerSnapshotRequest, TriggerSnapshotResponse,
};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::Error;
use crate::address::endpoint_url;
use crate::pool::channel;

/// A handle on one specific node.
#[derive(Debug, Clone)]
pub struct Node {
    url: String,
    channel: Channel,
    timeout: Duration,
}

impl Node {
    /// The node behind a gRPC address (`host:port` or URL). Connects on the first call.
    ///
    /// # Errors
    /// The endpoint is not an address, or has an unsupported scheme.
    pub fn at(endpoint: &str, timeout: Duration) -> Result<Self, Error> {
        let url = endpoint_url(endpoint)?;
        Ok(Self { channel: channel(&url)?, url, timeout })
    }

    /// The node's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Reads the status of the cluster as this node sees it. Needs no quorum.
    ///
    /// # Errors
    /// The node did not answer in time.
    pub async fn status(&self) -> Result<GetStatusResponse, Error> {
        let mut service = ClusterServiceClient::new(self.channel.clone());
        self.ask(service.get_status(Request::new(GetStatusRequest::default()))).await
    }

    /// Takes a snapshot on this node and purges its log.
    ///
    /// # Errors
    /// The node's refusal, or that it did not answer in time.
    pub async fn snapshot(&self) -> Result<TriggerSnapshotResponse, Error> {
        let mut service = ClusterServiceClient::new(self.channel.clone());
        self.ask(service.trigger_snapshot(Request::new(TriggerSnapshotRequest {}))).await
    }

    async fn ask<A>(&self, call: impl Future<Output = Result<Response<A>, Status>>) -> Result<A, Error> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(Error::from_status(&status, Some(&self.url))),
            Err(_) => {
                let message = format!("{} did not answer within {:?}", self.url, self.timeout);
                Err(Error::new("timeout", message, true))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn missing_node_is_unavailable() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("bound");
        drop(free);
        let node = Node::at(&address.to_string(), Duration::from_secs(20)).expect("an address");
        assert_eq!(node.url(), format!("http://{address}"));
        assert_eq!(node.status().await.expect_err("nobody listens").code, "unavailable");
    }

    #[tokio::test]
    async fn silent_node_is_given_up() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = silent.local_addr().expect("bound").to_string();
        let node = Node::at(&address, Duration::from_millis(50)).expect("an address");
        assert_eq!(node.status().await.expect_err("nobody answers").code, "timeout");
    }
}
