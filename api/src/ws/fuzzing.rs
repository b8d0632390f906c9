//! The way of a frame up to the service.

use super::frame;
use super::op::{self, Defaults};

/// Reads a frame and the fields of its operation.
pub(crate) fn frame(text: &str) {
    if let Ok(request) = frame::decode(text) {
        let _ = op::decode(request, &Defaults::default());
    }
}
