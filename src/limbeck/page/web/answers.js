// An answer on the page, by the kind of its reading.

import { element, spoken } from "./dom.js";

/** Shows one answer in a section. `unit` is that of numbers. */
export function show(section, answer, unit = "") {
  section.replaceChildren(...parts(answer, unit));
}

function parts(answer, unit) {
  if ("class" in answer) {
    return [
      element("h2", {}, "Answer"),
      element("div", { class: "big" }, answer.class),
      element("p", { class: "note" }, `${per(answer.probability)} sure, by the student's own reckoning`),
      bars(answer.likeliest),
    ];
  }
  if ("likeliest" in answer) {
    const found = answer.classes.length ? answer.classes.join(", ") : "none of its classes";
    return [element("h2", {}, "Answer"), element("div", { class: "big" }, found), bars(answer.likeliest)];
  }
  if ("classes" in answer) return [element("h2", {}, "Answer, step by step"), steps(answer)];
  if ("numbers" in answer) return [element("h2", {}, "Answer"), table(new Map([["", answer.numbers]]), unit)];
  const { event, probability, columns } = answer;
  const said = event ? [element("p", {}, `${event}: `, element("strong", {}, per(probability)))] : [];
  return [element("h2", {}, "Answer"), ...said, table(columns, unit)];
}

/** A share as per cent. */
export function per(share) {
  return `${(100 * share).toFixed(share > 0.999 || share < 0.001 ? 2 : 1)} %`;
}

function bars(chances) {
  const cells = [...chances].flatMap(([name, chance]) => [
    element("span", {}, name),
    element("meter", { min: 0, max: 1, value: chance, "aria-label": name }),
    element("span", { class: "number" }, per(chance)),
  ]);
  return element("div", { class: "bars" }, ...cells);
}

function steps({ classes, probability }) {
  const rows = classes.map((name, step) =>
    element("tr", {}, ...[String(step), name, per(probability[step])].map((cell) => element("td", {}, cell))),
  );
  return element("div", { class: "scroll" }, element("table", {}, ...rows));
}

// Numbers by name, in one column for each quantile.
function table(columns, unit) {
  const names = [...columns.values().next().value.keys()];
  const heads = ["", ...columns.keys()].map((each) => element("th", {}, each));
  const titles = [...columns.keys()].some(Boolean) ? [element("tr", {}, ...heads)] : [];
  const rows = names.map((name) => {
    const cells = [...columns.values()].map((each) => element("td", {}, `${spoken(each.get(name))} ${unit}`));
    return element("tr", {}, element("th", {}, name), ...cells);
  });
  return element("div", { class: "scroll" }, element("table", {}, ...titles, ...rows));
}
