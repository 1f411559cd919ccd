use super::*;
use crate::id::{AttachToken, UpdateId, UpdateNumber};
use crate::mesh::room::STATE_BYTES_MAX;
use crate::mesh::updates::{self, HISTORY_BYTES_MAX, IDS_MAX, UPDATE_BYTES_MAX, UPDATES_BYTES_MAX};
use crate::update::{UpdateCommand, UpdateFate, UpdateItem, UpdateKind, UpdateReply};

pub(super) fn command(command: UpdateCommand) -> impl FnOnce(RequestId) -> Input {
    move |request| Input::Updates(updates::Input::Command { request, command })
}

pub(super) fn update(kind: UpdateKind, id: u128, after: Option<u64>, payload: &[u8]) -> UpdateCommand {
    UpdateCommand::Send {
        kind,
        id: Some(UpdateId(id)),
        after: after.map(UpdateNumber),
        key: "row".into(),
        payload: Bytes::copy_from_slice(payload),
        wait: true,
    }
}

/// A handler as an application has it.
pub(super) struct Handler {
    host: usize,
    token: AttachToken,
    pub(super) after: u64,
}

impl World {
    pub(super) fn send(&mut self, host: usize, wanted: UpdateCommand) -> Result<(u64, bool), Refusal> {
        let request = self.command(host, command(wanted));
        match self.reply(host, request).expect("an answer") {
            Ok(Reply::Update(UpdateReply::Sent { number, repeated, .. })) => Ok((number.0, repeated)),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal),
        }
    }

    pub(super) fn attach(&mut self, host: usize, kind: UpdateKind, window: u32) -> Handler {
        let request = self.command(host, command(UpdateCommand::Attach { kind, window }));
        let replies = &self.hosts[host].replies;
        let found = replies.iter().find_map(|(of, reply)| match reply {
            Ok(Reply::Update(UpdateReply::Attached { token, after })) if *of == request => {
                Some(Handler { host, token: *token, after: after.0 })
            }
            _ => None,
        });
        found.expect("attached")
    }

    /// What a handler was given since it was last asked: numbers, and gaps by their ends.
    fn given(&mut self, handler: &Handler) -> Vec<UpdateItem> {
        let (mine, others) = core::mem::take(&mut self.hosts[handler.host].updates)
            .into_iter()
            .partition(|delivery| delivery.token == handler.token);
        self.hosts[handler.host].updates = others;
        let mine: Vec<crate::update::UpdateDelivery> = mine;
        mine.into_iter().flat_map(|delivery| delivery.items).collect()
    }

    pub(super) fn numbers(&mut self, handler: &Handler) -> Vec<u64> {
        self.given(handler).iter().map(|item| item.last().0).collect()
    }

    pub(super) fn verdict(&mut self, handler: &Handler, upto: u64) {
        let (token, upto) = (handler.token, UpdateNumber(upto));
        self.inbox.push_back((handler.host, Input::Updates(updates::Input::Verdict { token, upto })));
        self.pump();
    }

    fn processed_entries(&self) -> usize {
        let is_report = |logged: &&Logged| match logged {
            Logged::Command(data, _) => matches!(
                entry::Entry::decode(data).expect("an entry").body,
                Body::Updates(updates::Change::Processed { .. })
            ),
            Logged::Configuration(_) => false,
        };
        self.log.iter().filter(is_report).count()
    }

    pub(super) fn floor(&self, kind: UpdateKind) -> u64 {
        self.mesh(0).state.updates.history(kind).floor().0
    }
}

const KIND: UpdateKind = UpdateKind::Mesh;
const OTHER: UpdateKind = UpdateKind::Database;

#[test]
fn every_member_is_handed_every_update_in_one_order_and_each_kind_counts_for_itself() {
    let mut world = World::grown(&["a", "b", "c"]);
    let handlers: Vec<Handler> = (0..3).map(|host| world.attach(host, KIND, 100)).collect();
    for round in 0..5u64 {
        let host = round as usize % 3;
        assert_eq!(
            world.send(host, update(KIND, u128::from(round), None, &[round as u8])),
            Ok((round + 1, false))
        );
    }
    assert_eq!(world.send(1, update(OTHER, 1, None, b"row")), Ok((1, false)), "M20: a sequence of its own");
    for handler in &handlers {
        let given = world.given(handler);
        let payloads: Vec<u8> = given
            .iter()
            .map(|item| match item {
                UpdateItem::Update(update) => update.payload[0],
                UpdateItem::Gap { .. } => panic!("nothing was let go"),
            })
            .collect();
        assert_eq!(payloads, [0, 1, 2, 3, 4]);
        world.verdict(handler, 5);
    }
    world.pass(Span::secs(10));
    assert_eq!(world.floor(KIND), 5, "M21: what all have processed is let go");
    assert_eq!(world.floor(OTHER), 0, "M21: nobody has processed that one");
    world.assert_equal();
}

#[test]
fn cursors_of_many_updates_and_members_come_in_few_entries_and_an_idle_mesh_says_nothing() {
    let mut world = World::grown(&["a", "b", "c"]);
    let handlers: Vec<Handler> = (0..3).map(|host| world.attach(host, KIND, 8)).collect();
    for number in 1..=60u64 {
        world.send(0, update(KIND, u128::from(number), None, b"x")).unwrap();
        for handler in &handlers {
            world.verdict(handler, number);
        }
        world.pass(Span::millis(20));
    }
    world.pass(Span::secs(5));
    assert!(world.processed_entries() <= 4, "{}", world.processed_entries());
    assert_eq!(world.floor(KIND), 60);
    let entries = world.log.len();
    world.pass(Span::secs(100));
    assert_eq!(world.log.len(), entries);
}

#[test]
fn a_repeat_is_answered_with_the_same_number_also_after_it_was_let_go() {
    let mut world = World::grown(&["a", "b"]);
    assert_eq!(world.send(0, update(KIND, 7, Some(0), b"one")), Ok((1, false)));
    assert_eq!(world.send(1, update(KIND, 7, Some(0), b"one")), Ok((1, true)));
    let number = UpdateNumber(1);
    assert_eq!(world.send(1, update(KIND, 7, None, b"two")), Err(Refusal::UpdateIdTaken { number }));
    for host in 0..2 {
        let handler = world.attach(host, KIND, 1);
        world.verdict(&handler, 1);
    }
    world.pass(Span::secs(5));
    assert_eq!(world.floor(KIND), 1);
    assert_eq!(world.send(0, update(KIND, 7, Some(0), b"one")), Ok((1, true)));
}

#[test]
fn an_id_that_may_be_forgotten_is_refused_if_its_sender_says_since_when_it_is_used() {
    let mut world = World::grown(&["a"]);
    let handler = world.attach(0, KIND, 10_000);
    let all = IDS_MAX as u64 + 1;
    for number in 1..=all {
        world.send(0, update(KIND, u128::from(number), None, b"")).unwrap();
        world.verdict(&handler, number);
        if number.is_multiple_of(512) {
            world.pass(Span::secs(2));
        }
    }
    let (after, forgotten) = (UpdateNumber(0), UpdateNumber(1));
    assert_eq!(world.send(0, update(KIND, 1, Some(0), b"")), Err(Refusal::UpdateTooOld { after, forgotten }));
    assert_eq!(world.send(0, update(KIND, 2, Some(0), b"")), Ok((2, true)));
    assert_eq!(world.send(0, update(KIND, u128::MAX, Some(all), b"")), Ok((all + 1, false)));
}

#[test]
fn what_is_too_large_is_refused_with_the_limit_and_nothing_happens() {
    let mut world = World::grown(&["a"]);
    let entries = world.log.len();
    let long = alloc::vec![1; UPDATE_BYTES_MAX + 1];
    let (got, limit) = (long.len() as u64, UPDATE_BYTES_MAX as u64);
    let refusal = Refusal::TooLarge { what: "an update", got, limit };
    assert_eq!(world.send(0, update(KIND, 1, None, &long)), Err(refusal));
    assert_eq!(world.log.len(), entries);
    assert_eq!(world.send(0, update(KIND, 1, None, &long[1..])), Ok((1, false)));
}

#[test]
fn a_full_history_refuses_and_names_who_is_behind_until_it_has_processed() {
    let mut world = World::grown(&["a", "b"]);
    let quick = world.attach(0, KIND, 1_000);
    let payload = alloc::vec![9; UPDATE_BYTES_MAX];
    let mut sent = 0;
    let refusal = loop {
        match world.send(0, update(KIND, 100 + sent, None, &payload)) {
            Ok(_) => sent += 1,
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(sent as usize, HISTORY_BYTES_MAX / (UPDATE_BYTES_MAX + 128));
    world.verdict(&quick, sent as u64);
    world.pass(Span::secs(3));
    let words = refusal.to_string();
    assert!(words.contains("processed by a, b"), "{words}");
    let refusal = world.send(0, update(KIND, 99, None, &payload)).unwrap_err();
    let Refusal::UpdatesFull { lagging, behind: 1, .. } = &refusal else { panic!("{refusal:?}") };
    assert_eq!((lagging[0].name.as_str(), lagging[0].processed), ("b", UpdateNumber(0)));
    let slow = world.attach(1, KIND, 1_000);
    assert_eq!(world.numbers(&slow).len() as u128, sent, "M21: nothing was lost");
    world.verdict(&slow, 2);
    world.pass(Span::secs(5));
    assert_eq!(world.send(0, update(KIND, 99, None, &payload)), Ok((sent as u64 + 1, false)));
}

#[test]
fn where_the_policy_allows_it_who_is_behind_is_told_of_a_gap() {
    let mut world = World::grown(&["a", "b"]);
    let request = world.command(0, command(UpdateCommand::PassOver { kind: KIND, allowed: true }));
    assert_eq!(world.reply(0, request), Some(Ok(Reply::Update(UpdateReply::PolicySet))));
    let payload = alloc::vec![9; UPDATE_BYTES_MAX];
    for id in 0..9 {
        world.send(0, update(KIND, id, None, &payload)).unwrap();
    }
    let floor = world.floor(KIND);
    assert!(floor > 0);
    let slow = world.attach(1, KIND, 1);
    let given = world.given(&slow);
    assert_eq!(given, [UpdateItem::Gap { first: UpdateNumber(1), last: UpdateNumber(floor) }]);
    world.verdict(&slow, floor);
    assert_eq!(world.numbers(&slow), [floor + 1]);
    let status = &world.mesh(1).update_status()[0];
    assert_eq!((status.processed, status.last.0), (UpdateNumber(floor), 9));
    world.assert_equal();
}

#[test]
fn a_cursor_outlives_a_start_and_what_had_no_verdict_comes_again() {
    let mut world = World::grown(&["a", "b"]);
    for id in 0..4 {
        world.send(0, update(KIND, id, None, b"x")).unwrap();
    }
    let first = world.attach(1, KIND, 3);
    assert_eq!(first.after, 0);
    assert_eq!(world.numbers(&first), [1, 2, 3], "M22: its window");
    world.verdict(&first, 2);
    assert_eq!(world.numbers(&first), [4]);
    world.restart(1);
    let second = world.attach(1, KIND, 10);
    assert_eq!(second.after, 2, "M23: on disk");
    assert_eq!(world.numbers(&second), [3, 4]);
    world.verdict(&first, 4);
    let third = world.attach(1, KIND, 10);
    assert_eq!(third.after, 2, "M23: a replaced handler's word does not count");
    world.verdict(&third, 9);
    assert_eq!(world.attach(1, KIND, 1).after, 2, "M23: nor does what was never handed over");
}

#[test]
fn a_member_that_lost_its_disk_goes_on_where_the_mesh_was_told_it_was() {
    let mut world = World::grown(&["a", "b", "c"]);
    for id in 0..3 {
        world.send(0, update(KIND, id, None, b"x")).unwrap();
    }
    let handler = world.attach(1, KIND, 10);
    world.verdict(&handler, 2);
    world.pass(Span::secs(5));
    world.hosts[1].disk.retain(|(space, ..), _| *space != 30);
    world.restart(1);
    assert_eq!(world.attach(1, KIND, 10).after, 2);
}

#[test]
fn a_new_member_begins_with_what_is_kept_and_is_handed_all_that_follows() {
    let mut world = World::new(&["a", "b"]);
    let token = world.seed(0);
    let handler = world.attach(0, KIND, 10);
    for id in 0..5 {
        world.send(0, update(KIND, id, None, b"x")).unwrap();
    }
    world.verdict(&handler, 3);
    world.pass(Span::secs(5));
    assert_eq!(world.floor(KIND), 3);
    world.join(1, &token);
    world.send(1, update(KIND, 77, None, b"x")).unwrap();
    let joined = world.attach(1, KIND, 10);
    assert_eq!((joined.after, world.numbers(&joined)), (3, alloc::vec![4, 5, 6]));
}

#[test]
fn an_update_nobody_waits_for_is_answered_with_a_ticket_and_its_fate_can_be_asked() {
    let mut world = World::grown(&["a", "b", "c"]);
    let fate = |world: &mut World, host: usize, id: u128| {
        let request = world.command(host, command(UpdateCommand::Find { kind: OTHER, id: UpdateId(id) }));
        match world.reply(host, request) {
            Some(Ok(Reply::Update(UpdateReply::Fate(fate)))) => fate,
            other => panic!("{other:?}"),
        }
    };
    let unwaited = |id: u128| UpdateCommand::Send {
        kind: OTHER,
        id: Some(UpdateId(id)),
        after: None,
        key: String::new(),
        payload: Bytes::new(),
        wait: false,
    };
    let request = world.command(0, command(unwaited(5)));
    let taken = Reply::Update(UpdateReply::Taken { id: UpdateId(5) });
    assert_eq!(world.reply(0, request), Some(Ok(taken.clone())));
    assert_eq!(fate(&mut world, 2, 5), UpdateFate::Committed(UpdateNumber(1)));
    world.quorum = false;
    let request = world.command(0, command(unwaited(6)));
    let taken = Reply::Update(UpdateReply::Taken { id: UpdateId(6) });
    assert_eq!(world.reply(0, request), Some(Ok(taken)), "it does not wait for anybody");
    assert_eq!(fate(&mut world, 0, 6), UpdateFate::Pending);
    assert_eq!(fate(&mut world, 1, 6), UpdateFate::Unknown);
    world.pass(Span::secs(11));
    assert!(matches!(fate(&mut world, 0, 6), UpdateFate::Failed(why) if why.contains("quorum")));
}

#[test]
fn a_state_with_all_the_updates_it_may_have_can_be_sent_and_survives_its_bytes() {
    let mut world = World::grown(&["a", "b"]);
    let before = world.mesh(0).state.encode().len();
    for kind in UpdateKind::ALL {
        let mut id = 0;
        while world.send(0, update(kind, id, None, &alloc::vec![3; 1_000])).is_ok() {
            id += 1;
        }
    }
    let state = &world.mesh(0).state;
    let bytes = state.encode();
    assert!(bytes.len() - before <= UPDATES_BYTES_MAX, "{} bytes", bytes.len());
    assert!(bytes.len() - before > HISTORY_BYTES_MAX);
    let most = 256 << 20;
    assert!(STATE_BYTES_MAX + UPDATES_BYTES_MAX < most, "it can be sent");
    assert_eq!(State::decode(&bytes).as_ref(), Ok(state));
}

#[test]
fn only_the_leader_says_what_members_have_processed() {
    let mut world = World::grown(&["a", "b"]);
    world.send(0, update(KIND, 1, None, b"x")).unwrap();
    let cursors = Vec::from([(world.id(0), [UpdateNumber(1); 2]), (world.id(1), [UpdateNumber(1); 2])]);
    let message = Message::Forward {
        request: entry::Request(9),
        seen: LogIndex(1),
        body: alloc::boxed::Box::new(Body::Updates(updates::Change::Processed { cursors })),
    };
    let (from, entries) = (world.id(1), world.log.len());
    world.inbox.push_back((0, Input::Message { from, message }));
    world.pump();
    assert_eq!((world.log.len(), world.floor(KIND)), (entries, 0));
}

#[test]
fn a_handler_that_comes_before_its_node_has_caught_up_waits_for_where_it_begins() {
    let mut world = World::new(&["a", "b"]);
    let token = world.seed(0);
    let handler = world.attach(0, KIND, 10);
    for id in 0..5 {
        world.send(0, update(KIND, id, None, b"x")).unwrap();
    }
    world.verdict(&handler, 4);
    world.pass(Span::secs(5));
    world.join(1, &token);
    // As it is while the log comes in: the mesh has this member, and its own state does not say so yet.
    let known = core::mem::take(&mut world.hosts[1].mesh.state);
    let early = [RequestId(1_000), RequestId(1_001)];
    for request in early {
        let attach = UpdateCommand::Attach { kind: KIND, window: 10 };
        let now = world.now;
        world.hosts[1].mesh.handle(now, command(attach)(request));
    }
    world.hosts[1].mesh.state = known;
    world.pump();
    assert_eq!(world.reply(1, early[0]), Some(Err(Refusal::Superseded)));
    assert_eq!(world.reply(1, early[1]), None);
    world.send(0, update(KIND, 9, None, b"x")).unwrap();
    let Some(Ok(Reply::Update(UpdateReply::Attached { after, .. }))) = world.reply(1, early[1]) else {
        panic!("it is attached now")
    };
    assert_eq!(after, UpdateNumber(4), "M22: nothing before its admission is a gap");
}
