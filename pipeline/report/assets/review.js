(() => {
  // Decisions on items: made with keys or buttons, kept in this browser, downloaded as an edit file for `sa2va-i import`.
  const { version, rows } = JSON.parse(document.getElementById("review-data").textContent);
  const KEYS = { a: "keep", r: "drop", x: "absent", u: "" };
  const WORDS = { keep: "accepted", drop: "rejected", absent: "not there" };
  const STORE = `sa2va-i review of ${version}`;
  const form = document.querySelector(".tools");
  const list = document.getElementById("cards");
  const bar = document.getElementById("review");
  const cards = [...list.children];
  const idOf = (card) => rows[Number(card.id.slice("card-".length))];
  const keyOf = (card) => JSON.stringify(idOf(card));

  let kept = {};
  try {
    kept = JSON.parse(localStorage.getItem(STORE) ?? "{}");
  } catch {
    kept = {};
  }
  const entry = (card) => (kept[keyOf(card)] ??= { action: "", comment: "" });

  const save = () => {
    const used = Object.fromEntries(Object.entries(kept).filter(([, { action, comment }]) => action || comment));
    try {
      localStorage.setItem(STORE, JSON.stringify(used));
    } catch {
      document.getElementById("review-problem").hidden = false;
    }
  };

  const counts = { keep: 0, drop: 0, absent: 0 };
  const tell = () => {
    const decided = counts.keep + counts.drop + counts.absent;
    const parts = Object.entries(WORDS).map(([action, word]) => `${counts[action]} ${word}`);
    document.getElementById("review-count").value = `${decided} of ${cards.length} decided: ${parts.join(", ")}`;
  };

  const show = (card) => {
    const { action, comment } = entry(card);
    card.dataset.decision = action;
    for (const button of card.querySelectorAll("[data-decide]")) {
      button.setAttribute("aria-pressed", String(button.dataset.decide === action));
    }
    card.querySelector(".comment").value = comment;
  };

  const decide = (card, action) => {
    const now = entry(card);
    if (now.action) counts[now.action] -= 1;
    now.action = action;
    if (action) counts[action] += 1;
    show(card);
    tell();
    save();
    if (form.elements.decision.value) form.dispatchEvent(new Event("input"));
  };

  // ---- going from item to item: the player gets the focus, so that the masks play

  const visible = () => [...list.children].filter((card) => !card.hidden);
  const go = (card) => {
    if (!card) return;
    (card.querySelector(".player") ?? card).focus({ preventScroll: true });
    card.scrollIntoView({ block: "nearest" });
  };
  const beside = (card, by) => {
    const all = visible();
    return all[all.indexOf(card) + by];
  };
  const nextUndecided = (card) => {
    const all = visible();
    const at = all.indexOf(card);
    return [...all.slice(at + 1), ...all.slice(0, Math.max(at, 0))].find((other) => !other.dataset.decision);
  };

  const act = (card, key) => {
    if (key in KEYS) {
      const next = KEYS[key] ? nextUndecided(card) : null; // before a filter takes the card away
      decide(card, KEYS[key]);
      go(next);
    } else if (key === "j") go(beside(card, 1));
    else if (key === "k") go(beside(card, -1));
    else if (key === "n") go(nextUndecided(card));
    else if (key === "c") card.querySelector(".comment").focus();
    else if (key === "e") download();
    else return false;
    return true;
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const card = event.target.closest?.(".card");
    if (!card) return;
    if (event.target.matches("input")) {
      if (event.key === "Escape" || event.key === "Enter") {
        event.preventDefault();
        go(card);
      }
    } else if (act(card, event.key)) event.preventDefault();
  });
  list.addEventListener("click", (event) => {
    const button = event.target.closest("[data-decide]");
    if (!button) return;
    const card = button.closest(".card");
    const action = button.dataset.decide;
    decide(card, entry(card).action === action ? "" : action);
  });
  list.addEventListener("input", (event) => {
    if (!event.target.matches(".comment")) return;
    entry(event.target.closest(".card")).comment = event.target.value;
    save();
  });
  bar.querySelector("[name=start]").addEventListener("click", () => go(nextUndecided(null)));
  bar.querySelector("[name=download]").addEventListener("click", () => download());

  // ---- the edit file

  const lines = () =>
    cards.flatMap((card) => {
      const { action, comment } = entry(card);
      if (!action && !comment) return [];
      const [video_id, expression_id] = idOf(card);
      const line = { video_id, expression_id, action: action || "undecided" };
      return [JSON.stringify(comment ? { ...line, comment } : line) + "\n"];
    });

  const download = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(lines(), { type: "application/jsonl" }));
    link.download = `edits-${version}.jsonl`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  for (const card of cards) {
    show(card);
    if (entry(card).action) counts[entry(card).action] += 1;
  }
  tell();
  form.dispatchEvent(new Event("input"));
})();
