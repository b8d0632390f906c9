//! Clients that watch everything, across crashes of the nodes that serve the watches.

use std::sync::Arc;
use std::time::Duration;

use batuta_api::ApiError;
use batuta_api::service::watch::{Filter, Item, Start, WatchRequest};
use batuta_api::service::{CallContext, Consistency, Service};
use batuta_statemachine::Namespace;
use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::sync::mpsc;

use crate::access::Who;
use crate::context::{Context, violation};
use crate::ledger::Watched;
use crate::node::{self, Job};
use crate::plan::{Stream, rng};

type Items = mpsc::Receiver<Result<Item, ApiError>>;

/// Runs a watcher: it watches on one node after another, and each watch resumes where the last one ended.
pub(crate) async fn live(context: Arc<Context>, number: usize) {
    let who = format!("w{number}");
    let mut rng = rng(context.plan.seed, Stream::Watcher(number));
    let mut watched: Option<Watched> = None;
    // The node that reported the start of its history, and that revision.
    let mut oldest: Option<(usize, u64)> = None;
    while !context.closing() {
        let (node, start) = match (&watched, oldest.take()) {
            (None, Some((node, revision))) => (node, at_the_edge(revision, &mut rng)),
            (None, None) => (rng.random_range(0..context.plan.nodes), Start::Now),
            (Some(watched), _) => {
                (rng.random_range(0..context.plan.nodes), Start::Revision(watched.upto + 1))
            }
        };
        context.say(format_args!("{who} > {} watch {start:?}", node::name(node)));
        if let Some(items) = open(&context, node, start) {
            let oldest_revision = follow(&context, &who, items, &mut watched, &mut rng).await;
            oldest = oldest_revision.map(|revision| (node, revision));
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(20..200))).await;
    }
    context.ledger().watched.extend(watched);
}

/// Starts at the oldest revision that a node reports, or one before it, which the node must refuse or serve completely.
fn at_the_edge(oldest_revision: u64, rng: &mut StdRng) -> Start {
    match oldest_revision {
        2.. if rng.random_bool(0.5) => Start::Revision(oldest_revision - 1),
        _ => Start::Revision(oldest_revision.max(1)),
    }
}

/// Opens a watch in the node's process. Items arrive until the watch or the process ends.
fn open(context: &Context, node: usize, start: Start) -> Option<Items> {
    let running = context.nodes[node].running()?;
    // Only who may see everything gets every change.
    let client = context.identities.client(Who::Root);
    let (sender, items) = mpsc::channel(1);
    let job: Job = Box::new(move |service: Service| {
        Box::pin(async move {
            let request = WatchRequest {
                filter: Filter::default(),
                start,
                from_ordinal: 0,
                consistency: Consistency::Linearizable,
                progress_ms: Some(500),
            };
            let under =
                CallContext { timeout: Some(Duration::from_secs(2)), ..client.context(Namespace::default()) };
            let mut watch = match service.watch(&under, request).await {
                Ok(watch) => watch,
                // The watcher may have stopped.
                Err(error) => return drop(sender.send(Err(error)).await),
            };
            loop {
                let item = watch.next().await;
                let ended = item.is_err();
                if sender.send(item).await.is_err() || ended {
                    return;
                }
            }
        })
    });
    running.jobs.send(job).ok()?;
    Some(items)
}

/// Follows a watch. Returns the start of the node's history when the node reported that the requested revision is gone.
async fn follow(
    context: &Context,
    who: &str,
    mut items: Items,
    watched: &mut Option<Watched>,
    rng: &mut StdRng,
) -> Option<u64> {
    // The parts of an incomplete revision, dropped if the watch ends before the revision is complete.
    let mut parts: Vec<u32> = Vec::new();
    // The watcher moves to another node after a while, as behind a load balancer.
    let until = tokio::time::Instant::now() + Duration::from_millis(rng.random_range(500..6_000));
    while let Ok(Some(item)) = tokio::time::timeout_at(until, items.recv()).await {
        if rng.random_bool(0.03) {
            // A busy watcher: changes in the meantime must be queued, or reported as lost.
            tokio::time::sleep(Duration::from_millis(rng.random_range(50..2_000))).await;
        }
        match item {
            Ok(Item::Progress { revision }) => match watched {
                Some(watched) if revision < watched.upto => {
                    let what = format!("{who} was told {revision} after {}", watched.upto);
                    context.fail(violation("a watch never goes back", what));
                    return None;
                }
                Some(watched) => watched.upto = revision,
                None => {
                    let who = who.to_owned();
                    *watched = Some(Watched { who, after: revision, upto: revision, changes: Vec::new() });
                }
            },
            Ok(Item::Changes(batch)) => {
                let Some(watched) = watched else {
                    let what = format!("{who} got changes before it was told where it begins");
                    context.fail(violation("a watch says where it begins", what));
                    return None;
                };
                context.say(format_args!("{who} < {} with {} changes", batch.revision, batch.events.len()));
                parts.extend(batch.events.iter().map(|event| event.ordinal));
                if !batch.more {
                    watched.changes.extend(parts.drain(..).map(|ordinal| (batch.revision, ordinal)));
                    watched.upto = batch.revision;
                }
            }
            Ok(Item::Snapshot(_)) => {
                context.fail(violation("a watch gives what was asked for", who));
                return None;
            }
            Err(error) => {
                context.say(format_args!("{who} < {error}"));
                let ApiError::Compacted { oldest_revision, .. } = error else { return None };
                // The node reported that changes were skipped: another watch starts.
                context.ledger().watched.extend(watched.take());
                return Some(oldest_revision);
            }
        }
    }
    None
}
