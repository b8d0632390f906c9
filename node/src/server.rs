//! `batuta server`: one node, from its configuration to its last answer.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use batuta_api::Hosts;
use batuta_api::graphql::{GraphqlOptions, SocketOptions};
use batuta_api::service::{Service, ServiceOptions};
use batuta_api::ws::WsOptions;
use batuta_config::NodeConfig;
use batuta_config::validated::AuditFailure;
use batuta_raft::{Addresses, Options, OsPlatform, Replica, Status};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::access::birth::{Birth, BirthError};
use crate::access::recovery::Recovery;
use crate::audit::NodeAudit;
use crate::connection::Connections;
use crate::front::serve_http;
use crate::ready::{self, Ready, ReadyNode};
use crate::signals;

/// How long requests in flight may take to finish once a stop is asked for.
const DRAIN_WITHIN: Duration = Duration::from_secs(6);
/// How long leadership may take to be handed over.
const TRANSFER_WITHIN: Duration = Duration::from_secs(3);

/// Why a node did not run, or stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error(
        "cannot listen for {what} on {address}: {source}; choose another address or stop what listens there"
    )]
    Listen { what: &'static str, address: String, source: io::Error },
    #[error(transparent)]
    Start(#[from] batuta_raft::StartError),
    #[error(transparent)]
    Birth(#[from] BirthError),
    #[error("the thread of the audit cannot be started: {0}")]
    Audit(io::Error),
    #[error("{0}")]
    Fatal(String),
    #[error("{what} stopped: {source}")]
    Front { what: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("ready file {path}: {source}", path = path.display())]
    ReadyFile { path: PathBuf, source: io::Error },
}

/// Listeners are bound first, all of them, so that a taken port is an error before anything touches the data.
struct Listeners {
    rest: TcpListener,
    grpc: TcpListener,
    ws: TcpListener,
    peer: TcpListener,
}

fn listen(what: &'static str, address: &str) -> Result<TcpListener, ServerError> {
    let error = |source| ServerError::Listen { what, address: address.to_owned(), source };
    let listener = TcpListener::bind(address).map_err(error)?;
    listener.set_nonblocking(true).map_err(error)?;
    Ok(listener)
}

fn bound(listener: &TcpListener) -> Result<SocketAddr, ServerError> {
    listener.local_addr().map_err(|source| ServerError::Listen {
        what: "a front",
        address: String::new(),
        source,
    })
}

impl Listeners {
    fn bind(config: &NodeConfig) -> Result<Self, ServerError> {
        Ok(Self {
            rest: listen("REST", &config.listen.rest)?,
            grpc: listen("gRPC", &config.listen.grpc)?,
            ws: listen("WebSocket", &config.listen.ws)?,
            peer: listen("peers", &config.listen.peer)?,
        })
    }

    /// The advertised addresses: the configured ones, or the bound ones.
    fn addresses(&self, config: &NodeConfig) -> Result<Addresses, ServerError> {
        let told = |configured: &Option<String>, listener: &TcpListener| match configured {
            Some(address) => Ok(address.clone()),
            None => bound(listener).map(|address| address.to_string()),
        };
        Ok(Addresses {
            peer: told(&config.advertise.peer, &self.peer)?,
            rest: format!("http://{}", told(&config.advertise.rest, &self.rest)?),
            grpc: format!("http://{}", told(&config.advertise.grpc, &self.grpc)?),
            ws: format!("ws://{}", told(&config.advertise.ws, &self.ws)?),
        })
    }
}

/// Runs the node until TERM or INT, or until it cannot continue.
pub(crate) async fn run(config: NodeConfig, args: ServerRun) -> Result<(), ServerError> {
    let stop = signals::stop_requested();
    let stdin = stdin_closed(args.stop_with_stdin);
    let listeners = Listeners::bind(&config)?;
    let addresses = listeners.addresses(&config)?;
    let Listeners { rest, grpc, ws, peer } = listeners;
    let level = args.test_level.unwrap_or(batuta_raft::LEVEL);
    let birth = Birth::prepare(&config)?;
    let secured_by = birth.as_ref().map(Birth::token);
    let options = Options { level, secured_by, ..options(&config, peer, addresses.clone()) };
    let replica = Replica::start_on_own_thread(options).await?;
    let audit = NodeAudit::start(&config, &replica).map_err(ServerError::Audit)?;
    let service = Service::new(replica.clone(), service_options(&config, audit.as_ref()));
    let _access = follow_access(&config, birth, &replica, audit.as_ref());
    let stopping = CancellationToken::new();
    let web_socket = batuta_api::ws::router(service.clone(), web_socket_options(&config));
    let http = batuta_api::rest::router(service.clone())
        .merge(batuta_api::graphql::router(service.clone(), graphql_options(&config)))
        .merge(web_socket.clone());
    let connections = Connections::new(config.limits.connections_max);
    let idle = Duration::from_millis(config.limits.connection_idle_ms);
    let mut fronts = tokio::task::JoinSet::new();
    fronts.spawn(serve_http("REST", rest, http, connections.clone(), idle, stopping.clone()));
    let alone = batuta_api::ws::alone(web_socket, &service);
    fronts.spawn(serve_http("WebSocket", ws, alone, connections.clone(), idle, stopping.clone()));
    // Browsers speak gRPC-Web, over HTTP/1.1 as well.
    let calls = batuta_api::grpc::router(service.clone()).layer(tonic_web::GrpcWebLayer::new());
    fronts.spawn(serve_http("gRPC", grpc, calls, connections, idle, stopping.clone()));
    let announced = announce_when_ready(&replica, &config.node.name, &addresses, args.ready_file);
    let fatal = replica.fatal();
    let outcome = tokio::select! {
        () = stop => Ok(Stop::ThisNode),
        () = stdin => Ok(Stop::AllNodes),
        reason = fatal => Err(ServerError::Fatal(reason)),
        Err(error) = announced => Err(error),
        Some(ended) = fronts.join_next() => Err(match ended {
            Ok(Err(error)) => error,
            Ok(Ok(())) => ServerError::Front { what: "a front", source: "it ended by itself".into() },
            Err(error) => ServerError::Front { what: "a front", source: error.into() },
        }),
    };
    let ended = match outcome {
        Ok(stop) => {
            stop_in_order(stop, &replica, &service, &stopping, &mut fronts).await;
            Ok(())
        }
        Err(error) => Err(error),
    };
    if let Some(audit) = audit {
        audit.stop().await;
    }
    ended
}

/// Follows the bootstrap token of a new cluster, and answers requests for recovery, until the result is dropped.
fn follow_access(
    config: &NodeConfig,
    birth: Option<Birth>,
    replica: &Replica,
    audit: Option<&NodeAudit>,
) -> DropGuard {
    let stop = CancellationToken::new();
    if let Some(birth) = birth {
        tokio::spawn(stop.clone().run_until_cancelled_owned(birth.follow(replica.clone())));
    }
    let recovery = Recovery {
        replica: replica.clone(),
        data_dir: config.node.data_dir.clone(),
        allowed: config.access.recovery,
        audit: audit.map(NodeAudit::handle),
    };
    tokio::spawn(recovery.run(stop.clone()));
    stop.drop_guard()
}

/// Why a node stops.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Only this node stops; the other nodes continue.
    ThisNode,
    /// All nodes stop, or the process that started them has ended, so there is no node to hand leadership to.
    AllNodes,
}

/// New work is turned away, leadership is handed over, requests in flight finish, then the replica stops.
async fn stop_in_order(
    stop: Stop,
    replica: &Replica,
    service: &Service,
    stopping: &CancellationToken,
    fronts: &mut tokio::task::JoinSet<Result<(), ServerError>>,
) {
    service.drain();
    let status = replica.status();
    if stop == Stop::ThisNode
        && status.node_id.is_some()
        && status.leader_id == status.node_id
        && status.members.len() > 1
        && let Err(error) = replica.transfer_leader(None, TRANSFER_WITHIN).await
    {
        tracing::warn!(%error, "leadership was not handed over; the others elect a leader when this node is gone");
    }
    stopping.cancel();
    let drained = timeout(DRAIN_WITHIN, async {
        while fronts.join_next().await.is_some() {}
        // WebSocket connections, and what connections that ended left to be withdrawn.
        service.drained().await;
    })
    .await;
    if drained.is_err() {
        tracing::warn!(within = ?DRAIN_WITHIN, "requests in flight did not finish and are cut off");
    }
    replica.shutdown().await;
}

/// What `batuta server` takes beyond the configuration.
#[derive(Debug, Default)]
pub(crate) struct ServerRun {
    /// Written once the node is ready.
    pub(crate) ready_file: Option<PathBuf>,
    /// Stop when standard input ends: the parent process, which started all nodes, is gone or stops them all.
    pub(crate) stop_with_stdin: bool,
    /// The level that the node knows, when it is not that of this build: tests of upgrades run older builds in this way.
    pub(crate) test_level: Option<u32>,
}

async fn stdin_closed(wanted: bool) {
    use tokio::io::AsyncReadExt as _;
    if !wanted {
        return std::future::pending().await;
    }
    let mut stdin = tokio::io::stdin();
    let mut buffer = [0_u8; 64];
    // An error of standard input means the same as its end: the starting process has ended.
    while matches!(stdin.read(&mut buffer).await, Ok(1..)) {}
}

fn service_options(config: &NodeConfig, audit: Option<&NodeAudit>) -> ServiceOptions {
    ServiceOptions {
        timeout: Duration::from_millis(config.limits.request_timeout_ms),
        apply_lag_entries_max: config.limits.apply_lag_entries_max,
        waiting_calls_max: config.limits.waiting_calls_max,
        watchers_max: config.limits.watchers_max,
        watch_queue_changes_max: config.limits.watch_queue_changes_max,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hosts: Hosts::new(config.host_names()),
        audit: audit.map(NodeAudit::handle),
        audit_required: config.audit.on_failure == AuditFailure::Refuse,
    }
}

fn graphql_options(config: &NodeConfig) -> GraphqlOptions {
    let socket = SocketOptions {
        connections_max: config.limits.connections_max,
        subscriptions_max: config.limits.watches_per_connection_max,
        ..SocketOptions::DEFAULT
    };
    // The schema is public (docs/schema.graphql), so a node tells it to who asks.
    GraphqlOptions { introspection: true, page: true, socket }
}

fn web_socket_options(config: &NodeConfig) -> WsOptions {
    WsOptions {
        connections_max: config.limits.connections_max,
        watches_max: config.limits.watches_per_connection_max,
        ..WsOptions::default()
    }
}

fn options(config: &NodeConfig, peer_listen: TcpListener, advertise: Addresses) -> Options {
    Options {
        data_dir: config.node.data_dir.clone(),
        node_name: config.node.name.clone(),
        platform: Arc::new(OsPlatform::new(peer_listen)),
        advertise,
        peers: config.cluster.peers.clone(),
        bootstrap_expect: config.cluster.bootstrap_expect,
        join: config.cluster.join.clone(),
        election_timeout_ms: (config.raft.election_timeout_ms_min, config.raft.election_timeout_ms_max),
        heartbeat_ms: config.raft.heartbeat_ms,
        snapshot_entries: config.raft.snapshot_entries,
        segment_bytes: config.raft.segment_bytes,
        disk_free_min_bytes: config.storage.disk_free_min_bytes,
        history_changes_max: config.limits.history_changes_max,
        history_bytes_max: config.limits.history_bytes_max,
        secured_by: None,
        level: batuta_raft::LEVEL,
    }
}

/// Writes the ready file (or a log line) once the node is ready; resolves only with an error.
async fn announce_when_ready(
    replica: &Replica,
    name: &str,
    addresses: &Addresses,
    ready_file: Option<PathBuf>,
) -> Result<std::convert::Infallible, ServerError> {
    let cluster_id = loop {
        if let Status { cluster_id: Some(id), not_ready: None, .. } = replica.status() {
            break id;
        }
        sleep(Duration::from_millis(20)).await;
    };
    tracing::info!(%cluster_id, name, rest = %addresses.rest, grpc = %addresses.grpc, ws = %addresses.ws, "ready");
    if let Some(path) = ready_file {
        let node = ReadyNode {
            name: name.to_owned(),
            rest: addresses.rest.clone(),
            grpc: addresses.grpc.clone(),
            ws: addresses.ws.clone(),
            graphql: format!("{}/graphql", addresses.rest),
            pid: std::process::id(),
        };
        ready::write(&path, &Ready { cluster_id, nodes: vec![node], token_file: None })
            .map_err(|source| ServerError::ReadyFile { path, source })?;
    }
    std::future::pending().await
}
