//! `batuta access grant`, `grants`, `extend` and `ungrant`: who has which role, where and until when.

use std::time::Duration;

use batuta_client::Client;
use batuta_client::v1::{
    BindRequest, BindingResponse, ExtendBindingRequest, ListBindingsRequest, UnbindRequest,
};
use clap::Args;
use serde_json::json;

use super::render::{binding_fields, binding_json, binding_rows, done};
use crate::duration::{millis, parse};
use crate::failure::Failure;
use crate::output::Answer;
use crate::reading::Page;

/// The arguments of `batuta access grant`.
#[derive(Args, Debug)]
pub struct GrantArgs {
    /// Who gets the role: user/NAME, service/NAME, group/NAME or anonymous.
    subject: String,
    /// The role: admin, operator, editor, viewer, or one of your own.
    role: String,
    /// Only in this namespace; may be repeated [default: in all namespaces].
    #[arg(id = "namespace", long = "namespace", value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// Only these names of the role: exact, prefix/** by whole segments, or **; may be repeated.
    #[arg(long = "name", value_name = "PATTERN")]
    names: Vec<String>,
    /// How long it holds [default: without an end].
    #[arg(long = "for", value_name = "DURATION", value_parser = parse)]
    ttl: Option<Duration>,
    /// From when on it holds, in RFC 3339, such as 2026-12-01T08:00:00Z [default: at once].
    #[arg(long, value_name = "TIME", default_value = "", hide_default_value = true)]
    not_before: String,
    /// End the sessions, locks and waits of the subject together with the grant.
    #[arg(long)]
    end_sessions: bool,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// The arguments of `batuta access extend`.
#[derive(Args, Debug)]
pub struct ExtendArgs {
    /// The grant's id.
    id: String,
    /// How long it holds from now on.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse, required_unless_present = "no_end")]
    ttl: Option<Duration>,
    /// Let it hold without an end.
    #[arg(long, conflicts_with = "ttl")]
    no_end: bool,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

pub(super) async fn grant(client: &Client, args: GrantArgs) -> Result<Answer, Failure> {
    one(client.bind(request(args)).await?)
}

fn request(args: GrantArgs) -> BindRequest {
    BindRequest {
        subject: args.subject,
        role: args.role,
        namespaces: args.namespaces,
        names: args.names,
        not_before: args.not_before,
        ttl_ms: args.ttl.map(millis),
        end_sessions: args.end_sessions,
        reason: args.reason,
    }
}

pub(super) async fn extend(client: &Client, args: ExtendArgs) -> Result<Answer, Failure> {
    let request =
        ExtendBindingRequest { binding_id: args.id, ttl_ms: args.ttl.map(millis), reason: args.reason };
    one(client.extend_binding(request).await?)
}

pub(super) async fn list(client: &Client, subject: String, page: Page) -> Result<Answer, Failure> {
    let request = ListBindingsRequest { subject, limit: page.limit, cursor: page.cursor };
    let answer = client.bindings(request).await?;
    let json = json!({
        "bindings": answer.bindings.iter().map(binding_json).collect::<Vec<_>>(),
        "next_cursor": answer.next_cursor,
        "revision": answer.revision,
    });
    Ok(Answer::new(json, binding_rows(&answer.bindings) + &Page::more(&answer.next_cursor)))
}

pub(super) async fn unbind(client: &Client, id: String) -> Result<Answer, Failure> {
    Ok(done(client.unbind(UnbindRequest { binding_id: id }).await?))
}

fn one(answer: BindingResponse) -> Result<Answer, Failure> {
    let binding = answer.binding.ok_or_else(|| Failure::without("the grant"))?;
    let json = json!({"binding": binding_json(&binding), "revision": answer.revision});
    Ok(Answer::new(json, binding_fields(&binding, answer.revision)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Grant {
        #[command(flatten)]
        args: GrantArgs,
    }

    #[derive(Parser, Debug)]
    struct Extend {
        #[command(flatten)]
        args: ExtendArgs,
    }

    #[test]
    fn every_option_reaches_the_request() {
        let line = "grant group/orders editor --namespace a --namespace b --name a/** --for 8h --not-before \
                    2026-12-01T08:00:00Z --end-sessions --reason team";
        let args = Grant::try_parse_from(line.split_whitespace()).expect("is understood").args;
        let expected = BindRequest {
            subject: "group/orders".to_owned(),
            role: "editor".to_owned(),
            namespaces: vec!["a".to_owned(), "b".to_owned()],
            names: vec!["a/**".to_owned()],
            not_before: "2026-12-01T08:00:00Z".to_owned(),
            ttl_ms: Some(28_800_000),
            end_sessions: true,
            reason: "team".to_owned(),
        };
        assert_eq!(request(args), expected);
        assert!(Grant::try_parse_from(["grant", "user/ann", "admin"]).is_err(), "the audit wants a reason");
    }

    #[test]
    fn extension_has_an_end_or_says_that_it_has_none() {
        let parsed = |line: &str| Extend::try_parse_from(line.split(' ')).map(|line| line.args);
        assert_eq!(
            parsed("extend b-1.0 --for 8h").expect("is understood").ttl,
            Some(Duration::from_hours(8))
        );
        assert_eq!(parsed("extend b-1.0 --no-end").expect("is understood").ttl, None);
        for line in ["extend b-1.0", "extend b-1.0 --for 8h --no-end"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
