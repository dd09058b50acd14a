// Readings of a stream as a line, its last forecast, and where it alarmed or had no data.

import { drawn, spoken } from "./dom.js";

const WIDE = 720, HIGH = 240, LEFT = 44, BOTTOM = 22, TOP = 8;
const SEEN = 600; // the last so many readings are in the picture

export class Chart {
  constructor(stream) {
    this.channel = Math.max(0, stream.channels.indexOf(stream.target));
    this.every = stream.every_seconds || 1;
    this.stream = stream;
    const words = `${stream.channels[this.channel]} over time`;
    this.svg = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": words });
  }

  clear(readings, alerts) {
    this.values = readings.map(({ values }) => values[this.channel]);
    this.states = new Array(readings.length).fill(null);
    this.forecast = null;
    const watch = alerts?.watch;
    // A threshold is drawn where it is one of the numbers in the picture.
    this.limit = watch && (watch.kind === "reading" || watch.kind === "number") ? alerts.enter : null;
    this.svg.replaceChildren();
  }

  stands(place, state) {
    this.states[place] = state;
  }

  answered(place, _clock, answer) {
    const median = answer.columns?.get("forecast");
    if (median) this.forecast = { place, values: [...median.values()] };
  }

  draw(end) {
    const first = Math.max(0, end - SEEN), ahead = this.forecast ? this.forecast.values.length : 0;
    const shown = this.values.slice(first, end).filter(Number.isFinite);
    const all = [...shown, ...(this.forecast?.values ?? []), ...(this.limit === null ? [] : [this.limit])];
    if (!shown.length) return;
    let [low, high] = [Math.min(...all), Math.max(...all)];
    if (low === high) [low, high] = [low - 1, high + 1];
    const x = (place) => LEFT + ((place - first) / Math.max(1, end - 1 - first + ahead)) * (WIDE - LEFT - 8);
    const y = (value) => TOP + (1 - (value - low) / (high - low)) * (HIGH - TOP - BOTTOM);
    const parts = [...bands(this.states, first, end, x)];
    for (const value of [low, (low + high) / 2, high]) {
      parts.push(drawn("line", { class: "axis", x1: LEFT, x2: WIDE - 8, y1: y(value), y2: y(value) }));
      parts.push(drawn("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, spoken(Number(value.toPrecision(3)))));
    }
    if (this.limit !== null) {
      parts.push(drawn("line", { class: "limit", x1: LEFT, x2: WIDE - 8, y1: y(this.limit), y2: y(this.limit) }));
    }
    parts.push(drawn("path", { class: "reading", d: line(this.values, first, end, x, y) }));
    if (this.forecast && this.forecast.place >= first) {
      const points = this.forecast.values.map((value, step) => `${x(this.forecast.place + 1 + step)},${y(value)}`);
      parts.push(drawn("polyline", { class: "forecast", points: points.join(" ") }));
    }
    parts.push(drawn("text", { x: WIDE - 8, y: HIGH - 6, "text-anchor": "end" }, `readings ${first + 1} to ${end}`));
    this.svg.replaceChildren(...parts);
  }
}

// A line that breaks where there is no reading.
function line(values, first, end, x, y) {
  let path = "", down = false;
  for (let place = first; place < end; place += 1) {
    if (Number.isFinite(values[place])) path += `${down ? "L" : "M"}${x(place).toFixed(1)} ${y(values[place]).toFixed(1)}`;
    down = Number.isFinite(values[place]);
  }
  return path;
}

function* bands(states, first, end, x) {
  for (let place = first; place < end; place += 1) {
    const state = states[place];
    if (state !== "alert" && state !== "no data") continue;
    let last = place;
    while (last + 1 < end && (states[last + 1] === state || states[last + 1] === null)) last += 1;
    const left = x(place), width = Math.max(2, x(last) - left);
    yield drawn("rect", { class: state === "alert" ? "alarm" : "gap", x: left, y: TOP, width, height: HIGH - TOP - BOTTOM });
    place = last;
  }
}
