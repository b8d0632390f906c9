//! The commands of the cluster itself.

use batuta_proto::internal as wire;
use batuta_statemachine::LimitsPatch;
use batuta_statemachine::cluster::{AllocateNode, InitCluster, SetLimits};

pub(super) fn init_to_wire(command: &InitCluster) -> wire::InitCluster {
    wire::InitCluster { cluster_id: command.cluster_id.clone(), next_node_id: command.next_node_id }
}

pub(super) fn init(command: wire::InitCluster) -> InitCluster {
    InitCluster { cluster_id: command.cluster_id, next_node_id: command.next_node_id }
}

pub(super) fn allocate_node_to_wire(command: &AllocateNode) -> wire::AllocateNode {
    wire::AllocateNode { node_name: command.node_name.clone() }
}

pub(super) fn allocate_node(command: wire::AllocateNode) -> AllocateNode {
    AllocateNode { node_name: command.node_name }
}

pub(super) fn set_limits_to_wire(command: &SetLimits) -> wire::SetLimits {
    let value = |(name, value): &(String, u64)| wire::LimitValue { name: name.clone(), value: *value };
    wire::SetLimits { values: command.patch.values.iter().map(value).collect() }
}

/// A limit this build does not know is refused by apply, not here: every build answers such a request alike.
pub(super) fn set_limits(command: wire::SetLimits) -> SetLimits {
    let values = command.values.into_iter().map(|value| (value.name, value.value)).collect();
    SetLimits { patch: LimitsPatch { values } }
}
