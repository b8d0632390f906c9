//! Calls against nodes that are silent, gone, of another cluster, or not Batuta nodes.

use std::net::SocketAddr;
use std::time::Duration;

use batuta_proto::v1;
use batuta_proto::v1::cluster_service_server::{ClusterService, ClusterServiceServer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::*;
use crate::tests::{PATIENCE, connections, eventually};

/// A node that serves the members and the status of its cluster, and nothing else.
struct Fake(v1::GetStatusResponse);

macro_rules! refused {
    ($($method:ident($request:ident) -> $answer:ident;)*) => {
        #[tonic::async_trait]
        impl ClusterService for Fake {
            async fn get_status(
                &self,
                _: Request<v1::GetStatusRequest>,
            ) -> Result<Response<v1::GetStatusResponse>, Status> {
                Ok(Response::new(self.0.clone()))
            }

            async fn list_members(
                &self,
                _: Request<v1::ListMembersRequest>,
            ) -> Result<Response<v1::ListMembersResponse>, Status> {
                let v1::GetStatusResponse { cluster_id, members, .. } = self.0.clone();
                Ok(Response::new(v1::ListMembersResponse { cluster_id, members, revision: 1 }))
            }

            $(async fn $method(&self, _: Request<v1::$request>) -> Result<Response<v1::$answer>, Status> {
                Err(Status::unimplemented("not here"))
            })*
        }
    };
}

refused! {
    remove_member(RemoveMemberRequest) -> RemoveMemberResponse;
    promote_member(PromoteMemberRequest) -> PromoteMemberResponse;
    transfer_leader(TransferLeaderRequest) -> TransferLeaderResponse;
    trigger_snapshot(TriggerSnapshotRequest) -> TriggerSnapshotResponse;
    get_limits(GetLimitsRequest) -> GetLimitsResponse;
    set_limits(SetLimitsRequest) -> SetLimitsResponse;
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// A server whose connections end when it is dropped.
struct Server(Option<Runtime>);

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Serves the status of node `id` of a cluster with these members, of which the last one leads.
fn serve(listener: TcpListener, id: u64, cluster_id: &str, members: &[SocketAddr]) -> Server {
    let mut members: Vec<v1::Member> = (1..)
        .zip(members)
        .map(|(node_id, address)| v1::Member { node_id, grpc: address.to_string(), ..Default::default() })
        .collect();
    if let Some(last) = members.last_mut() {
        last.set_role(v1::MemberRole::Leader);
    }
    let status = v1::GetStatusResponse {
        cluster_id: cluster_id.to_owned(),
        node_id: id,
        leader_id: Some(members.len() as u64),
        members,
        ..Default::default()
    };
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let listener = listener.into_std().expect("a listener");
    runtime.spawn(async move {
        let listener = TcpListener::from_std(listener).expect("a listener");
        let service = ClusterServiceServer::new(Fake(status));
        let server = tonic::transport::Server::builder().add_service(service);
        server.serve_with_incoming(connections(listener)).await.expect("serves");
    });
    Server(Some(runtime))
}

async fn connected(endpoints: &[SocketAddr], timeout: Duration) -> Result<Client, Error> {
    let endpoints = endpoints.iter().map(SocketAddr::to_string);
    Client::builder().endpoints(endpoints).timeout(timeout).connect().await
}

#[test]
fn attempt_takes_a_fraction_of_the_time_left() {
    let now = Instant::now();
    let ms = Duration::from_millis;
    for (hedged, patience_ms, wait_ms, left_ms, pace_ms) in [
        (true, 2_000, 0, 2_000, 250),
        (true, 2_000, 0, 300, 250),
        (true, 100_000, 0, 50_000, 3_000),
        (true, 80, 0, 80, 50),
        (false, 10_000, 0, 10_000, 3_000),
        (false, 1_500, 0, 1_500, 500),
        (false, 1_500, 0, 600, 200),
        (false, 10_000, 60_000, 70_000, 63_000),
        (false, 10_000, 60_000, 30_000, 60_050),
        (true, 3_000, 0, 2, 375),
    ] {
        let call = Call { hedged, wait: ms(wait_ms), ..Call::default() };
        let pace = call.pace(ms(patience_ms), now + ms(left_ms), now);
        assert_eq!(pace, ms(pace_ms), "{hedged} {patience_ms} {wait_ms} {left_ms}");
    }
}

#[test]
fn attempt_cut_short_does_not_hide_the_problem_before_it() {
    let url: Arc<str> = "http://a:1".into();
    let refused = || Error::new("unavailable", "connection refused", true);
    let late = || Error::new("timeout", "did not answer within 2 ms", true);
    for (cut_short, keyed, code) in [
        (true, false, "unavailable"),
        (false, false, "timeout"),
        // The write may have been sent, however little time was left for its answer.
        (true, true, "timeout"),
    ] {
        let mut attempts = Attempts::default();
        attempts.failed(&url, refused(), false);
        attempts.failed(&url, late(), cut_short);
        assert_eq!(attempts.error(keyed).code, code, "{cut_short} {keyed}");
    }
    let mut attempts = Attempts::default();
    attempts.failed(&url, late(), true);
    assert_eq!(attempts.error(false).code, "timeout", "nothing else is known of the node");
}

#[tokio::test]
async fn short_call_skips_a_silent_node_and_remembers_it() {
    let (_silent, first) = listener().await;
    let (listener, second) = listener().await;
    let _server = serve(listener, 2, "c", &[first, second]);
    let client = connected(&[first, second], Duration::from_secs(2)).await.expect("one of them answers");
    assert_eq!(*client.pool.preferred().url, format!("http://{second}"), "it is remembered");
    // There is no time to ask two nodes, so the silent one must not be the first.
    for _ in 0..3 {
        let client = Client { timeout: PATIENCE, ..client.clone() };
        assert_eq!(client.status().await.expect("answers").node_id, 2);
    }
}

#[tokio::test]
async fn recovered_node_is_asked_again() {
    let (first_listener, first) = listener().await;
    let (listener, second) = listener().await;
    let _server = serve(listener, 2, "c", &[second, first]);
    let client = connected(&[first, second], PATIENCE).await.expect("one of them answers");
    let url = format!("http://{first}");
    assert_ne!(*client.pool.preferred().url, url);
    let _server = serve(first_listener, 1, "c", &[second, first]);
    eventually("the leader is preferred again", || *client.pool.preferred().url == url).await;
}

#[tokio::test]
async fn learned_member_replaces_the_only_endpoint() {
    let (first_listener, first) = listener().await;
    let (listener, second) = listener().await;
    let _other = serve(listener, 2, "c", &[second, first]);
    let server = serve(first_listener, 1, "c", &[second, first]);
    let client = connected(&[first], PATIENCE).await.expect("answers");
    drop(server);
    assert_eq!(client.status().await.expect("the other member answers").node_id, 2);
}

#[tokio::test]
async fn address_of_another_cluster_is_never_asked() {
    let (first_listener, first) = listener().await;
    let (listener, second) = listener().await;
    let _foreign = serve(listener, 2, "another", &[second]);
    let server = serve(first_listener, 1, "c", &[first, second]);
    let client = connected(&[first], Duration::from_secs(3)).await.expect("answers");
    eventually("the foreign node is forgotten", || client.pool.count() == 1).await;
    drop(server);
    let error = client.status().await.expect_err("nobody of this cluster is there");
    assert!(!error.message.contains(&second.to_string()) || error.message.contains("another"), "{error}");
}

#[tokio::test]
async fn a_failure_names_every_address_and_its_cause() {
    let free = listener().await.1;
    let endpoints = [free.to_string(), "no-such-host.invalid:9090".to_owned()];
    let error = Client::builder()
        .endpoints(endpoints.clone())
        .timeout(Duration::from_secs(2))
        .connect()
        .await
        .expect_err("nobody is there");
    assert_eq!((error.code.as_str(), error.retryable), ("unavailable", true), "{error}");
    for part in [&endpoints[0], "connection refused", &endpoints[1], "unknown host"] {
        assert!(error.message.contains(part), "{part} in {error}");
    }
}

#[tokio::test]
async fn other_programs_are_reported_as_not_batuta() {
    for greeting in [
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\nlost",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "-ERR unknown command 'PRI'\r\n",
        "\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{46}",
    ] {
        let (listener, address) = listener().await;
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut asked = [0_u8; 64];
                    // Every HTTP/2 client sends 24 bytes first.
                    stream.read_exact(&mut asked[..24]).await.expect("is asked");
                    stream.write_all(greeting.as_bytes()).await.expect("answers");
                    // Reads the rest until the client has seen enough.
                    while stream.read(&mut asked).await.is_ok_and(|read| read > 0) {}
                });
            }
        });
        let error = connected(&[address], Duration::from_secs(20)).await.expect_err("no node");
        assert_eq!(error.code, "not_batuta", "{greeting:?}: {error}");
        assert!(error.message.contains(&address.to_string()), "{error}");
        server.abort();
    }
}
