// Readings as they come, cut into windows as limbeck_runtime/stream.py cuts them; a test plays the same readings to both.

const ALIKE = 0.25; // of a step: a distance in time may be off by so much, and is still whole
const JUDGED = 16; // distances after which the rate is judged

// Halves to the even one, as numpy rounds.
function rounded(value) {
  const floor = Math.floor(value);
  const part = value - floor;
  return part > 0.5 || (part === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

export class Windows {
  constructor(cut) {
    this.cut = { every_seconds: null, stride: 1, fill: 0, ...cut };
    this.reset();
  }

  reset() {
    const { channels, steps } = this.cut;
    this.ring = channels.map(() => new Float64Array(steps).fill(NaN));
    this.place = -1;
    this.time = NaN;
    this.known = channels.map(() => [-1, NaN]);
    this.distances = this.early = this.late = 0;
  }

  /** Lays one reading of every channel on the grid: null where no window is due, else why it is not whole, or "". */
  take(values, time) {
    const ahead = this.place < 0 ? 1 : this.ahead(time);
    if (ahead === 0) return null;
    const before = this.place;
    this.place += ahead;
    this.time = time ?? NaN;
    this.lay(values, before);
    return this.due(before);
  }

  /** The window that ends with the last reading, channel by channel. */
  row() {
    const { channels, steps } = this.cut;
    const row = new Float32Array(channels.length * steps);
    this.ring.forEach((readings, channel) => {
      for (let step = 0; step < steps; step += 1) row[channel * steps + step] = readings[(this.place + 1 + step) % steps];
    });
    return row;
  }

  ahead(time) {
    const every = this.cut.every_seconds;
    if (every === null || time === null) return 1;
    const distance = (time - this.time) / every;
    if (distance < 0) throw new Error(`a reading at ${time} s after one at ${this.time} s`);
    const ahead = rounded(distance);
    if (ahead === 0) return 0;
    const early = this.early + (distance < 1 - ALIKE ? 1 : 0), late = this.late + (distance > 1 + ALIKE ? 1 : 0);
    if (this.distances + 1 >= JUDGED && 2 * Math.max(early, late) > this.distances + 1) {
      throw new Error(`more than half of ${this.distances + 1} readings do not come every ${every} s`);
    }
    Object.assign(this, { distances: this.distances + 1, early, late });
    return ahead;
  }

  lay(values, before) {
    const { steps, fill } = this.cut, place = this.place;
    this.ring.forEach((readings, channel) => {
      for (let hole = Math.max(before + 1, place - steps + 1); hole < place; hole += 1) readings[hole % steps] = NaN;
      readings[place % steps] = values[channel];
      if (Number.isNaN(values[channel])) return;
      const [known, level] = this.known[channel];
      if (known >= 0 && known < place - 1 && place - 1 <= known + fill) this.bridge(readings, known, level, values[channel]);
      this.known[channel] = [place, values[channel]];
    });
  }

  // A straight line over a short hole.
  bridge(readings, known, level, value) {
    const { steps } = this.cut, place = this.place;
    for (let hole = Math.max(known + 1, place - steps + 1); hole < place; hole += 1) {
      const share = (hole - known) / (place - known);
      readings[hole % steps] = level * (1 - share) + value * share;
    }
  }

  due(before) {
    const { steps, stride } = this.cut;
    if ((((this.place - steps + 1) % stride) + stride) % stride) {
      const skipped = Math.floor((this.place - steps + 1) / stride) > Math.floor((before - steps + 1) / stride);
      return skipped && before >= 0 ? "there was no reading at the step at which an answer was due" : null;
    }
    if (this.place < steps - 1) return `${this.place + 1} of ${steps} readings so far`;
    if (this.ring.some((readings) => Number.isNaN(readings[this.place % steps]))) return "the last reading is missing";
    let missing = 0;
    for (let step = 0; step < steps; step += 1) missing += this.ring.some((readings) => Number.isNaN(readings[step])) ? 1 : 0;
    return missing ? `${missing} of the last ${steps} readings are missing` : "";
  }
}
