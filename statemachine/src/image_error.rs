//! The error of an invalid image.

/// The image is not that of a valid state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the image of a state: {0}")]
pub struct ImageError(pub String);
