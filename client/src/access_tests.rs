//! Credentials against a node that knows some tokens, and forgets them when a test says so.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use batuta_proto::v1::answer::Result as Outcome;
use batuta_proto::v1::call::Request as Wanted;
use batuta_proto::v1::pipeline_service_server::{PipelineService, PipelineServiceServer};
use batuta_proto::v1::watch_response::Item;
use batuta_proto::v1::{Answer, PipelineRequest, PipelineResponse};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::*;
use crate::credential::Credentials;
use crate::pool::Pool;
use crate::tests::{TokenFile, client_of, connections, eventually};
use crate::{Credential, Token, WatchItem, WatchOptions};

/// What a node knows and was told.
#[derive(Debug, Default)]
struct Known {
    /// The token that the node accepts.
    good: Mutex<String>,
    /// Each token that a stream was opened or renewed with, and how.
    told: Mutex<Vec<(&'static str, String)>>,
    /// The retry key of each release.
    keys: Mutex<Vec<String>>,
    /// Counts the tokens that were forgotten; streams end when it moves, unless they were renewed.
    forgotten: watch::Sender<u64>,
    revision: Mutex<u64>,
}

impl Known {
    /// Accepts this token from now on, and ends what was opened with another one.
    fn accept_only(&self, token: &str) {
        token.clone_into(&mut self.good.lock().expect("no panic"));
        self.forgotten.send_modify(|count| *count += 1);
    }

    fn check(&self, how: &'static str, token: &str) -> Result<(), Status> {
        self.told.lock().expect("no panic").push((how, token.to_owned()));
        if *self.good.lock().expect("no panic") == token { Ok(()) } else { Err(refused("token_expired")) }
    }

    fn told(&self) -> Vec<(&'static str, String)> {
        self.told.lock().expect("no panic").clone()
    }
}

fn refused(code: &str) -> Status {
    let details = ErrorDetails::with_error_info(code, "batuta.dev", std::collections::HashMap::new());
    Status::with_error_details(Code::Unauthenticated, "the credential has expired", details)
}

fn bearer(metadata: &MetadataMap) -> String {
    let header = metadata.get("authorization").and_then(|header| header.to_str().ok());
    header.and_then(|header| header.strip_prefix("Bearer ")).unwrap_or_default().to_owned()
}

struct Fake(Arc<Known>);

impl Fake {
    /// The answer to a call; none for a call that stays open.
    fn answer(known: &Known, call: v1::Call) -> Option<Answer> {
        let call_id = call.call_id;
        let result = match call.request? {
            Wanted::Release(_) => {
                let mut keys = known.keys.lock().expect("no panic");
                keys.push(call.idempotency_key);
                // The first release is executed and its answer is lost with the stream.
                if keys.len() == 1 {
                    return None;
                }
                Outcome::Release(v1::ReleaseResponse::default())
            }
            Wanted::Watch(wanted) => {
                let mut revision = known.revision.lock().expect("no panic");
                *revision = wanted.from_revision.max(*revision + 1);
                let changes = v1::Changes { events: vec![v1::Event::default()], more: false };
                let item = Some(Item::Changes(changes));
                Outcome::Watch(v1::WatchResponse { revision: *revision, item })
            }
            _ => Outcome::GetLock(v1::GetLockResponse::default()),
        };
        Some(Answer { call_id, result: Some(result) })
    }
}

/// One stream: the token that it has now, its requests, and what ends it.
struct Served {
    known: Arc<Known>,
    token: String,
    requests: Streaming<PipelineRequest>,
    forgotten: watch::Receiver<u64>,
    ended: bool,
}

impl Served {
    async fn next(mut self) -> Option<(Result<PipelineResponse, Status>, Self)> {
        if self.ended {
            return None;
        }
        let answered = tokio::select! {
            message = self.requests.next() => self.take(message?),
            _ = self.forgotten.changed() => {
                let good = self.known.good.lock().expect("no panic").clone();
                if good == self.token { Ok(PipelineResponse::default()) } else { Err(refused("token_expired")) }
            }
        };
        self.ended = answered.is_err();
        Some((answered, self))
    }

    fn take(&mut self, message: Result<PipelineRequest, Status>) -> Result<PipelineResponse, Status> {
        let message = message?;
        if !message.token.is_empty() {
            self.token = message.token;
            self.known.check("renewed", &self.token)?;
        }
        let answers = message.calls.into_iter().filter_map(|call| Fake::answer(&self.known, call));
        Ok(PipelineResponse { answers: answers.collect() })
    }
}

#[tonic::async_trait]
impl PipelineService for Fake {
    type PipelineStream = Pin<Box<dyn Stream<Item = Result<PipelineResponse, Status>> + Send>>;

    async fn pipeline(
        &self,
        request: Request<Streaming<PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let known = Arc::clone(&self.0);
        let token = bearer(request.metadata());
        known.check("opened", &token)?;
        let forgotten = known.forgotten.subscribe();
        let served = Served { known, token, requests: request.into_inner(), forgotten, ended: false };
        Ok(Response::new(Box::pin(stream::unfold(served, Served::next))))
    }
}

/// A client with this credential, of a node that accepts the token `a`.
async fn client(credential: &Credential) -> (Client, Arc<Known>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let known = Arc::<Known>::default();
    known.accept_only("a");
    let service = PipelineServiceServer::new(Fake(Arc::clone(&known)));
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(connections(listener)));
    let credentials = Credentials::open(credential).expect("a token");
    let pool = Arc::new(Pool::new(std::slice::from_ref(&address), credentials).expect("an address"));
    (Client { pool, timeout: Duration::from_secs(20), ..client_of(&address) }, known)
}

fn read() -> v1::GetLockRequest {
    v1::GetLockRequest { name: "a".to_owned(), ..Default::default() }
}

fn told(how: &'static str, token: &str) -> (&'static str, String) {
    (how, token.to_owned())
}

#[tokio::test]
async fn refused_call_is_made_again_with_a_replaced_token() {
    let file = TokenFile::new("old");
    let (client, known) = client(&file.credential()).await;
    let error = client.lock(read()).await.expect_err("the file has an old token");
    assert_eq!((error.code.as_str(), known.told()), ("token_expired", vec![told("opened", "old")]));
    file.write("a");
    client.lock(read()).await.expect("the file has a new token");
    assert_eq!(known.told().last(), Some(&told("opened", "a")));
}

#[tokio::test]
async fn fixed_token_is_asked_with_once() {
    let (client, known) = client(&Credential::Token(Token::new("old"))).await;
    let error = client.lock(read()).await.expect_err("the token has expired");
    assert_eq!((error.code.as_str(), known.told().len()), ("token_expired", 1));
}

#[tokio::test]
async fn open_stream_is_renewed_in_place() {
    let file = TokenFile::new("a");
    let (client, known) = client(&file.credential()).await;
    client.lock(read()).await.expect("answered");
    let mut watch = client.watch(WatchOptions::now());
    watch.next().await.expect("a change");
    known.good.lock().expect("no panic").replace_range(.., "b");
    file.write("b");
    eventually("renewed", || known.told().last() == Some(&told("renewed", "b"))).await;
    known.accept_only("b");
    client.lock(read()).await.expect("answered over the same stream");
    let opened = known.told().iter().filter(|(how, _)| *how == "opened").count();
    assert_eq!(opened, 1, "{:?}", known.told());
}

#[tokio::test]
async fn write_cut_off_with_its_credential_is_repeated_under_its_key() {
    let file = TokenFile::new("a");
    let (client, known) = client(&file.credential()).await;
    let release = v1::ReleaseRequest { lock_id: "l-1".to_owned(), ..Default::default() };
    let asked = tokio::spawn({
        let (client, release) = (client.clone(), release.clone());
        async move { client.release(release).await }
    });
    eventually("sent", || known.keys.lock().expect("no panic").len() == 1).await;
    file.write("b");
    known.accept_only("b");
    asked.await.expect("no panic").expect("released");
    let keys = known.keys.lock().expect("no panic").clone();
    assert!(keys.len() == 2 && !keys[0].is_empty() && keys[0] == keys[1], "{keys:?}");
}

#[tokio::test]
async fn write_cut_off_with_a_fixed_token_has_an_unknown_outcome() {
    let (client, known) = client(&Credential::Token(Token::new("a"))).await;
    let release = v1::ReleaseRequest { lock_id: "l-1".to_owned(), ..Default::default() };
    let asked = tokio::spawn({
        let client = client.clone();
        async move { client.release(release).await }
    });
    eventually("sent", || known.keys.lock().expect("no panic").len() == 1).await;
    known.accept_only("b");
    let error = asked.await.expect("no panic").expect_err("nobody knows");
    assert_eq!(error.code, "outcome_unknown", "{error}");
    assert!(error.message.contains("a retry was refused"), "{error}");
}

#[tokio::test]
async fn watch_goes_on_after_its_token_expired() {
    let file = TokenFile::new("a");
    let (client, known) = client(&file.credential()).await;
    let mut watch = client.watch(WatchOptions::now());
    let WatchItem::Changes { revision: first, .. } = watch.next().await.expect("a change") else {
        panic!("no change")
    };
    file.write("b");
    known.accept_only("b");
    let WatchItem::Changes { revision, .. } = watch.next().await.expect("goes on") else {
        panic!("no change")
    };
    assert_eq!(revision, first + 1, "nothing is missed and nothing repeated");
}

#[tokio::test]
async fn watch_ends_with_its_fixed_token() {
    let (client, known) = client(&Credential::Token(Token::new("a"))).await;
    let mut watch = client.watch(WatchOptions::now());
    watch.next().await.expect("a change");
    known.accept_only("b");
    let error = watch.next().await.expect_err("the token has expired");
    assert_eq!(error.code, "token_expired");
}

#[tokio::test]
async fn rejected_caller_ends_a_watch() {
    let (client, _known) = client(&Credential::None).await;
    let mut watch = client.watch(WatchOptions::now());
    let error = watch.next().await.expect_err("nobody may");
    assert!(error.is_access_refused(), "{error}");
}
