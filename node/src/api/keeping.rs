//! What a stream keeps, between the wire and the node.

use bytes::Bytes;
use tonic::Status;
use wattle_core::retention::{Kept, Retention, Scarce};
use wattle_core::time::Span;
use wattle_proto::api;

use super::errors;

/// What is asked to be kept.
///
/// # Errors
/// More than can be counted.
pub(super) fn read(keep: Option<api::StreamRetention>) -> Result<Retention, Status> {
    let api::StreamRetention { messages, bytes, millis } = keep.unwrap_or_default();
    let keep = Retention { messages, bytes, span: span(millis)? };
    let invalid = || errors::invalid("a stream keeps up to 2^60 messages, 2^60 bytes and 100 years");
    keep.is_valid().then_some(keep).ok_or_else(invalid)
}

/// A time.
///
/// # Errors
/// It is longer than can be counted.
pub(super) fn span(millis: u64) -> Result<Span, Status> {
    let nanos = millis.checked_mul(1_000_000).map(Span);
    nanos.ok_or_else(|| {
        errors::invalid("a time of that many milliseconds cannot be counted: say at most 100 years")
    })
}

/// What a stream was opened to keep.
pub(super) fn retention(keep: Retention) -> Option<api::StreamRetention> {
    let Retention { messages, bytes, span } = keep;
    keep.keeps().then(|| api::StreamRetention { messages, bytes, millis: span.as_millis() })
}

/// What an end keeps of it.
pub(super) fn kept(kept: Kept) -> api::StreamKept {
    let Kept { first, messages, bytes, short } = kept;
    api::StreamKept {
        first: first.0,
        messages,
        bytes,
        short_upto: short.map(|short| short.upto.0),
        short_node: short.map(|short| Bytes::copy_from_slice(&short.node.to_bytes())).unwrap_or_default(),
        scarce: short.map_or(api::Scarce::Unspecified, |short| scarce(short.scarce)).into(),
    }
}

const fn scarce(scarce: Scarce) -> api::Scarce {
    match scarce {
        Scarce::Disk => api::Scarce::Disk,
        Scarce::Memory => api::Scarce::Memory,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattle_core::id::{NodeId, Sequence};
    use wattle_core::retention::Short;

    #[test]
    fn what_is_asked_to_be_kept_comes_back_and_too_much_is_refused() {
        assert_eq!((read(None).unwrap(), retention(Retention::default())), (Retention::default(), None));
        let wish = api::StreamRetention { messages: 3, bytes: 4, millis: 1_500 };
        let keep = read(Some(wish)).unwrap();
        assert_eq!(keep, Retention { messages: 3, bytes: 4, span: Span::millis(1_500) });
        assert_eq!(retention(keep), Some(wish));
        for millis in [u64::MAX, 101 * 365 * 86_400_000] {
            let refused = read(Some(api::StreamRetention { millis, ..wish })).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        }
    }

    #[test]
    fn what_went_before_its_time_is_told_with_the_reason() {
        let short = Some(Short { upto: Sequence(9), node: NodeId(2), scarce: Scarce::Memory });
        let told = kept(Kept { first: Sequence(10), messages: 1, bytes: 2, short });
        assert_eq!((told.short_upto, told.scarce()), (Some(9), api::Scarce::Memory));
        assert_eq!(NodeId::from_slice(&told.short_node), Some(NodeId(2)));
        assert_eq!(kept(Kept::default()).short_upto, None);
    }
}
