//! `batuta elect observe`: prints who leads, and every change of it.

use std::pin::pin;

use batuta_client::Observed;
use batuta_client::v1::Leader;
use clap::Args;
use serde_json::{Value, json};

use super::render::{leader_json, leader_parts};
use crate::Global;
use crate::failure::{Failure, exit};
use crate::output::{Reader, printable, reader_gone, text_json, write_line};

/// The arguments of `batuta elect observe`.
#[derive(Args, Debug)]
pub struct ObserveArgs {
    /// The election.
    name: String,
    /// Stop after this many lines.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

/// Prints changes until the limit, or until a failure that a retry cannot fix.
pub(crate) async fn run(global: &Global, args: ObserveArgs) -> Result<u8, Failure> {
    let mut election = global.connect().await?.observe(args.name.clone());
    let mut gone = pin!(reader_gone());
    let mut printed = 0;
    while args.limit.is_none_or(|limit| printed < limit) {
        let observed = tokio::select! {
            observed = election.next() => observed?,
            () = &mut gone => break,
        };
        if write_line(global.output, &line(&args.name, &observed), &to_json(&observed))? == Reader::Gone {
            break;
        }
        printed += 1;
    }
    Ok(exit::DONE)
}

/// Formats a change for people, as `batuta watch` does.
fn line(name: &str, observed: &Observed) -> String {
    let nobody = || vec![printable(name), "nobody leads".to_owned()];
    let (kind, mut parts) = match observed {
        Observed::Current { leader, .. } => ("current", leader.as_ref().map_or_else(nobody, parts)),
        Observed::Elected { leader, .. } => ("elected", parts(leader)),
        Observed::Proclaimed { leader, .. } => ("proclaimed", parts(leader)),
        Observed::Gone { leader, reason, words, .. } => {
            ("leader_gone", [parts(leader), vec![reason.clone(), printable(words)]].concat())
        }
    };
    parts.retain(|part| !part.is_empty());
    format!("{}  {kind}  {}", observed.revision(), parts.join("  "))
}

fn parts(leader: &Leader) -> Vec<String> {
    let mut parts = leader_parts(leader);
    parts.push(leader.session_id.clone());
    parts
}

/// Formats a change for programs.
fn to_json(observed: &Observed) -> Value {
    let (kind, leader, reason, words) = match observed {
        Observed::Current { leader, .. } => ("current", leader.as_ref(), "", ""),
        Observed::Elected { leader, .. } => ("elected", Some(leader), "", ""),
        Observed::Proclaimed { leader, .. } => ("proclaimed", Some(leader), "", ""),
        Observed::Gone { leader, reason, words, .. } => {
            ("leader_gone", Some(leader), reason.as_str(), words.as_str())
        }
    };
    json!({
        "revision": observed.revision(),
        "kind": kind,
        "leader": leader.map(leader_json),
        "reason": text_json(reason),
        "words": text_json(words),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_is_one_line() {
        let leader = Leader {
            name: "shop".to_owned(),
            fencing_token: 7,
            owner: "a".to_owned(),
            value: "10.0.0.1:80\n".to_owned(),
            session_id: "s-1".to_owned(),
            ..Leader::default()
        };
        let nobody = Observed::Current { revision: 3, leader: None };
        assert_eq!(line("shop", &nobody), "3  current  shop  nobody leads");
        assert_eq!(to_json(&nobody)["leader"], Value::Null);
        let elected = Observed::Elected { revision: 7, leader: leader.clone() };
        assert_eq!(line("shop", &elected), "7  elected  shop  token 7  a  value 10.0.0.1:80\\n  s-1");
        assert_eq!(to_json(&elected)["leader"]["fencing_token"], 7);
        let (reason, words) = ("forced".to_owned(), "stuck".to_owned());
        let gone =
            Observed::Gone { revision: 9, leader: Leader { value: String::new(), ..leader }, reason, words };
        assert_eq!(line("shop", &gone), "9  leader_gone  shop  token 7  a  s-1  forced  stuck");
        assert_eq!(to_json(&gone)["reason"], "forced");
    }
}
