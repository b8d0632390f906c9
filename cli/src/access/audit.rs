//! `batuta access audit`: prints the audit of one node, oldest lines first.

use std::pin::pin;
use std::time::Duration;

use batuta_client::v1::{ReadAuditRequest, ReadAuditResponse};
use clap::Args;
use serde_json::Value;
use tokio::time::sleep;

use crate::Global;
use crate::failure::{Failure, exit};
use crate::output::{Reader, printable, reader_gone, write_line};

/// How often to ask for new lines.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The most lines of one answer.
const PAGE: u64 = 1_000;
/// The fields of a line that people are shown, in this order.
const SHOWN: [&str; 10] =
    ["at", "kind", "decision", "principal", "permission", "namespace", "names", "what", "why", "ip"];

/// The arguments of `batuta access audit`.
#[derive(Args, Debug)]
pub struct AuditArgs {
    /// Continue with new lines as they are written, until the command is stopped.
    #[arg(long)]
    follow: bool,
    /// Stop after this many lines.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

/// Prints lines until the end, the limit, or a failure.
pub(super) async fn run(global: &Global, args: AuditArgs) -> Result<u8, Failure> {
    let node = global.node(global.first_endpoint())?;
    let mut gone = pin!(reader_gone());
    let mut cursor = String::new();
    let mut left = args.limit.unwrap_or(u64::MAX);
    loop {
        let limit = u32::try_from(left.min(PAGE)).unwrap_or(u32::MAX);
        let page = tokio::select! {
            page = node.audit(ReadAuditRequest { cursor: cursor.clone(), limit }) => page?,
            () = &mut gone => return Ok(exit::DONE),
        };
        let ReadAuditResponse { lines, next_cursor, end } = page;
        for line in lines {
            let (text, json) = shown(&line);
            if write_line(global.output, &text, &json)? == Reader::Gone {
                return Ok(exit::DONE);
            }
            left -= 1;
            if left == 0 {
                return Ok(exit::DONE);
            }
        }
        cursor = next_cursor;
        if end && !args.follow {
            return Ok(exit::DONE);
        }
        if end {
            tokio::select! {
                () = sleep(ASK_AGAIN) => {}
                () = &mut gone => return Ok(exit::DONE),
            }
        }
    }
}

/// A line for people and for programs. A line that is not JSON is shown as it is: a file may have been changed.
fn shown(line: &str) -> (String, Value) {
    let json = serde_json::from_str(line).unwrap_or_else(|_| Value::from(line));
    let Value::Object(fields) = &json else { return (printable(line), json) };
    let parts: Vec<String> = SHOWN
        .iter()
        .filter_map(|field| fields.get(*field))
        .map(word)
        .filter(|part| !part.is_empty())
        .collect();
    (parts.join("  "), json)
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable(text),
        Value::Array(items) => items.iter().map(word).collect::<Vec<_>>().join(","),
        other => printable(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_told_in_words() {
        let line = r#"{"at":"2026-12-01T08:00:00.000Z","seq":7,"kind":"denied","principal":"user/ann","permission":"lock:acquire",
            "namespace":"shop","names":["a\n1","b"],"decision":"refused","why":"permission_denied","front":null}"#;
        let (text, json) = shown(line);
        assert_eq!(
            text,
            "2026-12-01T08:00:00.000Z  denied  refused  user/ann  lock:acquire  shop  a\\n1,b  permission_denied"
        );
        assert_eq!(json["seq"], 7);
        let (text, json) = shown("not\tjson");
        assert_eq!((text.as_str(), json), ("not\\tjson", Value::from("not\tjson")));
    }
}
