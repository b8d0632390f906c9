//! Clients that watch everything, across crashes of the nodes they watch on.

use std::sync::Arc;
use std::time::Duration;

use batuta_api::ApiError;
use batuta_api::service::watch::{Filter, Item, Start, WatchRequest};
use batuta_api::service::{CallContext, Consistency, Service};
use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::sync::mpsc;

use crate::context::{Context, violation};
use crate::ledger::Watched;
use crate::node::{self, Job};
use crate::plan::{Stream, rng};

type Items = mpsc::UnboundedReceiver<Result<Item, ApiError>>;

/// A watcher's life: it watches on one node after another and goes on where the last watch ended.
pub(crate) async fn live(context: Arc<Context>, number: usize) {
    let who = format!("w{number}");
    let mut rng = rng(context.plan.seed, Stream::Watcher(number));
    let mut watched: Option<Watched> = None;
    while !context.closing() {
        let node = rng.random_range(0..context.plan.nodes);
        let start = watched.as_ref().map_or(Start::Now, |watched| Start::Revision(watched.upto + 1));
        context.say(format_args!("{who} > {} watch {start:?}", node::name(node)));
        if let Some(items) = open(&context, node, start) {
            follow(&context, &who, items, &mut watched, &mut rng).await;
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(20..200))).await;
    }
    context.ledger().watched.extend(watched);
}

/// Opens a watch in the node's process; items come until it ends or the process does.
fn open(context: &Context, node: usize, start: Start) -> Option<Items> {
    let running = context.nodes[node].running()?;
    let (sender, items) = mpsc::unbounded_channel();
    let job: Job = Box::new(move |service: Service| {
        Box::pin(async move {
            let request = WatchRequest {
                filter: Filter::default(),
                start,
                consistency: Consistency::Linearizable,
                progress_ms: Some(500),
            };
            let under = CallContext { timeout: Some(Duration::from_secs(2)), ..CallContext::default() };
            let mut watch = match service.watch(&under, request).await {
                Ok(watch) => watch,
                // The watcher may be gone.
                Err(error) => return drop(sender.send(Err(error))),
            };
            loop {
                let item = watch.next().await;
                let ended = item.is_err();
                if sender.send(item).is_err() || ended {
                    return;
                }
            }
        })
    });
    running.jobs.send(job).ok()?;
    Some(items)
}

async fn follow(
    context: &Context,
    who: &str,
    mut items: Items,
    watched: &mut Option<Watched>,
    rng: &mut StdRng,
) {
    // A watcher moves on after a while, as one behind a balancer does.
    let until = tokio::time::Instant::now() + Duration::from_millis(rng.random_range(500..6_000));
    while let Ok(Some(item)) = tokio::time::timeout_at(until, items.recv()).await {
        match item {
            Ok(Item::Progress { revision }) => match watched {
                Some(watched) if revision < watched.upto => {
                    let what = format!("{who} was told {revision} after {}", watched.upto);
                    return context.fail(violation("a watch never goes back", what));
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
                    return context.fail(violation("a watch says where it begins", what));
                };
                context.say(format_args!("{who} < {} with {} changes", batch.revision, batch.events.len()));
                watched.changes.extend(batch.events.iter().map(|event| (batch.revision, event.ordinal)));
                watched.upto = batch.revision;
            }
            Ok(Item::Snapshot(_)) => {
                return context.fail(violation("a watch gives what was asked for", who));
            }
            Err(error) => {
                context.say(format_args!("{who} < {error}"));
                if matches!(error, ApiError::Compacted { .. }) {
                    // What is gone was said to be gone: another watch begins.
                    context.ledger().watched.extend(watched.take());
                }
                return;
            }
        }
    }
}
