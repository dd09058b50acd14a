// A few words for building the page; text is always set as text, never as markup.

/** An element with attributes and children; what is no element becomes text. */
export function element(kind, attributes = {}, ...children) {
  const found = document.createElement(kind);
  give(found, attributes);
  found.append(...children.filter((each) => each !== null));
  return found;
}

/** The same in SVG. */
export function drawn(kind, attributes = {}, ...children) {
  const found = document.createElementNS("http://www.w3.org/2000/svg", kind);
  give(found, attributes);
  found.append(...children);
  return found;
}

/** A button that chooses a file; the whole of `target` takes a dropped one too. */
export function chooser(words, accept, target, taken) {
  const input = element("input", { type: "file", accept });
  input.addEventListener("change", () => input.files.length && taken(input.files[0]));
  const over = (event) => {
    event.preventDefault();
    target.classList.add("drop");
  };
  const out = () => target.classList.remove("drop");
  target.addEventListener("dragover", over);
  target.addEventListener("dragleave", out);
  target.addEventListener("drop", (event) => {
    event.preventDefault();
    out();
    if (event.dataTransfer.files.length) taken(event.dataTransfer.files[0]);
  });
  return element("label", { class: "file" }, words, input);
}

export function button(words, pressed) {
  const found = element("button", { type: "button" }, words);
  found.addEventListener("click", pressed);
  return found;
}

/** A number as a person reads it. */
export function spoken(value) {
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return "no number";
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
}

function give(found, attributes) {
  for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
}
