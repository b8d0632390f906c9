//! Argon2id hashes of passwords, as PHC strings.

use std::fmt;
use std::io;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use crate::access::Secret;
use crate::access::secret::{REDACTED, equal_in_constant_time};

const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// How much work one hash is. The defaults are those that OWASP recommends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The memory of a hash, in KiB.
    pub memory_kib: u32,
    /// How many times the memory is filled.
    pub passes: u32,
    /// How many lanes the memory has. All are filled by one thread.
    pub lanes: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, passes: 2, lanes: 1 }
    }
}

impl Cost {
    /// The most work that a stored hash may ask for, so that a record in the state cannot use up the node's memory.
    pub const MAX: Self = Self { memory_kib: 64 * 1024, passes: 8, lanes: 4 };

    /// Whether a hash of this cost may be run. Argon2 needs 8 KiB a lane.
    fn is_bounded(self) -> bool {
        (1..=Self::MAX.lanes).contains(&self.lanes)
            && (1..=Self::MAX.passes).contains(&self.passes)
            && (8 * self.lanes..=Self::MAX.memory_kib).contains(&self.memory_kib)
    }
}

/// A text that is not a hash which this node would run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhcError {
    /// The text is not of the form `$argon2id$v=19$m=M,t=T,p=P$SALT$HASH`.
    #[error(
        "not of the form $argon2id$v=19$m=M,t=T,p=P$SALT$HASH with a salt of {SALT_BYTES} and a hash of {HASH_BYTES} bytes"
    )]
    Form,
    /// The hash takes more work than is allowed.
    #[error(
        "m={}, t={} and p={} are outside of what is run: at most m={}, t={}, p={}, and at least m=8 for each p",
        .0.memory_kib, .0.passes, .0.lanes, Cost::MAX.memory_kib, Cost::MAX.passes, Cost::MAX.lanes
    )]
    Cost(Cost),
}

/// The hash of a password with everything that is needed to check one. Its cost is bounded.
#[derive(Clone)]
pub struct Phc {
    cost: Cost,
    salt: [u8; SALT_BYTES],
    hash: [u8; HASH_BYTES],
}

impl Phc {
    /// Hashes a password under a new salt. This takes the memory and the time of `cost`, which is at most [`Cost::MAX`].
    ///
    /// # Errors
    /// The operating system gives no random bytes, or the cost is not allowed.
    pub fn create(password: &Secret, cost: Cost) -> io::Result<Self> {
        if !cost.is_bounded() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, PhcError::Cost(cost)));
        }
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(io::Error::other)?;
        let mut hash = [0; HASH_BYTES];
        derive(password, cost, &salt, &mut hash)?;
        Ok(Self { cost, salt, hash })
    }

    /// Makes a hash that no password has, and that takes as long to check as any other.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn of_nobody(cost: Cost) -> io::Result<Self> {
        let (mut salt, mut hash) = ([0; SALT_BYTES], [0; HASH_BYTES]);
        getrandom::fill(&mut salt).map_err(io::Error::other)?;
        getrandom::fill(&mut hash).map_err(io::Error::other)?;
        Ok(Self { cost, salt, hash })
    }

    /// Parses a PHC string, and refuses one that asks for more work than [`Cost::MAX`].
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, PhcError> {
        let mut parts = text.strip_prefix("$argon2id$v=19$").ok_or(PhcError::Form)?.split('$');
        let (Some(cost), Some(salt), Some(hash), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(PhcError::Form);
        };
        let mut numbers = cost.split(',');
        let mut number = |name: &str| {
            let digits = numbers.next()?.strip_prefix(name)?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        let (Some(memory_kib), Some(passes), Some(lanes)) = (number("m="), number("t="), number("p=")) else {
            return Err(PhcError::Form);
        };
        if numbers.next().is_some() {
            return Err(PhcError::Form);
        }
        let cost = Cost { memory_kib, passes, lanes };
        if !cost.is_bounded() {
            return Err(PhcError::Cost(cost));
        }
        Ok(Self { cost, salt: decode(salt)?, hash: decode(hash)? })
    }

    /// The PHC string, for the state. It must not be logged or answered.
    #[must_use]
    pub fn expose(&self) -> String {
        let Cost { memory_kib, passes, lanes } = self.cost;
        let (salt, hash) = (STANDARD_NO_PAD.encode(self.salt), STANDARD_NO_PAD.encode(self.hash));
        format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${hash}")
    }

    /// The work of a check.
    #[must_use]
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// Whether a password is the one that was hashed.
    ///
    /// # Errors
    /// The hash cannot be computed: memory is short.
    pub fn matches(&self, password: &Secret) -> io::Result<bool> {
        let mut hash = Zeroizing::new([0; HASH_BYTES]);
        derive(password, self.cost, &self.salt, &mut hash)?;
        Ok(equal_in_constant_time(&*hash, &self.hash))
    }
}

impl fmt::Debug for Phc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

/// Decodes unpadded base 64 of exactly `BYTES` bytes.
fn decode<const BYTES: usize>(text: &str) -> Result<[u8; BYTES], PhcError> {
    let mut bytes = [0; BYTES];
    match STANDARD_NO_PAD.decode_slice(text, &mut bytes) {
        Ok(length) if length == BYTES => Ok(bytes),
        _ => Err(PhcError::Form),
    }
}

fn derive(password: &Secret, cost: Cost, salt: &[u8], hash: &mut [u8; HASH_BYTES]) -> io::Result<()> {
    let failed = |error: argon2::Error| io::Error::other(format!("the password cannot be hashed: {error}"));
    let Cost { memory_kib, passes, lanes } = cost;
    let params = Params::new(memory_kib, passes, lanes, Some(HASH_BYTES)).map_err(failed)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(password.expose().as_bytes(), salt, hash).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn hash_is_read_back_and_matches() {
        let stored = Phc::create(&secret("correct horse"), CHEAP).unwrap();
        let read = Phc::parse(&stored.expose()).unwrap();
        assert_eq!((read.cost(), read.expose()), (CHEAP, stored.expose()));
        assert!(read.matches(&secret("correct horse")).unwrap());
        assert!(!read.matches(&secret("correct horse ")).unwrap());
        let again = Phc::create(&secret("correct horse"), CHEAP).unwrap();
        assert_ne!(again.expose(), stored.expose(), "every hash has a salt of its own");
        assert!(!Phc::of_nobody(CHEAP).unwrap().matches(&secret("correct horse")).unwrap());
    }

    /// From the tests of the reference implementation.
    #[test]
    fn hash_is_that_of_other_implementations() {
        let mut hash = [0; HASH_BYTES];
        let cost = Cost { memory_kib: 256, passes: 2, lanes: 1 };
        derive(&secret("password"), cost, b"somesalt", &mut hash).unwrap();
        assert_eq!(STANDARD_NO_PAD.encode(hash), "nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4");
    }

    #[test]
    fn default_cost_is_that_of_owasp() {
        let phc = Phc::of_nobody(Cost::default()).unwrap().expose();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
    }

    #[test]
    fn cost_is_bounded_before_it_is_run() {
        let stored = Phc::create(&secret("correct horse"), CHEAP).unwrap().expose();
        let with = |cost: &str| Phc::parse(&stored.replace("m=64,t=1,p=1", cost));
        for cost in [
            "m=4294967295,t=1,p=1",
            "m=65537,t=1,p=1",
            "m=64,t=9,p=1",
            "m=64,t=0,p=1",
            "m=64,t=1,p=0",
            "m=64,t=1,p=5",
            "m=64,t=1,p=4294967295",
            "m=15,t=1,p=2",
        ] {
            assert!(matches!(with(cost), Err(PhcError::Cost(_))), "{cost}");
        }
        for cost in [
            "",
            "m=64",
            "t=1,m=64,p=1",
            "m=64,t=1,p=1,keyid=AA",
            "m=+64,t=1,p=1",
            "m=4294967296,t=1,p=1",
            "m=,t=1,p=1",
        ] {
            assert_eq!(with(cost).unwrap_err(), PhcError::Form, "{cost}");
        }
        let too_much = Cost { passes: 9, ..CHEAP };
        assert_eq!(Phc::create(&secret("x"), too_much).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn other_forms_are_refused() {
        let stored = Phc::create(&secret("correct horse"), CHEAP).unwrap().expose();
        for text in [
            String::new(),
            "correct horse".to_owned(),
            stored.replace("argon2id", "argon2i"),
            stored.replace("v=19", "v=16"),
            format!("{stored}A"),
            format!("{stored}$A"),
            format!("{stored}="),
            stored[..stored.len() - 1].to_owned(),
            stored.rsplit_once('$').unwrap().0.to_owned(),
        ] {
            assert_eq!(Phc::parse(&text).unwrap_err(), PhcError::Form, "{text}");
        }
    }

    #[test]
    fn hash_is_not_shown() {
        assert_eq!(format!("{:?}", Phc::of_nobody(CHEAP).unwrap()), "[redacted]");
    }
}
