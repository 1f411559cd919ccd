//! Publishing a file as one message.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use wattle_core::id::WriterId;

use super::PublishArgs;
use super::commands::Desk;
use crate::client::Failure;
use crate::client::publish::whole::{WholePlan, WholeTold, publish_whole};
use crate::client::publish::{Grpc, level_name, record};
use crate::output::Output;

/// How often a terminal is shown how far it is, per second.
const DRAWN_PER_SECOND: u8 = 10;

impl Desk {
    pub(super) async fn publish_whole(&self, arguments: PublishArgs) -> Result<(), Failure> {
        let PublishArgs { stream, of, whole, writer, wait, patience, .. } = arguments;
        let tenant = of.tenant();
        let writer = writer
            .map(|text| WriterId::parse(&text).unwrap_or_else(|| record::writer_of_name(&stream, &text)));
        let path = whole.unwrap_or_default();
        let plan = WholePlan { stream, tenant: tenant.clone(), writer, path, wait: wait.into(), patience };
        let bar = self.bar();
        let begun = std::time::Instant::now();
        let mut route = Grpc::new(&self.finder).of(tenant);
        let summary = publish_whole(&mut route, &plan, |told| match told {
            WholeTold::Staged(upto, total) => {
                bar.set_length(total);
                bar.set_position(upto);
            }
            WholeTold::Waits(why) => bar.suspend(|| self.output.remark(&format!("waiting: {why}"))),
            WholeTold::Reconnects(why) => {
                bar.suspend(|| self.output.remark(&format!("{why}; connecting again")))
            }
        })
        .await;
        bar.finish_and_clear();
        let summary = summary?;
        let seconds = begun.elapsed().as_secs_f64();
        let (stream, level) = (&plan.stream, level_name(plan.wait));
        let digest = blake3::Hash::from(summary.digest).to_hex();
        self.output.print(
            || {
                format!(
                    "{stream}: {} bytes {level} as message {}, {} already there (writer {}, {seconds:.2} s)",
                    summary.bytes, summary.sequence, summary.already_there, summary.writer
                )
            },
            || {
                json!({
                    "stream": stream, "writer": summary.writer.to_string(), "level": level, "bytes": summary.bytes,
                    "already_there": summary.already_there, "sequence": summary.sequence, "digest": digest.as_str(),
                    "seconds": seconds,
                })
            },
        );
        Ok(())
    }

    /// How far it is, on a terminal.
    fn bar(&self) -> ProgressBar {
        if !matches!(self.output, Output::Text) || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar =
            ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(DRAWN_PER_SECOND));
        let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar
    }
}
