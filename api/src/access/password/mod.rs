//! Passwords of users: their rules, their hashes, and the limits on checking them.
//!
//! A password is checked at login only; later calls carry a token. A check takes [`Cost::memory_kib`] of memory and tens of milliseconds by
//! design, so [`Passwords`] bounds how many checks run at once, and [`Throttle`] how often somebody may fail.

mod check;
mod phc;
mod throttle;

use batuta_statemachine::PrincipalName;

use super::Secret;

pub use check::{CheckError, PasswordOptions, Passwords};
pub use phc::{Cost, Phc, PhcError};
pub use throttle::{Attempt, Network, Throttle, ThrottleOptions, Throttled};

/// The shortest password, in bytes.
pub const BYTES_MIN: usize = 12;
/// The longest password, in bytes.
pub const BYTES_MAX: usize = 256;

/// A password that cannot be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// The password is too short or too long.
    #[error("must have {BYTES_MIN} to {BYTES_MAX} bytes, this has {bytes}")]
    Length {
        /// The length of the password, in bytes.
        bytes: usize,
    },
    /// The password is the name of its user.
    #[error("must not be the name of the user")]
    IsName,
}

/// Checks that a user may choose a password.
///
/// # Errors
/// The rule that the password breaks.
pub fn check_new(password: &Secret, user: &PrincipalName) -> Result<(), PasswordError> {
    let text = password.expose();
    if !(BYTES_MIN..=BYTES_MAX).contains(&text.len()) {
        return Err(PasswordError::Length { bytes: text.len() });
    }
    if text.trim().eq_ignore_ascii_case(user.as_str()) {
        return Err(PasswordError::IsName);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_long_and_not_the_name() {
        let user = PrincipalName::new("ann.of.the.hills").unwrap();
        let check = |text: &str| check_new(&Secret::new(text.to_owned()), &user);
        for text in ["correct horse", &"x".repeat(BYTES_MIN), &"x".repeat(BYTES_MAX), "ann.of.the.hills1"] {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
        for text in ["", "eleven char", &"x".repeat(BYTES_MAX + 1)] {
            assert_eq!(check(text), Err(PasswordError::Length { bytes: text.len() }), "{text:?}");
        }
        for text in ["ann.of.the.hills", "Ann.Of.The.Hills", " ann.of.the.hills "] {
            assert_eq!(check(text), Err(PasswordError::IsName), "{text:?}");
        }
    }
}
