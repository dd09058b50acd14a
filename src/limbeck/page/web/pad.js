// A square to draw on, in white ink on black; what the artifact takes is made of it elsewhere.

import { element } from "./dom.js";

const SIZE = 280, PEN = 22; // pixels; the pen is about as wide as MNIST's strokes, 2 of 28

export class Pad {
  constructor(changed) {
    this.canvas = element("canvas", { class: "pad", width: SIZE, height: SIZE, "aria-label": "Draw here" });
    this.paper = this.canvas.getContext("2d", { willReadFrequently: true });
    this.changed = changed;
    this.last = null;
    this.clear();
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.last = this.place(event);
      this.stroke(event);
    });
    this.canvas.addEventListener("pointermove", (event) => this.last && this.stroke(event));
    for (const end of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(end, () => {
        if (this.last) this.changed();
        this.last = null;
      });
    }
  }

  clear() {
    this.paper.fillStyle = "black";
    this.paper.fillRect(0, 0, SIZE, SIZE);
  }

  /** Ink from 0 to 1 at each of size x size places. */
  ink() {
    const { data } = this.paper.getImageData(0, 0, SIZE, SIZE);
    return { size: SIZE, values: Float32Array.from({ length: SIZE * SIZE }, (_, at) => data[4 * at] / 255) };
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIZE, ((event.clientY - box.top) / box.height) * SIZE];
  }

  stroke(event) {
    const now = this.place(event);
    Object.assign(this.paper, { strokeStyle: "white", lineWidth: PEN, lineCap: "round", lineJoin: "round" });
    this.paper.beginPath();
    this.paper.moveTo(...this.last);
    this.paper.lineTo(...now);
    this.paper.stroke();
    this.last = now;
  }
}
