//! The disk's two threads.

use std::io;
use std::sync::mpsc::RecvTimeoutError;
pub(super) use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use tokio::sync::mpsc::UnboundedSender;
use wattle_core::node::output::LoadId;

use super::{IDLE, Loader, Order, Writer};
use crate::event::Urgent;
use crate::helper;
use crate::store::Part;

/// The threads. Dropping this waits until they have ended.
#[derive(Debug, Default)]
pub(super) struct Helpers(Vec<JoinHandle<()>>);

impl Helpers {
    /// Serves loads until their sender is gone.
    pub(super) fn load(
        &mut self,
        loader: Loader,
        loads: Receiver<(LoadId, Part)>,
        urgent: &UnboundedSender<Urgent>,
    ) -> io::Result<()> {
        let body = move || {
            while let Ok(first) = loads.recv() {
                loader.serve(first, loads.try_iter());
            }
        };
        self.0.push(helper::spawn("wattle-load".to_owned(), urgent.clone(), body)?);
        Ok(())
    }

    /// Carries out orders until their sender is gone, or a write fails.
    pub(super) fn write(
        &mut self,
        mut writer: Writer,
        orders: Receiver<Order>,
        urgent: &UnboundedSender<Urgent>,
    ) -> io::Result<()> {
        let body = move || {
            loop {
                writer.measure();
                let first = match orders.recv_timeout(IDLE) {
                    Ok(order) => Some(order),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return writer.finish(),
                };
                if !writer.turn(first, orders.try_iter()) {
                    return;
                }
            }
        };
        self.0.push(helper::spawn("wattle-disk".to_owned(), urgent.clone(), body)?);
        Ok(())
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        for thread in self.0.drain(..) {
            // One that panicked has told the driver so.
            let _ = thread.join();
        }
    }
}
