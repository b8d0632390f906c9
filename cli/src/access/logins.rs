//! The file with the logins of a user, one for each cluster. Nobody else can read it.
//!
//! Invariant: the file is replaced as a whole, so that a command that is killed never leaves half a file.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use batuta_client::Token;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Map, Value, json};

use crate::failure::{Failure, exit};

/// A login that is kept.
#[derive(Debug)]
pub(crate) struct Login {
    /// Its token.
    pub(crate) token: Token,
    /// Whose it is.
    pub(crate) principal: String,
}

/// The file with the logins.
#[derive(Debug)]
pub(crate) struct Logins {
    path: PathBuf,
}

impl Logins {
    /// The file of this user: `$XDG_CONFIG_HOME/batuta/credentials`, or below `~/.config`. `None` without a home directory.
    pub(crate) fn of_user() -> Option<Self> {
        let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let config = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")))?;
        Some(Self { path: config.join("batuta").join("credentials") })
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the login for a cluster.
    pub(crate) fn get(&self, cluster: &str) -> Result<Option<Login>, Failure> {
        let logins = self.read()?;
        let Some(login) = logins.get(cluster) else { return Ok(None) };
        let text = |field: &str| login.get(field).and_then(Value::as_str);
        let token = text("token").ok_or_else(|| self.damaged("a login has no token"))?;
        let principal = text("principal").unwrap_or_default().to_owned();
        Ok(Some(Login { token: Token::new(token), principal }))
    }

    /// Keeps a login for a cluster, instead of the one before.
    pub(crate) fn put(&self, cluster: &str, token: &str, principal: &str) -> Result<(), Failure> {
        let login = json!({"token": token, "principal": principal});
        self.change(|logins| drop(logins.insert(cluster.to_owned(), login)))
    }

    /// Forgets the login for a cluster.
    pub(crate) fn remove(&self, cluster: &str) -> Result<(), Failure> {
        self.change(|logins| drop(logins.remove(cluster)))
    }

    fn read(&self) -> Result<Map<String, Value>, Failure> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Map::new()),
            Err(error) => return Err(self.unreadable(&error)),
        };
        let mode = file.metadata().map_err(|error| self.unreadable(&error))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = self.path.display();
            let problem = format!("{path} has tokens, and others can read or change it (mode {mode:04o})");
            let remedy = format!("chmod 600 {path}; if others may have read it, log out and in again.");
            return Err(Failure::usage(problem).remedy(remedy));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| self.unreadable(&error))?;
        // The error of the parser would show nothing of use, and perhaps a token.
        match serde_json::from_str(&text) {
            Ok(Value::Object(logins)) => Ok(logins),
            _ => Err(self.damaged("it is not a JSON object")),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Map<String, Value>)) -> Result<(), Failure> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let failed = |error: io::Error| {
            Failure::new(exit::OUTPUT, "output", format!("{}: {error}", self.path.display()))
        };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let lock = File::open(folder).map_err(failed)?;
        // Another command may change the file at the same time. Closing the folder unlocks it.
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        let mut logins = self.read()?;
        change(&mut logins);
        self.replace(&format!("{:#}\n", Value::Object(logins))).map_err(failed)
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let written = self.path.with_extension("new");
        // A command that was killed may have left it; the folder is locked, so nobody uses it.
        match std::fs::remove_file(&written) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&written)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&written, &self.path)
    }

    fn unreadable(&self, error: &io::Error) -> Failure {
        Failure::usage(format!("{}: {error}", self.path.display()))
    }

    fn damaged(&self, problem: &str) -> Failure {
        let path = self.path.display();
        Failure::usage(format!("{path}: {problem}")).remedy(format!("Remove {path} and log in again."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in a new folder, which is removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("batuta-logins-{name}-{}", std::process::id()));
            Self(folder)
        }

        fn logins(&self) -> Logins {
            Logins { path: self.0.join("batuta").join("credentials") }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            // Only the folder of temporary files would be less tidy.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("is there").permissions().mode() & 0o777
    }

    #[test]
    fn logins_of_several_clusters_are_kept() {
        let folder = Folder::new("several");
        let logins = folder.logins();
        assert!(logins.get("http://a:1").expect("no file yet").is_none());
        logins.put("http://a:1", "bts_a", "user/ann").expect("written");
        logins.put("http://b:1", "bts_b", "user/bob").expect("written");
        logins.put("http://a:1", "bts_c", "user/ann").expect("written");
        let login = logins.get("http://a:1").expect("readable").expect("kept");
        assert_eq!((login.token, login.principal.as_str()), (Token::new("bts_c"), "user/ann"));
        logins.remove("http://a:1").expect("written");
        assert!(logins.get("http://a:1").expect("readable").is_none());
        assert!(logins.get("http://b:1").expect("readable").is_some());
        assert_eq!((mode(logins.path()), mode(logins.path().parent().expect("a folder"))), (0o600, 0o700));
    }

    #[test]
    fn file_that_others_can_read_is_refused() {
        let folder = Folder::new("open");
        let logins = folder.logins();
        logins.put("http://a:1", "bts_a", "user/ann").expect("written");
        for open in [0o644, 0o640, 0o620] {
            let permissions = std::fs::Permissions::from_mode(open);
            std::fs::set_permissions(logins.path(), permissions).expect("mine");
            let failure = logins.get("http://a:1").expect_err("refused");
            assert!(failure.exit == 2 && failure.message.contains("others can read"), "{failure}");
            assert!(failure.remedy.is_some_and(|remedy| remedy.starts_with("chmod 600 ")));
            assert!(logins.put("http://a:1", "bts_b", "user/ann").is_err());
        }
    }

    #[test]
    fn damaged_file_is_refused_without_its_content() {
        let folder = Folder::new("damaged");
        let logins = folder.logins();
        logins.put("http://a:1", "bts_a", "user/ann").expect("written");
        for text in ["", "bts_secret", "[]", r#"{"http://a:1": {"tokens": "bts_secret"}}"#] {
            std::fs::write(logins.path(), text).expect("mine");
            let failure = logins.get("http://a:1").expect_err("damaged");
            assert!(failure.exit == 2 && !failure.to_text().contains("bts_secret"), "{failure}");
        }
    }
}
