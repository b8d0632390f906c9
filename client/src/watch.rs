//! Watches that continue on another node, after the last revision that was seen.
//!
//! Invariant: between two items nothing is missed and nothing is repeated, whatever happened to the node in
//! between. Where that cannot be kept (the history is gone), the watch reports an error, or starts again from
//! a snapshot if it was opened that way.
//!
//! A large revision comes in parts. A node can only send a revision from its start, so when a stream ends
//! between two parts the next stream is opened at that same revision, and changes that were already returned
//! are skipped by their ordinals.

use std::time::Duration;

use batuta_proto::v1;
use batuta_proto::v1::watch_response::Item as WireItem;
use tokio::time::{sleep, timeout};

use crate::call::jitter;
use crate::held::millis;
use crate::pipeline::{CallOptions, Pipeline, PipelinedWatch};
use crate::{Client, Error};

/// How long opening a watch on a node may take, in addition to the silence that is allowed.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
const PROGRESS_DEFAULT: Duration = Duration::from_secs(5);
/// After this many silent progress intervals the watch moves to another node.
const SILENT_INTERVALS: u32 = 4;

/// What to watch, and from which revision on.
#[derive(Debug, Clone, Default)]
pub struct WatchOptions {
    request: v1::WatchRequest,
    resnapshot: bool,
}

impl WatchOptions {
    /// All changes in the namespace from now on.
    #[must_use]
    pub fn now() -> Self {
        Self::default()
    }

    /// All changes from this revision on, that revision included.
    #[must_use]
    pub fn from_revision(revision: u64) -> Self {
        let request = v1::WatchRequest { from_revision: revision, ..Default::default() };
        Self { request, resnapshot: false }
    }

    /// The current objects, then every change. When the history is gone, the watch starts again from a new
    /// snapshot.
    #[must_use]
    pub fn snapshot() -> Self {
        Self { request: v1::WatchRequest { snapshot: true, ..Default::default() }, resnapshot: true }
    }

    /// Only these areas: `lock`, `election`, `session`, `register`, `access`, `cluster`.
    #[must_use]
    pub fn areas<I: IntoIterator<Item: Into<String>>>(mut self, areas: I) -> Self {
        self.request.areas = areas.into_iter().map(Into::into).collect();
        self
    }

    /// Only these kinds of change.
    #[must_use]
    pub fn kinds<I: IntoIterator<Item: Into<String>>>(mut self, kinds: I) -> Self {
        self.request.kinds = kinds.into_iter().map(Into::into).collect();
        self
    }

    /// Only names with this prefix.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.request.prefix = prefix.into();
        self
    }

    /// Only this name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.request.name = name.into();
        self
    }

    /// Only changes that belong to this session.
    #[must_use]
    pub fn session(mut self, session_id: impl Into<String>) -> Self {
        self.request.session_id = session_id.into();
        self
    }

    /// How often an idle watch reports its progress; 5 s unless set.
    #[must_use]
    pub fn progress(mut self, every: Duration) -> Self {
        self.request.progress_ms = millis(every);
        self
    }
}

/// An item of a watch.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchItem {
    /// A page of the objects at one revision.
    Snapshot {
        /// The revision at which the objects are true.
        revision: u64,
        /// Whether this page begins a snapshot: forget everything known before.
        first: bool,
        /// The objects; the page's `last` says whether changes come next.
        page: v1::SnapshotPage,
    },
    /// The changes of one revision, or a part of them.
    Changes {
        /// The revision that made these changes.
        revision: u64,
        /// The changes in order; never empty.
        events: Vec<v1::Event>,
        /// Whether more changes of this revision follow. Another watch may continue after this revision only
        /// once it is complete.
        more: bool,
    },
    /// Everything wanted up to this revision has been delivered.
    Progress {
        /// The revision up to which everything was delivered.
        revision: u64,
    },
}

/// An open watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    options: WatchOptions,
    /// The revision at which another node continues; `None` before the start is known.
    next_revision: Option<u64>,
    stream: Option<(String, PipelinedWatch)>,
    /// Which token the stream was opened with.
    sent: u64,
    in_snapshot: bool,
    /// A revision that was returned in part, and the ordinal of its last returned change.
    partial: Option<(u64, u32)>,
    failures: u32,
}

impl Client {
    /// Creates a watch. Nothing is sent until the first item is awaited.
    #[must_use]
    pub fn watch(&self, options: WatchOptions) -> Watch {
        let client = self.clone();
        let (next_revision, stream, partial) = (None, None, None);
        Watch { client, options, next_revision, stream, sent: 0, in_snapshot: false, partial, failures: 0 }
    }
}

impl Watch {
    /// Returns the next item; tries one node after another for as long as it takes. Cancel safe: dropping the
    /// future loses nothing.
    ///
    /// # Errors
    /// Failures that another attempt cannot fix: `compacted` (unless the watch began with a snapshot),
    /// `invalid_argument`, `permission_denied`. A token that is refused ends the watch, unless it came from a
    /// file that has another one now: the watch then continues with that.
    pub async fn next(&mut self) -> Result<WatchItem, Error> {
        loop {
            match self.receive().await {
                Ok(response) => {
                    self.failures = 0;
                    if let Some(item) = self.item(response) {
                        return Ok(item);
                    }
                }
                Err((url, error)) => self.recover(&url, error).await?,
            }
        }
    }

    async fn receive(&mut self) -> Result<v1::WatchResponse, (String, Error)> {
        if self.stream.is_none() {
            let node = self.client.pool.preferred();
            let url = node.url.to_string();
            self.sent = self.client.pool.credentials.generation();
            if node.unproven {
                self.client.pool.prove(&node).await.map_err(|error| (url.clone(), error))?;
            }
            let stream = self.open(&node.pipeline).map_err(|error| (url.clone(), error))?;
            self.in_snapshot = false;
            self.stream = Some((url, stream));
        }
        let silence = match self.options.request.progress_ms {
            0 => PROGRESS_DEFAULT,
            every_ms => Duration::from_millis(every_ms),
        };
        // Set just above if it was not.
        let Some((url, stream)) = &mut self.stream else {
            return Err((String::new(), Error::new("unavailable", "no stream", true)));
        };
        let error = match timeout(silence * SILENT_INTERVALS + OPEN_WITHIN, stream.next()).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(error)) => error,
            Err(_) => Error::new("timeout", format!("{url} went silent"), true),
        };
        Err((url.clone(), error))
    }

    fn open(&self, pipeline: &Pipeline) -> Result<PipelinedWatch, Error> {
        let mut message = self.options.request.clone();
        if let Some(next) = self.next_revision {
            message.from_revision = next;
            message.snapshot = false;
        }
        let namespace = self.client.namespace.as_ref().to_owned();
        pipeline.watch(message, &CallOptions { namespace, ..CallOptions::default() })
    }

    async fn recover(&mut self, url: &str, error: Error) -> Result<(), Error> {
        self.stream = None;
        match error.code.as_str() {
            "compacted" if self.options.resnapshot => {
                self.next_revision = None;
                self.partial = None;
                return Ok(());
            }
            // The watch continues after the last item; the history has the rest, or reports that it does not.
            "lagged" => return Ok(()),
            _ if error.is_token_refused() => {
                let replaced = self.client.pool.credentials.replaced(self.sent).await;
                return if replaced { Ok(()) } else { Err(error) };
            }
            // Another known node may still be a Batuta node.
            "not_batuta" if self.client.pool.count() == 1 => return Err(error),
            _ if !error.is_passing() => return Err(error),
            _ => {}
        }
        tracing::debug!(url, code = error.code, "moving the watch to another node");
        if error.is_silence() {
            self.client.pool.silent(url);
        } else {
            self.client.pool.failed(url);
        }
        let pause = self.client.backoff.pause(self.failures, jitter());
        self.failures += 1;
        sleep(pause).await;
        Ok(())
    }

    fn item(&mut self, response: v1::WatchResponse) -> Option<WatchItem> {
        let revision = response.revision;
        // A snapshot that is cut off can only start again as a whole: there is no revision to continue from
        // yet. A revision that is cut off starts again at that revision.
        let whole = match &response.item {
            Some(WireItem::Snapshot(page)) => page.last,
            Some(WireItem::Changes(changes)) => !changes.more,
            Some(WireItem::Progress(_)) | None => true,
        };
        if whole {
            self.next_revision = Some(revision + 1);
        } else if let Some(WireItem::Changes(_)) = &response.item {
            self.next_revision = Some(revision);
        }
        // An item of a kind this client does not know is skipped; its revision still counts.
        match response.item? {
            WireItem::Snapshot(page) => {
                let first = !std::mem::replace(&mut self.in_snapshot, !page.last);
                Some(WatchItem::Snapshot { revision, first, page })
            }
            WireItem::Changes(changes) => self.changes(revision, changes),
            WireItem::Progress(_) => Some(WatchItem::Progress { revision }),
        }
    }

    /// The changes of a revision that were not returned before.
    fn changes(&mut self, revision: u64, changes: v1::Changes) -> Option<WatchItem> {
        let v1::Changes { mut events, more } = changes;
        if let Some((partial, ordinal)) = self.partial
            && partial == revision
        {
            events.retain(|event| event.ordinal > ordinal);
        }
        // If every change of a part is known, there is nothing to return; the last part always has a new
        // change.
        let last = events.last()?.ordinal;
        self.partial = more.then_some((revision, last));
        Some(WatchItem::Changes { revision, events, more })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::client_of;

    fn watch() -> Watch {
        client_of("127.0.0.1:1").watch(WatchOptions::now())
    }

    /// The ordinals returned for a part of a revision, and where another stream would then begin.
    fn deliver(
        watch: &mut Watch,
        revision: u64,
        ordinals: std::ops::Range<u32>,
        more: bool,
    ) -> (Vec<u32>, Option<u64>) {
        let events = ordinals.map(|ordinal| v1::Event { ordinal, ..v1::Event::default() }).collect();
        let item = Some(WireItem::Changes(v1::Changes { events, more }));
        let handed_on = match watch.item(v1::WatchResponse { revision, item }) {
            Some(WatchItem::Changes { events, .. }) => events.iter().map(|event| event.ordinal).collect(),
            None => Vec::new(),
            other => panic!("{other:?}"),
        };
        (handed_on, watch.next_revision)
    }

    #[tokio::test]
    async fn revision_cut_between_parts_is_joined_by_ordinals() {
        let mut watch = watch();
        assert_eq!(deliver(&mut watch, 6, 0..2, false), (vec![0, 1], Some(7)));
        assert_eq!(deliver(&mut watch, 7, 0..3, true), (vec![0, 1, 2], Some(7)), "it begins at 7 again");
        // Another node, which splits the revision elsewhere.
        assert_eq!(deliver(&mut watch, 7, 0..2, true), (vec![], Some(7)));
        assert_eq!(deliver(&mut watch, 7, 2..5, true), (vec![3, 4], Some(7)));
        assert_eq!(deliver(&mut watch, 7, 0..6, false), (vec![5], Some(8)));
        assert_eq!(
            deliver(&mut watch, 8, 0..1, false),
            (vec![0], Some(9)),
            "ordinals count within a revision"
        );
    }

    #[tokio::test]
    async fn snapshot_within_a_revision_restarts() {
        let mut watch = watch();
        watch.options.resnapshot = true;
        deliver(&mut watch, 7, 0..3, true);
        watch.recover("", Error::new("compacted", "gone", false)).await.expect("begins anew");
        assert_eq!((watch.next_revision, watch.partial), (None, None));
    }
}
