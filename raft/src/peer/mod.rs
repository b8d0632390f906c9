//! The protocol between nodes: gRPC on a port of its own.

mod address_book;
mod batch;
mod commits;
mod forward;
mod messages;
mod network;
mod server;

pub(crate) use address_book::AddressBook;
pub(crate) use commits::Commits;
pub(crate) use forward::{ForwardError, Forwarder};
pub(crate) use network::Network;
pub(crate) use server::serve;

use std::time::Duration;

use batuta_proto::internal as wire;
use batuta_proto::internal::peer_client::PeerClient;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::platform::Platform;

const CLUSTER: &str = "batuta-cluster-id";
const TO_NODE: &str = "batuta-to-node";
/// Largest message a peer accepts. Messages stay far below it: reads return up to 2 MiB of entries plus one
/// entry, an entry has up to 1 MiB plus one request, forwarded calls and their answers share up to 1 MiB, and
/// no request is larger than a client's message of 4 MiB.
const MESSAGE_BYTES_MAX: usize = 128 << 20;
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_WITHIN: Duration = Duration::from_secs(5);
const WINDOW_BYTES: u32 = 8 << 20;

pub(crate) type Client = PeerClient<Channel>;

/// A client for a peer's address. It connects when first used, and again whenever the connection is lost.
pub(crate) fn client(platform: &dyn Platform, address: &str) -> Result<Client, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_WITHIN)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WITHIN)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    Ok(PeerClient::new(platform.channel(endpoint))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX))
}

/// Names the member a call is for, since another node may have taken over the address.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    cluster: MetadataValue<Ascii>,
    node: MetadataValue<Ascii>,
}

impl Target {
    pub(crate) fn new(cluster_id: &str, node_id: u64) -> Self {
        // Cluster ids are hexadecimal digits; the peer refuses anything else, because it names no cluster.
        let cluster = MetadataValue::try_from(cluster_id).unwrap_or(MetadataValue::from_static("invalid"));
        Self { cluster, node: MetadataValue::from(node_id) }
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(CLUSTER, self.cluster.clone());
        request.metadata_mut().insert(TO_NODE, self.node.clone());
        request
    }
}

/// Refuses a call meant for another member or another cluster.
fn check_target(metadata: &MetadataMap, cluster_id: &str, node_id: u64) -> Result<(), Status> {
    let text = |key| metadata.get(key).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if text(CLUSTER) != cluster_id || text(TO_NODE) != node_id.to_string() {
        return Err(Status::failed_precondition(format!(
            "this is node {node_id} of cluster {cluster_id}; the call is for node {} of cluster {}",
            text(TO_NODE),
            text(CLUSTER)
        )));
    }
    Ok(())
}

/// Asks the node at an address to identify itself.
pub(crate) async fn identify(
    platform: &dyn Platform,
    address: &str,
    name: &str,
    within: Duration,
) -> Result<wire::IdentifyResponse, Status> {
    let mut client =
        client(platform, address).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let request = wire::IdentifyRequest { name: name.to_owned(), rival: None };
    let answer = tokio::time::timeout(within, client.identify(request)).await;
    Ok(answer.map_err(|_| Status::deadline_exceeded("no answer"))??.into_inner())
}

/// Asks the node at an address to identify itself, and tells it that another process claims to be the same
/// node.
pub(crate) async fn ask_rival(
    platform: &dyn Platform,
    address: &str,
    rival: wire::Introduction,
    within: Duration,
) -> Option<wire::IdentifyResponse> {
    let mut client = client(platform, address).ok()?;
    let request = wire::IdentifyRequest { name: rival.name.clone(), rival: Some(rival) };
    let answer = tokio::time::timeout(within, client.identify(request)).await;
    Some(answer.ok()?.ok()?.into_inner())
}

/// Introduces this process to the node at an address.
pub(crate) async fn hello(
    platform: &dyn Platform,
    address: &str,
    from: wire::Introduction,
    within: Duration,
) -> Result<wire::HelloResponse, Status> {
    let mut client =
        client(platform, address).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let request = wire::HelloRequest { from: Some(from) };
    let answer = tokio::time::timeout(within, client.hello(request)).await;
    Ok(answer.map_err(|_| Status::deadline_exceeded("no answer"))??.into_inner())
}

/// Explains to people, in a few words, why an address did not answer as a node does.
pub(crate) fn why_not(status: &Status) -> String {
    let mut cause = std::error::Error::source(status);
    let mut innermost = None;
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            match error.kind() {
                std::io::ErrorKind::ConnectionRefused => return "connection refused".to_owned(),
                std::io::ErrorKind::TimedOut => return "no answer".to_owned(),
                _ => {}
            }
        }
        innermost = Some(error.to_string());
        cause = error.source();
    }
    match (status.code(), innermost) {
        (tonic::Code::DeadlineExceeded, _) => "no answer".to_owned(),
        (tonic::Code::Unavailable, Some(why)) => why,
        // The protocol's own message differs from one attempt to the next.
        _ => "the program that listens there is not the peer port of a Batuta node".to_owned(),
    }
}

/// The result of probing a peer's port.
pub(crate) enum PortProbe {
    /// A node answered.
    Answered,
    /// The machine refused the connection: it is up, but nothing listens on the port.
    Refused,
    /// No answer and no refusal.
    Unclear,
}

/// Finds out whether a node listens at an address.
pub(crate) async fn probe_port(platform: &dyn Platform, address: &str, within: Duration) -> PortProbe {
    match identify(platform, address, "", within).await {
        Ok(_) => PortProbe::Answered,
        Err(status) if is_refusal(&status) => PortProbe::Refused,
        Err(_) => PortProbe::Unclear,
    }
}

fn is_refusal(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::platform::OsPlatform;

    #[tokio::test]
    async fn address_problems_are_explained_in_few_words() {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = silent.local_addr().expect("an address").to_string();
        let platform = OsPlatform::new(TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let why = async |address: &str, within| {
            let from = wire::Introduction::default();
            why_not(&hello(&platform, address, from, within).await.expect_err("nobody is there"))
        };
        assert_eq!(why(&address, Duration::from_millis(100)).await, "no answer");
        // Answers as an HTTP/1 server does. Uses another port, on which no earlier connection waits to be
        // accepted.
        let web = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = web.local_addr().expect("an address").to_string();
        let other = std::thread::spawn(move || {
            let (mut stream, _) = web.accept().expect("a connection");
            std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("sent");
            stream
        });
        let foreign = why(&address, Duration::from_secs(30)).await;
        assert!(foreign.contains("not the peer port"), "{foreign}");
        drop(other.join().expect("it ended"));
        assert_eq!(why(&address, Duration::from_secs(30)).await, "connection refused");
    }

    #[tokio::test]
    async fn only_a_closed_port_counts_as_refused() {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = silent.local_addr().expect("an address").to_string();
        let platform = OsPlatform::new(TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let probe_port = async |within| probe_port(&platform, &address, within).await;
        assert!(matches!(probe_port(Duration::from_millis(100)).await, PortProbe::Unclear));
        drop(silent);
        assert!(matches!(probe_port(Duration::from_secs(30)).await, PortProbe::Refused));
    }
}
