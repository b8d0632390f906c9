//! Texts that must not be shown.

use std::fmt;

use zeroize::Zeroizing;

/// A password or a token: `Debug` and `Display` print `[redacted]`, and the bytes are overwritten when it is dropped.
///
/// Copies made before the text came here are not overwritten.
pub struct Secret(Zeroizing<String>);

/// What is shown instead of a secret.
pub(super) const REDACTED: &str = "[redacted]";

impl Secret {
    /// Keeps a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Returns the text itself. Callers must not log, store or answer it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

/// Compares bytes of equal length in a time that does not depend on where they differ.
pub(super) fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let pairs = left.iter().zip(right);
    // The barrier keeps the compiler from leaving the loop at the first difference.
    let difference = pairs.fold(0, |all, (one, other)| std::hint::black_box(all | (one ^ other)));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_never_shown() {
        let secret = Secret::new("open sesame".to_owned());
        assert_eq!(
            format!("{secret} {secret:?} {:?}", Some(&secret)),
            "[redacted] [redacted] Some([redacted])"
        );
        assert_eq!(secret.expose(), "open sesame");
    }

    #[test]
    fn every_byte_is_compared() {
        let bytes: Vec<u8> = (0..32).collect();
        assert!(equal_in_constant_time(&bytes, &bytes) && equal_in_constant_time(&[], &[]));
        for place in 0..bytes.len() {
            let mut other = bytes.clone();
            other[place] ^= 1;
            assert!(!equal_in_constant_time(&bytes, &other), "{place}");
        }
        assert!(!equal_in_constant_time(&bytes, &bytes[..31]));
    }
}
