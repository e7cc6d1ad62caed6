//! Indicators over what senders really send: the Collector's hostmetrics receiver, old and new HTTP conventions, pools.

use super::*;
use crate::model::ExponentialBuckets;

fn last(name: &str, unit: &str, kind: MetricKind, value: f64) -> SeriesWindows {
    let cells = vec![(nth(2), Cell::Gauge(Gauge::one(TimeMs::from(nth(2)) * 1000 + 9000, value)))];
    series(name, unit, kind, Temporality::Cumulative, cells)
}

fn seconds(name: &str, totals: &[f64]) -> SeriesWindows {
    let cells = windows(totals, |time, value| Cell::Counter(Counter::one(Run { start: 1, time, value })));
    series(name, "s", MetricKind::Counter, Temporality::Cumulative, cells)
}

fn value(data: &[SeriesWindows], indicator: &str) -> Option<f64> {
    let at = TimeMs::from(nth(3)) * 1000;
    let answer = ask(data, indicator, Params::instant(at, at + 60_000, Width::TEN_SECONDS)).expect(indicator);
    answer.last_number().map(|value| (value * 1e6).round() / 1e6)
}

/// `receiver/hostmetrics` with its optional utilisations, on two hosts.
fn hostmetrics_with_utilisations() -> Vec<SeriesWindows> {
    let mut out = Vec::new();
    for (host, busy) in [("a", 0.03), ("b", 0.25)] {
        for cpu in ["cpu0", "cpu1"] {
            for (state, share) in [("user", busy - 0.01), ("system", 0.01), ("idle", 0.9 - busy), ("wait", 0.1)] {
                let name = format!("system.cpu.utilization{{host.name={host},cpu={cpu},state={state}}}");
                out.push(last(&name, "1", MetricKind::Gauge, share));
            }
        }
        for (state, share) in [("used", 0.4), ("free", 0.35), ("cached", 0.2), ("buffered", 0.05)] {
            let name = format!("system.memory.utilization{{host.name={host},state={state}}}");
            out.push(last(&name, "1", MetricKind::Gauge, share));
        }
    }
    let disk = |mount: &str, mode: &str, share| {
        let name = format!("system.filesystem.utilization{{device=d,mode={mode},mountpoint={mount},type=ext4}}");
        last(&name, "1", MetricKind::Gauge, share)
    };
    out.extend([disk("/", "rw", 0.6), disk("/snap", "ro", 1.0)]);
    out
}

/// `receiver/hostmetrics` as it comes: no utilisation at all.
fn hostmetrics_by_default() -> Vec<SeriesWindows> {
    let cpu = |state: &str, totals: &[f64]| seconds(&format!("system.cpu.time{{cpu=cpu0,state={state}}}"), totals);
    let sum = |name: &str, value| last(name, "By", MetricKind::UpDownCounter, value);
    vec![
        cpu("idle", &[900.0, 907.0, 914.0]),
        cpu("user", &[50.0, 52.0, 54.0]),
        cpu("system", &[10.0, 11.0, 12.0]),
        sum("system.memory.usage{state=used}", 6e9),
        sum("system.memory.usage{state=free}", 1e9),
        sum("system.memory.usage{state=cached}", 1e9),
        sum("system.memory.usage{state=slab_reclaimable}", 5e8),
        sum("system.filesystem.usage{device=d,mode=rw,mountpoint=/,type=ext4,state=used}", 3e9),
        sum("system.filesystem.usage{device=d,mode=rw,mountpoint=/,type=ext4,state=free}", 1e9),
        sum("system.filesystem.usage{device=d,mode=rw,mountpoint=/,type=ext4,state=reserved}", 1e8),
    ]
}

#[test]
fn usage_leaves_out_what_is_idle_free_or_cached() {
    let data = hostmetrics_with_utilisations();
    assert_eq!(value(&data, "cpuUsage"), Some(25.0));
    assert_eq!(value(&data, "memoryUsage"), Some(40.0));
    assert_eq!(value(&data, "diskUsage"), Some(60.0));
    let data = hostmetrics_by_default();
    // Six busy seconds in the five minutes looked at; the first total is only a base.
    assert_eq!(value(&data, "cpuUsage"), Some(2.0));
    assert_eq!(value(&data, "memoryUsage"), Some(75.0));
    assert_eq!(value(&data, "diskUsage"), Some(75.0));
}

#[test]
fn a_host_that_tells_no_state_means_what_is_used() {
    let data = [
        last("system.cpu.utilization{host.name=own}", "1", MetricKind::Gauge, 0.5),
        last("system.memory.utilization{host.name=own}", "%", MetricKind::Gauge, 30.0),
        last("system.memory.usage{host.name=own}", "By", MetricKind::Gauge, 3e9),
    ];
    assert_eq!(value(&data, "cpuUsage"), Some(50.0));
    assert_eq!(value(&data, "memoryUsage"), Some(30.0));
}

#[test]
fn old_and_new_http_conventions_tell_the_same() {
    let of = |name: &str, unit: &str, status: &str, scale: f64, counts: &[u64], sum: f64| {
        let bounds: Vec<f64> = [0.1, 0.5, 1.0].iter().map(|bound| bound * scale).collect();
        durations(&format!("{name}{{{status}}}"), unit, explicit(&bounds, counts, sum * scale))
    };
    let new = |name: &str, unit: &str, scale| {
        vec![
            of(name, unit, "http.request.method=GET,http.response.status_code=200", scale, &[6, 0, 0, 0], 0.3),
            of(name, unit, "http.request.method=GET,http.response.status_code=500", scale, &[0, 2, 0, 0], 0.5),
        ]
    };
    let old = |unit: &str, scale| {
        vec![
            of("http.server.duration", unit, "http.method=GET,http.status_code=200", scale, &[6, 0, 0, 0], 0.3),
            of("http.server.duration", unit, "http.method=GET,http.status_code=500", scale, &[0, 2, 0, 0], 0.5),
        ]
    };
    for data in [
        new("http.server.request.duration", "s", 1.0),
        // A sender that names the metric anew and keeps its milliseconds.
        new("http.server.request.duration", "ms", 1000.0),
        old("ms", 1000.0),
        old("", 1000.0),
        old("s", 1.0),
    ] {
        assert_eq!(value(&data, "errorRate"), Some(25.0));
        assert_eq!(value(&data, "avgResponseTime"), Some(100.0));
        assert_eq!(value(&data, "p95ResponseTime"), Some(420.0));
        assert_eq!(value(&data, "throughput"), Some(0.026667));
        let by_code = "sum by (http_response_status_code) (increase(http_server_request_duration_seconds_count[1m]))";
        let at = TimeMs::from(nth(3)) * 1000;
        let answer = ask(&data, by_code, Params::instant(at, at, Width::TEN_SECONDS)).expect("answers");
        assert_eq!(text(&answer), "{http_response_status_code=200} 6; {http_response_status_code=500} 2");
    }
}

#[test]
fn exponential_milliseconds_become_seconds_within_a_bucket() {
    // Around 250 ms at scale 3, the second total at a coarser scale.
    let total = |count: u64, scale: i32| {
        let index = (250f64.log2() * f64::from(scale).exp2()).ceil() as i32 - 1;
        let mut of = Histogram::exponential(scale);
        (of.count, of.sum) = (count, 250.0 * count as f64);
        if let Buckets::Exponential { positive, .. } = &mut of.buckets {
            *positive = ExponentialBuckets { offset: index, counts: vec![count] };
        }
        of
    };
    let cell = |i: usize, of| {
        let run = Run { start: RUN - 60_000, time: TimeMs::from(nth(i)) * 1000, value: of };
        (nth(i), Cell::HistogramRuns(Box::new(HistogramRuns(vec![run]))))
    };
    let cells = vec![cell(0, total(10, 3)), cell(1, total(30, 2))];
    let kind = MetricKind::ExponentialHistogram;
    let data = [series("http.server.duration", "ms", kind, Temporality::Cumulative, cells)];
    let p95 = value(&data, "p95ResponseTime").expect("a value");
    let bucket = 2f64.powf(0.25);
    assert!((250.0 / bucket..=250.0 * bucket).contains(&p95), "{p95}");
    assert_eq!(value(&data, "avgResponseTime"), Some(250.0));
    let at = TimeMs::from(nth(3)) * 1000;
    let params = Params::instant(at, at, Width::TEN_SECONDS);
    let grown = ask(&data, "histogram_count(increase(http_server_request_duration_seconds[1m]))", params);
    assert_eq!(text(&grown.expect("answers")), "{} 20");
}

#[test]
fn pools_of_old_and_new_senders() {
    let up_down = MetricKind::UpDownCounter;
    let old = [
        last("db.client.connections.usage{pool.name=p,state=used}", "{connection}", up_down, 3.0),
        last("db.client.connections.usage{pool.name=p,state=idle}", "{connection}", up_down, 7.0),
        last("db.client.connections.max{pool.name=p}", "{connection}", up_down, 12.0),
    ];
    let new = [
        last("db.client.connection.count{db.client.connection.state=used}", "{connection}", up_down, 3.0),
        last("db.client.connection.count{db.client.connection.state=idle}", "{connection}", up_down, 7.0),
        last("db.client.connection.max", "{connection}", up_down, 12.0),
    ];
    for data in [&old, &new] {
        assert_eq!(value(data, "dbPoolUsage"), Some(25.0));
        assert_eq!(value(data, "dbPoolActive"), Some(3.0));
    }
}

#[test]
fn slow_queries_are_those_above_a_second() {
    let of =
        |unit: &str, bounds: &[f64]| durations("db.client.operation.duration", unit, explicit(bounds, &[8, 1, 1], 5.0));
    for data in [of("s", &[0.5, 1.0]), of("ms", &[500.0, 1000.0])] {
        // One of ten in five minutes.
        assert_eq!(value(&[data], "slowQueries"), Some(0.2));
    }
}
