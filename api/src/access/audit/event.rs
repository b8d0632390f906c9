//! What is recorded, and how it becomes a line.

use std::io;
use std::net::IpAddr;

use batuta_statemachine::{Permission, TokenId};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::service::rfc3339;

/// The longest text of most fields, in bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// The longest user agent and request id, in bytes.
const AGENT_BYTES_MAX: usize = 256;
/// The most bytes of names on a line.
const NAMES_BYTES_MAX: usize = 16 * 1024;

/// What kind of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A credential was missing or refused.
    AuthFailed,
    /// A caller lacked a permission, or would lack it if access were enforced.
    Denied,
    /// An applied entry changed access.
    Change,
    /// A call used a privileged permission.
    Privileged,
    /// A stream was ended because a right or a credential ended.
    StreamEnded,
    /// The configuration of the node was read.
    Config,
    /// A call that writes was allowed.
    Write,
    /// A call that reads was allowed.
    Read,
    /// Something may be missing, and the line says what.
    Gap,
}

impl Kind {
    /// The word on the line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthFailed => "auth_failed",
            Self::Denied => "denied",
            Self::Change => "change",
            Self::Privileged => "privileged",
            Self::StreamEnded => "stream_ended",
            Self::Config => "config",
            Self::Write => "write",
            Self::Read => "read",
            Self::Gap => "gap",
        }
    }
}

/// What is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Level {
    /// Every failure, denial, change and use of a privilege.
    #[default]
    Privileged,
    /// All calls that write as well.
    Writes,
    /// All calls.
    All,
}

impl Level {
    /// Whether events of a kind are recorded.
    #[must_use]
    pub const fn records(self, kind: Kind) -> bool {
        match kind {
            Kind::Read => matches!(self, Self::All),
            Kind::Write => matches!(self, Self::All | Self::Writes),
            _ => true,
        }
    }

    /// Parses the word of the configuration.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "privileged" => Some(Self::Privileged),
            "writes" => Some(Self::Writes),
            "all" => Some(Self::All),
            _ => None,
        }
    }
}

/// How a call was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// The call was allowed.
    Allowed,
    /// The call was refused.
    Refused,
    /// The call was allowed because access is only observed; it would be refused if access were enforced.
    WouldRefuse,
}

impl Decision {
    /// The word on the line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::WouldRefuse => "would_refuse",
        }
    }
}

/// Something that happened. Texts that are too long are cut; none of them may be a secret.
#[derive(Clone, Debug)]
pub struct Event {
    /// What kind of event it is.
    pub kind: Kind,
    /// Who called, as `user/NAME`.
    pub principal: Option<String>,
    /// The id of the credential, never its secret.
    pub credential: Option<TokenId>,
    /// Where the call came from.
    pub ip: Option<IpAddr>,
    /// The front of the call: `rest`, `grpc`, `graphql` or `ws`.
    pub front: Option<&'static str>,
    /// The id of the request.
    pub request_id: Option<String>,
    /// The program that called, as it names itself.
    pub user_agent: Option<String>,
    /// The permission that the call needs.
    pub permission: Option<Permission>,
    /// The namespace of the call.
    pub namespace: Option<String>,
    /// What the call names.
    pub names: Vec<String>,
    /// How the call was decided.
    pub decision: Option<Decision>,
    /// Why, in words or as a code.
    pub why: Option<String>,
    /// The revision at which it was decided or applied.
    pub revision: Option<u64>,
}

impl Event {
    /// Makes an event with its kind and nothing else.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self {
            kind,
            principal: None,
            credential: None,
            ip: None,
            front: None,
            request_id: None,
            user_agent: None,
            permission: None,
            namespace: None,
            names: Vec::new(),
            decision: None,
            why: None,
            revision: None,
        }
    }

    /// The event with its texts cut to their bounds, and how many bytes it takes.
    pub(super) fn bounded(mut self) -> BoundedEvent {
        let mut bytes = size_of::<Self>();
        let texts = [
            (&mut self.principal, TEXT_BYTES_MAX),
            (&mut self.namespace, TEXT_BYTES_MAX),
            (&mut self.why, TEXT_BYTES_MAX),
            (&mut self.request_id, AGENT_BYTES_MAX),
            (&mut self.user_agent, AGENT_BYTES_MAX),
        ];
        for (text, bytes_max) in texts {
            if let Some(text) = text {
                cut(text, bytes_max);
                bytes += text.len();
            }
        }
        let given = self.names.len();
        let (mut kept, mut names_bytes) = (0, 0);
        for name in &mut self.names {
            cut(name, TEXT_BYTES_MAX);
            names_bytes += name.len() + size_of::<String>();
            if names_bytes > NAMES_BYTES_MAX {
                break;
            }
            kept += 1;
        }
        self.names.truncate(kept);
        self.names.shrink_to_fit();
        bytes += names_bytes;
        BoundedEvent { event: self, names_left_out: given - kept, bytes }
    }
}

/// Cuts a text at a character, and gives its memory back.
fn cut(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
    }
    text.shrink_to_fit();
}

/// An event whose texts are bounded.
#[derive(Debug)]
pub(super) struct BoundedEvent {
    event: Event,
    names_left_out: usize,
    /// About how many bytes of memory the event takes.
    pub(super) bytes: usize,
}

/// Lines that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// How many.
    pub(super) lost: u64,
    /// When the first of them happened.
    pub(super) from_ms: u64,
    /// When the last of them happened.
    pub(super) until_ms: u64,
    /// Why they are missing.
    pub(super) why: &'static str,
}

/// What becomes a line.
#[derive(Debug)]
pub(super) enum Entry {
    /// An event and when it happened.
    Event(u64, BoundedEvent),
    /// Lines that are missing.
    Gap(u64, Gap),
    /// A line that was written only in part was cut off.
    Torn(u64, u64),
}

impl Entry {
    /// When it happened, on the wall clock.
    pub(super) const fn at_ms(&self) -> u64 {
        match self {
            Self::Event(at_ms, _) | Self::Gap(at_ms, _) | Self::Torn(at_ms, _) => *at_ms,
        }
    }
}

/// The place of the last line in the chain of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// The number of the last line; 0 before the first.
    pub(super) seq: u64,
    /// The SHA-256 of the last line without its end; zeros before the first.
    pub(super) hash: [u8; 32],
}

/// The fields of a line, in their order.
#[derive(Default, Serialize)]
struct Line<'a> {
    at: String,
    node: &'a str,
    seq: u64,
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    front: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permission: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    names: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    names_left_out: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_cut: Option<u64>,
    prev: String,
}

/// Appends the line of an entry, and moves the chain on.
///
/// # Errors
/// The line cannot be made into JSON, which none of its types allows to happen.
pub(super) fn append_line(
    buffer: &mut Vec<u8>,
    chain: &mut Chain,
    node: &str,
    entry: &Entry,
) -> io::Result<()> {
    let begin = buffer.len();
    let seq = chain.seq + 1;
    let line = Line { at: rfc3339(entry.at_ms()), node, seq, prev: hex(&chain.hash), ..line_of(entry) };
    serde_json::to_writer(&mut *buffer, &line)?;
    *chain = Chain { seq, hash: Sha256::digest(&buffer[begin..]).into() };
    buffer.push(b'\n');
    Ok(())
}

fn line_of(entry: &Entry) -> Line<'_> {
    match entry {
        Entry::Event(_, BoundedEvent { event, names_left_out, .. }) => Line {
            kind: event.kind.as_str(),
            principal: event.principal.as_deref(),
            credential: event.credential.as_ref().map(TokenId::as_str),
            ip: event.ip,
            front: event.front,
            request_id: event.request_id.as_deref(),
            user_agent: event.user_agent.as_deref(),
            permission: event.permission.map(Permission::as_str),
            namespace: event.namespace.as_deref(),
            names: &event.names,
            names_left_out: Some(*names_left_out).filter(|names| *names > 0),
            decision: event.decision.map(Decision::as_str),
            why: event.why.as_deref(),
            revision: event.revision,
            ..Line::default()
        },
        Entry::Gap(_, gap) => Line {
            kind: Kind::Gap.as_str(),
            why: Some(gap.why),
            lost: Some(gap.lost),
            from: Some(rfc3339(gap.from_ms)),
            until: Some(rfc3339(gap.until_ms)),
            ..Line::default()
        },
        Entry::Torn(_, bytes) => Line {
            kind: "torn",
            why: Some("a line that was written only in part was cut off"),
            bytes_cut: Some(*bytes),
            ..Line::default()
        },
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
