//! The disk's two helpers as tasks of a simulated host. A commit takes a moment of simulated time, in which a crash loses it.

use std::io;
use std::iter::from_fn;
use std::time::Duration;

pub(super) use tokio::sync::mpsc::{
    UnboundedReceiver as Receiver, UnboundedSender as Sender, unbounded_channel as channel,
};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{sleep, timeout};
use wattle_core::node::output::LoadId;

use super::{IDLE, Loader, Order, Writer};
use crate::event::Urgent;
use crate::store::Part;

/// How long rows wait before they are committed.
const COMMIT_TAKES: Duration = Duration::from_millis(2);

/// The tasks. Dropping this ends them.
#[derive(Debug, Default)]
pub(super) struct Helpers(Vec<AbortHandle>);

#[expect(clippy::unnecessary_wraps, reason = "threads may fail to start")]
impl Helpers {
    /// Serves loads until their sender is gone.
    pub(super) fn load(
        &mut self,
        loader: Loader,
        mut loads: Receiver<(LoadId, Part)>,
        _: &Sender<Urgent>,
    ) -> io::Result<()> {
        let body = async move {
            while let Some(first) = loads.recv().await {
                loader.serve(first, from_fn(|| loads.try_recv().ok()));
            }
        };
        self.0.push(spawn_local(body).abort_handle());
        Ok(())
    }

    /// Carries out orders until their sender is gone, or a write fails.
    pub(super) fn write(
        &mut self,
        mut writer: Writer,
        mut orders: Receiver<Order>,
        _: &Sender<Urgent>,
    ) -> io::Result<()> {
        let body = async move {
            loop {
                writer.measure();
                let first = match timeout(IDLE, orders.recv()).await {
                    Ok(Some(order)) => Some(order),
                    Ok(None) => return writer.finish(),
                    Err(_) => None,
                };
                sleep(COMMIT_TAKES).await;
                if !writer.turn(first, from_fn(|| orders.try_recv().ok())) {
                    return;
                }
            }
        };
        self.0.push(spawn_local(body).abort_handle());
        Ok(())
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}
