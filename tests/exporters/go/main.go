// Sends a fixed set of metrics and spans with the official OpenTelemetry SDK for Go.
//
// usage: exporters <grpc | http/protobuf> <endpoint> <service>
//
// What is sent is listed in ../README.md; the other languages send the same.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const scope = "fastbreak.exporters"

var (
	bounds  = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5}
	getCart = []attribute.KeyValue{
		attribute.String("http.request.method", "GET"),
		attribute.String("http.route", "/cart"),
		attribute.Int("http.response.status_code", 200),
	}
	postOrder = []attribute.KeyValue{
		attribute.String("http.request.method", "POST"),
		attribute.String("http.route", "/order"),
		attribute.Int("http.response.status_code", 500),
	}
	selectCarts = []attribute.KeyValue{
		attribute.String("db.system.name", "postgresql"),
		attribute.String("db.operation.name", "SELECT"),
	}
	failingRoots = map[int]bool{3: true, 7: true}
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: exporters <grpc | http/protobuf> <endpoint> <service>")
		os.Exit(1)
	}
	if err := send(context.Background(), os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "exporters:", err)
		os.Exit(1)
	}
}

func send(ctx context.Context, protocol, endpoint, service string) error {
	// An export that runs in the background reports its error only to the handler.
	var failures failures
	otel.SetErrorHandler(&failures)

	metricExporter, spanExporter, err := exporters(ctx, protocol, endpoint)
	if err != nil {
		return err
	}
	res, err := resource.Merge(resource.Default(), resource.NewSchemaless(attribute.String("service.name", service)))
	if err != nil {
		return err
	}
	meterProvider := sdkmetric.NewMeterProvider(
		sdkmetric.WithResource(res),
		sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metricExporter)),
		sdkmetric.WithView(sdkmetric.NewView(
			sdkmetric.Instrument{Name: "shop.payment.duration"},
			sdkmetric.Stream{Aggregation: sdkmetric.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: 20}},
		)),
	)
	tracerProvider := sdktrace.NewTracerProvider(sdktrace.WithResource(res), sdktrace.WithBatcher(spanExporter))

	shop, err := newShop(meterProvider.Meter(scope))
	if err != nil {
		return err
	}
	tracer := tracerProvider.Tracer(scope)
	for range 2 {
		shop.record(ctx, recordSpans(ctx, tracer))
		failures.add(tracerProvider.ForceFlush(ctx))
		failures.add(meterProvider.ForceFlush(ctx))
	}
	failures.add(tracerProvider.Shutdown(ctx))
	failures.add(meterProvider.Shutdown(ctx))
	return failures.joined()
}

// shop holds the instruments of a small shop.
type shop struct {
	ticks       int64
	orders      metric.Int64Counter
	revenue     metric.Float64Counter
	carts       metric.Int64UpDownCounter
	temperature metric.Float64Gauge
	requests    metric.Float64Histogram
	payments    metric.Float64Histogram
}

func newShop(meter metric.Meter) (*shop, error) {
	var s shop
	var errs [7]error
	s.orders, errs[0] = meter.Int64Counter("shop.orders", metric.WithUnit("{order}"))
	s.revenue, errs[1] = meter.Float64Counter("shop.revenue", metric.WithUnit("EUR"))
	s.carts, errs[2] = meter.Int64UpDownCounter("shop.carts", metric.WithUnit("{cart}"))
	s.temperature, errs[3] = meter.Float64Gauge("shop.temperature", metric.WithUnit("Cel"))
	s.requests, errs[4] = meter.Float64Histogram("http.server.request.duration",
		metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(bounds...))
	s.payments, errs[5] = meter.Float64Histogram("shop.payment.duration", metric.WithUnit("s"))
	_, errs[6] = meter.Int64ObservableCounter("shop.cpu.ticks", metric.WithUnit("{tick}"),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(s.ticks, metric.WithAttributes(attribute.String("core", "0")))
			return nil
		}))
	return &s, errors.Join(errs[:]...)
}

// record records one round. The context of firstRoot goes with one value, for an exemplar.
func (s *shop) record(ctx, firstRoot context.Context) {
	eu := metric.WithAttributes(attribute.String("region", "eu"))
	us := metric.WithAttributes(attribute.String("region", "us"))
	get, post := metric.WithAttributes(getCart...), metric.WithAttributes(postOrder...)

	s.ticks += 100
	s.orders.Add(ctx, 3, eu)
	s.orders.Add(ctx, 4, eu)
	s.orders.Add(ctx, 10, us)
	s.revenue.Add(ctx, 1.25, eu)
	s.revenue.Add(ctx, 2.5, eu)
	s.carts.Add(ctx, 5)
	s.carts.Add(ctx, -2)
	s.temperature.Record(ctx, 21.5)
	s.requests.Record(firstRoot, 1.0/1000, get)
	for i := 2; i <= 100; i++ {
		s.requests.Record(ctx, float64(i)/1000, get)
	}
	for range 4 {
		s.requests.Record(ctx, 0.75, post)
	}
	for i := 1; i <= 200; i++ {
		s.payments.Record(ctx, float64(i)/100)
	}
}

// recordSpans records ten pairs of a root of 100 ms and a child of 40 ms; it returns the first root's context.
func recordSpans(ctx context.Context, tracer trace.Tracer) context.Context {
	var firstRoot context.Context
	end := time.Now()
	start := end.Add(-100 * time.Millisecond)
	for number := 1; number <= 10; number++ {
		rootCtx, root := tracer.Start(ctx, "GET /cart", trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(getCart...), trace.WithTimestamp(start))
		if failingRoots[number] {
			root.SetAttributes(attribute.Int("http.response.status_code", 500))
			root.SetStatus(codes.Error, "")
		}
		_, child := tracer.Start(rootCtx, "SELECT carts", trace.WithSpanKind(trace.SpanKindClient),
			trace.WithAttributes(selectCarts...), trace.WithTimestamp(start.Add(30*time.Millisecond)))
		child.End(trace.WithTimestamp(start.Add(70 * time.Millisecond)))
		root.End(trace.WithTimestamp(end))
		if number == 1 {
			firstRoot = rootCtx
		}
	}
	return firstRoot
}

// exporters makes the metric and the span exporter; both read OTEL_EXPORTER_OTLP_COMPRESSION.
func exporters(ctx context.Context, protocol, endpoint string) (sdkmetric.Exporter, sdktrace.SpanExporter, error) {
	temporality := sdkmetric.DefaultTemporalitySelector
	if os.Getenv("TEMPORALITY") == "delta" {
		// The selector that the SDK offers would leave up-down counters cumulative.
		temporality = func(sdkmetric.InstrumentKind) metricdata.Temporality { return metricdata.DeltaTemporality }
	}
	switch protocol {
	case "grpc":
		m, metricErr := otlpmetricgrpc.New(ctx,
			otlpmetricgrpc.WithEndpointURL(endpoint), otlpmetricgrpc.WithTemporalitySelector(temporality))
		t, traceErr := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(endpoint))
		return m, t, errors.Join(metricErr, traceErr)
	case "http/protobuf":
		m, metricErr := otlpmetrichttp.New(ctx,
			otlpmetrichttp.WithEndpointURL(endpoint+"/v1/metrics"), otlpmetrichttp.WithTemporalitySelector(temporality))
		t, traceErr := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint+"/v1/traces"))
		return m, t, errors.Join(metricErr, traceErr)
	default:
		return nil, nil, fmt.Errorf("no exporter for protocol %s", protocol)
	}
}

// failures gathers errors from this program's own calls and from the SDK's background work.
type failures struct {
	mu   sync.Mutex
	errs []error
}

// Handle implements otel.ErrorHandler.
func (f *failures) Handle(err error) { f.add(err) }

func (f *failures) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs = append(f.errs, err)
}

func (f *failures) joined() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.errs...)
}
