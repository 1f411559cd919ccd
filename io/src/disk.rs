//! The two threads of the disk: one writes, in as few syncs as the disk's own pace allows; one loads.
//!
//! Whatever has queued up while a commit was under way becomes the next commit. Rows stay in memory until they are
//! committed, so that a load sees every write that was polled before it.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;
use wattle_core::id::Ticket;
use wattle_core::node::output::LoadId;
use wattle_core::payload::Payload;

use crate::event::Urgent;
use crate::space::{Meter, Reserve};
use crate::store::{Part, Reader, Store, StoreError};

#[cfg_attr(feature = "turmoil", path = "simulated/disk.rs")]
#[cfg_attr(not(feature = "turmoil"), path = "disk/threads.rs")]
mod threads;

use self::threads::{Helpers, Sender, channel};

/// Bytes that one commit takes at most (one row may exceed it): a commit must not keep later rows waiting for long.
const COMMIT_BYTES_MAX: usize = 32 << 20;
/// How often, at least, a commit under load leaves a mark.
const QUICK_EVERY: Duration = Duration::from_secs(5);
/// How long the disk is at rest before what is durable is marked, or trims are carried out without a write.
const IDLE: Duration = Duration::from_millis(250);
/// How often free space is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// Loads that share one view of the store.
const LOADS_TOGETHER: usize = 64;

#[derive(Debug)]
enum Order {
    Rows(Vec<(Ticket, Payload)>),
    Trim(Ticket),
}

/// The disk of one node. Dropping it waits until everything submitted is written.
#[derive(Debug)]
pub(crate) struct Disk {
    orders: Sender<Order>,
    loads: Sender<(LoadId, Part)>,
    pending: Arc<Pending>,
    /// Behind the senders: the helpers end when those are dropped.
    helpers: Helpers,
}

/// Rows that are not committed yet.
#[derive(Debug, Default)]
struct Pending {
    rows: Mutex<BTreeMap<Ticket, Payload>>,
    bytes: AtomicU64,
}

impl Pending {
    fn rows(&self) -> MutexGuard<'_, BTreeMap<Ticket, Payload>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    pub(crate) fn start(
        store: Store,
        meter: Meter,
        reserve: Arc<Reserve>,
        urgent: &UnboundedSender<Urgent>,
    ) -> io::Result<Self> {
        let (orders, ordered) = channel();
        let (loads, wanted) = channel();
        let pending = Arc::new(Pending::default());
        let mut disk = Self { orders, loads, pending: Arc::clone(&pending), helpers: Helpers::default() };
        let loader = Loader { reader: store.reader(), pending: Arc::clone(&pending), urgent: urgent.clone() };
        disk.helpers.load(loader, wanted, urgent)?;
        let writer = Writer {
            store,
            meter,
            reserve,
            pending,
            urgent: urgent.clone(),
            quick_at: Instant::now(),
            quick: false,
            measured: None,
            told: None,
        };
        disk.helpers.write(writer, ordered, urgent)?;
        Ok(disk)
    }

    /// Queues rows, in rising order of tickets.
    pub(crate) fn write(&self, rows: Vec<(Ticket, Payload)>) {
        let bytes: usize = rows.iter().map(|(_, row)| row.len()).sum();
        self.pending.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.pending.rows().extend(rows.iter().cloned());
        self.order(Order::Rows(rows));
    }

    pub(crate) fn trim(&self, below: Ticket) {
        self.order(Order::Trim(below));
    }

    fn order(&self, order: Order) {
        // Fails only after a failed write, of which the driver has been told.
        let _ = self.orders.send(order);
    }

    pub(crate) fn load(&self, load: LoadId, part: Part) {
        let _ = self.loads.send((load, part));
    }

    /// Bytes of rows that are not committed yet.
    pub(crate) fn pending_bytes(&self) -> u64 {
        self.pending.bytes.load(Ordering::Relaxed)
    }
}

struct Writer {
    store: Store,
    meter: Meter,
    reserve: Arc<Reserve>,
    pending: Arc<Pending>,
    urgent: UnboundedSender<Urgent>,
    /// When the last quick commit was made.
    quick_at: Instant,
    /// Whether the last commit was a quick one.
    quick: bool,
    measured: Option<Measured>,
    /// Free space as last told.
    told: Option<u64>,
}

/// What was true when free space was last measured.
#[derive(Clone, Copy)]
struct Measured {
    at: Instant,
    used: u64,
    reserve_missing: bool,
}

impl Writer {
    /// Carries out what was ordered; `None`: nothing was for a while. `false` if the disk is of no more use.
    fn turn(&mut self, first: Option<Order>, more: impl Iterator<Item = Order>) -> bool {
        let idle = first.is_none();
        let rows = self.gather(first, more);
        let quick = !self.quick && (idle || self.quick_at.elapsed() >= QUICK_EVERY);
        let due = !rows.is_empty() || (idle && (quick || self.store.has_trims()));
        !due || self.commit(&rows, quick)
    }

    /// Nothing more is ordered.
    fn finish(&mut self) {
        if !self.quick {
            self.commit(&[], true);
        }
    }

    /// Everything that is ready, up to the bound of one commit.
    fn gather(
        &mut self,
        first: Option<Order>,
        mut more: impl Iterator<Item = Order>,
    ) -> Vec<(Ticket, Payload)> {
        let mut gathered = Vec::new();
        let mut bytes = 0;
        let mut next = first;
        while let Some(order) = next {
            match order {
                Order::Trim(below) => self.store.trim(below),
                Order::Rows(rows) => {
                    bytes += rows.iter().map(|(_, row)| row.len()).sum::<usize>();
                    if gathered.is_empty() { gathered = rows } else { gathered.extend(rows) }
                }
            }
            next = if bytes < COMMIT_BYTES_MAX { more.next() } else { None };
        }
        gathered
    }

    /// `false` if the disk is of no more use.
    fn commit(&mut self, rows: &[(Ticket, Payload)], quick: bool) -> bool {
        if let Err(error) = self.store.commit(rows, quick) {
            return self.fail(&error);
        }
        self.quick = quick;
        if quick {
            self.quick_at = Instant::now();
        }
        if let Some((upto, _)) = rows.last() {
            let bytes: usize = rows.iter().map(|(_, row)| row.len()).sum();
            let mut pending = self.pending.rows();
            *pending = pending.split_off(&upto.next());
            drop(pending);
            self.pending.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
            let _ = self.urgent.send(Urgent::Persisted { upto: *upto });
        }
        true
    }

    fn fail(&self, error: &StoreError) -> bool {
        tracing::error!(%error, "a write failed");
        let _ = self.urgent.send(Urgent::WriteFailed { reason: error.to_string() });
        false
    }

    /// Measures free space when it is time to, and tells it when it changed notably.
    fn measure(&mut self) {
        let used = self.store.used() + self.pending.bytes.load(Ordering::Relaxed);
        let due = self.measured.is_none_or(|before| {
            before.at.elapsed() >= MEASURE_EVERY
                || self.is_notable(before.used.abs_diff(used))
                || (!before.reserve_missing && self.reserve.missing() > 0)
        });
        if !due {
            return;
        }
        if let Err(error) = self.reserve.take() {
            tracing::warn!(%error, "the reserve cannot be taken");
        }
        let reserve_missing = self.reserve.missing() > 0;
        self.measured = Some(Measured { at: Instant::now(), used, reserve_missing });
        let vacant = self.store.held().saturating_sub(used);
        match self.meter.measure(used, vacant, &self.reserve) {
            Ok(free) => {
                if self.told.is_none_or(|told| self.is_notable(told.abs_diff(free))) {
                    self.told = Some(free);
                    let _ = self.urgent.send(Urgent::Space { free });
                }
            }
            Err(error) => tracing::warn!(%error, "free space cannot be measured"),
        }
    }

    /// Whether free space that changed by so much is worth telling.
    fn is_notable(&self, change: u64) -> bool {
        change > self.told.unwrap_or(0) / 64
    }
}

/// What loads take.
struct Loader {
    reader: Reader,
    pending: Arc<Pending>,
    urgent: UnboundedSender<Urgent>,
}

impl Loader {
    /// Answers a load, and some of those that wait behind it.
    fn serve(&self, first: (LoadId, Part), more: impl Iterator<Item = (LoadId, Part)>) {
        let mut batch = vec![first];
        batch.extend(more.take(LOADS_TOGETHER - 1));
        for (load, bytes) in answer_loads(&self.reader, &self.pending, batch) {
            let _ = self.urgent.send(Urgent::Loaded { load, bytes });
        }
    }
}

fn answer_loads(
    reader: &Reader,
    pending: &Pending,
    batch: Vec<(LoadId, Part)>,
) -> Vec<(LoadId, Option<Bytes>)> {
    let mut answers = Vec::with_capacity(batch.len());
    let mut committed = Vec::new();
    {
        // Before the store's view is taken: a row leaves memory only after it is in the store.
        let rows = pending.rows();
        for (load, part) in batch {
            match rows.get(&part.row) {
                Some(row) => answers.push((load, row.slice(part.offset as usize, part.len as usize))),
                None => committed.push((load, part)),
            }
        }
    }
    if committed.is_empty() {
        return answers;
    }
    let parts: Vec<Part> = committed.iter().map(|(_, part)| *part).collect();
    let loaded = reader.load(&parts).unwrap_or_else(|error| {
        tracing::error!(%error, "rows cannot be read");
        vec![None; parts.len()]
    });
    answers.extend(committed.into_iter().map(|(load, _)| load).zip(loaded));
    answers
}

#[cfg(test)]
mod tests;
