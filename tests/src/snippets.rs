//! Extracts the shell commands of the documents and the answers printed below them, and runs them as a reader would.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A command of a document, and the output that the document shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    /// The command, for bash.
    pub command: String,
    /// The output shown below the command; empty when there is none.
    pub printed: String,
}

/// Extracts the commands of a Markdown document: lines that begin with `$ `, indented by four spaces, with their continuation lines, and
/// blocks of `sh`. A block of `json` directly behind a block of `sh` is its output.
#[must_use]
pub fn snippets(markdown: &str) -> Vec<Snippet> {
    let mut found: Vec<Snippet> = Vec::new();
    let mut fence: Option<&str> = None;
    let mut continued = false;
    // Whether the next block may be the output of the previous command.
    let mut open = false;
    for line in markdown.lines() {
        if let Some(kind) = line.strip_prefix("```") {
            let begins = fence.is_none();
            fence = begins.then_some(kind);
            if begins && kind == "sh" {
                found.push(Snippet { command: String::new(), printed: String::new() });
                open = true;
            }
            continue;
        }
        match (fence, line.strip_prefix("    ")) {
            (Some("sh"), _) => append(&mut found, |snippet| &mut snippet.command, line),
            (Some("json"), _) if open => append(&mut found, |snippet| &mut snippet.printed, line),
            (Some(_), _) => {}
            (None, Some(text)) if continued => {
                append(&mut found, |snippet| &mut snippet.command, text);
                continued = text.ends_with('\\');
            }
            (None, Some(text)) => match text.strip_prefix("$ ") {
                Some(command) => {
                    found.push(Snippet { command: command.to_owned(), printed: String::new() });
                    (continued, open) = (command.ends_with('\\'), true);
                }
                None if open => append(&mut found, |snippet| &mut snippet.printed, text),
                None => {}
            },
            (None, None) => open &= line.is_empty(),
        }
    }
    found
}

fn append(found: &mut [Snippet], part: fn(&mut Snippet) -> &mut String, line: &str) {
    if let Some(last) = found.last_mut() {
        let text = part(last);
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line);
    }
}

/// The terminal in which a reader follows a page.
#[derive(Clone, Debug, Default)]
pub struct Terminal {
    program: PathBuf,
    endpoints: String,
    substitutions: Vec<(String, String)>,
    folder: Option<PathBuf>,
    /// The `export` lines of the commands so far. They hold until the terminal is closed.
    exports: Vec<String>,
}

impl Terminal {
    /// Opens a terminal in which `batuta` is `program` and `BATUTA_ENDPOINTS` is set. The reader types the second text of each substitution where
    /// the page has the first.
    #[must_use]
    pub fn new(program: &Path, endpoints: String, substitutions: Vec<(String, String)>) -> Self {
        Self { program: program.to_owned(), endpoints, substitutions, ..Self::default() }
    }

    /// Works in this folder, which is also the reader's home.
    #[must_use]
    pub fn in_folder(self, folder: &Path) -> Self {
        Self { folder: Some(folder.to_owned()), ..self }
    }

    /// Types a command into bash, where `batuta` is the program under test. A stream is cut off after a few seconds.
    fn run(&mut self, command: &str) -> Output {
        let script = format!(
            "set -euo pipefail\n\
             program='{}'\n\
             batuta() {{ if [[ \" $* \" == *\" watch \"* || \" $* \" == *\" observe \"* ]]; then timeout 4 \"$program\" \"$@\" || [[ $? == 124 ]]; else \"$program\" \"$@\"; fi; }}\n\
             curl() {{ local code=0; command curl -sS --max-time 5 \"$@\" || code=$?; [[ $code == 0 || ($code == 28 && $* == *-N*) ]]; }}\n\
             {}\n\
             {command}\n",
            self.program.display(),
            self.exports.join("\n"),
        );
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]).env("BATUTA_ENDPOINTS", &self.endpoints).stdin(Stdio::null());
        if let Some(folder) = &self.folder {
            bash.current_dir(folder).env("HOME", folder);
        }
        // Credentials of whoever runs the test are none of the reader's.
        for variable in ["BATUTA_TOKEN", "BATUTA_TOKEN_FILE", "XDG_CONFIG_HOME"] {
            bash.env_remove(variable);
        }
        let exports = command.lines().filter(|line| line.starts_with("export "));
        self.exports.extend(exports.map(str::to_owned));
        bash.output().expect("bash runs")
    }
}

impl Snippet {
    /// Runs the command in a terminal.
    ///
    /// # Panics
    /// When the command fails, prints an error that the document does not show, or prints output of another shape than the document shows.
    pub fn run(&self, terminal: &mut Terminal) {
        let mut command = self.command.clone();
        for (from, to) in &terminal.substitutions {
            command = command.replace(from, to);
        }
        let output = terminal.run(&command);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let place = format!("{command}\nprinted: {said}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{place}");
        if let Some(expected) = self.expected_json() {
            let found: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {place}"));
            fits(&expected, &found).unwrap_or_else(|problem| panic!("{problem}\n{place}"));
        } else {
            assert!(!said.contains("urn:batuta:error"), "an error that is not shown: {place}");
            let shown = without_digits(&self.printed);
            assert!(without_digits(&said).contains(&shown), "{shown} is shown\n{place}");
        }
    }

    /// The JSON that the document shows, without the `…` that stands for omitted parts.
    fn expected_json(&self) -> Option<Value> {
        serde_json::from_str(&self.printed.replace(", …", "").replace("… ", "")).ok()
    }
}

fn without_digits(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_ascii_digit()).collect::<String>().trim().to_owned()
}

/// Checks that the output has everything that is shown: the same fields of the same types, equal booleans and nulls, and equal
/// values of `code`, `status`, `kind` and `mode`.
fn fits(shown: &Value, found: &Value) -> Result<(), String> {
    match (shown, found) {
        (Value::Object(shown), Value::Object(found)) => shown.iter().try_for_each(|(field, value)| {
            let other = found.get(field).ok_or_else(|| format!("there is no {field}"))?;
            if matches!(field.as_str(), "code" | "status" | "kind" | "mode") && value != other {
                return Err(format!("{field} is {other}, shown is {value}"));
            }
            fits(value, other).map_err(|problem| format!("{field}: {problem}"))
        }),
        (Value::Array(shown), Value::Array(found)) => {
            if found.len() < shown.len() {
                return Err(format!("{} items are shown, {} are there", shown.len(), found.len()));
            }
            shown.iter().zip(found).try_for_each(|(shown, found)| fits(shown, found))
        }
        (Value::Number(_), Value::Number(_)) | (Value::String(_), Value::String(_)) => Ok(()),
        _ if shown == found => Ok(()),
        _ => Err(format!("{found} is no {shown}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn commands_and_their_answers_are_found() {
        let page = "Text\n\n    $ curl a \\\n        -d b\n    {\"x\":1, …}\n\nMore\n\n```sh\necho 1\n```\n\n```json\n{}\n```\n\nWords\n\n```json\n[]\n```\n";
        let found = snippets(page);
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].command.as_str(), found[0].printed.as_str()),
            ("curl a \\\n    -d b", "{\"x\":1, …}")
        );
        assert_eq!(found[0].expected_json(), Some(json!({"x": 1})));
        assert_eq!((found[1].command.as_str(), found[1].printed.as_str()), ("echo 1", "{}"));
    }

    #[test]
    fn exports_hold_for_later_commands() {
        let folder = tempfile::tempdir().unwrap();
        let mut terminal = Terminal::default().in_folder(folder.path());
        for (command, printed) in [
            ("export TEAM=orders\nOTHER=1; echo \"$TEAM\" > team", ""),
            ("echo \"$TEAM in $(cat team) ${OTHER:-none}\"", "orders in orders none"),
            ("test \"$HOME\" = \"$PWD\"", ""),
        ] {
            Snippet { command: command.to_owned(), printed: printed.to_owned() }.run(&mut terminal);
        }
    }

    #[test]
    fn output_of_another_shape_does_not_fit() {
        let shown = json!({"code": "lock_held", "n": 1, "deep": [{"a": true}]});
        assert_eq!(
            fits(&shown, &json!({"code": "lock_held", "n": 7, "deep": [{"a": true}], "more": 1})),
            Ok(())
        );
        for other in [
            json!({"code": "no_leader", "n": 7, "deep": [{"a": true}]}),
            json!({"code": "lock_held", "deep": [{"a": true}]}),
            json!({"code": "lock_held", "n": "7", "deep": [{"a": true}]}),
            json!({"code": "lock_held", "n": 7, "deep": []}),
            json!({"code": "lock_held", "n": 7, "deep": [{"a": false}]}),
        ] {
            assert!(fits(&shown, &other).is_err(), "{other}");
        }
    }
}
