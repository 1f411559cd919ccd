//! `wattle mesh key`: the join key of the mesh itself.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use wattle_proto::api::RotateJoinKeyRequest;

use super::commands::Desk;
use crate::client::config::once;
use crate::client::{Failure, connect};

#[derive(Debug, Subcommand)]
pub(super) enum MeshKeyCommand {
    /// Give the mesh a new join key, and print what lets others in with it
    ///
    /// The key before is good no longer. The text names up to four members that others can dial, the asked one first, and any of them lets a node
    /// in. No member keeps the key, only its salted hash: whoever loses the text makes a new one.
    Rotate(RotateArgs),
}

#[derive(Args, Debug)]
pub(super) struct RotateArgs {
    /// How long it is good, such as 90s, 30m, 12h or 7d; without it, until the next one
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    lifetime: Option<Duration>,
    /// How many nodes it admits; without it, any number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    uses: Option<u32>,
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: write 90s, 30m, 12h or 7d");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let seconds = number.checked_mul(seconds).filter(|seconds| *seconds > 0).ok_or_else(wrong)?;
    Ok(Duration::from_secs(seconds))
}

impl Desk {
    pub(super) async fn mesh_key(&self, command: MeshKeyCommand) -> Result<(), Failure> {
        let MeshKeyCommand::Rotate(RotateArgs { lifetime, uses }) = command;
        let request =
            RotateJoinKeyRequest { lifetime_seconds: lifetime.map(|lifetime| lifetime.as_secs()), uses };
        let rotated = once(&self.finder, async |client| {
            let peer = client.peer.clone();
            connect::answer(&peer, client.mesh.rotate_join_key(request)).await
        })
        .await?;
        self.output.print(
            || rotated.text.clone(),
            || {
                let key = rotated.key.unwrap_or_default();
                json!({
                    "text": rotated.text, "version": key.version, "expires_millis": key.expires_millis, "uses": key.uses,
                })
            },
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_write_them() {
        assert_eq!(lifetime("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(lifetime("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for wrong in ["", "s", "0m", "12", "-3h", "1w", "99999999999999999d", "7ä"] {
            assert!(lifetime(wrong).is_err(), "{wrong:?}");
        }
    }
}
