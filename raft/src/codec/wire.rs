//! Converts a type of the core to its message and back: traits for values, macros for structs and enums.
//!
//! A macro lists every field once and destructures both sides with that list, so a field that the list lacks does not compile.

use std::borrow::Cow;
use std::sync::Arc;

use batuta_proto::internal as wire;
use batuta_statemachine::access::BindingId;
use batuta_statemachine::{LockId, Name, Namespace, Position, SessionId};

use super::DecodeError;

/// Converts a value of the core to a value of a message.
pub(super) trait ToWire<W> {
    fn to_wire(&self) -> W;
}

/// Converts a value of a message to a value of the core; `field` names the value in errors.
pub(super) trait FromWire<W>: Sized {
    fn from_wire(value: W, field: &'static str) -> Result<Self, DecodeError>;
}

/// What one job says of a variant of a flat wire enum that is offered to every job in turn.
pub(super) enum Claimed<T, W> {
    /// The variant belongs to this job, which decoded it.
    Here(Result<T, DecodeError>),
    /// The variant belongs to another job.
    Elsewhere(W),
}

/// Offers a wire variant to each job in turn until one decodes it.
macro_rules! claimed {
    ($wire:expr, $($decode:path),* ; else $unknown:expr) => {{
        let wire = $wire;
        $(let wire = match $decode(wire) {
            $crate::codec::wire::Claimed::Here(decoded) => return decoded.map(Into::into),
            $crate::codec::wire::Claimed::Elsewhere(other) => other,
        };)*
        drop(wire);
        Err($crate::codec::DecodeError::Unknown($unknown))
    }};
}

/// Converts between a struct of the core and a message with the same fields.
macro_rules! wire_struct {
    ($Core:ident = $Message:ident { $($field:ident),* $(,)? }) => {
        impl ToWire<wire::$Message> for $Core {
            fn to_wire(&self) -> wire::$Message {
                let $Core { $($field),* } = self;
                wire::$Message { $($field: $field.to_wire()),* }
            }
        }

        impl FromWire<wire::$Message> for $Core {
            fn from_wire(message: wire::$Message, _: &'static str) -> Result<Self, DecodeError> {
                let wire::$Message { $($field),* } = message;
                Ok($Core { $($field: FromWire::from_wire($field, stringify!($field))?),* })
            }
        }

        $crate::codec::wire::wire_message! { $Core = $Message }
    };
}

/// Converts between a type of the core and a required message field: a missing message is an error.
macro_rules! wire_message {
    ($Core:ident = $Message:ident) => {
        impl ToWire<Option<wire::$Message>> for $Core {
            fn to_wire(&self) -> Option<wire::$Message> {
                Some(self.to_wire())
            }
        }

        impl FromWire<Option<wire::$Message>> for $Core {
            fn from_wire(message: Option<wire::$Message>, field: &'static str) -> Result<Self, DecodeError> {
                Self::from_wire(message.ok_or(DecodeError::Missing(field))?, field)
            }
        }
    };
}

/// Converts between an enum of the core whose variants hold one value each and its part of a flat wire enum.
macro_rules! wire_variants {
    ($to:ident, $from:ident: $Core:ident = $Wire:ident { $($Variant:ident = $WireVariant:ident),* $(,)? }) => {
        pub(super) fn $to(value: &$Core) -> $Wire {
            match value {
                $($Core::$Variant(value) => $Wire::$WireVariant(value.to_wire()),)*
            }
        }

        pub(super) fn $from(value: $Wire) -> Claimed<$Core, $Wire> {
            Claimed::Here(match value {
                $($Wire::$WireVariant(value) => {
                    FromWire::from_wire(value, stringify!($WireVariant)).map($Core::$Variant)
                })*
                other => return Claimed::Elsewhere(other),
            })
        }
    };
}

/// Converts between an enum of the core whose variants have named fields and its part of a flat wire enum. `bare` lists the variants
/// whose single field is on the wire without a message around it.
macro_rules! wire_fields {
    (
        $to:ident, $from:ident: $Core:ident = $Wire:ident {
            $($Variant:ident { $($field:ident),* }),* $(,)?
        } bare {
            $($Bare:ident($value:ident)),* $(,)?
        }
    ) => {
        pub(super) fn $to(value: &$Core) -> $Wire {
            match value {
                $($Core::$Variant { $($field),* } => {
                    $Wire::$Variant(wire::$Variant { $($field: $field.to_wire()),* })
                })*
                $($Core::$Bare { $value } => $Wire::$Bare($value.to_wire()),)*
            }
        }

        #[allow(clippy::redundant_closure_call, reason = "each arm has errors of its own, and none leaves the match")]
        pub(super) fn $from(value: $Wire) -> Claimed<$Core, $Wire> {
            Claimed::Here(match value {
                $($Wire::$Variant(wire::$Variant { $($field),* }) => (|| {
                    Ok($Core::$Variant { $($field: FromWire::from_wire($field, stringify!($field))?),* })
                })(),)*
                $($Wire::$Bare(value) => {
                    FromWire::from_wire(value, stringify!($value)).map(|$value| $Core::$Bare { $value })
                })*
                other => return Claimed::Elsewhere(other),
            })
        }
    };
}

pub(super) use {claimed, wire_fields, wire_message, wire_struct, wire_variants};

macro_rules! as_it_is {
    ($($Type:ty),*) => {
        $(impl ToWire<$Type> for $Type {
            fn to_wire(&self) -> $Type {
                self.clone()
            }
        }

        impl FromWire<$Type> for $Type {
            fn from_wire(value: $Type, _: &'static str) -> Result<Self, DecodeError> {
                Ok(value)
            }
        })*
    };
}
as_it_is! { bool, u32, u64, String }

impl<T: ToWire<W>, W> ToWire<Option<W>> for Option<T> {
    fn to_wire(&self) -> Option<W> {
        self.as_ref().map(ToWire::to_wire)
    }
}

impl<T: FromWire<W>, W> FromWire<Option<W>> for Option<T> {
    fn from_wire(value: Option<W>, field: &'static str) -> Result<Self, DecodeError> {
        value.map(|value| T::from_wire(value, field)).transpose()
    }
}

impl<T: ToWire<W>, W> ToWire<Vec<W>> for Vec<T> {
    fn to_wire(&self) -> Vec<W> {
        self.iter().map(ToWire::to_wire).collect()
    }
}

impl<T: FromWire<W>, W> FromWire<Vec<W>> for Vec<T> {
    fn from_wire(values: Vec<W>, field: &'static str) -> Result<Self, DecodeError> {
        values.into_iter().map(|value| T::from_wire(value, field)).collect()
    }
}

impl<T: ToWire<W>, W> ToWire<Vec<W>> for Box<[T]> {
    fn to_wire(&self) -> Vec<W> {
        self.iter().map(ToWire::to_wire).collect()
    }
}

impl<T: FromWire<W>, W> FromWire<Vec<W>> for Box<[T]> {
    fn from_wire(values: Vec<W>, field: &'static str) -> Result<Self, DecodeError> {
        Vec::from_wire(values, field).map(Into::into)
    }
}

impl<T: ToWire<W>, W> ToWire<W> for Arc<T> {
    fn to_wire(&self) -> W {
        self.as_ref().to_wire()
    }
}

impl<T: FromWire<W>, W> FromWire<W> for Arc<T> {
    fn from_wire(value: W, field: &'static str) -> Result<Self, DecodeError> {
        T::from_wire(value, field).map(Self::new)
    }
}

impl ToWire<String> for Box<str> {
    fn to_wire(&self) -> String {
        self.to_string()
    }
}

impl FromWire<String> for Box<str> {
    fn from_wire(text: String, _: &'static str) -> Result<Self, DecodeError> {
        Ok(text.into())
    }
}

impl ToWire<String> for Cow<'static, str> {
    fn to_wire(&self) -> String {
        self.to_string()
    }
}

impl FromWire<String> for Cow<'static, str> {
    fn from_wire(text: String, _: &'static str) -> Result<Self, DecodeError> {
        Ok(text.into())
    }
}

impl ToWire<String> for Namespace {
    fn to_wire(&self) -> String {
        self.to_string()
    }
}

impl FromWire<String> for Namespace {
    fn from_wire(text: String, field: &'static str) -> Result<Self, DecodeError> {
        Self::new(&text).map_err(|source| DecodeError::Name { field, source })
    }
}

impl ToWire<String> for Name {
    fn to_wire(&self) -> String {
        self.to_string()
    }
}

impl FromWire<String> for Name {
    fn from_wire(text: String, field: &'static str) -> Result<Self, DecodeError> {
        Self::stored(&text).map_err(|source| DecodeError::Name { field, source })
    }
}

wire_message! { Position = Position }

impl ToWire<wire::Position> for Position {
    fn to_wire(&self) -> wire::Position {
        wire::Position { index: self.index, ordinal: self.ordinal }
    }
}

impl FromWire<wire::Position> for Position {
    fn from_wire(position: wire::Position, _: &'static str) -> Result<Self, DecodeError> {
        let wire::Position { index, ordinal } = position;
        Ok(Self { index, ordinal })
    }
}

macro_rules! ids {
    ($($Id:ident),*) => {
        $(impl ToWire<wire::Position> for $Id {
            fn to_wire(&self) -> wire::Position {
                self.0.to_wire()
            }
        }

        impl FromWire<wire::Position> for $Id {
            fn from_wire(position: wire::Position, field: &'static str) -> Result<Self, DecodeError> {
                FromWire::from_wire(position, field).map(Self)
            }
        }

        wire_message! { $Id = Position })*
    };
}
ids! { SessionId, LockId, BindingId }
