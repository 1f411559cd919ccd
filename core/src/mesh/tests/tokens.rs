use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::digest::Digest;
use crate::id::{MeshId, NodeId};
use crate::mesh::token::{JoinToken, Secret, TokenError};
use crate::time::Wall;

fn token() -> JoinToken {
    JoinToken {
        mesh: MeshId(7),
        node: NodeId(8),
        key_hash: Digest::of_bytes(b"key"),
        addresses: Vec::from(["a.example:7000".into(), "[::1]:7000".into()]),
        secret: Secret([9; 32]),
        expiry: Wall(1_700_000_000_000),
        mesh_key: false,
        others: Vec::new(),
    }
}

#[test]
fn text_survives_a_round_trip_and_forgives_case_space_and_lookalikes() {
    let text = token().to_text();
    assert_eq!(JoinToken::parse(&text), Ok(token()));
    let (head, tail) = text.split_at(40);
    let sloppy = format!("  {}\n {} ", head.to_lowercase(), tail.replace('0', "o").replace('1', "l"));
    assert_eq!(JoinToken::parse(&sloppy), Ok(token()));
}

#[test]
fn every_single_slip_is_recognised() {
    let text = token().to_text();
    for place in "wattle1.".len()..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[place] = if bytes[place] == b'7' { b'8' } else { b'7' };
        let slipped = String::from_utf8(bytes).unwrap();
        assert_eq!(JoinToken::parse(&slipped), Err(TokenError::Checksum), "at {place}");
        assert_eq!(JoinToken::parse(&text[..place]), Err(TokenError::Checksum), "cut at {place}");
    }
}

#[test]
fn errors_say_what_is_wrong() {
    assert_eq!(JoinToken::parse("hello"), Err(TokenError::NotAToken));
    assert_eq!(JoinToken::parse("wattle2.ABC"), Err(TokenError::OtherVersion("wattle2".into())));
    assert_eq!(JoinToken::parse("wattle1.AB!C"), Err(TokenError::Character { at: 11, what: '!' }));
    assert_eq!(JoinToken::parse("wattle1."), Err(TokenError::Checksum));
    assert!(format!("{:?}", token()).contains("Secret(..)"), "secrets are not printed");
}
