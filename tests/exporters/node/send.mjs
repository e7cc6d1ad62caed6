// Sends a fixed set of metrics and spans with the official OpenTelemetry SDK for Node.
//
// usage: node send.mjs <grpc | http/protobuf | http/json> <endpoint> <service>
//
// What is sent is listed in ../README.md; the other languages send the same.

import { DiagLogLevel, ROOT_CONTEXT, SpanKind, SpanStatusCode, ValueType, diag, trace } from "@opentelemetry/api";
import { defaultResource, resourceFromAttributes } from "@opentelemetry/resources";
import {
  AggregationTemporality,
  AggregationType,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import { BasicTracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";

const SCOPE = "fastbreak.exporters";
const BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];
const GET_CART = { "http.request.method": "GET", "http.route": "/cart", "http.response.status_code": 200 };
const POST_ORDER = { "http.request.method": "POST", "http.route": "/order", "http.response.status_code": 500 };
const SELECT_CARTS = { "db.system.name": "postgresql", "db.operation.name": "SELECT" };
const FAILING_ROOTS = [3, 7];
const PACKAGE_SUFFIX = { "grpc": "grpc", "http/protobuf": "proto", "http/json": "http" };

async function main(protocol, endpoint, service) {
  // The SDK tells of failed metrics and of partial success only here: a force flush resolves all the same.
  const quiet = () => {};
  diag.setLogger({ error: complain, warn: complain, info: quiet, debug: quiet, verbose: quiet }, DiagLogLevel.WARN);

  const { metricExporter, spanExporter } = await exporters(protocol, endpoint);
  const resource = defaultResource().merge(resourceFromAttributes({ "service.name": service }));
  const meterProvider = new MeterProvider({
    resource,
    readers: [new PeriodicExportingMetricReader({ exporter: metricExporter })],
    views: [
      {
        instrumentName: "shop.payment.duration",
        aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM },
      },
    ],
  });
  const tracerProvider = new BasicTracerProvider({ resource, spanProcessors: [new BatchSpanProcessor(spanExporter)] });

  const recordMetrics = openShop(meterProvider.getMeter(SCOPE));
  const tracer = tracerProvider.getTracer(SCOPE);
  for (let round = 1; round <= 2; round++) {
    recordMetrics(recordSpans(tracer));
    await tracerProvider.forceFlush();
    await meterProvider.forceFlush();
  }
  await tracerProvider.shutdown();
  await meterProvider.shutdown();
}

function complain(...words) {
  console.error("send.mjs:", ...words);
  process.exitCode = 1;
}

/** Creates the instruments of a small shop; returns a function that records one round. */
function openShop(meter) {
  let ticks = 0;
  const orders = meter.createCounter("shop.orders", { unit: "{order}", valueType: ValueType.INT });
  const revenue = meter.createCounter("shop.revenue", { unit: "EUR" });
  const carts = meter.createUpDownCounter("shop.carts", { unit: "{cart}", valueType: ValueType.INT });
  const temperature = meter.createGauge("shop.temperature", { unit: "Cel" });
  const requests = meter.createHistogram("http.server.request.duration", {
    unit: "s",
    advice: { explicitBucketBoundaries: BOUNDS },
  });
  const payments = meter.createHistogram("shop.payment.duration", { unit: "s" });
  meter
    .createObservableCounter("shop.cpu.ticks", { unit: "{tick}", valueType: ValueType.INT })
    .addCallback((result) => result.observe(ticks, { core: "0" }));

  /** The context of the first root goes with one value, for an exemplar. */
  return (firstRoot) => {
    ticks += 100;
    orders.add(3, { region: "eu" });
    orders.add(4, { region: "eu" });
    orders.add(10, { region: "us" });
    revenue.add(1.25, { region: "eu" });
    revenue.add(2.5, { region: "eu" });
    carts.add(5);
    carts.add(-2);
    temperature.record(21.5);
    requests.record(1 / 1000, GET_CART, trace.setSpan(ROOT_CONTEXT, firstRoot));
    for (let i = 2; i <= 100; i++) requests.record(i / 1000, GET_CART);
    for (let i = 1; i <= 4; i++) requests.record(0.75, POST_ORDER);
    for (let i = 1; i <= 200; i++) payments.record(i / 100);
  };
}

/** Records ten pairs of a root of 100 ms and a child of 40 ms; returns the first root. */
function recordSpans(tracer) {
  const end = Date.now();
  const start = end - 100;
  const roots = [];
  for (let number = 1; number <= 10; number++) {
    const root = tracer.startSpan(
      "GET /cart",
      { kind: SpanKind.SERVER, attributes: GET_CART, startTime: start },
      ROOT_CONTEXT,
    );
    if (FAILING_ROOTS.includes(number)) {
      root.setAttribute("http.response.status_code", 500);
      root.setStatus({ code: SpanStatusCode.ERROR });
    }
    const child = tracer.startSpan(
      "SELECT carts",
      { kind: SpanKind.CLIENT, attributes: SELECT_CARTS, startTime: start + 30 },
      trace.setSpan(ROOT_CONTEXT, root),
    );
    child.end(start + 70);
    root.end(end);
    roots.push(root);
  }
  return roots[0];
}

/** Makes the metric and the span exporter; both read OTEL_EXPORTER_OTLP_COMPRESSION. */
async function exporters(protocol, endpoint) {
  const suffix = PACKAGE_SUFFIX[protocol];
  if (suffix === undefined) throw new Error(`no exporter for protocol ${protocol}`);
  const { OTLPMetricExporter } = await import(`@opentelemetry/exporter-metrics-otlp-${suffix}`);
  const { OTLPTraceExporter } = await import(`@opentelemetry/exporter-trace-otlp-${suffix}`);

  const url = (path) => (protocol === "grpc" ? endpoint : endpoint + path);
  const metricExporter = new OTLPMetricExporter({ url: url("/v1/metrics") });
  if (process.env.TEMPORALITY === "delta") {
    // The preference that the exporter offers would leave up-down counters cumulative.
    metricExporter.selectAggregationTemporality = () => AggregationTemporality.DELTA;
  }
  return { metricExporter, spanExporter: new OTLPTraceExporter({ url: url("/v1/traces") }) };
}

if (process.argv.length !== 5) {
  console.error("usage: node send.mjs <grpc | http/protobuf | http/json> <endpoint> <service>");
  process.exit(1);
}
main(...process.argv.slice(2)).catch(complain);
