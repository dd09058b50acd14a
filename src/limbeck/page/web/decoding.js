// From outputs to answers, as limbeck_runtime/decoding.py reads them; a test holds the two to each other. What has names is
// a Map, for an object puts names such as "10" and "2" in another order.

const RANKED = 5;

/** What one row's outputs mean. `reading` is the manifest's `output.reading`. */
export function decoded(reading, outputs) {
  const decode = KINDS[reading.kind];
  if (!decode) throw new Error(`outputs of the kind ${reading.kind}, which this page does not know`);
  return decode(reading, Array.from(outputs));
}

/** An answer as the runtime writes it down: objects in the place of Maps, numbers beside the rest. */
export function plain(answer) {
  const { numbers, columns, ...rest } = answer;
  const flat = [...(numbers ?? []), ...(columns ?? []), ...Object.entries(rest)];
  return Object.fromEntries(flat.map(([name, value]) => [name, value instanceof Map ? Object.fromEntries(value) : value]));
}

/** Whether two plain answers are one: the same names, and numbers that differ by rounding alone. */
export function alike(said, known) {
  if (typeof known === "number") return Math.abs(said - known) <= Math.max(1e-6, 1e-4 * Math.abs(known));
  if (known === null || typeof known !== "object") return said === known;
  const names = Object.keys(known);
  return Object.keys(said).length === names.length && names.every((name) => name in said && alike(said[name], known[name]));
}

export function softmax(logits) {
  const most = Math.max(...logits);
  const shifted = logits.map((each) => Math.exp(each - most));
  const sum = shifted.reduce((total, each) => total + each, 0);
  return shifted.map((each) => each / sum);
}

export function sigmoid(logit) {
  const small = Math.exp(-Math.abs(logit));
  return (logit >= 0 ? 1 : small) / (1 + small);
}

// Places from the greatest to the least; equal ones keep their order.
function ranked(values) {
  return values.map((_, place) => place).sort((a, b) => values[b] - values[a] || a - b);
}

function likeliest(names, chances) {
  return new Map(ranked(chances).slice(0, RANKED).map((place) => [names[place], chances[place]]));
}

const KINDS = {
  class({ names }, outputs) {
    const chances = softmax(outputs);
    const best = ranked(chances)[0];
    return { class: names[best], probability: chances[best], likeliest: likeliest(names, chances) };
  },
  classes({ names }, outputs) {
    const chances = outputs.map(sigmoid);
    const there = ranked(chances).filter((place) => chances[place] >= 0.5);
    return { classes: there.map((place) => names[place]), likeliest: likeliest(names, chances) };
  },
  steps({ names }, outputs) {
    const answer = { classes: [], probability: [] };
    for (let first = 0; first < outputs.length; first += names.length) {
      const chances = softmax(outputs.slice(first, first + names.length));
      const best = chances.indexOf(Math.max(...chances));
      answer.classes.push(names[best]);
      answer.probability.push(chances[best]);
    }
    return answer;
  },
  numbers({ names }, outputs) {
    return { numbers: new Map(names.map((name, place) => [name, outputs[place]])) };
  },
  forecast({ names, quantiles = [], event = "" }, outputs) {
    const levels = quantiles.length ? quantiles : [0.5];
    const columns = levels.map((level, place) => {
      const key = level === 0.5 ? "forecast" : `quantile ${level}`;
      return [key, new Map(names.map((name, step) => [name, outputs[step * levels.length + place]]))];
    });
    const answer = { columns: new Map(columns) };
    if (event) Object.assign(answer, { event, probability: sigmoid(outputs[names.length * levels.length]) });
    return answer;
  },
};
