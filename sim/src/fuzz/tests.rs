use super::*;

/// Runs a target for a few seconds at most, and tells what came of it.
fn bounded(target: Target, cases: u64) -> Tally {
    let seed = 1;
    sweep(target, seed, cases).unwrap_or_else(|Finding { input, message }| {
        panic!("{}, seed {seed}: {message}\non the input {input:?}", target.name())
    })
}

#[test]
fn frames_are_read_or_refused() {
    let tally = bounded(Target::Frame, 3_000);
    assert!(tally.borne > 1_000 && tally.closed > 500, "{tally:?}");
}

#[test]
fn messages_of_every_family_are_read_or_refused() {
    let tally = bounded(Target::Messages, 20_000);
    assert!(tally.borne > 5_000 && tally.closed > 5_000, "{tally:?}");
}

#[test]
fn handshakes_lead_to_a_link_or_to_its_end() {
    let tally = bounded(Target::Handshake, 150);
    assert!(tally.borne > 100 && tally.closed > 100, "{tally:?}");
}

#[test]
fn rows_start_a_node_or_are_refused() {
    let tally = bounded(Target::Journal, 400);
    assert!(tally.recovered > 50 && tally.refused > 50, "{tally:?}");
}

#[test]
fn nothing_that_is_done_to_a_node_brings_it_down() {
    let tally = bounded(Target::NodeInputs, 200);
    let Tally { operations, borne, closed, recovered, refused, rows, delivered, stopped } = tally;
    assert!(operations > 5_000 && borne > 300 && closed > 100 && rows > 1_000, "{tally:?}");
    assert!(recovered > 100 && refused > 0 && delivered > 10 && stopped > 5, "{tally:?}");
}

#[test]
fn the_same_input_comes_to_the_same() {
    for input in Target::NodeInputs.corpus().iter().take(8) {
        assert_eq!(Target::NodeInputs.run(input), Target::NodeInputs.run(input));
    }
}

#[test]
fn a_finding_names_the_input_that_led_to_it() {
    let run = |input: &[u8]| {
        assert!(!input.contains(&200), "Z1: two hundred");
        Tally::default()
    };
    let finding = sweep_with(run, &[vec![1, 2, 3]], 9, 7, 500).expect_err("some input has that byte");
    assert!(finding.message.starts_with("Z1: two hundred"), "{}", finding.message);
    assert!(finding.input.contains(&200));
    assert_eq!(sweep_with(|_| Tally::default(), &[], 9, 7, 500), Ok(Tally::default()));
}
