//! `batuta login`, `logout` and `whoami`.

use std::time::Duration;

use batuta_client::v1::{
    AccessMode, Binding, Credential as Kept, LoginRequest, LogoutRequest, WhoAmIRequest, WhoAmIResponse,
};
use batuta_client::{Client, Credential, Token};
use clap::Args;
use serde_json::json;

use super::logins::Logins;
use super::password::{Question, ask};
use super::render::{binding_json, binding_rows, credential_json, mode_name, or_never};
use crate::Global;
use crate::credential::instead_of_a_login;
use crate::duration::{millis, parse};
use crate::failure::Failure;
use crate::output::{Answer, fields, note};

/// The arguments of `batuta login`.
#[derive(Args, Debug)]
pub struct LoginArgs {
    /// The name of the user.
    user: String,
    /// How long the login is valid, at most 7 days [default: 12h].
    #[arg(long = "for", value_name = "DURATION", value_parser = parse)]
    ttl: Option<Duration>,
    /// Read the password from standard input, even when it is a terminal.
    #[arg(long)]
    password_stdin: bool,
}

/// Logs in with a password, and keeps the login for later commands.
pub(crate) async fn login(global: &Global, args: LoginArgs) -> Result<Answer, Failure> {
    let logins = Logins::of_user().ok_or_else(|| {
        Failure::usage("there is no place to keep a login: neither XDG_CONFIG_HOME nor HOME is set")
    })?;
    let cluster = global.cluster();
    // A file that cannot be used is reported before anybody types a password.
    logins.get(&cluster)?;
    let user = args.user.strip_prefix("user/").unwrap_or(&args.user).to_owned();
    let client = global.connect_as(Credential::None).await?;
    let [password] = ask([Question { prompt: "Password", twice: false }], args.password_stdin).await?;
    let ttl_ms = args.ttl.map_or(0, millis);
    let answer = client.login(LoginRequest { user, password: password.into_text(), ttl_ms }).await?;
    let credential = answer.credential.clone().unwrap_or_default();
    if let Err(failure) = logins.put(&cluster, &answer.token, &credential.principal) {
        // Nobody could use the login, so it should not stay.
        return Err(match end(global, Token::new(answer.token)).await {
            Ok(()) => failure,
            Err(error) => Failure { message: format!("{}; {}", failure.message, error.message), ..failure },
        });
    }
    if let Some(name) = instead_of_a_login() {
        note(&format!("batuta: {name} is set, so commands use it instead of this login"));
    }
    let file = logins.path().display().to_string();
    let json = json!({
        "credential": credential_json(&credential),
        "cluster": cluster,
        "file": file,
        "revision": answer.revision,
    });
    let text = fields([
        ("principal", credential.principal),
        ("not_after", credential.not_after),
        ("cluster", cluster),
        ("file", file),
    ]);
    Ok(Answer::new(json, text))
}

/// Ends the login that is kept for the cluster, at the cluster and in the file.
pub(crate) async fn logout(global: &Global) -> Result<Answer, Failure> {
    let cluster = global.cluster();
    let logins = Logins::of_user();
    let kept = logins.as_ref().map(|logins| logins.get(&cluster)).transpose()?.flatten();
    let (Some(logins), Some(login)) = (logins, kept) else {
        return Err(Failure::usage(format!("no login is kept for {cluster}")));
    };
    let ended_before = match end(global, login.token).await {
        Ok(()) => false,
        Err(failure) if has_ended(&failure.code) => true,
        Err(failure) => return Err(failure),
    };
    logins.remove(&cluster)?;
    let json = json!({"principal": login.principal, "cluster": cluster, "had_ended_before": ended_before});
    let before = if ended_before { "yes" } else { "" };
    let text = fields([
        ("logged_out", login.principal),
        ("cluster", cluster),
        ("had_ended_before", before.to_owned()),
    ]);
    Ok(Answer::new(json, text))
}

/// Deletes a login at the cluster.
async fn end(global: &Global, token: Token) -> Result<(), Failure> {
    let client = global.connect_as(Credential::Token(token)).await?;
    client.logout(LogoutRequest {}).await?;
    Ok(())
}

/// Whether a login with this error is of no use any more.
fn has_ended(code: &str) -> bool {
    matches!(code, "token_expired" | "token_revoked" | "token_not_found" | "invalid_token")
}

/// Shows who the caller is, and what it may do.
pub(crate) async fn who_am_i(client: &Client) -> Result<Answer, Failure> {
    Ok(told(&client.who_am_i(WhoAmIRequest {}).await?))
}

fn told(answer: &WhoAmIResponse) -> Answer {
    let mode = mode_name(answer.mode());
    let json = json!({
        "principal": answer.principal,
        "groups": answer.groups,
        "credential": answer.credential.as_ref().map(credential_json),
        "bindings": answer.bindings.iter().map(binding_json).collect::<Vec<_>>(),
        "mode": mode,
        "revision": answer.revision,
    });
    let shown = |credential: &Kept| {
        let ends = or_never(&credential.not_after);
        format!("{} {} {}, ends {ends}", credential.kind, credential.credential_id, credential.label)
    };
    let mut text = fields([
        ("principal", answer.principal.clone()),
        ("groups", answer.groups.join(", ")),
        ("credential", answer.credential.as_ref().map(shown).unwrap_or_default()),
        ("mode", mode.to_owned()),
    ]);
    text += &bound(&answer.bindings, answer.mode());
    Answer::new(json, text)
}

fn bound(bindings: &[Binding], mode: AccessMode) -> String {
    match (bindings, mode) {
        ([], AccessMode::Off) => "\n\naccess is off: everybody may do everything".to_owned(),
        ([], _) => "\n\nno binding holds now".to_owned(),
        (bindings, _) => format!("\n\n{}", binding_rows(bindings)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caller_is_told_with_its_bindings() {
        let binding = Binding {
            binding_id: "b-7.0".to_owned(),
            subject: "group/orders".to_owned(),
            role: "editor".to_owned(),
            namespaces: vec!["orders".to_owned()],
            ..Binding::default()
        };
        let credential = Kept {
            credential_id: "abc".to_owned(),
            kind: "key".to_owned(),
            label: "laptop".to_owned(),
            ..Kept::default()
        };
        let answer = WhoAmIResponse {
            principal: "user/ann".to_owned(),
            groups: vec!["orders".to_owned()],
            credential: Some(credential),
            bindings: vec![binding],
            mode: AccessMode::Enforce.into(),
            revision: 9,
        };
        let shown = told(&answer);
        for part in ["principal   user/ann\n", "key abc laptop, ends never", "group/orders", "enforce"] {
            assert!(shown.text.contains(part), "{part:?} in {}", shown.text);
        }
        assert_eq!(shown.json["bindings"][0]["role"], "editor");
        let anonymous = WhoAmIResponse { bindings: Vec::new(), credential: None, ..answer };
        assert!(told(&anonymous).text.ends_with("no binding holds now"));
        let off = WhoAmIResponse { mode: AccessMode::Off.into(), ..anonymous };
        assert!(told(&off).text.ends_with("everybody may do everything"));
    }

    #[test]
    fn login_that_has_ended_is_forgotten() {
        assert!(has_ended("token_expired") && has_ended("token_revoked"));
        assert!(!has_ended("unavailable") && !has_ended("principal_suspended"));
    }
}
