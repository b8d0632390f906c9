//! `batuta access key …` and `bootstrap`: API keys, of which each secret is printed once.
//!
//! Invariant: standard output has the secret, or the JSON object that contains it, and nothing else.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use batuta_client::v1::{
    BootstrapRequest, CreateKeyRequest, CreateKeyResponse, Credential, DeleteCredentialRequest,
    ListCredentialsRequest, RotateKeyRequest,
};
use batuta_client::{Client, Credential as Proof};
use clap::{Args, Subcommand};
use serde_json::json;

use super::render::{credential_json, credential_rows, done, or_never};
use crate::Global;
use crate::duration::{millis, parse};
use crate::failure::Failure;
use crate::output::{Answer, Created, note};
use crate::reading::Page;

/// The most bytes of a file with a bootstrap token.
const FILE_BYTES_MAX: u64 = 8 << 10;

/// The subcommands of `batuta access key`.
#[derive(Subcommand, Debug)]
pub enum KeyCommand {
    /// Makes an API key and prints it, once.
    #[command(after_help = "Examples:
  batuta access key create --label laptop > laptop.key
  batuta access key create --principal service/worker --label w1 --for 30d --namespace shop > w1.key")]
    Create(CreateArgs),
    /// Makes a key with the rights of an old one, and prints it, once. The old one stays valid for a while.
    Rotate {
        /// The id of the old key: the part between its two underscores.
        id: String,
        /// How long the old key stays valid [default: 1d].
        #[arg(long, value_name = "DURATION", value_parser = parse)]
        overlap: Option<Duration>,
    },
    /// Lists keys and logins, without their secrets.
    Ls {
        /// Whose: user/NAME or service/NAME [default: yours].
        #[arg(long, value_name = "PRINCIPAL", default_value = "", hide_default_value = true)]
        principal: String,
        #[command(flatten)]
        page: Page,
    },
    /// Deletes a key or a login. Every node refuses it within a second.
    Rm {
        /// The id: the part of the token between its two underscores.
        id: String,
    },
}

/// The arguments of `batuta access key create`.
#[derive(Args, Debug)]
pub struct CreateArgs {
    /// Whose key: user/NAME or service/NAME [default: yours].
    #[arg(long, value_name = "PRINCIPAL", default_value = "", hide_default_value = true)]
    principal: String,
    /// A label, for people.
    #[arg(long, value_name = "TEXT")]
    label: String,
    /// How long it is valid [default: 90d].
    #[arg(long = "for", value_name = "DURATION", value_parser = parse)]
    ttl: Option<Duration>,
    /// Make a key without an end.
    #[arg(long, conflicts_with = "ttl")]
    never: bool,
    /// Narrow the key to this role of its principal; may be repeated.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Narrow the key to this namespace; may be repeated.
    #[arg(id = "namespace", long = "namespace", value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// Narrow the key to these names: exact, prefix/** by whole segments, or **; may be repeated.
    #[arg(long = "name", value_name = "PATTERN")]
    names: Vec<String>,
}

pub(super) async fn answer(client: &Client, command: KeyCommand) -> Result<Answer, Failure> {
    match command {
        KeyCommand::Create(args) => created(client.create_key(request(args)?).await?),
        KeyCommand::Rotate { id, overlap } => {
            let overlap_ms = overlap.map(positive).transpose()?.unwrap_or(0);
            created(client.rotate_key(RotateKeyRequest { credential_id: id, overlap_ms }).await?)
        }
        KeyCommand::Ls { principal, page } => {
            let request = ListCredentialsRequest { principal, limit: page.limit, cursor: page.cursor };
            let answer = client.credentials(request).await?;
            let json = json!({
                "credentials": answer.credentials.iter().map(credential_json).collect::<Vec<_>>(),
                "next_cursor": answer.next_cursor,
                "revision": answer.revision,
            });
            Ok(Answer::new(json, credential_rows(&answer.credentials) + &Page::more(&answer.next_cursor)))
        }
        KeyCommand::Rm { id } => {
            Ok(done(client.delete_credential(DeleteCredentialRequest { credential_id: id }).await?))
        }
    }
}

fn request(args: CreateArgs) -> Result<CreateKeyRequest, Failure> {
    Ok(CreateKeyRequest {
        principal: args.principal,
        label: args.label,
        ttl_ms: args.ttl.map(positive).transpose()?.unwrap_or(0),
        never_expires: args.never,
        roles: args.roles,
        namespaces: args.namespaces,
        names: args.names,
    })
}

/// A duration for which 0 would mean the default.
fn positive(duration: Duration) -> Result<u64, Failure> {
    match millis(duration) {
        0 => Err(Failure::usage("the duration must be longer than 0")),
        duration_ms => Ok(duration_ms),
    }
}

fn created(answer: CreateKeyResponse) -> Result<Answer, Failure> {
    let credential = answer.credential.ok_or_else(|| Failure::without("the credential"))?;
    let json = json!({
        "key": answer.key,
        "credential": credential_json(&credential),
        "revision": answer.revision,
    });
    note(&warning(&credential));
    let id = credential.credential_id;
    Ok(Answer::new(json, answer.key).created(Created::Key(id)))
}

/// Makes the first administrator, or another one after a recovery.
pub(super) async fn bootstrap(global: &Global, admin: String) -> Result<Answer, Failure> {
    let path = global
        .token_file
        .as_deref()
        .ok_or_else(|| Failure::usage("the bootstrap token is missing: name its file with --token-file"))?;
    let request = BootstrapRequest { token: read(path)?, admin };
    let client = global.connect_as(Proof::None).await?;
    let answer = client.bootstrap_access(request).await?;
    let credential = answer.credential.ok_or_else(|| Failure::without("the credential"))?;
    let json = json!({
        "principal": answer.principal,
        "key": answer.key,
        "credential": credential_json(&credential),
        "revision": answer.revision,
    });
    note(&warning(&credential));
    Ok(Answer::new(json, answer.key))
}

/// Reads the token of a file, without the white space around it.
fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| Failure::usage(format!("the token file {}: {error}", path.display())))?;
    Ok(text.trim().to_owned())
}

/// What people are told about a new key, on standard error.
fn warning(credential: &Credential) -> String {
    let Credential { principal, credential_id, not_after, .. } = credential;
    let ends = or_never(not_after);
    format!(
        "batuta: key {credential_id} of {principal}, ends {ends}. It is not shown again: keep it where only you can read it."
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        args: CreateArgs,
    }

    fn parsed(line: &str) -> Result<CreateArgs, clap::Error> {
        Line::try_parse_from(["create"].into_iter().chain(line.split_whitespace())).map(|line| line.args)
    }

    #[test]
    fn every_option_reaches_the_request() {
        let line = "--principal service/w --label w1 --for 30d --role editor --namespace shop --name a/**";
        let expected = CreateKeyRequest {
            principal: "service/w".to_owned(),
            label: "w1".to_owned(),
            ttl_ms: 2_592_000_000,
            never_expires: false,
            roles: vec!["editor".to_owned()],
            namespaces: vec!["shop".to_owned()],
            names: vec!["a/**".to_owned()],
        };
        assert_eq!(request(parsed(line).expect("is understood")).expect("complete"), expected);
        assert!(
            request(parsed("--label a --never").expect("is understood")).expect("complete").never_expires
        );
        assert!(request(parsed("--label a --for 0").expect("is understood")).is_err(), "0 means the default");
        for line in ["", "--label a --for 1d --never"] {
            assert!(parsed(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn key_stands_alone() {
        let credential = Credential { credential_id: "abc".to_owned(), ..Credential::default() };
        let answer =
            CreateKeyResponse { key: "btk_abc_x".to_owned(), credential: Some(credential), revision: 7 };
        let answer = created(answer).expect("complete");
        assert_eq!((answer.text.as_str(), &answer.json["key"]), ("btk_abc_x", &json!("btk_abc_x")));
        assert_eq!(answer.json["credential"]["credential_id"], "abc");
    }

    #[test]
    fn warning_does_not_repeat_the_key() {
        let credential = Credential {
            credential_id: "abc".to_owned(),
            principal: "user/ann".to_owned(),
            ..Credential::default()
        };
        let warning = warning(&credential);
        assert!(warning.contains("abc of user/ann, ends never. It is not shown again"), "{warning}");
    }
}
