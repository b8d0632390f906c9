//! Golden bytes: one sample of everything that a node writes to its disk or sends to another node. `golden.txt` keeps the bytes of each
//! sample for ever.
//!
//! A sample must encode to the bytes of its line and decode from them. Every field and enum value of the internal `.proto` files must
//! occur in a sample. Once released, a line is never changed or removed: when the encoding changes, the old line stays, with a sample
//! that is only decoded.

mod access;
mod log;
mod peers;
mod schema;
mod state;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use prost::Message;
use schema::{Schema, Seen};

const FILE: &str = include_str!("golden.txt");

/// Decodes bytes and panics when the result differs from the sample.
type Reads = Box<dyn Fn(&[u8])>;

/// One value that a node writes to disk or sends, with its encoding.
struct Sample {
    /// The name of its line in `golden.txt`.
    name: String,
    /// The protobuf message that its bytes encode.
    message: &'static str,
    /// The bytes that this build writes.
    bytes: Vec<u8>,
    reads: Reads,
}

impl Sample {
    fn new<T: PartialEq + std::fmt::Debug + 'static>(
        name: impl Into<String>,
        message: &'static str,
        value: T,
        write: impl Fn(&T) -> Vec<u8>,
        read: impl Fn(&[u8]) -> T + 'static,
    ) -> Self {
        let bytes = write(&value);
        let reads = Box::new(move |bytes: &[u8]| assert_eq!(read(bytes), value));
        Self { name: name.into(), message, bytes, reads }
    }

    /// A sample that is a protobuf message itself, without a core type behind it.
    fn plain<T: Message + Default + PartialEq + std::fmt::Debug + 'static>(
        name: impl Into<String>,
        message: &'static str,
        value: T,
    ) -> Self {
        Self::new(name, message, value, T::encode_to_vec, |bytes| T::decode(bytes).expect("decodes"))
    }
}

fn samples() -> Vec<Sample> {
    log::samples().into_iter().chain(state::samples()).chain(peers::samples()).collect()
}

fn lines() -> BTreeMap<&'static str, &'static str> {
    let lines: Vec<&str> = FILE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let by_name: BTreeMap<&str, &str> =
        lines.iter().map(|line| line.split_once(' ').expect("a name and bytes")).collect();
    assert_eq!(by_name.len(), lines.len(), "a name occurs twice");
    by_name
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().map(|digit| u8::try_from(digit.to_digit(16).expect("hex")).expect("a digit")).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn golden_bytes_are_written_and_read() {
    let lines = lines();
    let mut missing = String::new();
    let samples = samples();
    for sample in &samples {
        match lines.get(sample.name.as_str()) {
            None => {
                let _ = writeln!(missing, "{} {}", sample.name, hex(&sample.bytes));
            }
            Some(golden) => {
                assert_eq!(hex(&sample.bytes), **golden, "the encoding of {} has changed", sample.name);
                (sample.reads)(&bytes_of(golden));
            }
        }
    }
    assert!(missing.is_empty(), "not in raft/src/codec/golden/golden.txt:\n{missing}");
    for name in lines.keys() {
        assert!(samples.iter().any(|sample| sample.name == *name), "no sample decodes {name} any more");
    }
}

#[test]
fn everything_has_golden_bytes() {
    let schema = Schema::read();
    let mut seen = Seen::new();
    for sample in samples() {
        schema.look(sample.message, &sample.bytes, &mut seen);
    }
    let all = schema.all();
    assert!(all.len() > 300, "only {} fields were found in the .proto files", all.len());
    let missing: Vec<String> = all.difference(&seen).cloned().collect();
    assert!(missing.is_empty(), "in no sample: {missing:#?}");
}
