//! openraft's way to the other members.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use batuta_proto::internal as wire;
use futures_util::{Stream, StreamExt as _, stream};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2, Snapshot};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::commits::Commits;
use super::messages::{self, StreamAppended};
use super::{Client, Target, client};
use crate::codec::consensus::{vote, vote_to_wire};
use crate::platform::{Platform, blocking};
use crate::replica::DiskWatch;
use crate::snapshot::SnapshotFile;
use crate::store::FirstIndex;
use crate::types::{Member, TypeConfig, Vote};

const CHUNK_BYTES: usize = 512 << 10;

type Committed = openraft::alias::CommittedLeaderIdOf<TypeConfig>;
type RpcError = RPCError<TypeConfig>;

/// Makes connections: one for replication, one for heartbeats, one for snapshots per member, so that none waits behind
/// another.
pub(crate) struct Network {
    pub(crate) cluster_id: String,
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) first_index: FirstIndex,
    pub(crate) commits: Commits,
    pub(crate) disk: Arc<DiskWatch>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &Member) -> Connection {
        Connection {
            target: Target::new(&self.cluster_id, target),
            client: client(self.platform.as_ref(), &node.addresses.peer),
            platform: Arc::clone(&self.platform),
            first_index: self.first_index.clone(),
            commits: self.commits.clone(),
            disk: Arc::clone(&self.disk),
        }
    }
}

/// One connection to one member.
pub(crate) struct Connection {
    target: Target,
    client: Result<Client, tonic::transport::Error>,
    platform: Arc<dyn Platform>,
    first_index: FirstIndex,
    commits: Commits,
    disk: Arc<DiskWatch>,
}

/// Whether the request begins in what this node has purged. openraft may take up a command again that it has overtaken
/// meanwhile by a snapshot; what can be read for it has a gap. It plans anew when the stream fails.
fn overtaken(request: &AppendEntriesRequest<TypeConfig>, first: &FirstIndex) -> bool {
    request.prev_log_id.map_or(0, |id| id.index + 1) < first.get()
}

fn unreachable(error: &(impl std::error::Error + 'static)) -> RpcError {
    RPCError::Unreachable(Unreachable::new(error))
}

/// A peer that is not there, or not that member, is left alone for a while; other failures are tried again at once.
fn failed(status: &Status) -> RpcError {
    match status.code() {
        Code::Unavailable | Code::FailedPrecondition | Code::Unimplemented => unreachable(status),
        _ => RPCError::Network(NetworkError::new(status)),
    }
}

/// A request of the leader, which says whether its disk runs short.
fn append_to_wire(request: &AppendEntriesRequest<TypeConfig>, disk: &DiskWatch) -> wire::AppendRequest {
    wire::AppendRequest { leader_disk_low: disk.low().is_some(), ..messages::append_to_wire(request) }
}

fn malformed(error: &crate::codec::DecodeError) -> RpcError {
    RPCError::Network(NetworkError::new(error))
}

impl Connection {
    fn client(&self) -> Result<Client, Box<RpcError>> {
        self.client.as_ref().cloned().map_err(|error| Box::new(unreachable(error)))
    }

    async fn within<T>(
        within: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, RpcError> {
        match tokio::time::timeout(within, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(failed(&status)),
            Err(elapsed) => Err(RPCError::Network(NetworkError::new(&elapsed))),
        }
    }

    async fn ask(
        &self,
        rpc: &VoteRequest<TypeConfig>,
        pre_vote: bool,
        within: Duration,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let mut client = self.client().map_err(|error| *error)?;
        let request = self.target.request(messages::vote_request_to_wire(rpc, pre_vote));
        let response = Self::within(within, client.vote(request)).await?;
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
        let request = self.target.request(append_to_wire(&rpc, &self.disk));
        let response = Self::within(option.soft_ttl(), client.append(request)).await?;
        self.disk.note_member(self.target.node_id, response.disk_room);
        messages::appended(response).map_err(|error| malformed(&error))
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
            // After failures openraft waits in this stream before it gives the next request. A call that can not connect fails
            // without a look at the stream, so the wait comes first: else the leader would try again and again without a pause.
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
            let disk = Arc::clone(&self.disk);
            let requests = stream::once(std::future::ready(first)).chain(input).map(move |request| {
                noted.push();
                append_to_wire(&request, &disk)
            });
            let call = client.stream_append(self.target.request(requests));
            let responses = Self::within(option.soft_ttl(), call).await?;
            let within = option.soft_ttl().max(STREAM_ANSWER_WITHIN);
            let (member, disk) = (self.target.node_id, Arc::clone(&self.disk));
            let answers = Answers { responses, sent, within, member, disk };
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
            response = client.install_snapshot(request) => response.map_err(|status| failed(&status))?,
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
        let response = Self::within(option.soft_ttl(), client.transfer_leader(request)).await?;
        if response.refused.is_empty() {
            return Ok(Ok(()));
        }
        Err(RPCError::Network(NetworkError::new(&Status::aborted(response.refused))))
    }
}

/// The snapshot's bytes as messages. A file that can not be read any more ends the stream early, which the receiver sees.
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
                tracing::error!(%error, path = %snapshot.path().display(), "the snapshot can not be read");
                return None;
            }
        };
        let next = offset + data.len() as u64;
        let chunk = wire::SnapshotChunk { vote: vote.take(), bytes_total: snapshot.bytes, data: data.into() };
        Some((chunk, (next, None, snapshot, platform)))
    })
}

/// A follower whose disk is slow is not gone: one answer of the stream may take this long.
const STREAM_ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// When the requests that have no answer yet were sent.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<VecDeque<Instant>>>);

impl Sent {
    fn push(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(Instant::now());
    }

    fn pop(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    }

    fn oldest(&self) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).front().copied()
    }
}

struct Answers {
    responses: tonic::Streaming<wire::AppendResponse>,
    sent: Sent,
    within: Duration,
    /// Who answers.
    member: u64,
    disk: Arc<DiskWatch>,
}

impl Answers {
    /// The next answer; an error when one is overdue.
    async fn next(&mut self) -> Option<Result<StreamAppended, RpcError>> {
        loop {
            match tokio::time::timeout(self.within, self.responses.message()).await {
                Ok(Ok(Some(response))) => {
                    self.sent.pop();
                    self.disk.note_member(self.member, response.disk_room);
                    return Some(messages::stream_appended(response).map_err(|error| malformed(&error)));
                }
                Ok(Ok(None)) => return None,
                Ok(Err(status)) => return Some(Err(failed(&status))),
                Err(elapsed) if self.sent.oldest().is_some_and(|sent| sent.elapsed() >= self.within) => {
                    return Some(Err(RPCError::Network(NetworkError::new(&elapsed))));
                }
                // Nothing was asked, or not for long.
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::Vote as OpenraftVote;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::disk::SimDisk;
    use crate::platform::OsPlatform;
    use crate::types::Addresses;

    /// One without a limit.
    fn disk() -> Arc<DiskWatch> {
        DiskWatch::start(Arc::new(SimDisk::new()), 0, CancellationToken::new())
    }

    #[tokio::test]
    async fn a_request_that_begins_in_what_is_purged_is_not_sent() {
        let bind = || std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let peer = bind();
        let platform = Arc::new(OsPlatform::new(bind()));
        let first_index = FirstIndex::default();
        first_index.set(10);
        let mut network = Network {
            cluster_id: "c".into(),
            platform,
            first_index,
            commits: Commits::default(),
            disk: disk(),
        };
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
        // The peer never answers: a request that is sent ends with its time.
        let Err(RPCError::Network(refused)) = connection.stream_append(input, option).await else {
            panic!("the request was sent");
        };
        assert!(refused.to_string().contains("purged"), "{refused}");
    }

    #[tokio::test]
    async fn a_peer_that_is_not_there_is_asked_no_faster_than_openraft_wants() {
        let bind = || std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let gone = bind().local_addr().expect("bound").to_string();
        let platform = Arc::new(OsPlatform::new(bind()));
        let (first_index, commits) = (FirstIndex::default(), Commits::default());
        let mut network = Network { cluster_id: "c".into(), platform, first_index, commits, disk: disk() };
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
