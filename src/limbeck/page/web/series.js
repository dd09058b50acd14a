// Where a person drops a CSV of readings and watches it as a stream: windows, answers, and alerts where there are some.

import { Alerts } from "./alerts.js";
import { show } from "./answers.js";
import { Chart } from "./chart.js";
import { moment, number, parsed } from "./csv.js";
import { decoded } from "./decoding.js";
import { button, chooser, element } from "./dom.js";
import { failed } from "./rows.js";
import { score } from "./scores.js";
import { Windows } from "./windows.js";

const FRAME = 40; // milliseconds between two pictures of a replay

export function open(model, input, answer) {
  const { stream } = model.manifest;
  const state = element("p", { class: "state", role: "status" }, "no data yet");
  const chart = new Chart(stream);
  const events = element("table");
  const progress = element("progress", { max: 1, value: 0 });
  const player = new Player(model, { state, chart, events, progress, answer });
  const choose = chooser("Choose a CSV of readings, or drop one", ".csv,.tsv,.txt,text/csv", input, async (file) => {
    try {
      player.load(readings(await file.text(), stream));
      await player.play();
    } catch (error) {
      failed(answer, error);
    }
  });
  const golden = button("Try the golden rows", async () => {
    player.load(goldenReadings(model));
    await player.play();
  });
  const unit = stream.units?.filter(Boolean).join(", ");
  const what = `${stream.channels.join(", ")}${unit ? ` in ${unit}` : ""}`;
  const rate = stream.every_seconds ? `one reading every ${stream.every_seconds} s` : "readings in order";
  const rule = model.manifest.alerts ? "" : " The artifact has no thresholds, so nothing alarms: limbeck tune writes some.";
  const controls = [button("To the end", () => player.hurry()), button("Stop", () => player.stop())];
  input.replaceChildren(
    element("h2", {}, "A stream"),
    element("div", { class: "row" }, choose, golden, ...controls),
    element("p", { class: "note" }, `${what}, ${rate}; windows of ${stream.steps}.${rule}`),
    progress,
    state,
    chart.svg,
    element("div", { class: "scroll" }, events),
  );
}

/** Readings of a file: {time, values}, in the order of the artifact's channels. */
export function readings(text, stream) {
  const { names, rows } = parsed(text);
  const columns = stream.channels.map((name) => names.indexOf(name));
  const clock = stream.every_seconds ? names.findIndex((name, place) => !columns.includes(place) && isTime(rows, place, name)) : -1;
  if (columns.includes(-1)) {
    // Without the channels' names, a file of as many columns, with or without one of times before them.
    const width = rows[0].length, channels = stream.channels.length;
    if (names.length && width > channels + 1) throw new Error(`the file has no column ${stream.channels[columns.indexOf(-1)]}`);
    if (width !== channels && width !== channels + 1) throw new Error(`${width} columns for ${channels} channels`);
    const timed = width > channels;
    return rows.map((cells, place) => at(cells, timed ? moment(cells[0]) : null, place, cells.slice(-channels), stream));
  }
  return rows.map((cells, place) =>
    at(cells, clock < 0 ? null : moment(cells[clock]), place, columns.map((column) => cells[column] ?? ""), stream),
  );
}

function at(cells, time, place, values, { every_seconds: every }) {
  if (time !== null && Number.isNaN(time)) throw new Error(`line ${place + 1} has no time: ${cells.join(" ")}`);
  return { time: every ? (time ?? place * every) : null, values: values.map(number) };
}

function isTime(rows, place, name) {
  return /time|date|stamp|second/i.test(name) && !Number.isNaN(moment(rows[0][place] ?? ""));
}

// The golden rows one after the other, with a gap between them, for they are no one series.
function goldenReadings(model) {
  const rows = model.golden(), { size } = model;
  const { steps, channels, every_seconds: every, fill = 0 } = model.manifest.stream;
  const found = [];
  for (let row = 0; row * size < rows.length; row += 1) {
    for (let step = 0; step < steps; step += 1) {
      const values = channels.map((_, channel) => Number(rows[row * size + channel * steps + step]));
      found.push({ time: every ? (row * (steps + fill + 1) + step) * every : null, values });
    }
  }
  return found;
}

class Player {
  constructor(model, parts) {
    Object.assign(this, { model, ...parts, turn: 0 });
  }

  load(found) {
    const { stream, alerts } = this.model.manifest;
    this.readings = found;
    this.windows = new Windows(stream);
    this.alerts = alerts ? new Alerts(alerts) : null;
    this.at = 0;
    this.count = 0;
    this.chart.clear(found, alerts);
    this.events.replaceChildren();
  }

  /** Plays to the end, a few readings a picture, unless something else is loaded or stopped meanwhile. */
  async play() {
    const turn = (this.turn += 1);
    this.few = Math.max(1, Math.ceil(this.readings.length / 400));
    while (this.at < this.readings.length && this.turn === turn) {
      const end = Math.min(this.readings.length, this.at + this.few);
      while (this.at < end) await this.push(this.readings[this.at], this.at++);
      this.progress.value = this.at / this.readings.length;
      this.chart.draw(this.at);
      await new Promise((next) => setTimeout(next, this.few < this.readings.length ? FRAME : 0));
    }
    if (this.turn === turn) this.state.dataset.done = "yes";
  }

  hurry() {
    this.few = this.readings?.length ?? 1;
  }

  stop() {
    this.turn += 1;
  }

  async push({ time, values }, place) {
    const missing = this.windows.take(values, time);
    if (missing === null) return;
    const clock = time ?? place;
    if (missing) return this.note(clock, null, missing, place);
    const { manifest } = this.model, row = this.windows.row();
    const [outputs] = await this.model.outputs(row);
    const answer = decoded(manifest.output.reading, outputs);
    this.chart.answered(place, answer);
    show(this.answer, answer, manifest.output.unit || manifest.stream.units?.[0]);
    this.count += 1;
    this.note(clock, this.alerts ? score(manifest.alerts.watch, manifest, row, outputs) : null, "", place);
  }

  // Tells the alerts, and shows the state and what happened.
  note(clock, found, reason, place) {
    const said = this.alerts?.step(clock, found, reason) ?? [];
    const state = this.alerts ? this.alerts.state : reason ? "no data" : "answering";
    this.chart.stands(place, state);
    this.state.textContent = `${state}${reason ? `: ${reason}` : ""}`;
    this.state.className = `state ${state}`;
    for (const event of said) {
      const cells = [when(event.time, this.model.manifest.stream), event.kind, event.reason];
      this.events.append(element("tr", {}, ...cells.map((cell) => element("td", {}, cell))));
    }
  }
}

function when(time, { every_seconds: every }) {
  if (!every) return `reading ${time}`;
  return time > 1e8 ? new Date(1000 * time).toISOString().replace("T", " ").slice(0, 19) : `${time} s`;
}
