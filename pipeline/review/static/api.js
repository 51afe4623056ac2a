// Talking to the server, and having the next faces there before they are asked for.

const NO_ANSWER = "The server doesn't answer. Nothing is lost: start the review again and repeat the last key.";

export class Refusal extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Refusal(NO_ANSWER, 0);
  }
  const isJson = (response.headers.get("content-type") || "").includes("json");
  if (!response.ok) {
    const told = isJson ? await response.json() : { message: await response.text() };
    const message = told.message || told.detail;
    throw new Refusal(message || `The server refused (${response.status}).`, response.status);
  }
  return response.json();
}

export const get = (path) => ask(path);

export const post = (path, body) =>
  ask(path, {
    method: "POST",
    headers: { "content-type": "application/json", "x-review": "1" },
    body: JSON.stringify(body),
  });

// A picture that is loaded and decoded; one that can't be is left to the page to tell.
function load(address) {
  const image = new Image();
  image.src = address;
  return image.decode().then(() => image, () => image);
}

export class Faces {
  constructor(edition) {
    this.edition = edition;
    this.fetched = new Map();
  }

  address(kind, number) {
    return `/picture/${kind}/${number}?e=${this.edition}`;
  }

  async fetch(position) {
    const face = await get(`/api/face/${position}`);
    const wanted = face.problem ? [] : [load(this.address("crop", position)), load(this.address("photo", position))];
    for (const { row } of face.similar || []) load(this.address("similar", row));
    face.pictures = await Promise.all(wanted);
    return face;
  }

  // What was fetched ahead is used once: it may be old when looked at again.
  take(position) {
    const face = this.fetched.get(position) || this.fetch(position);
    this.fetched.delete(position);
    return face;
  }

  prepare(positions) {
    for (const known of this.fetched.keys()) if (!positions.includes(known)) this.fetched.delete(known);
    for (const position of positions) {
      if (this.fetched.has(position)) continue;
      const face = this.fetch(position);
      face.catch(() => this.fetched.delete(position));
      this.fetched.set(position, face);
    }
  }
}
