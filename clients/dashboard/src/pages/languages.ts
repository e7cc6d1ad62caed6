// What to set or install so that a service reports here.
interface Addresses {
  grpc: string;
  http: string;
}

interface Step {
  what: string;
  text: string;
}

interface Language {
  name: string;
  title: string;
  steps: (at: Addresses) => Step[];
}

function variables(endpoint: string, protocol: string): string {
  return [`export OTEL_SERVICE_NAME=my-service`, `export OTEL_EXPORTER_OTLP_ENDPOINT=${endpoint}`, `export OTEL_EXPORTER_OTLP_PROTOCOL=${protocol}`].join('\n');
}

const http = (at: Addresses): Step => ({ what: 'Set where it reports', text: variables(at.http, 'http/protobuf') });
const grpc = (at: Addresses): Step => ({ what: 'Set where it reports', text: variables(at.grpc, 'grpc') });

export const LANGUAGES: Language[] = [
  { name: 'any', title: 'Any', steps: (at) => [grpc(at), { what: 'Or over HTTP', text: variables(at.http, 'http/protobuf') }] },
  {
    name: 'node',
    title: 'Node.js',
    steps: (at) => [
      { what: 'Install', text: 'npm install @opentelemetry/api @opentelemetry/auto-instrumentations-node' },
      http(at),
      { what: 'Start with it', text: 'export OTEL_METRICS_EXPORTER=otlp\nnode --require @opentelemetry/auto-instrumentations-node/register app.js' },
    ],
  },
  {
    name: 'python',
    title: 'Python',
    steps: (at) => [
      { what: 'Install', text: 'pip install opentelemetry-distro opentelemetry-exporter-otlp\nopentelemetry-bootstrap -a install' },
      grpc(at),
      { what: 'Start with it (stable HTTP names)', text: 'export OTEL_SEMCONV_STABILITY_OPT_IN=http\nopentelemetry-instrument python app.py' },
    ],
  },
  {
    name: 'rust',
    title: 'Rust',
    steps: (at) => [
      { what: 'Add', text: 'cargo add opentelemetry opentelemetry_sdk\ncargo add opentelemetry-otlp --features grpc-tonic,metrics' },
      grpc(at),
      { what: 'In main', text: 'let exporter = opentelemetry_otlp::MetricExporter::builder().with_tonic().build()?;\nlet meters = SdkMeterProvider::builder().with_periodic_exporter(exporter).build();\nopentelemetry::global::set_meter_provider(meters.clone());' },
    ],
  },
  {
    name: 'go',
    title: 'Go',
    steps: (at) => [
      { what: 'Add', text: 'go get go.opentelemetry.io/contrib/exporters/autoexport go.opentelemetry.io/otel/sdk/metric' },
      http(at),
      { what: 'In main', text: 'reader, err := autoexport.NewMetricReader(ctx)\nprovider := metric.NewMeterProvider(metric.WithReader(reader))\notel.SetMeterProvider(provider)' },
    ],
  },
  {
    name: 'java',
    title: 'Java',
    steps: (at) => [http(at), { what: 'Start with the agent', text: 'java -javaagent:opentelemetry-javaagent.jar -jar app.jar' }],
  },
  {
    name: 'collector',
    title: 'Collector',
    steps: (at) => [
      {
        what: 'In its configuration',
        text: `exporters:\n  otlp/fastbreak:\n    endpoint: ${at.grpc}\n    tls:\n      insecure: true\nservice:\n  pipelines:\n    metrics:\n      exporters: [otlp/fastbreak]\n    traces:\n      exporters: [otlp/fastbreak]`,
      },
    ],
  },
];
