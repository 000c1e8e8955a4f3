// The layers of tiles: the slide, and the maps over it, which share its pyramid.

const ORDER = ["slide", "labels", "probability", "contours"];

export class Layers {
  constructor(viewer, about) {
    this.viewer = viewer;
    this.about = about;
    this.queries = {};
    this.items = {};
    this.queue = Promise.resolve();
  }

  /** Show a layer: opacity 0 to 1, and the query that its tiles are asked with. */
  show(name, opacity, query) {
    this.queue = this.queue.then(() => this.#apply(name, opacity, query));
    return this.queue;
  }

  /** Whether all tiles in view are there. */
  get loaded() {
    return Object.values(this.items).every((item) => item.opacity === 0 || item.getFullyLoaded());
  }

  async #apply(name, opacity, query) {
    const held = this.items[name];
    if (held && (opacity === 0 || this.queries[name] === query)) {
      held.setOpacity(opacity);
      return;
    }
    if (opacity === 0) return;
    this.items[name] = await this.#add(name, opacity, query, held);
    this.queries[name] = query;
  }

  #add(name, opacity, query, held) {
    const below = ORDER.slice(0, ORDER.indexOf(name)).filter((other) => this.items[other]).length;
    return new Promise((resolve, reject) => {
      this.viewer.addTiledImage({
        tileSource: this.#source(name, query),
        opacity,
        index: below,
        replace: Boolean(held),
        success: (event) => resolve(event.item),
        error: (event) => reject(new Error(event.message)),
      });
    });
  }

  #source(name, query) {
    const { width, height, tile_px, first_level, last_level } = this.about;
    return {
      width,
      height,
      tileSize: tile_px,
      minLevel: first_level,
      maxLevel: last_level,
      getTileUrl: (level, column, row) => `tiles/${name}/${level}/${column}/${row}${query}`,
    };
  }
}
