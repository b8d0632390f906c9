//! The way of a document up to its execution.

use super::guard;

/// Parses and weighs a document.
pub(crate) fn document(text: &str) {
    for introspection in [true, false] {
        if let Ok(document) = guard::parse(text, introspection) {
            let _ = guard::answer_names(&document, None);
        }
    }
}
