//! Watches: server-sent events and long polls.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::sse::{Event as ServerEvent, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::Stream;
use tokio::time::{Instant, timeout_at};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answer, FILTERED};
use super::extract::{Headers, Query, ReadHeaders};
use crate::ApiError;
use crate::contract::watch::{Changes, PollAnswer, PollQuery, WatchItem, WatchQuery};
use crate::json::Problem;
use crate::service::watch::{Item, Start, Watch, WatchRequest};
use crate::service::{Service, size};

/// The header with which a browser names the last received event when it reconnects.
const LAST_EVENT_ID: &str = "last-event-id";
/// How long a browser waits before it reconnects, in milliseconds.
const RECONNECT_MS: u64 = 1_000;
const POLL_MS_DEFAULT: u64 = 30_000;
const POLL_MS_MAX: u64 = 60_000;
/// Approximate number of changes in one answer of a poll; the next poll gets the rest.
const POLL_CHANGES_MAX: usize = 1_000;

/// The routes of watches.
pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new().routes(routes!(watch_changes)).routes(routes!(poll_changes))
}

/// Sends every change from a revision on, as server-sent events: `snapshot`, `changes`, `progress`, and `error` at the end.
///
/// The `id` of an event is the revision up to which everything has been sent. A client that reconnects with it as `Last-Event-ID`
/// misses nothing. A large revision comes in several `changes` events: all but the last have `more` and no `id`. A client that
/// loses its connection between them gets the revision again from its start, and must drop the part that it has.
/// The header `Batuta-Filtered: true` tells that changes may be left out because the caller may not see them.
/// The data follow the schemas `SnapshotPage`, `Changes` and `Progress`. An `error` event carries a problem document; then the stream ends.
#[utoipa::path(
    get, path = "/api/v1/watch",
    extensions(("x-batuta-operation" = json!("watch"))), tag = "watch", params(
        ReadHeaders, WatchQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last received event.", example = "1544")
    ),
    responses((status = 200, description = "The stream.", content_type = "text/event-stream", body = String, example = json!("event: changes\nid: 1544\ndata: {\"revision\":1544,\"events\":[]}\n\n")))
)]
async fn watch_changes(
    State(service): State<Service>,
    headers: Headers,
    raw: HeaderMap,
    Query(query): Query<WatchQuery>,
) -> Result<Response, Problem> {
    let context = headers.read_context();
    let mut request = query.read(&context)?;
    if let Some(seen) = last_event_id(&raw)? {
        request.start = Start::Revision(seen + 1);
    }
    let watch = service.watch(&context, request).await?;
    let filtered = watch.is_filtered();
    let mut response = Sse::new(events(watch)).into_response();
    if filtered {
        response.headers_mut().insert(FILTERED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let seen = value.to_str().ok().and_then(|text| text.trim().parse().ok()).filter(|seen| *seen < u64::MAX);
    seen.map(Some).ok_or_else(|| {
        ApiError::invalid(LAST_EVENT_ID, "must be the id of an event of this stream, a revision")
    })
}

/// Converts a watch to a stream that ends after the first error.
fn events(watch: Watch) -> impl Stream<Item = Result<ServerEvent, Infallible>> {
    futures_util::stream::unfold(Some(watch), |watch| async {
        let mut watch = watch?;
        match watch.next().await {
            Ok(item) => Some((Ok(event(item)), Some(watch))),
            Err(error) => {
                let event = ServerEvent::default().event("error");
                Some((Ok(with_data(event, &Problem::from(error))), None))
            }
        }
    })
}

fn event(item: Item) -> ServerEvent {
    let message = WatchItem::from(item);
    let mut event =
        ServerEvent::default().event(message.event_name()).retry(Duration::from_millis(RECONNECT_MS));
    if let Some(revision) = message.resume_after() {
        event = event.id(revision.to_string());
    }
    with_data(event, &message)
}

fn with_data(event: ServerEvent, data: &impl serde::Serialize) -> ServerEvent {
    // Our types consist of strings, numbers and lists, so they always have a JSON form, which has no line breaks.
    event.json_data(data).expect("a wire type is serializable")
}

/// Returns the changes from a revision on, as soon as there is one. An answer is bounded: the next poll gets the changes that do not fit,
/// if necessary the rest of a revision (`next_ordinal`).
#[utoipa::path(
    get, path = "/api/v1/watch/poll",
    extensions(("x-batuta-operation" = json!("watch"))), tag = "watch", params(ReadHeaders, PollQuery),
    responses((status = 200, description = "The changes, and where to continue.", body = PollAnswer))
)]
async fn poll_changes(
    State(service): State<Service>,
    headers: Headers,
    Query(query): Query<PollQuery>,
) -> answer::Result<PollAnswer> {
    let context = headers.read_context();
    let wait_ms = query.wait_ms.map_or(POLL_MS_DEFAULT, u64::from);
    if wait_ms > POLL_MS_MAX {
        return Err(
            ApiError::invalid("wait_ms", format!("is {wait_ms}; must be at most {POLL_MS_MAX}")).into()
        );
    }
    let deadline = Instant::now() + Duration::from_millis(wait_ms);
    let (begins, from_ordinal) = (query.from_revision.is_some(), query.from_ordinal);
    let request = query.read(&context)?;
    let progress_ms = Some(wait_ms.clamp(100, POLL_MS_MAX));
    let request = WatchRequest { from_ordinal, progress_ms, ..request };
    let mut watch = service.watch(&context, request).await?;
    let mut found = Found::default();
    // Without a start there is nothing to wait for: the caller must first learn the revision to start at.
    if begins {
        while found.changes.is_empty() {
            match timeout_at(deadline, watch.next()).await {
                Ok(item) => found.push(item?),
                Err(_elapsed) => break,
            }
        }
        while found.has_room()
            && let Some(item) = watch.ready()?
        {
            found.push(item);
        }
    }
    let revision = watch.caught_up();
    let (next_revision, next_ordinal) = found.within.unwrap_or((revision + 1, 0));
    let next_ordinal = (next_ordinal > 0).then_some(next_ordinal);
    let changes = found.changes;
    let next_revision = next_revision.into();
    let answer = PollAnswer { changes, next_revision, next_ordinal, revision: revision.into() };
    Ok(Answer::at(revision, answer).filtered(watch.is_filtered()))
}

/// The changes collected for an answer.
#[derive(Default)]
struct Found {
    changes: Vec<Changes>,
    count: usize,
    bytes: usize,
    /// The revision that is only partly included, and the ordinal at which its rest starts.
    within: Option<(u64, u32)>,
}

impl Found {
    /// Whether another item, which has a bound of its own, fits into the same answer.
    fn has_room(&self) -> bool {
        self.count < POLL_CHANGES_MAX && self.bytes < size::ANSWER_BYTES
    }

    fn push(&mut self, item: Item) {
        let Item::Changes(batch) = item else { return };
        self.count += batch.events.len();
        self.bytes += batch.events.iter().map(|event| size::event(event)).sum::<usize>();
        let last = batch.events.last().filter(|_| batch.more);
        self.within = last.map(|last| (batch.revision, last.ordinal + 1));
        self.changes.push(Changes::from(&batch));
    }
}
