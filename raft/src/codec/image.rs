//! The state as protobuf, as snapshots store it, and back.

use batuta_proto::internal as wire;
use batuta_proto::internal::image_record::Record as WireRecord;
use batuta_statemachine::{ImageHeader, ImageRecord, LEVEL_MIN, Limits, LimitsPatch};

use super::wire::{FromWire, ToWire, claimed};
use super::{DecodeError, access, lock, retry};

/// Converts the header of an image to its wire form.
pub(crate) fn image_header_to_wire(header: &ImageHeader) -> wire::ImageHeader {
    let ImageHeader {
        revision,
        now_ms,
        wall_ms,
        limits,
        cluster_id,
        next_node_id,
        last_token,
        level,
        level_version,
    } = header;
    // A member that does not know a limit yet may be given this image.
    let limits = limits.values_at(*level).into_iter();
    wire::ImageHeader {
        revision: *revision,
        now_ms: *now_ms,
        wall_ms: *wall_ms,
        limits: limits.map(|(name, value)| wire::LimitValue { name: name.to_owned(), value }).collect(),
        cluster_id: cluster_id.clone(),
        next_node_id: *next_node_id,
        last_token: *last_token,
        level: if *level > LEVEL_MIN { *level } else { 0 },
        level_version: level_version.clone(),
    }
}

/// Converts the header of an image from its wire form.
pub(crate) fn image_header(header: wire::ImageHeader) -> Result<ImageHeader, DecodeError> {
    let wire::ImageHeader {
        revision,
        now_ms,
        wall_ms,
        limits,
        cluster_id,
        next_node_id,
        last_token,
        level,
        level_version,
    } = header;
    let level = level.max(LEVEL_MIN);
    let values = limits.into_iter().map(|limit| (limit.name, limit.value)).collect();
    let limits =
        Limits::default().patched(&LimitsPatch { values }).map_err(|_| DecodeError::Unknown("limit"))?;
    Ok(ImageHeader {
        revision,
        now_ms,
        wall_ms,
        limits,
        cluster_id,
        next_node_id,
        last_token,
        level,
        level_version,
    })
}

/// Converts a record of an image to its wire form.
pub(crate) fn image_record_to_wire(record: &ImageRecord) -> wire::ImageRecord {
    let record = match record {
        ImageRecord::Session(record) => WireRecord::Session(record.to_wire()),
        ImageRecord::Lock(record) => lock::record_to_wire(record),
        ImageRecord::Register(record) => WireRecord::Register(record.to_wire()),
        ImageRecord::Cluster(record) => match *record {},
        ImageRecord::Access(record) => access::record_to_wire(record),
        ImageRecord::Retry(record) => retry::record_to_wire(record),
    };
    wire::ImageRecord { record: Some(record) }
}

/// Converts a record of an image from its wire form.
pub(crate) fn image_record(record: wire::ImageRecord) -> Result<ImageRecord, DecodeError> {
    match record.record.ok_or(DecodeError::Unknown("record"))? {
        WireRecord::Session(record) => FromWire::from_wire(record, "session").map(ImageRecord::Session),
        WireRecord::Register(record) => FromWire::from_wire(record, "register").map(ImageRecord::Register),
        record => claimed!(record, lock::record, access::record, retry::record; else "record"),
    }
}
