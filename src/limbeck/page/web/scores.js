// Which number of an answer alerts watch, as limbeck_runtime/scores.py takes it; float32, one subtraction at most.

/** The score of one row. `row` holds the raw numbers, channel by channel; `outputs` what the graph said. */
export function score(watch, manifest, row, outputs) {
  const reading = manifest.output.reading;
  if (watch.kind === "reading") {
    const names = manifest.input.names.length ? manifest.input.names : manifest.stream.channels;
    const steps = manifest.input.shape[1];
    return Math.fround(row[names.indexOf(watch.names[0]) * steps + steps - 1]);
  }
  const last = reading.kind === "steps" ? outputs.slice(outputs.length - reading.names.length) : outputs;
  if (watch.kind === "event") return last[last.length - 1];
  if (watch.kind === "number") return last[numberPlace(watch, reading)];
  const watched = reading.names.map((name) => watch.names.includes(name));
  const best = Math.max(...Array.from(last).filter((_, place) => watched[place]));
  if (reading.kind === "classes") return best;
  return Math.fround(best - Math.max(...Array.from(last).filter((_, place) => !watched[place])));
}

function numberPlace(watch, reading) {
  const place = reading.names.indexOf(watch.names[0]);
  if (reading.kind === "numbers") return place;
  const levels = reading.quantiles?.length ? reading.quantiles : [0.5];
  return place * levels.length + levels.indexOf(watch.level ?? 0.5);
}
