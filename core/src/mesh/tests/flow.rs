use super::*;
use crate::ends::Terms;
use crate::flow::{
    FlowChange, FlowRefusal, FlowTold, FlowWish, Qos, RULES_MAX, Rank, Rate, Scope, Tenant, Which,
};
use crate::mesh::entry::{Entry, Request};
use crate::mesh::room::RULE_BYTES;

fn tenant(name: &str) -> Tenant {
    Tenant::new(name).unwrap()
}

fn rank(name: &str, priority: i32) -> Rank {
    Rank { tenant: tenant(name), qos: Qos::Priority, priority }
}

fn named(name: &str) -> Which {
    Which::Stream(name.into())
}

fn ranked(name: &str, rank: Rank) -> impl FnOnce(RequestId) -> Input + use<> {
    let name = name.to_string();
    let targets = Vec::from(["b".to_string()]);
    move |request| {
        let (source, terms) = ("a".into(), Terms { rank, ..Terms::default() });
        Input::OpenStream { request, name, source, targets, terms }
    }
}

impl World {
    fn opened(&mut self, name: &str, rank: Rank) -> Result<StreamInstance, Refusal> {
        let request = self.command(1, ranked(name, rank));
        match self.reply(1, request).expect("it is answered")? {
            Reply::StreamOpened { instance, .. } => Ok(instance),
            other => panic!("{other:?}"),
        }
    }

    fn flow(&mut self, host: usize, which: Which, change: FlowChange) -> Result<FlowTold, Refusal> {
        self.flow_of(host, None, which, change)
    }

    fn flow_of(
        &mut self,
        host: usize,
        of: Option<Tenant>,
        which: Which,
        change: FlowChange,
    ) -> Result<FlowTold, Refusal> {
        let wish = FlowWish { which, change };
        let request = self.command(host, |request| {
            let input = Input::ChangeFlow { request, wish };
            match of {
                Some(tenant) => Input::Within { tenant, input: Box::new(input) },
                None => input,
            }
        });
        match self.reply(host, request).expect("it is answered")? {
            Reply::Flow(told) => Ok(*told),
            other => panic!("{other:?}"),
        }
    }

    fn within(&mut self, of: &str, input: impl FnOnce(RequestId) -> Input) -> Result<Reply, Refusal> {
        let tenant = tenant(of);
        let request = self.command(1, |request| Input::Within { tenant, input: Box::new(input(request)) });
        self.reply(1, request).expect("it is answered")
    }

    /// A start of a host that has heard of nobody yet.
    fn alone(&mut self, host: usize) -> Mesh {
        let mesh = self.begun_anew(host);
        mesh.check_invariants(Level::Full);
        mesh
    }
}

fn wrong_tenant<T: core::fmt::Debug>(asked: Result<T, Refusal>) -> (Tenant, Tenant) {
    match asked {
        Err(Refusal::Flow(FlowRefusal::WrongTenant { tenant, named, .. })) => (tenant, named),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stream_is_its_tenants_and_its_rank_is_part_of_what_it_was_opened_with() {
    let mut world = World::grown(&["a", "b", "c"]);
    let instance = world.opened("words", rank("acme", -3)).unwrap();
    assert_eq!(world.opened("words", rank("acme", -3)), Ok(instance), "it is open already");
    let other = world.opened("words", rank("other", -3));
    assert_eq!(wrong_tenant(other), (tenant("acme"), tenant("other")));
    let higher = world.opened("words", rank("acme", 4));
    assert!(matches!(higher, Err(Refusal::OpenElsewhere { .. })), "{higher:?}");
    world.opened("plain", Rank::default()).unwrap();
    for host in 0..3 {
        let shown = |name: &str| world.mesh(host).stream(name).expect("open").ends.rank.clone();
        assert_eq!((shown("words"), shown("plain")), (rank("acme", -3), Rank::default()));
    }
    let state = &world.mesh(0).state;
    assert_eq!(State::decode(&state.encode()).as_ref(), Ok(state));
    assert_eq!(world.alone(2).stream("words").map(|stream| stream.ends.rank.clone()), None, "by the log");
    world.restart(2);
    assert_eq!(world.mesh(2).stream("words").expect("open").ends.rank, rank("acme", -3));
}

/// M80.
#[test]
fn what_names_another_tenant_does_nothing_about_a_stream() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.opened("words", rank("acme", 0)).unwrap();
    world.opened("plain", Rank::default()).unwrap();
    let before = world.mesh(0).state.streams.clone();
    for (of, name) in [("other", "words"), ("default", "words"), ("acme", "plain")] {
        assert_eq!(wrong_tenant(world.within(of, close(name))).1, tenant(of));
        let lost = Vec::from(["b".to_string()]);
        world.hosts[1].unreached = Vec::from([world.id(1)]);
        let sealed = world.within(of, |request| Input::SealStream { request, name: name.into(), lost });
        assert!(sealed.is_err(), "{sealed:?}");
        let paused = world.flow_of(2, Some(tenant(of)), named(name), FlowChange::Pause);
        assert_eq!(wrong_tenant(paused).1, tenant(of));
        let (stream, target) = (name.to_string(), "b".to_string());
        let kind = crate::members::ChangeKind::Detach;
        let wish = crate::members::MembersWish { stream, target, kind, reason: "why".into() };
        wrong_tenant(world.within(of, |request| Input::ChangeMembers { request, wish }));
    }
    assert_eq!(world.mesh(0).state.streams, before);
    assert!(world.mesh(0).rules().is_empty());
    let none = world.within("acme", close("none"));
    assert_eq!(none, Err(Refusal::UnknownStream("none".into())), "that is nobody's");
    assert!(world.flow_of(2, Some(tenant("acme")), named("words"), FlowChange::Pause).is_ok());
    assert_eq!(world.within("acme", close("words")), Ok(Reply::StreamClosed));
    assert!(world.mesh(2).stream("words").is_none());
}

#[test]
fn every_node_is_told_of_a_rule_and_who_resumes_what_else_pauses() {
    let mut world = World::grown(&["a", "b", "c"]);
    let instance = world.opened("words", rank("acme", -3)).unwrap();
    world.opened("more", rank("acme", 5)).unwrap();
    let told = world.flow(2, Which::Tenant(tenant("acme")), FlowChange::Pause).unwrap();
    assert_eq!((told.streams, told.paused, told.still), (2, 2, None));
    assert_eq!(told.rule.paused.expect("paused").at, world.id(2), "who was asked");
    let below = world.flow(1, Which::Below(0), FlowChange::Pause).unwrap();
    assert_eq!((below.streams, below.paused), (1, 1));
    let told = world.flow(1, named("words"), FlowChange::Pause).unwrap();
    assert_eq!(told.still, Some(Scope::Tenant(tenant("acme"))), "what else pauses it");
    let again = world.flow(0, named("words"), FlowChange::Pause).unwrap();
    assert_eq!(again.rule, told.rule, "asking again changes nothing");
    for host in 0..3 {
        assert_eq!(world.hosts[host].rules, *world.mesh(host).rules());
        let pausing: Vec<Scope> =
            world.hosts[host].rules.of(instance, &rank("acme", -3)).map(|(scope, _)| scope.clone()).collect();
        let expected = [Scope::Stream(instance), Scope::Tenant(tenant("acme")), Scope::Below(0)];
        assert_eq!(pausing, expected, "at {host}");
    }
    let told = world.flow(1, named("words"), FlowChange::Resume).unwrap();
    assert!(told.rule.is_empty() && told.paused == 1 && told.still.is_some());
    let told = world.flow(1, Which::Tenant(tenant("acme")), FlowChange::Resume).unwrap();
    assert_eq!((told.streams, told.paused), (2, 1), "one of them is below 0");
    assert!(world.flow(1, Which::Below(0), FlowChange::Resume).unwrap().rule.is_empty());
    assert!(world.flow(1, Which::Below(7), FlowChange::Resume).unwrap().rule.is_empty(), "there was none");
    assert!(world.hosts.iter().all(|host| host.rules.is_empty()));
    let unknown = world.flow(1, named("none"), FlowChange::Pause);
    assert_eq!(unknown, Err(Refusal::UnknownStream("none".into())));
}

#[test]
fn a_rate_stands_beside_a_pause_and_goes_with_the_stream() {
    let mut world = World::grown(&["a", "b"]);
    let instance = world.opened("words", Rank::default()).unwrap();
    let rate = Rate::new(5, 4_096).unwrap();
    world.flow(0, named("words"), FlowChange::Pause).unwrap();
    let told = world.flow(0, named("words"), FlowChange::Throttle(rate)).unwrap();
    assert!(told.rule.paused.is_some());
    let first = told.rule.rate;
    let told = world.flow(1, named("words"), FlowChange::Throttle(rate)).unwrap();
    assert_eq!(told.rule.rate, first, "the same again says nothing new");
    let told = world.flow(0, named("words"), FlowChange::Resume).unwrap();
    assert_eq!(told.rule.rate.expect("it stays").0, rate);
    assert_eq!(world.hosts[1].rules.throttling(instance, &Rank::default()).count(), 1);
    world.flow(0, Which::Below(9), FlowChange::Throttle(rate)).unwrap();
    assert!(world.flow(0, Which::Below(9), FlowChange::Unthrottle).unwrap().rule.is_empty());
    let request = world.command(0, close("words"));
    assert_eq!(world.reply(0, request), Some(Ok(Reply::StreamClosed)));
    assert!(
        world.hosts.iter().all(|host| host.rules.is_empty()),
        "nothing is said of a stream that is closed"
    );
    let again = world.opened("words", Rank::default()).unwrap();
    assert!(again != instance && world.mesh(0).rules().pausing(again, &Rank::default()).is_none());
}

/// M82.
#[test]
fn a_start_goes_by_the_rules_it_knew_before_it_hears_how_far_the_log_is_committed() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.opened("words", Rank::default()).unwrap();
    let pausing = |mesh: &Mesh| mesh.rules().iter().map(|(scope, _)| scope.clone()).collect::<Vec<_>>();
    for (change, expected) in [(FlowChange::Pause, 1), (FlowChange::Resume, 0), (FlowChange::Pause, 1)] {
        world.flow(1, Which::Tenant(tenant("acme")), change).unwrap();
        for host in 0..3 {
            let mut mesh = world.alone(host);
            assert_eq!(pausing(&mesh).len(), expected, "host {host} after {change:?}");
            let told = core::iter::from_fn(|| mesh.poll());
            let told =
                told.filter_map(|output| if let Output::Rules(rules) = output { Some(rules) } else { None });
            assert!(told.last().is_some_and(|rules| rules.len() == expected), "it says so at once");
        }
    }
    let state = world.alone(2);
    assert!(state.state.flow.rules.is_empty(), "that was the mark: the state has none of it");
    world.restart(2);
    assert_eq!(world.hosts[2].rules.len(), 1);
    assert_eq!(world.mesh(2).state.flow.rules.len(), 1, "and now the state has it");
    // Once the state that is stored has it, too, the mark goes.
    let marks = |world: &World| world.hosts[2].disk.keys().filter(|(space, ..)| *space == 21).count();
    assert_eq!(marks(&world), 1);
    world.hosts[2].mesh.store_state();
    world.inbox.push_back((2, Input::Deadline));
    world.pump();
    assert_eq!(marks(&world), 0);
    assert_eq!(pausing(&world.alone(2)).len(), 1);
}

#[test]
fn rules_are_bounded_and_take_no_more_of_the_state_than_is_kept_for_them() {
    let mut state = World::grown(&["a", "b"]).mesh(0).state.clone();
    state.applied = LogIndex(1 << 62);
    state.time = Wall(1 << 62);
    let (mut refused, mut given) = (None, 0u128);
    let empty = state.encode().len();
    let long = "x".repeat(crate::flow::TENANT_MAX - 4);
    let rate = Rate::new(u64::MAX, u64::MAX).unwrap();
    for number in 0..=RULES_MAX {
        let which = Which::Tenant(tenant(&alloc::format!("{long}{number:04}")));
        for change in [FlowChange::Pause, FlowChange::Throttle(rate)] {
            given += 1;
            let body = Body::Flow(Box::new(FlowWish { which: which.clone(), change }));
            let request = Request(u128::MAX - given);
            let entry =
                Entry { origin: NodeId(u128::MAX), request, seen: state.applied, time: Wall(0), body };
            let index = state.applied.next();
            refused = state.apply(index, Some(&entry)).expect("decided").result.err();
        }
    }
    assert_eq!(refused, Some(FlowRefusal::TooMany.into()));
    assert_eq!(state.flow.rules.len(), RULES_MAX);
    state.check();
    let decided = 34 * given as usize;
    let taken = state.encode().len() - empty - decided;
    assert!(taken <= RULES_MAX * RULE_BYTES, "{taken} bytes");
    assert_eq!(State::decode(&state.encode()).as_ref(), Ok(&state));
}

#[test]
fn what_a_member_says_for_a_tenant_is_about_one_stream() {
    let tenant = tenant("acme");
    let about = |body: Body| Body::Within { tenant: tenant.clone(), body: Box::new(body) };
    let told = |body| {
        let (request, seen) = (Request(1), LogIndex(0));
        Message::decode(&Message::Forward { request, seen, body: Box::new(body) }.encode())
    };
    let closing = || Body::Close { name: "words".into() };
    assert!(told(about(closing())).is_ok());
    assert!(told(about(about(closing()))).is_err(), "not nested");
    assert!(told(about(opening("words"))).is_err(), "it is opened as whose it is to be");
    let all = FlowWish { which: Which::Below(3), change: FlowChange::Pause };
    assert!(told(about(Body::Flow(Box::new(all)))).is_err());
}
