// The page: the slide in deep zoom, the panel, the keys, and the link that keeps the view.

import { Layers } from "./layers.js";
import { ShapeCanvas } from "./shapes.js";
import { Panel, element } from "./panel.js";

const MAPS = ["labels", "contours", "probability"];
const byId = (id) => document.getElementById(id);
const about = await readInfo();
const state = firstState(about);
readLink(new URLSearchParams(location.hash.slice(1)));

const viewer = OpenSeadragon({
  element: byId("slide"),
  drawer: "canvas",
  showNavigationControl: false,
  showNavigator: true,
  navigatorPosition: "BOTTOM_RIGHT",
  navigatorSizeRatio: 0.16,
  animationTime: 0.4,
  maxZoomPixelRatio: 16,
  minZoomImageRatio: 0.5,
  visibilityRatio: 0.3,
  maxImageCacheCount: 500,
  gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
});
viewer.canvas.append(byId("shapes")); // over the tiles, below the small map
const layers = new Layers(viewer, about);
const shapes = new ShapeCanvas(byId("shapes"), place, (text) => { byId("message").textContent = text; });
const keys = makeKeys();
let panel;

window.addEventListener("unhandledrejection", (event) => { byId("message").textContent = event.reason.message; });
await start();

async function readInfo() {
  const answer = await fetch("info");
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

function firstState({ prediction, shapes: given }) {
  const found = { slide: { on: true, opacity: 1 }, classes: new Set() };
  if (prediction) {
    const last = prediction.classes.length - 1;
    Object.assign(found, {
      labels: { on: true, opacity: 0.35 }, contours: { on: true, opacity: 1 },
      probability: { on: false, opacity: 0.7, kind: last },
    });
    const ground = prediction.classes.findIndex((one) => one.name === "background");
    if (ground >= 0) found.classes.add(ground);
  }
  for (const name of Object.keys(given)) found[name] = { on: name !== "blocks", hidden: new Set() };
  return found;
}

async function start() {
  document.title = about.name;
  byId("name").textContent = about.name;
  byId("facts").textContent = facts();
  viewer.addHandler("canvas-key", (event) => { event.preventDefaultAction = true; });
  viewer.addHandler("tile-load-failed", (event) => {
    if (event.message !== "Image load aborted") byId("message").textContent = "A part of the slide could not be read.";
  });
  await layers.show("slide", shownOpacity("slide"), "");
  restorePlace(new URLSearchParams(location.hash.slice(1)));
  fillPanel();
  Object.keys(state).forEach(apply);
  for (const event of ["animation", "resize", "update-viewport"]) viewer.addHandler(event, follow);
  for (const event of ["animation-finish", "resize"]) viewer.addHandler(event, settle);
  viewer.addHandler("tile-drawn", tellState);
  setInterval(tellState, 250);
  watchPointer();
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", () => {
    const link = new URLSearchParams(location.hash.slice(1));
    readLink(link);
    restorePlace(link);
    fillPanel();
    Object.keys(state).forEach(apply);
  });
  byId("link").addEventListener("click", copyLink);
  byId("toggle").addEventListener("click", () => keys.m.run());
  byId("keys").replaceChildren(...Object.entries(keys).flatMap(([key, { title }]) =>
    [element("dt", {}, element("kbd", {}, key === "ArrowLeft" ? "arrows" : key)), element("dd", {}, title)]));
  follow();
  settle();
}

function facts() {
  const size = `${about.width.toLocaleString()} × ${about.height.toLocaleString()} px`;
  const resolution = about.mpp ? `${tidy(about.mpp[0])} µm per pixel` : "resolution unknown";
  const map = about.prediction ? `; map at ${tidy(about.prediction.mpp)} µm per pixel` : "";
  return `${size}, ${resolution}${map}`;
}

function fillPanel() {
  panel = new Panel(byId("layers"), state, about, keys, (name) => { apply(name); keepLink(); });
}

// Bring a layer to what its state says.
function apply(name) {
  if (name === "slide") layers.show(name, shownOpacity(name), "");
  else if (name === "probability") layers.show(name, shownOpacity(name), `?classes=${state.probability.kind}`);
  else if (MAPS.includes(name)) layers.show(name, shownOpacity(name), `?classes=${shownClasses()}`);
  else if (name in about.shapes) {
    const { on, hidden } = state[name];
    shapes.show(name, on ? about.shapes[name].kinds : null, hidden);
  }
}

function shownOpacity(name) {
  return state[name].on ? state[name].opacity : 0;
}

function shownClasses() {
  return about.prediction.classes.map((_, index) => index).filter((index) => !state.classes.has(index)).join(",");
}

// Level-0 pixels at the corner of the screen, and level-0 pixels per pixel of the screen.
function place() {
  const bounds = viewer.viewport.getBounds(true);
  return { left: bounds.x * about.width, top: bounds.y * about.width, scale: bounds.width * about.width / byId("slide").clientWidth };
}

function follow() {
  shapes.draw();
  drawScale();
}

function settle() {
  shapes.refresh();
  keepLink();
}

function drawScale() {
  const { scale } = place();
  const unit = about.mpp ? about.mpp[0] : 1;
  const perPixel = scale * unit;
  const length = roundLength(110 * perPixel);
  byId("scale").hidden = false;
  byId("scale").querySelector("i").style.width = `${length / perPixel}px`;
  byId("scale").querySelector("span").textContent = about.mpp ? microns(length) : `${length.toLocaleString()} px`;
  byId("zoom").textContent = about.mpp ? `${tidy(perPixel)} µm per screen pixel` : `${tidy(1 / scale)} screen pixels per pixel`;
}

// The largest of 1, 2, 5, 10, ... that is not above.
function roundLength(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return power * [5, 2, 1].find((step) => step * power <= most);
}

function microns(length) {
  return length >= 1000 ? `${tidy(length / 1000)} mm` : `${tidy(length)} µm`;
}

function tidy(number) {
  return Number(number.toPrecision(3)).toString();
}

function watchPointer() {
  let timer;
  byId("slide").addEventListener("pointermove", (event) => {
    const corner = byId("slide").getBoundingClientRect();
    const { left, top, scale } = place();
    const x = left + (event.clientX - corner.left) * scale;
    const y = top + (event.clientY - corner.top) * scale;
    const inside = x >= 0 && y >= 0 && x < about.width && y < about.height;
    byId("position").textContent = inside ? positionText(x, y) : "\u00a0";
    clearTimeout(timer);
    byId("found").textContent = "";
    if (inside && about.prediction) timer = setTimeout(() => tellClass(x, y), 80);
  });
}

function positionText(x, y) {
  const pixels = `x ${Math.floor(x).toLocaleString()}, y ${Math.floor(y).toLocaleString()} px`;
  return about.mpp ? `${pixels} (${microns(x * about.mpp[0])}, ${microns(y * about.mpp[1])})` : pixels;
}

async function tellClass(x, y) {
  const answer = await fetch(`at?x=${x}&y=${y}`);
  if (!answer.ok) return;
  const found = await answer.json();
  if (found === null) {
    byId("found").textContent = "not predicted";
    return;
  }
  const values = Object.entries(found.probabilities).map(([name, value]) => `${name} ${value.toFixed(2)}`);
  byId("found").textContent = `${found.class} (${values.join(", ")})`;
}

function makeKeys() {
  const viewport = viewer.viewport;
  const pan = (x, y) => () => {
    const bounds = viewport.getBounds();
    viewport.panBy(new OpenSeadragon.Point(x * bounds.width * 0.15, y * bounds.height * 0.15)).applyConstraints();
  };
  const zoom = (factor) => () => viewport.zoomBy(factor).applyConstraints();
  const toggle = (name) => ({
    toggles: name,
    title: `show or hide: ${name}`,
    run: () => { state[name].on = !state[name].on; refreshLayer(name); },
  });
  const fade = (change) => () => MAPS.filter((name) => state[name]?.on && name !== "contours").forEach((name) => {
    state[name].opacity = Math.min(1, Math.max(0.05, state[name].opacity + change));
    refreshLayer(name);
  });
  const found = {
    ArrowLeft: { title: "move", run: pan(-1, 0) },
    ArrowRight: { run: pan(1, 0) },
    ArrowUp: { run: pan(0, -1) },
    ArrowDown: { run: pan(0, 1) },
    "+": { title: "closer", run: zoom(1.5) },
    "-": { title: "farther", run: zoom(1 / 1.5) },
    0: { title: "the whole slide", run: () => viewport.goHome() },
    1: { title: "one slide pixel per screen pixel", run: () => setScale(1) },
  };
  const letters = { l: "labels", c: "contours", p: "probability", r: "regions", d: "dots", b: "blocks", s: "slide" };
  for (const [key, name] of Object.entries(letters)) if (state[name]) found[key] = toggle(name);
  if (about.prediction) {
    found["["] = { title: "maps more transparent", run: fade(-0.1) };
    found["]"] = { title: "maps more opaque", run: fade(0.1) };
  }
  found.m = { title: "show or hide this panel", run: togglePanel };
  for (const [key, action] of Object.entries(found)) if (!action.title) Object.defineProperty(found, key, { enumerable: false });
  return found;
}

function refreshLayer(name) {
  apply(name);
  fillPanel();
  keepLink();
}

function togglePanel() {
  const isWide = document.body.classList.toggle("wide");
  byId("toggle").setAttribute("aria-expanded", String(!isWide));
}

function onKey(event) {
  const isTyping = ["SELECT", "TEXTAREA"].includes(event.target.tagName) || event.target.type === "range";
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping) return;
  const action = keys[event.key === "=" ? "+" : event.key];
  if (!action) return;
  event.preventDefault();
  action.run();
}

function setScale(scale, centre = null) {
  const { viewport } = viewer;
  if (centre) viewport.panTo(new OpenSeadragon.Point(centre[0] / about.width, centre[1] / about.width), true);
  viewport.zoomTo(about.width / (scale * byId("slide").clientWidth), null, centre !== null);
}

// The link: the middle in level-0 pixels, level-0 pixels per pixel of the screen, and the layers.
function keepLink() {
  const { left, top, scale } = place();
  const box = byId("slide");
  const link = new URLSearchParams({
    x: (left + box.clientWidth * scale / 2).toFixed(1), y: (top + box.clientHeight * scale / 2).toFixed(1),
    scale: Number(scale.toPrecision(6)),
    on: Object.keys(state).filter((name) => state[name].on).join(" "),
  });
  for (const name of ["slide", ...MAPS]) if (state[name]) link.set(`${name}-opacity`, tidy(state[name].opacity));
  if (about.prediction) {
    link.set("hide", [...state.classes].join(" "));
    link.set("probability-of", state.probability.kind);
  }
  for (const name of Object.keys(about.shapes)) if (state[name].hidden.size) link.set(`${name}-hide`, [...state[name].hidden].join(" "));
  history.replaceState(null, "", `#${link}`);
}

function readLink(link) {
  const numbers = (name) => new Set((link.get(name) ?? "").split(" ").filter(Boolean).map(Number));
  if (!link.has("on")) return;
  const on = link.get("on").split(" ");
  for (const [name, layer] of Object.entries(state)) {
    if (name === "classes") continue;
    layer.on = on.includes(name);
    const opacity = Number(link.get(`${name}-opacity`));
    if ("opacity" in layer && opacity > 0 && opacity <= 1) layer.opacity = opacity;
    if ("hidden" in layer) layer.hidden = numbers(`${name}-hide`);
  }
  if (about.prediction) {
    state.classes = numbers("hide");
    const kind = Number(link.get("probability-of") ?? state.probability.kind);
    if (about.prediction.classes[kind]) state.probability.kind = kind;
  }
}

function restorePlace(link) {
  const [x, y, scale] = ["x", "y", "scale"].map((name) => Number(link.get(name) ?? NaN));
  if ([x, y, scale].every(Number.isFinite) && scale > 0) setScale(scale, [x, y]);
}

async function copyLink() {
  keepLink();
  try {
    await navigator.clipboard.writeText(location.href);
    byId("message").textContent = "The link is copied. It works while this viewer runs.";
  } catch {
    byId("message").textContent = "Copy the address of this page: it keeps the view.";
  }
}

function tellState() {
  document.body.dataset.state = layers.loaded && shapes.pending === 0 ? "loaded" : "loading";
}
