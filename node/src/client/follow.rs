//! Asking until the right node answers.

use super::connect::Client;
use super::failure::Failure;
use super::find::{Finder, Peer};

/// How often a node may point to another. Two nodes that disagree about who is right must not send us around for ever.
const POINTERS_MAX: usize = 4;

/// Asks the first of `peers` that can answer, and goes where it points. Gives the answer and the node that gave it.
///
/// # Errors
/// What the first node said, if none could answer.
pub async fn follow<T>(
    finder: &Finder,
    peers: Vec<Peer>,
    mut ask: impl AsyncFnMut(&mut Client) -> Result<T, Failure>,
) -> Result<(T, Client), Failure> {
    let mut first_failure = None;
    for peer in peers {
        match follow_from(finder, peer, &mut ask).await {
            Ok(found) => return Ok(found),
            Err(failure) if failure.may_pass() => {
                // A refusal says more than silence.
                let keep = matches!(
                    (&first_failure, &failure),
                    (None, _) | (Some(Failure::Unreachable(_)), Failure::Refused { .. })
                );
                if keep {
                    first_failure = Some(failure);
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    Err(first_failure.unwrap_or_else(|| Failure::Unreachable("there is no node to ask".to_owned())))
}

async fn follow_from<T>(
    finder: &Finder,
    mut peer: Peer,
    ask: &mut impl AsyncFnMut(&mut Client) -> Result<T, Failure>,
) -> Result<(T, Client), Failure> {
    let mut pointers = 0;
    loop {
        let mut client = Client::connect(peer).await?;
        let failure = match ask(&mut client).await {
            Ok(answer) => return Ok((answer, client)),
            Err(failure) => failure,
        };
        match &failure {
            Failure::Refused { detail, .. } if pointers < POINTERS_MAX => match &detail.wrong_node {
                Some(wrong) => peer = finder.told(wrong)?,
                None => return Err(failure),
            },
            _ => return Err(failure),
        }
        pointers += 1;
    }
}
