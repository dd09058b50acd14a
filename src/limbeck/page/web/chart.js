// Readings of a stream as a line over their times, the last forecast, and where it alarmed or had no data.

import { drawn, spoken } from "./dom.js";

const WIDEST = 720, NARROWEST = 300, HIGH = 240, LEFT = 44, RIGHT = 8, BOTTOM = 22, TOP = 8;
const MARGINS = 66; // of the page and the section, at the sides of the picture
const SEEN = 600; // the last so many readings are in the picture

export class Chart {
  constructor(stream) {
    this.channel = Math.max(0, stream.channels.indexOf(stream.target));
    this.every = stream.every_seconds || 1;
    this.bridged = (stream.fill ?? 0) + 1.5; // steps; a longer hole stays a hole in the line
    // On a phone the picture is as wide as the phone, so that its words stay as large.
    this.wide = Math.min(WIDEST, Math.max(NARROWEST, window.innerWidth - MARGINS));
    const words = `${stream.channels[this.channel]} over time`;
    this.svg = drawn("svg", { viewBox: `0 0 ${this.wide} ${HIGH}`, role: "img", "aria-label": words });
  }

  clear(readings, alerts) {
    this.values = readings.map(({ values }) => values[this.channel]);
    this.times = readings.map(({ time }, place) => time ?? place);
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

  answered(place, answer) {
    const median = answer.columns?.get("forecast");
    if (median) this.forecast = { place, values: [...median.values()] };
  }

  draw(end) {
    const first = Math.max(0, end - SEEN), shown = this.values.slice(first, end).filter(Number.isFinite);
    if (!shown.length) return;
    const last = this.times[end - 1] + (this.forecast ? this.forecast.values.length : 0) * this.every;
    const span = Math.max(this.every, last - this.times[first]);
    const all = [...shown, ...(this.forecast?.values ?? []), ...(this.limit === null ? [] : [this.limit])];
    let [low, high] = [Math.min(...all), Math.max(...all)];
    if (low === high) [low, high] = [low - 1, high + 1];
    const x = (time) => LEFT + ((time - this.times[first]) / span) * (this.wide - LEFT - RIGHT);
    const y = (value) => TOP + (1 - (value - low) / (high - low)) * (HIGH - TOP - BOTTOM);
    const level = (kind, value) => drawn("line", { class: kind, x1: LEFT, x2: this.wide - RIGHT, y1: y(value), y2: y(value) });
    const parts = [...this.bands(first, end, x)];
    for (const value of [low, (low + high) / 2, high]) {
      const words = spoken(Number(value.toPrecision(3)));
      parts.push(level("axis", value), drawn("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, words));
    }
    if (this.limit !== null) parts.push(level("limit", this.limit));
    parts.push(drawn("path", { class: "reading", d: this.line(first, end, x, y) }));
    if (this.forecast && this.forecast.place >= first) {
      const from = this.times[this.forecast.place];
      const points = this.forecast.values.map((value, step) => `${x(from + (step + 1) * this.every)},${y(value)}`);
      parts.push(drawn("polyline", { class: "forecast", points: points.join(" ") }));
    }
    const range = `readings ${first + 1} to ${end}`;
    parts.push(drawn("text", { x: this.wide - RIGHT, y: HIGH - 6, "text-anchor": "end" }, range));
    this.svg.replaceChildren(...parts);
  }

  // A line that breaks where there is no reading, and over holes that are too long to be bridged.
  line(first, end, x, y) {
    let path = "", before = NaN;
    for (let place = first; place < end; place += 1) {
      if (!Number.isFinite(this.values[place])) continue;
      const joined = this.times[place] - before <= this.bridged * this.every;
      path += `${joined ? "L" : "M"}${x(this.times[place]).toFixed(1)} ${y(this.values[place]).toFixed(1)}`;
      before = this.times[place];
    }
    return path;
  }

  // From where a state began to where the next one begins.
  *bands(first, end, x) {
    for (let place = first; place < end; place += 1) {
      const state = this.states[place];
      if (state !== "alert" && state !== "no data") continue;
      let next = place + 1;
      while (next < end && (this.states[next] === state || this.states[next] === null)) next += 1;
      const left = x(this.times[place]), width = Math.max(2, x(this.times[Math.min(next, end - 1)]) - left);
      yield drawn("rect", { class: state === "alert" ? "alarm" : "gap", x: left, y: TOP, width, height: HIGH - TOP - BOTTOM });
      place = next - 1;
    }
  }
}
