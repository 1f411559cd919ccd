//! Fields of Protobuf messages, written and read without a detour.
//!
//! Where much is said, most of what generated code does is to make small vectors of ids and digests. Who writes or reads with this does byte for byte what that would do.

use alloc::vec::Vec;

use bytes::Bytes;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint};

/// Bytes of a field of eight bytes.
pub(crate) const FIXED: usize = 9;

/// Bytes of a field that holds a number; none if it is 0. Fields up to 15 have one byte of key.
pub(crate) fn number_len(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + encoded_len_varint(value) }
}

/// The same of fields from 16 to 2,047, which have two bytes of key.
pub(crate) fn far_number_len(value: u64) -> usize {
    number_len(value) + usize::from(value > 0)
}

/// Bytes of a field that holds so many bytes.
pub(crate) fn field_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

/// Bytes of numbers that stand one behind the other in one field, without its key and length.
pub(crate) fn packed_len(values: impl Iterator<Item = u64>) -> usize {
    values.map(encoded_len_varint).sum()
}

/// Writes fields into a buffer that was made large enough.
pub(crate) struct Writer {
    buffer: Vec<u8>,
    len: usize,
}

impl Writer {
    /// For so many bytes.
    pub(crate) fn new(len: usize) -> Self {
        Self { buffer: Vec::with_capacity(len), len }
    }

    pub(crate) fn number(&mut self, field: u32, value: u64) {
        if value > 0 {
            encode_key(field, WireType::Varint, &mut self.buffer);
            encode_varint(value, &mut self.buffer);
        }
    }

    /// The head of a field of so many bytes, which follow.
    pub(crate) fn length(&mut self, field: u32, len: usize) {
        encode_key(field, WireType::LengthDelimited, &mut self.buffer);
        encode_varint(len as u64, &mut self.buffer);
    }

    pub(crate) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.length(field, bytes.len());
        self.buffer.extend_from_slice(bytes);
    }

    /// Numbers in one field, none left out.
    pub(crate) fn packed(&mut self, field: u32, values: impl Iterator<Item = u64> + Clone) {
        let len = packed_len(values.clone());
        if len > 0 {
            self.length(field, len);
            values.for_each(|value| encode_varint(value, &mut self.buffer));
        }
    }

    pub(crate) fn fixed(&mut self, field: u32, value: u64) {
        encode_key(field, WireType::SixtyFourBit, &mut self.buffer);
        self.buffer.extend_from_slice(&value.to_le_bytes());
    }

    /// What is written so far.
    #[cfg(test)]
    pub(crate) fn written(&self) -> &[u8] {
        &self.buffer
    }

    pub(crate) fn done(self) -> Bytes {
        debug_assert_eq!(self.buffer.len(), self.len, "the length was computed");
        self.buffer.into()
    }
}

/// Reads fields; `None` at the first thing that is not as [`Writer`] writes it.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn varint(&mut self) -> Option<u64> {
        decode_varint(&mut self.0).ok()
    }

    /// The next field's number and kind.
    pub(crate) fn key(&mut self) -> Option<(u32, WireType)> {
        decode_key(&mut self.0).ok()
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.varint()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(crate) fn fixed(&mut self) -> Option<u64> {
        let (fixed, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*fixed))
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        match self.varint()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}
