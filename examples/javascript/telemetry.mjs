// A small client of a telemetry daemon, for Node 18 or newer and for browsers. It needs nothing else: copy it.
//
//   const telemetry = new Telemetry("http://127.0.0.1:8218", key);
//   await telemetry.send("boiler_1", [{ timestamp: new Date().toISOString(), metric_name: "pressure", value: 2.4 }]);
//   for await (const point of telemetry.query({ metrics: ["pressure"], start_time, end_time })) …
//   for await (const { point, cursor } of telemetry.follow({ device_ids: "boiler_1" })) …

const BUSY = new Set([429, 502, 503, 504]); // Nothing is wrong with the request: the same one may work later.
const TRIES = 5;
const BATCH_POINTS_MAX = 1000;
const DELAYS_S = [3, 6, 12, 24, 48, 60];
const SILENCE_MAX_S = 65; // A heartbeat comes every 30 s.

/** The daemon said no. `code` is for programs, `detail` for people, `requestId` for its log. */
export class Problem extends Error {
  constructor(status, body) {
    super(`${status} ${body.code ?? ""}: ${body.detail ?? "no reason given"}`);
    Object.assign(this, { status, code: body.code ?? "", detail: body.detail, requestId: body.request_id, body });
  }
}

export class Telemetry {
  #base;
  #key;
  #timeoutMs;

  constructor(server, key, { timeoutS = 30 } = {}) {
    this.#base = `${server.replace(/\/+$/, "")}/api/v1/telemetry`;
    this.#key = key;
    this.#timeoutMs = timeoutS * 1000;
  }

  /** Store points of a device; resolves to those that were refused. A batch whose answer is lost is stored once. */
  async send(deviceId, points) {
    const refused = [];
    for (let first = 0; first < points.length; first += BATCH_POINTS_MAX) {
      const batch = points.slice(first, first + BATCH_POINTS_MAX);
      const body = { data_points: batch, batch_id: newId() };
      const path = `/devices/${encodeURIComponent(deviceId)}/telemetry/batch`;
      const answer = await this.call("POST", path, body).catch((error) => {
        // A batch in which nothing was good says so for each point, as any other.
        if (error.status === 422 && "total_count" in error.body) return error.body;
        throw error;
      });
      refused.push(...answer.errors.map((error) => ({ ...error, point: batch[error.index] })));
    }
    return refused;
  }

  /** All points of the time, however many pages they take. */
  async *query(question) {
    let cursor;
    do {
      const page = await this.call("POST", "/query", cursor ? { ...question, cursor } : question);
      yield* page.data_points;
      cursor = page.next_cursor;
    } while (cursor);
  }

  /** Points as they are stored, each once, through any break of the connection; `filters` as in the address of a stream. */
  async *follow(filters = {}, { cursor = null, signal } = {}) {
    for (let failures = 0; !signal?.aborted; failures += 1) {
      try {
        for await (const frame of this.#frames(filters, cursor, signal)) {
          if (frame.type === "gap") throw Object.assign(new Error("points are gone"), { gap: frame.data });
          const points = frame.type === "update" ? frame.data.data_points : [];
          // What stopped in the middle of a message gets that message again.
          for (const point of points.slice(0, -1)) yield { point, cursor };
          if (frame.type !== "welcome") cursor = frame.cursor ?? cursor;
          if (points.length) yield { point: points.at(-1), cursor };
          failures = 0;
        }
      } catch (error) {
        if (signal?.aborted) return;
        if (error.gap || (error instanceof Problem && !BUSY.has(error.status))) throw error;
      }
      const delayS = DELAYS_S[Math.min(failures, DELAYS_S.length - 1)];
      await sleep(delayS * (0.8 + 0.4 * Math.random()), signal);
    }
  }

  /** Server-sent events by fetch, since an EventSource can't send a key. */
  async *#frames(filters, cursor, signal) {
    const silence = new AbortController();
    const stop = () => silence.abort();
    signal?.addEventListener("abort", stop);
    let watch = setTimeout(stop, SILENCE_MAX_S * 1000);
    try {
      const headers = { ...this.#headers(), Accept: "text/event-stream", ...(cursor && { "Last-Event-ID": cursor }) };
      const path = `/stream/telemetry?${new URLSearchParams(filters)}`;
      const answer = await fetch(this.#base + path, { headers, signal: silence.signal });
      if (!answer.ok) throw await problemOf(answer);
      const decoder = new TextDecoder();
      let text = "";
      for await (const bytes of chunksOf(answer.body)) {
        clearTimeout(watch);
        watch = setTimeout(stop, SILENCE_MAX_S * 1000);
        text += decoder.decode(bytes, { stream: true });
        const events = text.split("\n\n");
        text = events.pop();
        for (const event of events) {
          const data = event.split("\n").filter((line) => line.startsWith("data:"));
          if (data.length) yield JSON.parse(data.map((line) => line.slice(5)).join("\n"));
        }
      }
    } finally {
      clearTimeout(watch);
      signal?.removeEventListener("abort", stop);
      silence.abort();
    }
  }

  /** One request below /api/v1/telemetry, made again while the daemon is busy or away. */
  async call(method, path, body) {
    for (let attempt = 1; ; attempt += 1) {
      let waitS = 0.5 * 2 ** attempt;
      try {
        const answer = await fetch(this.#base + path, {
          method,
          headers: this.#headers(),
          body: body && JSON.stringify(body),
          signal: AbortSignal.timeout(this.#timeoutMs),
        });
        if (answer.ok) return await answer.json();
        throw await problemOf(answer);
      } catch (error) {
        const isFinal = error instanceof Problem && !BUSY.has(error.status);
        if (isFinal || attempt === TRIES) throw error;
        waitS = error.body?.retry_after ?? waitS;
      }
      await sleep(waitS * (1 + 0.2 * Math.random()));
    }
  }

  #headers() {
    return { Authorization: `Bearer ${this.#key}`, "Content-Type": "application/json" };
  }
}

async function problemOf(answer) {
  // A proxy in between answers in HTML.
  return new Problem(answer.status, await answer.json().catch(() => ({})));
}

async function* chunksOf(stream) {
  const reader = stream.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Old Node, and pages that came without TLS, have no randomUUID. */
function newId() {
  const digits = () => Math.random().toString(36).slice(2);
  return globalThis.crypto?.randomUUID?.() ?? `${Date.now()}-${digits()}${digits()}`;
}

function sleep(seconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
