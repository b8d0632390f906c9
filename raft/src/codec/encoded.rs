//! Requests with their encoded bytes. The node that accepts a request encodes it once; the log stores those bytes.

use batuta_proto::internal as wire;
use batuta_statemachine::{Request, Stamp};
use bytes::Bytes;
use prost::Message;

use super::{DecodeError, request_from_wire, request_to_wire};

/// Decoded requests, and the encoded bytes of each.
#[derive(Clone, Debug)]
pub(crate) struct EncodedRequests {
    pub(crate) requests: Vec<Request>,
    pub(crate) bytes: Vec<Bytes>,
}

impl EncodedRequests {
    pub(crate) fn new(requests: Vec<Request>) -> Self {
        let encode = |request: &Request| request_to_wire(request).encode_to_vec().into();
        let bytes = requests.iter().map(encode).collect();
        Self { requests, bytes }
    }

    /// Decodes requests that another node encoded. Keeps the received bytes, unless a request has fields that this build does not know: such
    /// a request is encoded again without them, because the log carries nothing that its leader did not understand.
    ///
    /// # Errors
    /// [`DecodeError`] when a request is damaged or was written by a newer build.
    pub(crate) fn received(bytes: Vec<Bytes>) -> Result<Self, DecodeError> {
        let mut received = Self { requests: Vec::with_capacity(bytes.len()), bytes };
        for bytes in &mut received.bytes {
            let message = wire::Request::decode(bytes.clone())?;
            let known_bytes = message.encoded_len();
            let request = request_from_wire(message)?;
            if known_bytes != bytes.len() {
                *bytes = request_to_wire(&request).encode_to_vec().into();
            }
            received.requests.push(request);
        }
        Ok(received)
    }

    /// The encoded size of all requests together, in bytes.
    pub(crate) fn bytes_len(&self) -> usize {
        self.bytes.iter().map(Bytes::len).sum()
    }
}

/// An `Entry` of log.proto whose requests are already encoded.
#[derive(Clone, PartialEq, Message)]
struct EncodedEntry {
    #[prost(uint64, tag = "1")]
    now_ms: u64,
    #[prost(uint64, tag = "2")]
    wall_ms: u64,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    requests: Vec<Bytes>,
}

/// Encodes an entry whose requests are already encoded. The bytes equal those of [`super::encode_entry`].
pub(crate) fn encode_entry_of(stamp: Stamp, requests: Vec<Bytes>) -> Bytes {
    EncodedEntry { now_ms: stamp.now_ms, wall_ms: stamp.wall_ms, requests }.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::session::KeepAlive;
    use batuta_statemachine::{Entry, Position, SessionId};

    use super::*;
    use crate::codec::encode_entry;

    fn requests() -> Vec<Request> {
        let keep_alive = |index| KeepAlive { sessions: vec![SessionId(Position { index, ordinal: 3 })] };
        vec![Request::new(None, keep_alive(7)), Request::new(None, keep_alive(9))]
    }

    #[test]
    fn encoded_requests_give_the_same_entry() {
        for stamp in [Stamp::default(), Stamp { now_ms: 5, wall_ms: 7 }] {
            for requests in [Vec::new(), requests()] {
                let encoded = EncodedRequests::new(requests.clone());
                let bytes = encode_entry_of(stamp, encoded.bytes);
                assert_eq!(bytes, encode_entry(&Entry { stamp, requests }));
            }
        }
    }

    #[test]
    fn bytes_without_unknown_fields_are_kept() {
        let sent = EncodedRequests::new(requests());
        let mut bytes = sent.bytes.clone();
        // Field 90, a varint, which no build knows.
        bytes[1] = [bytes[1].as_ref(), &[0xd0, 0x05, 0x01]].concat().into();
        let received = EncodedRequests::received(bytes.clone()).expect("is understood");
        assert_eq!(received.requests, requests());
        assert_eq!(received.bytes, sent.bytes);
        assert_eq!(received.bytes[0].as_ptr(), bytes[0].as_ptr(), "the received buffer itself, not a copy");
        assert!(EncodedRequests::received(vec![Bytes::from_static(&[0xd0])]).is_err());
        assert!(EncodedRequests::received(vec![Bytes::new()]).is_err(), "a request without a command");
    }
}
