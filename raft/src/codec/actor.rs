//! Actors, and the principals that own something, as protobuf, and back.

use batuta_proto::internal as wire;
use batuta_statemachine::{Actor, PrincipalId};

use super::DecodeError;
use super::wire::{FromWire, ToWire};

impl ToWire<wire::Position> for PrincipalId {
    fn to_wire(&self) -> wire::Position {
        self.0.to_wire()
    }
}

impl FromWire<wire::Position> for PrincipalId {
    fn from_wire(position: wire::Position, field: &'static str) -> Result<Self, DecodeError> {
        FromWire::from_wire(position, field).map(Self)
    }
}

impl ToWire<Option<wire::Position>> for PrincipalId {
    fn to_wire(&self) -> Option<wire::Position> {
        (*self != Self::ANONYMOUS).then(|| self.0.to_wire())
    }
}

impl FromWire<Option<wire::Position>> for PrincipalId {
    fn from_wire(position: Option<wire::Position>, field: &'static str) -> Result<Self, DecodeError> {
        let id = position.map(|position| FromWire::from_wire(position, field)).transpose()?;
        Ok(id.unwrap_or(Self::ANONYMOUS))
    }
}

impl ToWire<Option<wire::Actor>> for Actor {
    fn to_wire(&self) -> Option<wire::Actor> {
        match self {
            Self::Node => Some(wire::Actor { principal: None, credential: String::new(), node: true }),
            Self::Caller { principal: PrincipalId::ANONYMOUS, credential: None } => None,
            Self::Caller { principal, credential } => Some(wire::Actor {
                principal: principal.to_wire(),
                credential: credential.as_ref().map(ToWire::to_wire).unwrap_or_default(),
                node: false,
            }),
        }
    }
}

impl FromWire<Option<wire::Actor>> for Actor {
    fn from_wire(actor: Option<wire::Actor>, _: &'static str) -> Result<Self, DecodeError> {
        let Some(wire::Actor { principal, credential, node }) = actor else { return Ok(Self::ANONYMOUS) };
        if node {
            return Ok(Self::Node);
        }
        let credential = (!credential.is_empty()).then(|| FromWire::from_wire(credential, "credential"));
        Ok(Self::Caller {
            principal: FromWire::from_wire(principal, "principal")?,
            credential: credential.transpose()?,
        })
    }
}
