//! Measures many watchers on one node: what they cost while nothing happens, and how fast one change reaches all of them.
//!
//! ```text
//! cargo run --profile dist -p batuta-tests --bin watchers -- --grpc http://127.0.0.1:9090 --idle 10000 --fanout 1000 --rounds 50
//! ```
//! Opens `--idle` watches on names that nobody takes, 500 per connection, and keeps them open. Then opens `--fanout` watches on one
//! name: each round takes and releases the lock of that name, and measures at each watch the time from sending the acquire to its
//! arrival. `--stalled N` adds watches of all grants whose client never reads, to show what they cost the other watchers (run `load` at
//! the same time, so that they have something to miss); `--reading N` adds N watches that do read, for comparison. Waits for
//! a line on standard input before it ends, so that the node's memory can be inspected.

use std::sync::Arc;
use std::time::{Duration, Instant};

use batuta_proto::v1::lock_service_client::LockServiceClient;
use batuta_proto::v1::watch_response::Item;
use batuta_proto::v1::watch_service_client::WatchServiceClient;
use batuta_proto::v1::{AcquireRequest, LockRequest, ReleaseRequest, WatchRequest, WatchResponse};
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

const PER_CONNECTION: usize = 500;
/// Flow-control window of a watch that is not read, in bytes: the protocol's default, so that the watch stalls soon.
const WINDOW_BYTES: u32 = 65_535;

struct Args {
    address: String,
    idle: usize,
    fanout: usize,
    rounds: usize,
    stalled: usize,
    reading: usize,
}

fn args() -> Result<Args, String> {
    let address = "http://127.0.0.1:9090".to_owned();
    let mut args = Args { address, idle: 10_000, fanout: 1_000, rounds: 50, stalled: 0, reading: 0 };
    let mut words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        let number = || value.parse().map_err(|_| format!("{word}: not a number"));
        match word.as_str() {
            "--grpc" => args.address.clone_from(&value),
            "--idle" => args.idle = number()?,
            "--fanout" => args.fanout = number()?,
            "--rounds" => args.rounds = number()?,
            "--stalled" => args.stalled = number()?,
            "--reading" => args.reading = number()?,
            _ => {
                let known = "--grpc URL --idle N --fanout N --rounds N --stalled N --reading N";
                return Err(format!("unknown option {word}; the options are {known}"));
            }
        }
    }
    Ok(args)
}

type Failure = Box<dyn std::error::Error>;

/// Opens watches of grants, one per name; an empty name watches all names.
async fn watches(
    address: &str,
    per_connection: usize,
    names: impl Iterator<Item = String>,
) -> Result<Vec<Streaming<WatchResponse>>, Failure> {
    let mut open = Vec::new();
    let mut channel: Option<Channel> = None;
    for (number, name) in names.enumerate() {
        if number % per_connection == 0 {
            let endpoint = Endpoint::from_shared(address.to_owned())?.tcp_nodelay(true);
            channel = Some(endpoint.initial_stream_window_size(WINDOW_BYTES).connect().await?);
        }
        let channel = channel.clone().ok_or("no connection")?;
        let kinds = vec!["lock_granted".to_owned()];
        let request = WatchRequest { name, kinds, progress_ms: 600_000, ..Default::default() };
        let mut stream = WatchServiceClient::new(channel).watch(request).await?.into_inner();
        stream.message().await?;
        open.push(stream);
    }
    Ok(open)
}

async fn fan_out(args: &Args) -> Result<(), Failure> {
    const NAME: &str = "fanout/one";
    let (tell, mut arrivals) = mpsc::unbounded_channel::<Instant>();
    let tell = Arc::new(tell);
    for mut stream in
        watches(&args.address, PER_CONNECTION, (0..args.fanout).map(|_| NAME.to_owned())).await?
    {
        let tell = Arc::clone(&tell);
        tokio::spawn(async move {
            while let Ok(Some(response)) = stream.message().await {
                if let Some(Item::Changes(_)) = response.item
                    && tell.send(Instant::now()).is_err()
                {
                    return;
                }
            }
        });
    }
    let channel = Endpoint::from_shared(args.address.clone())?.tcp_nodelay(true).connect().await?;
    let mut locks = LockServiceClient::new(channel);
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..args.rounds {
        let lock = LockRequest { name: NAME.to_owned(), ..Default::default() };
        let request = AcquireRequest { locks: vec![lock], ttl_ms: Some(60_000), ..Default::default() };
        let begun = Instant::now();
        let granted = locks.acquire(request).await?.into_inner();
        for _ in 0..args.fanout {
            let arrived = arrivals.recv().await.ok_or("the watchers are gone")?;
            took.push(arrived.saturating_duration_since(begun));
        }
        let lock_id = granted.grant.map(|grant| grant.lock_id).unwrap_or_default();
        locks.release(ReleaseRequest { lock_id, ..Default::default() }).await?;
    }
    took.sort_unstable();
    let at = |part: usize| took.get(took.len() * part / 1000).copied().unwrap_or_default();
    println!(
        "one change to {} watchers, {} rounds: p50 {:?}, p99 {:?}, p99.9 {:?} from sending the acquire",
        args.fanout,
        args.rounds,
        at(500),
        at(990),
        at(999)
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = args()?;
    let begun = Instant::now();
    let idle =
        watches(&args.address, PER_CONNECTION, (0..args.idle).map(|number| format!("idle/{number}"))).await?;
    println!("{} idle watches opened in {:.1?}", idle.len(), begun.elapsed());
    // One connection per stalled watch: unread data fills the window of a whole connection, so a second watch on it could not even begin.
    let stalled = watches(&args.address, 1, (0..args.stalled).map(|_| String::new())).await?;
    println!("{} stalled watches opened", stalled.len());
    let reading = watches(&args.address, 1, (0..args.reading).map(|_| String::new())).await?;
    println!("{} reading watches opened", reading.len());
    for mut stream in reading {
        tokio::spawn(async move { while let Ok(Some(_)) = stream.message().await {} });
    }
    if args.fanout > 0 {
        fan_out(&args).await?;
    }
    println!("press Enter to end");
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    drop((idle, stalled));
    Ok(())
}
