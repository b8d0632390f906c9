//! Files that only their owner may read, for secrets and for requests that prove access to a member's disk.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use batuta_api::access::Secret;
use batuta_api::access::token::{Token, TokenError, TokenKind};
use tempfile::NamedTempFile;

/// More than any of these files holds.
const BYTES_MAX: u64 = 4096;

/// Why a file is not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is no regular file")]
    Kind,
    #[error("it belongs to user id {found}, not to {expected} as which this node runs")]
    Owner { found: u32, expected: u32 },
    #[error("others may access it (mode {0:o}); it must be 600")]
    Mode(u32),
    #[error("it has {0} bytes, more than the {BYTES_MAX} that are read")]
    Size(u64),
    #[error("it holds no bootstrap token: {0}")]
    Token(TokenError),
    #[error("it holds a token of another kind; a bootstrap token begins with btb_")]
    TokenKind,
}

/// Creates a file with mode 0600, whole or not at all. One that exists is an error of kind `AlreadyExists`.
pub(crate) fn create(path: &Path, contents: &str) -> io::Result<()> {
    let file = written(path, contents)?;
    file.persist_noclobber(path)?;
    sync_directory(path)
}

/// Creates or replaces a file with mode 0600. It belongs to the owner of its directory, so that the node can read what an administrator of
/// the machine writes.
pub(crate) fn replace(path: &Path, contents: &str) -> io::Result<()> {
    let file = written(path, contents)?;
    let (own, directory) = (file.as_file().metadata()?, fs::metadata(directory(path))?);
    if own.uid() != directory.uid() {
        fchown(file.as_file(), Some(directory.uid()), Some(directory.gid()))?;
    }
    file.persist(path)?;
    sync_directory(path)
}

fn written(path: &Path, contents: &str) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    let mut file =
        builder.prefix(".batuta-").permissions(Permissions::from_mode(0o600)).tempfile_in(directory(path))?;
    file.write_all(contents.as_bytes())?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

/// Reads a small file; `None` when it does not exist.
pub(crate) fn read(path: &Path) -> Result<Option<Secret>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    text_of(file).map(Some)
}

/// Reads a small file that belongs to the user of this process and that nobody else may access; `None` when it does not exist.
pub(crate) fn read_own(path: &Path) -> Result<Option<Secret>, FileError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !found.is_file() {
        return Err(FileError::Kind);
    }
    let file = File::open(path)?;
    let opened = file.metadata()?;
    if (opened.dev(), opened.ino()) != (found.dev(), found.ino()) {
        return Err(FileError::Kind);
    }
    let expected = rustix::process::geteuid().as_raw();
    if opened.uid() != expected {
        return Err(FileError::Owner { found: opened.uid(), expected });
    }
    let mode = opened.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::Mode(mode));
    }
    text_of(file).map(Some)
}

fn text_of(file: File) -> Result<Secret, FileError> {
    let bytes = file.metadata()?.len();
    if bytes > BYTES_MAX {
        return Err(FileError::Size(bytes));
    }
    let mut text = String::with_capacity(4096);
    file.take(BYTES_MAX).read_to_string(&mut text)?;
    Ok(Secret::new(text))
}

/// Reads a bootstrap token from a file; `None` when the file does not exist.
pub(crate) fn read_bootstrap_token(path: &Path) -> Result<Option<Token>, FileError> {
    let Some(text) = read(path)? else { return Ok(None) };
    let token = Token::parse(Secret::new(text.expose().trim().to_owned())).map_err(FileError::Token)?;
    if token.kind() == TokenKind::Bootstrap { Ok(Some(token)) } else { Err(FileError::TokenKind) }
}

/// Removes a file that is of no use any more.
pub(crate) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a file that is of no use any more cannot be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn created_file_is_private_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        create(&path, "one\n").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(create(&path, "two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read_own(&path).unwrap().unwrap().expose(), "one\n");
        replace(&path, "two").unwrap();
        assert_eq!((read(&path).unwrap().unwrap().expose(), mode(&path)), ("two", 0o600));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else stays behind");
        remove(&path);
        assert!(read(&path).unwrap().is_none() && read_own(&path).unwrap().is_none());
        remove(&path);
    }

    #[test]
    fn file_of_others_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("request");
        for loose in [0o640, 0o604, 0o622] {
            replace(&path, "x").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(loose)).unwrap();
            let refused = read_own(&path).unwrap_err();
            assert!(matches!(refused, FileError::Mode(mode) if mode == loose), "{refused}");
        }
        replace(&path, &"x".repeat(5000)).unwrap();
        assert!(matches!(read_own(&path).unwrap_err(), FileError::Size(5000)));
        let link = directory.path().join("link");
        replace(&path, "x").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(read_own(&link).unwrap_err(), FileError::Kind));
        assert!(matches!(read_own(directory.path()).unwrap_err(), FileError::Kind));
    }

    #[test]
    fn only_a_bootstrap_token_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        assert!(read_bootstrap_token(&path).unwrap().is_none());
        let token = Token::generate(TokenKind::Bootstrap).unwrap();
        fs::write(&path, format!("{}\n", token.text().expose())).unwrap();
        assert_eq!(read_bootstrap_token(&path).unwrap().unwrap().id(), token.id());
        let key = Token::generate(TokenKind::Key).unwrap();
        let secret = key.text().expose();
        fs::write(&path, secret).unwrap();
        let refused = read_bootstrap_token(&path).unwrap_err();
        assert!(matches!(refused, FileError::TokenKind) && !refused.to_string().contains(secret));
        for damaged in ["", "btb_", &token.text().expose()[..40]] {
            fs::write(&path, damaged).unwrap();
            let refused = read_bootstrap_token(&path).unwrap_err();
            assert!(matches!(refused, FileError::Token(_)), "{refused}");
        }
    }
}
