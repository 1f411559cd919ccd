//! Agreed configuration, as the command line asks for it.

use std::time::Duration;

use wattle_proto::api::{Reason, WatchConfigRequest, WatchConfigResponse};

use super::connect::Client;
use super::failure::Failure;
use super::find::Finder;
use super::pace::Pause;
use crate::stop::Stop;

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Asks for a change at the first node that belongs to a mesh, and never at two: what one of them was asked may be done though it gave no
/// answer, and asked for again it would be done twice.
///
/// # Errors
/// What the node said, or that there is none.
pub async fn once<T>(
    finder: &Finder,
    mut ask: impl AsyncFnMut(&mut Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut passed = None;
    for peer in finder.peers(None).await? {
        let mut client = match Client::connect(peer).await {
            Ok(client) => client,
            Err(failure) => {
                passed = passed.or(Some(failure));
                continue;
            }
        };
        match ask(&mut client).await {
            Err(failure) if failure.reason() == Some(Reason::NotMember) => passed = Some(failure),
            Err(failure) => return Err(unknown(failure)),
            done => return done,
        }
    }
    Err(passed.unwrap_or_else(|| Failure::Unreachable("there is no node to ask".to_owned())))
}

/// Says of a change that was not answered that it may be done all the same.
fn unknown(failure: Failure) -> Failure {
    const MAYBE: &str = "it may have been done, or be done yet: read what is there before you ask again";
    match failure {
        Failure::Unreachable(what) => Failure::Unreachable(format!("{what}; {MAYBE}")),
        Failure::Refused { message, mut detail } if detail.reason() == Reason::NoQuorum => {
            detail.hint = format!("{}; {MAYBE}", detail.hint);
            Failure::Refused { message, detail }
        }
        other => other,
    }
}

/// What a watch tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// What was written.
    Part(WatchConfigResponse),
    /// The connection broke; it looks for a node again.
    Reconnects(String),
}

/// Watches keys that begin so, at one node after the other, until `tell` says that it is enough or `stop` that it is over.
///
/// # Errors
/// When no node can be asked at first, or one refuses.
pub async fn watch(
    finder: &Finder,
    mut request: WatchConfigRequest,
    mut stop: Stop,
    mut tell: impl FnMut(Told) -> bool,
) -> Result<(), Failure> {
    let mut pause = Pause::between(PAUSE_MIN, PAUSE_MAX);
    let mut begun = false;
    loop {
        let mut heard = false;
        let end = tokio::select! {
            end = part(finder, &mut request, &mut tell, &mut heard) => end,
            () = stop.asked() => return Ok(()),
        };
        if heard {
            begun = true;
            pause.reset();
        }
        match end {
            Ok(()) => return Ok(()),
            Err(failure) if begun && failure.may_pass() => {
                if !tell(Told::Reconnects(failure.to_string())) {
                    return Ok(());
                }
            }
            Err(failure) => return Err(failure),
        }
        tokio::select! {
            () = tokio::time::sleep(pause.take()) => {}
            () = stop.asked() => return Ok(()),
        }
    }
}

/// Watches at the first node that answers, until the connection breaks or it is enough.
async fn part(
    finder: &Finder,
    request: &mut WatchConfigRequest,
    tell: &mut impl FnMut(Told) -> bool,
    heard: &mut bool,
) -> Result<(), Failure> {
    let mut last = Failure::Unreachable("there is no node to ask".to_owned());
    for peer in finder.peers(None).await? {
        let mut client = match Client::connect(peer).await {
            Ok(client) => client,
            Err(failure) => {
                last = failure;
                continue;
            }
        };
        let mut parts = client.mesh.watch_config(request.clone()).await?.into_inner();
        loop {
            match parts.message().await.map_err(Failure::from) {
                Ok(Some(part)) => {
                    *heard = true;
                    // At another node it goes on from here.
                    request.after = Some(part.upto);
                    if !tell(Told::Part(part)) {
                        return Ok(());
                    }
                }
                Ok(None) => return Err(Failure::Unreachable("the node ended the call".to_owned())),
                Err(failure) if failure.reason() == Some(Reason::NotMember) => {
                    last = failure;
                    break;
                }
                Err(failure) => return Err(failure),
            }
        }
    }
    Err(last)
}
