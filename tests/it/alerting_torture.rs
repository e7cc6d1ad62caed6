//! From a measurement to the receivers' doors while replicas die and sleep and receivers have a bad day.
//!
//! Three replicas evaluate, decide and deliver; every incident is to be told to three receivers when it fires and when it is
//! over. One receiver answers 500 now and then, one 429 with `Retry-After`, one nothing at all. What is counted is what
//! the receivers took, so a page that is missing or doubled shows wherever it was lost or doubled.
//!
//! `FASTBREAK_TORTURE_INCIDENTS=500 cargo test --test it alerting_torture -- --nocapture` is the whole of it;
//! without the variable there are fewer incidents. `FASTBREAK_TORTURE_SEED` repeats a run's kills and stops.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::alerting::{call, options, save_rule, send};
use crate::support::hook::{Hook, Reply, Seen};
use crate::support::server::Options;
use crate::support::{Database, Server, within};

/// Incidents where nobody asks for more; a hundred make a wave.
const INCIDENTS: usize = 60;
const RULES: usize = 5;
/// How long one wave may take to fire, or to be over.
const PATIENCE: Duration = Duration::from_secs(120);
/// Attempts of one process to one receiver at once: so many may be under way when it dies.
const AT_ONCE: usize = 4;
/// What the receiver that is too busy asks for.
const RETRY_AFTER: u64 = 2;

/// What a receiver does to the first attempt at every third page; whatever comes after is taken.
#[derive(Clone, Copy)]
enum Mood {
    Fails,
    Busy,
    Silent,
}

const RECEIVERS: [(&str, Mood); 3] = [("fails", Mood::Fails), ("busy", Mood::Busy), ("silent", Mood::Silent)];

/// A request as its receiver saw it.
struct Request {
    id: String,
    page: (String, String, String),
    at: Instant,
    taken: bool,
}

/// A receiver, and every request that came.
struct Door {
    hook: Hook,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Door {
    async fn open(mood: Mood) -> Self {
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let kept = Arc::clone(&requests);
        let hook = Hook::start(move |_, seen| {
            let (id, page) = (seen.header("webhook-id").to_owned(), page(seen));
            let mut kept = kept.lock();
            let is_first = !kept.iter().any(|request| request.id == id);
            let unlucky = is_first && id.bytes().map(usize::from).sum::<usize>() % mood.one_in() == 0;
            kept.push(Request { id, page, at: Instant::now(), taken: !unlucky });
            if unlucky { mood.reply() } else { Reply::Late(200, Duration::from_millis(20)) }
        });
        Self { hook: hook.await, requests }
    }
}

impl Mood {
    /// One page in so many is refused at first; silence costs a whole time-out.
    const fn one_in(self) -> usize {
        match self {
            Self::Fails | Self::Busy => 3,
            Self::Silent => 10,
        }
    }

    const fn reply(self) -> Reply {
        match self {
            Self::Fails => Reply::Status(500),
            Self::Busy => Reply::TooMany(RETRY_AFTER),
            Self::Silent => Reply::Hang,
        }
    }
}

/// Which rule, which host, what happened.
fn page(seen: &Seen) -> (String, String, String) {
    let body = seen.json();
    let told = &body["data"]["notification"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let alert = &told["alerts"][0];
    assert_eq!(told["alerts"].as_array().unwrap().len(), 1, "each incident is a group of its own");
    (text(&alert["ruleId"]), text(&alert["labels"]["host"]), text(&told["reason"]))
}

/// What is done to the replicas.
#[derive(Clone, Copy)]
struct Plan {
    kills: bool,
    /// How long a replica is stopped, in seconds.
    stop: (u64, u64),
}

/// The replicas, and who does what to them.
struct Chaos {
    plan: Plan,
    options: Options,
    servers: Vec<Server>,
    /// Which is stopped, and until when.
    stopped: Option<(usize, Instant)>,
    next: Instant,
    random: StdRng,
    kills: usize,
    stops: usize,
}

impl Chaos {
    fn new(plan: Plan, options: Options, seed: u64) -> Self {
        let servers = (0..3).map(|_| options.start()).collect();
        let random = StdRng::seed_from_u64(seed);
        Self { plan, options, servers, stopped: None, next: Instant::now(), random, kills: 0, stops: 0 }
    }

    /// One that is awake.
    fn awake(&self) -> &Server {
        let asleep = self.stopped.map(|(which, _)| which);
        self.servers.iter().enumerate().find(|(which, _)| Some(*which) != asleep).unwrap().1
    }

    /// Does what is due.
    fn strike(&mut self) {
        let now = Instant::now();
        if let Some((which, until)) = self.stopped
            && until <= now
        {
            self.servers[which].signal("CONT");
            self.stopped = None;
        }
        if self.next > now {
            return;
        }
        self.next = now + Duration::from_secs(3);
        let which = self.random.random_range(0..self.servers.len());
        if self.plan.kills && self.random.random_bool(0.5) {
            // One that is asleep may die too.
            self.stopped = self.stopped.filter(|(asleep, _)| *asleep != which);
            self.servers.remove(which).kill();
            self.servers.insert(which, self.options.start());
            self.kills += 1;
        } else if self.stopped.is_none() {
            let seconds = self.random.random_range(self.plan.stop.0..=self.plan.stop.1);
            self.servers[which].signal("STOP");
            self.stopped = Some((which, now + Duration::from_secs(seconds)));
            self.stops += 1;
        }
    }

    fn calm(&mut self) {
        if let Some((which, _)) = self.stopped.take() {
            self.servers[which].signal("CONT");
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().unwrap())
}

/// What came of it.
struct Outcome {
    database: Database,
    doors: Vec<Door>,
    incidents: usize,
    kills: usize,
    stops: usize,
}

async fn receivers(server: &Server) -> Vec<Door> {
    let mut doors = Vec::new();
    for (name, mood) in RECEIVERS {
        let door = Door::open(mood).await;
        let body = json!({ "id": name, "kind": "webhook", "settings": {}, "secrets": { "url": door.hook.url } });
        let (status, answer) = call(server, "POST", "/api/receivers", &body).await;
        assert_eq!(status, 201, "{answer}");
        doors.push(door);
    }
    doors
}

/// Lets `incidents` happen, a wave at a time, while `plan` is done to the replicas.
async fn run(plan: Plan) -> Outcome {
    let incidents = number("FASTBREAK_TORTURE_INCIDENTS", INCIDENTS as u64) as usize;
    let seed = number("FASTBREAK_TORTURE_SEED", 7);
    let database = Database::create().await;
    let options = options(&database)
        .with("FASTBREAK_NOTIFY_ALLOW_CIDRS", "127.0.0.0/8")
        .with("FASTBREAK_NOTIFY_ALLOW_PORTS", "1-65535")
        .with("FASTBREAK_DATABASE_CONNECTIONS", "5")
        .with("RUST_LOG", "error");
    let mut chaos = Chaos::new(plan, options, seed);
    let doors = receivers(chaos.awake()).await;
    for rule in 0..RULES {
        let more = json!({ "groupBy": ["host"], "notificationChannels": ["fails", "busy", "silent"] });
        save_rule(chaos.awake(), &format!("load_{rule}"), more).await;
    }
    let began = Instant::now();
    let mut left = incidents.div_ceil(RULES);
    for wave in 0.. {
        let hosts = left.min(20);
        if hosts == 0 {
            break;
        }
        left -= hosts;
        for (value, state) in [(20.0, "firing"), (1.0, "resolved")] {
            for host in 0..hosts {
                chaos.strike();
                send(chaos.awake(), &format!("w{wave}-{host}"), value).await;
            }
            let sql = format!(
                "SELECT count(*) FROM alert_instances WHERE state = '{state}' \
                 AND alert->'labels'->>'host' LIKE 'w{wave}-%' AND rule_id LIKE 'load_%'"
            );
            within(PATIENCE, &format!("wave {wave} is {state}"), async || {
                chaos.strike();
                database.number(&sql).await == (hosts * RULES) as i64
            })
            .await;
        }
    }
    let waiting = "SELECT count(*) FROM deliveries WHERE state <> 'sent'";
    within(PATIENCE, "all is delivered", async || {
        chaos.strike();
        database.number(waiting).await == 0
    })
    .await;
    chaos.calm();
    let incidents = incidents.div_ceil(RULES) * RULES;
    let requests: usize = doors.iter().map(|door| door.requests.lock().len()).sum();
    println!(
        "seed {seed}: {incidents} incidents, {requests} requests, {} kills, {} stops, {} s",
        chaos.kills,
        chaos.stops,
        began.elapsed().as_secs()
    );
    Outcome { database, doors, incidents, kills: chaos.kills, stops: chaos.stops }
}

impl Outcome {
    /// Every incident fired once, was resolved once, and each receiver was told of both, under one id each.
    async fn assert_none_is_missing(&self) {
        for state in ["firing", "resolved"] {
            let sql = format!(
                "SELECT count(*) FROM alert_transitions t JOIN alert_instances a ON a.id = t.alert_id \
                 WHERE a.rule_id LIKE 'load_%' AND to_state = '{state}'"
            );
            assert_eq!(self.database.number(&sql).await, self.incidents as i64, "{state}");
        }
        for door in &self.doors {
            let mut ids: BTreeMap<(String, String, String), Vec<String>> = BTreeMap::new();
            for request in door.requests.lock().iter().filter(|request| request.taken) {
                ids.entry(request.page.clone()).or_default().push(request.id.clone());
            }
            assert_eq!(ids.len(), self.incidents * 2, "a page is missing");
            for (page, mut ids) in ids {
                ids.dedup();
                assert_eq!(ids.len(), 1, "{page:?} was told under several ids");
            }
        }
    }

    /// The pages that a receiver took more than once, with how often too much.
    fn doubled(&self) -> HashMap<String, usize> {
        let mut times: HashMap<String, usize> = HashMap::new();
        for door in &self.doors {
            for request in door.requests.lock().iter().filter(|request| request.taken) {
                *times.entry(request.id.clone()).or_default() += 1;
            }
        }
        times.into_iter().filter(|(_, times)| *times > 1).map(|(id, times)| (id, times - 1)).collect()
    }

    /// Whoever asked for a pause was left alone for it.
    fn assert_pauses_were_kept(&self) {
        let requests = self.doors[1].requests.lock();
        for refused in requests.iter().filter(|request| !request.taken) {
            let next = requests.iter().find(|later| later.id == refused.id && later.at > refused.at).unwrap();
            let pause = next.at - refused.at;
            assert!(pause >= Duration::from_secs(RETRY_AFTER), "{pause:?} after 429");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_is_missing_and_one_is_doubled_only_where_its_sender_died() {
    let outcome = run(Plan { kills: true, stop: (2, 20) }).await;
    outcome.assert_none_is_missing().await;
    assert!(outcome.kills > 0);
    let doubled = outcome.doubled();
    println!("doubled: {doubled:?}");
    for id in doubled.keys() {
        let cut_off = format!(
            "SELECT count(*) FROM delivery_attempts a JOIN deliveries d ON d.id = a.delivery_id \
             WHERE d.notification_id = '{id}' AND a.detail = 'the sender ended before it told the outcome'"
        );
        assert!(outcome.database.number(&cut_off).await > 0, "{id} was doubled without a sender that was cut off");
    }
    // Each death or long sleep cuts off at most what its process had under way.
    let most = (outcome.kills + outcome.stops) * AT_ONCE * RECEIVERS.len();
    assert!(doubled.values().sum::<usize>() <= most, "{doubled:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_kill_no_page_is_doubled_although_replicas_lose_their_rules_to_others() {
    // Longer than the lease on rules, shorter than that on a delivery.
    let outcome = run(Plan { kills: false, stop: (7, 9) }).await;
    outcome.assert_none_is_missing().await;
    assert!(outcome.stops > 0);
    assert_eq!(outcome.doubled(), HashMap::new());
    outcome.assert_pauses_were_kept();
}
