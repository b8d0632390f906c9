//! The credential of a client: where its token comes from, and when the token is read again.
//!
//! Invariant: a token goes to nodes of the cluster and nowhere else. It is in no log, no error and no `Debug`.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tonic::Request;
use tonic::metadata::AsciiMetadataValue;
use zeroize::Zeroizing;

use crate::Error;

/// How often a token file is read while a stream is open, so that the stream is renewed before its token ends.
const CHECK_FILE: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(5) };
/// The most bytes of a token file. A longer file is not one.
const FILE_BYTES_MAX: u64 = 8 << 10;

/// A token: an API key or a login. `Debug` prints `[redacted]`, and the bytes are overwritten when the last
/// copy of this value is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Arc<Zeroizing<String>>);

impl Token {
    /// Keeps a token.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(text.into())))
    }

    /// The token itself. Whoever calls this must not log or show it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// How a client proves who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Credential {
    /// It proves nothing, and is anonymous.
    #[default]
    None,
    /// By a token, for as long as the token is valid.
    Token(Token),
    /// By the token in a file. The file is read at the start, every few seconds while a stream is open, and
    /// again when the token is refused: whoever rotates the token replaces the file.
    File(PathBuf),
}

/// The token in use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bearer {
    /// How often the token was replaced.
    generation: u64,
    token: Option<Token>,
    header: Option<AsciiMetadataValue>,
}

impl Bearer {
    fn of(generation: u64, token: Token) -> Result<Self, Error> {
        let header: Result<AsciiMetadataValue, _> = format!("Bearer {}", token.expose()).parse();
        // The error must not show the text.
        let mut header = header.map_err(|_| Error::invalid("the token is not printable ASCII"))?;
        header.set_sensitive(true);
        Ok(Self { generation, token: Some(token), header: Some(header) })
    }

    /// Adds the token to a request.
    pub(crate) fn sign<Q>(&self, request: &mut Request<Q>) {
        if let Some(header) = &self.header {
            request.metadata_mut().insert("authorization", header.clone());
        }
    }

    /// The text of the token; empty without one.
    pub(crate) fn text(&self) -> String {
        self.token.as_ref().map(|token| token.expose().to_owned()).unwrap_or_default()
    }
}

/// The credential of a client, with the token in use. Clones of the client share it.
#[derive(Debug)]
pub(crate) struct Credentials {
    file: Option<PathBuf>,
    current: watch::Sender<Bearer>,
    /// Whether a task reads the file from time to time.
    checked: AtomicBool,
}

impl Credentials {
    /// Opens a credential; reads its file.
    ///
    /// # Errors
    /// `invalid_argument` when the file cannot be read or has no token, or the token is not printable ASCII.
    pub(crate) fn open(credential: &Credential) -> Result<Arc<Self>, Error> {
        let (file, bearer) = match credential {
            Credential::None => (None, Bearer::default()),
            Credential::Token(token) => (None, Bearer::of(0, token.clone())?),
            Credential::File(path) => (Some(path.clone()), Bearer::of(0, read(path)?)?),
        };
        let current = watch::Sender::new(bearer);
        Ok(Arc::new(Self { file, current, checked: AtomicBool::new(false) }))
    }

    /// The credential of a client that proves nothing.
    pub(crate) fn none() -> Arc<Self> {
        let (file, current) = (None, watch::Sender::new(Bearer::default()));
        Arc::new(Self { file, current, checked: AtomicBool::new(false) })
    }

    /// Whether there is a token.
    pub(crate) fn is_some(&self) -> bool {
        self.current.borrow().token.is_some()
    }

    /// Counts how often the token was replaced.
    pub(crate) fn generation(&self) -> u64 {
        self.current.borrow().generation
    }

    /// Adds the token to a request.
    pub(crate) fn sign<Q>(&self, request: &mut Request<Q>) {
        self.current.borrow().sign(request);
    }

    /// The token, as a channel that follows its replacement. From the first call on, a file is read from time
    /// to time. Must be called inside a Tokio runtime.
    pub(crate) fn follow(self: &Arc<Self>) -> watch::Receiver<Bearer> {
        if self.file.is_some() && !self.checked.swap(true, Ordering::Relaxed) {
            tokio::spawn(check(Arc::downgrade(self)));
        }
        self.current.subscribe()
    }

    /// Whether there is another token than the one of generation `sent`, which was refused. Reads the file
    /// again if nobody has done so since.
    pub(crate) async fn replaced(&self, sent: u64) -> bool {
        if self.generation() == sent {
            self.read_again().await;
        }
        self.generation() != sent
    }

    /// Reads the file again. A file that cannot be read changes nothing: it may be about to be replaced.
    async fn read_again(&self) {
        let Some(path) = self.file.clone() else { return };
        let path_read = path.clone();
        let token = match tokio::task::spawn_blocking(move || read(&path_read)).await {
            Ok(Ok(token)) => token,
            Ok(Err(error)) => return tracing::warn!(%error, "the token file could not be read again"),
            Err(error) => return tracing::warn!(%error, "the token file could not be read again"),
        };
        self.current.send_if_modified(|bearer| {
            if bearer.token.as_ref() == Some(&token) {
                return false;
            }
            match Bearer::of(bearer.generation + 1, token) {
                Ok(replaced) => *bearer = replaced,
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "the token file has no token");
                    return false;
                }
            }
            true
        });
    }
}

/// Reads the token file from time to time, until the client is gone.
async fn check(credentials: Weak<Credentials>) {
    loop {
        sleep(CHECK_FILE).await;
        let Some(credentials) = credentials.upgrade() else { return };
        credentials.read_again().await;
    }
}

/// Reads the token in a file, without the white space around it.
fn read(path: &Path) -> Result<Token, Error> {
    let refused = |problem: &str| Error::invalid(format!("the token file {}: {problem}", path.display()));
    let mut text = Zeroizing::new(String::new());
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| refused(&error.to_string()))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(refused(&format!("it is longer than {FILE_BYTES_MAX} bytes, so it is not a token")));
    }
    match text.trim() {
        "" => Err(refused("it is empty")),
        token => Ok(Token::new(token)),
    }
}

#[cfg(test)]
#[path = "credential_tests.rs"]
mod tests;
