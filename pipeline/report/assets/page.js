"use strict";
(() => {
  const STRIP = 6; // pictures beside the player
  const STEP_MS = 180;
  const form = document.querySelector(".tools");
  const list = document.getElementById("cards");
  const cards = [...list.children];
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  const dataOf = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "null");

  // ---- pictures: made when a card comes near, dropped when it is far away

  const makeImage = (kind, data, type, alt) => {
    const image = new Image();
    image.className = kind;
    image.decoding = "async";
    image.alt = alt;
    image.src = `data:image/${type};base64,${data}`;
    return image;
  };

  const makePicture = (frame, grounds) => {
    const [name, mask, truth, caption] = frame;
    const picture = document.createElement("span");
    picture.className = "picture";
    const ground = grounds[name];
    if (ground) picture.append(makeImage("ground", ground, "webp", mask ? `frame ${name}` : `frame ${name}: ${caption}`));
    if (mask) picture.append(makeImage("mask", mask, "png", caption));
    if (truth) picture.append(makeImage("truth", truth, "png", "outline of the ground truth"));
    if (!ground && !mask) {
      picture.setAttribute("role", "img");
      picture.setAttribute("aria-label", `frame ${name}: ${caption}`);
    }
    picture.title = `frame ${name}: ${caption}`;
    return picture;
  };

  const spread = (count, wanted) =>
    count <= wanted ? [...Array(count).keys()] : [...Array(wanted).keys()].map((i) => Math.round((i * (count - 1)) / (wanted - 1)));

  class Player {
    constructor(card) {
      this.button = card.querySelector(".player");
      this.strip = card.querySelector(".strip");
      this.id = card.dataset.pictures;
      this.at = 0;
      this.timer = 0;
      this.layers = null;
      const button = this.button;
      button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.play(false));
      button.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && !button.matches(":focus-visible") && this.stop());
      button.addEventListener("focus", () => button.matches(":focus-visible") && this.play(false));
      button.addEventListener("blur", () => this.stop());
      button.addEventListener("click", () => (this.timer ? this.pause() : this.play(true)));
      button.addEventListener("keydown", (event) => this.step(event));
    }

    load() {
      if (!this.data) {
        const { ground, frames } = dataOf(this.id);
        this.data = { frames, grounds: (ground && dataOf(ground)) || {} };
        this.at = this.at || Math.floor(frames.length / 2);
      }
      return this.data;
    }

    show() {
      const { frames, grounds } = this.load();
      if (!this.button.querySelector(".picture")) this.button.prepend(makePicture(frames[this.at], grounds));
      this.count();
      if (!this.strip || this.strip.childElementCount) return;
      for (const index of spread(frames.length, STRIP)) {
        const item = document.createElement("li");
        const name = document.createElement("span");
        name.className = "name";
        name.textContent = frames[index][0];
        name.setAttribute("aria-hidden", "true");
        item.append(makePicture(frames[index], grounds), name);
        this.strip.append(item);
      }
    }

    drop() {
      this.stop();
      this.button.querySelectorAll(".picture").forEach((picture) => picture.remove());
      this.strip?.replaceChildren();
      this.data = null;
    }

    // All frames lie on top of one another and one is visible, so that nothing flickers while the next is decoded.
    build() {
      const { frames, grounds } = this.load();
      if (this.layers) return;
      this.button.querySelectorAll(".picture").forEach((picture) => picture.remove());
      this.layers = frames.map((frame) => makePicture(frame, grounds));
      this.button.prepend(...this.layers);
      this.turn(this.at);
    }

    turn(index) {
      this.at = (index + this.layers.length) % this.layers.length;
      this.layers.forEach((layer, i) => layer.classList.toggle("waiting", i !== this.at));
      this.count();
    }

    count() {
      const counter = this.button.querySelector(".counter");
      const frames = this.load().frames;
      counter.hidden = frames.length < 2;
      counter.textContent = `${this.at + 1}/${frames.length}`;
    }

    play(asked) {
      if (this.timer || (calm.matches && !asked) || this.load().frames.length < 2) return;
      this.build();
      this.timer = setInterval(() => this.turn(this.at + 1), STEP_MS);
      this.button.classList.add("playing");
      this.button.setAttribute("aria-pressed", "true");
    }

    pause() {
      clearInterval(this.timer);
      this.timer = 0;
      this.button.classList.remove("playing");
      this.button.setAttribute("aria-pressed", "false");
    }

    stop() {
      this.pause();
      if (!this.layers) return;
      this.layers.forEach((layer, i) => i === this.at || layer.remove());
      this.layers = null;
    }

    step(event) {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") this.pause();
      if (!by) return;
      event.preventDefault();
      this.pause();
      this.build();
      this.turn(this.at + by);
    }
  }

  const players = new Map();
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        const player = players.get(target);
        if (isIntersecting) player.show();
        else player.drop();
      }
    },
    { rootMargin: "600px 0px" },
  );
  for (const card of cards) {
    if (!card.dataset.pictures) continue;
    players.set(card, new Player(card));
    watcher.observe(card);
  }

  // ---- search, filter, sort

  const number = (text) => (text === "" || text === undefined ? null : Number(text));
  const facts = new Map(
    cards.map((card, order) => {
      const { search, status, group, score, presence, jf, area } = card.dataset;
      const numbers = { score: number(score), presence: number(presence), jf: number(jf), area: number(area) };
      return [card, { order, search: search.toLowerCase(), status, group, ...numbers }];
    }),
  );

  const sortBy = {
    sample: () => 0,
    video: (a, b) => (a.search < b.search ? -1 : a.search > b.search ? 1 : 0),
  };
  for (const name of ["score", "presence", "jf", "area"]) {
    const missing = (a, b) => (a[name] === null) - (b[name] === null);
    sortBy[`${name}-low`] = (a, b) => missing(a, b) || a[name] - b[name];
    sortBy[`${name}-high`] = (a, b) => missing(a, b) || b[name] - a[name];
  }

  // no field, or an empty one, lets everything through
  const within = (value, from, to) => {
    const low = number(from?.value), high = number(to?.value);
    return (low === null || (value !== null && value >= low)) && (high === null || (value !== null && value <= high));
  };

  const apply = () => {
    const { search, status, decision, group, from, to, "presence-from": presenceFrom, "presence-to": presenceTo } = form.elements;
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const [card, fact] of facts) {
      const fits =
        words.every((word) => fact.search.includes(word)) &&
        (!status.value || fact.status === status.value) &&
        (!decision.value || (card.dataset.decision || "none") === decision.value) &&
        (!group.value || fact.group === group.value) &&
        within(fact.score, from, to) &&
        within(fact.presence, presenceFrom, presenceTo);
      card.hidden = !fits;
      shown += fits;
    }
    form.elements.count.value = shown === cards.length ? `${shown} shown` : `${shown} of ${cards.length} shown`;
    document.getElementById("nothing").hidden = shown > 0;
  };

  const sort = () => {
    const compare = sortBy[form.elements.sort.value];
    const sorted = [...facts].sort(([, a], [, b]) => compare(a, b) || a.order - b.order);
    list.append(...sorted.map(([card]) => card));
  };

  const layers = () => {
    list.classList.toggle("no-masks", !form.elements.masks.checked);
    list.classList.toggle("no-truth", form.elements.truth ? !form.elements.truth.checked : false);
  };

  form.addEventListener("input", apply);
  form.elements.sort.addEventListener("change", sort);
  form.addEventListener("change", layers);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => (apply(), sort(), layers())));
  apply();
  sort();
  layers(); // a browser keeps what was filled in before a reload

  // ---- copying a row's reference

  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const field = document.createElement("textarea"); // without the permission, or in an older browser
      field.value = text;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
  };
  list.addEventListener("click", async (event) => {
    const button = event.target.closest(".copy");
    if (!button) return;
    await copy(button.dataset.copy);
    button.focus();
    const text = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = text), 1500);
  });
})();
