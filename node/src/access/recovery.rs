//! Answers requests for a recovery token that come from the disk of this node: whoever can write there could take everything anyway.
//!
//! ```text
//! batuta access recover            node
//!   draws a token
//!   recovery-request (its hash) ──► checks owner and mode, removes the file, proposes the token
//!   recovery-answer  ◄───────────── what came of it
//!   prints the token
//! ```
//! The secret never leaves the command; files and log hold its hash.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use batuta_api::access::audit::{Audit, Decision, Event, Kind};
use batuta_raft::{Replica, codec};
use batuta_statemachine::access::{OpenBootstrap, SecretHash, TokenSecret};
use batuta_statemachine::{Permission, TokenId};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::private_file::{self, FileError};

/// The request, in the data directory.
pub(crate) const REQUEST: &str = "recovery-request";
/// The answer, beside it.
pub(crate) const ANSWER: &str = "recovery-answer";
/// How long a recovery token is good.
const TTL_MS: u64 = 15 * 60 * 1000;
/// How often to look for a request.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long the cluster may take to open a token.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// A request for a recovery token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    /// The public id of the token.
    pub(crate) id: String,
    /// The hash of its secret, in hexadecimal digits.
    hash: String,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Answer {
    /// The id in the request.
    pub(crate) id: String,
    /// The wall clock at which the token ends, in milliseconds since the Unix epoch, when it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) not_after_ms: Option<u64>,
    /// Why it is not open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<String>,
}

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("it is not what `batuta access recover` writes")]
    Form,
}

impl Request {
    pub(crate) fn new(token: &TokenSecret) -> Self {
        let hash = token.hash.expose().map(|byte| format!("{byte:02x}")).concat();
        Self { id: token.id.to_string(), hash }
    }

    fn token(&self) -> Option<TokenSecret> {
        let digits = self.hash.as_bytes();
        let mut hash = [0; SecretHash::LENGTH];
        if digits.len() != 2 * hash.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(TokenSecret { id: TokenId::new(&self.id).ok()?, hash: SecretHash::new(hash) })
    }
}

/// Takes the request out of a data directory, if there is one. A request that is not accepted is removed as well.
fn take(data_dir: &Path) -> Result<Option<TokenSecret>, RequestError> {
    let path = data_dir.join(REQUEST);
    let text = match private_file::read_own(&path) {
        Ok(None) => return Ok(None),
        Ok(Some(text)) => Ok(text),
        Err(error) => Err(error),
    };
    private_file::remove(&path);
    let request: Request = serde_json::from_str(text?.expose()).map_err(|_| RequestError::Form)?;
    request.token().map(Some).ok_or(RequestError::Form)
}

/// What answering requests needs.
pub(crate) struct Recovery {
    pub(crate) replica: Replica,
    pub(crate) data_dir: PathBuf,
    /// Whether the configuration allows it.
    pub(crate) allowed: bool,
    pub(crate) audit: Option<Audit>,
}

impl Recovery {
    /// Answers requests until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        while stop.run_until_cancelled(sleep(LOOK_INTERVAL)).await.is_some() {
            let data_dir = self.data_dir.clone();
            // The disk may be slow.
            match tokio::task::spawn_blocking(move || take(&data_dir)).await {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(token))) => self.answer(token).await,
                Ok(Err(error)) => {
                    tracing::warn!(path = %self.data_dir.join(REQUEST).display(), %error, "a request for recovery was not accepted");
                }
                Err(error) => tracing::error!(%error, "looking for a request for recovery failed"),
            }
        }
    }

    async fn answer(&self, token: TokenSecret) {
        let id = token.id;
        let opened = if self.allowed {
            self.open(token).await
        } else {
            Err("access.recovery is false in the configuration of this node; set it to true, and start the node again"
                .to_owned())
        };
        match &opened {
            Ok(_) => tracing::warn!(
                credential = %id,
                "a request on this node's disk opened a recovery token, which makes an administrator within 15 minutes"
            ),
            Err(why) => tracing::warn!(credential = %id, why, "a request for recovery was refused"),
        }
        if let Some(audit) = &self.audit {
            audit.record(recorded(id, &opened));
        }
        let answer =
            Answer { id: id.to_string(), not_after_ms: opened.as_ref().ok().copied(), refused: opened.err() };
        let path = self.data_dir.join(ANSWER);
        let text = serde_json::to_string(&answer).map_err(std::io::Error::from);
        if let Err(error) = text.and_then(|text| private_file::replace(&path, &text)) {
            tracing::error!(path = %path.display(), %error, "the answer to a request for recovery cannot be written");
        }
    }

    /// Opens the token, and tells when it ends.
    async fn open(&self, token: TokenSecret) -> Result<u64, String> {
        let id = token.id;
        let not_after_wall_ms = wall_ms().saturating_add(TTL_MS);
        let open = OpenBootstrap { token, ttl_ms: TTL_MS, not_after_wall_ms, recovery: true, enforce: false };
        match self.replica.propose(codec::request(None, open), OPEN_WITHIN).await {
            Ok(answer) => match answer.outcome {
                Ok(_) => Ok(not_after_wall_ms),
                Err(rejection) => Err(rejection.to_string()),
            },
            // The answer may be lost, and the token open.
            Err(_) if self.replica.view().token(id).is_some() => Ok(not_after_wall_ms),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The line of a request in the audit.
fn recorded(id: TokenId, opened: &Result<u64, String>) -> Event {
    let (decision, why) = match opened {
        Ok(_) => (Decision::Allowed, "a request on this node's disk opened a recovery token".to_owned()),
        Err(why) => (Decision::Refused, format!("a request on this node's disk for a recovery token: {why}")),
    };
    Event {
        permission: Some(Permission::AccessKeys),
        names: vec![format!("credential/{id}")],
        decision: Some(decision),
        why: Some(why),
        ..Event::new(Kind::Privileged)
    }
}

/// The wall clock, in milliseconds since the Unix epoch.
fn wall_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use batuta_api::access::token::{Token, TokenKind};

    use super::*;

    fn put(data_dir: &Path, text: &str, mode: u32) {
        let path = data_dir.join(REQUEST);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn request_is_taken_once() {
        let directory = tempfile::tempdir().unwrap();
        assert!(take(directory.path()).unwrap().is_none());
        let token = Token::generate(TokenKind::Bootstrap).unwrap();
        let text = serde_json::to_string(&Request::new(&token.stored())).unwrap();
        assert!(!text.contains(token.text().expose()));
        put(directory.path(), &text, 0o600);
        assert_eq!(take(directory.path()).unwrap(), Some(token.stored()));
        assert!(take(directory.path()).unwrap().is_none());
    }

    #[test]
    fn bad_request_is_refused_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let token = Token::generate(TokenKind::Bootstrap).unwrap();
        let good = Request::new(&token.stored());
        let text = serde_json::to_string(&good).unwrap();
        let short =
            serde_json::to_string(&Request { hash: good.hash[2..].to_owned(), ..good.clone() }).unwrap();
        let odd = serde_json::to_string(&Request { hash: "é".repeat(32), ..good.clone() }).unwrap();
        let other = serde_json::to_string(&Request { id: "x".to_owned(), ..good }).unwrap();
        for (text, mode) in [
            (text.as_str(), 0o644),
            (text.as_str(), 0o660),
            ("", 0o600),
            ("{}", 0o600),
            ("{\"id\":\"a\",\"hash\":\"b\",\"more\":1}", 0o600),
            (short.as_str(), 0o600),
            (odd.as_str(), 0o600),
            (other.as_str(), 0o600),
        ] {
            put(directory.path(), text, mode);
            assert!(take(directory.path()).is_err(), "{text} {mode:o}");
            assert!(!directory.path().join(REQUEST).exists(), "{text} {mode:o}");
        }
    }

    #[test]
    fn line_of_the_audit_names_the_token_and_not_its_secret() {
        let token = Token::generate(TokenKind::Bootstrap).unwrap();
        let event = recorded(token.id(), &Err("no leader".to_owned()));
        assert_eq!(event.names, [format!("credential/{}", token.id())]);
        assert_eq!(event.decision, Some(Decision::Refused));
        assert!(event.why.unwrap().ends_with("no leader"));
    }
}
