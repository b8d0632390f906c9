//! Watches of a connection: sends the items of the watch hub as frames.

use tokio::sync::watch::Receiver;

use super::frame::Outgoing;
use crate::ApiError;
use crate::contract::watch::WatchItem;
use crate::service::watch::WatchRequest;
use crate::service::{Client, Service};
use crate::socket::{Gone, Out};

#[derive(serde::Serialize)]
struct Opened {
    watch_id: String,
    filtered: bool,
}

/// Opens a watch and sends its items to the client until the watch ends. `clients` has what the client of the connection proved last.
pub(super) async fn tell(
    service: Service,
    clients: Receiver<Client>,
    id: String,
    request: WatchRequest,
    out: Out,
) {
    if let Ok(Err(error)) = follow(&service, clients, &id, request, &out).await {
        // A failure means that the connection has ended; the watch is over in any case.
        let _ = out.send(Outgoing::error(Some(id), error)).await;
    }
}

async fn follow(
    service: &Service,
    mut clients: Receiver<Client>,
    id: &str,
    request: WatchRequest,
    out: &Out,
) -> Result<Result<(), ApiError>, Gone> {
    let client = clients.borrow_and_update().clone();
    let context = client.context(request.filter.namespace.clone());
    let mut watch = match service.watch(&context, request).await {
        Ok(watch) => watch,
        Err(error) => return Ok(Err(error)),
    };
    let result = Opened { watch_id: id.to_owned(), filtered: watch.is_filtered() };
    out.send(Outgoing::Reply { id: id.to_owned(), revision: watch.caught_up(), result }).await?;
    loop {
        let next = match client.identity() {
            Some(_) => watch.next_renewed(&mut clients).await,
            // It sees what anonymous clients may see, although the connection may have authenticated since.
            None => watch.next().await,
        };
        let item = match next {
            Ok(item) => item,
            Err(error) => return Ok(Err(error)),
        };
        let id = id.to_owned();
        let frame: Outgoing = match WatchItem::from(item) {
            WatchItem::Snapshot(page) => Outgoing::Snapshot { id, page },
            WatchItem::Changes(changes) => Outgoing::Changes { id, changes },
            WatchItem::Progress(progress) => Outgoing::Progress { id, revision: progress.revision.into() },
        };
        out.send(frame).await?;
    }
}
