// Where a person draws or drops a picture, sees what the student sees of it, and reads the answer.

import { show } from "./answers.js";
import { decoded } from "./decoding.js";
import { button, chooser, element } from "./dom.js";
import { Pad } from "./pad.js";
import { centred, lightInk, planes, range, row } from "./picture.js";

const LARGEST = 1024; // pixels of a side on which a dropped picture is laid out

export function open(model, input, answer) {
  const { manifest } = model, [channels, height, width] = manifest.input.shape;
  if (channels !== 1 && channels !== 3) throw new Error(`pictures of ${channels} channels cannot be drawn here`);
  const light = lightInk(manifest, model.golden());
  const seen = element("canvas", { class: "seen", width, height, "aria-label": "What the student sees" });
  const note = element("p", { class: "note" });
  let dropped = null;
  const turned = element("input", { type: "checkbox", id: "turned" });

  async function ask(found, what) {
    const raw = row(manifest, found);
    paint(seen, found, width, height);
    note.textContent = `${what} ${said(manifest)}`;
    const [outputs] = await model.outputs(raw);
    show(answer, decoded(manifest.output.reading, outputs), manifest.output.unit);
  }

  function drawing() {
    const { size, values } = pad.ink();
    const ink = centred(values, size, width, height);
    const plane = light ? ink : ink.map((each) => 1 - each);
    dropped = null;
    const ground = light ? "light ink on dark ground" : "dark ink on light ground";
    const centre = "fitted into 20/28 of the frame and centred by its mass, as MNIST is";
    return ask(Array.from({ length: channels }, () => plane), `Drawing: ${ground}, as the artifact's own rows are, ${centre};`);
  }

  function picture() {
    const found = dropped.map((plane) => (turned.checked ? plane.map((each) => 1 - each) : plane));
    const colour = channels === 1 ? "grey (BT.601)" : "red, green, blue";
    return ask(found, `Picture: ${colour}, stretched to the frame${turned.checked ? ", light and dark swapped" : ""};`);
  }

  const pad = new Pad(drawing);
  turned.addEventListener("change", () => dropped && picture());
  const choose = chooser("Choose a picture, or drop one", "image/*", input, async (file) => {
    dropped = planes(await pixels(file), manifest);
    await picture();
  });
  const clear = button("Clear", () => {
    pad.clear();
    answer.replaceChildren();
  });
  const golden = button("Try a golden row", () => {
    const { low, high } = range(manifest), rows = model.golden();
    const first = Array.from(rows.subarray(0, model.size), (each) => (Number(each) - low) / (high - low || 1));
    const plane = (channel) => Float32Array.from(first.slice(channel * width * height, (channel + 1) * width * height));
    dropped = null;
    const found = Array.from({ length: channels }, (_, channel) => plane(channel));
    return ask(found, "A golden row of the artifact, which is nobody's;");
  });
  input.replaceChildren(
    element("h2", {}, "Draw, or drop a picture"),
    pad.canvas,
    element("div", { class: "row" }, clear, choose, golden),
    element("div", { class: "row" }, turned, element("label", { for: "turned" }, "Swap light and dark of a picture")),
    element("div", { class: "row" }, seen, note),
  );
}

function said({ input }) {
  const { low, high } = range({ input });
  return `${input.shape[2]} x ${input.shape[1]} pixels, ${input.dtype} from ${low} to ${high}.`;
}

async function pixels(file) {
  const image = await createImageBitmap(file);
  const factor = Math.min(1, LARGEST / Math.max(image.width, image.height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(image.width * factor)), Math.max(1, Math.round(image.height * factor)));
  const paper = canvas.getContext("2d");
  paper.fillStyle = "white"; // what is transparent lies on paper
  paper.fillRect(0, 0, canvas.width, canvas.height);
  paper.drawImage(image, 0, 0, canvas.width, canvas.height);
  return paper.getImageData(0, 0, canvas.width, canvas.height);
}

function paint(canvas, found, width, height) {
  const image = new ImageData(width, height);
  for (let at = 0; at < width * height; at += 1) {
    [0, 1, 2].forEach((part) => (image.data[4 * at + part] = 255 * found[found.length === 3 ? part : 0][at]));
    image.data[4 * at + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}
