//! The envelope of every message that travels end to end, written and read where it lies: [`crate::node::Envelope`] without a copy and
//! a count of references for each field.

use alloc::vec::Vec;
use core::ops::Range;

use bytes::{Buf as _, BufMut as _, Bytes};
use prost::DecodeError;
use prost::encoding::{
    DecodeContext, WireType, check_wire_type, decode_key, decode_varint, encode_key, encode_varint,
    encoded_len_varint, skip_field,
};

const SOURCE: u32 = 1;
const TARGET: u32 = 2;
const GROUP: u32 = 3;
const BODY: u32 = 4;

/// The bytes of an envelope. An empty field is left out, as in every message of proto3.
#[must_use]
pub fn encode(source: &[u8], target: &[u8], group: &[u8], body: &[u8]) -> Bytes {
    let fields = [(SOURCE, source), (TARGET, target), (GROUP, group), (BODY, body)];
    let field_len = |field: &[u8]| {
        if field.is_empty() { 0 } else { 1 + encoded_len_varint(field.len() as u64) + field.len() }
    };
    let mut out = Vec::with_capacity(fields.iter().map(|(_, field)| field_len(field)).sum());
    for (number, field) in fields.into_iter().filter(|(_, field)| !field.is_empty()) {
        encode_key(number, WireType::LengthDelimited, &mut out);
        encode_varint(field.len() as u64, &mut out);
        out.put_slice(field);
    }
    Bytes::from(out)
}

/// An envelope, read within its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    source: Range<usize>,
    target: Range<usize>,
    group: Range<usize>,
    body: Range<usize>,
}

impl View {
    /// Reads it; of a field that comes again the last holds, and unknown ones are skipped.
    ///
    /// # Errors
    /// As for any Protobuf message that is cut or malformed.
    pub fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut view = Self::default();
        let mut rest = bytes;
        while rest.has_remaining() {
            let (number, wire_type) = decode_key(&mut rest)?;
            let field = match number {
                SOURCE => &mut view.source,
                TARGET => &mut view.target,
                GROUP => &mut view.group,
                BODY => &mut view.body,
                _ => {
                    skip_field(wire_type, number, &mut rest, DecodeContext::default())?;
                    continue;
                }
            };
            check_wire_type(WireType::LengthDelimited, wire_type)?;
            let mut content = rest;
            let len = decode_varint(&mut content)?;
            // Refuses a field that reaches past the end.
            skip_field(wire_type, number, &mut rest, DecodeContext::default())?;
            let end = bytes.len() - rest.len();
            *field = end - len as usize..end;
        }
        Ok(view)
    }

    /// The node that sent it, in the bytes that were read.
    #[must_use]
    pub fn source<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.source.clone()]
    }

    /// The node it is for.
    #[must_use]
    pub fn target<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.target.clone()]
    }

    /// The consensus group it is for, if any.
    #[must_use]
    pub fn group<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.group.clone()]
    }

    /// The message of its kind.
    #[must_use]
    pub fn body(&self, bytes: &Bytes) -> Bytes {
        bytes.slice(self.body.clone())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use prost::Message as _;

    use super::*;
    use crate::node::Envelope;

    fn envelope(group: &'static [u8], body: Vec<u8>) -> Envelope {
        Envelope {
            source: Bytes::from_static(&[7; 16]),
            target: Bytes::from_static(&[8; 16]),
            group: Bytes::from_static(group),
            body: body.into(),
        }
    }

    fn read(bytes: &Bytes) -> Result<Envelope, DecodeError> {
        let view = View::read(bytes)?;
        let copy = Bytes::copy_from_slice;
        let (source, target) = (copy(view.source(bytes)), copy(view.target(bytes)));
        Ok(Envelope { source, target, group: copy(view.group(bytes)), body: view.body(bytes) })
    }

    #[test]
    fn it_is_written_and_read_as_the_generated_code_does() {
        for (group, body) in
            [(&[][..], vec![]), (&[0; 16], vec![]), (&[9; 16], vec![1; 127]), (&[], vec![2; 70_000])]
        {
            let envelope = envelope(group, body);
            let bytes = encode(&envelope.source, &envelope.target, &envelope.group, &envelope.body);
            assert_eq!(bytes, envelope.encode_to_vec());
            assert_eq!(read(&bytes), Ok(envelope));
        }
        assert_eq!(encode(&[], &[], &[], &[]), Bytes::new());
    }

    #[test]
    fn whatever_is_changed_cut_or_added_is_read_alike() {
        let whole = envelope(&[9; 16], vec![3; 20]).encode_to_vec();
        let mut cases: Vec<Vec<u8>> = (0..whole.len()).map(|len| whole[..len].to_vec()).collect();
        for at in 0..whole.len() {
            for value in [0, 1, 7, 0x12, 0x22, 0x2a, 0x7f, 0x80, 0xff, whole[at] ^ 1] {
                let mut changed = whole.clone();
                changed[at] = value;
                cases.push(changed);
            }
        }
        // A field nobody knows, and the body once more: the last holds.
        cases.push([&whole[..], &[0x78, 5], &[0x22, 2, 1, 1]].concat());
        assert_eq!(
            read(&Bytes::from(cases[cases.len() - 1].clone())).expect("it is well formed").body,
            [1, 1][..]
        );
        let mut refused = 0;
        for case in cases.into_iter().map(Bytes::from) {
            let generated = Envelope::decode(case.clone());
            refused += usize::from(generated.is_err());
            assert_eq!(read(&case).ok(), generated.ok(), "{case:?}");
        }
        assert!(refused > 100, "{refused} refused");
    }
}
