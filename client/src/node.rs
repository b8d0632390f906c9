//! Calls to one specific node: no other node is asked instead, and nothing is sent twice.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use batuta_proto::v1::access_service_client::AccessServiceClient;
use batuta_proto::v1::cluster_service_client::ClusterServiceClient;
use batuta_proto::v1::{
    GetAccessReportRequest, GetAccessReportResponse, GetStatusRequest, GetStatusResponse, ReadAuditRequest,
    ReadAuditResponse, TriggerSnapshotRequest, TriggerSnapshotResponse,
};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::address::endpoint_url;
use crate::credential::Credentials;
use crate::pool::channel;
use crate::{Credential, Error};

/// A handle on one specific node.
#[derive(Debug, Clone)]
pub struct Node {
    url: String,
    channel: Channel,
    timeout: Duration,
    credentials: Arc<Credentials>,
}

impl Node {
    /// The node behind a gRPC address (`host:port` or URL). Connects on the first call.
    ///
    /// # Errors
    /// The endpoint is not an address, or has an unsupported scheme.
    pub fn at(endpoint: &str, timeout: Duration) -> Result<Self, Error> {
        let url = endpoint_url(endpoint)?;
        Ok(Self { channel: channel(&url)?, url, timeout, credentials: Credentials::none() })
    }

    /// Sets how the client proves who it is; not at all unless set.
    ///
    /// # Errors
    /// The token file has no token, or the token is not printable ASCII.
    pub fn credential(self, credential: &Credential) -> Result<Self, Error> {
        Ok(Self { credentials: Credentials::open(credential)?, ..self })
    }

    /// The node's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Reads the status of the cluster as this node sees it. Needs no quorum.
    ///
    /// # Errors
    /// The node did not answer in time, or the caller may not read the status.
    pub async fn status(&self) -> Result<GetStatusResponse, Error> {
        self.ask(GetStatusRequest::default(), |channel, request| async move {
            ClusterServiceClient::new(channel).get_status(request).await
        })
        .await
    }

    /// Whether the node says that it is ready. Every node answers that, whoever asks.
    ///
    /// # Errors
    /// The node did not answer in time.
    pub async fn is_ready(&self) -> Result<bool, Error> {
        let mut service = HealthClient::new(self.channel.clone());
        let answer = self.within(service.check(HealthCheckRequest::default())).await?;
        Ok(answer.status() == ServingStatus::Serving)
    }

    /// Takes a snapshot on this node and purges its log.
    ///
    /// # Errors
    /// The node's refusal, or that it did not answer in time.
    pub async fn snapshot(&self) -> Result<TriggerSnapshotResponse, Error> {
        self.ask(TriggerSnapshotRequest {}, |channel, request| async move {
            ClusterServiceClient::new(channel).trigger_snapshot(request).await
        })
        .await
    }

    /// Reads a page of this node's audit, oldest lines first.
    ///
    /// # Errors
    /// The node's refusal, or that it did not answer in time.
    pub async fn audit(&self, request: ReadAuditRequest) -> Result<ReadAuditResponse, Error> {
        self.ask(request, |channel, request| async move {
            AccessServiceClient::new(channel).read_audit(request).await
        })
        .await
    }

    /// Reads which calls this node would have denied in mode `observe`.
    ///
    /// # Errors
    /// The node's refusal, or that it did not answer in time.
    pub async fn access_report(
        &self,
        request: GetAccessReportRequest,
    ) -> Result<GetAccessReportResponse, Error> {
        self.ask(request, |channel, request| async move {
            AccessServiceClient::new(channel).get_access_report(request).await
        })
        .await
    }

    /// Makes a call. When its token is refused and the token file has another one, the call is made again.
    async fn ask<Q, A, R>(&self, message: Q, rpc: impl Fn(Channel, Request<Q>) -> R) -> Result<A, Error>
    where
        Q: Clone,
        R: Future<Output = Result<Response<A>, Status>>,
    {
        let sent = self.credentials.generation();
        let answer = self.within(rpc(self.channel.clone(), self.signed(message.clone()))).await;
        if let Err(error) = &answer
            && error.is_token_refused()
            && self.credentials.replaced(sent).await
        {
            return self.within(rpc(self.channel.clone(), self.signed(message))).await;
        }
        answer
    }

    fn signed<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        self.credentials.sign(&mut request);
        request
    }

    async fn within<A>(&self, call: impl Future<Output = Result<Response<A>, Status>>) -> Result<A, Error> {
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
