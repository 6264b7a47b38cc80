// Points of a telemetry daemon as they are stored, each once, through any break of the connection.
//
// A browser can't send a key with a WebSocket or an EventSource, and a key in an address ends up in
// logs. So each connection begins with a ticket, which the key buys by POST and which works once.
// After every break a new ticket and the last cursor go on where it ended.

const API = "/api/v1/telemetry";
const DELAYS_S = [3, 6, 12, 24, 48, 60];
const JITTER = 0.2;
const SILENCE_MAX_S = 60; // A ping comes every 30 s.
const BEGIN_WITHIN_S = 10;
const POLL_AFTER_FAILURES = 10;
const POLL_EVERY_S = 30;
const FINAL_CODES = new Set([4003, 4004, 1008]); // Asking again would not help.

class Refused extends Error {} // Nothing but another key or request helps.
class Retry extends Error {
  constructor(message, { afterS = 0 } = {}) {
    super(message);
    this.afterS = afterS;
  }
}

/**
 * Events: `state` {state, text}, `points` {points}, `gap` {from, to, reason}.
 * States: connecting, live, waiting, polling, refused, stopped.
 */
export class LiveStream extends EventTarget {
  #url;
  #key;
  #filters;
  #transports;
  #cursor = null;
  #failures = 0;
  #stop = new AbortController();

  /** `filters`: parameters of the stream, as `{device_ids: "a,b"}`; empty ones are left out. */
  constructor({ url, key, filters = {}, transports = ["websocket", "eventsource"] }) {
    super();
    this.#url = url.replace(/\/+$/, "");
    this.#key = key;
    this.#filters = Object.entries(filters).filter(([, value]) => value);
    this.#transports = [...transports];
  }

  stop() {
    this.#stop.abort();
  }

  /** Follow until `stop()` or a refusal; never throws. */
  async run() {
    while (!this.#stop.signal.aborted) {
      let waitS;
      try {
        waitS = await this.#once();
      } catch (error) {
        if (error instanceof Refused) return this.#say("refused", error.message);
        waitS = this.#delayS(error);
        if (!this.#stop.signal.aborted) {
          const when = `again in ${Math.ceil(waitS)} s`;
          this.#say("waiting", `${error.message}; ${when}`);
        }
      }
      await this.#sleep(waitS);
    }
    this.#say("stopped", "stopped");
  }

  /** One connection, or one poll; resolves to the seconds before the next. */
  async #once() {
    if (this.#failures >= POLL_AFTER_FAILURES) await this.#poll();
    const [transport] = this.#transports;
    this.#say("connecting", `connecting by ${transport}`);
    let hasBegun = false;
    const begun = () => {
      hasBegun = true;
      this.#failures = 0;
      this.#say("live", `live by ${transport}`);
    };
    try {
      const address = await this.#address();
      await (transport === "websocket" ? this.#webSocket : this.#eventSource).call(this, address, begun);
    } catch (error) {
      if (!hasBegun && !(error instanceof Refused)) {
        this.#failures += 1;
        // A proxy may let only one of them through.
        if (!(error instanceof Retry)) this.#transports.push(this.#transports.shift());
      }
      throw error;
    }
    return 0;
  }

  // -- what is asked -----------------------------------------------------------------------------

  async #fetch(path, options = {}) {
    const headers = { Authorization: `Bearer ${this.#key}`, "Content-Type": "application/json" };
    let answer;
    try {
      answer = await fetch(this.#url + API + path, { ...options, headers, cache: "no-store", signal: this.#stop.signal });
    } catch {
      throw new Retry("no answer: the daemon is away, or [http] cors_origins does not name this page");
    }
    if (answer.ok) return answer.json();
    const said = (await answer.json().catch(() => ({}))).detail ?? `status ${answer.status}`;
    if (answer.status === 429 || answer.status >= 500) {
      throw new Retry(said, { afterS: Number(answer.headers.get("Retry-After")) });
    }
    throw new Refused(said);
  }

  async #address() {
    const { ticket } = await this.#fetch("/tickets", { method: "POST", body: '{"channel": "telemetry"}' });
    const query = new URLSearchParams([...this.#filters, ["ticket", ticket]]);
    if (this.#cursor) query.set("cursor", this.#cursor);
    return `${this.#url}${API}/stream/telemetry?${query}`;
  }

  // -- the ways ----------------------------------------------------------------------------------

  #webSocket(address, begun) {
    const socket = new WebSocket(address.replace(/^http/, "ws"), ["telemetry.v1"]);
    return this.#follow(begun, ({ take, fail }) => {
      socket.onmessage = ({ data }) => take(data);
      socket.onclose = ({ code, reason }) => fail(code, reason);
      return () => socket.close();
    });
  }

  #eventSource(address, begun) {
    const source = new EventSource(address);
    return this.#follow(begun, ({ take, fail }) => {
      for (const kind of ["welcome", "subscribed", "update", "heartbeat", "warning", "gap", "shutdown"]) {
        source.addEventListener(kind, ({ data }) => take(data));
      }
      // Both a frame of the type error, with data, and the end of the connection. The source would
      // ask again by itself, but its ticket is used up.
      source.onerror = ({ data }) => (data ? take(data) : fail(1006, ""));
      return () => source.close();
    });
  }

  /** Take frames until the connection ends, which always throws, unless it was meant to. */
  #follow(begun, open) {
    return new Promise((resolve, reject) => {
      let timer;
      let said = "";
      const end = (error) => {
        clearTimeout(timer);
        this.#stop.signal.removeEventListener("abort", stopped);
        close();
        error ? reject(error) : resolve();
      };
      const stopped = () => end(null);
      const expect = (withinS) => {
        clearTimeout(timer);
        timer = setTimeout(() => end(new Error(`nothing came for ${withinS} s`)), withinS * 1000);
      };
      const take = (text) => {
        expect(SILENCE_MAX_S);
        const frame = JSON.parse(text);
        if (frame.type === "subscribed") begun();
        if (frame.type === "error") said = frame.error.message;
        this.#take(frame);
      };
      const fail = (code, reason) => {
        const why = reason || said || "the connection broke";
        if (FINAL_CODES.has(code)) return end(new Refused(why));
        end(code >= 4000 || code === 1012 || code === 1013 ? new Retry(why) : new Error(why));
      };
      const close = open({ take, fail });
      expect(BEGIN_WITHIN_S);
      this.#stop.signal.addEventListener("abort", stopped);
    });
  }

  /** While no stream can be had: what came since, by plain requests. */
  async #poll() {
    const query = new URLSearchParams([...this.#filters, ["after", this.#cursor ?? "now"], ["limit", "1000"]]);
    const page = await this.#fetch(`/changes?${query}`);
    this.#say("polling", `no stream can be had; asking every ${POLL_EVERY_S} s`);
    if (page.gap) this.#emit("gap", page.gap);
    if (page.data_points.length) this.#emit("points", { points: page.data_points });
    this.#cursor = page.cursor;
  }

  // -- what comes --------------------------------------------------------------------------------

  #take({ type, cursor, data }) {
    if (type === "update") this.#emit("points", { points: data.data_points });
    if (type === "gap") this.#emit("gap", data);
    // Only what has been shown is behind the cursor; a welcome comes before all that was asked for.
    if (cursor && type !== "welcome") this.#cursor = cursor;
  }

  #delayS({ afterS = 0 }) {
    if (this.#failures >= POLL_AFTER_FAILURES) return Math.max(afterS || 0, POLL_EVERY_S);
    const step = Math.max(0, Math.min(this.#failures - 1, DELAYS_S.length - 1));
    const spread = 1 + JITTER * (2 * Math.random() - 1);
    return Math.max(afterS || 0, DELAYS_S[step] * spread);
  }

  /** Ends early when the network comes back, or at `stop()`. */
  #sleep(seconds) {
    const { signal } = this.#stop;
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        removeEventListener("online", done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, seconds * 1000);
      addEventListener("online", done);
      signal.addEventListener("abort", done);
    });
  }

  #say(state, text) {
    this.#emit("state", { state, text });
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
