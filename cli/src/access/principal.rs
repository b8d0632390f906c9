//! `batuta access user …` and `service …`.

use batuta_client::Client;
use batuta_client::v1::{
    DeletePrincipalRequest, GetPrincipalRequest, ListPrincipalsRequest, Principal, PrincipalResponse,
    PutPrincipalRequest, ResumePrincipalRequest, SetPasswordRequest, SuspendPrincipalRequest,
};
use clap::Subcommand;
use serde_json::json;

use super::password::{Question, ask};
use super::render::{done, principal_fields, principal_json, principal_rows};
use crate::failure::Failure;
use crate::output::Answer;
use crate::reading::Page;

/// The subcommands of `batuta access user`.
#[derive(Subcommand, Debug)]
pub enum UserCommand {
    #[command(flatten)]
    Principal(PrincipalCommand),
    /// Sets the password of a user, which is asked for twice. Ends the other logins of the user.
    ///
    /// When standard input is not a terminal, each password is a line of it: your old one first when no name is given, then the new one.
    #[command(after_help = "Examples:
  batuta access user password
  pass show batuta/olga | batuta access user password olga")]
    Password {
        /// The user [default: you; the old password is then asked for].
        name: Option<String>,
        /// Read the passwords from standard input, even when it is a terminal.
        #[arg(long)]
        password_stdin: bool,
    },
}

/// The subcommands that users and service accounts have in common.
#[derive(Subcommand, Debug)]
pub enum PrincipalCommand {
    /// Creates it, or changes its description.
    Put {
        /// The name.
        name: String,
        /// A description, for people.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        description: String,
    },
    /// Shows it.
    Get {
        /// The name.
        name: String,
    },
    /// Lists them in order of their names.
    Ls {
        #[command(flatten)]
        page: Page,
    },
    /// Deletes it with its credentials and grants. Its sessions, locks and waits end in the same revision.
    Rm {
        /// The name.
        name: String,
    },
    /// Suspends it: it may do nothing until it is resumed. Its sessions, locks and waits end in the same revision.
    Suspend {
        /// The name.
        name: String,
        /// Keep its sessions and locks until their TTL has passed.
        #[arg(long)]
        keep_sessions: bool,
    },
    /// Resumes it.
    Resume {
        /// The name.
        name: String,
    },
}

/// The kind of a principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Service,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::User => "user/",
            Self::Service => "service/",
        }
    }

    /// The principal of this name, which may be given with its kind.
    fn of(self, name: &str) -> String {
        let prefix = self.prefix();
        format!("{prefix}{}", name.strip_prefix(prefix).unwrap_or(name))
    }
}

pub(super) async fn user(client: &Client, command: UserCommand) -> Result<Answer, Failure> {
    match command {
        UserCommand::Principal(command) => answer(client, Kind::User, command).await,
        UserCommand::Password { name, password_stdin } => set_password(client, name, password_stdin).await,
    }
}

async fn set_password(
    client: &Client,
    name: Option<String>,
    password_stdin: bool,
) -> Result<Answer, Failure> {
    let new = Question { prompt: "New password", twice: true };
    let request = if let Some(name) = name {
        let [password] = ask([new], password_stdin).await?;
        let user = name.strip_prefix("user/").unwrap_or(&name).to_owned();
        SetPasswordRequest { user, password: password.into_text(), old_password: String::new() }
    } else {
        let old = Question { prompt: "Old password", twice: false };
        let [old, password] = ask([old, new], password_stdin).await?;
        SetPasswordRequest {
            user: String::new(),
            password: password.into_text(),
            old_password: old.into_text(),
        }
    };
    Ok(done(client.set_password(request).await?))
}

pub(super) async fn answer(
    client: &Client,
    kind: Kind,
    command: PrincipalCommand,
) -> Result<Answer, Failure> {
    match command {
        PrincipalCommand::Put { name, description } => {
            let request = PutPrincipalRequest { principal: kind.of(&name), description };
            one(client.put_principal(request).await?)
        }
        PrincipalCommand::Get { name } => {
            one(client.principal(GetPrincipalRequest { principal: kind.of(&name) }).await?)
        }
        PrincipalCommand::Ls { page } => list(client, kind, page).await,
        PrincipalCommand::Rm { name } => {
            let request = DeletePrincipalRequest { principal: kind.of(&name) };
            Ok(done(client.delete_principal(request).await?))
        }
        PrincipalCommand::Suspend { name, keep_sessions } => {
            let request = SuspendPrincipalRequest { principal: kind.of(&name), keep_sessions };
            one(client.suspend_principal(request).await?)
        }
        PrincipalCommand::Resume { name } => {
            one(client.resume_principal(ResumePrincipalRequest { principal: kind.of(&name) }).await?)
        }
    }
}

/// Lists the principals of one kind. The cluster lists both kinds, so pages are read until this one is full.
async fn list(client: &Client, kind: Kind, page: Page) -> Result<Answer, Failure> {
    let mut found: Vec<Principal> = Vec::new();
    let mut cursor = page.cursor;
    let (cursor, revision) = loop {
        let missing = page.limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
        let answer = client.principals(ListPrincipalsRequest { limit: missing, cursor }).await?;
        let of_kind = answer.principals.into_iter().filter(|item| item.principal.starts_with(kind.prefix()));
        found.extend(of_kind);
        if answer.next_cursor.is_empty() || found.len() >= page.limit as usize {
            break (answer.next_cursor, answer.revision);
        }
        cursor = answer.next_cursor;
    };
    let json = json!({
        "principals": found.iter().map(principal_json).collect::<Vec<_>>(),
        "next_cursor": cursor,
        "revision": revision,
    });
    Ok(Answer::new(json, principal_rows(&found) + &Page::more(&cursor)))
}

fn one(answer: PrincipalResponse) -> Result<Answer, Failure> {
    let principal = answer.principal.ok_or_else(|| Failure::without("the principal"))?;
    let json = json!({"principal": principal_json(&principal), "revision": answer.revision});
    Ok(Answer::new(json, principal_fields(&principal, answer.revision)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_may_have_its_kind() {
        assert_eq!(Kind::User.of("ann"), "user/ann");
        assert_eq!(Kind::User.of("user/ann"), "user/ann");
        assert_eq!(Kind::Service.of("user/ann"), "service/user/ann", "the cluster refuses it");
    }

    #[test]
    fn suspended_principal_is_shown_as_such() {
        let principal =
            Principal { principal: "user/ann".to_owned(), suspended: true, ..Principal::default() };
        let answer = one(PrincipalResponse { principal: Some(principal), revision: 7 }).expect("complete");
        assert!(answer.text.contains("suspended  yes"), "{}", answer.text);
        assert_eq!(answer.json["principal"]["suspended"], true);
        assert_eq!(one(PrincipalResponse::default()).expect_err("nothing to show").exit, 70);
    }
}
