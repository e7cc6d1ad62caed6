//! Who is told when, by tables; and what must hold whatever happens.

use proptest::prelude::*;

use super::*;
use crate::model::{
    Acknowledgement, EscalationStep, Inhibition, LabelMatcher, MatchOp, NotificationReason as Why, Silence,
};

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_000_000 + second, 0).expect("in range")
}

/// A firing alert of host `name` since `second`.
fn alert(name: &str, second: i64, severity: Severity) -> Alert {
    Alert {
        id: format!("{name}@{second}"),
        fingerprint: name.to_owned(),
        rule_id: "load".to_owned(),
        rule_name: "Load".to_owned(),
        condition: "load > threshold".to_owned(),
        state: AlertState::Firing,
        severity,
        labels: BTreeMap::from([("host".to_owned(), name.to_owned())]),
        annotations: BTreeMap::new(),
        value: Some(1.0),
        threshold: Some(0.0),
        unit: String::new(),
        peak: None,
        pending_since: at(second),
        starts_at: Some(at(second)),
        ends_at: None,
        resolved_reason: None,
        last_evaluation_at: at(second),
        acknowledged: None,
        suppressed: Vec::new(),
    }
}

/// One group and the alerts in it, over time.
struct Group {
    policy: GroupPolicy,
    state: GroupState,
    cooldown: Period,
    escalation: Vec<EscalationStep>,
    suppressors: Suppressors,
    members: Vec<Alert>,
    next_at: Option<DateTime<Utc>>,
}

impl Group {
    fn new() -> Self {
        Self {
            policy: GroupPolicy { receivers: vec!["email".to_owned()], ..GroupPolicy::default() },
            state: GroupState::default(),
            cooldown: Period::seconds(300),
            escalation: Vec::new(),
            suppressors: Suppressors::default(),
            members: Vec::new(),
            next_at: None,
        }
    }

    fn fires(&mut self, name: &str, second: i64) {
        self.members.push(alert(name, second, Severity::Warning));
    }

    fn is_over(&mut self, name: &str, second: i64) {
        for alert in self.members.iter_mut().filter(|alert| alert.fingerprint == name) {
            alert.state = AlertState::Resolved;
            alert.ends_at = Some(at(second));
        }
    }

    fn dispatch(&mut self, second: i64) -> Dispatch {
        let telling = Telling { cooldown: self.cooldown, escalation: self.escalation.clone() };
        let member = |alert: &Alert| Member { alert: alert.clone(), telling: telling.clone(), chart: Vec::new() };
        let members: Vec<Member> = self.members.iter().map(member).collect();
        let receivers = ["email".to_owned(), "slack".to_owned()];
        let around = Surroundings {
            now: at(second),
            suppressors: &self.suppressors,
            receivers: &receivers,
            dashboard_url: "http://localhost",
        };
        // As stored and read back.
        let state = serde_json::from_value(serde_json::to_value(&self.state).expect("JSON")).expect("read back");
        let out = dispatch("group", (&self.policy, &state), &members, &around);
        self.state = out.state.clone();
        self.next_at = out.next_at;
        self.members.retain(|alert| !out.settled.contains(&alert.id));
        out
    }

    /// What is told at `second`: receiver, reason, how many alerts.
    fn told(&mut self, second: i64) -> Vec<(String, Why, usize)> {
        let out = self.dispatch(second);
        out.notifications.iter().map(|n| (n.receiver.clone(), n.reason, n.alerts.len())).collect()
    }
}

fn email(reason: Why, alerts: usize) -> Vec<(String, Why, usize)> {
    vec![("email".to_owned(), reason, alerts)]
}

#[test]
fn one_alert_is_told_repeated_after_the_cooldown_and_told_when_over() {
    let mut group = Group::new();
    group.fires("a", 0);
    assert_eq!(group.told(0), email(Why::Fired, 1));
    assert_eq!(group.told(10), []);
    assert_eq!(group.next_at, Some(at(300)));
    assert_eq!(group.told(300), email(Why::Repeated, 1));
    group.is_over("a", 310);
    assert_eq!(group.told(310), email(Why::Resolved, 1));
    assert_eq!(group.told(320), []);
    assert!(group.members.is_empty(), "it is settled");
}

#[test]
fn what_comes_back_within_the_cooldown_is_held_until_it_has_passed() {
    let mut group = Group::new();
    group.fires("a", 0);
    group.told(0);
    group.is_over("a", 10);
    assert_eq!(group.told(10), email(Why::Resolved, 1));
    group.fires("a", 20);
    assert_eq!(group.told(20), []);
    assert_eq!(group.next_at, Some(at(300)));
    group.is_over("a", 30);
    assert_eq!(group.told(30), [], "nobody knew of it");
    group.fires("a", 40);
    assert_eq!(group.told(300), email(Why::Fired, 1));
}

#[test]
fn a_greater_severity_is_told_at_once_but_not_each_time_it_wavers() {
    let mut group = Group::new();
    group.fires("a", 0);
    group.told(0);
    let set = |group: &mut Group, severity| group.members.iter_mut().for_each(|alert| alert.severity = severity);
    set(&mut group, Severity::Critical);
    assert_eq!(group.told(10), email(Why::Escalated, 1));
    set(&mut group, Severity::Warning);
    assert_eq!(group.told(20), []);
    set(&mut group, Severity::Critical);
    assert_eq!(group.told(30), []);
    set(&mut group, Severity::Warning);
    assert_eq!(group.told(310), email(Why::Repeated, 1));
    set(&mut group, Severity::Critical);
    assert_eq!(group.told(320), email(Why::Escalated, 1));
}

#[test]
fn two_tellings_of_one_life_are_two_notifications() {
    let mut group = Group::new();
    group.fires("a", 0);
    group.told(0);
    let mut ids = BTreeSet::new();
    for (second, severity) in [(10, Severity::Critical), (310, Severity::Warning), (320, Severity::Critical)] {
        group.members.iter_mut().for_each(|alert| alert.severity = severity);
        let dispatch = group.dispatch(second);
        ids.extend(dispatch.notifications.iter().map(|told| (told.reason.as_str(), told.id.clone())));
    }
    assert_eq!(ids.iter().filter(|(reason, _)| *reason == Why::Escalated.as_str()).count(), 2, "{ids:?}");
}

#[test]
fn the_end_of_a_life_is_not_that_of_the_next() {
    let mut group = Group::new();
    group.fires("a", 0);
    group.fires("b", 0);
    assert_eq!(group.told(0), email(Why::Fired, 2));
    group.is_over("a", 10);
    assert_eq!(group.told(10), []);
    group.fires("a", 400);
    assert_eq!(group.told(400), email(Why::Fired, 2), "b and the new life of a");
    group.is_over("b", 410);
    assert_eq!(group.told(410), [], "a fires still");
    group.is_over("a", 420);
    assert_eq!(group.told(420), email(Why::Resolved, 2));
}

#[test]
fn a_group_waits_for_more_and_tells_news_together() {
    let mut group = Group::new();
    group.policy.group_wait = Period::seconds(30);
    group.policy.group_interval = Period::seconds(60);
    group.fires("a", 0);
    assert_eq!(group.told(0), []);
    assert_eq!(group.next_at, Some(at(30)));
    group.fires("b", 10);
    assert_eq!(group.told(10), []);
    assert_eq!(group.told(30), email(Why::Fired, 2));
    group.fires("c", 40);
    group.is_over("a", 50);
    assert_eq!(group.told(50), []);
    assert_eq!(group.told(90), email(Why::Fired, 3), "two fire, one is over");
    group.is_over("b", 100);
    assert_eq!(group.told(100), []);
    group.is_over("c", 110);
    assert_eq!(group.told(110), email(Why::Resolved, 2));
}

#[test]
fn what_somebody_took_is_neither_repeated_nor_escalated() {
    let mut group = Group::new();
    let step = EscalationStep { after: Period::seconds(60), notification_channels: vec!["boss".to_owned()] };
    group.escalation = vec![step];
    group.fires("a", 0);
    group.told(0);
    assert_eq!(group.next_at, Some(at(60)));
    assert_eq!(group.told(60), [("boss".to_owned(), Why::Unacknowledged, 1)]);
    assert_eq!(group.told(70), []);
    let taken = Some(Acknowledgement { by: "ada".to_owned(), at: at(80), note: String::new() });
    group.members.iter_mut().for_each(|alert| alert.acknowledged.clone_from(&taken));
    assert_eq!(group.told(400), []);
    group.is_over("a", 410);
    let over = |to: &str| (to.to_owned(), Why::Resolved, 1);
    assert_eq!(group.told(410), [over("boss"), over("email")]);
}

#[test]
fn what_is_silenced_is_told_when_the_silence_ends_and_ends_are_told_anyway() {
    let mut group = Group::new();
    let silence = Silence {
        id: "s".to_owned(),
        matchers: vec![LabelMatcher::new("host", MatchOp::Equal, "a").expect("sound")],
        starts_at: at(0),
        ends_at: at(100),
        created_by: "ada".to_owned(),
        comment: "upgrade".to_owned(),
    };
    group.suppressors.silences = vec![silence.clone()];
    group.fires("a", 0);
    let out = group.dispatch(0);
    assert!(out.notifications.is_empty());
    assert_eq!(out.reasons.first().map(|reason| reason.kind), Some("suppressed"));
    assert!(out.suppressed.iter().any(|(_, by)| by.iter().any(|one| one.id == "s")));
    assert!(group.dispatch(15).reasons.is_empty(), "a decision that stays is written once");
    assert_eq!(group.told(100), email(Why::Fired, 1));
    group.suppressors.silences = vec![Silence { starts_at: at(100), ends_at: at(900), ..silence }];
    group.is_over("a", 200);
    assert_eq!(group.told(200), email(Why::Resolved, 1));
}

#[test]
fn what_another_alert_explains_is_not_told_and_nothing_explains_itself() {
    let mut group = Group::new();
    let host = |value: &str| vec![LabelMatcher::new("host", MatchOp::Equal, value).expect("sound")];
    let rule = Inhibition { source: host("switch"), target: Vec::new(), equal: vec!["rule_id".to_owned()] };
    group.suppressors.inhibitions = vec![rule];
    let switch = alert("switch", 0, Severity::Critical);
    group.suppressors.firing = vec![("switch".to_owned(), switch.matched_labels())];
    group.fires("a", 0);
    group.members.push(switch);
    assert_eq!(group.told(0), email(Why::Fired, 1), "only the switch");
    group.suppressors.firing.clear();
    group.is_over("switch", 20);
    assert_eq!(group.told(20), email(Why::Fired, 2), "the other, and that the switch is back");
}

#[test]
fn star_is_every_receiver_and_severities_may_have_their_own() {
    let mut group = Group::new();
    group.policy.receivers = vec![EVERY.to_owned()];
    group.policy.by_severity = BTreeMap::from([(Severity::Critical, vec!["pager".to_owned()])]);
    group.fires("a", 0);
    assert_eq!(group.told(0), [("email".to_owned(), Why::Fired, 1), ("slack".to_owned(), Why::Fired, 1)]);
    group.members.iter_mut().for_each(|alert| alert.severity = Severity::Critical);
    assert_eq!(group.told(10), [("pager".to_owned(), Why::Fired, 1)]);
    group.is_over("a", 20);
    assert_eq!(group.told(20).len(), 3);
}

/// What may happen to a group between two looks.
#[derive(Clone, Debug)]
enum Event {
    Fires(usize),
    Ends(usize),
    Rises(usize),
    Falls(usize),
    Silence,
    Speak,
    Pass,
}

fn events() -> impl Strategy<Value = Vec<(Event, i64)>> {
    let event = prop_oneof![
        3 => (0..3usize).prop_map(Event::Fires),
        3 => (0..3usize).prop_map(Event::Ends),
        1 => (0..3usize).prop_map(Event::Rises),
        1 => (0..3usize).prop_map(Event::Falls),
        1 => Just(Event::Silence),
        1 => Just(Event::Speak),
        2 => Just(Event::Pass),
    ];
    prop::collection::vec((event, 1i64..200), 1..80)
}

impl Group {
    fn happens(&mut self, event: &Event, second: i64) {
        let name = |i: &usize| ["a", "b", "c"].get(*i).copied().unwrap_or("a");
        let set = |group: &mut Self, i: &usize, severity| {
            let firing = group.members.iter_mut().filter(|a| a.fingerprint == name(i) && a.state == AlertState::Firing);
            firing.for_each(|alert| alert.severity = severity);
        };
        match event {
            Event::Fires(i) => {
                let open = |a: &Alert| a.fingerprint == name(i) && a.state == AlertState::Firing;
                if !self.members.iter().any(open) {
                    self.fires(name(i), second);
                }
            }
            Event::Ends(i) => self.is_over(name(i), second),
            Event::Rises(i) => set(self, i, Severity::Critical),
            Event::Falls(i) => set(self, i, Severity::Warning),
            Event::Silence => {
                self.suppressors.silences = vec![Silence {
                    id: "s".to_owned(),
                    matchers: vec![LabelMatcher::new("host", MatchOp::Matches, ".+").expect("sound")],
                    starts_at: at(0),
                    ends_at: at(1_000_000),
                    created_by: String::new(),
                    comment: String::new(),
                }];
            }
            Event::Speak => self.suppressors.silences.clear(),
            Event::Pass => {}
        }
    }
}

proptest! {
    /// Whatever happens: no alert is told twice within its cooldown at the same severity, nothing silenced is told to fire,
    /// every end that is told was a firing that was told, and once all is over and quiet nobody is left believing it fires.
    #[test]
    fn promises_hold_whatever_happens(events in events(), cooldown in 1i64..400) {
        let mut group = Group::new();
        group.cooldown = Period::seconds(cooldown);
        let (mut second, mut believes) = (0, BTreeSet::new());
        let mut last: BTreeMap<String, (i64, Severity)> = BTreeMap::new();
        for (event, pause) in &events {
            second += pause;
            group.happens(event, second);
            let silent = !group.suppressors.silences.is_empty();
            for notification in group.dispatch(second).notifications {
                let fires = matches!(notification.reason, Why::Fired | Why::Repeated | Why::Escalated);
                prop_assert!(!(fires && silent));
                let due = |print: &str, severity| last.get(print).is_none_or(|(told, worst)| {
                    second - told >= cooldown || severity > *worst
                });
                let prints = notification.alerts.iter().filter(|a| a.firing);
                prop_assert!(!fires || prints.clone().any(|a| due(&a.fingerprint, a.severity)));
                for told in &notification.alerts {
                    if told.firing {
                        believes.insert(told.fingerprint.clone());
                        last.insert(told.fingerprint.clone(), (second, told.severity));
                    } else {
                        prop_assert!(believes.remove(&told.fingerprint), "an end that nobody waited for");
                    }
                }
            }
        }
        group.suppressors.silences.clear();
        for name in ["a", "b", "c"] {
            group.is_over(name, second);
        }
        for told in group.dispatch(second + 1).notifications.iter().flat_map(|n| &n.alerts) {
            prop_assert!(!told.firing);
            believes.remove(&told.fingerprint);
        }
        prop_assert!(believes.is_empty(), "{believes:?} are believed to fire");
        prop_assert!(group.members.is_empty());
    }

    /// Two replicas that decide on the same thing write the same ids.
    #[test]
    fn ids_are_a_function_of_what_is_told(events in events()) {
        let (mut one, mut two) = (Group::new(), Group::new());
        let mut second = 0;
        for (event, pause) in &events {
            second += pause;
            one.happens(event, second);
            two.happens(event, second);
            let ids = |out: Dispatch| out.notifications.into_iter().map(|n| n.id).collect::<Vec<_>>();
            prop_assert_eq!(ids(one.dispatch(second)), ids(two.dispatch(second)));
        }
    }
}
