//! The ledger of one stream: everything its publishers sent and were told, and what of it was delivered (X2, X3, X4, X9, X10, X29).

use std::collections::{BTreeMap, BTreeSet};

use wattle_core::id::{GroupId, StreamInstance, WriterId};
use wattle_core::node::command::{Receipt, Waited};
use wattle_core::node::output::Delivered;

use super::{Checked, Failure, ensure};
use crate::content::{self, Name};
use crate::event::Time;
use crate::plan::StreamPlan;

/// One call of a publisher, as far as receipts are judged by it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The first message.
    pub first: u64,
    /// The last message.
    pub last: u64,
    /// How far it waits.
    pub wait: Waited,
    /// The levels told so far, by the first message of the run they were told for.
    pub told: Vec<(u64, Waited)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Message {
    len: u32,
    version: u8,
    /// In how many calls it was.
    sent: u32,
    /// The highest level told, if any.
    level: Option<Waited>,
    told_at: Time,
    /// Its sequence, told as final or seen by a handler.
    sequence: Option<u64>,
    /// To which targets it was delivered, a bit for each.
    delivered: u64,
    /// Which ends hold it on their disks, a bit for each: the source's is the lowest.
    held: u64,
    /// Whose disks held it, and lost something since: of these it is not known whether they do.
    lost: u64,
    /// Whether most members held it at some moment.
    safe: bool,
    /// How many sequences it takes.
    parts: u64,
}

#[derive(Debug)]
struct Writer {
    id: WriterId,
    messages: Vec<Message>,
    /// How many were delivered to each target: always the first so many.
    delivered: Vec<u64>,
}

/// What is known of a stream from outside.
#[derive(Debug)]
pub struct StreamLedger {
    index: usize,
    instance: Option<StreamInstance>,
    writers: Vec<Writer>,
    /// Which message bears a sequence (from 1), where that was told as final or seen.
    sequences: Vec<Option<(usize, u64)>>,
    /// Sequences of parts that are not the last of their message, or that were left behind.
    inner: BTreeSet<u64>,
    /// The last sequence delivered to each target.
    delivered: Vec<u64>,
    /// The highest sequence for which each target's handler reported success.
    reported: Vec<u64>,
    /// By whom a message must be processed; by its only target if there is no plan.
    plan: Option<StreamPlan>,
    /// Nothing is known of what lies on disks.
    blind: bool,
    /// Whose disks lost something, and did not come to hold anything since.
    forgetful: u64,
    source_rolled_back: bool,
    /// The last message in front of its end, once it was sealed without its source.
    end: Option<u64>,
    /// Messages, by writer and number, that were told accepted and are void since.
    void: BTreeSet<(usize, u64)>,
    /// Ends that were named lost when it was sealed, a bit for each as in [`Message::held`].
    lost: u64,
    /// Ends that an operator named lost, whether or not anybody heard of that.
    named: u64,
    /// The last message in front of the seal, if its source is left.
    source_sealed: Option<u64>,
    /// Targets that an operator wants to be taken out, and those that were, a bit for each as in [`Message::held`].
    leaving: u64,
    out: u64,
    /// All ends know that one of these is on its way out.
    leaving_known: bool,
    /// The disk of an end lost what it had reported safe.
    disk_lost: bool,
    /// What targets that are to be drained have to process at least, by their places.
    drains: BTreeMap<usize, u64>,
    /// The last message that some node let go of, though the retention wants it, and the last that went for want of room.
    let_go: u64,
    short: u64,
    /// Targets that are yet to come, a bit for each as in [`Message::held`].
    awaited: u64,
    /// Of those that came later, by their places.
    late: BTreeMap<usize, members::Late>,
    /// What was told replicated when they were asked for, by their places.
    comes_with: BTreeMap<usize, u64>,
}

impl StreamLedger {
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        self.plan.as_ref().map(|plan| plan.name.clone())
    }

    /// The place of the target on a node, and after how many attempts a message there fails the stream.
    #[must_use]
    pub fn fails_at(&self, node: Option<usize>) -> (Option<usize>, Option<u32>) {
        let Some(plan) = &self.plan else { return (None, None) };
        let place = node.and_then(|node| plan.targets().position(|target| target == node));
        let attempts = plan.poison.as_ref().filter(|poison| poison.fails).map(|poison| poison.attempts);
        (place, attempts)
    }

    /// The ledger of the plan's stream `index`, whose publishers bear the given ids.
    #[must_use]
    pub fn new(index: usize, writers: &[WriterId]) -> Self {
        let writer = |&id| Writer { id, messages: Vec::new(), delivered: vec![0] };
        let writers = writers.iter().map(writer).collect();
        Self {
            index,
            instance: None,
            writers,
            sequences: Vec::new(),
            inner: BTreeSet::new(),
            delivered: vec![0],
            reported: vec![0],
            plan: None,
            blind: false,
            forgetful: 0,
            source_rolled_back: false,
            end: None,
            void: BTreeSet::new(),
            lost: 0,
            named: 0,
            source_sealed: None,
            leaving: 0,
            out: 0,
            leaving_known: false,
            disk_lost: false,
            drains: BTreeMap::new(),
            let_go: 0,
            short: 0,
            awaited: 0,
            late: BTreeMap::new(),
            comes_with: BTreeMap::new(),
        }
    }

    /// The same where nothing is known of what lies on disks: what is told replicated is not held against them.
    #[must_use]
    pub fn blind_to_disks(mut self) -> Self {
        self.blind = true;
        self
    }

    /// The same for a stream to the targets of that plan, completed as that says.
    #[must_use]
    pub fn to(mut self, plan: &StreamPlan) -> Self {
        let targets = plan.targets().count();
        self.delivered.resize(targets, 0);
        self.reported.resize(targets, 0);
        self.writers.iter_mut().for_each(|writer| writer.delivered.resize(targets, 0));
        self.awaited = plan.late().fold(0, |all, place| all | 2 << place);
        self.plan = Some(plan.clone());
        self
    }

    /// Up to where handlers reported so much success that it is completed.
    fn completed(&self) -> u64 {
        let Some(plan) = &self.plan else { return self.reported[0] };
        // What was completed before some were lost, or taken out, is.
        self.completed_without(plan)
    }

    /// Up to where handlers of those who are left reported so much success that it is completed without all others.
    #[must_use]
    pub fn completed_by(&self, left: &Left) -> u64 {
        let marks = self.reported.iter().enumerate();
        let marks: Vec<u64> = marks.map(|(place, &mark)| if left.has(place) { mark } else { 0 }).collect();
        self.plan.as_ref().map_or(marks[0], |plan| plan.completed(&marks, |place| self.is_absent(place)))
    }

    /// The highest sequence that was ever delivered.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered.iter().copied().max().unwrap_or_default()
    }

    /// Whether a message was delivered to all targets that were not lost, and are not out or about to be.
    fn everywhere(&self, message: &Message) -> bool {
        self.everywhere_but(message, self.lost | self.out | self.leaving)
    }

    /// Whether a message was delivered to all targets but these.
    fn everywhere_but(&self, message: &Message, gone: u64) -> bool {
        (message.delivered | gone >> 1 | self.not_owed(message)).count_ones() as usize == self.delivered.len()
    }

    /// Whether a message was delivered to all targets that are left.
    fn wherever(&self, message: &Message, left: &Left) -> bool {
        let served = message.delivered | self.not_owed(message);
        (0..self.delivered.len()).all(|place| !left.has(place) || served & 1 << place != 0)
    }

    /// The stream's life, once a node told it.
    #[must_use]
    pub fn instance(&self) -> Option<StreamInstance> {
        self.instance
    }

    /// A node named the stream's life. It is never opened twice, so there is one.
    ///
    /// # Errors
    /// X7.
    pub fn named(&mut self, instance: StreamInstance) -> Checked {
        let known = *self.instance.get_or_insert(instance);
        if known == instance {
            return Ok(());
        }
        let message = format!("stream {} is {known} for some and {instance} for others", self.index);
        Err(Failure::new("X7", message).decided_by(GroupId::CONTROL))
    }

    /// Who alone knew the stream forgot it: it may be opened again, in another life.
    pub fn forgotten(&mut self) {
        if self.delivered() == 0 {
            self.instance = None;
        }
    }

    /// A publisher sends a message (again).
    pub fn sent(&mut self, writer: usize, number: u64, len: usize, version: u8) {
        let messages = &mut self.writers[writer].messages;
        if messages.len() < number as usize {
            messages.resize(number as usize, Message::default());
        }
        let message = &mut messages[number as usize - 1];
        message.len = len as u32;
        message.version = version;
        message.sent += 1;
        message.parts = 1;
    }

    /// A publisher sends parts of a message, from the beginning or from where it was.
    pub fn staged(&mut self, writer: usize, number: u64, len: usize, version: u8) {
        self.sent(writer, number, len, version);
        if let Some(message) = self.message(writer, number) {
            message.parts = content::parts(len as u64);
        }
    }

    /// A publisher was refused for sure and will say something else under the same number.
    pub fn reworded(&mut self, writer: usize, number: u64, len: usize, version: u8) {
        if let Some(message) = self.message(writer, number) {
            message.len = len as u32;
            message.version = version;
        }
    }

    fn message(&mut self, writer: usize, number: u64) -> Option<&mut Message> {
        self.writers[writer].messages.get_mut((number as usize).checked_sub(1)?)
    }

    /// The highest message of a writer that was reported accepted.
    #[must_use]
    pub fn accepted(&self, writer: usize) -> u64 {
        let messages = &self.writers[writer].messages;
        messages.iter().rposition(|message| message.level.is_some()).map_or(0, |place| place as u64 + 1)
    }

    /// Notes that a sequence is a message's, for good.
    fn bind(&mut self, checker: &str, writer: usize, number: u64, sequence: u64) -> Checked {
        let each = self.writers.iter().flat_map(|writer| &writer.messages);
        // Of a message that a source forgot parts may stand in the log each time.
        let times =
            |message: &Message| if self.source_rolled_back { u64::from(message.sent.max(1)) } else { 1 };
        let most: u64 = each.map(|message| 1.max(message.parts * times(message))).sum();
        if sequence == 0 || sequence > most {
            let message = format!(
                "stream {}: sequence {sequence} was given though only {most} messages exist",
                self.index
            );
            return Err(Failure::new(checker, message));
        }
        if self.sequences.len() < sequence as usize {
            self.sequences.resize(sequence as usize, None);
        }
        let slot = &mut self.sequences[sequence as usize - 1];
        let holder = *slot.get_or_insert((writer, number));
        if holder != (writer, number) {
            let message = format!(
                "stream {}: sequence {sequence} is message {} of writer {} and also message {number} of writer {writer}",
                self.index, holder.1, holder.0
            );
            return Err(self.follows_from_group(checker, message));
        }
        let index = self.index;
        let message = self.message(writer, number).expect("whoever binds looked it up");
        let known = *message.sequence.get_or_insert(sequence);
        if known != sequence {
            let message = format!(
                "stream {index}: message {number} of writer {writer} has sequence {known} and also {sequence}"
            );
            return Err(self.follows_from_group(checker, message));
        }
        Ok(())
    }

    /// Two words that contradict each other on where a message stands. Sequences are settled by the log of the stream's group and by nothing else: if that was
    /// seen to decide a place twice, because whoever remembered the first time could not be heard, both words are true of one of its histories.
    fn follows_from_group(&self, checker: &str, message: String) -> Failure {
        let failure = Failure::new(checker, message);
        match self.instance {
            Some(instance) => failure.decided_by(instance.into()),
            None => failure,
        }
    }

    /// A publisher was given a receipt.
    ///
    /// # Errors
    /// X3, X4, X7, X9, X29.
    pub fn receipt(&mut self, now: Time, writer: usize, asked: &mut Asked, receipt: &Receipt) -> Checked {
        self.named(receipt.instance)?;
        let index = self.index;
        let (first, last) = (receipt.first_writer.0, receipt.last_writer.0);
        ensure!(
            asked.first <= first && first <= last && last <= asked.last,
            "X4",
            "stream {index}: a receipt for {first}..={last} answers a call for {}..={}",
            asked.first,
            asked.last
        );
        let (low, high) = (receipt.first.0, receipt.last.0);
        // Of a repeat that is released the sequences are no longer known.
        let forgotten = (low, high) == (0, 0) && self.may_be_forgotten(writer, first, last, receipt);
        ensure!(
            forgotten || low >= 1 && low <= high && high - low >= last - first,
            "X4",
            "stream {index}: messages {first}..={last} cannot have sequences {low}..={high}"
        );
        ensure!(
            receipt.level <= asked.wait,
            "X4",
            "stream {index}: told {:?} though only {:?} was asked",
            receipt.level,
            asked.wait
        );
        let before = asked.told.iter().rev().find(|(run, _)| *run == first).map(|&(_, level)| level);
        ensure!(
            before < Some(receipt.level),
            "X4",
            "stream {index}: told {:?} after {before:?} for messages from {first}",
            receipt.level
        );
        asked.told.push((first, receipt.level));
        ensure!(
            receipt.level != Waited::Completed || high <= self.completed(),
            "X4",
            "stream {index}: told completed up to {high} while handlers reported success up to {:?} only",
            self.reported
        );
        self.check_repeat(writer, first, last, receipt)?;
        self.check_kept(writer, receipt)?;
        for number in first..=last {
            let Some(message) = self.message(writer, number) else {
                return Err(Failure::new(
                    "X4",
                    format!("stream {index}: a receipt for {number}, never sent"),
                ));
            };
            if message.level < Some(receipt.level) {
                message.level = Some(receipt.level);
                message.told_at = now;
            }
        }
        self.void_behind_end(receipt, writer, forgotten)?;
        if receipt.provisional || forgotten || self.end.is_some_and(|end| high > end) {
            return Ok(());
        }
        let contiguous = high - low == last - first;
        for number in first..=last {
            if contiguous || number == first {
                self.bind("X3", writer, number, low + (number - first))?;
            } else if number == last {
                self.bind("X3", writer, number, high)?;
            }
        }
        Ok(())
    }

    /// Whether a source may no longer know sequences: of a repeat of what was delivered.
    fn may_be_forgotten(&self, writer: usize, first: u64, last: u64, receipt: &Receipt) -> bool {
        let messages = &self.writers[writer].messages;
        let delivered =
            |number: u64| messages.get(number as usize - 1).is_some_and(|message| self.everywhere(message));
        receipt.duplicate && (first..=last).all(delivered)
    }

    fn check_repeat(&self, writer: usize, first: u64, last: u64, receipt: &Receipt) -> Checked {
        let run = &self.writers[writer].messages
            [first as usize - 1..(last as usize).min(self.writers[writer].messages.len())];
        let index = self.index;
        if receipt.duplicate {
            let fresh = run.iter().position(|message| message.sent < 2);
            ensure!(
                fresh.is_none(),
                "X9",
                "stream {index}: message {} of writer {writer} was sent once and called a duplicate",
                first + fresh.unwrap_or(0) as u64
            );
        } else if !self.source_rolled_back && receipt.level == Waited::Accepted {
            ensure!(
                !run.iter().all(|message| message.level.is_some()),
                "X9",
                "stream {index}: messages {first}..={last} of writer {writer} were accepted again as new"
            );
        }
        Ok(())
    }

    /// A node said which number of a writer must come next, in a refusal or an answer.
    ///
    /// # Errors
    /// X9, X10.
    pub fn expects(&self, writer: usize, next: u64) -> Checked {
        let accepted = self.accepted(writer);
        ensure!(
            next > accepted || self.source_rolled_back,
            "X9",
            "stream {}: the source expects {next} of writer {writer}, of whom it accepted {accepted}",
            self.index
        );
        let sent = self.writers[writer].messages.len() as u64;
        ensure!(
            next >= 1 && next <= sent + 1,
            "X10",
            "stream {}: the source expects {next} of writer {writer}, who sent only {sent}",
            self.index
        );
        Ok(())
    }

    /// A node answered that it has all of a writer's messages below `next`: that is a promise too.
    pub fn vouched(&mut self, now: Time, writer: usize, next: u64) {
        if self.end.is_some() {
            // How much of that lies in front of the end nobody says.
            return;
        }
        for number in 1..next {
            if let Some(message) = self.message(writer, number)
                && message.level.is_none()
            {
                message.level = Some(Waited::Accepted);
                message.told_at = now;
            }
        }
    }

    /// The handler at a target was given a message. Tells whether that is the first time.
    ///
    /// # Errors
    /// X2, X10.
    pub fn seen(&mut self, target: usize, delivered: &Delivered) -> Result<bool, Failure> {
        let index = self.index;
        let sequence = delivered.sequence.0;
        let Some(name) = content::read(&delivered.bytes).filter(|name| name.stream == index) else {
            return Err(Failure::new(
                "X2",
                format!("stream {index}: {sequence} is no message of this stream"),
            ));
        };
        let Name { writer, number, version, .. } = name;
        let (known, right_writer) = match self.writers.get(writer) {
            Some(known) => (known.messages.get((number as usize).wrapping_sub(1)).copied(), known.id),
            None => (None, WriterId(0)),
        };
        let Some(known) = known else {
            let checker = if version == content::FORBIDDEN { "X10" } else { "X2" };
            let message =
                format!("stream {index}: {sequence} is message {number} of writer {writer}, never published");
            return Err(Failure::new(checker, message));
        };
        ensure!(
            version == known.version,
            "X10",
            "stream {index}: {sequence} is version {version} of message {number} of writer {writer}: that was refused, version {} was said instead",
            known.version
        );
        ensure!(
            content::says(&delivered.bytes, name, known.len as usize),
            "X2",
            "stream {index}: {sequence} is message {number} of writer {writer} with other bytes"
        );
        ensure!(
            delivered.writer == right_writer && delivered.writer_sequence.0 == number,
            "X2",
            "stream {index}: {sequence} is message {number} of {right_writer} and delivered as {} of {}",
            delivered.writer_sequence,
            delivered.writer
        );
        self.bind("X2", writer, number, sequence)?;
        if known.delivered & 1 << target != 0 {
            return Ok(false);
        }
        self.in_front_of_end(target, writer, number, sequence)?;
        self.is_target(target, sequence)?;
        let next = self.delivered[target] + known.parts;
        ensure!(
            sequence == next || self.source_rolled_back && sequence > next,
            "X1",
            "stream {index}: {sequence} is the first that is new after {} at target {target}",
            self.delivered[target]
        );
        // The parts in front of the last bear sequences that are no message's.
        self.inner.extend(sequence + 1 - known.parts..sequence);
        if self.source_rolled_back {
            self.inner.extend(self.delivered[target] + 1..sequence);
        }
        let before = self.writers[writer].delivered[target];
        ensure!(
            number == before + 1 || before == 0 && self.begins_with(target, writer, number),
            "X2",
            "stream {index}: {sequence} is message {number} of writer {writer}, after {before}"
        );
        self.writers[writer].delivered[target] = number;
        self.delivered[target] = sequence;
        self.message(writer, number).expect("found above").delivered |= 1 << target;
        Ok(true)
    }

    /// A sequence is that of a part which is not the last of its message.
    pub fn inside(&mut self, sequence: u64) {
        self.inner.insert(sequence);
    }

    /// Whether a sequence is that of a part which is not the last of its message.
    #[must_use]
    pub fn is_inside(&self, sequence: u64) -> bool {
        self.inner.contains(&sequence)
    }

    /// The handler at a target reports success.
    pub fn reported(&mut self, target: usize, upto: u64) {
        if !self.is_out(target) {
            self.reported[target] = self.reported[target].max(upto);
        }
    }

    /// Whether a target's handler reported success for everything that was delivered there.
    #[must_use]
    pub fn is_done(&self, target: usize) -> bool {
        self.reported[target] >= self.delivered[target]
    }

    /// Up to where every target's handler reported success.
    #[must_use]
    pub fn success(&self) -> u64 {
        let there = self.reported.iter().enumerate().filter(|(place, _)| self.awaited & 2 << place == 0);
        there.map(|(_, &mark)| mark).min().unwrap_or_default()
    }

    /// Whether a closed writer may be open again: the source's disk may be one from before it was closed.
    #[must_use]
    pub fn may_reopen(&self) -> bool {
        self.source_rolled_back
    }

    /// The source's disk was taken back to what it was at `image`: what it alone held since then is void.
    pub fn source_rolled_back(&mut self, image: Time) {
        self.source_rolled_back = true;
        for writer in &mut self.writers {
            for message in &mut writer.messages {
                if message.level == Some(Waited::Accepted)
                    && message.told_at >= image
                    && message.delivered == 0
                {
                    message.level = None;
                    if let Some(sequence) = message.sequence.take() {
                        self.sequences[sequence as usize - 1] = None;
                    }
                }
            }
        }
    }

    /// What was promised and those who are left have not done, in words; `None` if all is done. Without its source what was told replicated is.
    #[must_use]
    pub fn owed(&self, left: &Left) -> Option<String> {
        let least = if left.source || self.end.is_some() { Waited::Accepted } else { Waited::Replicated };
        for (place, writer) in self.writers.iter().enumerate() {
            let late = |message: &Message| message.level >= Some(least) && !self.wherever(message, left);
            if let Some(late) = writer.messages.iter().position(late) {
                let (number, level) = (late + 1, writer.messages[late].level);
                return Some(format!(
                    "stream {}: message {number} of writer {place} was told {level:?} and never delivered to everybody; of its messages {:?} were",
                    self.index, writer.delivered
                ));
            }
        }
        let late =
            |(place, (reported, delivered)): (usize, (&u64, &u64))| left.has(place) && reported < delivered;
        self.reported.iter().zip(&self.delivered).enumerate().any(late).then(|| {
            format!(
                "stream {}: delivered up to {:?}, success up to {:?}",
                self.index, self.delivered, self.reported
            )
        })
    }

    /// Every sequence up to the last delivered one, at those who are left if the stream is sealed, is known and was delivered; and what it is to keep is kept.
    ///
    /// # Errors
    /// X2, X3, X37.
    pub fn finish(&self, left: &Left) -> Checked {
        self.keeps_what_it_should()?;
        // Who was lost together may have been handed what is void now.
        let delivered = if self.end.is_some() { self.delivered_to_left() } else { self.delivered() };
        for (place, slot) in self.sequences.iter().enumerate() {
            let sequence = place as u64 + 1;
            ensure!(
                slot.is_some()
                    || sequence > delivered
                    || self.inner.contains(&sequence)
                    || self.owed_to_nobody(sequence),
                "X2",
                "stream {}: nothing was ever seen at {sequence}",
                self.index
            );
        }
        if let Some(owed) = self.owed(left) {
            return Err(Failure::new("X3", owed));
        }
        Ok(())
    }
}

mod kept;
mod left;
mod members;
mod reread;
mod seal;

pub use left::Left;

#[cfg(test)]
mod tests;
