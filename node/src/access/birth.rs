//! The bootstrap token of a cluster that is created secured: who holds it makes the first administrator.
//!
//! Every founder draws a token before it starts, because any of them may write the first entry of the cluster. The token of that entry is
//! the one that counts. Its file stays until the token is used or over; the files of the others are removed once the cluster is there.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use batuta_api::access::token::{Token, TokenKind};
use batuta_config::NodeConfig;
use batuta_raft::Replica;
use batuta_statemachine::access::{Mode, TokenSecret};
use tokio::time::sleep;

use super::private_file::{self, FileError};

/// The file in the data directory.
pub(crate) const FILE: &str = "bootstrap-token";
/// How often to look whether the token was used.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Why there is no bootstrap token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BirthError {
    #[error("bootstrap token {path}: {source}", path = path.display())]
    File { path: PathBuf, source: FileError },
    #[error("bootstrap token {path}: there is no such file; write the token into it, or remove access.bootstrap_token_file", path = .0.display())]
    Missing(PathBuf),
    #[error("a bootstrap token cannot be drawn: {0}")]
    Random(io::Error),
}

/// The bootstrap token with which this node creates a cluster.
pub(crate) struct Birth {
    token: Token,
    /// Where the token is written; `None` when the operator gave it.
    file: Option<PathBuf>,
}

impl Birth {
    /// Reads or draws the token, if a cluster that this node creates is to be secured.
    pub(crate) fn prepare(config: &NodeConfig) -> Result<Option<Self>, BirthError> {
        let access = &config.access;
        // A node that joins a cluster creates none.
        if !access.secure || config.cluster.peers.is_empty() {
            return Ok(None);
        }
        let data_dir = &config.node.data_dir;
        match &access.bootstrap_token_file {
            None => Self::drawn(data_dir).map(Some),
            Some(path) => match read(path)? {
                Some(token) => Ok(Some(Self { token, file: None })),
                // The secret may be taken away once the cluster is there.
                None if is_member(data_dir) => Self::drawn(data_dir).map(Some),
                None => Err(BirthError::Missing(path.clone())),
            },
        }
    }

    /// Draws a token, unless an earlier start of this node did.
    fn drawn(data_dir: &Path) -> Result<Self, BirthError> {
        let path = data_dir.join(FILE);
        if let Some(token) = read(&path)? {
            return Ok(Self { token, file: Some(path) });
        }
        let token = Token::generate(TokenKind::Bootstrap).map_err(BirthError::Random)?;
        // A member of a cluster hardly ever needs it.
        if !is_member(data_dir) {
            std::fs::create_dir_all(data_dir)
                .and_then(|()| write(&path, &token))
                .map_err(|error| BirthError::File { path: path.clone(), source: error.into() })?;
        }
        Ok(Self { token, file: Some(path) })
    }

    /// What the first entry of the cluster has of the token.
    pub(crate) fn token(&self) -> TokenSecret {
        self.token.stored()
    }

    /// Says where the token is once the cluster has it, and removes its file when it is of no use any more.
    pub(crate) async fn follow(self, replica: Replica) {
        while replica.status().not_ready.is_some() {
            sleep(LOOK_INTERVAL).await;
        }
        let id = self.token.id();
        let mut announced = false;
        while replica.view().token(id).is_some() {
            if !std::mem::replace(&mut announced, true) {
                self.announce();
            }
            sleep(LOOK_INTERVAL).await;
        }
        let state = replica.view();
        if !announced && state.access_mode() == Mode::Off && !state.access_guarded() {
            tracing::warn!(
                "access.secure concerns a new cluster only; this cluster exists, and access is off: make an administrator with `batuta \
                 access recover`, then `batuta access mode enforce`"
            );
        }
        if let Some(path) = &self.file {
            private_file::remove(path);
        }
    }

    fn announce(&self) {
        let Some(path) = &self.file else {
            tracing::info!(
                "the cluster is secured; make its administrator with the token of access.bootstrap_token_file, within 24 hours"
            );
            return;
        };
        match write(path, &self.token) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                tracing::error!(
                    path = %path.display(), %error,
                    "the bootstrap token of this cluster cannot be written; use `batuta access recover` instead"
                );
            }
            Ok(()) | Err(_) => {
                tracing::info!(
                    path = %path.display(),
                    "the cluster is secured; make its administrator with the bootstrap token in this file, within 24 hours"
                );
            }
        }
    }
}

/// Whether the node has found or created its cluster.
fn is_member(data_dir: &Path) -> bool {
    data_dir.join("identity").exists()
}

fn read(path: &Path) -> Result<Option<Token>, BirthError> {
    private_file::read_bootstrap_token(path)
        .map_err(|source| BirthError::File { path: path.to_owned(), source })
}

fn write(path: &Path, token: &Token) -> io::Result<()> {
    private_file::create(path, &format!("{}\n", token.text().expose()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn config(data_dir: &Path, more: &[(&str, &str)]) -> NodeConfig {
        let own =
            [("node.data_dir", data_dir.to_str().unwrap()), ("cluster.peers", "batuta-0=127.0.0.1:7070")];
        let flags: Vec<(String, String)> =
            own.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        batuta_config::load(None, &[], &flags).unwrap().config
    }

    #[test]
    fn token_is_drawn_only_when_asked_and_once() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("n1");
        assert!(Birth::prepare(&config(&data_dir, &[])).unwrap().is_none());
        assert!(!data_dir.exists(), "nothing is written");
        let secure = config(&data_dir, &[("access.secure", "true")]);
        let first = Birth::prepare(&secure).unwrap().unwrap();
        let again = Birth::prepare(&secure).unwrap().unwrap();
        assert_eq!(first.token(), again.token(), "a crash before the first entry changes nothing");
        let file = data_dir.join(FILE);
        assert_eq!(fs::read_to_string(&file).unwrap().trim_end(), first.token.text().expose());
        fs::write(&file, "damaged").unwrap();
        let refused = Birth::prepare(&secure).err().unwrap().to_string();
        assert!(refused.contains("bootstrap-token") && !refused.contains("damaged"), "{refused}");
    }

    #[test]
    fn member_writes_no_new_token() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("identity"), "").unwrap();
        let birth = Birth::prepare(&config(directory.path(), &[("access.secure", "true")])).unwrap();
        assert!(birth.is_some() && !directory.path().join(FILE).exists());
    }

    #[test]
    fn given_token_is_used_and_not_copied() {
        let directory = tempfile::tempdir().unwrap();
        let (data_dir, given) = (directory.path().join("n1"), directory.path().join("secret"));
        let path = given.to_str().unwrap();
        let config = config(&data_dir, &[("access.secure", "true"), ("access.bootstrap_token_file", path)]);
        let missing = Birth::prepare(&config).err().unwrap().to_string();
        assert!(missing.contains(path) && missing.contains("no such file"), "{missing}");
        let token = Token::generate(TokenKind::Bootstrap).unwrap();
        fs::write(&given, format!("{}\n", token.text().expose())).unwrap();
        let birth = Birth::prepare(&config).unwrap().unwrap();
        assert_eq!(birth.token(), token.stored());
        assert!(birth.file.is_none() && !data_dir.exists());
        fs::remove_file(&given).unwrap();
        fs::create_dir(&data_dir).unwrap();
        fs::write(data_dir.join("identity"), "").unwrap();
        assert!(Birth::prepare(&config).unwrap().is_some(), "a member starts without the secret");
    }
}
