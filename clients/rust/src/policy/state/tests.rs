//! Any order of snapshots, changes, overrides, ends, reconnects and restarts, beside a model.

use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::batcher::BatchPolicy;
use crate::proto;
use crate::proto::assigned_policy::Kind as Wire;

/// Keeps what it was given; refuses batches of more than its most.
struct Fake {
    name: &'static str,
    most: usize,
    runs: Mutex<Option<Assigned>>,
}

impl Target for Fake {
    fn kind(&self) -> Kind {
        Kind::Batch
    }

    fn name(&self) -> &str {
        self.name
    }

    fn apply(&self, assigned: Option<&Assigned>) -> Result<(), String> {
        match assigned.map(items) {
            Some(items) if items > self.most => return Err(format!("{items} is too many")),
            Some(13) => panic!("told to"),
            _ => {}
        }
        *self.runs.lock() = assigned.cloned();
        Ok(())
    }
}

fn items(assigned: &Assigned) -> usize {
    match &assigned.policy {
        Policy::Batch(policy) => policy.max_items,
        Policy::Cache(_) => 0,
    }
}

fn fake(name: &'static str, most: usize) -> Arc<Fake> {
    Arc::new(Fake { name, most, runs: Mutex::new(None) })
}

fn batch(items: u32) -> proto::BatchPolicy {
    proto::BatchPolicy { max_items: Some(items), ..proto::BatchPolicy::default() }
}

/// What one policy of a message says; 0 items are out of range.
#[derive(Clone, Debug)]
struct Given {
    id: usize,
    target: usize,
    items: u32,
    /// Items and seconds of lease.
    over: Option<(u32, i64)>,
}

const TARGETS: [&str; 5] = ["*", "a*", "ab", "*b", ""];
const NAMES: [&str; 4] = ["a", "ab", "b", "abb"];

fn policy(given: &Given) -> AssignedPolicy {
    let over = given.over.map(|(items, seconds)| proto::AssignedOverride {
        id: "o".to_owned(),
        kind: Some(proto::assigned_override::Kind::Batch(batch(items))),
        lease: Some(prost_types::Duration { seconds, nanos: 0 }),
        reason: String::new(),
    });
    AssignedPolicy {
        policy_id: format!("p{}", given.id),
        revision: i64::from(given.items),
        target: TARGETS[given.target].to_owned(),
        canary: false,
        r#override: over,
        kind: Some(Wire::Batch(batch(given.items))),
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// With those that are here already, in bits, named as unchanged.
    Snapshot(Vec<Given>, u8),
    Delta(Vec<Given>, Vec<usize>),
    Wait(u64),
    Restart,
}

fn given() -> impl Strategy<Value = Given> {
    let over = prop::option::weighted(0.4, (0u32..6, 0i64..20));
    (0usize..5, 0usize..TARGETS.len(), 0u32..9, over).prop_map(|(id, target, items, over)| Given {
        id,
        target,
        items,
        over,
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (prop::collection::vec(given(), 0..4), any::<u8>()).prop_map(|(given, same)| Op::Snapshot(given, same)),
        4 => (prop::collection::vec(given(), 0..3), prop::collection::vec(0usize..5, 0..2))
            .prop_map(|(given, gone)| Op::Delta(given, gone)),
        3 => (1u64..15).prop_map(Op::Wait),
        1 => Just(Op::Restart),
    ]
}

/// The same in the fewest words: by id, what is said and when the override ends.
#[derive(Default)]
struct Model(BTreeMap<usize, (Given, Option<u64>)>);

impl Model {
    fn take(&mut self, given: &Given, now: u64) {
        if given.items > 0 && given.over.is_none_or(|(items, _)| items > 0) {
            let until = given.over.map(|(_, lease)| now + lease as u64);
            self.0.insert(given.id, (given.clone(), until));
        }
    }

    fn effective(&self, name: &str, now: u64) -> Option<(String, u32)> {
        let meant = |pattern: &str| match pattern {
            "*" | "" => true,
            "a*" => name.starts_with('a'),
            "*b" => name.ends_with('b'),
            exact => exact == name,
        };
        // From the most exact on; "" leaves nothing open but says nothing either, and goes before "*".
        ["ab", "a*", "*b", "", "*"].iter().find_map(|pattern| {
            let equals: &[&str] = if ["a*", "*b"].contains(pattern) { &["a*", "*b"] } else { &[pattern] };
            let of = |(_, (given, _)): &(&usize, &(Given, Option<u64>))| {
                equals.contains(&TARGETS[given.target]) && meant(TARGETS[given.target])
            };
            let (id, (given, until)) = self.0.iter().find(of)?;
            let over = given.over.filter(|_| until.is_some_and(|until| now < until));
            Some((format!("p{id}"), over.map_or(given.items, |(items, _)| items)))
        })
    }
}

struct Pair {
    state: State,
    targets: Vec<Arc<Fake>>,
    model: Model,
    start: Instant,
    now: u64,
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self {
            state: State::default(),
            targets: NAMES.map(|name| fake(name, 1_000)).to_vec(),
            model: Model::default(),
            start: Instant::now(),
            now: 0,
        };
        pair.add_targets();
        pair
    }

    fn add_targets(&mut self) {
        for target in &self.targets {
            self.state.add(Arc::clone(target) as Arc<dyn Target>).expect("nothing is here yet");
        }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn end_leases(&mut self) {
        while let Some(end) = self.state.next_end().filter(|end| *end <= self.at(self.now)) {
            assert!(self.state.expire(end) > 0);
        }
    }

    fn step(&mut self, op: Op) {
        let at = self.at(self.now);
        match op {
            Op::Snapshot(given, same) => {
                let here: Vec<usize> = self.model.0.keys().copied().collect();
                let is_given = |id: &usize| given.iter().any(|given| given.id == *id);
                let same: Vec<usize> = here.into_iter().filter(|id| same >> id & 1 == 1 && !is_given(id)).collect();
                self.model.0.retain(|id, _| same.contains(id) || is_given(id));
                for id in &same {
                    if let Some((_, until)) = self.model.0.get_mut(id) {
                        *until = None;
                    }
                }
                given.iter().for_each(|given| self.model.take(given, self.now));
                let policies = given.iter().map(policy).collect();
                let unchanged = same.iter().map(|id| format!("p{id}")).collect();
                self.state.snapshot(PolicySnapshot { policies, unchanged, ..Default::default() }, at);
            }
            Op::Delta(given, gone) => {
                given.iter().for_each(|given| self.model.take(given, self.now));
                gone.iter().for_each(|id| _ = self.model.0.remove(id));
                let changed = given.iter().map(policy).collect();
                let removed = gone.iter().map(|id| format!("p{id}")).collect();
                self.state.delta(PolicyDelta { changed, removed }, at);
            }
            Op::Wait(seconds) => self.now += seconds,
            Op::Restart => {
                let kept = self.state.kept();
                self.state = State::default();
                assert!(self.state.snapshot(kept, at).is_empty());
                self.add_targets();
                self.model.0.values_mut().for_each(|(_, until)| *until = None);
            }
        }
        self.end_leases();
    }
}

proptest! {
    #[test]
    fn any_order_of_events_gives_what_the_model_says(ops in prop::collection::vec(op(), 1..40)) {
        let mut pair = Pair::new();
        for op in ops {
            pair.step(op.clone());
            for target in &pair.targets {
                let runs = target.runs.lock().as_ref().map(|runs| (runs.policy_id.clone(), items(runs) as u32));
                prop_assert_eq!(runs, pair.model.effective(target.name, pair.now), "{} after {:?}", target.name, op);
            }
        }
    }
}

fn give(state: &mut State, id: usize, target: usize, items: u32) -> Vec<Refusal> {
    let changed = vec![policy(&Given { id, target, items, over: None })];
    state.delta(PolicyDelta { changed, removed: Vec::new() }, Instant::now())
}

#[test]
fn what_one_target_refuses_none_runs() {
    let (wide, narrow) = (fake("ab", 1_000), fake("a", 10));
    let mut state = State::default();
    for target in [&wide, &narrow] {
        assert_eq!(state.add(Arc::clone(target) as Arc<dyn Target>), Ok(true));
    }
    assert!(give(&mut state, 0, 1, 5).is_empty());
    let refused = give(&mut state, 0, 1, 11);
    assert_eq!(refused, [Refusal { policy_id: "p0".to_owned(), why: "a: 11 is too many".to_owned() }]);
    let refused = give(&mut state, 0, 1, 13);
    assert_eq!(refused.len(), 1, "and one that panics");
    for target in [&wide, &narrow] {
        assert_eq!(target.runs.lock().as_ref().map(items), Some(5), "what ran before goes on");
    }
    assert_eq!(state.revisions().collect::<Vec<_>>(), [("p0".to_owned(), 5)]);
    // One that comes later gets it too.
    let late = fake("abc", 1_000);
    assert_eq!(state.add(Arc::clone(&late) as Arc<dyn Target>), Ok(true));
    assert_eq!(late.runs.lock().as_ref().map(items), Some(5));
}

#[test]
fn there_is_room_for_so_many_policies() {
    let mut state = State::default();
    for id in 0..POLICIES_MAX {
        assert!(give(&mut state, id, 0, 1).is_empty());
    }
    assert!(give(&mut state, 7, 0, 2).is_empty(), "one that is here may change");
    assert_eq!(give(&mut state, POLICIES_MAX, 0, 1).len(), 1);
    let fresh = |id| policy(&Given { id: POLICIES_MAX + id, target: 0, items: 1, over: None });
    let policies = (0..POLICIES_MAX + 1).map(fresh).collect();
    let refused = state.snapshot(PolicySnapshot { policies, ..Default::default() }, Instant::now());
    assert_eq!((refused.len(), state.revisions().count()), (1, POLICIES_MAX));
}

#[test]
fn what_is_left_out_of_a_policy_is_as_by_default() {
    let target = fake("a", 1_000);
    let mut state = State::default();
    assert_eq!(state.add(Arc::clone(&target) as Arc<dyn Target>), Ok(true));
    give(&mut state, 0, 0, 3);
    let runs = target.runs.lock().clone().expect("given");
    assert_eq!(runs.policy, Policy::Batch(BatchPolicy { max_items: 3, ..BatchPolicy::default() }));
}
