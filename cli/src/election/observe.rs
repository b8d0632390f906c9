//! `batuta elect observe`: prints who leads, and every change of it.

use std::pin::pin;

use batuta_client::Observed;
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

/// Formats a change for people.
fn line(name: &str, observed: &Observed) -> String {
    let (kind, rest) = match observed {
        Observed::Current { leader: None, .. } => {
            ("current", vec![printable(name), "nobody leads".to_owned()])
        }
        Observed::Current { leader: Some(leader), .. } => ("current", leader_parts(leader)),
        Observed::Elected { leader, .. } => ("elected", leader_parts(leader)),
        Observed::Proclaimed { leader, .. } => ("proclaimed", leader_parts(leader)),
        Observed::Gone { leader, reason, words, .. } => {
            let told = [reason.clone(), printable(words)];
            let told = told.into_iter().filter(|part| !part.is_empty());
            ("leader_gone", leader_parts(leader).into_iter().chain(told).collect())
        }
    };
    let begin = [observed.revision().to_string(), kind.to_owned()];
    begin.into_iter().chain(rest).collect::<Vec<_>>().join("  ")
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
    use batuta_client::v1::Leader;

    use super::*;

    #[test]
    fn change_is_one_line() {
        let leader = Leader {
            name: "shop".to_owned(),
            fencing_token: 7,
            owner: "a".to_owned(),
            value: "10.0.0.1:80\n".to_owned(),
            ..Leader::default()
        };
        let nobody = Observed::Current { revision: 3, leader: None };
        assert_eq!(line("shop", &nobody), "3  current  shop  nobody leads");
        assert_eq!(to_json(&nobody)["leader"], Value::Null);
        let elected = Observed::Elected { revision: 7, leader: leader.clone() };
        assert_eq!(line("shop", &elected), "7  elected  shop  token 7  a  value 10.0.0.1:80\\n");
        assert_eq!(to_json(&elected)["leader"]["fencing_token"], 7);
        let (reason, words) = ("forced".to_owned(), "stuck".to_owned());
        let gone =
            Observed::Gone { revision: 9, leader: Leader { value: String::new(), ..leader }, reason, words };
        assert_eq!(line("shop", &gone), "9  leader_gone  shop  token 7  a  forced  stuck");
        assert_eq!(to_json(&gone)["reason"], "forced");
    }
}
