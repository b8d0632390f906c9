//! Locks and leaderships against a node that answers as each test decides.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use batuta_proto::v1::answer::Result as Outcome;
use batuta_proto::v1::call::Request as Wanted;
use batuta_proto::v1::pipeline_service_server::{PipelineService, PipelineServiceServer};
use batuta_proto::v1::{self, Answer, PipelineRequest, PipelineResponse};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::net::TcpListener;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::*;
use crate::pool::Pool;
use crate::{Backoff, CampaignOptions, LockOptions};

const PATIENCE: Duration = Duration::from_secs(40);
const TOKEN: u64 = 17;

/// The requests that a node was sent.
type Asked = Arc<Mutex<Vec<Wanted>>>;

struct Node {
    asked: Asked,
    /// Whether grants still exist.
    has_grants: bool,
}

impl Node {
    fn answer(&self, request: Wanted) -> Outcome {
        self.asked.lock().expect("no panic").push(request.clone());
        let grant = v1::Grant {
            lock_id: "l-1".to_owned(),
            locks: LockOptions::exclusive("job").locks,
            fencing_token: TOKEN,
            ..Default::default()
        };
        let leader = |value, session_id| {
            Some(v1::Leader {
                candidate_id: "l-1".to_owned(),
                name: "job".to_owned(),
                fencing_token: TOKEN,
                value,
                session_id,
                ..Default::default()
            })
        };
        match request {
            Wanted::OpenSession(_) => {
                let session = Some(v1::Session { session_id: "s-1".to_owned(), ..Default::default() });
                Outcome::OpenSession(v1::OpenSessionResponse { session, revision: 1 })
            }
            Wanted::Acquire(_) => Outcome::Acquire(v1::AcquireResponse { grant: Some(grant), revision: 2 }),
            Wanted::Campaign(wanted) => Outcome::Campaign(v1::CampaignResponse {
                leader: leader(wanted.value, wanted.session_id),
                revision: 2,
            }),
            Wanted::Proclaim(wanted) => Outcome::Proclaim(v1::ProclaimResponse {
                leader: leader(wanted.value, wanted.session_id),
                revision: 3,
            }),
            Wanted::Check(_) => {
                Outcome::Check(v1::CheckResponse { current: self.has_grants, ..Default::default() })
            }
            Wanted::Extend(_) if self.has_grants => Outcome::Extend(v1::ExtendResponse::default()),
            Wanted::Release(_) if self.has_grants => Outcome::Release(v1::ReleaseResponse::default()),
            Wanted::Resign(_) if self.has_grants => Outcome::Resign(v1::ResignResponse::default()),
            _ => {
                let details = ErrorDetails::with_error_info("lock_not_found", "batuta.dev", HashMap::new());
                let status = Status::with_error_details(Code::NotFound, "no such lock", details);
                Outcome::Error(status.details().to_vec().into())
            }
        }
    }
}

#[tonic::async_trait]
impl PipelineService for Node {
    type PipelineStream = Pin<Box<dyn Stream<Item = Result<PipelineResponse, Status>> + Send>>;

    async fn pipeline(
        &self,
        request: Request<Streaming<PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let node = Self { asked: Arc::clone(&self.asked), has_grants: self.has_grants };
        let answers = request.into_inner().map(move |message| {
            let calls = message?.calls.into_iter().filter_map(|call| Some((call.call_id, call.request?)));
            let answers =
                calls.map(|(call_id, request)| Answer { call_id, result: Some(node.answer(request)) });
            Ok(PipelineResponse { answers: answers.collect() })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// A client of a node, and what the node is asked.
async fn client(has_grants: bool) -> (Client, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let incoming = stream::unfold(listener, |listener| async move {
        let connection = listener.accept().await.map(|(stream, _)| stream);
        Some((connection, listener))
    });
    let asked = Asked::default();
    let service = PipelineServiceServer::new(Node { asked: Arc::clone(&asked), has_grants });
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    let client = Client {
        pool: Arc::new(Pool::new(&[address]).expect("an address")),
        namespace: "default".into(),
        timeout: Duration::from_secs(10),
        backoff: Backoff::default(),
    };
    (client, asked)
}

fn wanted_last(asked: &Asked) -> Option<Wanted> {
    asked.lock().expect("no panic").last().cloned()
}

async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const TTL: Duration = Duration::from_secs(30);

fn resignation(session_id: &str) -> Option<Wanted> {
    let (name, session_id) = ("job".to_owned(), session_id.to_owned());
    Some(Wanted::Resign(ResignRequest { name, fencing_token: TOKEN, session_id }))
}

fn release() -> Option<Wanted> {
    Some(Wanted::Release(ReleaseRequest { lock_id: "l-1".to_owned(), ..ReleaseRequest::default() }))
}

#[tokio::test]
async fn dropped_grant_is_given_back() {
    let (client, asked) = client(true).await;
    drop(client.campaign(CampaignOptions::new("job"), TTL).await.expect("elected"));
    eventually("resigned", || wanted_last(&asked) == resignation("")).await;
    drop(client.acquire(LockOptions::exclusive("job"), TTL).await.expect("acquired"));
    eventually("released", || wanted_last(&asked) == release()).await;
    let session = client.open_session(TTL).await.expect("opened");
    drop(session.campaign(CampaignOptions::new("job")).await.expect("elected"));
    eventually("resigned", || wanted_last(&asked) == resignation("s-1")).await;
}

#[tokio::test]
async fn given_back_grant_is_not_given_back_again() {
    let (client, asked) = client(true).await;
    let election = client.campaign(CampaignOptions::new("job"), TTL).await.expect("elected");
    election.resign().await.expect("resigned");
    client
        .acquire(LockOptions::exclusive("job"), TTL)
        .await
        .expect("acquired")
        .release()
        .await
        .expect("released");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(asked.lock().expect("no panic").len(), 4);
    assert_eq!(wanted_last(&asked), release());
}

#[tokio::test]
async fn grant_after_a_wait_is_renewed_first() {
    let (client, asked) = client(true).await;
    let options = CampaignOptions { wait: Duration::from_secs(1), ..CampaignOptions::new("job") };
    let _election = client.campaign(options, TTL).await.expect("elected");
    assert_eq!(wanted_last(&asked), Some(Wanted::Extend(extension("l-1", TTL))));
    let options = LockOptions { key: Some("k".to_owned()), ..LockOptions::exclusive("job") };
    let _lock = client.acquire(options, TTL).await.expect("acquired");
    assert_eq!(wanted_last(&asked), Some(Wanted::Extend(extension("l-1", TTL))));
}

#[tokio::test]
async fn grant_that_was_taken_away_is_lost() {
    let (client, asked) = client(false).await;
    let session = client.open_session(TTL).await.expect("opened");
    let poll = Duration::from_millis(1);
    let options = CampaignOptions { poll, ..CampaignOptions::new("job") };
    let election = session.campaign(options).await.expect("elected");
    let loss = timeout_at(Instant::now() + PATIENCE, election.loss()).await.expect("lost");
    assert_eq!(
        (loss.reason.code.as_str(), loss.reason.message.as_str()),
        ("lock_not_held", "job was taken away")
    );
    let lock =
        session.acquire(LockOptions { poll, ..LockOptions::exclusive("job") }).await.expect("acquired");
    let reason = timeout_at(Instant::now() + PATIENCE, lock.lost()).await.expect("lost");
    assert_eq!(reason.code, "lock_not_held");
    // There is nothing left to give back.
    drop((election, lock));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(matches!(wanted_last(&asked), Some(Wanted::Check(_))));
}

#[tokio::test]
async fn grant_that_cannot_be_renewed_is_lost() {
    let (client, _asked) = client(false).await;
    let ttl = Duration::from_millis(30);
    let election = client.campaign(CampaignOptions::new("job"), ttl).await.expect("elected");
    let lock = client.acquire(LockOptions::exclusive("job"), ttl).await.expect("acquired");
    for loss in [election.lost().await, lock.lost().await] {
        // Whichever comes first: the refused renewal, or the deadline.
        assert!(loss.is_gone(), "{loss:?}");
    }
}

#[tokio::test]
async fn proclaimed_value_is_known() {
    let (client, asked) = client(true).await;
    let options = CampaignOptions { value: "a".to_owned(), ..CampaignOptions::new("job") };
    let mut election = client.campaign(options, TTL).await.expect("elected");
    assert_eq!((election.name(), election.value(), election.token()), ("job", "a", TOKEN));
    election.proclaim("b").await.expect("proclaimed");
    assert_eq!((election.value(), election.candidate_id()), ("b", "l-1"));
    let Some(Wanted::Proclaim(request)) = wanted_last(&asked) else { panic!("{asked:?}") };
    assert_eq!((request.name.as_str(), request.fencing_token, request.value.as_str()), ("job", TOKEN, "b"));
}
