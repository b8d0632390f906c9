//! Tokens: the credentials that Batuta makes itself.
//!
//! ```text
//! btk_ 4fGkP0sZqR81 _ 43 characters CCCCCC
//! kind id             secret        checksum
//! ```
//!
//! Everything is base 62, so that a double click selects the whole token, and the prefix and the checksum let scanners find leaked tokens without
//! asking a server. The state keeps the id and [`TokenHash`]; a token with 256 random bits needs no slow hash.

use std::fmt;
use std::io;

use batuta_statemachine::TokenId;
use batuta_statemachine::access::{SecretHash, TokenSecret};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::secret::{REDACTED, Secret, equal_in_constant_time};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 is just above 2^256.
const SECRET_LENGTH: usize = 43;
/// 62^6 is above 2^32.
const CHECKSUM_LENGTH: usize = 6;
const PREFIX_LENGTH: usize = 4;
/// The `_` between id and secret.
const SEPARATOR: usize = PREFIX_LENGTH + TokenId::LENGTH;
const CHECKSUM: usize = SEPARATOR + 1 + SECRET_LENGTH;
/// Hashed before every token, so that the hash is of no use for anything else.
const DOMAIN: &[u8] = b"batuta token 1\0";

/// What a token is for. Its first characters say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// An API key, `btk_`.
    Key,
    /// A login, `bts_`.
    Login,
    /// A bootstrap token, `btb_`: makes the first administrator, or another one when the others are locked out.
    Bootstrap,
}

impl TokenKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Key, Self::Login, Self::Bootstrap];

    /// The first characters of a token of this kind.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Key => "btk_",
            Self::Login => "bts_",
            Self::Bootstrap => "btb_",
        }
    }
}

/// A text that is not a token. No variant holds any of the text: it may be a secret with a typing error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The first characters belong to no kind of token.
    #[error("a token starts with btk_, bts_ or btb_")]
    Prefix,
    /// The text is too short or too long.
    #[error("a token has {} characters, this has {length}: it was mistyped or cut", Token::LENGTH)]
    Length {
        /// The number of characters.
        length: usize,
    },
    /// A character cannot be there.
    #[error(
        "character {position} of the token cannot be there: after btk_, bts_ or btb_ come 12 letters and digits, '_', and 49 letters and \
         digits"
    )]
    Character {
        /// The place of the first such character, counted from 1.
        position: usize,
    },
    /// The checksum is not that of the token.
    #[error("the checksum of the token does not match: it was mistyped or cut")]
    Checksum,
}

/// A token, with its secret.
#[derive(Debug)]
pub struct Token {
    kind: TokenKind,
    id: TokenId,
    text: Secret,
}

impl Token {
    /// The number of characters of every token.
    pub const LENGTH: usize = CHECKSUM + CHECKSUM_LENGTH;

    /// Makes a token from random bytes of the operating system.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn generate(kind: TokenKind) -> io::Result<Self> {
        let mut id = [0; 16];
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut id).map_err(io::Error::other)?;
        getrandom::fill(&mut *secret).map_err(io::Error::other)?;
        Self::from_random(kind, id, &secret).map_err(io::Error::other)
    }

    fn from_random(kind: TokenKind, id: [u8; 16], secret: &[u8; 32]) -> Result<Self, TokenError> {
        // With its full capacity from the start, the text leaves no copies of itself behind.
        let mut text = String::with_capacity(Self::LENGTH);
        text.push_str(kind.prefix());
        push_base62(&mut text, &id, TokenId::LENGTH);
        text.push('_');
        push_base62(&mut text, secret, SECRET_LENGTH);
        let checksum = crc32c::crc32c(text.as_bytes());
        push_base62(&mut text, &checksum.to_be_bytes(), CHECKSUM_LENGTH);
        Self::parse(Secret::new(text))
    }

    /// Parses a token. This needs no look-up: a typing error is found here.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: Secret) -> Result<Self, TokenError> {
        let given = text.expose();
        let kind = TokenKind::ALL.into_iter().find(|kind| given.starts_with(kind.prefix()));
        let kind = kind.ok_or(TokenError::Prefix)?;
        let length = given.chars().count();
        if length != Self::LENGTH {
            return Err(TokenError::Length { length });
        }
        let fits = |(place, character): &(usize, char)| match *place {
            0..PREFIX_LENGTH => true,
            SEPARATOR => *character == '_',
            _ => character.is_ascii_alphanumeric(),
        };
        if let Some((place, _)) = given.chars().enumerate().find(|found| !fits(found)) {
            return Err(TokenError::Character { position: place + 1 });
        }
        // All characters are ASCII from here on, so that bytes are characters.
        let mut checksum = String::with_capacity(CHECKSUM_LENGTH);
        push_base62(
            &mut checksum,
            &crc32c::crc32c(&given.as_bytes()[..CHECKSUM]).to_be_bytes(),
            CHECKSUM_LENGTH,
        );
        if given[CHECKSUM..] != checksum {
            return Err(TokenError::Checksum);
        }
        let id = TokenId::new(&given[PREFIX_LENGTH..SEPARATOR])
            .map_err(|_| TokenError::Character { position: PREFIX_LENGTH + 1 })?;
        Ok(Self { kind, id, text })
    }

    /// What the token is for.
    #[must_use]
    pub const fn kind(&self) -> TokenKind {
        self.kind
    }

    /// The public id, under which the state knows the token.
    #[must_use]
    pub const fn id(&self) -> TokenId {
        self.id
    }

    /// The whole token with its secret, to be shown once to whoever asked for it.
    #[must_use]
    pub const fn text(&self) -> &Secret {
        &self.text
    }

    /// Gives the whole token away, like [`Self::text`].
    #[must_use]
    pub fn into_text(self) -> Secret {
        self.text
    }

    /// What the state keeps of the token.
    #[must_use]
    pub fn stored(&self) -> TokenSecret {
        TokenSecret { id: self.id, hash: SecretHash::new(self.hash().0) }
    }

    /// The hash that the state keeps.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(self.id.as_str().as_bytes());
        hash.update(&self.text.expose().as_bytes()[SEPARATOR + 1..CHECKSUM]);
        TokenHash(hash.finalize().into())
    }
}

impl fmt::Display for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}_{REDACTED}", self.kind.prefix(), self.id)
    }
}

/// The SHA-256 of a token's id and secret, from which the token cannot be found.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Takes a hash from the state.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes for the state.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are of the same token. The time does not depend on where they differ; for this reason there is no `==`.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        equal_in_constant_time(&self.0, &other.0)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

/// Appends a big-endian number in base 62, with exactly so many digits; digits beyond them are dropped.
fn push_base62(text: &mut String, number: &[u8], digits: usize) {
    let mut number = Zeroizing::new(number.to_vec());
    let mut reversed = Zeroizing::new(Vec::with_capacity(digits));
    for _ in 0..digits {
        let mut remainder = 0_usize;
        for byte in number.iter_mut() {
            let value = remainder << 8 | usize::from(*byte);
            // The remainder is below 62, so the quotient is below 256.
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            remainder = value % 62;
        }
        reversed.push(ALPHABET[remainder]);
    }
    text.extend(reversed.iter().rev().map(|digit| char::from(*digit)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Token, TokenError> {
        Token::parse(Secret::new(text.to_owned()))
    }

    fn sample() -> Token {
        Token::from_random(TokenKind::Key, [7; 16], &[0xA5; 32]).unwrap()
    }

    /// The text of the sample with one character replaced.
    fn with(place: usize, character: char) -> String {
        let text = sample().text().expose().to_owned();
        text.chars().enumerate().map(|(at, old)| if at == place { character } else { old }).collect()
    }

    #[test]
    fn generated_token_is_read_back() {
        for kind in TokenKind::ALL {
            let token = Token::generate(kind).unwrap();
            let read = parse(token.text().expose()).unwrap();
            assert_eq!(
                (read.kind(), read.id(), token.text().expose().len()),
                (kind, token.id(), Token::LENGTH)
            );
            assert!(read.hash().matches(&token.hash()));
            assert!(token.text().expose().starts_with(kind.prefix()));
        }
        let (one, other) =
            (Token::generate(TokenKind::Key).unwrap(), Token::generate(TokenKind::Key).unwrap());
        assert_ne!(one.id(), other.id());
        assert!(!one.hash().matches(&other.hash()));
    }

    /// A changed format or hash would make every stored token useless.
    #[test]
    fn format_and_hash_stay_the_same() {
        let token = sample();
        let text = token.text().expose();
        let hash = token.hash().as_bytes().map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(text, "btk_6AkSp3WsPxY7_dHMOUNLh0UTx6gmQ9MHQdRUvZdbXMLLlzChlYYN1shx4YTnag");
        assert_eq!(hash, "48dcf01708a2da7646af142d4e0c4fe20b271de52cc9ed244c90939b73d96c13");
    }

    #[test]
    fn base62_has_fixed_width() {
        for (number, digits, expected) in [
            (&[0_u8][..], 3, "000"),
            (&[61], 2, "0z"),
            (&[62], 2, "10"),
            (&[0xFF, 0xFF, 0xFF, 0xFF], 6, "4gfFC3"),
            (&[1, 0], 1, "8"),
        ] {
            let mut text = String::new();
            push_base62(&mut text, number, digits);
            assert_eq!(text, expected);
        }
        let mut largest = String::new();
        push_base62(&mut largest, &[0xFF; 32], 44);
        assert!(largest.starts_with('0'), "256 bits fit into 43 digits: {largest}");
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let text = sample().text().expose().to_owned();
        for (given, expected) in [
            (String::new(), TokenError::Prefix),
            ("bearer".to_owned(), TokenError::Prefix),
            (text.to_uppercase(), TokenError::Prefix),
            (format!(" {text}"), TokenError::Prefix),
            (text[..40].to_owned(), TokenError::Length { length: 40 }),
            (format!("{text}\n"), TokenError::Length { length: 67 }),
            (with(10, '-'), TokenError::Character { position: 11 }),
            (with(16, 'x'), TokenError::Character { position: 17 }),
            (with(30, 'é'), TokenError::Character { position: 31 }),
            (with(65, '/'), TokenError::Character { position: 66 }),
        ] {
            assert_eq!(parse(&given).unwrap_err(), expected, "{given:?}");
        }
        assert_eq!(
            parse(&text[..40]).unwrap_err().to_string(),
            "a token has 66 characters, this has 40: it was mistyped or cut"
        );
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let text = sample().text().expose().to_owned();
        for place in (PREFIX_LENGTH..Token::LENGTH).filter(|place| *place != SEPARATOR) {
            let other = if text.as_bytes()[place] == b'x' { 'y' } else { 'x' };
            assert_eq!(parse(&with(place, other)).unwrap_err(), TokenError::Checksum, "{place}");
        }
        assert_eq!(parse(&with(2, 's')).unwrap_err(), TokenError::Checksum, "a key is no login");
    }

    #[test]
    fn secret_is_not_shown() {
        let token = sample();
        let secret = &token.text().expose()[SEPARATOR + 1..];
        let shown = format!("{token} {token:?} {:?}", token.hash());
        assert!(
            !shown.contains(secret) && shown.contains(&format!("btk_{}_[redacted]", token.id())),
            "{shown}"
        );
    }
}
