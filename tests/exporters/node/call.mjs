// Answers one call and asks its database, with the official OpenTelemetry SDK for Node.
//
// usage: node call.mjs <endpoint> <service> <traceparent>

import { ROOT_CONTEXT, SpanKind, SpanStatusCode, defaultTextMapGetter, trace } from "@opentelemetry/api";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { defaultResource, resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";

async function main(endpoint, service, traceparent) {
  const resource = defaultResource().merge(resourceFromAttributes({ "service.name": service }));
  const exporter = new OTLPTraceExporter({ url: `${endpoint}/v1/traces` });
  const provider = new BasicTracerProvider({ resource, spanProcessors: [new BatchSpanProcessor(exporter)] });
  const tracer = provider.getTracer("fastbreak.exporters");
  const caller = new W3CTraceContextPropagator().extract(ROOT_CONTEXT, { traceparent }, defaultTextMapGetter);
  const answer = tracer.startSpan("GET /stock", { kind: SpanKind.SERVER }, caller);
  const attributes = {
    "db.system.name": "postgresql",
    "db.namespace": "shop",
    "db.query.text": "SELECT * FROM stock WHERE sku = 'secret-4711' AND n > 12",
  };
  const query = tracer.startSpan("SELECT stock", { kind: SpanKind.CLIENT, attributes }, trace.setSpan(caller, answer));
  query.setStatus({ code: SpanStatusCode.ERROR, message: "deadlock detected" });
  query.end();
  answer.end();
  await provider.shutdown();
}

const [endpoint, service, traceparent] = process.argv.slice(2);
await main(endpoint, service, traceparent);
