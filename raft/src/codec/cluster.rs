//! Commands, replies and refusals of the cluster job as protobuf, and back.

use batuta_proto::internal as wire;
use batuta_proto::internal::rejection::Rejection as WireRejection;
use batuta_proto::internal::reply::Reply as WireReply;
use batuta_proto::internal::request::Command as WireCommand;
use batuta_statemachine::LimitsPatch;
use batuta_statemachine::cluster::{
    AllocateNode, ClusterInitialised, Command, InitCluster, LevelRaised, LimitsSet, NodeAllocated,
    RaiseLevel, Refusal, Reply, SetLimits,
};

use super::DecodeError;
use super::wire::{Claimed, FromWire, ToWire, wire_fields, wire_struct, wire_variants};

wire_struct! { InitCluster = InitCluster { cluster_id, next_node_id } }
wire_struct! { AllocateNode = AllocateNode { node_name } }
wire_struct! { RaiseLevel = RaiseLevel { level, version } }

impl ToWire<wire::SetLimits> for SetLimits {
    fn to_wire(&self) -> wire::SetLimits {
        let Self { patch: LimitsPatch { values } } = self;
        let value = |(name, value): &(String, u64)| wire::LimitValue { name: name.clone(), value: *value };
        wire::SetLimits { values: values.iter().map(value).collect() }
    }
}

/// Limit names are not checked here. `apply` refuses an unknown limit, so that every build answers the request alike.
impl FromWire<wire::SetLimits> for SetLimits {
    fn from_wire(message: wire::SetLimits, _: &'static str) -> Result<Self, DecodeError> {
        let wire::SetLimits { values } = message;
        let value = |wire::LimitValue { name, value }| (name, value);
        Ok(Self { patch: LimitsPatch { values: values.into_iter().map(value).collect() } })
    }
}

wire_variants! { command_to_wire, command: Command = WireCommand {
    InitCluster = InitCluster,
    AllocateNode = AllocateNode,
    SetLimits = SetLimits,
    RaiseLevel = RaiseLevel,
} }

impl ToWire<wire::Nothing> for ClusterInitialised {
    fn to_wire(&self) -> wire::Nothing {
        wire::Nothing {}
    }
}

impl FromWire<wire::Nothing> for ClusterInitialised {
    fn from_wire(wire::Nothing {}: wire::Nothing, _: &'static str) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

impl ToWire<wire::Nothing> for LimitsSet {
    fn to_wire(&self) -> wire::Nothing {
        wire::Nothing {}
    }
}

impl FromWire<wire::Nothing> for LimitsSet {
    fn from_wire(wire::Nothing {}: wire::Nothing, _: &'static str) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

impl ToWire<u64> for NodeAllocated {
    fn to_wire(&self) -> u64 {
        let Self { node_id } = self;
        *node_id
    }
}

impl FromWire<u64> for NodeAllocated {
    fn from_wire(node_id: u64, _: &'static str) -> Result<Self, DecodeError> {
        Ok(Self { node_id })
    }
}

impl ToWire<u32> for LevelRaised {
    fn to_wire(&self) -> u32 {
        let Self { level } = self;
        *level
    }
}

impl FromWire<u32> for LevelRaised {
    fn from_wire(level: u32, _: &'static str) -> Result<Self, DecodeError> {
        Ok(Self { level })
    }
}

wire_variants! { reply_to_wire, reply: Reply = WireReply {
    ClusterInitialised = ClusterInitialised,
    NodeAllocated = NodeAllocated,
    LimitsSet = LimitsSet,
    LevelRaised = LevelRaised,
} }

wire_fields! { refusal_to_wire, refusal: Refusal = WireRejection {} bare { AlreadyInitialised(cluster_id) } }
