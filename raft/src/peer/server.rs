//! What peers may ask of this node.

use std::io::{self, Write as _};
use std::sync::Arc;

use batuta_proto::internal as wire;
use batuta_proto::internal::forward_request::Call;
use batuta_proto::internal::forward_response::Result as Answer;
use batuta_proto::internal::peer_server::{Peer, PeerServer};
use batuta_statemachine::SessionId;
use futures_util::{Stream, StreamExt as _};
use openraft::Snapshot;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::messages;
use super::{MESSAGE_BYTES_MAX, PING_EVERY, PING_WITHIN, WINDOW_BYTES, check_target};
use crate::codec::{self, consensus};
use crate::platform::blocking;
use crate::replica::{self, Core, Failed, Identity, Inner, Leader, LeaderStream, Origin, ProposeError};

/// Answers that may wait for a slow stream.
const ANSWERS: usize = 16_384;
const BATCH: usize = 512;
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
        Ok(core)
    }
}

#[tonic::async_trait]
impl Peer for Service {
    type StreamAppendStream = BoxStream<wire::AppendResponse>;
    type ForwardStream = BoxStream<wire::ForwardResponses>;

    async fn stream_append(
        &self,
        request: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<Self::StreamAppendStream>, Status> {
        let raft = self.member(&request)?.raft.clone();
        let entries = &self.inner.entries;
        if entries.ending.is_cancelled() {
            return Err(stopped("this node stops"));
        }
        let (ending, open) = (entries.ending.clone(), entries.open.token());
        let mut leader = LeaderStream::new(&self.inner);
        let requests = request.into_inner().map(move |message| match message.map(messages::append) {
            Ok(Ok(request)) => {
                leader.note(&request.vote);
                Some(request)
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the leader's entries are not understood");
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
        let answers = raft.stream_append(requests).map(move |answer| {
            let _until_the_end = &open;
            match answer {
                Ok(result) => Ok(messages::stream_appended_to_wire(&result)),
                Err(fatal) => Err(stopped(fatal)),
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn append(
        &self,
        request: Request<wire::AppendRequest>,
    ) -> Result<Response<wire::AppendResponse>, Status> {
        let raft = self.member(&request)?.raft.clone();
        let append = messages::append(request.into_inner()).map_err(malformed)?;
        let answer = raft.append_entries(append).await.map_err(stopped)?;
        if !matches!(answer, messages::Appended::HigherVote(_)) {
            self.inner.leader_heard.note();
        }
        Ok(Response::new(messages::appended_to_wire(&answer)))
    }

    async fn vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        let raft = self.member(&request)?.raft.clone();
        let request = request.into_inner();
        let pre_vote = request.pre_vote;
        let asked = messages::vote_request(request).map_err(malformed)?;
        let answer = if pre_vote { raft.pre_vote(asked).await } else { raft.vote(asked).await };
        Ok(Response::new(messages::vote_response_to_wire(&answer.map_err(stopped)?)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotChunk>>,
    ) -> Result<Response<wire::SnapshotResponse>, Status> {
        let raft = self.member(&request)?.raft.clone();
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
            return Err(Status::data_loss(format!("{received} of {total} bytes of the snapshot arrived")));
        }
        let store = self.inner.snapshots.clone();
        let received = blocking(platform, move || {
            file.sync()?;
            let snapshot = store.file(&file.name)?;
            Ok((snapshot.meta().map_err(io::Error::other)?, snapshot))
        });
        let (meta, snapshot) = received.await.map_err(stopped)?;
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
        });
        let batches = ReceiverStream::new(receiver).ready_chunks(BATCH);
        Ok(Response::new(Box::pin(batches.map(|responses| Ok(wire::ForwardResponses { responses })))))
    }

    async fn identify(
        &self,
        _request: Request<wire::IdentifyRequest>,
    ) -> Result<Response<wire::IdentifyResponse>, Status> {
        let options = &self.inner.options;
        let mut found = wire::IdentifyResponse {
            name: options.node_name.clone(),
            addresses: Some(consensus::addresses_to_wire(&options.advertise)),
            ..Default::default()
        };
        if let Some(core) = self.inner.core() {
            found.cluster_id.clone_from(&core.identity.cluster_id);
            found.node_id = core.identity.node_id;
            found.initialised = core.raft.is_initialized().await.map_err(stopped)?;
            if let Leader::Other { peer, .. } = core.leader() {
                found.leader_peer = peer;
            }
        }
        Ok(Response::new(found))
    }

    async fn adopt(
        &self,
        request: Request<wire::AdoptRequest>,
    ) -> Result<Response<wire::AdoptResponse>, Status> {
        let wire::AdoptRequest { cluster_id, node_id, name } = request.into_inner();
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

    async fn join(
        &self,
        request: Request<wire::JoinRequest>,
    ) -> Result<Response<wire::JoinResponse>, Status> {
        let admitted = replica::admit(&self.inner, request.into_inner()).await;
        Ok(Response::new(admitted.unwrap_or_else(|failed| {
            let refused = match failed {
                Failed::NotLeader => return wire::JoinResponse::default(),
                Failed::Unknown => "whether it was done is not known; ask again".to_owned(),
                Failed::Final(error) => error.to_string(),
            };
            wire::JoinResponse { refused, ..Default::default() }
        })))
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

async fn on_leader(inner: &Arc<Inner>, core: &Core, call: Option<Call>) -> Result<Answer, Failed> {
    let not_understood = |why: String| Failed::Final(ProposeError::Fatal(why));
    match call {
        None => Err(not_understood("the leader does not know this call; upgrade it".to_owned())),
        Some(Call::Propose(proposal)) => {
            let decode = |bytes| codec::request_from_wire(wire::Request::decode(bytes)?);
            let requests =
                proposal.requests.into_iter().map(decode).collect::<Result<_, codec::DecodeError>>();
            let requests = requests.map_err(|error| not_understood(error.to_string()))?;
            let applied = core.proposer.propose(requests).await?;
            Ok(Answer::Proposed(wire::ProposedAnswer {
                revision: applied.revision,
                now_ms: applied.now_ms,
                wall_ms: applied.wall_ms,
                outcomes: applied
                    .outcomes
                    .iter()
                    .map(|outcome| codec::outcome_to_wire(outcome).encode_to_vec().into())
                    .collect(),
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
