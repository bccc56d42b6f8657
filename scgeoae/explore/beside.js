// A second picture of the same cells, linked to the map: the tissue that they come from, or another map.

class Beside extends Picture {
  constructor(root, { name, coordinates, frame }) {
    super(root, new Cells(coordinates, 2, null, null, frame));
    this.name = name;
    this.nowhere = 0; // cells without coordinates
    for (let cell = 0; cell < this.cells.n; cell++) this.nowhere += Number.isNaN(this.cells.x(cell));
    this.begin();
  }

  /** Mark a cell, or none. */
  point(cell) {
    const [x, y] = cell === null ? [NaN, NaN] : [this.cells.x(cell), this.cells.y(cell)];
    this.marks.cell = Number.isNaN(x) ? null : [x, y];
    this.drawOverlay();
  }

  overlaid() {
    const missing = this.nowhere > 0 ? ` (without ${this.nowhere.toLocaleString("en")} cells)` : "";
    const name = this.text(14, this.height - 14, `${this.name}${missing}`, { "data-mark": "name" });
    return [...super.overlaid(), name, this.outside(18)];
  }
}
