// The one way to ask the server: JSON in, JSON out, problem documents as errors.
import type { components } from './schema.d.ts';

export type Schemas = components['schemas'];
type Problem = Schemas['ProblemDocument'];

export class ApiError extends Error {
  readonly status: number;
  readonly field: string | null;

  constructor(status: number, detail: string, field: string | null = null) {
    super(detail);
    this.status = status;
    this.field = field;
  }

  /** The server has no such route: this build does not have the feature. */
  get isMissing(): boolean {
    return this.status === 404;
  }
}

export interface Answer<T> {
  data: T;
  etag: string | null;
  next: string | null;
}

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

interface Options {
  body?: unknown;
  signal?: AbortSignal;
  etag?: string | null;
  form?: Record<string, string>;
}

export async function call<T>(method: Method, path: string, options: Options = {}): Promise<Answer<T>> {
  const headers: Record<string, string> = { accept: 'application/json' };
  const init: RequestInit = { method, headers };
  if (options.signal) init.signal = options.signal;
  if (options.etag) headers['if-match'] = options.etag;
  if (options.form) init.body = new URLSearchParams(options.form);
  if (options.body !== undefined) {
    headers['content-type'] = 'application/json';
    init.body = JSON.stringify(options.body);
  }
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(0, 'The server does not answer.');
  }
  if (!response.ok) throw await refusal(response);
  const data = response.status === 204 ? undefined : await response.json();
  const link = response.headers.get('link');
  return { data: data as T, etag: response.headers.get('etag'), next: link?.match(/<([^>]+)>;\s*rel="next"/)?.[1] ?? null };
}

async function refusal(response: Response): Promise<ApiError> {
  const body = (await response.json().catch(() => ({}))) as Partial<Problem> & { error?: string };
  const detail = body.detail ?? body.error ?? `The server answered ${response.status}.`;
  return new ApiError(response.status, detail, body.field ?? null);
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await call<T>('GET', path, signal ? { signal } : {})).data;
}

/** What went wrong, for people. */
export function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
