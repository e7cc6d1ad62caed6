//! Round trips of every shape, damage, and sizes.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::{Buckets, Counter, Delta, ExponentialBuckets, Gauge, Histogram, HistogramRuns, Run, Summary};

fn float() -> impl Strategy<Value = f64> {
    any::<u64>().prop_map(f64::from_bits)
}

fn histogram() -> impl Strategy<Value = Histogram> {
    let side = || (-50i32..50, prop::collection::vec(0u64..1000, 0..6));
    let explicit = prop::collection::vec(0u64..1000, 4)
        .prop_map(|counts| Buckets::Explicit { bounds: Arc::from([0.1, 0.5, 1.0]), counts });
    let exponential =
        (-10i32..=20, 0u64..9, side(), side()).prop_map(|(scale, zero_count, p, n)| Buckets::Exponential {
            scale,
            zero_count,
            zero_threshold: 0.0,
            positive: ExponentialBuckets { offset: p.0, counts: p.1 },
            negative: ExponentialBuckets { offset: n.0, counts: n.1 },
        });
    let buckets = prop_oneof![explicit, exponential];
    (any::<u64>(), float(), prop::option::of(float()), prop::option::of(float()), buckets)
        .prop_map(|(count, sum, min, max, buckets)| Histogram { count, sum, min, max, buckets })
}

fn run<T: std::fmt::Debug + Clone>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Run<T>> {
    (any::<i64>(), any::<i64>(), value).prop_map(|(start, time, value)| Run { start, time, value })
}

fn cell(shape: u8) -> BoxedStrategy<Cell> {
    match shape {
        0 => (any::<i64>(), float(), 0u32..3, float())
            .prop_map(|(time, last, count, sum)| match count {
                1 => Cell::Gauge(Gauge::one(time, last)),
                _ => Cell::Gauge(Gauge { time, last, min: sum, max: last, sum, count }),
            })
            .boxed(),
        1 => (run(float()), prop::option::weighted(0.2, prop::collection::vec(run(float()), 1..3)))
            .prop_map(|(first, more)| Cell::Counter(Counter { first, more: more.map(Box::new) }))
            .boxed(),
        2 => (float(), any::<u32>()).prop_map(|(sum, count)| Cell::Delta(Delta { sum, count })).boxed(),
        3 => histogram().prop_map(|h| Cell::Histogram(Box::new(h))).boxed(),
        4 => prop::collection::vec(run(histogram()), 1..3)
            .prop_map(|runs| Cell::HistogramRuns(Box::new(HistogramRuns(runs))))
            .boxed(),
        _ => (any::<i64>(), any::<i64>(), any::<u64>(), float(), prop::collection::vec((float(), float()), 0..4))
            .prop_map(|(time, start, count, sum, quantiles)| {
                Cell::Summary(Box::new(Summary { time, start, count, sum, quantiles }))
            })
            .boxed(),
    }
}

fn block() -> impl Strategy<Value = Vec<BlockSeries>> {
    (0u8..6).prop_flat_map(|shape| {
        let cell = prop_oneof![9 => cell(shape), 1 => Just(Cell::Stale)];
        let windows = prop::collection::btree_map(0u32..360, cell, 0..12);
        let exemplar = (any::<i64>(), float(), any::<[u8; 16]>(), any::<[u8; 8]>())
            .prop_map(|(time, value, trace_id, span_id)| Exemplar { time, value, trace_id, span_id });
        let series =
            (any::<u64>(), windows, prop::collection::vec(exemplar, 0..2)).prop_map(|(id, windows, exemplars)| {
                let windows = windows.into_iter().map(|(at, cell)| (1_700_000_000 / 10 * 10 + at * 10, cell)).collect();
                BlockSeries { id: SeriesId(id), windows, exemplars }
            });
        prop::collection::vec(series, 0..6)
    })
}

/// Debug text tells NaN payloads apart no better than `==`, so bits are compared through the encoding.
fn bits(series: &[BlockSeries]) -> Vec<u8> {
    encode(Width::TEN_SECONDS, series).expect("encodes")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_encoded_decodes_bit_for_bit(series in block()) {
        let bytes = bits(&series);
        let back = decode(&bytes, &|_| true).expect("decodes");
        prop_assert_eq!(back.len(), series.len());
        prop_assert_eq!(format!("{back:?}"), format!("{series:?}"));
        prop_assert_eq!(bits(&back), bytes);
    }

    #[test]
    fn totals_are_told_of_the_wanted_counters_and_of_nothing_else(series in block()) {
        let bytes = bits(&series);
        let want = |id: SeriesId| id.0.is_multiple_of(2);
        let cells = decode(&bytes, &want).expect("decodes");
        let is_one = |(_, cell): &(WindowStart, Cell)| matches!(cell, Cell::Counter(counter) if counter.more.is_none());
        let Some(totals) = decode_totals(&bytes, &want).expect("decodes") else {
            let mut windows = series.iter().flat_map(|one| &one.windows).peekable();
            prop_assert!(windows.peek().is_none() || !windows.all(is_one));
            return Ok(());
        };
        let of_totals = |(id, places): (SeriesId, std::ops::Range<usize>)| BlockSeries {
            id,
            windows: totals.windows(places).map(|(at, run)| (at, Cell::Counter(Counter::one(run)))).collect(),
            exemplars: Vec::new(),
        };
        let cells: Vec<BlockSeries> =
            cells.into_iter().map(|one| BlockSeries { exemplars: Vec::new(), ..one }).collect();
        let told: Vec<BlockSeries> = totals.series().map(of_totals).collect();
        prop_assert_eq!(format!("{told:?}"), format!("{cells:?}"));
        let ids: Vec<SeriesId> = series.iter().map(|one| one.id).collect();
        prop_assert_eq!(series_ids_of_beginning(&bytes[..bytes.len().min(32 + 8 * ids.len())]).expect("reads"), ids);
    }

    #[test]
    fn a_changed_byte_is_an_error(series in block(), at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut bytes = bits(&series);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(decode(&bytes, &|_| true).is_err());
    }

    #[test]
    fn bytes_that_pass_the_checksum_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 5..300)) {
        bytes[0] = VERSION;
        let crc = crc32c::crc32c(&bytes[HEADER..]);
        bytes[1..HEADER].copy_from_slice(&crc.to_le_bytes());
        let _either = decode(&bytes, &|_| true);
    }
}

#[test]
fn only_the_wanted_series_come_back() {
    let one = |id| BlockSeries {
        id: SeriesId(id),
        windows: vec![(10, Cell::Delta(Delta { sum: id as f64, count: 1 }))],
        exemplars: vec![],
    };
    let bytes = encode(Width::TEN_SECONDS, &[one(1), one(2), one(3)]).expect("encodes");
    assert_eq!(decode(&bytes, &|id| id.0 == 2).expect("decodes"), [one(2)]);
}

/// A thousand counters and gauges with values as services have them.
fn realistic(width: u32, counter: bool) -> Vec<BlockSeries> {
    let hour = 1_700_000_000 / 3600 * 3600;
    (0..1000u64)
        .map(|id| {
            let mut state = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut random = move |n: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % n
            };
            let (mut total, mut level) = (random(100_000) as f64, random(1000) as f64);
            let windows = (0..3600 / width)
                .map(|k| {
                    let start = hour + k * width;
                    let time = i64::from(start) * 1000 + 4_321;
                    total += random(50) as f64;
                    level += random(21) as f64 - 10.0;
                    let cell = if counter {
                        Cell::Counter(Counter::one(Run { start: 1_699_999_000_000, time, value: total }))
                    } else {
                        Cell::Gauge(Gauge::one(time, level / 10.0))
                    };
                    (start, cell)
                })
                .collect();
            BlockSeries { id: SeriesId(id.wrapping_mul(0x1234_5678_9abc_def1)), windows, exemplars: vec![] }
        })
        .collect()
}

#[test]
fn a_series_hour_takes_at_most_200_bytes_by_the_minute_and_600_by_ten_seconds() {
    for counter in [true, false] {
        for (width, most) in [(60, 200), (10, 600)] {
            let series = realistic(width, counter);
            let bytes = encode(Width::new(width).expect("divides an hour"), &series).expect("encodes");
            let each = bytes.len() / series.len();
            assert!(each <= most, "{each} bytes a series-hour at {width} s, counter: {counter}");
        }
    }
}
