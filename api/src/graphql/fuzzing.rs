//! The way of a document up to its execution.

use super::guard;

/// Parses and weighs a document.
pub(crate) fn document(text: &str) {
    for introspection in [true, false] {
        if let Ok(document) = guard::parse(text, introspection) {
            for (_, operation) in document.operations.iter() {
                let _ = guard::answer_names(&document, &operation.node);
            }
        }
    }
}
