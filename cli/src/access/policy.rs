//! `batuta access status`, `mode`, `can`, `explain` and `report`.

use std::fmt::Write as _;

use std::collections::BTreeMap;

use batuta_client::Client;
use batuta_client::v1::{
    AccessMode, CheckAccessRequest, CheckAccessResponse, GetAccessReportRequest, GetAccessReportResponse,
    GetAccessRequest, GetAccessResponse, SetAccessModeRequest,
};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::render::mode_name;
use crate::Global;
use crate::failure::{Failure, exit};
use crate::output::{Answer, fields, printable, rows, text_json};

/// A mode of access, as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeName {
    /// Nothing is enforced.
    Off,
    /// Everything is allowed; what would be denied is counted.
    Observe,
    /// What is not allowed is denied.
    Enforce,
}

/// What a principal would do.
#[derive(Args, Debug)]
pub struct Question {
    /// The permission, area:verb, such as lock:acquire.
    permission: String,
    /// The name; leave it out to ask without one.
    #[arg(default_value = "", hide_default_value = true)]
    name: String,
    /// Whom to ask about: user/NAME, service/NAME or anonymous [default: you].
    #[arg(long, value_name = "PRINCIPAL", default_value = "", hide_default_value = true)]
    principal: String,
}

/// How much is told about a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Yes or no.
    Answer,
    /// The reasons as well.
    Reasons,
}

pub(super) async fn status(client: &Client) -> Result<Answer, Failure> {
    Ok(shown(&client.access(GetAccessRequest {}).await?))
}

pub(super) async fn set_mode(client: &Client, mode: ModeName) -> Result<Answer, Failure> {
    let mode = match mode {
        ModeName::Off => AccessMode::Off,
        ModeName::Observe => AccessMode::Observe,
        ModeName::Enforce => AccessMode::Enforce,
    };
    Ok(shown(&client.set_access_mode(SetAccessModeRequest { mode: mode.into() }).await?))
}

fn shown(access: &GetAccessResponse) -> Answer {
    let mode = mode_name(access.mode());
    let json = json!({
        "mode": mode,
        "access_revision": access.access_revision,
        "principals": access.principals,
        "groups": access.groups,
        "roles": access.roles,
        "bindings": access.bindings,
        "credentials": access.credentials,
        "revision": access.revision,
    });
    let text = fields([
        ("mode", mode.to_owned()),
        ("access_revision", access.access_revision.to_string()),
        ("principals", access.principals.to_string()),
        ("groups", access.groups.to_string()),
        ("roles", access.roles.to_string()),
        ("bindings", access.bindings.to_string()),
        ("credentials", access.credentials.to_string()),
        ("revision", access.revision.to_string()),
    ]);
    Answer::new(json, text)
}

pub(super) async fn check(client: &Client, question: Question, told: Told) -> Result<Answer, Failure> {
    let Question { permission, name, principal } = question;
    let answer = client.check_access(CheckAccessRequest { principal, permission, name }).await?;
    Ok(decided(&answer, told))
}

fn decided(answer: &CheckAccessResponse, told: Told) -> Answer {
    let word = if answer.allowed { "yes" } else { "no" };
    let text = match told {
        Told::Answer => word.to_owned(),
        Told::Reasons => {
            let found = fields([
                ("allowed", word.to_owned()),
                ("role", answer.role.clone()),
                ("binding_id", answer.binding_id.clone()),
                ("revision", answer.revision.to_string()),
            ]);
            format!("{}\n\n{found}", printable(&answer.summary))
        }
    };
    let json = json!({
        "allowed": answer.allowed,
        "binding_id": text_json(&answer.binding_id),
        "role": text_json(&answer.role),
        "summary": answer.summary,
        "revision": answer.revision,
    });
    Answer::new(json, text).exit(if answer.allowed { exit::DONE } else { exit::NO })
}

/// Adds up the reports of the nodes at the endpoints: each node counts only the calls that it answered.
pub(super) async fn report(global: &Global, clear: bool) -> Result<Answer, Failure> {
    let mut reports = Vec::new();
    for endpoint in &global.endpoints {
        reports.push(global.node(endpoint)?.access_report(GetAccessReportRequest { clear }).await?);
    }
    Ok(together(&reports))
}

fn together(reports: &[GetAccessReportResponse]) -> Answer {
    let mut calls: BTreeMap<[&str; 4], u64> = BTreeMap::new();
    for missing in reports.iter().flat_map(|report| &report.missing) {
        let right = [&missing.principal, &missing.permission, &missing.namespace, &missing.names];
        *calls.entry(right.map(String::as_str)).or_default() += missing.calls;
    }
    let other_calls: u64 = reports.iter().map(|report| report.other_calls).sum();
    let missing = calls.iter().map(|([principal, permission, namespace, names], calls)| {
        json!({
            "principal": principal, "permission": permission, "namespace": namespace, "names": names,
            "calls": calls,
        })
    });
    let json = json!({
        "missing": missing.collect::<Vec<Value>>(), "other_calls": other_calls, "nodes": reports.len(),
    });
    let mut text = if calls.is_empty() {
        format!("no call would have been denied by the {} node(s) that were asked", reports.len())
    } else {
        rows(
            ["PRINCIPAL", "PERMISSION", "NAMESPACE", "NAMES", "CALLS"],
            calls.iter().map(|([principal, permission, namespace, names], calls)| {
                [principal, permission, namespace, names, &&*calls.to_string()].map(|cell| (*cell).to_owned())
            }),
        )
    };
    if other_calls > 0 {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n\n{other_calls} more calls would have been denied than a report lists");
    }
    Answer::new(json, text)
}

#[cfg(test)]
mod tests {
    use batuta_client::v1::MissingRight;

    use super::*;

    #[test]
    fn answer_is_an_exit_code() {
        let allowed = CheckAccessResponse {
            allowed: true,
            role: "editor".to_owned(),
            summary: "user/ann may, by the role editor".to_owned(),
            ..CheckAccessResponse::default()
        };
        let answer = decided(&allowed, Told::Answer);
        assert_eq!((answer.exit, answer.text.as_str()), (0, "yes"));
        let explained = decided(&allowed, Told::Reasons);
        assert!(
            explained.text.starts_with("user/ann may, by the role editor\n\nallowed"),
            "{}",
            explained.text
        );
        let denied = decided(&CheckAccessResponse::default(), Told::Answer);
        assert_eq!((denied.exit, denied.text.as_str(), &denied.json["role"]), (1, "no", &Value::Null));
    }

    #[test]
    fn reports_of_nodes_are_added_up() {
        let missing = |names: &str, calls| MissingRight {
            principal: "anonymous".to_owned(),
            permission: "lock:acquire".to_owned(),
            namespace: "shop".to_owned(),
            names: names.to_owned(),
            calls,
        };
        let report = |missing, other_calls| GetAccessReportResponse { missing, other_calls, revision: 7 };
        let answer = together(&[
            report(vec![missing("b/**", 1), missing("a/**", 2)], 0),
            report(vec![missing("a/**", 3)], 4),
        ]);
        assert_eq!(
            answer.text,
            "PRINCIPAL  PERMISSION    NAMESPACE  NAMES  CALLS\n\
             anonymous  lock:acquire  shop       a/**   5\n\
             anonymous  lock:acquire  shop       b/**   1\n\n\
             4 more calls would have been denied than a report lists"
        );
        assert_eq!((&answer.json["missing"][0]["calls"], &answer.json["nodes"]), (&json!(5), &json!(2)));
        assert!(together(&[report(Vec::new(), 0)]).text.starts_with("no call would"));
    }
}
