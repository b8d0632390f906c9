//! What is wrong with an image.

/// An image that is not one of a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the image of a state: {0}")]
pub struct ImageError(pub String);
