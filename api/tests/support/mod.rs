//! A service over a replica of one node in a temporary directory.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use batuta_api::service::acquire::AcquireRequest;
use batuta_api::service::{CallContext, Service, ServiceOptions};
use batuta_raft::{Addresses, Options, OsPlatform, Replica};
use batuta_statemachine::Name;
use batuta_statemachine::lock::{LockRequest, Mode, Owner};

/// How long a test waits for a condition before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Node {
    pub(crate) service: Service,
    pub(crate) context: CallContext,
    replica: Replica,
    _data: tempfile::TempDir,
}

impl Node {
    /// Starts a node with default options and returns when it is ready.
    pub(crate) async fn start() -> Self {
        Self::start_with(ServiceOptions::default()).await
    }

    /// Starts a node whose service has these options and returns when it is ready.
    pub(crate) async fn start_with(service: ServiceOptions) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let peer_listen = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let peer = peer_listen.local_addr().expect("bound").to_string();
        let url = || "http://127.0.0.1:0".to_owned();
        let options = Options {
            data_dir: data.path().to_owned(),
            node_name: "n1".to_owned(),
            platform: Arc::new(OsPlatform::new(peer_listen)),
            advertise: Addresses { peer: peer.clone(), rest: url(), grpc: url(), ws: url() },
            peers: vec![("n1".to_owned(), peer)],
            bootstrap_expect: 1,
            join: Vec::new(),
            election_timeout_ms: (600, 1200),
            heartbeat_ms: 100,
            snapshot_entries: 10_000,
            segment_bytes: 4 * 1024 * 1024,
            disk_free_min_bytes: 0,
            history_changes_max: 1_000,
            history_bytes_max: 1 << 20,
            secured_by: None,
            level: batuta_raft::LEVEL,
        };
        // Boxed, because every test holds the future of a start.
        let replica = Box::pin(Replica::start(options)).await.expect("starts");
        let service = Service::new(replica.clone(), service);
        eventually("the node is ready", async || service.readiness().ready()).await;
        Self { service, context: CallContext::anonymous(), replica, _data: data }
    }

    pub(crate) async fn stop(self) {
        self.service.drain();
        self.service.drained().await;
        self.replica.shutdown().await;
    }
}

pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < PATIENCE, "gave up waiting until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("valid")
}

/// A request for an exclusive one-shot lock that does not wait.
pub(crate) fn one_shot(lock: &str) -> AcquireRequest {
    AcquireRequest {
        requests: vec![LockRequest { name: name(lock), mode: Mode::Exclusive }],
        owner: Owner { session: None, label: "test".to_owned() },
        ttl_ms: Some(600_000),
        wait_ms: 0,
        lock_delay_ms: 0,
        reentrant: false,
        metadata: String::new(),
    }
}
