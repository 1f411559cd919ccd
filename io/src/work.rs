//! Threads for heavy work.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc::UnboundedSender;
use wattle_core::work::{Job, WorkId};

use crate::event::Urgent;
use crate::helper;
use crate::keyring::Keyring;

/// The workers of one node. Dropping it lets them finish what is queued, and waits.
#[derive(Debug)]
pub(crate) struct Workers {
    jobs: Option<mpsc::Sender<(WorkId, Job)>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    pub(crate) fn start(keyring: &Keyring, urgent: &UnboundedSender<Urgent>) -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1).clamp(1, 2));
        let (jobs, queue) = mpsc::channel::<(WorkId, Job)>();
        let queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            let (queue, answers) = (Arc::clone(&queue), urgent.clone());
            let keyring = keyring.clone();
            let run = move || {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((work, job)) = next else { return };
                    let done = keyring.perform(&job);
                    if answers.send(Urgent::WorkDone { work, done }).is_err() {
                        return;
                    }
                }
            };
            threads.push(helper::spawn(format!("wattle-work-{number}"), urgent.clone(), run)?);
        }
        Ok(Self { jobs: Some(jobs), threads })
    }

    pub(crate) fn submit(&self, work: WorkId, job: Job) {
        if let Some(jobs) = &self.jobs {
            // Fails only when every worker has panicked, of which the driver is told.
            let _ = jobs.send((work, job));
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use wattle_core::digest::Digest;
    use wattle_core::record::Owner;
    use wattle_core::work::{Done, perform, public_key};

    use super::*;

    #[test]
    fn every_job_is_answered_under_its_own_name() {
        let (urgent, mut answers) = tokio::sync::mpsc::unbounded_channel();
        let (_dir, keyring) = crate::keyring::testing::keyring();
        let secret = keyring.secrets()[0];
        let workers = Workers::start(&keyring, &urgent).unwrap();
        let message = Bytes::from_static(b"words");
        let id = |token| WorkId { owner: Owner::Stream, token };
        workers.submit(id(1), Job::Digest(message.clone().into()));
        workers.submit(id(2), Job::Sign { key: public_key(&secret), message: message.clone() });
        let mut done = std::collections::BTreeMap::new();
        for _ in 0..2 {
            let Some(Urgent::WorkDone { work, done: result }) = answers.blocking_recv() else {
                panic!("no answer")
            };
            done.insert(work.token, result);
        }
        assert_eq!(done[&1], Done::Digest(Digest::of_bytes(b"words")));
        let Done::Signature(signature) = &done[&2] else { panic!("not a signature") };
        let verify =
            Job::Verify { keys: vec![public_key(&secret)], message, signature: signature.clone().into() };
        assert_eq!(perform(&verify, &[]), Done::Verified(true));
    }
}
