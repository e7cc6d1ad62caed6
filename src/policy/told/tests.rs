//! What one instance is told, whatever it sleeps through.

use proptest::prelude::*;

use super::*;
use crate::model::{Policy, StoredPolicy};

type Runs = BTreeMap<String, (bool, i64)>;

fn kept(id: &str, service: &str, revision: i64) -> StoredPolicy {
    let json = json!({ "id": id, "name": id, "selector": { "service": service }, "cache": {} });
    let policy: Policy = serde_json::from_value(json).expect("a policy");
    let at = DateTime::UNIX_EPOCH;
    let (author, reason) = (String::new(), String::new());
    StoredPolicy { policy, revision, author, reason, created_at: at, updated_at: at }
}

fn house(state: &Runs, invalidations: &[(i64, &str)]) -> House {
    let policies = state.iter().map(|(id, (ours, revision))| kept(id, if *ours { "shop" } else { "else" }, *revision));
    House::of(policies, invalidations)
}

fn who(invalidation: i64) -> Who {
    Who { service: "shop".to_owned(), instance: "shop-1".to_owned(), invalidation, ..Who::default() }
}

proptest! {
    /// However many states it sleeps through, an instance that applies what it is told runs the newest.
    #[test]
    fn what_it_is_told_makes_it_run_the_newest(
        states in prop::collection::vec(prop::collection::btree_map("[abc]", (prop::bool::ANY, 1i64..4), 0..4), 1..8),
        asleep in prop::collection::vec(prop::bool::ANY, 8),
    ) {
        let mut told = Told::new(who(0));
        let mut runs: BTreeMap<String, i64> = BTreeMap::new();
        let last = states.len() - 1;
        for (n, (state, asleep)) in states.iter().zip(asleep).enumerate() {
            if asleep && n != last {
                continue;
            }
            let missed = told.catch_up(&house(state, &[]));
            for id in &missed.unchanged {
                prop_assert!(runs.contains_key(id));
            }
            runs.retain(|id, _| !missed.removed.contains(id));
            runs.extend(missed.changed.iter().map(|one| (one.policy.policy.id.clone(), one.policy.revision)));
            let expect: BTreeMap<String, i64> = state.iter().filter(|(_, (ours, _))| *ours)
                .map(|(id, (_, revision))| (id.clone(), *revision)).collect();
            prop_assert_eq!(&runs, &expect);
        }
    }

    /// Whatever it had, an instance that applies what it is sent has applied, or dropped its memory for, every
    /// invalidation that is for it, in order and each after the one that it had before.
    #[test]
    fn no_invalidation_is_passed_over(
        services in prop::collection::vec(prop::bool::ANY, 0..30),
        first in 1i64..20,
        had in 0i64..40,
        grows in prop::collection::vec(0usize..10, 1..5),
    ) {
        let all: Vec<(i64, &str)> =
            services.iter().zip(first..).map(|(ours, n)| (n, if *ours { "sh*" } else { "mail" })).collect();
        let mut seen = 0;
        let mut told = Told::new(who(had));
        let mut begun = None;
        for grow in grows.into_iter().chain([all.len()]) {
            seen = (seen + grow).min(all.len());
            if seen == 0 {
                continue;
            }
            let house = house(&Runs::new(), &all[..seen]);
            let (mut has, dropped_at) = match begun {
                Some(has) => (has, 0),
                None => {
                    let (start, lost) = told.begin(&house);
                    prop_assert!(lost || had == 0 || start == had, "it goes on where it was");
                    (start, if lost || had == 0 { start } else { 0 })
                }
            };
            loop {
                match told.next_invalidation(&house) {
                    Invalid::Nothing => break,
                    Invalid::Lost => {
                        prop_assert!(false, "nothing is lost after the start");
                    }
                    Invalid::Next(row, previous) => {
                        prop_assert_eq!(previous, has, "the one before is the one that it has");
                        let between = all.iter().filter(|(n, service)| *n > has.max(dropped_at) && *n < row.sequence && *service == "sh*");
                        prop_assert_eq!(between.count(), 0, "none between");
                        has = row.sequence;
                    }
                }
            }
            let left = all[..seen].iter().filter(|(n, service)| *n > has.max(dropped_at) && *service == "sh*");
            prop_assert_eq!(left.count(), 0, "none left");
            prop_assert!(told.knows(house.newest()));
            begun = Some(has);
        }
    }
}

#[test]
fn what_it_refuses_is_told_of_it_and_what_ran_before_goes_on() {
    let mut told = Told::new(who(0));
    let state = |a, b| Runs::from([("a".to_owned(), (true, a)), ("b".to_owned(), (true, b))]);
    told.catch_up(&house(&state(1, 1), &[]));
    told.runs();
    told.catch_up(&house(&state(2, 2), &[]));
    told.runs();
    told.refuses("a", "no");
    let running: BTreeMap<String, Running> =
        serde_json::from_value(told.row(("s", "r"), true).running).expect("what it runs");
    assert_eq!((running["a"].revision, running["a"].error.as_str()), (1, "no"));
    assert_eq!((running["b"].revision, running["b"].error.as_str()), (2, ""));
    told.catch_up(&house(&state(2, 3), &[]));
    told.runs();
    let running: BTreeMap<String, Running> =
        serde_json::from_value(told.row(("s", "r"), true).running).expect("what it runs");
    assert_eq!((running["a"].revision, running["a"].error.as_str()), (1, "no"), "nothing was said of it");
    assert_eq!(running["b"].revision, 3);
}

#[test]
fn an_override_is_told_once_however_often_it_is_looked_at() {
    let mut told = Told::new(who(0));
    let state = Runs::from([("a".to_owned(), (true, 1))]);
    let (end, now) = (DateTime::UNIX_EPOCH, Instant::now());
    let mut at = |end, ms| {
        let mut house = house(&state, &[]);
        house.bend("a", end, now + Duration::from_millis(ms));
        told.catch_up(&house).changed.len()
    };
    assert_eq!((at(end, 0), at(end, 3), at(end, 7)), (1, 0, 0), "clocks that are read apart are no news");
    assert_eq!(at(end + chrono::TimeDelta::seconds(1), 7), 1, "it was renewed");
}

#[test]
fn what_no_redis_has_heard_of_is_told_to_the_next_who_comes() {
    let mut told = Told::new(who(0));
    let mut house = house(&Runs::new(), &[(7, "mail"), (8, "shop"), (9, "shop")]);
    assert_eq!(told.begin(&house), (7, false));
    let mut later = Told::new(who(0));
    later.are_applied(BTreeSet::from([8]));
    assert_eq!(later.begin(&house), (8, false), "8 has reached one since");
    house.apply_all();
    assert_eq!(Told::new(who(0)).begin(&house), (9, false), "its memory is empty: nothing to tell");
    assert_eq!(Told::new(who(8)).begin(&house), (8, false));
    assert_eq!(Told::new(who(3)).begin(&house), (9, true), "what came after 3 is known no more");
    assert_eq!(Told::new(who(12)).begin(&house), (9, true), "it is of another house");
}

#[test]
fn a_lease_grows_at_once_and_shrinks_when_the_longer_one_has_run_out() {
    let (mut told, start) = (Told::new(Who { lease: Duration::from_secs(10), ..who(0) }), Instant::now());
    let mut asks = |lease, at| {
        let changed = told.asks_lease(Duration::from_secs(lease), start + Duration::from_secs(at));
        (changed, told.who().lease.as_secs())
    };
    assert_eq!(asks(3, 1), (false, 10));
    assert_eq!(asks(4, 11), (false, 10), "the one of second 1 may run until 11");
    assert_eq!(asks(3, 12), (true, 4), "the longest since");
    assert_eq!(asks(20, 13), (true, 20));
    assert_eq!(asks(20, 14), (false, 20));
}
