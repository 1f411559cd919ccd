//! Messages to frames, into a buffer lent by the caller.

use alloc::vec::Vec;

use super::{FRAME_HEADER, FrameKind, HANDSHAKE_FRAME, MAGIC, MAX_FRAME, Message, RelayHeader, VERSIONS};

/// The message does not fit into this frame. Nothing was written of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a message of {needed} bytes (header {header}) does not fit: {room} bytes are left in the frame, and a header may have 65535"
)]
pub struct Full {
    /// Bytes the message takes.
    pub needed: usize,
    /// Of them its Protobuf header.
    pub header: usize,
    /// Bytes left.
    pub room: usize,
}

impl Full {
    /// Whether it would not fit into any frame of `limit` bytes either, so that trying again is no use.
    #[must_use]
    pub const fn for_ever(&self, limit: usize) -> bool {
        self.needed > limit || self.header > u16::MAX as usize
    }
}

/// Writes one frame at the end of a buffer. A frame that is dropped unfinished, or finished empty, leaves no trace.
#[derive(Debug)]
pub struct FrameWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    limit: usize,
    finished: bool,
}

impl<'a> FrameWriter<'a> {
    /// Begins a frame of at most `limit` message bytes; limits over what the kind of frame allows are lowered to it.
    pub fn begin(out: &'a mut Vec<u8>, kind: FrameKind, limit: usize) -> Self {
        let start = out.len();
        let (version, highest) = match kind {
            FrameKind::Hello => (VERSIONS.0, HANDSHAKE_FRAME),
            FrameKind::Batch => (VERSIONS.1, MAX_FRAME),
        };
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(&(kind as u16).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        Self { out, start, limit: limit.min(highest), finished: false }
    }

    /// Message bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len() - self.start - FRAME_HEADER
    }

    /// Whether there is no message yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a message whose header is encoded already and whose payload is given in pieces.
    ///
    /// # Errors
    /// [`Full`] if it does not fit; the frame is as before.
    pub fn append<P: AsRef<[u8]>>(
        &mut self,
        relay: &RelayHeader,
        header: &[u8],
        payload: &[P],
    ) -> Result<(), Full> {
        let (header_len, payload_len) = self.room_for(relay, header.len(), payload)?;
        relay.write(header_len, payload_len, self.out);
        self.out.extend_from_slice(header);
        self.append_payload(payload);
        Ok(())
    }

    /// Appends a message, encoding its header in place.
    ///
    /// # Errors
    /// [`Full`] if it does not fit; the frame is as before.
    pub fn append_encoded<M: prost::Message, P: AsRef<[u8]>>(
        &mut self,
        relay: &RelayHeader,
        header: &M,
        payload: &[P],
    ) -> Result<(), Full> {
        let (header_len, payload_len) = self.room_for(relay, header.encoded_len(), payload)?;
        relay.write(header_len, payload_len, self.out);
        header.encode_raw(self.out);
        self.append_payload(payload);
        Ok(())
    }

    /// Appends a message as it was received.
    ///
    /// # Errors
    /// [`Full`] if it does not fit; the frame is as before.
    pub fn append_message(&mut self, message: &Message) -> Result<(), Full> {
        self.append(&message.relay, &message.header, core::slice::from_ref(&message.payload))
    }

    /// Ends the frame and tells how many bytes it added to the buffer: none if it holds no message.
    pub fn finish(mut self) -> usize {
        let size = self.len();
        if size == 0 {
            return 0;
        }
        let at = self.start + 8;
        self.out[at..at + 4].copy_from_slice(&(size as u32).to_le_bytes());
        self.finished = true;
        FRAME_HEADER + size
    }

    fn room_for<P: AsRef<[u8]>>(
        &self,
        relay: &RelayHeader,
        header: usize,
        payload: &[P],
    ) -> Result<(u16, u32), Full> {
        let payload: usize = payload.iter().map(|piece| piece.as_ref().len()).sum();
        let needed = relay.encoded_len() + header + payload;
        let room = self.limit.saturating_sub(self.len());
        let full = Full { needed, header, room };
        if needed > room {
            return Err(full);
        }
        Ok((u16::try_from(header).map_err(|_| full)?, u32::try_from(payload).map_err(|_| full)?))
    }

    fn append_payload<P: AsRef<[u8]>>(&mut self, payload: &[P]) {
        for piece in payload {
            self.out.extend_from_slice(piece.as_ref());
        }
    }
}

impl Drop for FrameWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.out.truncate(self.start);
        }
    }
}
