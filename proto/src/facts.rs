//! The details of an error as texts, because `google.rpc.ErrorInfo` carries only texts.

/// Details whose text is JSON: numbers, lists, booleans. All others are plain texts, whatever they look like.
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

/// Whether the text of the detail with this name is JSON.
#[must_use]
pub fn is_json(name: &str) -> bool {
    JSON.contains(&name)
}
