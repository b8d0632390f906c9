//! The facts of an error as text: `google.rpc.ErrorInfo` carries text only.

/// Facts that are JSON in that text: numbers, lists, truth values. All others are the text itself, whatever it looks like.
const JSON: [&str; 19] = [
    "capacity",
    "cycle",
    "fencing_token",
    "free_bytes",
    "from_revision",
    "holder_tokens",
    "keyed",
    "max",
    "members",
    "min_bytes",
    "newest_token",
    "node_id",
    "oldest",
    "oldest_revision",
    "remaining_ms",
    "resume_revision",
    "sequence",
    "waited_ms",
    "waiters",
];

/// Whether the fact of that name is written as JSON.
#[must_use]
pub fn is_json(name: &str) -> bool {
    JSON.contains(&name)
}
