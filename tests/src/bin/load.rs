//! A small load generator: measures how many uncontended acquire+release cycles a running cluster serves, and how long each takes.
//!
//! ```text
//! cargo run --profile dist -p batuta-tests --bin load -- --grpc http://127.0.0.1:9090 --clients 64 --seconds 10
//! ```
//! Each client takes and releases its own lock as fast as the answers come. Clients share one gRPC stream per address.
//! With `--hold N` the clients first take N locks for an hour and keep them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use batuta_client::{CallOptions, Error, Pipeline};
use batuta_proto::v1::{AcquireRequest, LockMode, LockRequest, ReleaseRequest};

struct Args {
    addresses: Vec<String>,
    clients: usize,
    seconds: u64,
    hold: usize,
}

fn args() -> Result<Args, String> {
    let mut args =
        Args { addresses: vec!["http://127.0.0.1:9090".to_owned()], clients: 64, seconds: 10, hold: 0 };
    let mut words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--grpc" => args.addresses = value.split(',').map(str::to_owned).collect(),
            "--clients" => args.clients = value.parse().map_err(|_| "--clients: not a number")?,
            "--seconds" => args.seconds = value.parse().map_err(|_| "--seconds: not a number")?,
            "--hold" => args.hold = value.parse().map_err(|_| "--hold: not a number")?,
            _ => {
                let known = "--grpc URL,URL --clients N --seconds N --hold N";
                return Err(format!("unknown option {word}; the options are {known}"));
            }
        }
    }
    Ok(args)
}

/// Takes every `step`th lock of `count` and keeps it.
async fn hold(node: Arc<Pipeline>, first: usize, step: usize, count: usize) -> Result<(), Error> {
    let run = std::process::id();
    for number in (first..count).step_by(step) {
        let name = format!("held/{run}/{number:07}");
        let lock = LockRequest { name, mode: LockMode::Exclusive.into(), ..Default::default() };
        let request = AcquireRequest { locks: vec![lock], ttl_ms: Some(3_600_000), ..Default::default() };
        node.call(request, &CallOptions::default()).await?;
    }
    Ok(())
}

async fn cycles(node: Arc<Pipeline>, name: String, until: Instant) -> Result<Vec<Duration>, Error> {
    let mut took = Vec::new();
    while Instant::now() < until {
        let lock = LockRequest { name: name.clone(), mode: LockMode::Exclusive.into(), ..Default::default() };
        let begun = Instant::now();
        let request = AcquireRequest { locks: vec![lock], ttl_ms: Some(60_000), ..Default::default() };
        let granted = node.call(request, &CallOptions::default()).await?;
        took.push(begun.elapsed());
        let lock_id = granted.grant.map(|grant| grant.lock_id).unwrap_or_default();
        let request = ReleaseRequest { lock_id, ..Default::default() };
        node.call(request, &CallOptions::default()).await?;
    }
    Ok(took)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = args()?;
    let mut connections = Vec::new();
    for address in &args.addresses {
        connections.push(Arc::new(Pipeline::at(address)?));
    }
    if args.hold > 0 {
        let begun = Instant::now();
        let holders: Vec<_> = (0..args.clients)
            .map(|client| {
                let connection = connections[client % connections.len()].clone();
                tokio::spawn(hold(connection, client, args.clients, args.hold))
            })
            .collect();
        for holder in holders {
            holder.await??;
        }
        println!("{} locks held after {:.1?}", args.hold, begun.elapsed());
    }
    let begun = Instant::now();
    let until = begun + Duration::from_secs(args.seconds);
    let run = std::process::id();
    let clients: Vec<_> = (0..args.clients)
        .map(|client| {
            let connection = connections[client % connections.len()].clone();
            tokio::spawn(cycles(connection, format!("load/{run}/{client}"), until))
        })
        .collect();
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.await??);
    }
    let elapsed = begun.elapsed();
    took.sort_unstable();
    let at = |part: usize| took.get(took.len() * part / 1000).copied().unwrap_or_default();
    let rate = took.len() as u128 * 1000 / elapsed.as_millis().max(1);
    println!(
        "{} clients: {rate} cycles/s; acquire p50 {:?}, p99 {:?}, p99.9 {:?} ({} cycles in {elapsed:.1?})",
        args.clients,
        at(500),
        at(990),
        at(999),
        took.len()
    );
    Ok(())
}
