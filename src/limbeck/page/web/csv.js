// A CSV as a person exports it: commas, semicolons or tabs, a line of names or none, quotes, empty cells.

/** Names of the columns (empty where the file has none) and rows of cells. */
export function parsed(text) {
  const lines = text.replace(/^\ufeff/, "").split(/\r?\n/).filter((line) => line.trim());
  if (!lines.length) throw new Error("the file is empty");
  const separator = [",", ";", "\t"].sort((a, b) => lines[0].split(b).length - lines[0].split(a).length)[0];
  const cells = lines.map((line) => split(line, separator));
  const named = cells[0].some((cell) => cell && !Number.isFinite(number(cell)) && Number.isNaN(moment(cell)));
  return { names: named ? cells[0] : [], rows: named ? cells.slice(1) : cells };
}

/** A cell as a number; NaN where it is empty or none. */
export function number(cell) {
  return cell.trim() === "" ? NaN : Number(cell);
}

/** A cell as seconds: a number of them, or a date. */
export function moment(cell) {
  const plain = number(cell);
  if (!Number.isNaN(plain)) return plain;
  const zone = /(Z|[+-]\d\d:?\d\d)$/.test(cell.trim()) ? "" : "Z"; // without a zone, clocks are taken as they stand
  if (!/^\d{4}-\d\d-\d\d/.test(cell.trim())) return NaN;
  return Date.parse(cell.trim().replace(" ", "T") + (cell.includes(":") ? zone : "")) / 1000;
}

function split(line, separator) {
  const cells = [];
  let cell = "", quoted = false;
  for (let at = 0; at < line.length; at += 1) {
    const sign = line[at];
    if (sign === '"' && quoted && line[at + 1] === '"') cell += line[(at += 1)];
    else if (sign === '"') quoted = !quoted;
    else if (sign === separator && !quoted) cells.push(cell), (cell = "");
    else cell += sign;
  }
  return [...cells, cell].map((each) => each.trim());
}
