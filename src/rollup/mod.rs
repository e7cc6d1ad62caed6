//! Head, windows, blocks, checkpoints, tiers.
//!
//! Layer 4. The way of a frame: committed by `ingest` → [`Head`] of its stream (memory) → checkpoint → blocks (Postgres).
//! A head is applied by one function, live and on replay, so any replica can hold any stream's head.

mod block;
mod cache;
mod checkpoint;
mod compact;
mod counters;
mod frame;
mod head;
mod labels;
mod log;
mod order;
mod points;
mod registry;
mod stream;
mod streams;

pub use block::{BlockError, BlockSeries, BlockTotals};
pub use cache::{BlockCache, BlockReadError, Contents};
pub use checkpoint::{CheckpointError, run_flusher};
pub use compact::{CompactError, Compactor};
pub use counters::RollupMetrics;
pub use frame::{FrameError, FrameReader, FrameWriter, Record, Template, TemplateRun};
pub use head::{Generation, Head, HeadEntry, RowStep};
pub use labels::{Interner, LabelPairs, Symbol};
pub use log::Log;
pub use points::{NumberPoint, Point, PointReader, PointWriter, Shape};
pub use registry::{Collision, MetricEntry, Registry, SeriesEntry, Slot};
pub use stream::{LiveRow, ReplayError, Stream, load_metrics, register_series};
pub use streams::{ShareError, Streams};
