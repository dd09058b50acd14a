// From a picture to the raw row that the artifact takes: shape, numbers and ground as in the data it was trained on.

import { emptied } from "./artifact.js";

const BOX = 20 / 28; // MNIST fits a digit into 20 of 28 pixels and centres its mass (http://yann.lecun.com/exdb/mnist/)
const LUMINANCE = [0.299, 0.587, 0.114]; // ITU-R BT.601, as Pillow turns colours into grey

/** Whether the artifact's pictures have light ink on dark ground: what lies at the edges of its golden rows is ground. */
export function lightInk(manifest, golden) {
  const [channels, height, width] = manifest.input.shape;
  const { low, high } = range(manifest);
  let sum = 0, count = 0;
  for (let at = 0; at < golden.length; at += 1) {
    const y = Math.floor(at / width) % height, x = at % width;
    if (x === 0 || y === 0 || x === width - 1 || y === height - 1) {
      sum += Number(golden[at]);
      count += 1;
    }
  }
  return channels > 0 && sum / count < (low + high) / 2;
}

/** The least and the greatest number in the artifact's data. */
export function range({ input }) {
  return { low: input.low ?? 0, high: input.high ?? (input.dtype.startsWith("float") ? 1 : 255) };
}

/**
 * A row from light values 0..1 of a grey or RGB picture.
 * `planes` holds one Float32Array of width x height for each channel of the artifact.
 */
export function row(manifest, planes) {
  const { dtype } = manifest.input, { low, high } = range(manifest);
  const found = emptied(dtype, planes.length * planes[0].length);
  planes.forEach((plane, channel) => {
    plane.forEach((light, at) => {
      const value = low + Math.min(1, Math.max(0, light)) * (high - low);
      const whole = dtype.startsWith("float") ? value : Math.round(value);
      found[channel * plane.length + at] = dtype === "int64" ? BigInt(whole) : whole;
    });
  });
  return found;
}

/** The planes of a canvas, laid out in the artifact's size: one of luminance, or red, green and blue. */
export function planes(image, { input }) {
  const [channels, height, width] = input.shape;
  const found = Array.from({ length: channels }, () => new Float32Array(image.width * image.height));
  for (let at = 0; at < image.width * image.height; at += 1) {
    const colour = [0, 1, 2].map((part) => image.data[4 * at + part] / 255);
    if (channels === 1) found[0][at] = colour.reduce((sum, each, part) => sum + each * LUMINANCE[part], 0);
    else found.forEach((plane, channel) => (plane[at] = colour[channel]));
  }
  return found.map((plane) => scaled(plane, image.width, image.height, width, height));
}

/** A plane in another size: each new pixel is the mean of the area it covers. */
export function scaled(plane, width, height, newWidth, newHeight) {
  const across = shares(width, newWidth), down = shares(height, newHeight);
  const found = new Float32Array(newWidth * newHeight);
  for (let y = 0; y < newHeight; y += 1) {
    for (let x = 0; x < newWidth; x += 1) {
      let sum = 0;
      for (const [from, high] of down[y]) for (const [left, wide] of across[x]) sum += plane[from * width + left] * high * wide;
      found[y * newWidth + x] = sum;
    }
  }
  return found;
}

// For each new pixel the old ones it covers, and the share each has in it; the shares of one are 1 together.
function shares(old, size) {
  const ratio = old / size;
  return Array.from({ length: size }, (_, place) => {
    const [start, end] = [place * ratio, (place + 1) * ratio];
    const found = [];
    for (let at = Math.floor(start); at < Math.min(old, Math.ceil(end - 1e-9)); at += 1) {
      found.push([at, (Math.min(end, at + 1) - Math.max(start, at)) / ratio]);
    }
    return found;
  });
}

/**
 * A drawing (ink 1 on ground 0) as MNIST lays its digits out: its box fitted into 20/28 of the frame, its mass centred.
 * An empty drawing stays empty.
 */
export function centred(ink, size, width, height) {
  const box = bounds(ink, size);
  if (!box) return new Float32Array(width * height);
  const [left, top, right, bottom] = box;
  const factor = Math.min((width * BOX) / (right - left), (height * BOX) / (bottom - top));
  const [wide, high] = [Math.max(1, Math.round((right - left) * factor)), Math.max(1, Math.round((bottom - top) * factor))];
  const cut = new Float32Array((right - left) * (bottom - top));
  for (let y = top; y < bottom; y += 1) {
    for (let x = left; x < right; x += 1) cut[(y - top) * (right - left) + x - left] = ink[y * size + x];
  }
  const small = scaled(cut, right - left, bottom - top, wide, high);
  const [massX, massY] = mass(small, wide, high);
  const place = (frame, centre, length) => Math.min(Math.max(0, Math.round(frame / 2 - centre)), frame - length);
  const [x0, y0] = [place(width, massX, wide), place(height, massY, high)];
  const found = new Float32Array(width * height);
  small.forEach((value, at) => {
    found[(y0 + Math.floor(at / wide)) * width + x0 + (at % wide)] = value;
  });
  return found;
}

function bounds(ink, size) {
  let [left, top, right, bottom] = [size, size, 0, 0];
  ink.forEach((value, at) => {
    if (value <= 0.05) return;
    const [x, y] = [at % size, Math.floor(at / size)];
    [left, top] = [Math.min(left, x), Math.min(top, y)];
    [right, bottom] = [Math.max(right, x + 1), Math.max(bottom, y + 1)];
  });
  return right > left ? [left, top, right, bottom] : null;
}

function mass(plane, width, height) {
  let [sum, sumX, sumY] = [0, 0, 0];
  plane.forEach((value, at) => {
    sum += value;
    sumX += value * ((at % width) + 0.5);
    sumY += value * (Math.floor(at / width) + 0.5);
  });
  return sum ? [sumX / sum, sumY / sum] : [width / 2, height / 2];
}
