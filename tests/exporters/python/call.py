"""Answers one call and makes another, with the official OpenTelemetry SDK for Python.

usage: call.py <endpoint> <service> <traceparent> <command...>

The command is the service that is called: it is run with the `traceparent` of this call behind its other arguments.
"""

import subprocess
import sys

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator


def main(endpoint, service, traceparent, command):
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces")))
    tracer = provider.get_tracer("fastbreak.exporters")
    propagator = TraceContextTextMapPropagator()
    caller = propagator.extract({"traceparent": traceparent})
    with tracer.start_as_current_span("GET /cart", context=caller, kind=SpanKind.SERVER):
        with tracer.start_as_current_span("GET", kind=SpanKind.CLIENT) as call:
            carrier = {}
            propagator.inject(carrier, set_span_in_context(call))
            subprocess.run([*command, carrier["traceparent"]], check=True)
    provider.shutdown()


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
