//! A revision larger than any message: the end of a session with 1,200 locks of 4,000 bytes of metadata each.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use batuta_client::v1::{self, AcquireRequest, CloseSessionRequest, LockRequest, OpenSessionRequest};
use batuta_client::{Client, WatchItem, WatchOptions};
use batuta_proto::v1::watch_response::Item;
use batuta_proto::v1::watch_service_client::WatchServiceClient;
use batuta_tests::{Cluster, PATIENCE, program};
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const LOCKS: u32 = 1_200;
const METADATA_BYTES: usize = 4_000;

async fn client(endpoints: Vec<String>) -> Client {
    let client = Client::builder().endpoints(endpoints).timeout(Duration::from_mins(1));
    client.connect().await.expect("connects")
}

/// Opens a session that holds all the locks.
async fn hold_everything(client: &Client) -> String {
    let open = OpenSessionRequest { ttl_ms: 3_600_000, metadata: String::new() };
    let session_id =
        client.open_raw_session(open).await.expect("opens").session.expect("a session").session_id;
    let acquired = futures_util::stream::iter(0..LOCKS).map(|number| {
        let lock = LockRequest { name: format!("held/{number:04}"), ..Default::default() };
        let metadata = "m".repeat(METADATA_BYTES);
        let session_id = session_id.clone();
        let request = AcquireRequest { locks: vec![lock], session_id, metadata, ..Default::default() };
        client.acquire_detached(request, None)
    });
    let acquired: Vec<_> = acquired.buffer_unordered(100).collect().await;
    for answer in acquired {
        answer.expect("granted");
    }
    session_id
}

async fn close(client: &Client, session_id: String) -> u64 {
    let closed =
        client.close_session(CloseSessionRequest { session_id, lock_delay: false }).await.expect("closes");
    assert_eq!(closed.released_locks, u64::from(LOCKS));
    closed.revision
}

/// The command `batuta watch` over all names.
fn watching(cluster: &Cluster, words: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .args(["-o", "json", "watch", "--areas=lock,session", "--kinds=lock_released,session_ended"])
        .args(words);
    command.env("BATUTA_ENDPOINTS", cluster.endpoints().join(",")).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Checks that the lines are the whole revision, each once and in order, and that only the last has `more` = false.
#[track_caller]
fn assert_whole(lines: &[Value], revision: u64) {
    let told: Vec<(u64, u64, bool)> = lines
        .iter()
        .map(|line| {
            let number = |field: &str| line[field].as_u64().unwrap_or_else(|| panic!("no {field}: {line}"));
            (
                number("revision"),
                number("ordinal"),
                line["more"].as_bool().expect("says whether more follows"),
            )
        })
        .collect();
    let expected = (0..=u64::from(LOCKS)).map(|ordinal| (revision, ordinal, ordinal < u64::from(LOCKS)));
    assert!(told.iter().copied().eq(expected), "{} lines: {told:?}", told.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn end_of_a_large_session_is_watched_everywhere() {
    let cluster = Cluster::start(3).await;
    let client = client(cluster.endpoints()).await;
    let session_id = hold_everything(&client).await;
    let all = (LOCKS + 1).to_string();
    let live = watching(&cluster, &["--progress=100ms", &format!("--limit={all}")]).spawn();
    let mut live = live.expect("runs");
    let mut output = BufReader::new(live.stdout.take().expect("piped"));
    let mut first = String::new();
    output.read_line(&mut first).expect("says where it begins");
    assert!(first.contains("progress"), "{first}");
    let revision = close(&client, session_id).await;
    // The live watch, and a watch from that revision on.
    let lines = |text: &str| -> Vec<Value> {
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("a JSON line"));
        lines.filter(|line: &Value| line["kind"] != "progress").collect()
    };
    let told = tokio::task::spawn_blocking(move || std::io::read_to_string(output)).await.expect("reads");
    assert_whole(&lines(&told.expect("text")), revision);
    assert!(live.wait().expect("our own child").success());
    let from = watching(&cluster, &[&format!("--from={revision}"), &format!("--limit={all}")]).output();
    let from = from.expect("runs");
    assert!(from.status.success(), "{from:?}");
    assert_whole(&lines(&String::from_utf8_lossy(&from.stdout)), revision);
    // Direct gRPC calls at each node.
    for node in &cluster.nodes {
        let mut service = WatchServiceClient::connect(node.grpc.clone()).await.expect("connects");
        let request = v1::WatchRequest { from_revision: revision, ..Default::default() };
        let mut stream = service.watch(request).await.expect("opens").into_inner();
        let mut ordinals = Vec::new();
        loop {
            let message = tokio::time::timeout(PATIENCE, stream.message()).await.expect("in time");
            let message = message.expect("no error").expect("goes on");
            let Some(Item::Changes(changes)) = message.item else { continue };
            assert_eq!(message.revision, revision);
            ordinals.extend(changes.events.iter().map(|event| event.ordinal));
            if !changes.more {
                break;
            }
        }
        assert!(ordinals.iter().copied().eq(0..=LOCKS), "{ordinals:?}");
    }
}

/// A TCP proxy that forwards connections to an address.
struct Proxy {
    address: String,
    /// How many of the next connections are cut, each after more bytes of answers than the previous one.
    cuts: Arc<AtomicUsize>,
}

/// Bytes of answers before the first cut, and the increment before each later cut.
const CUT_BYTES: usize = 700_000;
const CUTS: usize = 5;

impl Proxy {
    async fn start(to: Arc<OnceLock<String>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let cuts = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&cuts);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let cut = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
                let bytes = cut.map_or(usize::MAX, |left| (CUTS + 1 - left) * CUT_BYTES);
                let to = to.get().cloned().expect("nobody connects before the node runs");
                tokio::spawn(pass(client, to, bytes));
            }
        });
        Self { address, cuts }
    }
}

/// Forwards one connection until it has carried this many bytes of answers.
async fn pass(client: TcpStream, to: String, bytes: usize) {
    let Ok(node) = TcpStream::connect(to).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_node, mut to_node) = node.into_split();
    let up = tokio::io::copy(&mut from_client, &mut to_node);
    let down = async {
        let (mut left, mut buffer) = (bytes, vec![0; 16 << 10]);
        while left > 0 {
            let Ok(read @ 1..) = from_node.read(&mut buffer).await else { return };
            let passed = read.min(left);
            if to_client.write_all(&buffer[..passed]).await.is_err() {
                return;
            }
            left -= passed;
        }
    };
    // When one side ends, both end.
    tokio::select! {
        _ = up => {}
        () = down => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_cut_between_parts_loses_and_repeats_nothing() {
    let to = Arc::<OnceLock<String>>::default();
    let proxy = Proxy::start(Arc::clone(&to)).await;
    // Clients that ask the node for the leader are sent to the proxy.
    let cluster = Cluster::start_with(1, &[&format!("--set=advertise.grpc={}", proxy.address)]).await;
    to.set(cluster.nodes[0].grpc_address()).expect("set once");
    let holder = client(vec![proxy.address.clone()]).await;
    let session_id = hold_everything(&holder).await;
    let revision = close(&holder, session_id).await;
    let after = serde_json::json!({"name": "after", "ttl_ms": 600_000});
    let _ = cluster.nodes[0].rest.post("/api/v1/locks", &after).await.expect(201);
    drop(holder);
    proxy.cuts.store(CUTS, Ordering::SeqCst);
    let watcher = client(vec![proxy.address.clone()]).await;
    let mut watch = watcher.watch(WatchOptions::from_revision(revision).areas(["lock", "session"]));
    let (mut ordinals, mut parts, mut whole) = (Vec::new(), 0, false);
    loop {
        match tokio::time::timeout(PATIENCE, watch.next()).await.expect("in time").expect("goes on") {
            WatchItem::Changes { revision: told, events, more } if told == revision => {
                assert!(!whole, "a part was repeated after the end of its revision");
                ordinals.extend(events.iter().map(|event| event.ordinal));
                parts += 1;
                whole = !more;
            }
            WatchItem::Changes { .. } => break,
            WatchItem::Progress { revision: told } => assert!(whole || told < revision, "progress within"),
            WatchItem::Snapshot { .. } => panic!("no snapshot was asked for"),
        }
    }
    assert!(whole && parts > 3, "{parts} parts");
    assert_eq!(proxy.cuts.load(Ordering::SeqCst), 0, "every connection was cut");
    assert!(ordinals.iter().copied().eq(0..=LOCKS), "each once, in order: {ordinals:?}");
}
