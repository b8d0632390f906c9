//! `batuta dev --secure`: the administrator of a secured cluster on loopback, and the file with its key.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use batuta_api::access::Secret;
use batuta_api::access::token::{Token, TokenKind};
use batuta_proto::v1::BootstrapRequest;
use batuta_proto::v1::access_service_client::AccessServiceClient;
use tokio::time::timeout;
use tonic::transport::Endpoint;

use super::private_file::{self, FileError};

/// The file with the key, in the directory of the cluster's data.
const KEY_FILE: &str = "admin-token";
/// The file with the bootstrap token, beside it. All nodes are given this one, because any of them may create the cluster.
const BOOTSTRAP_FILE: &str = "bootstrap-token";
/// The name of the administrator.
pub(crate) const ADMIN: &str = "admin";
/// How long making the administrator may take.
const WITHIN: Duration = Duration::from_secs(15);

/// Why there is no administrator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: FileError },
    #[error(
        "the data in {} belong to a cluster that was created without --secure; start it without --secure, or give a new cluster another \
         --data-dir", .0.display()
    )]
    NotSecured(PathBuf),
    #[error("user/{ADMIN} was not made at {url}: {why}")]
    Refused { url: String, why: String },
}

/// The administrator of a cluster.
pub(crate) enum Admin {
    /// The cluster is not secured.
    Nobody,
    /// An earlier start made it.
    Made { key_file: PathBuf },
    /// It is made once the cluster is ready.
    ToMake { key_file: PathBuf, bootstrap_file: PathBuf, token: Token },
}

impl Admin {
    /// Finds out what is to be done for a cluster whose data lie here. `exists` tells whether it was created before.
    pub(crate) fn prepare(data_dir: &Path, secure: bool, exists: bool) -> Result<Self, AdminError> {
        let failed =
            |source: io::Error| AdminError::File { path: data_dir.to_owned(), source: source.into() };
        // Other programs, in other directories, are told the path of the key.
        let data_dir = std::path::absolute(data_dir).map_err(failed)?;
        let (key_file, bootstrap_file) = (data_dir.join(KEY_FILE), data_dir.join(BOOTSTRAP_FILE));
        if !exists {
            // What is left of a cluster whose data were deleted opens nothing.
            private_file::remove(&key_file);
        } else if key_file.exists() {
            return Ok(Self::Made { key_file });
        }
        let failed = |source| AdminError::File { path: bootstrap_file.clone(), source };
        let token = match private_file::read_bootstrap_token(&bootstrap_file).map_err(failed)? {
            Some(token) if secure || exists => token,
            _ if !secure => return Ok(Self::Nobody),
            _ if exists => return Err(AdminError::NotSecured(data_dir)),
            _ => {
                let token = Token::generate(TokenKind::Bootstrap).map_err(|error| failed(error.into()))?;
                let line = Secret::new(format!("{}\n", token.text().expose()));
                private_file::create(&bootstrap_file, line.expose()).map_err(|error| failed(error.into()))?;
                token
            }
        };
        Ok(Self::ToMake { key_file, bootstrap_file, token })
    }

    /// The arguments with which every node of the cluster is started.
    pub(crate) fn arguments(&self) -> Vec<String> {
        match self {
            Self::Nobody | Self::Made { .. } => Vec::new(),
            Self::ToMake { bootstrap_file, .. } => {
                let file = format!("--set=access.bootstrap_token_file={}", bootstrap_file.display());
                vec!["--secure".to_owned(), file]
            }
        }
    }

    /// Makes the administrator at a node that is ready, unless there is one. Returns the file with its key.
    pub(crate) async fn make(self, grpc: &str) -> Result<Option<PathBuf>, AdminError> {
        let (key_file, token) = match self {
            Self::Nobody => return Ok(None),
            Self::Made { key_file } => return Ok(Some(key_file)),
            Self::ToMake { key_file, token, .. } => (key_file, token),
        };
        let refused = |why: String| AdminError::Refused { url: grpc.to_owned(), why };
        let key = timeout(WITHIN, bootstrap(grpc, &token));
        let key = key.await.map_err(|_| refused(format!("no answer within {WITHIN:?}")))?.map_err(refused)?;
        let line = Secret::new(format!("{}\n", key.expose()));
        let written = private_file::create(&key_file, line.expose());
        written.map_err(|error| AdminError::File { path: key_file.clone(), source: error.into() })?;
        Ok(Some(key_file))
    }
}

/// Makes the administrator with the bootstrap token. Returns its key.
async fn bootstrap(grpc: &str, token: &Token) -> Result<Secret, String> {
    let unreachable = |error: tonic::transport::Error| format!("cannot connect: {error}");
    let endpoint = Endpoint::from_shared(grpc.to_owned()).map_err(unreachable)?;
    let mut service = AccessServiceClient::new(endpoint.connect().await.map_err(unreachable)?);
    let request = BootstrapRequest { token: token.text().expose().to_owned(), admin: ADMIN.to_owned() };
    let answer = service.bootstrap(request).await.map_err(|status| status.message().to_owned())?;
    Ok(Secret::new(answer.into_inner().key))
}

/// Whether a directory has data of a node that found or created its cluster.
pub(crate) fn exists(data_dir: &Path) -> io::Result<bool> {
    for item in data_dir.read_dir()? {
        if item?.path().join("identity").exists() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn new_cluster_is_secured_only_when_asked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let admin = Admin::prepare(path, false, exists(path).unwrap()).unwrap();
        assert!(matches!(admin, Admin::Nobody) && admin.arguments().is_empty());
        assert!(!path.join(BOOTSTRAP_FILE).exists());
        fs::write(path.join(KEY_FILE), "left over").unwrap();
        let admin = Admin::prepare(path, true, false).unwrap();
        assert!(!path.join(KEY_FILE).exists(), "the key of a cluster that is gone");
        let Admin::ToMake { token, .. } = &admin else { panic!("an administrator is to be made") };
        let arguments = admin.arguments();
        assert_eq!(arguments[0], "--secure");
        assert!(arguments[1].ends_with(BOOTSTRAP_FILE) && !arguments[1].contains(token.text().expose()));
    }

    #[test]
    fn existing_cluster_keeps_its_administrator() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let Admin::ToMake { token, .. } = Admin::prepare(path, true, false).unwrap() else { panic!("new") };
        fs::create_dir(path.join("n1")).unwrap();
        fs::write(path.join("n1").join("identity"), "").unwrap();
        assert!(exists(path).unwrap());
        // The first start ended before the administrator was made.
        let again = Admin::prepare(path, false, true).unwrap();
        assert!(matches!(&again, Admin::ToMake { token: same, .. } if same.id() == token.id()));
        fs::write(path.join(KEY_FILE), "key").unwrap();
        for secure in [true, false] {
            let made = Admin::prepare(path, secure, true).unwrap();
            assert!(matches!(&made, Admin::Made { key_file } if key_file.ends_with(KEY_FILE)));
            assert!(made.arguments().is_empty());
        }
    }

    #[test]
    fn cluster_without_access_is_not_secured_later() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(Admin::prepare(directory.path(), false, true), Ok(Admin::Nobody)));
        let refused = Admin::prepare(directory.path(), true, true).err().unwrap().to_string();
        assert!(refused.contains("without --secure") && refused.contains("--data-dir"), "{refused}");
    }
}
