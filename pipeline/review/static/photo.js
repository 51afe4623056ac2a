// The photo with its box: zooming in on it, and drawing another.
// Boxes are [xmin, ymin, xmax, ymax] in pixels of the photo, which are the units of the drawing.

const CLOSE = 4; // side of the close view in box sides
const LEAST = 2; // pixels of the photo; less is a slip of the finger

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

export class PhotoView {
  constructor(svg, onDraw) {
    this.svg = svg;
    this.image = svg.querySelector("image");
    this.onDraw = onDraw;
    this.drawing = false;
    this.close = false;
    this.start = null;
    svg.addEventListener("pointerdown", (event) => this.press(event));
    // Or a quick stroke is taken for a fling, which swallows the next tap.
    svg.addEventListener("touchstart", (event) => this.drawing && event.preventDefault(), { passive: false });
    svg.addEventListener("pointermove", (event) => this.drag(event));
    svg.addEventListener("pointerup", () => (this.start = null));
    svg.addEventListener("pointercancel", () => (this.start = null));
  }

  show(face, address) {
    this.size = [face.width, face.height];
    this.given = face.box;
    this.known = face.standing && face.standing.to_box;
    this.image.setAttribute("width", face.width);
    this.image.setAttribute("height", face.height);
    if (address) this.image.setAttribute("href", address);
    else this.image.removeAttribute("href");
    this.svg.style.setProperty("--ratio", face.width / face.height);
    this.place("given", address ? face.box : null);
    this.stop();
  }

  zoom(close) {
    this.close = close;
    const [width, height] = this.size;
    const [x0, y0, x1, y1] = this.given;
    // In the shape of the room there is: no bare ground beside a photo that goes on there.
    const { clientWidth, clientHeight } = this.svg;
    const stretch = clientWidth && clientHeight ? Math.sqrt(clientWidth / clientHeight) : 1;
    const side = CLOSE * Math.max(x1 - x0, y1 - y0);
    const w = close ? Math.min(side * stretch, width) : width;
    const h = close ? Math.min(side / stretch, height) : height;
    const x = clamp((x0 + x1 - w) / 2, 0, width - w);
    const y = clamp((y0 + y1 - h) / 2, 0, height - h);
    this.svg.setAttribute("viewBox", `${x} ${y} ${w} ${h}`);
  }

  draw() {
    this.drawing = true;
    this.wasClose = this.close;
    this.box = this.known || this.given;
    this.changed = false;
    this.svg.classList.add("drawing");
    this.place("new", this.box);
    this.zoom(true);
  }

  stop() {
    if (this.drawing) this.close = this.wasClose;
    this.drawing = false;
    this.start = null;
    this.svg.classList.remove("drawing");
    this.place("new", this.known);
    this.zoom(this.close);
  }

  // Arrow keys move the box by a pixel; with Shift its lower right corner.
  nudge(dx, dy, resize) {
    const [x0, y0, x1, y1] = this.box;
    const [width, height] = this.size;
    if (resize) {
      this.set([x0, y0, clamp(x1 + dx, x0 + LEAST, width), clamp(y1 + dy, y0 + LEAST, height)]);
    } else {
      const x = clamp(dx, -x0, width - x1);
      const y = clamp(dy, -y0, height - y1);
      this.set([x0 + x, y0 + y, x1 + x, y1 + y]);
    }
  }

  press(event) {
    if (!this.drawing || !event.isPrimary || event.button !== 0) return;
    event.preventDefault();
    this.svg.setPointerCapture(event.pointerId);
    this.start = this.point(event);
  }

  drag(event) {
    if (!this.start || !event.isPrimary) return;
    const [x, y] = this.point(event);
    const [sx, sy] = this.start;
    const box = [Math.min(x, sx), Math.min(y, sy), Math.max(x, sx), Math.max(y, sy)];
    if (box[2] - box[0] >= LEAST && box[3] - box[1] >= LEAST) this.set(box);
  }

  set(box) {
    this.box = box.map((value) => Math.round(value * 10) / 10);
    this.changed = true;
    this.place("new", this.box);
    this.onDraw(this.box);
  }

  point(event) {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
    return [clamp(at.x, 0, this.size[0]), clamp(at.y, 0, this.size[1])];
  }

  place(which, box) {
    for (const rect of this.svg.querySelectorAll(`[data-box=${which}]`)) {
      rect.toggleAttribute("hidden", !box);
      if (!box) continue;
      const [x0, y0, x1, y1] = box;
      for (const [name, value] of Object.entries({ x: x0, y: y0, width: x1 - x0, height: y1 - y0 })) {
        rect.setAttribute(name, value);
      }
    }
  }
}
