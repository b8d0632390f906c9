//! What the tests of the client share.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use crate::credential::Credentials;
use crate::pool::Pool;
use crate::{Backoff, Client, Credential};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A client of the node at this address, which need not be there.
pub(crate) fn client_of(address: &str) -> Client {
    Client {
        pool: Arc::new(Pool::new(&[address.to_owned()], Credentials::none()).expect("an address")),
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

/// A token file, which is removed at the end of the test.
pub(crate) struct TokenFile(PathBuf);

impl TokenFile {
    pub(crate) fn new(token: &str) -> Self {
        let name = format!("batuta-token-{}", crate::call::fresh_key().expect("randomness"));
        let file = Self(std::env::temp_dir().join(name));
        file.write(token);
        file
    }

    pub(crate) fn write(&self, token: &str) {
        std::fs::write(&self.0, token).expect("a writable folder");
    }

    pub(crate) fn credential(&self) -> Credential {
        Credential::File(self.0.clone())
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        // Only the folder of temporary files would be less tidy.
        let _ = std::fs::remove_file(&self.0);
    }
}
