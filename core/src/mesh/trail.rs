//! The log that survivors go on from, as it is signed, sent and stored.

use alloc::vec::Vec;

use wattle_proto::mesh as proto;

use super::recovery::{number, place_in, place_out};
use super::wire::Malformed;
use crate::id::{LogIndex, Term};
use crate::recovery::{LogTrail, TRAIL_TERMS_MAX};

pub(super) fn trail_out(trail: &LogTrail) -> proto::LogTrail {
    proto::LogTrail {
        end: Some(place_out(&trail.end)),
        certain: trail.certain.0,
        terms: trail.terms.iter().map(|(term, _)| term.0).collect(),
        firsts: trail.terms.iter().map(|(_, first)| first.0).collect(),
    }
}

pub(super) fn trail_in(trail: Option<proto::LogTrail>) -> Result<LogTrail, Malformed> {
    let trail = trail.ok_or(Malformed("a recovery without a log to go on from"))?;
    if trail.terms.len() != trail.firsts.len() || trail.terms.len() > TRAIL_TERMS_MAX {
        return Err(Malformed("the terms of a log"));
    }
    let terms = trail.terms.into_iter().zip(trail.firsts);
    let terms = terms.map(|(term, first)| Ok((Term(number(term)?), LogIndex(number(first)?))));
    Ok(LogTrail {
        end: place_in(trail.end)?,
        certain: LogIndex(number(trail.certain)?),
        terms: terms.collect::<Result<_, _>>()?,
    })
}

/// What is signed of it.
pub(super) fn trail_bytes(trail: &LogTrail) -> Vec<u8> {
    let LogTrail { end, certain, terms } = trail;
    let terms = terms.iter().flat_map(|(term, first)| [term.0, first.0]);
    let numbers = [end.index.0, end.term.0, certain.0].into_iter().chain(terms);
    let mut bytes: Vec<u8> = numbers.flat_map(u64::to_be_bytes).collect();
    bytes.extend_from_slice(&end.chain.0);
    bytes
}
