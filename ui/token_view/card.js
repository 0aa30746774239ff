// What is behind a token: both probabilities, rank, entropy and the alternatives as bars. Shown on hover and focus; a
// pinned card stays, and only there an alternative can be chosen.

function emptyCard(view) {
  return el("div", { kind: "ob-card", hidden: "", role: "dialog", id: "ob-card" });
}

/** Show a token's card beside it; as a sheet at the bottom where the screen is narrow, which the style sheet does. */
function showCard(view, n) {
  const token = view.data.tokens[n], pinned = view.state.pinned === n;
  const parts = [cardHead(view, token, pinned), cardFacts(view, token), cardAlternatives(view, token, n, pinned)];
  if (!pinned || view.choosable) parts.push(cardHint(view, pinned));
  view.card.replaceChildren(...parts);
  view.card.setAttribute("aria-label", token.name);
  view.card.classList.toggle("ob-pinned", pinned);
  view.card.inert = !pinned; // what only follows the pointer is not to be reached by it or by Tab
  view.card.hidden = false;
  placeCard(view, view.spans[n]);
}

function hideCard(view) {
  view.card.hidden = true;
}

function cardHead(view, token, pinned) {
  const name = el("b", { kind: "ob-name", text: token.name, dir: "auto" });
  if (!pinned) return el("div", { kind: "ob-head" }, name);
  const close = el("button", { kind: "ob-close", type: "button", "aria-label": view.data.words.close, text: "✕" });
  close.addEventListener("click", () => unpin(view));
  return el("div", { kind: "ob-head" }, name, close);
}

function cardFacts(view, token) {
  const lines = token.facts.flatMap((fact, i) => [el("dt", { text: view.data.facts[i] }), el("dd", { text: fact, dir: "auto" })]);
  return el("dl", { kind: "ob-facts" }, ...lines);
}

function cardAlternatives(view, token, n, pinned) {
  const { words } = view.data;
  const head = el(
    "div",
    { kind: "ob-row ob-quiet" },
    el("span", { text: words.alternatives }),
    el("span"),
    el("span", { kind: "ob-number ob-model-head", text: words.model }),
    el("span", { kind: "ob-number ob-drawn-head", text: words.drawn }),
  );
  const rows = token.alternatives.map((one) => alternativeRow(view, one, n, pinned));
  const others = el("div", { kind: "ob-row ob-quiet" }, el("span", { text: words.others }), ...rowNumbers(token.others));
  return el("div", { kind: "ob-rows" }, head, ...rows, others);
}

function alternativeRow(view, one, n, pinned) {
  const { words } = view.data;
  const text = el("code", { text: one.text, dir: "auto" });
  const said = one.chosen ? words.chosen : words.branch;
  if (one.chosen || !pinned || !view.choosable) {
    const mark = one.chosen ? el("span", { kind: "ob-tick-mark", text: "✓", title: said }) : null;
    return el("div", { kind: `ob-row${one.chosen ? " ob-chosen" : ""}` }, el("span", { kind: "ob-text" }, text, mark), ...rowNumbers(one));
  }
  const button = el("button", { kind: "ob-row", type: "button", title: said, "data-token": one.id });
  button.append(el("span", { kind: "ob-text" }, text), ...rowNumbers(one), el("span", { kind: "ob-hidden", text: said }));
  button.addEventListener("click", () => chooseAlternative(view, n, one.id));
  return button;
}

function rowNumbers(one) {
  return [
    el("span", { kind: "ob-bars" }, bar("ob-model", one.model), bar("ob-drawn", one.drawn)),
    el("span", { kind: "ob-number", text: one.modelText }),
    el("span", { kind: "ob-number", text: one.drawnText }),
  ];
}

function bar(kind, share) {
  const node = el("span", { kind: `ob-bar ${kind}` });
  node.style.width = `${100 * share}%`;
  node.style.minWidth = share ? "1px" : "0"; // what is not nothing can be seen
  return node;
}

function cardHint(view, pinned) {
  const { pinHint, branchHint } = view.data.words;
  return el("p", { kind: "ob-quiet ob-hint", text: pinned ? branchHint : pinHint });
}

/** Below the token where there is room, else above it, else where all of it is seen; never beyond the view's sides. */
function placeCard(view, span) {
  const { card, root } = view;
  if (narrow()) {
    card.style.left = card.style.top = "";
    return;
  }
  const at = placeOf(span), frame = root.getBoundingClientRect();
  const height = card.offsetHeight, below = at.bottom + 6, above = at.top - 6 - height;
  const lowest = window.innerHeight - height - 6;
  const top = below <= lowest ? below : above >= 0 ? above : Math.max(6, lowest);
  card.style.left = `${Math.max(0, Math.min(at.left - frame.left - 12, frame.width - card.offsetWidth))}px`;
  card.style.top = `${top - frame.top}px`;
}

/** Where a token's text is, its first line if it has several; the blank before it may hang on the line above. */
function placeOf(span) {
  return inkOf(span).getClientRects()[0] ?? span.getBoundingClientRect();
}

function narrow() {
  return window.matchMedia("(max-width: 640px)").matches;
}

/** Where the sheet covers the token that it is about, bring the token out from under it. */
function uncover(view, span) {
  if (!narrow() || placeOf(span).bottom < view.card.getBoundingClientRect().top) return;
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  inkOf(span).scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
}
