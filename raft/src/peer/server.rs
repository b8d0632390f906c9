//! Serves the calls of other nodes.

use std::io::{self, Write as _};
use std::sync::Arc;

use batuta_proto::internal as wire;
use batuta_proto::internal::forward_request::Call;
use batuta_proto::internal::forward_response::Result as Answer;
use batuta_proto::internal::peer_server::{Peer, PeerServer};
use batuta_statemachine::SessionId;
use futures_util::{Stream, StreamExt as _, stream};
use openraft::Snapshot;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::batch::Batches;
use super::messages;
use super::{MESSAGE_BYTES_MAX, PING_EVERY, PING_WITHIN, WINDOW_BYTES, check_target};
use crate::codec::{self, DecodeError, EncodedRequests, consensus};
use crate::integrity::{Breach, Integrity, PeerName};
use crate::platform::blocking;
use crate::replica::{self, Core, Failed, Identity, Inner, Leader, LeaderStream, Origin, ProposeError};
use crate::snapshot::SnapshotError;

/// Answers that may wait for a slow stream.
const ANSWERS: usize = 16_384;
/// Calls of one stream that are under way at the same time.
const CONCURRENT_STREAMS_MAX: u32 = 1024;

type BoxStream<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Serves peers until the node stops.
pub(crate) fn serve(inner: &Arc<Inner>) {
    let service = PeerServer::new(Service { inner: Arc::clone(inner) })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let server = Server::builder()
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_WITHIN))
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_concurrent_streams(CONCURRENT_STREAMS_MAX)
        .add_service(service);
    let serving = inner.platform.serve(server);
    let inner = Arc::clone(inner);
    let stop = inner.stop.clone();
    inner.clone().tasks.spawn(async move {
        // Streams between members never end by themselves: they are dropped with the server.
        if let Some(Err(error)) = stop.run_until_cancelled(serving).await {
            inner.fail(format!("the listener for peers stopped: {error}"));
        }
    });
}

struct Service {
    inner: Arc<Inner>,
}

fn malformed(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

impl Service {
    /// This node as the member the call is for.
    fn member<T>(&self, request: &Request<T>) -> Result<&Core, Status> {
        let core =
            self.inner.core().ok_or_else(|| Status::failed_precondition("this node is not a member yet"))?;
        check_target(request.metadata(), &core.identity.cluster_id, core.identity.node_id)?;
        match core.integrity.breach() {
            Some(breach) => Err(untrustworthy(&breach)),
            None => Ok(core),
        }
    }
}

/// The other members are told before this node stops.
fn untrustworthy(breach: &Breach) -> Status {
    Status::data_loss(breach.to_string())
}

/// Ends this node when a newer build wrote the leader's entries. The level of the cluster is looked at before, so this is seen only of a
/// node that was put back to an older version while the level was being raised.
fn not_understood(inner: &Inner, error: &DecodeError) {
    tracing::error!(%error, "the leader's entries are not understood");
    if matches!(error, DecodeError::Unknown(_)) {
        inner.fail(inner.levels.unknown(error));
    }
}

/// Passes on a leader's messages until one shows that this node's log has lost entries or has other ones.
fn checked(
    integrity: &Arc<Integrity>,
    messages: Streaming<wire::AppendRequest>,
) -> impl Stream<Item = Result<wire::AppendRequest, Status>> + use<> {
    let integrity = Arc::clone(integrity);
    messages.take_while(move |message| {
        let checked = message.as_ref().map_or(Ok(()), |message| integrity.check_append(message));
        let whole = checked.map_err(|breach| integrity.note_breach(breach)).is_ok();
        std::future::ready(whole)
    })
}

/// Adds to the answers what the leader compares with; the last one says why there are no more.
fn with_applied(
    integrity: Arc<Integrity>,
    answers: impl Stream<Item = Result<wire::AppendResponse, Status>> + Send,
) -> impl Stream<Item = Result<wire::AppendResponse, Status>> + Send {
    let (known, mut first) = (Arc::clone(&integrity), true);
    let answers = answers.map(move |answer| {
        let mut answer = answer?;
        answer.applied = known.applied();
        if std::mem::take(&mut first) {
            answer.members = known.committed_of_others();
        }
        Ok(answer)
    });
    let last = stream::once(async move { integrity.breach() });
    answers
        .chain(last.filter_map(|breach| std::future::ready(breach.map(|breach| Err(untrustworthy(&breach))))))
}

#[tonic::async_trait]
impl Peer for Service {
    type StreamAppendStream = BoxStream<wire::AppendResponse>;
    type ForwardStream = BoxStream<wire::ForwardResponses>;

    async fn stream_append(
        &self,
        request: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<Self::StreamAppendStream>, Status> {
        let core = self.member(&request)?;
        let (raft, integrity) = (core.raft.clone(), Arc::clone(&core.integrity));
        let entries = &self.inner.entries;
        if entries.ending.is_cancelled() {
            return Err(stopped("this node stops"));
        }
        let (ending, open) = (entries.ending.clone(), entries.open.token());
        let mut leader = LeaderStream::new(&self.inner);
        let inner = Arc::clone(&self.inner);
        let known_level = inner.levels.own();
        let heard = move |message: wire::AppendRequest| {
            let (now_ms, disk_low) = (message.now_ms, message.leader_disk_low);
            messages::append(message, known_level).map(|request| (request, now_ms, disk_low))
        };
        let disk = Arc::clone(&self.inner.disk);
        let requests =
            checked(&integrity, request.into_inner()).map(move |message| match message.map(&heard) {
                Ok(Ok((request, now_ms, disk_low))) => {
                    leader.note(&request.vote, now_ms);
                    disk.note_leader(disk_low);
                    Some(request)
                }
                Ok(Err(error)) => {
                    not_understood(&inner, &error);
                    None
                }
                Err(status) => {
                    tracing::debug!(%status, "the leader's stream broke");
                    leader.broke();
                    None
                }
            });
        let requests = requests
            .take_while(|request| std::future::ready(request.is_some()))
            .filter_map(std::future::ready)
            .take_until(ending.cancelled_owned());
        let (heard, disk) = (Arc::clone(&self.inner.leader_heard), Arc::clone(&self.inner.disk));
        let answers = raft.stream_append(requests).map(move |answer| {
            let _until_the_end = &open;
            let result = answer.map_err(stopped)?;
            if result.is_ok() {
                heard.note_answered();
            }
            let answer = messages::stream_appended_to_wire(&result);
            Ok(wire::AppendResponse { disk_room: disk.has_room(), ..answer })
        });
        Ok(Response::new(Box::pin(with_applied(integrity, answers))))
    }

    async fn append(
        &self,
        request: Request<wire::AppendRequest>,
    ) -> Result<Response<wire::AppendResponse>, Status> {
        let core = self.member(&request)?;
        let raft = core.raft.clone();
        let request = request.into_inner();
        core.holds(core.integrity.check_append(&request))?;
        let (now_ms, leader_disk_low) = (request.now_ms, request.leader_disk_low);
        let append = messages::append(request, self.inner.levels.own()).map_err(|error| {
            not_understood(&self.inner, &error);
            malformed(error)
        })?;
        self.inner.clock.hear(append.vote.leader_id.term, now_ms, Instant::now());
        let answer = raft.append_entries(append).await.map_err(stopped)?;
        if !matches!(answer, messages::Appended::HigherVote(_)) {
            self.inner.leader_heard.note();
            self.inner.disk.note_leader(leader_disk_low);
        }
        if matches!(answer, messages::Appended::Success) {
            self.inner.leader_heard.note_answered();
        }
        let disk_room = self.inner.disk.has_room();
        Ok(Response::new(wire::AppendResponse { disk_room, ..messages::appended_to_wire(&answer) }))
    }

    async fn vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        let core = self.member(&request)?;
        let raft = core.raft.clone();
        let request = request.into_inner();
        core.may_vote(&request)?;
        let pre_vote = request.pre_vote;
        let asked = messages::vote_request(request).map_err(malformed)?;
        let answer = if pre_vote { raft.pre_vote(asked).await } else { raft.vote(asked).await };
        let answer = messages::vote_response_to_wire(&answer.map_err(stopped)?);
        Ok(Response::new(wire::VoteResponse { applied: core.integrity.applied(), ..answer }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotChunk>>,
    ) -> Result<Response<wire::SnapshotResponse>, Status> {
        let core = self.member(&request)?;
        let raft = core.raft.clone();
        let mut chunks = request.into_inner();
        let first = chunks.message().await?.ok_or_else(|| malformed("a snapshot without content"))?;
        let vote = consensus::vote(first.vote).map_err(malformed)?;
        let platform = self.inner.platform.as_ref();
        let mut file = self.inner.snapshots.unfinished().map_err(stopped)?;
        let total = first.bytes_total;
        let mut received = 0;
        let mut next = Some(first);
        while let Some(chunk) = next {
            received += chunk.data.len() as u64;
            let write = move || file.write_all(&chunk.data).map(|()| file);
            file = blocking(platform, write).await.map_err(stopped)?;
            next = chunks.message().await?;
        }
        if received != total {
            return Err(Status::aborted(format!("{received} of {total} bytes of the snapshot arrived")));
        }
        let store = self.inner.snapshots.clone();
        let known_level = self.inner.levels.own();
        let received = blocking(platform, move || {
            file.sync()?;
            let snapshot = store.file(&file.name)?;
            let too_new = snapshot.check_level(known_level).err();
            Ok((snapshot.head().map_err(io::Error::other)?, snapshot, too_new))
        });
        let ((meta, lineage), snapshot, too_new) = received.await.map_err(stopped)?;
        if let Some(SnapshotError::TooNew(too_new)) = too_new {
            self.inner.fail(too_new.to_string());
            return Err(Status::failed_precondition(too_new.to_string()));
        }
        core.holds(core.integrity.check_snapshot(vote.leader_id.voted_for, &lineage))?;
        let answer = raft.install_full_snapshot(vote, Snapshot { meta, snapshot }).await.map_err(stopped)?;
        Ok(Response::new(wire::SnapshotResponse { vote: Some(consensus::vote_to_wire(&answer.vote)) }))
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        let raft = self.member(&request)?.raft.clone();
        let transfer = messages::transfer(request.into_inner()).map_err(malformed)?;
        let answer = raft.handle_transfer_leader(transfer).await.map_err(stopped)?;
        let refused = answer.err().map(|error| error.to_string()).unwrap_or_default();
        Ok(Response::new(wire::TransferLeaderResponse { refused }))
    }

    async fn leader_lost(
        &self,
        request: Request<wire::LeaderLostRequest>,
    ) -> Result<Response<wire::LeaderLostResponse>, Status> {
        let core = self.member(&request)?;
        let vote = consensus::vote(request.into_inner().vote).map_err(malformed)?;
        Ok(Response::new(replica::lost(&self.inner, core, &vote).await))
    }

    async fn forward(
        &self,
        request: Request<Streaming<wire::ForwardRequests>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        self.member(&request)?;
        let (answers, receiver) = mpsc::channel(ANSWERS);
        let inner = Arc::clone(&self.inner);
        let mut calls = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(batch)) = calls.message().await {
                for wire::ForwardRequest { id, with_ids, call } in batch.requests {
                    let (inner, answers) = (Arc::clone(&inner), answers.clone());
                    tokio::spawn(async move {
                        let result = Some(answer(&inner, call).await);
                        // The stream may be gone; the asking node knows that.
                        let _ = answers.send(wire::ForwardResponse { id, with_ids, result }).await;
                    });
                }
            }
            inner.peer_left.notify_one();
        });
        let batches = stream::unfold(Batches::new(receiver), |mut answers| async move {
            let responses = answers.next().await?;
            Some((Ok(wire::ForwardResponses { responses }), answers))
        });
        Ok(Response::new(Box::pin(batches)))
    }

    async fn identify(
        &self,
        request: Request<wire::IdentifyRequest>,
    ) -> Result<Response<wire::IdentifyResponse>, Status> {
        if let Some(rival) = request.into_inner().rival {
            replica::warn_of_rival(&self.inner, &rival);
        }
        let me = replica::introduction(&self.inner);
        let mut found = wire::IdentifyResponse {
            name: me.name,
            cluster_id: me.cluster_id,
            node_id: me.node_id,
            addresses: me.addresses,
            boot_id: me.boot_id,
            running_ms: me.running_ms,
            level: me.level,
            version: me.version,
            ..Default::default()
        };
        if let Some(core) = self.inner.core() {
            found.initialised = core.raft.is_initialized().await.map_err(stopped)?;
            if let Leader::Other { peer, .. } = core.leader() {
                found.leader_peer = peer;
            }
        }
        Ok(Response::new(found))
    }

    async fn hello(
        &self,
        request: Request<wire::HelloRequest>,
    ) -> Result<Response<wire::HelloResponse>, Status> {
        let from = request.into_inner().from.ok_or_else(|| malformed("a hello from nobody"))?;
        Ok(Response::new(replica::greet(&self.inner, from).await))
    }

    async fn adopt(
        &self,
        request: Request<wire::AdoptRequest>,
    ) -> Result<Response<wire::AdoptResponse>, Status> {
        let wire::AdoptRequest { cluster_id, node_id, name } = request.into_inner();
        if self.inner.core().is_none() && self.inner.standing.identity().is_some() {
            let refused = "this node has an identity and is starting under it".to_owned();
            return Ok(Response::new(wire::AdoptResponse { refused }));
        }
        let mut refused = String::new();
        if name == self.inner.options.node_name {
            let identity =
                Identity { cluster_id: cluster_id.clone(), node_id, name, origin: Origin::Adopted };
            if let Err(error) = replica::become_member(&self.inner, identity, true).await {
                self.inner.fail(error.to_string());
                refused = error.to_string();
            } else if let Some(core) = self.inner.core()
                && (&core.identity.cluster_id, core.identity.node_id) != (&cluster_id, node_id)
            {
                let own = &core.identity;
                refused =
                    format!("this node is member {} of cluster {} already", own.node_id, own.cluster_id);
            }
        } else {
            refused = format!("this node is named {}, not {name}", self.inner.options.node_name);
        }
        Ok(Response::new(wire::AdoptResponse { refused }))
    }

    async fn acknowledged(
        &self,
        request: Request<wire::AcknowledgedRequest>,
    ) -> Result<Response<wire::AcknowledgedResponse>, Status> {
        let core = self.member(&request)?;
        let last = core.integrity.committed_of(request.into_inner().node_id);
        Ok(Response::new(wire::AcknowledgedResponse { last: last.map(consensus::log_id_to_wire) }))
    }

    async fn join(
        &self,
        request: Request<wire::JoinRequest>,
    ) -> Result<Response<wire::JoinResponse>, Status> {
        let admitted = replica::admit(&self.inner, request.into_inner()).await;
        Ok(Response::new(admitted.unwrap_or_else(|failed| {
            let refused = match failed {
                Failed::NotLeader | Failed::NoMajority => return wire::JoinResponse::default(),
                Failed::Unknown => "whether it was done is not known; ask again".to_owned(),
                Failed::Final(error) => error.to_string(),
            };
            wire::JoinResponse { refused, ..Default::default() }
        })))
    }
}

impl Core {
    /// Passes a check of this node's log; one that fails ends the node.
    fn holds(&self, checked: Result<(), Breach>) -> Result<(), Status> {
        checked.map_err(|breach| {
            let status = untrustworthy(&breach);
            self.integrity.note_breach(breach);
            status
        })
    }

    /// Whether this node may be asked for its vote, by this candidate.
    fn may_vote(&self, request: &wire::VoteRequest) -> Result<(), Status> {
        let candidate = request.vote.map_or(0, |vote| vote.node_id);
        if let Some(acknowledged) = request.acknowledged {
            self.holds(self.integrity.check_acknowledged(consensus::log_id(acknowledged), candidate))?;
        }
        if !self.integrity.may_vote() {
            return Err(Status::unavailable(
                "this node has started just now and asks what it had acknowledged",
            ));
        }
        let name = self.name(candidate).unwrap_or_default();
        let candidate = PeerName { node_id: candidate, name };
        self.integrity.compare_with(&candidate, request.applied).map_err(Status::data_loss)
    }
}

/// Does for another node what only a leader can. A node that does not lead says so; it never passes the call on.
async fn answer(inner: &Arc<Inner>, call: Option<Call>) -> Answer {
    let result = match inner.core() {
        Some(core) if matches!(core.leader(), Leader::Me) => on_leader(inner, core, call).await,
        _ => Err(Failed::NotLeader),
    };
    result.unwrap_or_else(|failed| Answer::Refused(failed.to_wire()))
}

/// The revisions of outcomes, as they are sent: none when they are all that of the entry, which is nearly always so.
fn told_revisions(revision: u64, revisions: Vec<u64>) -> Vec<u64> {
    if revisions.iter().all(|one| *one == revision) { Vec::new() } else { revisions }
}

async fn on_leader(inner: &Arc<Inner>, core: &Core, call: Option<Call>) -> Result<Answer, Failed> {
    let defect = |why: String| Failed::Final(ProposeError::Fatal(why));
    let unknown = || Failed::Final(ProposeError::UpgradePending(inner.levels.leader_does_not_know()));
    match call {
        None => Err(unknown()),
        Some(Call::Propose(proposal)) => {
            let encoded = EncodedRequests::received(proposal.requests);
            let encoded = encoded.map_err(|error| match error {
                DecodeError::Unknown(_) => unknown(),
                error => defect(error.to_string()),
            })?;
            let applied = core.proposer.propose(encoded).await?;
            Ok(Answer::Proposed(wire::ProposedAnswer {
                revision: applied.revision,
                now_ms: applied.now_ms,
                wall_ms: applied.wall_ms,
                outcomes: applied
                    .outcomes
                    .iter()
                    .map(|outcome| codec::outcome_to_wire(outcome).encode_to_vec().into())
                    .collect(),
                outcome_revisions: told_revisions(applied.revision, applied.revisions),
            }))
        }
        Some(Call::KeepAlive(wire::KeepAlives { sessions })) => {
            let session = |id| SessionId(codec::position_from_wire(id));
            let kept = core.proposer.keep_alive(sessions.into_iter().map(session).collect()).await?;
            let replica::KeptAlive { revision, now_ms, deadlines_ms } = kept;
            let deadlines_ms = deadlines_ms.into_iter().map(Option::unwrap_or_default).collect();
            Ok(Answer::KeptAlive(wire::KeptAlives { revision, now_ms, deadlines_ms }))
        }
        Some(Call::ReadIndex(_)) => {
            let index = core.leader_reads.index().await?;
            // The asking node waits until it may apply so much.
            core.commits.tell();
            Ok(Answer::ReadIndex(index))
        }
        // Rare and large: in places of their own, so that the frequent ones stay small.
        Some(Call::RemoveMember(node_id)) => {
            Box::pin(replica::remove(inner, node_id)).await.map(|()| Answer::Done(wire::DoneAnswer {}))
        }
        Some(Call::PromoteMember(node_id)) => {
            Box::pin(replica::promote(inner, node_id)).await.map(|()| Answer::Done(wire::DoneAnswer {}))
        }
        Some(Call::TransferTo(to)) => {
            Box::pin(replica::transfer(inner, to.node_id)).await.map(Answer::Transferred)
        }
    }
}
