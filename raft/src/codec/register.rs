//! Commands, replies, refusals and records of high-water registers as protobuf, and back.

use batuta_proto::internal as wire;
use batuta_proto::internal::rejection::Rejection as WireRejection;
use batuta_proto::internal::reply::Reply as WireReply;
use batuta_proto::internal::request::Command as WireCommand;
use batuta_statemachine::register::{
    AdvanceRegister, Command, DeleteRegister, Record, Refusal, RegisterAdvanced, RegisterDeleted, Reply,
};

use super::DecodeError;
use super::wire::{Claimed, FromWire, ToWire, wire_fields, wire_struct, wire_variants};

wire_struct! { AdvanceRegister = AdvanceRegister { namespace, name, token } }
wire_struct! { DeleteRegister = DeleteRegister { namespace, name } }

wire_variants! { command_to_wire, command: Command = WireCommand {
    AdvanceRegister = AdvanceRegister,
    DeleteRegister = DeleteRegister,
} }

impl ToWire<u64> for RegisterAdvanced {
    fn to_wire(&self) -> u64 {
        let Self { high_water } = self;
        *high_water
    }
}

impl FromWire<u64> for RegisterAdvanced {
    fn from_wire(high_water: u64, _: &'static str) -> Result<Self, DecodeError> {
        Ok(Self { high_water })
    }
}

impl ToWire<u64> for RegisterDeleted {
    fn to_wire(&self) -> u64 {
        let Self { high_water } = self;
        *high_water
    }
}

impl FromWire<u64> for RegisterDeleted {
    fn from_wire(high_water: u64, _: &'static str) -> Result<Self, DecodeError> {
        Ok(Self { high_water })
    }
}

wire_variants! { reply_to_wire, reply: Reply = WireReply {
    RegisterAdvanced = RegisterAdvanced,
    RegisterDeleted = RegisterDeleted,
} }

wire_fields! { refusal_to_wire, refusal: Refusal = WireRejection {} bare { RegisterNotFound(name) } }

wire_struct! { Record = RegisterRecord { namespace, name, high_water } }
