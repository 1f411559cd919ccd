//! Requests that wait at the source: counted, so that they are bounded, and found again when nobody waits for the answer any more.
//!
//! Whoever waits for more than *accepted* may wait as long as the target is away, so such requests have a budget of their own: they
//! never keep out a publisher that waits only for *accepted*.

use alloc::vec::Vec;

use super::super::common::Common;
use super::super::config::Config;
use super::super::member::Stream;
use super::Waiter;
use crate::id::{RequestId, StreamInstance, WriterId};
use crate::node::command::Waited;
use crate::rare;

/// How many wait, a request once for each batch that holds messages of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    /// For no more than *accepted*.
    accepted: usize,
    /// For more: another level, or the end of a writer.
    later: usize,
}

impl Waiting {
    fn of(&mut self, wait: Waited) -> &mut usize {
        if wait == Waited::Accepted { &mut self.accepted } else { &mut self.later }
    }

    /// Whether no more may wait that long.
    pub(super) fn full(&self, config: &Config, wait: Waited) -> bool {
        match wait {
            Waited::Accepted => self.accepted >= config.waiting_requests,
            _ => self.later >= config.waiting_later,
        }
    }
}

/// A request that waits at a source of this node.
#[derive(Clone, Copy, Debug)]
pub(in crate::stream) struct Asker {
    pub(in crate::stream) instance: StreamInstance,
    writer: WriterId,
    /// The messages it waits for lie within these writer sequences.
    first: u64,
    last: u64,
    /// How often it is counted.
    times: usize,
}

impl Stream {
    /// Counts a publisher that waits for one part of what it asked for.
    pub(super) fn waits(&mut self, common: &mut Common, waiter: &Waiter) {
        *self.source.waiting.of(waiter.wait) += 1;
        let Waiter { request, writer, first, last, .. } = *waiter;
        let asker = Asker { instance: self.instance, writer, first, last, times: 0 };
        let asker = common.askers.entry(request).or_insert(asker);
        (asker.first, asker.last) = (asker.first.min(first), asker.last.max(last));
        asker.times += 1;
    }

    /// It waits for that part no more.
    pub(in crate::stream) fn waited(&mut self, common: &mut Common, waiter: &Waiter) {
        *self.source.waiting.of(waiter.wait) -= 1;
        answered(common, waiter.request);
    }

    /// Counts a request that waits for the end of a writer.
    pub(super) fn waits_for_closing(&mut self, common: &mut Common, request: RequestId, writer: WriterId) {
        self.source.waiting.later += 1;
        common.askers.insert(request, Asker { instance: self.instance, writer, first: 0, last: 0, times: 1 });
    }

    /// The writer is closed.
    pub(super) fn waited_for_closing(&mut self, common: &mut Common, request: RequestId) {
        self.source.waiting.later -= 1;
        answered(common, request);
    }

    /// Nobody waits for anything any more: all were told so.
    pub(super) fn nobody_waits(&mut self, common: &mut Common, requests: &[RequestId]) {
        self.source.waiting = Waiting::default();
        for request in requests {
            common.askers.remove(request);
        }
    }

    /// Nobody waits for the answers to this request any more. What it asked for is done all the same.
    pub(in crate::stream) fn forget(&mut self, common: &mut Common, request: RequestId, asker: &Asker) {
        let slots = self.store.find(asker.writer, asker.first, asker.last);
        rare!(PublisherGaveUp);
        let mut left = asker.times;
        left -= self.forget_in(common, request, slots.into_iter().map(|(slot, _, _)| slot));
        left -= self.forget_unformed(common, request);
        if let Some((asked, _)) = self.source.closing.get_mut(&asker.writer) {
            let before = asked.len();
            asked.retain(|&other| other != request);
            let gone = before - asked.len();
            left -= gone;
            (0..gone).for_each(|_| self.waited_for_closing(common, request));
        }
        if left > 0 {
            // It waits at a batch of which the log made void what it waits for.
            let slots: Vec<u64> = self.store.iter().map(|(slot, _)| slot).collect();
            self.forget_in(common, request, slots.into_iter());
        }
    }

    /// Returns how many waiters went.
    fn forget_in(
        &mut self,
        common: &mut Common,
        request: RequestId,
        slots: impl Iterator<Item = u64>,
    ) -> usize {
        let mut gone: Vec<Waiter> = Vec::new();
        for slot in slots {
            let Some(kept) = self.store.get_mut(slot) else { continue };
            gone.extend(kept.waiters.extract_if(.., |waiter| waiter.request == request));
        }
        gone.iter().for_each(|waiter| self.waited(common, waiter));
        gone.len()
    }

    fn forget_unformed(&mut self, common: &mut Common, request: RequestId) -> usize {
        let mut gone: Vec<Waiter> = Vec::new();
        for item in self.source.forming.iter_mut().chain(self.source.queue.iter_mut()) {
            gone.extend(item.waiters.extract_if(.., |waiter| waiter.request == request));
        }
        gone.extend(self.source.staging.forget(request));
        gone.iter().for_each(|waiter| self.waited(common, waiter));
        gone.len()
    }

    /// Panics if the counts are not what they count.
    pub(in crate::stream) fn check_waiting(&self) {
        let mut found = Waiting::default();
        let unformed = self.source.forming.iter().chain(&self.source.queue).flat_map(|item| &item.waiters);
        for waiter in self.store.iter().flat_map(|(_, kept)| &kept.waiters).chain(unformed) {
            *found.of(waiter.wait) += 1;
        }
        for waiter in self.source.staging.waiters() {
            *found.of(waiter.wait) += 1;
        }
        found.later += self.source.closing.values().map(|(asked, _)| asked.len()).sum::<usize>();
        assert_eq!(found, self.source.waiting, "S12: who waits at {} is miscounted", self.instance);
    }
}

fn answered(common: &mut Common, request: RequestId) {
    if let Some(asker) = common.askers.get_mut(&request) {
        asker.times -= 1;
        if asker.times == 0 {
            common.askers.remove(&request);
        }
    }
}
