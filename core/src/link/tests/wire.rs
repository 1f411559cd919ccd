use bytes::Bytes;

use super::*;
use crate::id::{GroupId, Term};
use crate::link::pairs::{LEADS_PAGE_MAX, LEADS_PAGES_MAX, LeadsDigest};

fn messages() -> Vec<Message> {
    let joining = Hello { mesh: None, purpose: Purpose::Join, ..hello(3, u64::MAX) };
    vec![
        Message::Hello(hello(2, 3)),
        Message::Hello(Hello { endorsement: Bytes::from_static(b"endorsed"), ..hello(2, 3) }),
        Message::Hello(joining),
        Message::Confirm,
        Message::Ping { sent: u64::MAX },
        Message::Pong { echo: 0 },
        Message::Leaving,
        Message::Raised { epoch_proofs: alloc::vec![bytes::Bytes::from_static(b"proof")] },
    ]
}

fn beat() -> Beat {
    Beat {
        pause: Span::millis(100),
        boot: BootId(5),
        generation: Generation(6),
        number: 7,
        lag: Span::millis(8),
        oldest_write: Some(Span::ZERO),
        leads_digest: LeadsDigest([9; 16]),
        seen_digest: Some(LeadsDigest([10; 16])),
        leads: Some(LeadsPage {
            page: 1,
            pages: 2,
            groups: vec![(GroupId(11), Term(12)), (GroupId::CONTROL, Term(0))],
        }),
    }
}

#[test]
fn messages_survive_the_wire() {
    for message in messages() {
        assert_eq!(Message::decode(message.encode()), Ok(message));
    }
    let bare = Beat { oldest_write: None, seen_digest: None, leads: None, ..beat() };
    for beat in [beat(), bare] {
        assert_eq!(Beat::decode(beat.encode()), Ok(beat));
    }
}

#[test]
fn what_does_not_fit_is_refused_with_words() {
    use wattle_proto::link as wire;
    let hello_with = |change: fn(&mut wire::Hello)| {
        let Some(wire::message::Kind::Hello(mut hello)) = Message::Hello(hello(2, 3)).to_wire().kind else {
            panic!("it is a hello");
        };
        change(&mut hello);
        let message = wire::Message { kind: Some(wire::message::Kind::Hello(hello)) };
        Message::decode(prost::Message::encode_to_vec(&message).into()).map_err(|malformed| malformed.0)
    };
    assert!(hello_with(|_| {}).is_ok());
    let wrong: [fn(&mut wire::Hello); 7] = [
        |hello| hello.node = vec![1; 15],
        |hello| hello.boot = Vec::new(),
        |hello| hello.mesh = vec![1; 17],
        |hello| hello.purpose = 0,
        |hello| hello.purpose = 77,
        |hello| hello.version_high = 65_536,
        |hello| hello.name = core::iter::repeat_n('x', 256).collect(),
    ];
    for (place, change) in wrong.into_iter().enumerate() {
        assert!(hello_with(change).unwrap_err().starts_with("hello with"), "number {place}");
    }
    let later = Bytes::from_static(b"\xc2\x3e\x04next");
    for nothing in [Bytes::new(), later] {
        assert_eq!(Message::decode(nothing), Ok(Message::Unknown), "it says nothing to this version");
    }
    let too_many = vec![(GroupId(1), Term(1)); LEADS_PAGE_MAX + 1];
    for (page, pages, groups) in
        [(0, 0, vec![]), (2, 2, vec![]), (0, LEADS_PAGES_MAX + 1, vec![]), (0, 1, too_many)]
    {
        let beat = Beat { leads: Some(LeadsPage { page, pages, groups }), ..beat() };
        assert!(Beat::decode(beat.encode()).is_err(), "page {page} of {pages}");
    }
}

#[test]
fn a_full_page_fits_into_a_header_of_a_frame() {
    let groups = vec![(GroupId(u128::MAX), Term(u64::MAX)); LEADS_PAGE_MAX];
    let full = Beat { leads: Some(LeadsPage { page: 63, pages: 64, groups }), ..beat() };
    assert!(full.encode().len() < 60_000, "{} bytes", full.encode().len());
}

#[test]
fn random_bytes_never_panic() {
    let mut rng = Rng::stream([1; 32], Stream::Mesh);
    let samples: Vec<Bytes> = messages().iter().map(Message::encode).chain([beat().encode()]).collect();
    for round in 0..20_000 {
        let mut bytes = samples[round % samples.len()].to_vec();
        if bytes.is_empty() || round % 3 == 0 {
            bytes = (0..rng.below(60)).map(|_| rng.u64() as u8).collect();
        } else {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.u64() as u8;
        }
        let _ = Message::decode(bytes.clone().into());
        let _ = Beat::decode(bytes.clone().into());
    }
}
