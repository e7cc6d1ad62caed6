//! FastBreak: OTLP metrics and traces in, committed before they are acknowledged, aggregated in windows,
//! answered through PromQL.
//!
//! # Architecture
//!
//! One direction, no way back; what is between two rooms is a bounded channel or a table.
//!
//! ```text
//!  OTLP/gRPC ┐            one row a group commit                hourly, columns
//!  OTLP/HTTP ┴─ ingest ─────► journal ──ack──► head ─checkpoint─► blocks ──► query ──► gateway: JSON API, page
//!               admit·walk   (Postgres)      (memory)  ▲         (Postgres)    ▲
//!                               │                      │                       │
//!                               └── other replicas ────┘     heads of all streams, brought up to date
//!                 spans ──────► spool ──ack──► tail ──decide──► trace blocks, index ──► gateway
//! ```
//!
//! ## An export, from the wire to an answer
//!
//! 1. [`ingest::grpc`] or [`ingest::http`] admits it by bytes before it is buffered, and inflates it within a bound.
//! 2. A walk over the wire (no protobuf structs are built) finds each point's series. A *memo* per resource expects point
//!    *i* to be the series that it was last time and verifies a 128-bit hash of the raw identity; only a series never seen
//!    is decoded, normalised and given an id, which is a hash of its identity and so the same on every replica.
//!    Spans become points of the delta histogram `traces.span.metrics.duration`.
//! 3. The committer takes all exports that wait and writes them as one [`rollup::FrameWriter`] frame into one journal row,
//!    with the exports' keys, in one round trip; the same statement checks the lease epoch and leaves out keys already there.
//!    The senders are answered after the commit.
//! 4. The frame is applied to the *head* of the stream: the open windows, in memory. The same function applies it on
//!    replay, so a replica that follows or takes over a stream has the same head.
//! 5. A *cut* in the journal ends a generation; the checkpoint writes its windows as blocks and moves the stream's cursor in
//!    one transaction. A row below the cursor is in blocks, a row at or above it is in the head, for everybody. Where
//!    checkpoints cannot be written, exports are refused once `checkpoints_waiting` generations fill memory.
//! 6. The compactor merges the parts of a past hour and makes the minute and hour tiers. Retention drops partitions.
//! 7. [`query::Engine`] chooses series by an index of their labels, reads blocks and cursors in one snapshot, brings the
//!    heads up to it, merges the partials, and evaluates. Parts of range answers are remembered for as long as the blocks
//!    that they were made of are the same: in memory and in Redis, by the cache of our own SDK.
//!
//! ## A span, from the wire to a kept trace
//!
//! 1. The walk of step 2 also asks the span's operation whether it *marks* its trace: an error does, a rule's attribute does,
//!    and within bounds a minute the slowest, a steady sample and the exemplar ([`traces::Operation`], pure).
//! 2. The body, literals of statements taken out, goes compressed into `trace_spool` in the statement that appends the
//!    journal row, with the marks. So a span that is acknowledged is there after any crash.
//! 3. The same bytes wait in memory, bounded; over the bound the spool alone has them. Marks of other replicas are read
//!    from their spools, so each keeps its part of a trace. Marks only add up: order, lateness and split change nothing.
//! 4. After `trace_wait` the decider inflates what waits. Spans of marked traces go into blocks (several traces each,
//!    columns) and the index, in one transaction with the cursor of the spool; calls between services are paired into edges,
//!    which come back as ordinary series. Late spans of a marked trace follow it.
//! 5. Retention and the disk budget drop partitions: by class, plain samples first, errors last.
//!
//! ## A rule, from a tick to the outbox
//!
//! 1. Just after each second of the database's clock, the loop of [`alerting`] reads in one round trip what time it is, which
//!    replicas live, and whether rules or routes have changed. Rendezvous hashing over the replicas says which rules are ours;
//!    evaluation times are multiples of a rule's interval, so every replica means the same instants.
//! 2. State and open alerts of the due rules that have any are read; the state of a rule without alerts is remembered, and
//!    written when it decides otherwise than before, or once in ten seconds. All conditions are asked of the engine at once:
//!    blocks, cursors and heads once for all ([`query::Engine::conditions`]), and what is closed is kept from one time to the
//!    next, with sums over it ([`query::Standing`]).
//! 3. `alerting::state::step` moves each alert on: inactive → pending → firing → resolved. It is pure, and backtests and
//!    tests call it too.
//! 4. A rule that has something to say writes it in one transaction ([`storage::Storage::evaluation_write`]): first the
//!    rule's epoch is raised *if it is still the one that was read* (this fences whoever slept), then alerts, transitions,
//!    and, under the locks of the groups, what `alerting::dispatch` decides is told: rows of the outbox. Rules without
//!    alerts are moved on together, in one statement.
//! 5. Waits, cooldowns and escalation steps are times in the group's row; a group that is due is decided on by whichever
//!    replica locks it first.
//!
//! How often each service reports, and for how long it has not, is a metric too ([`alerting::Reports`]); the shipped rule
//! `service_silent` is over it.
//!
//! ## A policy, from who writes it to an instance that obeys
//!
//! 1. A policy is checked, every mistake at once ([`model::Policy`]), and kept as a revision with who made it and why.
//! 2. Whatever an instance may have to be told raises the one row of `policy_changes` in its transaction: policies, rollouts,
//!    overrides, invalidations, warmings. Each replica that is watched looks at it twice a second, at once after a write of its
//!    own, and whenever an instance asks; it then reads the house anew ([`policy::House`]).
//! 3. A stream remembers what it sent ([`policy::Told`]), and once the last message is answered tells the difference to the
//!    newest state: nothing queues for a slow instance. Invalidations alone go one by one.
//! 4. The SDK (`clients/rust`) checks, applies, answers with ACK or NACK, and keeps the last good policies on disk. What it
//!    answers is the fleet: `policy_instances`, written many rows at a time by the SDK's batcher.
//!
//! A rollout leaves the policy as it stands and gives a later revision to those whose hash is within its stage; one replica at
//! a time measures its guards and moves it. A rule that fires renews an override; both ends count its lease by themselves.
//!
//! An invalidation has converged when no instance may read an entry from before it. A Ping is answered only by a look that
//! began after it came, and after all that the look saw was sent; the Pong lets memory be read for a lease from when the Ping
//! was sent. So a lease that knows nothing of an invalidation ends at most one lease after its commit, and every instance is in
//! `policy_instances`, with its lease, before its first Ping is answered.
//!
//! ## Laws
//!
//! - *A process never resumes a stream.* It makes a new one at start; whoever lives folds those whose lease has lapsed.
//! - *Windows merge.* Any number of partials in any order give the same answer; cumulative totals are kept as they came and
//!   become increases only when read.
//! - *Redis is never believed.* It wakes and it caches; every answer comes out the same without it.
//! - *Nothing is unbounded.* Bodies, streams, queues, series and memos each have a limit with a name and a counter.
//!
//! ## Rooms
//!
//! A module names only modules of lower layers; `tests/shape.rs` keeps it so, and says which crates may be named where.
//!
//! | layer | rooms |
//! | --- | --- |
//! | 9 | [`cli`]: arguments and exit codes, one file a subcommand |
//! | 8 | [`app`]: build, run, drain; the private servers · [`config`]: the table of settings |
//! | 7 | [`gateway`]: JSON API, `/ws`, the embedded dashboard · [`grpc`]: the admin services, one file a service |
//! | 6 | [`ingest`]: OTLP in, admission, the walk, the committer · [`alerting`]: rules, alerts, who is told, backtests · [`notify`]: notifications out, once to each receiver |
//! | 5 | [`query`]: PromQL and indicators, the only way to read measurements |
//! | 4 | [`policy`]: policies, their revisions, what instances are told of them · [`rollup`]: frames, heads, blocks, checkpoints, tiers, streams · [`traces`]: which traces are kept, their tail, blocks and index |
//! | 3 | [`storage`]: everything diesel · [`redis`]: everything Redis |
//! | 2 | [`telemetry`]: logs, `/metrics`, our own spans and metrics over OTLP, the host · [`template`]: templates that people write, bounded · [`live`]: numbered changes for those who watch |
//! | 1 | [`model`]: the words of the product; no I/O, no async, no wire format |
//! | 0 | [`error`]: one list of error codes, told in gRPC's and HTTP's words · [`proto`]: generated from `proto/` |

pub mod cli;

pub mod app;
pub mod config;

pub mod gateway;
pub mod grpc;

pub mod alerting;
pub mod ingest;
pub mod notify;

pub mod query;

pub mod policy;
pub mod rollup;
pub mod traces;

pub mod redis;
pub mod storage;

pub mod live;
pub mod telemetry;
pub mod template;

pub mod model;

pub mod error;
pub mod proto;
mod varint;
