// The graph of an artifact, run by ONNX Runtime in this browser, on one thread and without a worker.

import { numbers } from "./artifact.js";
import { alike, decoded, plain } from "./decoding.js";

/** Opens the graph. `runtime` is the module of onnxruntime-web, `wasm` its machine code, which is fetched before. */
export async function load(runtime, wasm, { manifest, files }) {
  runtime.env.wasm.numThreads = 1;
  runtime.env.wasm.proxy = false;
  runtime.env.wasm.wasmBinary = wasm;
  const graph = files.get(manifest.graph.file);
  const session = await runtime.InferenceSession.create(graph, { executionProviders: ["wasm"] });
  return new Model(runtime, session, manifest, files);
}

class Model {
  constructor(runtime, session, manifest, files) {
    Object.assign(this, { runtime, session, manifest, files });
    this.size = manifest.input.shape.reduce((product, each) => product * each, 1);
    this.width = manifest.output.shape.reduce((product, each) => product * each, 1);
  }

  /** Outputs, one Float32Array for each row, of rows that lie one after the other in one typed array. */
  async outputs(rows) {
    const count = rows.length / this.size;
    const batch = this.manifest.graph.batch ?? count;
    const found = [];
    for (let first = 0; first < count; first += batch) {
      // A graph of a fixed batch is filled up with its last row, as on a device.
      const part = new rows.constructor(batch * this.size);
      for (let row = 0; row < batch; row += 1) {
        const from = Math.min(first + row, count - 1) * this.size;
        part.set(rows.subarray(from, from + this.size), row * this.size);
      }
      const tensor = new this.runtime.Tensor(this.manifest.input.dtype, part, [batch, ...this.manifest.input.shape]);
      const said = await this.session.run({ [this.manifest.graph.input]: tensor });
      const data = said[this.manifest.graph.output].data;
      for (let row = 0; row < Math.min(batch, count - first); row += 1) {
        found.push(data.slice(row * this.width, (row + 1) * this.width));
      }
    }
    return found;
  }

  /** The golden rows as the artifact holds them. */
  golden() {
    return numbers(this.manifest.golden.inputs, this.files);
  }

  /** How far this browser's answers to the golden rows are from those at export. Throws where they are read otherwise. */
  async difference() {
    const known = numbers(this.manifest.golden.outputs, this.files);
    const said = await this.outputs(this.golden());
    this.manifest.golden.answers.forEach((answer, row) => {
      const outputs = known.subarray(row * this.width, (row + 1) * this.width);
      if (!alike(plain(decoded(this.manifest.output.reading, outputs)), answer)) {
        throw new Error("the golden rows' answers are read otherwise than when the artifact was exported");
      }
    });
    let most = 0;
    said.forEach((row, place) => {
      row.forEach((value, column) => {
        const off = Math.abs(value - known[place * this.width + column]);
        most = off <= most ? most : off; // NaN is above everything
      });
    });
    return most;
  }
}
