//! Passwords and tokens in requests and answers.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::access::Secret;

/// A password or a token. Its `Debug` form and the errors of its decoding show nothing of it; only the answer that makes a secret is encoded
/// with it.
#[derive(Debug)]
pub(crate) struct SecretText(pub(crate) Secret);

struct TextVisitor;

impl TextVisitor {
    /// The error of another JSON value, which is not shown: a password of digits may have been sent as a number.
    fn no_text<T, E: Error>() -> Result<T, E> {
        Err(E::custom("must be a text"))
    }
}

impl Visitor<'_> for TextVisitor {
    type Value = SecretText;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SecretText, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<SecretText, E> {
        Ok(SecretText(Secret::new(text)))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<SecretText, E> {
        Self::no_text()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<SecretText, E> {
        Self::no_text()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<SecretText, E> {
        Self::no_text()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<SecretText, E> {
        Self::no_text()
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Whatever the value is, the visitor says what is wrong: a decoder that expects a text would show a number.
        deserializer.deserialize_any(TextVisitor)
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn value_of_another_type_is_not_shown() {
        for value in
            [json!(1_234_567), json!(-1_234_567), json!(1_234_567.5), json!(["1234567"]), json!(true)]
        {
            let error = serde_json::from_value::<SecretText>(value.clone()).expect_err("no text").to_string();
            assert!(!error.contains("1234567") && error.contains("a text"), "{value}: {error}");
        }
    }

    #[test]
    fn secret_is_encoded_and_not_printed() {
        let secret: SecretText = serde_json::from_value(json!("open sesame")).expect("a text");
        assert_eq!(format!("{secret:?}"), "SecretText([redacted])");
        assert_eq!(serde_json::to_value(&secret).expect("serializable"), json!("open sesame"));
    }
}
