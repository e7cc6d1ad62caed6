// Requests to a service, read out of whole traces.
/** One request to a service: the span that it came in with, and what it and all below it carry. */
export interface Entry {
  traceId: string;
  at: number;
  seconds: number;
  failed: boolean;
  /** `name\nvalue` */
  pairs: Set<string>;
}

interface Value {
  stringValue?: string;
  boolValue?: boolean;
  intValue?: string;
  doubleValue?: number | string;
}

interface Span {
  traceId: string;
  spanId: string;
  parentSpanId: string;
  kind: number;
  name: string;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: { key: string; value: Value }[];
  status: { code?: number };
}

export interface Export {
  resourceSpans: { resource: { attributes: { key: string; value: Value }[] }; scopeSpans: { spans: Span[] }[] }[];
}

function pairsOf(attributes: { key: string; value: Value }[]): string[] {
  return attributes.flatMap(({ key, value }) => {
    const text = value.stringValue ?? value.boolValue ?? value.intValue ?? value.doubleValue;
    return text === undefined ? [] : [`${key}\n${text}`];
  });
}

/** Spans in which `service` was called: those whose parent is another service's, or none. */
export function entriesOf(trace: Export, service: string): Entry[] {
  const spans = new Map<string, { span: Span; service: string; resource: string[] }>();
  for (const { resource, scopeSpans } of trace.resourceSpans) {
    const own = pairsOf(resource.attributes);
    const name = own.find((pair) => pair.startsWith('service.name\n'))?.slice('service.name\n'.length) ?? '';
    for (const span of scopeSpans.flatMap((scope) => scope.spans)) spans.set(span.spanId, { span, service: name, resource: own });
  }
  const entries = new Map<string, Entry>();
  for (const [id, one] of spans) {
    if (one.service !== service || spans.get(one.span.parentSpanId)?.service === service) continue;
    const [start, end] = [Number(one.span.startTimeUnixNano), Number(one.span.endTimeUnixNano)];
    const pairs = new Set([...one.resource, `operation\n${one.span.name}`]);
    entries.set(id, { traceId: one.span.traceId, at: end / 1e6, seconds: (end - start) / 1e9, failed: one.span.status.code === 2, pairs });
  }
  for (const { span } of spans.values()) {
    const seen = new Set<string>();
    for (let up: Span | undefined = span; up && !seen.has(up.spanId); up = spans.get(up.parentSpanId)?.span) {
      seen.add(up.spanId);
      const entry = entries.get(up.spanId);
      if (entry) for (const pair of pairsOf(span.attributes)) entry.pairs.add(pair);
    }
  }
  return [...entries.values()];
}
