//! `wattle mesh recover`.

use clap::Args;
use wattle_proto::api::RecoverMeshRequest;

use super::commands::Desk;
use crate::client::{Client, Failure, connect};
use crate::output::recovery;

#[derive(Args, Debug)]
pub(super) struct RecoverArgs {
    /// Those who are lost: names or ids, separated by commas
    #[arg(long, value_name = "NAME", value_delimiter = ',', required_unless_present = "withdraw")]
    lost: Vec<String>,
    /// Do it, instead of saying what would be done
    #[arg(long)]
    yes: bool,
    /// Take back a recovery that did not come to its end: survivors go on as before it
    #[arg(long, conflicts_with_all = ["lost", "yes"])]
    withdraw: bool,
}

impl Desk {
    pub(super) async fn recover(&self, arguments: RecoverArgs) -> Result<(), Failure> {
        let RecoverArgs { lost, yes, withdraw } = arguments;
        let peer = self.finder.only().await?;
        let mut client = Client::connect(peer.clone()).await?;
        let request = RecoverMeshRequest { lost: lost.clone(), confirmed: yes, withdraw };
        let answer = connect::answer(&peer, client.mesh.recover_mesh(request)).await?;
        let Some(what) = answer.what else {
            return Err(Failure::Failed(format!("{peer} answered something that this version cannot read")));
        };
        self.output.print(|| recovery::text(&what, &lost), || recovery::json(&what));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: RecoverArgs,
    }

    #[test]
    fn somebody_is_named_lost_or_a_recovery_is_taken_back() {
        let parse = |arguments: &[&str]| Line::try_parse_from([&["recover"], arguments].concat());
        let RecoverArgs { lost, yes, withdraw } = parse(&["--lost", "b,c", "--lost", "d"]).unwrap().arguments;
        assert_eq!(
            (lost, yes, withdraw),
            (vec!["b".to_owned(), "c".to_owned(), "d".to_owned()], false, false)
        );
        assert!(parse(&["--withdraw"]).unwrap().arguments.withdraw);
        assert!(parse(&[]).unwrap_err().to_string().contains("--lost"));
        assert!(parse(&["--withdraw", "--lost", "b"]).is_err());
        assert!(parse(&["--withdraw", "--yes"]).is_err());
    }
}
