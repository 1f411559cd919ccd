//! `wattle run`: one node in the foreground.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::address::Directory;
use crate::client::Failure;
use crate::output::Output;
use crate::serve::Serving;
use crate::settings::Settings;
use crate::stop::Stop;

/// How long a node that exists twice goes on answering with why it takes no part.
const DUPLICATE_LINGER: Duration = Duration::from_secs(1);

/// Runs a node until it is asked to stop.
///
/// # Errors
/// When the settings are wrong, the node cannot start, or it stops by itself.
pub async fn run(
    config: Option<&Path>,
    only_copy: bool,
    directory: &Directory,
    output: Output,
) -> Result<(), Failure> {
    let settings = Settings::load(config).map_err(|mistakes| Failure::Usage(mistakes.to_string()))?;
    let mut stop =
        Stop::on_signals().map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")))?;
    let serving = Serving::start(
        for_io(&settings, only_copy),
        settings.handlers.clone(),
        settings.api_listen,
        directory,
    )
    .await
    .map_err(Failure::Failed)?;
    let listening: Vec<String> = serving.running.listening().iter().map(ToString::to_string).collect();
    let address = &serving.address;
    output.print(
        || {
            let mesh = if listening.is_empty() {
                "only dials out".to_owned()
            } else {
                format!("accepts nodes on {}", listening.join(", "))
            };
            format!(
                "node {} ({}) runs: data in {}, {mesh}, API on {}",
                address.name,
                address.id,
                settings.data_dir.display(),
                address.api
            )
        },
        || {
            json!({
                "name": address.name, "id": address.id, "data_dir": settings.data_dir, "mesh": listening,
                "api": address.api, "token_file": address.token, "pid": address.pid,
            })
        },
    );
    tokio::select! {
        () = stop.asked() => {
            serving.stop().await;
            Ok(())
        }
        failure = serving.barred() => {
            // What proves it leaves, and clients that ask meanwhile are told.
            tokio::time::sleep(DUPLICATE_LINGER).await;
            serving.stop().await;
            Err(failure)
        }
        reason = serving.stopped() => {
            serving.stop().await;
            Err(Failure::Failed(format!("the node {reason}")))
        }
    }
}

/// What the settings mean to the node.
fn for_io(settings: &Settings, only_copy: bool) -> wattle_io::Settings {
    wattle_io::Settings {
        name: settings.name.clone(),
        listen: settings.listen.clone(),
        advertise: settings.advertise.clone(),
        dial: settings.dial.clone(),
        space_limit: settings.space_limit,
        reserve_bytes: settings.reserve_bytes,
        log_memory: settings.log_memory,
        outbox_bytes: settings.outbox_bytes,
        outbox_memory: settings.outbox_memory,
        region: settings.region.clone(),
        only_copy,
        ..wattle_io::Settings::new(&settings.data_dir)
    }
}
