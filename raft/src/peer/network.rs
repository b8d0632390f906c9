//! openraft's connections to the other members.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use batuta_proto::internal as wire;
use futures_util::{Stream, StreamExt as _, stream};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2, Snapshot};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::commits::Commits;
use super::messages::{self, StreamAppended};
use super::{AddressBook, Client, Target, client};
use crate::codec::consensus::{vote, vote_to_wire};
use crate::integrity::{Asked, Integrity, PeerName};
use crate::platform::{Platform, blocking};
use crate::replica::{ClusterClock, DiskWatch};
use crate::snapshot::SnapshotFile;
use crate::store::FirstIndex;
use crate::types::{Member, TypeConfig, Vote};

const CHUNK_BYTES: usize = 512 << 10;

type Committed = openraft::alias::CommittedLeaderIdOf<TypeConfig>;
type RpcError = RPCError<TypeConfig>;

/// Makes connections: per member one for replication, one for heartbeats and one for snapshots, so that none
/// waits behind another.
pub(crate) struct Network {
    pub(crate) cluster_id: String,
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) first_index: FirstIndex,
    pub(crate) commits: Commits,
    pub(crate) clock: Arc<ClusterClock>,
    pub(crate) book: Arc<AddressBook>,
    pub(crate) integrity: Arc<Integrity>,
    pub(crate) disk: Arc<DiskWatch>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &Member) -> Connection {
        Connection {
            target: Target::new(&self.cluster_id, target),
            peer: PeerName { node_id: target, name: node.name.clone() },
            integrity: Arc::clone(&self.integrity),
            stored: node.addresses.peer.clone(),
            client: None,
            book: Arc::clone(&self.book),
            platform: Arc::clone(&self.platform),
            first_index: self.first_index.clone(),
            commits: self.commits.clone(),
            clock: Arc::clone(&self.clock),
            disk: Arc::clone(&self.disk),
        }
    }
}

/// One connection to one member. openraft keeps it as long as this node leads, even if the member moves in
/// the meantime; so every call looks up the address again.
pub(crate) struct Connection {
    target: Target,
    peer: PeerName,
    integrity: Arc<Integrity>,
    /// The member's address when openraft requested the connection.
    stored: String,
    /// The client in use, and the address it connects to.
    client: Option<(String, Client)>,
    book: Arc<AddressBook>,
    platform: Arc<dyn Platform>,
    first_index: FirstIndex,
    commits: Commits,
    clock: Arc<ClusterClock>,
    disk: Arc<DiskWatch>,
}

/// Whether the request begins at an entry that this node has purged. openraft may resume a command that a
/// snapshot has overtaken; the entries read for it would have a gap. openraft plans again when the stream
/// fails.
fn overtaken(request: &AppendEntriesRequest<TypeConfig>, first: &FirstIndex) -> bool {
    request.prev_log_id.map_or(0, |id| id.index + 1) < first.get()
}

fn unreachable(error: &(impl std::error::Error + 'static)) -> RpcError {
    RPCError::Unreachable(Unreachable::new(error))
}

/// Backs off from a peer that is down or is a different member; other failures are retried at once.
fn failed(status: &Status) -> RpcError {
    match status.code() {
        Code::Unavailable | Code::FailedPrecondition | Code::Unimplemented | Code::DataLoss => {
            unreachable(status)
        }
        _ => RPCError::Network(NetworkError::new(status)),
    }
}

/// A request of the leader; it says whether the leader's disk is short of space.
fn append_to_wire(
    request: &AppendEntriesRequest<TypeConfig>,
    clock: &ClusterClock,
    disk: &DiskWatch,
) -> wire::AppendRequest {
    wire::AppendRequest { leader_disk_low: disk.low().is_some(), ..messages::append_to_wire(request, clock) }
}

/// A member whose log lost entries or differs is treated like an unreachable one.
fn not_counted(why: String) -> RpcError {
    unreachable(&Status::data_loss(why))
}

fn malformed(error: &crate::codec::DecodeError) -> RpcError {
    RPCError::Network(NetworkError::new(error))
}

impl Connection {
    fn client(&mut self) -> Result<Client, Box<RpcError>> {
        let address = self.book.peer(self.peer.node_id).unwrap_or_else(|| self.stored.clone());
        if let Some((connected, client)) = &self.client
            && *connected == address
        {
            return Ok(client.clone());
        }
        let client =
            client(self.platform.as_ref(), &address).map_err(|error| Box::new(unreachable(&error)))?;
        self.client = Some((address, client.clone()));
        Ok(client)
    }

    /// Records the fault of a member that reports that its log lost entries or differs.
    fn failed(&self, status: &Status) -> RpcError {
        if status.code() == Code::DataLoss {
            self.integrity.accuse(&self.peer, status.message().to_owned(), None);
        }
        failed(status)
    }

    async fn within<T>(
        &self,
        within: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, RpcError> {
        match tokio::time::timeout(within, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failed(&status)),
            Err(elapsed) => Err(RPCError::Network(NetworkError::new(&elapsed))),
        }
    }

    async fn ask(
        &mut self,
        rpc: &VoteRequest<TypeConfig>,
        pre_vote: bool,
        within: Duration,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let mut client = self.client().map_err(|error| *error)?;
        let mut request = messages::vote_request_to_wire(rpc, pre_vote);
        self.integrity.stamp_vote(self.peer.node_id, &mut request);
        let response = self.within(within, client.vote(self.target.request(request))).await?;
        self.integrity.compare_with(&self.peer, response.applied).map_err(not_counted)?;
        messages::vote_response(response).map_err(|error| malformed(&error))
    }
}

impl RaftNetworkV2<TypeConfig> for Connection {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let mut client = self.client().map_err(|error| *error)?;
        let mut request = append_to_wire(&rpc, &self.clock, &self.disk);
        self.integrity.stamp_append(self.peer.node_id, &mut request);
        let response = self.within(option.soft_ttl(), client.append(self.target.request(request))).await?;
        self.disk.note_member(self.peer.node_id, response.disk_room);
        messages::appended(&response).map_err(|error| malformed(&error))
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let mut client = self.client().map_err(|error| *error)?;
            // After failures openraft waits in this stream before it gives the next request. A call that
            // cannot connect fails without polling the stream, so wait for the first request here; otherwise
            // the leader would retry without a pause.
            let Some(first) = input.next().await else {
                return Ok(Box::pin(stream::empty()) as BoxStream<'s, _>);
            };
            if overtaken(&first, &self.first_index) {
                return Err(RPCError::Network(NetworkError::new(&Status::out_of_range(
                    "the entries are purged",
                ))));
            }
            let first_index = self.first_index.clone();
            let input = self
                .commits
                .hold(input)
                .take_while(move |request| std::future::ready(!overtaken(request, &first_index)));
            let sent = Sent::default();
            let noted = sent.clone();
            let (integrity, peer) = (Arc::clone(&self.integrity), self.peer.clone());
            let (clock, disk) = (Arc::clone(&self.clock), Arc::clone(&self.disk));
            let requests = stream::once(std::future::ready(first)).chain(input).map(move |request| {
                let mut request = append_to_wire(&request, &clock, &disk);
                noted.push(integrity.stamp_append(peer.node_id, &mut request));
                request
            });
            let call = client.stream_append(self.target.request(requests));
            let responses = self.within(option.soft_ttl(), call).await?;
            let (integrity, peer) = (Arc::clone(&self.integrity), self.peer.clone());
            let within = option.soft_ttl().max(STREAM_ANSWER_WITHIN);
            let answers = Answers { responses, sent, within, integrity, peer, disk: Arc::clone(&self.disk) };
            let answers = stream::unfold(Some(answers), |answers| async move {
                let mut answers = answers?;
                let answer = answers.next().await?;
                let more = matches!(answer, Ok(Ok(_)));
                Some((answer, more.then_some(answers)))
            });
            Ok(Box::pin(answers) as BoxStream<'s, _>)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.ask(&rpc, false, option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.ask(&rpc, true, option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        leader: Vote,
        snapshot: Snapshot<Committed, u64, Member, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let mut client = self.client().map_err(|error| *error)?;
        let request = self.target.request(chunks(&leader, snapshot.snapshot, Arc::clone(&self.platform)));
        let response = tokio::select! {
            closed = cancel => return Err(StreamingError::Closed(closed)),
            response = client.install_snapshot(request) => response.map_err(|status| self.failed(&status))?,
        };
        let vote = vote(response.into_inner().vote).map_err(|error| malformed(&error))?;
        Ok(SnapshotResponse::new(vote))
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let mut client = self.client().map_err(|error| *error)?;
        let request = self.target.request(messages::transfer_to_wire(&req));
        let response = self.within(option.soft_ttl(), client.transfer_leader(request)).await?;
        if response.refused.is_empty() {
            return Ok(Ok(()));
        }
        Err(RPCError::Network(NetworkError::new(&Status::aborted(response.refused))))
    }
}

/// The snapshot's bytes as messages. A file that can no longer be read ends the stream early, which the
/// receiver notices.
fn chunks(
    leader: &Vote,
    snapshot: SnapshotFile,
    platform: Arc<dyn Platform>,
) -> impl Stream<Item = wire::SnapshotChunk> + Send + 'static {
    let start = (0, Some(vote_to_wire(leader)), snapshot, platform);
    stream::unfold(start, |(offset, mut vote, snapshot, platform)| async move {
        if vote.is_none() && offset >= snapshot.bytes {
            return None;
        }
        let file = snapshot.clone();
        let data = match blocking(platform.as_ref(), move || file.chunk(offset, CHUNK_BYTES)).await {
            Ok(data) => data,
            Err(error) => {
                tracing::error!(%error, path = %snapshot.path().display(), "the snapshot cannot be read");
                return None;
            }
        };
        let next = offset + data.len() as u64;
        let chunk = wire::SnapshotChunk { vote: vote.take(), bytes_total: snapshot.bytes, data: data.into() };
        Some((chunk, (next, None, snapshot, platform)))
    })
}

/// A slow disk does not make a follower unreachable: one answer of the stream may take this long.
const STREAM_ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The unanswered requests: when each was sent, and what it said.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<VecDeque<(Instant, Asked)>>>);

impl Sent {
    fn push(&self, asked: Asked) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back((Instant::now(), asked));
    }

    fn pop(&self) -> Option<Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front().map(|(_, asked)| asked)
    }

    fn oldest(&self) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).front().map(|(at, _)| *at)
    }
}

struct Answers {
    responses: tonic::Streaming<wire::AppendResponse>,
    sent: Sent,
    within: Duration,
    integrity: Arc<Integrity>,
    peer: PeerName,
    disk: Arc<DiskWatch>,
}

impl Answers {
    /// Returns the next answer; an error when an answer is overdue.
    async fn next(&mut self) -> Option<Result<StreamAppended, RpcError>> {
        loop {
            match tokio::time::timeout(self.within, self.responses.message()).await {
                Ok(Ok(Some(response))) => return Some(self.understood(&response).map_err(|error| *error)),
                Ok(Ok(None)) => return None,
                Ok(Err(status)) => {
                    if status.code() == Code::DataLoss {
                        self.integrity.accuse(&self.peer, status.message().to_owned(), None);
                    }
                    return Some(Err(failed(&status)));
                }
                Err(elapsed) if self.sent.oldest().is_some_and(|sent| sent.elapsed() >= self.within) => {
                    return Some(Err(RPCError::Network(NetworkError::new(&elapsed))));
                }
                // No request is open, or the oldest one is still recent.
                Err(_) => {}
            }
        }
    }

    /// Converts an answer for openraft. An answer showing that the follower's log lost entries or differs
    /// becomes an error.
    fn understood(&self, response: &wire::AppendResponse) -> Result<StreamAppended, Box<RpcError>> {
        let asked = self.sent.pop();
        let applied = response.applied;
        self.integrity.learn(&response.members);
        self.disk.note_member(self.peer.node_id, response.disk_room);
        let answer = messages::stream_appended(response).map_err(|error| Box::new(malformed(&error)))?;
        let matched = match &answer {
            Ok(matched) => Ok(*matched),
            Err(StreamAppendError::Conflict(at)) => Err(*at),
            Err(StreamAppendError::HigherVote(_)) => return Ok(answer),
        };
        if let Some(asked) = asked {
            let judged = self.integrity.judge_answer(&self.peer, asked, applied, matched);
            judged.map_err(|why| Box::new(not_counted(why)))?;
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use openraft::Vote as OpenraftVote;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::disk::SimDisk;
    use crate::lineage::SharedLineage;
    use crate::platform::OsPlatform;
    use crate::store::LogEnd;
    use crate::types::Addresses;

    fn bind() -> std::net::TcpListener {
        std::net::TcpListener::bind("127.0.0.1:0").expect("a free port")
    }

    /// The network of node 1 of a cluster, whose log begins at 10 and whose disk has no limit.
    fn network() -> Network {
        let first_index = FirstIndex::default();
        first_index.set(10);
        Network {
            cluster_id: "c".into(),
            platform: Arc::new(OsPlatform::new(bind())),
            first_index,
            commits: Commits::default(),
            clock: Arc::new(ClusterClock::new(Duration::from_secs(1))),
            book: Arc::default(),
            integrity: Arc::new(Integrity::new(1, SharedLineage::default(), LogEnd::default())),
            disk: DiskWatch::start(Arc::new(SimDisk::new()), 0, CancellationToken::new()),
        }
    }

    #[tokio::test]
    async fn request_for_purged_entries_is_not_sent() {
        let peer = bind();
        let mut network = network();
        let addresses =
            Addresses { peer: peer.local_addr().expect("bound").to_string(), ..Addresses::default() };
        let mut connection = network.new_client(2, &Member { name: "b".into(), addresses }).await;
        let request = AppendEntriesRequest {
            vote: OpenraftVote::new(1, 1),
            prev_log_id: Some(crate::types::LogId::new_term_index(1, 1)),
            entries: Vec::new(),
            leader_commit: None,
        };
        let input = stream::iter([request]);
        let option = RPCOption::new(Duration::from_secs(3));
        // The peer never answers, so a request that is sent ends with a timeout.
        let Err(RPCError::Network(refused)) = connection.stream_append(input, option).await else {
            panic!("the request was sent");
        };
        assert!(refused.to_string().contains("purged"), "{refused}");
    }

    #[tokio::test]
    async fn connection_follows_its_member_to_another_address() {
        let book = Arc::new(AddressBook::default());
        let mut network = Network { book: Arc::clone(&book), ..network() };
        let addresses = Addresses { peer: "127.0.0.1:1".to_owned(), ..Addresses::default() };
        let member = Member { name: "b".into(), addresses: addresses.clone() };
        let mut connection = network.new_client(2, &member).await;
        let connects_to = |connection: &mut Connection| {
            connection.client().expect("a client");
            connection.client.as_ref().map(|(address, _)| address.clone())
        };
        assert_eq!(connects_to(&mut connection).as_deref(), Some("127.0.0.1:1"));
        book.note(2, "127.0.0.1:2", addresses, 7);
        assert_eq!(connects_to(&mut connection).as_deref(), Some("127.0.0.1:2"));
    }

    #[tokio::test]
    async fn missing_peer_is_retried_no_faster_than_openraft_asks() {
        let gone = bind().local_addr().expect("bound").to_string();
        let mut network = Network { first_index: FirstIndex::default(), ..network() };
        let addresses = Addresses { peer: gone, ..Addresses::default() };
        let mut connection = network.new_client(2, &Member { name: "b".into(), addresses }).await;
        let request = AppendEntriesRequest {
            vote: OpenraftVote::new(1, 1),
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: None,
        };
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let input = Box::pin(stream::once(async move {
            wait.await.expect("told to go on");
            request
        }));
        let option = RPCOption::new(Duration::from_secs(30));
        let mut call = connection.stream_append(input, option);
        let early = tokio::time::timeout(Duration::from_millis(200), &mut call).await;
        assert!(early.is_err(), "the call ended before openraft gave a request");
        go.send(()).expect("it waits");
        assert!(matches!(call.await, Err(RPCError::Unreachable(_))));
    }
}
