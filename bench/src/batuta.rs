//! Batuta, used as its Rust client uses it: calls go through one gRPC stream a host. [`crate::fronts`] has
//! the other fronts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use batuta_client::{CallOptions, Pipeline};
use batuta_proto::v1;
use batuta_proto::v1::cluster_service_client::ClusterServiceClient;
use batuta_proto::v1::lock_service_client::LockServiceClient;
use batuta_proto::v1::watch_response::Item;
use batuta_tests::Ports;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::OnceCell;
use tokio::sync::mpsc::UnboundedSender;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::access::{Access, Bearer, enforced, read};
use crate::error::{Error, Result};
use crate::fronts::Front;
use crate::process::{Launch, Servers, one_each};
use crate::system::{
    HOST_TTL, Held, Host, Locks, NODES, Name, Setup, System, channel, impatient_channel, millis,
};

/// The longest an acquisition waits for a lock, milliseconds.
pub(crate) const WAIT_MS: u64 = 60_000;
/// Length of the names that [`Host::write`] writes to; with the entry around it, a write is about 256 bytes.
const WRITE_NAME_BYTES: usize = 240;

/// A cluster with Batuta's defaults.
pub(crate) type Batuta = Cluster<false>;
/// The same cluster, which enforces access; every client sends a token.
pub(crate) type BatutaSecured = Cluster<true>;

/// A cluster of three `batuta server` processes.
pub(crate) struct Cluster<const SECURED: bool> {
    servers: Servers,
    grpc: Vec<u16>,
    rest: Vec<u16>,
    access: Access,
}

impl<const SECURED: bool> Cluster<SECURED> {
    /// Turns access on, and waits until every node enforces it.
    async fn secure(&mut self) -> Result<()> {
        self.leader().await?;
        self.access = Access::enforce(&self.grpc).await?;
        for node in 0..NODES {
            // A linearizable read: from here on the node has the key and the mode.
            self.serving(node).await?;
            enforced(self.grpc[node]).await?;
        }
        Ok(())
    }

    /// A client for calls about the cluster, which may need an administrator.
    fn operator(&self, channel: Channel) -> ClusterServiceClient<Signed> {
        ClusterServiceClient::with_interceptor(channel, self.access.admin.clone())
    }
}

/// A connection on which every call carries the key, if there is one.
type Signed = InterceptedService<Channel, Bearer>;

impl<const SECURED: bool> System for Cluster<SECURED> {
    const NAME: Name = if SECURED { Name::BatutaSecured } else { Name::Batuta };
    const ROWS: &'static [u8] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
    type Host = BatutaHost;
    type Front = Front;

    async fn start(setup: &Setup) -> Result<Self> {
        let (program, directory) = (setup.program(Self::NAME)?, setup.directory(Self::NAME)?);
        let mut taken = Ports::default();
        let (grpc, rest, peer) = (one_each(&mut taken)?, one_each(&mut taken)?, one_each(&mut taken)?);
        let peers: Vec<String> =
            peer.iter().enumerate().map(|(node, port)| format!("n{}=127.0.0.1:{port}", node + 1)).collect();
        let launches = (0..NODES).map(|node| {
            let name = format!("n{}", node + 1);
            let arguments = vec![
                "server".to_owned(),
                format!("--name={name}"),
                format!("--data-dir={}", directory.path().join(&name).display()),
                format!("--grpc=127.0.0.1:{}", grpc[node]),
                format!("--rest=127.0.0.1:{}", rest[node]),
                "--ws=127.0.0.1:0".to_owned(),
                format!("--peer=127.0.0.1:{}", peer[node]),
                format!("--peers={}", peers.join(",")),
                "--log-level=error".to_owned(),
                "--stop-with-stdin".to_owned(),
            ];
            Launch { name, program: program.clone(), arguments }
        });
        let launches = launches.collect();
        let servers = Servers::start(directory, taken, launches)?;
        let mut cluster = Self { servers, grpc, rest, access: Access::default() };
        if SECURED {
            cluster.secure().await?;
        }
        Ok(cluster)
    }

    fn servers(&mut self) -> &mut Servers {
        &mut self.servers
    }

    async fn leads(&self, node: usize) -> Option<bool> {
        let channel = impatient_channel(self.grpc[node]).await.ok()?;
        let request = v1::GetStatusRequest { no_state_hash: true };
        let status = self.operator(channel).get_status(request).await.ok()?.into_inner();
        Some(status.ready && status.role() == v1::MemberRole::Leader)
    }

    async fn connect(&self, node: usize) -> Result<BatutaHost> {
        BatutaHost::new(channel(self.grpc[node]).await?, self.access.clients.clone()).await
    }

    async fn serves(&self, node: usize) -> Result<()> {
        read(self.grpc[node], self.access.clients.clone()).await
    }

    async fn snapshot(&self, node: usize) -> Result<()> {
        let mut cluster = self.operator(channel(self.grpc[node]).await?);
        // A snapshot may take longer than the default time limit of a call.
        let mut request = tonic::Request::new(v1::TriggerSnapshotRequest {});
        request.set_timeout(Duration::from_mins(2));
        cluster.trigger_snapshot(request).await?;
        Ok(())
    }

    async fn fronts(&self, node: usize) -> Result<Vec<(&'static str, Front)>> {
        let host = self.connect(node).await?;
        Front::all(host, self.rest[node]).await
    }
}

/// A host with a session.
#[derive(Clone)]
pub(crate) struct BatutaHost {
    channel: Channel,
    bearer: Bearer,
    pipeline: Arc<Pipeline>,
    session_id: String,
    /// A fencing token that was granted: registers accept no other.
    token: Arc<OnceCell<u64>>,
}

impl BatutaHost {
    async fn new(channel: Channel, bearer: Bearer) -> Result<Self> {
        let pipeline = Arc::new(Pipeline::over(channel.clone()).credential(bearer.credential())?);
        let session_id = open(&pipeline, HOST_TTL).await?;
        Ok(Self { channel, bearer, pipeline, session_id, token: Arc::default() })
    }

    /// The id of the host's session.
    pub(crate) fn session_id(&self) -> &str {
        &self.session_id
    }

    /// The key that the host's calls carry.
    pub(crate) fn bearer(&self) -> &Bearer {
        &self.bearer
    }

    /// A client for calls outside the stream, on the same connection.
    pub(crate) fn unary(&self) -> LockServiceClient<Signed> {
        LockServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// The request that takes a lock for the host's session.
    pub(crate) fn wanted(&self, name: String) -> v1::AcquireRequest {
        let locks = vec![v1::LockRequest { name, ..Default::default() }];
        let session_id = self.session_id.clone();
        v1::AcquireRequest { locks, session_id, wait_ms: WAIT_MS, ..Default::default() }
    }

    async fn grant(&self, name: String) -> Result<v1::Grant> {
        granted(self.pipeline.call(self.wanted(name), &CallOptions::default()).await?)
    }
}

/// The grant in an answer.
pub(crate) fn granted(answer: v1::AcquireResponse) -> Result<v1::Grant> {
    answer.grant.ok_or_else(|| Error::other("an answer without a grant"))
}

async fn open(pipeline: &Pipeline, ttl: Duration) -> Result<String> {
    let request = v1::OpenSessionRequest { ttl_ms: millis(ttl), ..Default::default() };
    let session = pipeline.call(request, &CallOptions::default()).await?.session;
    session.map(|session| session.session_id).ok_or_else(|| Error::other("an answer without a session"))
}

impl Locks for BatutaHost {
    async fn lock(&self, name: String) -> Result<Held> {
        let id = self.grant(name.clone()).await?.lock_id;
        Ok(Held { name, id })
    }

    async fn unlock(&self, held: Held) -> Result<()> {
        let request = v1::ReleaseRequest { lock_id: held.id, ..Default::default() };
        self.pipeline.call(request, &CallOptions::default()).await?;
        Ok(())
    }
}

impl Host for BatutaHost {
    async fn other_owner(&self) -> Result<Self> {
        let session_id = open(&self.pipeline, HOST_TTL).await?;
        Ok(Self { session_id, ..self.clone() })
    }

    async fn write(&self, writer: usize) -> Result<()> {
        // The same token again: nothing changes, but the request is still replicated and synced.
        let token = async {
            let grant = self.grant(format!("token/{}", self.session_id)).await?;
            Ok::<u64, Error>(grant.fencing_token)
        };
        let fencing_token = *self.token.get_or_try_init(|| token).await?;
        let name = format!("write/{writer:0width$}", width = WRITE_NAME_BYTES - "write/".len());
        let request = v1::AdvanceRegisterRequest { name, fencing_token };
        self.pipeline.call(request, &CallOptions::default()).await?;
        Ok(())
    }

    async fn read(&self, name: String) -> Result<()> {
        let request = v1::GetLockRequest { name, ..Default::default() };
        let lock = self.pipeline.call(request, &CallOptions::default()).await?.lock;
        if lock.is_some_and(|lock| !lock.holders.is_empty()) {
            Ok(())
        } else {
            Err(Error::other("the lock is not held"))
        }
    }

    async fn open_session(&self, ttl: Duration) -> Result<String> {
        open(&self.pipeline, ttl).await
    }

    async fn keep_alive(&self, sessions: &[String]) -> Result<u64> {
        let calls = sessions.iter().map(|session_id| {
            let request = v1::KeepAliveRequest { session_id: session_id.clone() };
            async move {
                match self.pipeline.call(request, &CallOptions::default()).await {
                    Ok(_) => Ok(0),
                    Err(error) if error.is_gone() => Ok(1),
                    Err(error) => Err(Error::from(error)),
                }
            }
        });
        stream::iter(calls.collect::<Vec<_>>())
            .buffer_unordered(sessions.len().max(1))
            .try_fold(0, |lost, one| async move { Ok(lost + one) })
            .await
    }

    async fn watch(&self, name: &str, watchers: usize, tell: UnboundedSender<Instant>) -> Result<()> {
        let mut streams = Vec::new();
        for _ in 0..watchers {
            let kinds = vec!["lock_granted".to_owned()];
            let request =
                v1::WatchRequest { name: name.to_owned(), kinds, progress_ms: 600_000, ..Default::default() };
            let mut changes = self.pipeline.watch(request, &CallOptions::default())?;
            // The first message gives the revision at which the watch starts.
            changes.next().await?;
            streams.push(Box::pin(stream::unfold(changes, |mut changes| async {
                changes.next().await.ok().map(|message| (message, changes))
            })));
        }
        // One task reads everything that arrives on a connection, as for the other systems.
        let mut messages = stream::select_all(streams);
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                if matches!(message.item, Some(Item::Changes(_))) && tell.send(Instant::now()).is_err() {
                    return;
                }
            }
        });
        Ok(())
    }
}
