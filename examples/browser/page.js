// The page: a form, a line that says what goes on, and the newest points.

import { LiveStream } from "./live.js";

const ROWS_MAX = 200;
const LINES_MAX = 50;

const at = (id) => document.getElementById(id);
const form = at("form");
let stream = null;
let count = 0;
let waiting = [];

const names = (id) => at(id).value.replace(/\s+/g, "");

/** One line of the log; screen readers hear the newest. */
function say(state, text) {
  at("state").dataset.state = state;
  at("state").textContent = text;
  const line = document.createElement("li");
  line.textContent = `${new Date().toISOString().slice(11, 19)} ${text}`;
  at("log").prepend(line);
  while (at("log").children.length > LINES_MAX) at("log").lastChild.remove();
}

function cell(text, { kind = "td" } = {}) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

function rowOf({ timestamp, device_id, metric_name, value, unit }) {
  const row = document.createElement("tr");
  const shown = typeof value === "object" ? JSON.stringify(value) : String(value);
  row.append(cell(timestamp), cell(device_id, { kind: "th" }), cell(metric_name), cell(shown), cell(unit ?? ""));
  row.children[1].scope = "row";
  row.children[3].className = typeof value === "number" ? "number" : "";
  return row;
}

/** At most once a frame, whatever comes: the browser stays quick. */
function show() {
  const rows = waiting.map(rowOf).reverse();
  waiting = [];
  at("points").prepend(...rows);
  while (at("points").children.length > ROWS_MAX) at("points").lastChild.remove();
  at("count").textContent = count.toLocaleString("en");
}

function take({ detail: { points } }) {
  if (!waiting.length) setTimeout(show, 50);
  count += points.length;
  waiting = [...waiting, ...points].slice(-ROWS_MAX);
}

function connect() {
  const mine = new LiveStream({
    url: at("url").value.trim(),
    key: at("key").value.trim(),
    filters: { device_ids: names("devices"), metric_names: names("metrics") },
    transports: at("sse").checked ? ["eventsource"] : undefined,
  });
  mine.addEventListener("points", take);
  mine.addEventListener("gap", ({ detail: { from, to, reason } }) => {
    say("gap", `points between ${from} and ${to} are lost to this page: ${reason}`);
  });
  mine.addEventListener("state", ({ detail: { state, text } }) => {
    if (stream === mine) say(state, text);
  });
  return mine;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  stream?.stop();
  const mine = (stream = connect());
  at("points").replaceChildren();
  at("count").textContent = count = 0;
  at("stop").disabled = false;
  await mine.run();
  if (stream === mine) at("stop").disabled = true;
});

at("stop").addEventListener("click", () => stream?.stop());
