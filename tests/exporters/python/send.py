"""Sends a fixed set of metrics and spans with the official OpenTelemetry SDK for Python.

usage: send.py <grpc | http/protobuf> <endpoint> <service>

What is sent is listed in ../README.md; the other languages send the same.
"""

import os
import sys
import time

from opentelemetry import trace
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode

SCOPE = "fastbreak.exporters"
BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]
GET_CART = {
    "http.request.method": "GET",
    "http.route": "/cart",
    "http.response.status_code": 200,
}
POST_ORDER = {
    "http.request.method": "POST",
    "http.route": "/order",
    "http.response.status_code": 500,
}
SELECT_CARTS = {"db.system.name": "postgresql", "db.operation.name": "SELECT"}
FAILING_ROOTS = (3, 7)
MS = 1_000_000


def main(protocol, endpoint, service):
    failures = []
    metric_exporter, span_exporter = exporters(protocol, endpoint)
    watch(metric_exporter, MetricExportResult.SUCCESS, failures)
    watch(span_exporter, SpanExportResult.SUCCESS, failures)

    resource = Resource.create({SERVICE_NAME: service})
    meter_provider = MeterProvider(
        metric_readers=[PeriodicExportingMetricReader(metric_exporter)],
        resource=resource,
        views=[
            View(
                instrument_name="shop.payment.duration",
                aggregation=ExponentialBucketHistogramAggregation(),
            )
        ],
    )
    tracer_provider = TracerProvider(resource=resource)
    tracer_provider.add_span_processor(BatchSpanProcessor(span_exporter))

    shop = Shop(meter_provider.get_meter(SCOPE))
    tracer = tracer_provider.get_tracer(SCOPE)
    for _ in range(2):
        shop.record(first_root=record_spans(tracer))
        if not (tracer_provider.force_flush() and meter_provider.force_flush()):
            failures.append("force flush timed out")
    tracer_provider.shutdown()
    meter_provider.shutdown()
    if failures:
        sys.exit(f"send.py: {', '.join(failures)}")


class Shop:
    """The instruments of a small shop."""

    def __init__(self, meter):
        self.ticks = 0
        self.orders = meter.create_counter("shop.orders", unit="{order}")
        self.revenue = meter.create_counter("shop.revenue", unit="EUR")
        self.carts = meter.create_up_down_counter("shop.carts", unit="{cart}")
        self.temperature = meter.create_gauge("shop.temperature", unit="Cel")
        self.requests = meter.create_histogram(
            "http.server.request.duration",
            unit="s",
            explicit_bucket_boundaries_advisory=BOUNDS,
        )
        self.payments = meter.create_histogram("shop.payment.duration", unit="s")
        meter.create_observable_counter(
            "shop.cpu.ticks",
            callbacks=[lambda _: [Observation(self.ticks, {"core": "0"})]],
            unit="{tick}",
        )

    def record(self, first_root):
        """Records one round. The context of `first_root` goes with one value, for an exemplar."""
        self.ticks += 100
        self.orders.add(3, {"region": "eu"})
        self.orders.add(4, {"region": "eu"})
        self.orders.add(10, {"region": "us"})
        self.revenue.add(1.25, {"region": "eu"})
        self.revenue.add(2.5, {"region": "eu"})
        self.carts.add(5)
        self.carts.add(-2)
        self.temperature.set(21.5)
        with trace.use_span(first_root):
            self.requests.record(1 / 1000, GET_CART)
        for i in range(2, 101):
            self.requests.record(i / 1000, GET_CART)
        for _ in range(4):
            self.requests.record(0.75, POST_ORDER)
        for i in range(1, 201):
            self.payments.record(i / 100)


def record_spans(tracer):
    """Records ten pairs of a root of 100 ms and a child of 40 ms; returns the first root."""
    roots = []
    end = time.time_ns()
    start = end - 100 * MS
    for number in range(1, 11):
        root = tracer.start_span(
            "GET /cart", kind=SpanKind.SERVER, attributes=GET_CART, start_time=start
        )
        if number in FAILING_ROOTS:
            root.set_attribute("http.response.status_code", 500)
            root.set_status(StatusCode.ERROR)
        child = tracer.start_span(
            "SELECT carts",
            context=trace.set_span_in_context(root),
            kind=SpanKind.CLIENT,
            attributes=SELECT_CARTS,
            start_time=start + 30 * MS,
        )
        child.end(start + 70 * MS)
        root.end(end)
        roots.append(root)
    return roots[0]


def exporters(protocol, endpoint):
    """Returns the metric and the span exporter; both read OTEL_EXPORTER_OTLP_COMPRESSION."""
    if os.environ.get("OTEL_EXPORTER_OTLP_COMPRESSION") == "none":
        # The gRPC exporter knows "gzip" and "deflate" only, and refuses the default when spelled out.
        del os.environ["OTEL_EXPORTER_OTLP_COMPRESSION"]
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        metrics_url = traces_url = endpoint
    elif protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        metrics_url, traces_url = f"{endpoint}/v1/metrics", f"{endpoint}/v1/traces"
    else:
        sys.exit(f"send.py: no exporter for protocol {protocol}")

    delta = os.environ.get("TEMPORALITY") == "delta"
    temporality = AggregationTemporality.DELTA if delta else AggregationTemporality.CUMULATIVE
    kinds = (Counter, UpDownCounter, ObservableCounter, Histogram)
    return (
        OTLPMetricExporter(
            endpoint=metrics_url, preferred_temporality=dict.fromkeys(kinds, temporality)
        ),
        OTLPSpanExporter(endpoint=traces_url),
    )


def watch(exporter, success, failures):
    """Notes each export that fails: the SDK logs it, but a force flush still returns True."""
    export = exporter.export

    def export_and_note(*args, **kwargs):
        result = export(*args, **kwargs)
        if result is not success:
            failures.append(f"{type(exporter).__name__} failed")
        return result

    exporter.export = export_and_note


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
