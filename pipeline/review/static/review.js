// The review page: shows a face, hands decisions to the server, goes on when they are saved.

import { Faces, Refusal, get, post } from "./api.js";
import { PhotoView } from "./photo.js";

const KEYS = {
  " ": "keep", d: "drop", b: "rebox", s: "skip", u: "undo", z: "zoom", "?": "help",
  ArrowLeft: "back", ArrowRight: "forth", Enter: "accept", Escape: "cancel",
};
const LARGEST = 12; // times a crop is enlarged; beyond that a tiny face is a blur
const DEED_WORDS = { keep: "kept", drop: "dropped", rebox: "box redrawn", skip: "skipped" };

const $ = (id) => document.getElementById(id);
const photo = new PhotoView($("photo"), (box) => say(`New box: ${box.join(", ")}.${byFinger() ? "" : " Enter accepts it."}`));

let session; // what stays the same
let faces; // what is fetched
let face; // the one shown; null when all are decided
let progress;
let busy = false; // a key pressed while a decision is being saved would fall on an unseen face
let newClass = null; // class of the box being drawn

const byFinger = () => matchMedia("(pointer: coarse)").matches;
const title = (name) => session.classes.find((kind) => kind.name === name)?.title ?? name;
const say = (text, alarm = false) => {
  $("status").textContent = text;
  $("status").classList.toggle("alarm", alarm);
};

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// A class's name with a dot of its colour.
function chip(name, text = title(name)) {
  const element = make("span", { className: "chip" }, text);
  element.dataset.class = name;
  return element;
}

function tell(standing) {
  if (standing.action === "relabel" || standing.action === "label") return title(standing.to);
  if (standing.action === "rebox") return `box redrawn, ${title(standing.to).toLowerCase()}`;
  return DEED_WORDS[standing.action];
}

// ---- showing -------------------------------------------------------------------------------

async function show(position) {
  if (position === null || position === undefined) return showEnd();
  face = await faces.take(position);
  $("done").hidden = true;
  $("face").hidden = false;
  // On a phone the page may be scrolled down to the reasons of the last face.
  window.scrollTo(0, 0);
  $("face").scrollTop = 0;
  showDeeds();
  const [crop] = face.pictures;
  const broken = face.problem || (crop && !crop.naturalWidth && "No crop can be cut around this box.");
  $("crop").hidden = Boolean(broken);
  $("problem").hidden = !broken;
  const advice = face.decidable ? "Skip it, or drop it." : "Nothing can be decided without it: go on with →.";
  if (broken) $("problem").textContent = `${broken} ${advice}`;
  else {
    $("crop").src = crop.src;
    $("crop").style.maxWidth = `${LARGEST * crop.naturalWidth}px`;
  }
  $("crop").alt = face.label ? `Face ${position + 1}, labelled ${title(face.label)}` : `Face ${position + 1}`;
  $("photo").dataset.class = face.label ?? "";
  showLabel();
  if (!session.blind) showOpinion();
  photo.show(face, face.problem ? null : faces.address("photo", position));
  document.body.dataset.shown = position; // The face is on the page.
}

function showLabel() {
  const given = face.label ? ["Given label: ", chip(face.label)] : ["Which class is it?"];
  $("label").replaceChildren(...given);
  const { standing } = face;
  const words = standing ? `You: ${tell(standing)}. Choose again to change it.` : face.skipped ? "You skipped it." : "";
  $("standing").textContent = words;
  const [x0, y0, x1, y1] = face.box;
  const size = `${Math.round(x1 - x0)} × ${Math.round(y1 - y0)} px`;
  $("name").textContent = face.name ? `No. ${face.rank} · ${size} · ${face.split} · ${face.name}` : size;
  markClass(standing && (standing.action === "keep" ? face.label : standing.to));
}

function showOpinion() {
  const rows = face.probabilities ? Object.entries(face.probabilities) : [];
  $("opinion").replaceChildren(
    ...rows.flatMap(([name, share]) => {
      const fill = make("i");
      fill.dataset.class = name;
      fill.style.width = `${100 * share}%`;
      const value = make("dd", {}, make("span", { className: "bar" }, fill), `${(100 * share).toFixed(0)}%`);
      return [make("dt", {}, chip(name)), value];
    }),
  );
  $("reasons").replaceChildren(...face.reasons.map((reason) => make("li", { textContent: reason })));
  $("others").textContent = face.others.map((other) => `${other.by}: ${tell(other)}.`).join(" ");
  $("similar-part").hidden = !face.similar.length;
  $("similar").replaceChildren(
    ...face.similar.map(({ row, label }) => {
      const image = make("img", { src: faces.address("similar", row), alt: "", width: 72, height: 72 });
      image.onerror = () => (image.hidden = true);
      const figure = make("figure", {}, image, make("figcaption", {}, chip(label)));
      figure.dataset.class = label;
      return figure;
    }),
  );
}

function showEnd() {
  face = null;
  if (photo.drawing) photo.stop(); // The last face may have got a new box.
  showDeeds();
  $("face").hidden = true;
  $("status").textContent = "";
  $("done").hidden = false;
  const { decided, skipped, total } = progress;
  $("done-text").textContent = `${decided} of ${total} ${total === 1 ? "face is" : "faces are"} decided${skipped ? `, ${skipped} skipped` : ""}. You may close this page; Ctrl-C in the terminal ends the review.`;
  $("next").textContent = session.next;
  $("done-title").textContent = progress.rest ? "The most suspect faces are decided" : "All faces are decided";
  $("go-rest").hidden = !progress.rest;
  $("go-rest").textContent = progress.rest === 1 ? "Go on with the other face" : `Go on with the other ${progress.rest} faces`;
  $("go-skipped").hidden = !skipped;
  document.body.dataset.shown = "end";
}

function showProgress() {
  const { decided, total, kept, changed, skipped, pace, minutes_left: left, hint, likely } = progress;
  const parts = [`${decided} of ${total}`];
  if (likely && !decided) parts.push(likely);
  else if (changed !== undefined) parts.push(`${changed} changed`, `${kept} kept`);
  if (skipped) parts.push(`${skipped} skipped`);
  $("counts").textContent = parts.join(" · ");
  $("pace").textContent = pace && left ? `${pace < 10 ? pace.toFixed(1) : pace.toFixed(0)} a minute, ${tellTime(left)} left` : "";
  $("bar").max = total;
  $("bar").value = decided;
  $("hint").hidden = !hint;
  $("hint").textContent = hint?.text ?? "";
  $("stop").hidden = !hint?.stop;
  $("stop").textContent = hint?.stop ?? "";
}

function tellTime(minutes) {
  if (minutes < 1) return "under a minute";
  const whole = Math.round(minutes);
  const hours = Math.floor(whole / 60);
  if (hours >= 10) return `about ${hours} h`;
  return hours ? `about ${hours} h ${whole % 60} min` : `about ${whole} min`;
}

// ---- deciding ------------------------------------------------------------------------------

function take(answer) {
  progress = answer.progress;
  showProgress();
  faces.prepare(answer.ahead);
}

async function decide(action, extra = {}) {
  const { position, version } = face;
  let answer;
  try {
    answer = await post("/api/decide", { edition: session.edition, position, version, action, ...extra });
  } catch (error) {
    if (error.status !== 409) throw error;
    return passOver(position, error.message);
  }
  take(answer);
  await show(answer.ahead[0]);
  say(`Face ${position + 1}: ${action === "label" ? title(extra.to) : DEED_WORDS[action]}.`);
}

// The face was decided in another window meanwhile: tell what stands and go on.
async function passOver(position, message) {
  const { standing } = await get(`/api/face/${position}`);
  const answer = await get(`/api/progress/${position}`);
  take(answer);
  await show(answer.ahead[0]);
  const stands = standing ? ` It stands as: ${tell(standing)}.` : "";
  say(`Face ${position + 1}: ${message}${stands} Back (←) goes to it.`, true);
}

async function undo() {
  const answer = await post("/api/undo", { edition: session.edition });
  take(answer);
  if (answer.position === null) return say("There is nothing to undo.");
  await show(answer.position);
  say(`Taken back: face ${answer.position + 1}.`);
}

async function goOn() {
  const answer = await post("/api/rest", { edition: session.edition });
  take(answer);
  say("");
  await show(answer.ahead[0]);
}

async function look(step) {
  const from = face ? face.position : progress.total;
  const position = from + step;
  if (position < 0 || position >= progress.total) return say("There are no more faces that way.");
  take(await get(`/api/progress/${position}`));
  await show(position);
  say(`Face ${position + 1} of ${progress.total}.`);
}

function startRedraw() {
  if (face.problem) return say("Without the photo no box can be drawn.", true);
  newClass = face.standing?.to ?? face.label ?? null;
  photo.draw();
  $("plain").hidden = true;
  $("redraw").hidden = false;
  $("photo").scrollIntoView({ block: "nearest" }); // It may be out of sight on a phone.
  markClass(newClass);
  say(byFinger() ? "Draw the new box on the photo." : "Draw the box on the photo, or move it with the arrow keys.");
}

function showDeeds() {
  $("plain").hidden = false;
  $("redraw").hidden = true;
}

function cancelRedraw() {
  photo.stop();
  showDeeds();
  showLabel();
  say("The box stays as it was.");
}

function markClass(chosen) {
  for (const button of document.querySelectorAll("[data-class-deed]")) {
    button.setAttribute("aria-pressed", String(button.dataset.classDeed === chosen));
  }
}

async function accept() {
  if (!photo.changed && !photo.known) return say("Draw the new box first.");
  if (!newClass) return say("Name the class with 1, 2 or 3 first.");
  await decide("rebox", { to: newClass, to_box: photo.box });
}

// What keys and buttons do: while a box is drawn only what has to do with it.
async function run(deed, name) {
  if (deed === "zoom" && face) return photo.zoom(!photo.close);
  if (photo.drawing) {
    if (deed === "accept") return accept();
    if (deed === "cancel") return cancelRedraw();
    if (deed === "class") markClass((newClass = name));
    return;
  }
  if (deed === "undo") return undo();
  if (deed === "rest") return goOn();
  if (deed === "back" || deed === "forth") return look(deed === "back" ? -1 : 1);
  if (!face) return;
  if (deed === "rebox") return startRedraw();
  if (deed === "class") return decide("label", { to: name });
  if (deed === "keep" && session.blind) return say("Name the class: the given label isn't shown.");
  if (deed === "keep" || deed === "drop" || deed === "skip") return decide(deed);
}

function help() {
  $("help").showModal();
  $("help").scrollTop = 0; // The button in focus may be below.
}

async function act(deed, name) {
  if (deed === "help") return help();
  if (busy || !session) return;
  busy = true;
  try {
    await run(deed, name);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    say(error.message, true);
  } finally {
    busy = false;
  }
}

// ---- keys, buttons, start --------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || $("help").open) return;
  const onButton = event.target instanceof HTMLButtonElement;
  if (onButton && (event.key === " " || event.key === "Enter")) return; // It is the button's.
  const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (photo.drawing && arrow) {
    event.preventDefault();
    return photo.nudge(...arrow, event.shiftKey);
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const kind = session?.classes[Number(key) - 1];
  if (!kind && !KEYS[key]) return;
  event.preventDefault();
  // A key held down must not run over faces; looking through them may.
  if (event.repeat && !arrow) return;
  if (kind) act("class", kind.name);
  else act(KEYS[key]);
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  // A button clicked on would otherwise take the next Space for itself.
  if (event.detail) button.blur();
  if (button.dataset.deed) act(button.dataset.deed);
  else if (button.dataset.classDeed) act("class", button.dataset.classDeed);
  else if (button.id === "zoom") act("zoom");
  else if (button.id === "open-help") act("help");
  else if (button.id === "go-skipped") start();
});

function buildClasses() {
  const style = document.documentElement.style;
  session.classes.forEach((kind, index) => {
    style.setProperty(`--class-${index + 1}`, kind.colour);
    const key = String(index + 1);
    const button = make("button", { type: "button" }, chip(kind.name), make("kbd", {}, key));
    button.dataset.classDeed = kind.name;
    button.setAttribute("aria-keyshortcuts", key);
    $("classes").append(button);
    const words = `The class is: ${kind.title.toLowerCase()}`;
    $("help-classes").append(make("tr", {}, make("td", {}, make("kbd", {}, key)), make("td", {}, words)));
  });
  $("why").hidden = session.blind;
  $("help-keep").hidden = session.blind;
  document.querySelector("[data-deed=keep]").hidden = session.blind;
  document.title = `Review, ${session.by}${session.blind ? " (blind)" : ""}`;
}

async function start() {
  const answer = await get("/api/session");
  if (!session) {
    session = answer;
    buildClasses();
  }
  faces = new Faces(answer.edition);
  session.edition = answer.edition;
  const first = answer.ahead[0];
  progress = answer.progress;
  showProgress();
  await show(first);
  faces.prepare(answer.ahead.slice(1));
}

// The token has become a cookie; it need not stay in the address.
if (location.search) history.replaceState(null, "", location.pathname);
start().catch((error) => say(error.message, true));
