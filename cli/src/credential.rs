//! The credential that a command sends: which of its sources counts. No flag takes a secret, because everybody on a machine can read the
//! arguments of a process.

use std::ffi::OsString;
use std::path::PathBuf;

use batuta_client::{Credential, Token};

use crate::Global;
use crate::access::logins::Logins;
use crate::failure::Failure;

/// The variable with a token.
pub(crate) const TOKEN: &str = "BATUTA_TOKEN";
/// The variable with the path of a token file.
pub(crate) const TOKEN_FILE: &str = "BATUTA_TOKEN_FILE";

impl Global {
    /// The credential of the command: `--token-file`, then `BATUTA_TOKEN`, `BATUTA_TOKEN_FILE`, and the login of `batuta login`.
    pub(crate) fn credential(&self) -> Result<Credential, Failure> {
        let given =
            Given { file: self.token_file.clone(), variable: set(TOKEN), path_variable: set(TOKEN_FILE) };
        match given.credential()? {
            Some(credential) => Ok(credential),
            None => self.login(),
        }
    }

    /// The credential that `batuta login` keeps for this cluster.
    fn login(&self) -> Result<Credential, Failure> {
        let Some(logins) = Logins::of_user() else { return Ok(Credential::None) };
        let login = logins.get(&self.cluster())?;
        Ok(login.map_or(Credential::None, |login| Credential::Token(login.token)))
    }

    /// Names the cluster among those of one user: the URL of its first endpoint.
    pub(crate) fn cluster(&self) -> String {
        let first = self.first_endpoint();
        batuta_client::endpoint_url(first).unwrap_or_else(|_| first.to_owned())
    }
}

/// The name of what is used instead of a login, if something is.
pub(crate) fn instead_of_a_login() -> Option<&'static str> {
    [TOKEN, TOKEN_FILE].into_iter().find(|name| set(name).is_some())
}

/// What was given on the command line and in the environment.
#[derive(Default)]
struct Given {
    file: Option<PathBuf>,
    variable: Option<OsString>,
    path_variable: Option<OsString>,
}

impl Given {
    fn credential(self) -> Result<Option<Credential>, Failure> {
        if let Some(path) = self.file {
            return Ok(Some(Credential::File(path)));
        }
        if let Some(token) = self.variable {
            // The message must not show the bytes.
            let token = token.into_string().map_err(|_| Failure::usage(format!("{TOKEN} is not UTF-8")))?;
            return Ok(Some(Credential::Token(Token::new(token.trim()))));
        }
        Ok(self.path_variable.map(|path| Credential::File(path.into())))
    }
}

/// The value of a variable that is set and not empty.
fn set(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn flag_comes_before_variables() {
        let file = |path: &str| Some(Credential::File(path.into()));
        let token = Some(Credential::Token(Token::new("btk_a")));
        for (flag, variable, file_variable, expected) in [
            (Some("f"), Some("btk_a"), Some("v"), file("f")),
            (None, Some(" btk_a\n"), Some("v"), token),
            (None, None, Some("v"), file("v")),
            (None, None, None, None),
        ] {
            let given = Given {
                file: flag.map(PathBuf::from),
                variable: variable.map(OsString::from),
                path_variable: file_variable.map(OsString::from),
            };
            assert_eq!(given.credential().expect("is text"), expected);
        }
    }

    #[test]
    fn token_that_is_no_text_is_refused() {
        let variable = Some(OsString::from_vec(vec![b's', 0xff]));
        let failure = Given { variable, ..Given::default() }.credential().expect_err("no text");
        assert_eq!((failure.exit, failure.message.as_str()), (2, "BATUTA_TOKEN is not UTF-8"));
    }
}
