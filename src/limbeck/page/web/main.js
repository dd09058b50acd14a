// Fetches everything once, forbids itself the network, checks the golden rows, and opens the input that fits.

import { unsealed } from "./artifact.js";
import { element } from "./dom.js";
import { load } from "./model.js";
import * as pictures from "./pictures.js";
import * as rows from "./rows.js";
import * as series from "./series.js";

const ALONE =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src blob: data:; form-action 'none'";
const PRIVATE =
  "The model runs in this browser. What you draw or drop stays here: " +
  "since it has loaded, this page may ask no server for anything.";
const MISSING =
  "onnxruntime-web is not there, so nothing can be asked. In a clone of Limbeck: make page. Elsewhere: " +
  "limbeck serve --runtime with the folder dist of the npm package onnxruntime-web.";

const part = (name) => document.getElementById(name);

async function fetched(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
  return answer.arrayBuffer();
}

// From here on the browser refuses every request of this page, also to the server that it came from.
function alone() {
  document.head.append(element("meta", { "http-equiv": "Content-Security-Policy", content: ALONE }));
  part("private").textContent = PRIVATE;
}

function introduce({ name, task, graph, input, output }) {
  document.title = `${name} - Limbeck`;
  part("name").textContent = name;
  const unit = output.unit ? `, in ${output.unit}` : "";
  const row = `${input.dtype} rows of ${input.shape.join(" x ")}`;
  part("about").textContent = `${task}, ${graph.precision}; takes ${row}, says ${output.reading.kind}${unit}`;
}

async function check(model) {
  const off = await model.difference(), { tolerance } = model.manifest.golden;
  if (!(off <= tolerance)) throw new Error(`this browser answers ${off} away from the answers at export (allowed: ${tolerance})`);
  const numbers = `max difference ${off === 0 ? "0" : off.toPrecision(2)} (allowed: ${tolerance.toPrecision(2)})`;
  part("same").textContent = `This browser gives the same answers to the golden rows: ${numbers}.`;
}

function widget({ input, stream }) {
  if (input.kind === "image") return pictures;
  return input.kind === "series" && stream ? series : rows;
}

async function start() {
  const artifact = await unsealed(await fetched("artifact.limbeck"));
  introduce(artifact.manifest);
  const wasm = await fetched("onnxruntime-web/ort-wasm-simd-threaded.wasm").catch(() => null);
  if (wasm === null) {
    part("input").replaceChildren(element("p", { class: "error", role: "alert" }, MISSING));
    return alone();
  }
  const runtime = await import("./onnxruntime-web/ort.wasm.min.mjs");
  const model = await load(runtime, wasm, artifact);
  alone();
  await check(model);
  if (widget(artifact.manifest) === series) document.querySelector("main").classList.add("wide");
  widget(artifact.manifest).open(model, part("input"), part("answer"));
}

start()
  .then(() => (document.body.dataset.ready = "yes"))
  .catch((error) => {
    part("input").replaceChildren(element("p", { class: "error", role: "alert" }, error.message));
    document.body.dataset.ready = "failed";
  });
