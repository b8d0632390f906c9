//! What the tests of the client share.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use crate::pool::Pool;
use crate::{Backoff, Client};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A client of the node at this address, which need not be there.
pub(crate) fn client_of(address: &str) -> Client {
    Client {
        pool: Arc::new(Pool::new(&[address.to_owned()]).expect("an address")),
        namespace: "default".into(),
        timeout: Duration::from_secs(10),
        backoff: Backoff::default(),
    }
}

/// The connections that a server accepts.
pub(crate) fn connections(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> {
    stream::unfold(listener, |listener| async move {
        let connection = listener.accept().await.map(|(stream, _)| stream);
        Some((connection, listener))
    })
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
