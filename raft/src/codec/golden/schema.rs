//! Reads the internal `.proto` files, as far as the golden test needs them: the names of all fields and enum values.

use std::collections::{BTreeMap, BTreeSet};

const FILES: [&str; 3] = [
    include_str!("../../../../proto/batuta/internal/v1/log.proto"),
    include_str!("../../../../proto/batuta/internal/v1/state.proto"),
    include_str!("../../../../proto/batuta/internal/v1/peer.proto"),
];

struct Field {
    name: String,
    kind: String,
}

/// Messages and enums, by name.
#[derive(Default)]
pub(super) struct Schema {
    messages: BTreeMap<String, BTreeMap<u64, Field>>,
    enums: BTreeMap<String, BTreeMap<u64, String>>,
}

/// The fields and enum values that occur in encoded messages, as `Message.field` and `Enum.VALUE`.
pub(super) type Seen = BTreeSet<String>;

impl Schema {
    pub(super) fn read() -> Self {
        let mut schema = Self::default();
        for file in FILES {
            // The blocks around the current line, innermost last: `message X`, `enum X`, `oneof x`.
            let mut blocks: Vec<(String, String)> = Vec::new();
            for line in file.lines() {
                let line = line.split("//").next().unwrap_or_default().trim();
                let words: Vec<&str> = line.split_whitespace().collect();
                match words.as_slice() {
                    [kind, name, .., "{"] => blocks.push(((*kind).to_owned(), (*name).to_owned())),
                    ["message", name, "{}"] => {
                        schema.messages.entry((*name).to_owned()).or_default();
                    }
                    ["}"] => drop(blocks.pop()),
                    [.., "=", number] if !blocks.is_empty() => {
                        let number = number.trim_end_matches(';').parse().expect("a field number");
                        schema.add(&blocks, &words[..words.len() - 2], number);
                    }
                    _ => {}
                }
            }
        }
        schema
    }

    fn add(&mut self, blocks: &[(String, String)], words: &[&str], number: u64) {
        let inside =
            |kind: &str| blocks.iter().rev().find(|block| block.0 == kind).map(|block| block.1.clone());
        match (blocks.last().map(|block| block.0.as_str()), words) {
            (Some("enum"), [name]) => {
                let values = self.enums.entry(inside("enum").expect("an enum")).or_default();
                values.insert(number, (*name).to_owned());
            }
            (_, [.., kind, name]) => {
                let fields = self.messages.entry(inside("message").expect("a message")).or_default();
                fields.insert(number, Field { name: (*name).to_owned(), kind: (*kind).to_owned() });
            }
            _ => panic!("{words:?} is neither a field nor a value"),
        }
    }

    /// Every field and enum value that must occur in a sample. The value 0 of an enum stands for "not set" and is left out.
    pub(super) fn all(&self) -> Seen {
        let fields = self.messages.iter().flat_map(|(message, fields)| {
            fields.values().map(move |field| format!("{message}.{}", field.name))
        });
        let values = self.enums.iter().flat_map(|(of, values)| {
            values.iter().filter(|(number, _)| **number != 0).map(move |(_, name)| format!("{of}.{name}"))
        });
        fields.chain(values).collect()
    }

    /// Adds the fields and enum values of an encoded message to `seen`.
    pub(super) fn look(&self, message: &str, mut bytes: &[u8], seen: &mut Seen) {
        let fields = self.messages.get(message).unwrap_or_else(|| panic!("there is no message {message}"));
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let field =
                fields.get(&(tag >> 3)).unwrap_or_else(|| panic!("{message} has no field {}", tag >> 3));
            seen.insert(format!("{message}.{}", field.name));
            match tag & 7 {
                0 => {
                    let value = varint(&mut bytes);
                    if let Some(name) = self.enums.get(&field.kind).and_then(|values| values.get(&value)) {
                        seen.insert(format!("{}.{name}", field.kind));
                    }
                }
                1 => bytes = &bytes[8..],
                2 => {
                    let length = usize::try_from(varint(&mut bytes)).expect("a length");
                    let (value, rest) = bytes.split_at(length);
                    if self.messages.contains_key(&field.kind) {
                        self.look(&field.kind, value, seen);
                    }
                    bytes = rest;
                }
                5 => bytes = &bytes[4..],
                other => panic!("{message}.{}: wire type {other}", field.name),
            }
        }
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a varint");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}
