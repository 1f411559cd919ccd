//! Messages of several parts: staged part by part, gone on with where the node says, or begun anew; with another text if nothing is settled.

use wattle_core::digest::Digest;
use wattle_core::id::{RequestId, WriterSequence};
use wattle_core::node::command::{Command, PartOf, Refusal, Reply, Staged, Waited};

use super::flow::is_for_sure;
use super::{Open, Publisher};
use crate::checker::{Asked, Checked, Load, Sent, ensure};
use crate::content::{self, LARGE_MOST, Name, PART_BYTES};
use crate::desk::{Call, Desk, request_of};
use crate::event::{Actor, Time};
use crate::random::{Draws, Purpose};

/// A message that is being staged.
#[derive(Debug)]
struct Upload {
    number: u64,
    version: u8,
    /// Where the next part begins.
    next: usize,
    /// Until when an answer is waited for.
    until: Time,
}

/// What a publisher knows of what it stages.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    now: Option<Upload>,
    /// Parts under way, but for last ones, and how they are judged should the whole be there already.
    parts: Vec<(RequestId, Asked)>,
    begun: Option<Begun>,
}

/// What a publisher began last.
#[derive(Clone, Copy, Debug)]
struct Begun {
    number: u64,
    version: u8,
    /// Bytes that it was told to be durable, and that it sent.
    told: u64,
    sent: u64,
    /// A call was lost while nothing of it was known to have come.
    missed: bool,
}

impl Uploads {
    /// A call did not reach its node.
    pub(super) fn miss(&mut self) {
        if let Some(begun) = &mut self.begun {
            begun.missed |= begun.told == 0;
        }
    }

    /// Nothing is known any more of what is under way.
    pub(super) fn lose(&mut self) {
        self.now = None;
        self.parts.clear();
    }

    /// Whether a request is about one of its parts.
    pub(super) fn has(&self, request: RequestId) -> bool {
        self.parts.iter().any(|(part, _)| *part == request)
    }

    /// When the publisher looks in again, if it waits for answers.
    pub(super) fn until(&self) -> Option<Time> {
        self.now.as_ref().filter(|_| !self.parts.is_empty()).map(|upload| upload.until)
    }
}

impl Publisher {
    /// Whether a message has several parts.
    pub(super) fn is_large(&self, desk: &Desk<'_>, number: u64) -> bool {
        let who = (self.index as u64) << 32 | 2;
        Draws::new(desk.seed, Purpose::Publisher, who, number).one_in(self.plan.large_one_in)
    }

    /// How long such a message is.
    pub(super) fn large_len(&self, desk: &Desk<'_>, number: u64) -> usize {
        let who = (self.index as u64) << 32 | 3;
        Draws::new(desk.seed, Purpose::Publisher, who, number)
            .between(PART_BYTES as u64 + 1, LARGE_MOST as u64) as usize
    }

    /// Sends some of the next parts of a message.
    pub(super) fn send_parts(&mut self, desk: &mut Desk<'_>, draws: &mut Draws, number: u64) {
        if self.uploads.until().is_some_and(|until| until <= desk.now) {
            self.trouble = "no answer to a part in time".into();
            self.uploads.lose();
        }
        let version = self.words[number as usize - 1].version;
        if self.uploads.now.as_ref().is_none_or(|now| (now.number, now.version) != (number, version)) {
            let known =
                self.uploads.begun.is_some_and(|begun| (begun.number, begun.version) == (number, version));
            if known && !draws.one_in(4) {
                return self.ask(desk);
            }
            self.reword_staged(desk, draws, number);
            self.begin(desk, number, 0);
        }
        for _ in 0..draws.between(1, 3) {
            if !self.send_part(desk, draws) {
                break;
            }
        }
    }

    /// Nobody was ever told anything of what it means to say: it may say something else.
    fn reword_staged(&mut self, desk: &mut Desk<'_>, draws: &mut Draws, number: u64) {
        let elsewhere = self.open.iter().any(|open| (open.asked.first..=open.asked.last).contains(&number));
        let len = self.large_len(desk, number);
        let word = &mut self.words[number as usize - 1];
        if !word.settled && !elsewhere && word.version < content::FORBIDDEN - 1 && draws.one_in(4) {
            word.version += 1;
            let version = word.version;
            desk.books.streams[self.stream].reworded(self.writer, number, len, version);
        }
    }

    fn begin(&mut self, desk: &Desk<'_>, number: u64, from: u64) {
        let version = self.words[number as usize - 1].version;
        if from == 0 {
            self.uploads.begun = Some(Begun { number, version, told: 0, sent: 0, missed: false });
            self.uploads.parts.clear();
        }
        let until = desk.now + self.plan.patience;
        self.uploads.now = Some(Upload { number, version, next: from as usize, until });
    }

    /// Sends the next part; `false` after the last one.
    fn send_part(&mut self, desk: &mut Desk<'_>, draws: &mut Draws) -> bool {
        let Some(Upload { number, version, next, .. }) = self.uploads.now else { return false };
        let len = self.large_len(desk, number);
        desk.books.streams[self.stream].staged(self.writer, number, len, version);
        let name = Name { stream: self.stream, writer: self.writer, number, version };
        let whole = content::write(name, len);
        let end = (next + PART_BYTES).min(len);
        let last = end == len;
        let elsewhere = self.open.iter().any(|open| open.asked.first == number);
        let sure = !elsewhere && !self.words[number as usize - 1].settled;
        let forged = last && sure && !desk.healed && draws.one_in(8);
        let mut digest = Digest::of_bytes(&whole);
        digest.0[0] ^= u8::from(forged);
        let wait =
            [Waited::Accepted, Waited::Replicated, Waited::Completed][draws.weighted(&self.plan.waits)];
        self.ordinal += 1;
        let request = request_of(Actor::Publisher(self.index), self.ordinal);
        let part = PartOf {
            writer: self.id,
            number: WriterSequence(number),
            total: len as u64,
            offset: next as u64,
            bytes: whole.slice(next..end),
            digest: last.then_some(digest),
            wait,
        };
        let load = Load { messages: u64::from(next == 0), bytes: (end - next) as u64 };
        let sent = Sent { request, at: desk.now, first: number, last: number, load };
        desk.books.flows.sent(self.stream, self.writer, sent);
        desk.books.flows.sent_part(self.stream, request);
        let command = Command::Stage { stream: self.stream_name.clone(), part };
        desk.call_in_order(self.node, Call::Command(request, command), &mut self.last_call);
        let asked = Asked { first: number, last: number, wait, told: Vec::new() };
        if let Some(begun) = &mut self.uploads.begun {
            begun.sent = begun.sent.max(end as u64);
        }
        if !last {
            self.uploads.parts.push((request, asked));
            if let Some(now) = &mut self.uploads.now {
                (now.next, now.until) = (end, desk.now + self.plan.patience);
            }
            return true;
        }
        self.uploads.now = None;
        if forged {
            // It must be refused, and nothing of it is left.
            self.forbidden.push(request);
            self.uploads.begun = None;
            return false;
        }
        let patience = self.plan.patience * if wait == Waited::Completed { 3 } else { 1 };
        self.open.push(Open {
            request,
            asked,
            until: desk.now + patience,
            deaf: !desk.healed && draws.one_in(self.plan.answers_lost_one_in),
            given_up: false,
            reached: 0,
        });
        self.next = number + 1;
        false
    }

    /// A node answers about a part that is not the last.
    ///
    /// # Errors
    /// X3, X4, X7, X9, X10.
    pub(super) fn part_answered(
        &mut self,
        desk: &mut Desk<'_>,
        request: RequestId,
        reply: &Result<Reply, Refusal>,
    ) -> Option<Checked> {
        let place = self.uploads.parts.iter().position(|(asked, _)| *asked == request)?;
        Some(match reply {
            Ok(Reply::Published(receipt)) => {
                if let Err(failure) = self.taken_in(desk, receipt) {
                    return Some(Err(failure));
                }
                // All of it had been accepted, though its publisher was not told.
                let asked = &mut self.uploads.parts[place].1;
                let checked = desk.books.streams[self.stream].receipt(desk.now, self.writer, asked, receipt);
                let (number, done) = (asked.first, receipt.level == asked.wait);
                if done && checked.is_ok() {
                    self.uploads.lose();
                    let word = &mut self.words[number as usize - 1];
                    (word.settled, word.confirmed) = (true, true);
                    self.end_round(desk);
                }
                checked
            }
            Ok(Reply::Staged(Staged { upto, .. })) => {
                self.uploads.parts.remove(place);
                if let Err(failure) = desk.books.flows.staged(self.stream, request) {
                    return Some(Err(failure));
                }
                if let Some(begun) = &mut self.uploads.begun {
                    begun.told = begun.told.max(*upto);
                }
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(refusal) => {
                self.trouble = refusal.to_string();
                self.uploads.lose();
                if let Err(failure) = self.told_paused(desk, refusal) {
                    return Some(Err(failure));
                }
                if is_for_sure(refusal) {
                    desk.books.flows.refused(self.stream, self.writer, request);
                }
                let mut checked = Ok(());
                if let Refusal::WriterGap { expected, .. } = refusal {
                    checked = desk.books.streams[self.stream].expects(self.writer, expected.0);
                    let lost = self.words.get_mut(expected.0 as usize - 1..).into_iter().flatten();
                    lost.for_each(|word| word.confirmed = false);
                    self.next = 1;
                }
                self.rest(desk);
                checked
            }
        })
    }

    /// A node said what it holds of a message: no less than it told to be durable.
    ///
    /// # Errors
    /// X31.
    pub(super) fn told_staged(&mut self, desk: &Desk<'_>, number: u64, staged: Option<Staged>) -> Checked {
        let Some(Begun { version, told, sent, .. }) =
            self.uploads.begun.filter(|begun| begun.number == number)
        else {
            return Ok(());
        };
        let len = self.large_len(desk, number) as u64;
        let upto = staged.map_or(0, |staged| staged.upto);
        ensure!(
            upto >= told || desk.books.streams[self.stream].may_reopen(),
            "X31",
            "stream {}: {upto} bytes of message {number} of writer {} are held, of which {told} were told to be durable",
            self.stream,
            self.writer
        );
        ensure!(
            told == 0 || upto <= sent || desk.books.streams[self.stream].may_reopen(),
            "X31",
            "stream {}: {upto} bytes of message {number} of writer {} are held, and {sent} were sent since it was begun anew",
            self.stream,
            self.writer
        );
        ensure!(
            staged.is_none_or(|staged| staged.total == len
                && upto < len
                && upto.is_multiple_of(PART_BYTES as u64)),
            "X31",
            "stream {}: {staged:?} is said to be held of message {number} of {len} bytes",
            self.stream
        );
        if self.words[number as usize - 1].version == version {
            // What a node holds of which it confirmed nothing may be of what was begun before: the call that began anew was lost.
            self.begin(desk, number, if told > 0 { upto } else { 0 });
        }
        Ok(())
    }

    /// The whole was refused, of which every part was sent as it is.
    ///
    /// # Errors
    /// X31.
    pub(super) fn whole_refused(&mut self, desk: &Desk<'_>, number: u64) -> Checked {
        // The call that began it anew may have met a node that was down, and the next ones the same node up again, with what it held of another text: parts bear
        // no name of what they are parts of, and it is the digest of the whole that tells.
        let mixed = self.uploads.begun.take().is_some_and(|begun| begun.number == number && begun.missed);
        ensure!(
            mixed || desk.books.streams[self.stream].may_reopen(),
            "X31",
            "stream {}: the parts of message {number} of writer {} were sent as they are, and refused as something else",
            self.stream,
            self.writer
        );
        Ok(())
    }
}
