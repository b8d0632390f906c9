//! Prints answers: tables for people, JSON for programs.
//!
//! Invariant: what a command created (a lock, a leadership, a session, a key) is given back when the answer cannot be printed, because then
//! nobody knows its id.

use std::fmt;
use std::io::{self, Write as _};
use std::time::Duration;

use batuta_client::v1::{CloseSessionRequest, DeleteCredentialRequest, ReleaseRequest, ResignRequest};
use batuta_client::{Client, Error};
use comfy_table::{Table, presets};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use crate::Format;
use crate::failure::{Failure, exit};

/// An answer as JSON and as text.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) json: Value,
    pub(crate) text: String,
    pub(crate) exit: u8,
    created: Option<Created>,
}

/// What the command created, whose id only the reader of the answer will know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Created {
    /// A lock, by its id.
    Lock(String),
    /// The leadership of an election, by the request that gives it up.
    Leadership(ResignRequest),
    /// A session, by its id.
    Session(String),
    /// An API key, by its id.
    Key(String),
    /// What a retry of the command finds by its key.
    Keyed(Box<Created>),
}

impl Answer {
    /// Makes the answer of a successful command.
    pub(crate) fn new(json: Value, text: impl Into<String>) -> Self {
        Self { json, text: text.into(), exit: exit::DONE, created: None }
    }

    /// Notes what the command created.
    pub(crate) fn created(mut self, created: Created) -> Self {
        self.created = Some(created);
        self
    }

    /// Sets the exit code.
    pub(crate) fn exit(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }

    /// Writes the answer to standard output.
    pub(crate) fn print(&self, format: Format) -> Result<u8, Failure> {
        write_out(&self.bytes(format))?;
        Ok(self.exit)
    }

    /// Writes the answer to standard output. If that fails, even because the reader closed, what was created is given back.
    pub(crate) async fn print_or_give_back(&self, format: Format, client: &Client) -> Result<u8, Failure> {
        let Some(created) = &self.created else { return self.print(format) };
        let Err(error) = write_all_out(&self.bytes(format)) else { return Ok(self.exit) };
        let failure = Failure::from(error);
        let became = match created.give_back(client).await {
            Some(Ok(())) => format!("{created} was given back"),
            Some(Err(error)) => {
                format!("{created} could not be given back and ends after its TTL: {error}")
            }
            None => {
                format!("{created} is still held: a retry with the same --key finds it")
            }
        };
        Err(Failure { message: format!("{}; {became}", failure.message), ..failure })
    }

    fn bytes(&self, format: Format) -> Vec<u8> {
        let text = match format {
            Format::Json => format!("{:#}", self.json),
            Format::Table => self.text.clone(),
        };
        format!("{}\n", text.trim_end()).into_bytes()
    }
}

impl Created {
    /// Notes whether a retry of the command finds it by its key.
    pub(crate) fn found_by_key(self, keyed: bool) -> Self {
        if keyed { Self::Keyed(Box::new(self)) } else { self }
    }

    /// Releases, resigns or closes it, unless a retry can find it.
    async fn give_back(&self, client: &Client) -> Option<Result<(), Error>> {
        match self {
            Self::Lock(lock_id) => {
                let request = ReleaseRequest { lock_id: lock_id.clone(), ..ReleaseRequest::default() };
                Some(client.release(request).await.map(|_| ()))
            }
            Self::Leadership(request) => Some(client.resign(request.clone()).await.map(|_| ())),
            Self::Keyed(_) => None,
            Self::Session(session_id) => {
                let request = CloseSessionRequest { session_id: session_id.clone(), lock_delay: false };
                Some(client.close_session(request).await.map(|_| ()))
            }
            Self::Key(credential_id) => {
                let request = DeleteCredentialRequest { credential_id: credential_id.clone() };
                Some(client.delete_credential(request).await.map(|_| ()))
            }
        }
    }
}

impl fmt::Display for Created {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock(id) => write!(formatter, "lock {id}"),
            Self::Leadership(request) => write!(formatter, "leadership of {}", request.name),
            Self::Session(id) => write!(formatter, "session {id}"),
            Self::Key(id) => write!(formatter, "key {id}"),
            Self::Keyed(created) => created.fmt(formatter),
        }
    }
}

/// Whether standard output has a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// The reader accepted the data.
    Reads,
    /// The reader closed (`| head`), which is not a failure.
    Gone,
}

/// Writes all bytes to standard output.
///
/// # Errors
/// When writing fails for another reason than a closed reader, such as a full disk.
pub fn write_out(bytes: &[u8]) -> io::Result<Reader> {
    match write_all_out(bytes) {
        Ok(()) => Ok(Reader::Reads),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error),
    }
}

/// Writes a line of a stream to standard output, as text or as JSON.
///
/// # Errors
/// As [`write_out`].
pub(crate) fn write_line(format: Format, text: &str, json: &Value) -> io::Result<Reader> {
    match format {
        Format::Json => write_out(format!("{json}\n").as_bytes()),
        Format::Table => write_out(format!("{text}\n").as_bytes()),
    }
}

/// Writes a line for people to standard error. When that fails, it cannot be reported anywhere.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// How often to check whether standard output still has a reader.
const LOOK_FOR_READER: Duration = Duration::from_millis(200);

/// Resolves when standard output is a pipe or a socket without a reader. A write would fail as well, but there may be nothing
/// to write for a long time.
pub(crate) async fn reader_gone() {
    loop {
        let mut output = [PollFd::from_borrowed_fd(rustix::stdio::stdout(), PollFlags::empty())];
        if let Ok(1..) = poll(&mut output, Some(&Timespec::default()))
            && output[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
        {
            return;
        }
        tokio::time::sleep(LOOK_FOR_READER).await;
    }
}

fn write_all_out(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush())
}

/// Formats a table with a heading over each column.
pub(crate) fn rows<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = plain();
    table.set_header(header);
    table.add_rows(rows.into_iter().map(|row| row.map(|cell| printable(&cell))));
    drawn(&table)
}

/// Formats a table of names and values; empty values are left out.
pub(crate) fn fields<const N: usize>(fields: [(&str, String); N]) -> String {
    let mut table = plain();
    let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
    table.add_rows(fields.map(|(name, value)| [name.to_owned(), printable(&value)]));
    drawn(&table)
}

/// Formats a value for a table; `-` when it is absent.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Makes text from other users safe for a terminal: control characters are escaped.
pub(crate) fn printable(text: &str) -> String {
    let shown = |character: char| {
        if character.is_control() { character.escape_default().to_string() } else { character.to_string() }
    };
    text.chars().map(shown).collect()
}

/// Formats who has a lock or a leadership, or waits for it; `-` when the client gave neither session nor label.
pub(crate) fn owner(session_id: &str, label: &str) -> String {
    match (session_id, label) {
        ("", "") => "-".to_owned(),
        ("", owner) | (owner, "") => owner.to_owned(),
        (session, label) => format!("{label} ({session})"),
    }
}

/// The line under a table that does not show everything, with the option that shows the rest.
pub(crate) fn more(shown: usize, count: u64, option: &str, cursor: &str) -> String {
    let others = count.saturating_sub(u64::try_from(shown).unwrap_or(u64::MAX));
    match (others, cursor) {
        (0, _) => String::new(),
        (others, "") => format!("\n(and {others} others)"),
        (others, cursor) => format!("\n(and {others} others; to see them: {option} '{cursor}')"),
    }
}

/// The line under a list of which the caller may not see everything.
pub(crate) fn partial(filtered: bool) -> &'static str {
    if filtered { "\n\nfiltered: what you may not see is left out" } else { "" }
}

/// A text as JSON; `null` when it is empty.
pub(crate) fn text_json(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { Value::from(text) }
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

/// Draws a table without margins and trailing spaces, so that its lines can be cut and compared.
fn drawn(table: &Table) -> String {
    let lines: Vec<String> =
        table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_without_margins() {
        let drawn = rows(
            ["NAME", "TOKEN"],
            [["a".to_owned(), "7".to_owned()], ["orders/42".to_owned(), "12".to_owned()]],
        );
        assert_eq!(drawn, "NAME       TOKEN\na          7\norders/42  12");
    }

    #[test]
    fn empty_fields_are_left_out() {
        let drawn = fields([("name", "a".to_owned()), ("owner", String::new()), ("token", "7".to_owned())]);
        assert_eq!(drawn, "name   a\ntoken  7");
    }

    #[test]
    fn control_characters_are_escaped() {
        let drawn = rows(["METADATA"], [["a\u{1b}[2Jb\nc é".to_owned()]]);
        assert_eq!(drawn, "METADATA\na\\u{1b}[2Jb\\nc é");
    }

    #[test]
    fn table_without_rows_has_its_heading() {
        assert_eq!(rows(["NAME", "TOKEN"], []), "NAME  TOKEN");
    }
}
