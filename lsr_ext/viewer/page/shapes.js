// Regions, dots and blocks, drawn as lines over the slide. Only those in view are asked for.

const WAIT_MS = 120;
const MIN_TEXT_PX = 30;

export class ShapeCanvas {
  /** place: () => {left, top, scale} of the screen in level-0 pixels; say: tells how much is left out. */
  constructor(canvas, place, say) {
    this.canvas = canvas;
    this.place = place;
    this.say = say;
    this.shown = {};
    this.found = {};
    this.pending = 0;
  }

  /** Show shapes of a name: kinds, and the indices of those that are hidden; null: none. */
  show(name, kinds, hidden) {
    if (kinds === null) delete this.shown[name];
    else this.shown[name] = { kinds, hidden };
    this.refresh();
  }

  /** Ask for the shapes in view, soon, and draw those that are known, at once. */
  refresh() {
    this.draw();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#fetch(), WAIT_MS);
  }

  async #fetch() {
    const { left, top, scale } = this.place();
    const box = new URLSearchParams({
      x: left, y: top, width: this.canvas.clientWidth * scale, height: this.canvas.clientHeight * scale, scale,
    });
    this.pending += 1;
    try {
      await Promise.all(Object.keys(this.shown).map(async (name) => {
        const answer = await fetch(`shapes/${name}?${box}`);
        if (!answer.ok) throw new Error(await answer.text());
        this.found[name] = await answer.json();
      }));
      this.#tell();
      this.draw();
    } catch (error) {
      this.say(`Shapes could not be read: ${error.message}`);
    } finally {
      this.pending -= 1;
    }
  }

  #tell() {
    const left = Object.entries(this.found).filter(([name, some]) => this.shown[name] && some.total > some.shapes.length);
    this.say(left.map(([name, some]) => `${some.shapes.length} of the ${some.total} ${name} in view are drawn: zoom in for all.`)
      .join(" "));
  }

  draw() {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio);
    const height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    const place = this.place();
    for (const name of ["blocks", "regions", "dots"]) {
      if (this.shown[name] && this.found[name]) this.#drawAll(context, name, place);
    }
  }

  #drawAll(context, name, place) {
    const { kinds, hidden } = this.shown[name];
    for (const [index, kind] of kinds.entries()) {
      if (hidden.has(index)) continue;
      const rings = this.found[name].shapes.filter((shape) => shape[0] === index).flatMap((shape) => shape[1])
        .map((ring) => onScreen(ring, place));
      const path = new Path2D();
      for (const ring of rings) (name === "dots" ? addDot : addRing)(path, ring);
      stroke(context, path, kind.colour, name === "regions" ? [6, 3] : []);
      if (name === "blocks") rings.forEach((ring) => drawText(context, ring, kind));
    }
  }
}

function onScreen(ring, { left, top, scale }) {
  return ring.map((value, index) => (value - (index % 2 ? top : left)) / scale);
}

function addRing(path, ring) {
  if (ring.length === 2) return addDot(path, ring);
  path.moveTo(ring[0], ring[1]);
  for (let place = 2; place < ring.length; place += 2) path.lineTo(ring[place], ring[place + 1]);
  path.closePath();
}

function addDot(path, [x, y]) {
  path.moveTo(x + 4, y);
  path.arc(x, y, 4, 0, 2 * Math.PI);
}

// A dark edge under the line keeps it readable on light and dark tissue.
function stroke(context, path, colour, dashes) {
  context.setLineDash([]);
  context.strokeStyle = "rgba(0, 0, 0, 0.55)";
  context.lineWidth = 3.5;
  context.stroke(path);
  context.setLineDash(dashes);
  context.strokeStyle = colour;
  context.lineWidth = 1.8;
  context.stroke(path);
  context.setLineDash([]);
}

function drawText(context, ring, kind) {
  const xs = ring.filter((_, index) => index % 2 === 0);
  const ys = ring.filter((_, index) => index % 2 === 1);
  const width = Math.max(...xs) - Math.min(...xs);
  if (width < MIN_TEXT_PX) return;
  context.font = "600 12px system-ui, sans-serif";
  context.lineWidth = 3;
  context.strokeStyle = "rgba(0, 0, 0, 0.75)";
  context.fillStyle = kind.colour;
  const at = [Math.min(...xs) + 5, Math.min(...ys) + 15, width - 8];
  context.strokeText(kind.name, ...at);
  context.fillText(kind.name, ...at);
}
