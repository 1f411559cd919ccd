//! Opening streams: one after another, and all at once.

use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::Instant;
use wattle_proto::api::StreamHandle;

use super::mesh::Mesh;
use super::publisher::histogram;
use crate::client::{Client, Failure};

/// Calls over one connection: a node allows about twice as many.
const CALLS: usize = 500;

/// How long it took.
pub(super) struct Opened {
    /// Microseconds for each of those that were opened one after another.
    pub(super) each: Histogram<u64>,
    /// How many were opened at once, and how long until the last was open.
    pub(super) at_once: usize,
    pub(super) took: Duration,
    /// The load average, and the middle sync of the disk in front of it.
    pub(super) load: Option<f64>,
    pub(super) sync: Duration,
}

/// Opens up to `most` streams, one when the one before is open, for so long.
pub(super) async fn in_turn(
    mesh: &mut Mesh,
    prefix: &str,
    most: u32,
    limit: Duration,
) -> Result<Histogram<u64>, Failure> {
    let (begun, mut each) = (Instant::now(), histogram());
    for number in 0..most {
        let asked = Instant::now();
        mesh.open(format!("{prefix}-{number}")).await?;
        each.saturating_record(asked.elapsed().as_micros() as u64);
        if begun.elapsed() > limit {
            break;
        }
    }
    Ok(each)
}

/// Opens so many streams without waiting for any.
pub(super) async fn at_once(
    mesh: &mut Mesh,
    prefix: &str,
    count: u32,
) -> Result<(Vec<StreamHandle>, Duration), Failure> {
    let requests: Vec<_> = (0..count).map(|number| mesh.opening(format!("{prefix}-{number}"))).collect();
    let peer = mesh.source().peer.clone();
    let mut clients = Vec::new();
    for _ in requests.chunks(CALLS) {
        clients.push(Client::connect(peer.clone()).await?);
    }
    let begun = Instant::now();
    let mut opening = JoinSet::new();
    for (at, request) in requests.into_iter().enumerate() {
        let mut client = clients[at / CALLS].clone();
        opening.spawn(async move { client.open_stream(request).await });
    }
    let mut handles = Vec::with_capacity(opening.len());
    while let Some(opened) = opening.join_next().await {
        handles.push(opened.map_err(|error| Failure::Failed(error.to_string()))??);
    }
    Ok((handles, begun.elapsed()))
}
