//! The `Debug` of messages that hold a password or a token: the name of the message, and nothing of its content.

use std::fmt;

use crate::{internal, v1};

macro_rules! redacted {
    ($($message:ty),* $(,)?) => {
        $(
            impl fmt::Debug for $message {
                fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                    formatter.write_str(concat!(stringify!($message), " { [redacted] }"))
                }
            }
        )*
    };
}

redacted!(
    v1::Authenticate,
    v1::PipelineRequest,
    v1::BootstrapRequest,
    v1::BootstrapResponse,
    v1::CreateKeyResponse,
    v1::LoginRequest,
    v1::LoginResponse,
    v1::SetPasswordRequest,
    internal::TokenSecret,
    internal::SetPassword,
    internal::Password,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let login = v1::LoginRequest { user: "ann".into(), password: "correct horse".into(), ttl_ms: 0 };
        assert_eq!(format!("{login:?}"), "v1::LoginRequest { [redacted] }");
    }
}
