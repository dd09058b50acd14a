// Where a person types the numbers of a row, or drops a CSV of many.

import { emptied } from "./artifact.js";
import { show } from "./answers.js";
import { number, parsed } from "./csv.js";
import { decoded } from "./decoding.js";
import { button, chooser, element, spoken } from "./dom.js";

const TYPED = 40; // so many numbers a person types; longer rows come as files
const SHOWN = 200; // answers to a file that are listed

export function open(model, input, answer) {
  const { manifest } = model;
  const names = Array.from({ length: model.size }, (_, place) => manifest.input.names[place] ?? `${place}`);
  const golden = model.golden().subarray(0, model.size);
  const fields = names.map((name, place) =>
    element("input", { inputmode: "decimal", value: spoken(Number(golden[place])), "aria-label": name }),
  );

  async function ask() {
    const values = fields.map((field) => number(field.value));
    const [outputs] = await model.outputs(typed(manifest, [values], names));
    show(answer, decoded(manifest.output.reading, outputs), manifest.output.unit);
  }

  const choose = chooser("Choose a CSV, or drop one", ".csv,.tsv,.txt,text/csv", input, async (file) => {
    const { names: said, rows } = parsed(await file.text());
    const order = places(said, names);
    const values = rows.map((cells) => order.map((place) => number(cells[place] ?? "")));
    const outputs = await model.outputs(typed(manifest, values, names));
    list(answer, outputs.map((each) => decoded(manifest.output.reading, each)));
  });
  const form = names.length <= TYPED;
  const labels = fields.map((field, place) => element("label", {}, names[place], field));
  input.replaceChildren(
    element("h2", {}, form ? "One row, or a CSV of many" : `A CSV: each line a row of ${names.length} numbers`),
    form ? element("div", { class: "fields" }, ...labels) : "",
    element("div", { class: "row" }, ...(form ? [button("Ask", () => ask().catch((error) => failed(answer, error)))] : []), choose),
    element("p", { class: "note" }, "It begins with a golden row of the artifact, which is nobody's."),
  );
}

export function failed(answer, error) {
  answer.replaceChildren(element("p", { class: "error", role: "alert" }, error.message));
}

// Where each number of a row stands in the file: by name where the file has names, else in order.
function places(said, names) {
  if (!said.length) return names.map((_, place) => place);
  const found = names.map((name) => said.indexOf(name));
  if (found.includes(-1) && said.length >= names.length) return names.map((_, place) => place);
  if (found.includes(-1)) throw new Error(`the file has no column ${names[found.indexOf(-1)]}`);
  return found;
}

function typed({ input }, rows, names) {
  const raw = emptied(input.dtype, rows.length * names.length);
  rows.forEach((row, line) => {
    row.forEach((value, place) => {
      if (!Number.isFinite(value)) throw new Error(`row ${line + 1} has no number for ${names[place]}; a missing one is no 0`);
      if (!input.dtype.startsWith("float") && !Number.isInteger(value)) throw new Error(`${names[place]} takes whole numbers`);
      raw[line * names.length + place] = input.dtype === "int64" ? BigInt(value) : value;
    });
  });
  return raw;
}

function list(answer, answers) {
  const flat = answers.map(({ likeliest, numbers, columns: quantiles, ...rest }) => {
    return [...Object.entries(rest), ...(quantiles ?? numbers ?? [])];
  });
  const columns = flat[0].map(([name]) => name);
  const head = element("tr", {}, ...["row", ...columns].map((name) => element("th", {}, name)));
  const rows = flat.slice(0, SHOWN).map((each, line) =>
    element("tr", {}, ...[line + 1, ...each.map(([, value]) => cell(value))].map((value) => element("td", {}, String(value)))),
  );
  const more = answers.length > SHOWN ? `, of which ${SHOWN} are listed` : "";
  answer.replaceChildren(
    element("h2", {}, `${answers.length} answers${more}`),
    element("div", { class: "scroll" }, element("table", {}, head, ...rows)),
  );
}

function cell(value) {
  if (Array.isArray(value)) return value.map(cell).join(", ");
  if (value instanceof Map) return [...value].map(([name, each]) => `${name} ${spoken(each)}`).join(", ");
  return spoken(value);
}
