//! How a publisher ends: some close their writer, and then try to write on all the same. That must be refused for ever, whatever
//! becomes of the node meanwhile.

use wattle_core::id::RequestId;
use wattle_core::node::command::{Command, Refusal, Reply};

use super::Publisher;
use crate::desk::{Call, Desk, request_of};
use crate::event::{Actor, MILLI, SECOND, Time};

/// What is left to do after all messages are confirmed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    /// The writer is to be closed; asked already, and until when an answer is waited for.
    Closing(Option<(RequestId, Time)>),
    /// It is closed: so many tries are left.
    Closed(u32),
}

impl Publisher {
    /// Everything is confirmed, as often as wanted.
    pub(super) fn end(&mut self, desk: &mut Desk<'_>) {
        if self.plan.closes {
            self.ending = Some(Ending::Closing(None));
            self.rest(desk);
        } else {
            self.done = true;
        }
    }

    /// Goes on with the ending, woken.
    pub(super) fn go_on_ending(&mut self, desk: &mut Desk<'_>, ending: Ending) {
        match ending {
            Ending::Closing(Some((_, until))) if desk.now < until => self.sleep(desk, until - desk.now),
            Ending::Closing(_) => {
                self.ordinal += 1;
                let request = request_of(Actor::Publisher(self.index), self.ordinal);
                let command = Command::CloseWriter { stream: self.stream_name.clone(), writer: self.id };
                desk.call_in_order(self.node, Call::Command(request, command), &mut self.last_call);
                let patience = 3 * self.plan.patience;
                self.ending = Some(Ending::Closing(Some((request, desk.now + patience))));
                self.trouble = "its writer is not closed".into();
                self.sleep(desk, patience);
            }
            Ending::Closed(0) => self.done = true,
            // The disk may be one from before the writer was closed.
            Ending::Closed(_) if desk.books.streams[self.stream].may_reopen() => self.done = true,
            Ending::Closed(left) => {
                self.try_forbidden(desk, self.words.len() as u64 + 1);
                self.ending = Some(Ending::Closed(left - 1));
                let mut draws = self.draws(desk);
                let pause = draws.spread(10 * MILLI, if desk.healed { 100 * MILLI } else { 3 * SECOND });
                self.sleep(desk, pause);
            }
        }
    }

    /// The writer is closed, or could not be.
    pub(super) fn told_closed(&mut self, desk: &mut Desk<'_>, reply: &Result<Reply, Refusal>) {
        match reply {
            Ok(Reply::WriterClosed) => {
                let tries = self.draws(desk).between(1, 4) as u32;
                self.ending = Some(Ending::Closed(tries));
            }
            Ok(_) => {}
            Err(refusal) => {
                self.trouble = format!("its writer is not closed: {refusal}");
                self.ending = Some(Ending::Closing(None));
            }
        }
        self.rest(desk);
    }

    /// Whether this is the question whether the writer may be closed.
    pub(super) fn is_closing(&self, request: RequestId) -> bool {
        matches!(self.ending, Some(Ending::Closing(Some((asked, _)))) if asked == request)
    }
}
