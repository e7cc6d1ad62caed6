//! Laws of the walk: every point is accounted for, and totals survive caps, resets and refused commits.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
    number_data_point,
};
use proptest::prelude::*;
use prost::Message;

use super::metrics;
use super::resource::Resources;
use super::service::SeriesCaps;
use super::walk::Context;
use crate::ingest::Export;
use crate::model::{Cell, Width};
use crate::rollup::{Head, Registry, RowStep};

const NOW_MS: i64 = 1_800_000_000_000;
const NOW: u64 = NOW_MS as u64 * 1_000_000;
const MINUTE: u64 = 60_000_000_000;

/// What a walk stands on.
struct House {
    registry: Registry,
    resources: Resources,
    caps: SeriesCaps,
}

impl House {
    fn new(per_metric: u32) -> Self {
        let caps = SeriesCaps { per_metric, ..SeriesCaps::default() };
        Self { registry: Registry::default(), resources: Resources::new(10), caps }
    }

    fn walk(&self, metrics: Vec<Metric>) -> Export {
        let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
        let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
        let body = ExportMetricsServiceRequest { resource_metrics }.encode_to_vec();
        let context = Context {
            registry: &self.registry,
            resources: &self.resources,
            caps: self.caps,
            now: NOW_MS,
            oldest: NOW_MS - 3_600_000,
            started: NOW_MS,
        };
        metrics::walk(&context, &body).expect("protobuf")
    }
}

fn user(name: &str) -> Vec<KeyValue> {
    let value = Some(AnyValue { value: Some(Value::StringValue(name.to_owned())) });
    vec![KeyValue { key: "user".to_owned(), value, ..KeyValue::default() }]
}

fn number() -> impl Strategy<Value = NumberDataPoint> {
    let time = prop_oneof![5 => Just(NOW), 1 => Just(0), 1 => Just(NOW + 20 * MINUTE), 1 => Just(NOW - 90 * MINUTE)];
    let value = prop_oneof![
        5 => (-9.0..99.0).prop_map(|v| Some(number_data_point::Value::AsDouble(v))),
        1 => Just(Some(number_data_point::Value::AsDouble(f64::NAN))),
        1 => Just(None),
    ];
    let flags = prop_oneof![9 => Just(0u32), 1 => Just(1)];
    ("[a-e]", time, value, flags).prop_map(|(name, time_unix_nano, value, flags)| NumberDataPoint {
        attributes: if name == "e" { user("") } else { user(&name) },
        time_unix_nano,
        value,
        flags,
        ..NumberDataPoint::default()
    })
}

fn distribution() -> impl Strategy<Value = HistogramDataPoint> {
    let bounds = prop_oneof![3 => Just(vec![1.0, 2.0]), 1 => Just(vec![2.0, 1.0])];
    ("[a-e]", bounds, prop::collection::vec(0u64..9, 2..5), any::<bool>()).prop_map(|(name, bounds, counts, right)| {
        HistogramDataPoint {
            attributes: user(&name),
            time_unix_nano: NOW,
            count: counts.iter().sum::<u64>() + u64::from(!right),
            sum: Some(1.0),
            explicit_bounds: bounds,
            bucket_counts: counts,
            ..HistogramDataPoint::default()
        }
    })
}

fn a_metric() -> impl Strategy<Value = (Metric, u64)> {
    let name = prop_oneof![6 => "m[0-3]", 1 => Just(String::new())];
    let temporality = 0i32..3;
    let numbers = prop::collection::vec(number(), 0..8);
    let histograms = prop::collection::vec(distribution(), 0..6);
    (name, temporality, numbers, histograms, 0u8..4).prop_map(|(name, temporality, numbers, histograms, kind)| {
        let aggregation_temporality = temporality;
        let (points, data) = match kind {
            0 => (numbers.len(), Some(metric::Data::Gauge(Gauge { data_points: numbers }))),
            1 | 2 => {
                let sum = Sum { data_points: numbers, aggregation_temporality, is_monotonic: kind == 1 };
                (sum.data_points.len(), Some(metric::Data::Sum(sum)))
            }
            _ => {
                let histogram = Histogram { data_points: histograms, aggregation_temporality };
                (histogram.data_points.len(), Some(metric::Data::Histogram(histogram)))
            }
        };
        (Metric { name, data, ..Metric::default() }, points as u64)
    })
}

fn counter(totals: &[(String, u64)], start: u64) -> Metric {
    let point = |(name, total): &(String, u64)| NumberDataPoint {
        attributes: user(name),
        start_time_unix_nano: start,
        time_unix_nano: NOW,
        value: Some(number_data_point::Value::AsInt(*total as i64)),
        ..NumberDataPoint::default()
    };
    let data_points = totals.iter().map(point).collect();
    let sum = Sum { data_points, aggregation_temporality: 2, is_monotonic: true };
    Metric { name: "hits".to_owned(), data: Some(metric::Data::Sum(sum)), ..Metric::default() }
}

/// The sum of what a head holds of counters and deltas.
fn total(house: &House, head: &Head) -> f64 {
    let mut sum = 0.0;
    for metric in house.registry.metrics() {
        head.visit(metric.index, 0, (0, u32::MAX), &mut |entry| match &entry.cell {
            Cell::Counter(counter) => sum += counter.runs().map(|run| run.value).sum::<f64>(),
            Cell::Delta(delta) => sum += delta.sum,
            other => panic!("{other:?}"),
        });
    }
    sum
}

proptest! {
    #[test]
    fn every_point_is_taken_or_refused_and_what_is_taken_is_there(
        metrics in prop::collection::vec(a_metric(), 0..6),
        cap in 1u32..4,
    ) {
        let house = House::new(cap);
        let sent: u64 = metrics.iter().map(|(_, points)| points).sum();
        let export = house.walk(metrics.into_iter().map(|(metric, _)| metric).collect());
        prop_assert_eq!(export.accepted + export.rejects.total(), sent);
        let head = Head::new(Width::TEN_SECONDS, 0);
        let steps: Vec<_> =
            export.sections.iter().map(|s| RowStep::Points(Arc::clone(&s.template), &s.points)).collect();
        prop_assert!(head.apply_row(1, &steps).is_some(), "what is written can be read");
        let written: usize = export.sections.iter().map(|section| section.template.slots.len()).sum();
        prop_assert!(written as u64 <= export.accepted, "only a folded series that ends writes nothing");
    }

    #[test]
    fn totals_past_the_cap_survive_refused_commits(
        rounds in prop::collection::vec((prop::collection::vec(0u64..9, 5), any::<bool>()), 1..12),
    ) {
        let house = House::new(2);
        let head = Head::new(Width::TEN_SECONDS, 0);
        let mut totals: Vec<(String, u64)> = (0..5).map(|user| (format!("u{user}"), 0)).collect();
        let last = rounds.len() as i64;
        for (round, (added, committed)) in (1..).zip(&rounds) {
            totals.iter_mut().zip(added).for_each(|((_, total), added)| *total += added);
            let mut export = house.walk(vec![counter(&totals, NOW - MINUTE)]);
            if *committed || round == last {
                let steps: Vec<_> =
                    export.sections.iter().map(|s| RowStep::Points(Arc::clone(&s.template), &s.points)).collect();
                head.apply_row(round, &steps).expect("sound");
                export.settle();
            }
        }
        let sent: u64 = totals.iter().map(|(_, total)| total).sum();
        prop_assert_eq!(total(&house, &head), sent as f64);
    }
}
