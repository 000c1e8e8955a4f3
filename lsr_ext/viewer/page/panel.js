// The panel: a switch and an opacity for each layer, a switch for each class.

const TITLES = {
  labels: "Label map", contours: "Contours", probability: "Probability",
  regions: "Annotated regions", dots: "Annotated dots", blocks: "Labelled blocks", slide: "Slide",
};

export class Panel {
  /** change(name): called after the state of a layer has changed. */
  constructor(root, state, about, keys, change) {
    Object.assign(this, { root, state, about, keys, change });
    this.root.replaceChildren(...this.#sections());
  }

  #sections() {
    const { prediction, shapes } = this.about;
    const sections = [];
    if (prediction) {
      const maps = element("section", {}, this.#layer("labels"), this.#layer("contours"));
      maps.append(this.#kinds("classes", prediction.classes, this.state.classes, ["labels", "contours"]));
      sections.push(maps, element("section", {}, this.#layer("probability"), ...this.#classChoice()));
    }
    for (const [name, { kinds }] of Object.entries(shapes)) {
      const shown = kinds.map((kind, index) => ({ ...kind, index })).filter((kind) => kind.count);
      sections.push(element("section", {}, this.#layer(name), this.#kinds(name, shown, this.state[name].hidden, [name])));
    }
    sections.push(element("section", {}, this.#layer("slide")));
    return sections;
  }

  #layer(name) {
    const layer = this.state[name];
    const box = element("input", { type: "checkbox", id: `on-${name}`, checked: layer.on });
    box.addEventListener("change", () => { layer.on = box.checked; this.change(name); });
    const key = Object.entries(this.keys).find(([, action]) => action.toggles === name);
    const label = element("label", {}, box, element("h2", {}, TITLES[name]));
    if (key) label.append(element("kbd", {}, key[0]));
    const row = element("div", { className: "row" }, label);
    if ("opacity" in layer) {
      const range = element("input", {
        type: "range", min: 0.05, max: 1, step: 0.05, value: layer.opacity, id: `opacity-${name}`,
        ariaLabel: `Opacity of ${TITLES[name].toLowerCase()}`,
      });
      range.addEventListener("input", () => { layer.opacity = Number(range.value); this.change(name); });
      row.append(range);
    }
    return row;
  }

  #kinds(name, kinds, hidden, changed) {
    return element("div", { className: "kinds" }, ...kinds.map((kind, place) => {
      const index = kind.index ?? place;
      const box = element("input", { type: "checkbox", id: `kind-${name}-${index}`, checked: !hidden.has(index) });
      box.addEventListener("change", () => {
        hidden[box.checked ? "delete" : "add"](index);
        changed.forEach((layer) => this.change(layer));
      });
      const label = element("label", {}, box, swatch(kind.colour), kind.name);
      if ("count" in kind) label.append(element("span", { className: "count" }, kind.count.toLocaleString()));
      return element("div", { className: "row" }, label);
    }));
  }

  #classChoice() {
    const { classes } = this.about.prediction;
    const layer = this.state.probability;
    const options = classes.map((one, index) => element("option", { value: index, selected: index === layer.kind }, one.name));
    const choice = element("select", { id: "probability-class", ariaLabel: "Class of the probability" }, ...options);
    const ramp = element("div", { className: "ramp" });
    const paint = () => { ramp.style.background = `linear-gradient(to right, transparent, ${classes[layer.kind].colour})`; };
    choice.addEventListener("change", () => { layer.kind = Number(choice.value); paint(); this.change("probability"); });
    paint();
    const legend = element("div", { className: "row soft" }, "0", ramp, "1");
    return [element("div", { className: "row kinds" }, choice), element("div", { className: "kinds" }, legend)];
  }
}

export function element(kind, properties, ...children) {
  const made = Object.assign(document.createElement(kind), properties);
  made.append(...children);
  return made;
}

function swatch(colour) {
  const made = element("span", { className: "swatch" });
  made.style.background = colour;
  return made;
}
