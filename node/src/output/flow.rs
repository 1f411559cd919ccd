//! Whose streams are, what ranks them, and whether and how fast they take messages in.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wattle_proto::api::flow_scope::Which;
use wattle_proto::api::{FlowFailed, FlowRule, FlowSaid, FlowScope, StreamFlow, StreamQos, StreamStatus};

use super::Names;

/// The tenant of streams that name none.
const DEFAULT: &str = wattle_core::flow::DEFAULT_TENANT;

/// The name of a class of service.
#[must_use]
pub const fn qos_name(qos: StreamQos) -> &'static str {
    match qos {
        StreamQos::Unspecified | StreamQos::Bulk => "BULK",
        StreamQos::Priority => "PRIORITY",
        StreamQos::System => "SYSTEM",
    }
}

/// Class of service and priority of a stream, short.
#[must_use]
pub fn class(stream: &StreamStatus) -> String {
    match stream.priority {
        0 => qos_name(stream.qos()).to_owned(),
        priority => format!("{} {priority}", qos_name(stream.qos())),
    }
}

/// What a stream was opened with beside its ends, unless it is nothing.
#[must_use]
pub fn rank_text(stream: &StreamStatus) -> Option<String> {
    let tenant = (stream.tenant != DEFAULT).then(|| format!("of tenant {}", stream.tenant));
    let class = class(stream);
    let class = (class != qos_name(StreamQos::Bulk)).then_some(class);
    let words: Vec<String> = tenant.into_iter().chain(class).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// Whether a rule has it take nothing in.
#[must_use]
pub fn is_paused(stream: &StreamStatus) -> bool {
    stream.rules.iter().any(|rule| rule.paused.is_some())
}

/// Whether it failed, and takes nothing in.
#[must_use]
pub fn has_failed(stream: &StreamStatus) -> bool {
    stream.rules.iter().any(|rule| rule.failed.is_some())
}

/// Of `status`: which streams failed, and what pauses streams, once each however many it is.
#[must_use]
pub fn warnings(streams: &[StreamStatus]) -> Vec<String> {
    let mut by: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for stream in streams {
        for rule in stream.rules.iter().filter(|rule| rule.paused.is_some()) {
            by.entry(option(&rule.scope)).or_default().push(&stream.name);
        }
    }
    let words = |(option, paused): (String, Vec<&str>)| {
        let what = match &paused[..] {
            [one] => format!("stream {one} is paused and takes nothing in"),
            all => format!("{} streams are paused and take nothing in ({}, ...)", all.len(), all[0]),
        };
        format!("{what}: `wattle stream resume {option}`")
    };
    let failed = streams.iter().filter(|stream| has_failed(stream)).map(|stream| {
        let name = &stream.name;
        format!("stream {name} failed and takes nothing in: `wattle stream show {name}` tells by what")
    });
    failed.chain(by.into_iter().map(words)).collect()
}

/// How a command names the streams of a scope.
#[must_use]
pub fn option(scope: &Option<FlowScope>) -> String {
    match scope.as_ref().and_then(|scope| scope.which.as_ref()) {
        Some(Which::Name(name)) => name.clone(),
        Some(Which::Tenant(tenant)) => format!("--tenant {tenant}"),
        Some(Which::PriorityBelow(priority)) => format!("--priority-below {priority}"),
        None => "nothing".to_owned(),
    }
}

/// Which streams a rule is about, in words.
fn about(scope: &Option<FlowScope>) -> String {
    match scope.as_ref().and_then(|scope| scope.which.as_ref()) {
        Some(Which::Name(name)) => format!("stream {name}"),
        Some(Which::Tenant(tenant)) => format!("all streams of tenant {tenant}"),
        Some(Which::PriorityBelow(priority)) => format!("all streams of a priority below {priority}"),
        None => "no stream".to_owned(),
    }
}

fn rate(rule: &FlowRule) -> String {
    let said = |count: u64, what: &str| (count > 0).then(|| format!("{count} {what}"));
    let both = [said(rule.messages, "messages"), said(rule.bytes, "bytes")];
    let both: Vec<String> = both.into_iter().flatten().collect();
    format!("{} a second", both.join(" and "))
}

fn by(said: &FlowSaid, names: &Names) -> String {
    format!("asked for at {}", names.name(&said.at))
}

/// Of `stream show`: whose it is, its class, and what is said of it, a line each.
#[must_use]
pub fn rank_lines(stream: &StreamStatus, names: &Names) -> String {
    let mut text = format!("  tenant      {}\n  class       {}\n", stream.tenant, class(stream));
    for rule in &stream.rules {
        let option = option(&rule.scope);
        if let Some(failed) = &rule.failed {
            text.push_str(&format!(
                "  failed      {}: it takes nothing in, and that message is not tried again, until `wattle stream resume {option}`\n",
                failure(failed, names)
            ));
        }
        if let Some(said) = &rule.paused {
            let by = by(said, names);
            text.push_str(&format!(
                "  paused      {by}: it takes nothing in until `wattle stream resume {option}`\n"
            ));
        }
        if let Some(said) = &rule.throttled {
            let (rate, by) = (rate(rule), by(said, names));
            text.push_str(&format!(
                "  throttled   to {rate}, {by} (`wattle stream throttle {option} --off`)\n"
            ));
        }
    }
    text.push('\n');
    text
}

/// What failed a stream, in words.
fn failure(failed: &FlowFailed, names: &Names) -> String {
    let FlowFailed { target, sequence, attempts, reason, .. } = failed;
    format!(
        "at {}, whose handler failed {attempts} times at message {sequence}: {reason}",
        names.name(target)
    )
}

fn scope_json(scope: &Option<FlowScope>) -> Value {
    match scope.as_ref().and_then(|scope| scope.which.as_ref()) {
        Some(Which::Name(name)) => json!({ "name": name }),
        Some(Which::Tenant(tenant)) => json!({ "tenant": tenant }),
        Some(Which::PriorityBelow(priority)) => json!({ "priority_below": priority }),
        None => Value::Null,
    }
}

/// For programs: a rule.
#[must_use]
pub fn rule_json(rule: &FlowRule, names: &Names) -> Value {
    let said = |said: &FlowSaid| json!({ "at": names.name(&said.at), "time": said.time });
    let count = |count: u64| (count > 0).then_some(count);
    let throttled = rule
        .throttled
        .as_ref()
        .map(|by| json!({ "messages": count(rule.messages), "bytes": count(rule.bytes), "said": said(by) }));
    let failed = rule.failed.as_ref().map(|failed| {
        let FlowFailed { target, sequence, attempts, reason, time, resumed } = failed;
        let target = names.name(target);
        json!({ "target": target, "sequence": sequence, "attempts": attempts, "reason": reason, "time": time, "resumed": resumed })
    });
    let paused = rule.paused.as_ref().map(said);
    json!({ "scope": scope_json(&rule.scope), "paused": paused, "throttled": throttled, "failed": failed })
}

/// What came of a change of a rule.
#[must_use]
pub fn told_text(told: &StreamFlow, names: &Names) -> String {
    let rule = told.rule.clone().unwrap_or_default();
    let about = about(&rule.scope);
    let count = match (&told.streams, rule.scope.as_ref().and_then(|scope| scope.which.as_ref())) {
        (_, Some(Which::Name(_))) => String::new(),
        (1, _) => " (1 is open now)".to_owned(),
        (streams, _) => format!(" ({streams} are open now)"),
    };
    let bound = || format!("At each source no more than {} are taken in", rate(&rule));
    let mut text = match (&rule.paused, &rule.throttled) {
        (Some(said), throttled) => {
            let (by, option) = (by(said, names), option(&rule.scope));
            let also = throttled.as_ref().map(|_| format!(" {} afterwards.", bound())).unwrap_or_default();
            format!(
                "Paused: {about}{count}, {by}. Nothing more is taken in until `wattle stream resume {option}`; what was accepted goes on its way.{also}"
            )
        }
        (None, Some(_)) => format!("Throttled: {about}{count}. {}.", bound()),
        (None, None) if rule.failed.is_none() => {
            format!("Neither paused, nor throttled, nor failed: {about}{count}.")
        }
        (None, None) => format!("Neither paused nor throttled: {about}{count}."),
    };
    if let Some(failed) = &rule.failed {
        text.push_str(&format!(" It failed {}; a resume has that tried again.", failure(failed, names)));
    }
    if rule.paused.is_none() {
        match &told.still {
            Some(_) => text
                .push_str(&format!(" It stays paused until `wattle stream resume {}`.", option(&told.still))),
            None if told.paused > 0 => text.push_str(&format!(
                " {} of them stay paused by something else: `wattle stream show` tells by what.",
                told.paused
            )),
            None => {}
        }
    }
    text
}

/// For programs: what came of a change of a rule.
#[must_use]
pub fn told_json(told: &StreamFlow, names: &Names) -> Value {
    let mut value = rule_json(&told.rule.clone().unwrap_or_default(), names);
    value["streams"] = json!(told.streams);
    value["paused_streams"] = json!(told.paused);
    value["still"] = scope_json(&told.still);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(which: Which) -> Option<FlowScope> {
        Some(FlowScope { which: Some(which) })
    }

    fn rule() -> FlowRule {
        let said = FlowSaid { at: bytes::Bytes::from_static(&[7; 16]), time: 5 };
        FlowRule {
            scope: scope(Which::Tenant("acme".to_owned())),
            paused: Some(said.clone()),
            throttled: Some(said),
            messages: 10,
            bytes: 0,
            failed: None,
        }
    }

    #[test]
    fn a_paused_stream_shows_what_pauses_it_and_how_to_go_on() {
        let qos = StreamQos::Priority.into();
        let shown = StreamStatus {
            tenant: "acme".to_owned(),
            qos,
            priority: -2,
            rules: vec![rule()],
            ..StreamStatus::default()
        };
        let text = rank_lines(&shown, &Names::default());
        for words in [
            "tenant      acme",
            "PRIORITY -2",
            "`wattle stream resume --tenant acme`",
            "to 10 messages a second",
            "`wattle stream throttle --tenant acme --off`",
        ] {
            assert!(text.contains(words), "{words} in {text}");
        }
        let target = bytes::Bytes::from_static(&[7; 16]);
        let failed = FlowFailed {
            target,
            sequence: 17,
            attempts: 5,
            reason: "no room".to_owned(),
            ..FlowFailed::default()
        };
        let rules = Vec::from([FlowRule {
            scope: scope(Which::Name("words".to_owned())),
            failed: Some(failed),
            ..FlowRule::default()
        }]);
        let failed = StreamStatus { name: "words".to_owned(), rules, ..StreamStatus::default() };
        assert!(has_failed(&failed) && !has_failed(&shown) && !is_paused(&failed));
        let lines = rank_lines(&failed, &Names::default());
        assert!(
            lines.contains("failed 5 times at message 17: no room")
                && lines.contains("`wattle stream resume words`"),
            "{lines}"
        );
        assert!(warnings(&[failed])[0].contains("stream words failed"));
        assert!(is_paused(&shown) && !is_paused(&StreamStatus::default()));
        assert_eq!(rank_text(&shown).unwrap(), "of tenant acme, PRIORITY -2");
        let again = StreamStatus { name: "b".to_owned(), ..shown.clone() };
        let warned = warnings(&[StreamStatus::default(), shown.clone(), again]);
        assert_eq!(warned.len(), 1, "one rule: {warned:?}");
        assert!(warned[0].starts_with("2 streams are paused") && warned[0].contains("resume --tenant acme"));
        assert!(warnings(std::slice::from_ref(&shown))[0].contains("is paused"));
        let plain = StreamStatus { tenant: "default".to_owned(), ..StreamStatus::default() };
        assert_eq!(rank_text(&plain), None);
        let told = rule_json(&rule(), &Names::default());
        assert_eq!((&told["scope"]["tenant"], &told["throttled"]["messages"]), (&json!("acme"), &json!(10)));
        assert_eq!(told["throttled"]["bytes"], Value::Null);
    }

    #[test]
    fn who_resumes_is_told_what_else_pauses() {
        let resumed = |scope, still, paused| {
            let rule = FlowRule { scope, ..FlowRule::default() };
            told_text(&StreamFlow { rule: Some(rule), streams: 4, paused, still }, &Names::default())
        };
        let name = || scope(Which::Name("words".to_owned()));
        let still = scope(Which::PriorityBelow(3));
        let text = resumed(name(), still, 1);
        assert!(text.ends_with("It stays paused until `wattle stream resume --priority-below 3`."), "{text}");
        assert_eq!(resumed(name(), None, 0), "Neither paused, nor throttled, nor failed: stream words.");
        let text = resumed(scope(Which::Tenant("acme".to_owned())), None, 2);
        assert!(text.contains("(4 are open now)") && text.contains(" 2 of them stay paused"), "{text}");
        let paused = StreamFlow { rule: Some(rule()), streams: 1, paused: 1, still: None };
        assert!(told_text(&paused, &Names::default()).contains("until `wattle stream resume --tenant acme`"));
    }
}
