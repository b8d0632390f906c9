//! etcd, used through its gRPC API and its lock service.

use std::sync::Arc;
use std::time::{Duration, Instant};

use batuta_tests::Ports;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::error::{Error, Result};
use crate::process::{Launch, Servers, one_each};
use crate::system::{HOST_TTL, Held, Host, Locks, NODES, Name, Setup, System, channel, impatient_channel};

#[expect(unreachable_pub, clippy::pedantic, reason = "generated")]
mod wire {
    pub(crate) mod mvccpb {
        tonic::include_proto!("mvccpb");
    }
    pub(crate) mod etcdserverpb {
        tonic::include_proto!("etcdserverpb");
    }
    pub(crate) mod v3lockpb {
        tonic::include_proto!("v3lockpb");
    }
}

use wire::etcdserverpb::kv_client::KvClient;
use wire::etcdserverpb::lease_client::LeaseClient;
use wire::etcdserverpb::maintenance_client::MaintenanceClient;
use wire::etcdserverpb::watch_client::WatchClient;
use wire::etcdserverpb::watch_create_request::FilterType;
use wire::etcdserverpb::watch_request::RequestUnion;
use wire::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, PutRequest, RangeRequest,
    SnapshotRequest, StatusRequest, WatchCreateRequest, WatchRequest,
};
use wire::v3lockpb::lock_client::LockClient;
use wire::v3lockpb::{LockRequest, UnlockRequest};

/// The most data etcd keeps. Its default, 2 GiB, is too little for a million locks and their history.
const QUOTA_BYTES: u64 = 8 << 30;

/// A cluster of three etcd processes with etcd's defaults.
pub(crate) struct Etcd {
    servers: Servers,
    ports: Vec<u16>,
}

impl System for Etcd {
    const NAME: Name = Name::Etcd;
    const ROWS: &'static [u8] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
    type Host = EtcdHost;
    type Front = EtcdHost;

    async fn start(setup: &Setup) -> Result<Self> {
        let (program, directory) = (setup.program(Self::NAME)?, setup.directory(Self::NAME)?);
        let mut taken = Ports::default();
        let (ports, peers) = (one_each(&mut taken)?, one_each(&mut taken)?);
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        let members: Vec<String> =
            peers.iter().enumerate().map(|(node, port)| format!("n{}={}", node + 1, url(port))).collect();
        let launches = (0..NODES).map(|node| {
            let name = format!("n{}", node + 1);
            let (client, peer) = (url(&ports[node]), url(&peers[node]));
            let arguments = vec![
                format!("--name={name}"),
                format!("--data-dir={}", directory.path().join(&name).display()),
                format!("--listen-client-urls={client}"),
                format!("--advertise-client-urls={client}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster={}", members.join(",")),
                "--initial-cluster-state=new".to_owned(),
                format!("--quota-backend-bytes={QUOTA_BYTES}"),
                "--log-level=error".to_owned(),
            ];
            Launch { name, program: program.clone(), arguments }
        });
        let launches = launches.collect();
        Ok(Self { servers: Servers::start(directory, taken, launches)?, ports })
    }

    fn servers(&mut self) -> &mut Servers {
        &mut self.servers
    }

    async fn leads(&self, node: usize) -> Option<bool> {
        let channel = impatient_channel(self.ports[node]).await.ok()?;
        let status = MaintenanceClient::new(channel).status(StatusRequest {}).await.ok()?.into_inner();
        Some(status.leader != 0 && status.leader == status.header?.member_id)
    }

    async fn connect(&self, node: usize) -> Result<EtcdHost> {
        EtcdHost::new(channel(self.ports[node]).await?).await
    }

    async fn serves(&self, node: usize) -> Result<()> {
        let request = RangeRequest { key: b"nothing".to_vec(), ..Default::default() };
        KvClient::new(impatient_channel(self.ports[node]).await?).range(request).await?;
        Ok(())
    }

    async fn snapshot(&self, node: usize) -> Result<()> {
        let mut maintenance = MaintenanceClient::new(channel(self.ports[node]).await?);
        let mut stream = maintenance.snapshot(SnapshotRequest {}).await?.into_inner();
        let mut bytes = 0;
        while let Some(part) = stream.message().await? {
            bytes += part.blob.len();
        }
        if bytes == 0 { Err(Error::other("etcd sent an empty snapshot")) } else { Ok(()) }
    }

    async fn fronts(&self, node: usize) -> Result<Vec<(&'static str, EtcdHost)>> {
        Ok(vec![("gRPC", self.connect(node).await?)])
    }
}

/// A host with a lease.
#[derive(Clone)]
pub(crate) struct EtcdHost {
    channel: Channel,
    lease: i64,
    alive: Arc<Mutex<Option<KeepAlives>>>,
}

/// The stream on which a host keeps its leases alive, as etcd's own client does.
struct KeepAlives {
    requests: UnboundedSender<LeaseKeepAliveRequest>,
    answers: Streaming<LeaseKeepAliveResponse>,
}

impl EtcdHost {
    async fn new(channel: Channel) -> Result<Self> {
        let lease = grant(&channel, HOST_TTL).await?;
        Ok(Self { channel, lease, alive: Arc::default() })
    }
}

async fn grant(channel: &Channel, ttl: Duration) -> Result<i64> {
    let ttl = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
    Ok(LeaseClient::new(channel.clone()).lease_grant(LeaseGrantRequest { ttl }).await?.into_inner().id)
}

impl Locks for EtcdHost {
    async fn lock(&self, name: String) -> Result<Held> {
        let request = LockRequest { name: name.clone().into_bytes(), lease: self.lease };
        let key = LockClient::new(self.channel.clone()).lock(request).await?.into_inner().key;
        let id = String::from_utf8(key).map_err(|_| Error::other("a key that is not the lock's"))?;
        Ok(Held { name, id })
    }

    async fn unlock(&self, held: Held) -> Result<()> {
        let request = UnlockRequest { key: held.id.into_bytes() };
        LockClient::new(self.channel.clone()).unlock(request).await?;
        Ok(())
    }
}

impl Host for EtcdHost {
    async fn other_owner(&self) -> Result<Self> {
        Self::new(self.channel.clone()).await
    }

    async fn write(&self, writer: usize) -> Result<()> {
        let request = PutRequest { key: format!("write/{writer:08}").into_bytes(), value: vec![b'v'; 240] };
        KvClient::new(self.channel.clone()).put(request).await?;
        Ok(())
    }

    async fn read(&self, name: String) -> Result<()> {
        // The holders of the lock are the keys below its name; '0' follows '/'.
        let (key, range_end) = (format!("{name}/").into_bytes(), format!("{name}0").into_bytes());
        let request = RangeRequest { key, range_end, limit: 1 };
        let found = KvClient::new(self.channel.clone()).range(request).await?.into_inner();
        if found.kvs.is_empty() { Err(Error::other("the lock is not held")) } else { Ok(()) }
    }

    async fn open_session(&self, ttl: Duration) -> Result<String> {
        Ok(grant(&self.channel, ttl).await?.to_string())
    }

    async fn keep_alive(&self, sessions: &[String]) -> Result<u64> {
        let mut alive = self.alive.lock().await;
        let stream = match &mut *alive {
            Some(stream) => stream,
            none => {
                let (requests, outgoing) = mpsc::unbounded_channel();
                let mut leases = LeaseClient::new(self.channel.clone());
                // etcd answers the call only together with the answer to the first keep-alive.
                let first = first_id(sessions)?;
                requests.send(LeaseKeepAliveRequest { id: first }).map_err(|_| broken())?;
                let call = leases.lease_keep_alive(UnboundedReceiverStream::new(outgoing));
                let mut answers = call.await?.into_inner();
                answers.message().await?.ok_or_else(broken)?;
                none.insert(KeepAlives { requests, answers })
            }
        };
        for session in sessions {
            let id = session.parse().map_err(|_| Error::other("not a lease"))?;
            stream.requests.send(LeaseKeepAliveRequest { id }).map_err(|_| broken())?;
        }
        let mut lost = 0;
        for _ in sessions {
            let answer = stream.answers.message().await?.ok_or_else(broken)?;
            lost += u64::from(answer.ttl <= 0);
        }
        Ok(lost)
    }

    async fn watch(&self, name: &str, watchers: usize, tell: UnboundedSender<Instant>) -> Result<()> {
        // One stream carries all watches of a host, as in etcd's own client.
        let (requests, outgoing) = mpsc::unbounded_channel();
        for _ in 0..watchers {
            let create = WatchCreateRequest {
                key: format!("{name}/").into_bytes(),
                range_end: format!("{name}0").into_bytes(),
                filters: vec![FilterType::Nodelete.into()],
            };
            let request_union = Some(RequestUnion::CreateRequest(create));
            requests.send(WatchRequest { request_union }).map_err(|_| broken())?;
        }
        let mut client = WatchClient::new(self.channel.clone());
        let mut stream = client.watch(UnboundedReceiverStream::new(outgoing)).await?.into_inner();
        let mut created = 0;
        while created < watchers {
            let answer = stream.message().await?.ok_or_else(broken)?;
            created += usize::from(answer.created && !answer.canceled);
        }
        tokio::spawn(async move {
            // Kept until the end: without it the stream ends.
            let _requests = requests;
            while let Ok(Some(answer)) = stream.message().await {
                if !answer.events.is_empty() && tell.send(Instant::now()).is_err() {
                    return;
                }
            }
        });
        Ok(())
    }
}

fn first_id(sessions: &[String]) -> Result<i64> {
    sessions.first().and_then(|id| id.parse().ok()).ok_or_else(|| Error::other("no lease to keep alive"))
}

fn broken() -> Error {
    Error::other("etcd ended the stream")
}
