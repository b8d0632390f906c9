//! The gRPC front on a free port, and requests that tests share.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::SocketAddr;

use batuta_api::grpc;
use batuta_proto::v1;
use batuta_proto::v1::lock_service_client::LockServiceClient;
use tonic::transport::Channel;

use crate::support::Node;

pub(crate) struct Front {
    pub(crate) node: Node,
    address: SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

impl Front {
    pub(crate) async fn start() -> Self {
        let node = Node::start().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let router = grpc::router(node.service.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
        Self { node, address, server }
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).expect("a URL");
        endpoint.connect().await.expect("connects")
    }

    pub(crate) async fn stop(self) {
        self.server.abort();
        self.node.stop().await;
    }
}

pub(crate) fn exclusive(name: &str) -> v1::AcquireRequest {
    let lock =
        v1::LockRequest { name: name.to_owned(), mode: v1::LockMode::Exclusive.into(), ..Default::default() };
    v1::AcquireRequest {
        locks: vec![lock],
        ttl_ms: Some(600_000),
        owner: "test".to_owned(),
        ..Default::default()
    }
}

pub(crate) async fn waiters(locks: &mut LockServiceClient<Channel>, name: &str) -> u64 {
    let request = v1::ExplainRequest { name: name.to_owned(), ..Default::default() };
    let explained = locks.explain(request).await.expect("explains").into_inner();
    explained.lock.map_or(0, |lock| lock.waiter_count)
}
