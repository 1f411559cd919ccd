//! Every message family: a typed message or an error, never a panic.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wattle_core::{link, mesh, raft, route, stream};

fuzz_target!(|input: (u8, Vec<u8>, Vec<u8>)| {
    let (family, header, payload) = input;
    let (header, payload) = (Bytes::from(header), Bytes::from(payload));
    match family % 7 {
        0 => drop(link::Message::decode(header)),
        1 => drop(link::Beat::decode(header)),
        2 => drop(route::Message::decode(header)),
        3 => drop(raft::Message::decode(header)),
        4 => drop(mesh::Message::decode(&header)),
        5 => drop(mesh::JoinMessage::decode(&header)),
        _ => drop(stream::Message::decode(header, payload)),
    }
});
